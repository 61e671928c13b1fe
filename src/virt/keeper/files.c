/*
 * The files of a container as a descriptor: see files.h. All mounts here are detached: they are
 * made, joined and let go without ever having a place on the host.
 */
#include "virt/keeper/files.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/inroot.h"
#include "ground/linux/mount.h"
#include "ground/linux/process.h"

#define FILES_BINDS_MAX (FDPASS_MAX - 1)
#define TARGET_MODE	0755
#define CHILD_SOCK	3

/* A mount to be put at a place of the tree. */
struct part {
	int fd; /* detached */
	const char *target;
	bool directory;
};

/* The root of a process that is verified to be the one meant, before and after. */
static int open_running(const struct files_query *q, int *ret, struct err *e)
{
	auto_close int pidfd = -1, root = -1;
	auto_free char *path = mem_printf("/proc/%lld/root", (long long)q->pid);
	int r = process_open((pid_t)q->pid, (uint64_t)q->start_time, &pidfd, e);

	if (r < 0)
		return r;
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, "cannot open the root of process %lld", (long long)q->pid);
	if (!process_alive((pid_t)q->pid, (uint64_t)q->start_time))
		return err_set(e, ERR_GONE, "the container ended while its files were looked for");
	*ret = take_fd(&root);
	return 0;
}

static int open_stopped(const struct keeper_orders *o, int *ret, struct err *e)
{
	if (o->lower)
		return mount_new_overlay(o->lower, o->upper, o->work, false, ret, e);
	if (!o->root_path)
		return err_set(e, ERR_INVALID, "container '%s' has no root", o->id);
	return mount_clone(AT_FDCWD, o->root_path, true, true, ret, e);
}

static int make_readonly(int mnt, bool recursive, struct err *e)
{
	return mount_change(
		mnt, &(struct mount_change){.set = MOUNT_ATTR_RDONLY, .recursive = recursive}, e);
}

static void close_parts(struct part *parts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		parts[i].fd = fd_close(parts[i].fd);
}

static int open_part(const struct files_bind *b, struct part *ret, struct err *e)
{
	struct stat st;
	int r;

	ret->target = b->target;
	r = mount_clone(AT_FDCWD, b->source, true, true, &ret->fd, e);
	if (r < 0)
		return r;
	if (fstat(ret->fd, &st) < 0)
		return err_sys(e, "cannot stat '%s'", b->source);
	ret->directory = S_ISDIR(st.st_mode);
	return b->readonly ? make_readonly(ret->fd, true, e) : 0;
}

/* Joins the parts to the tree, in order. */
static int assemble(int root, const struct part *parts, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		auto_close int target = -1;
		int r = inroot_make(root, parts[i].target, parts[i].directory, TARGET_MODE, &target,
				    e);

		if (r == 0)
			r = mount_attach(parts[i].fd, target, e);
		if (r < 0)
			return err_wrap(e, "volume at '%s'", parts[i].target);
	}
	return 0;
}

/* What the child is sent, one packet per part: "d/target" or "f/target"; the first is the root. */
static int send_parts(int sock, int root, const struct part *parts, size_t n, struct err *e)
{
	int r = fdpass_send(sock, "r", 1, &root, 1, e);

	for (size_t i = 0; i < n && r == 0; i++) {
		auto_free char *text =
			mem_printf("%c%s", parts[i].directory ? 'd' : 'f', parts[i].target);

		r = fdpass_send(sock, text, strlen(text), &parts[i].fd, 1, e);
	}
	if (r == 0 && shutdown(sock, SHUT_WR) < 0)
		r = err_sys(e, "cannot end the list of volumes");
	return r;
}

/* The answer: the tree, or a sentence. */
static int receive_tree(int sock, int *ret, struct err *e)
{
	char text[sizeof(e->text)] = "";
	size_t n = 0, fds_n = 0;
	int fd = -1;
	int r = fdpass_recv(sock, text, sizeof(text) - 1, &fd, 1, &n, &fds_n, e);

	if (r < 0)
		return r;
	if (fds_n == 0)
		return err_set(e, ERR_SYSTEM, "%s",
			       n > 0 ? text : "the helper for volumes ended without a word");
	*ret = fd;
	return 0;
}

static int spawn_child(const char *path, int sock, pid_t *ret, struct err *e)
{
	char *argv[] = {"hull-keeper", "files", NULL}, *envp[] = {NULL};
	posix_spawn_file_actions_t actions;
	int sys;

	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, sock, CHILD_SOCK);
	sys = posix_spawn(ret, path, &actions, NULL, argv, envp);
	(void)posix_spawn_file_actions_destroy(&actions);
	errno = sys;
	return sys ? err_sys(e, "cannot start '%s'", path) : 0;
}

/* The child does what this kernel does not do on detached trees. */
static int assemble_apart(const char *path, int *root, const struct part *parts, size_t n,
			  struct err *e)
{
	int pair[2], tree = -1, r = fdpass_pair(SOCK_SEQPACKET, pair, e);
	pid_t pid;

	if (r < 0)
		return r;
	r = spawn_child(path, pair[1], &pid, e);
	(void)fd_close(pair[1]);
	if (r == 0) {
		r = send_parts(pair[0], *root, parts, n, e);
		if (r == 0)
			r = receive_tree(pair[0], &tree, e);
		(void)waitpid(pid, NULL, 0);
	}
	(void)fd_close(pair[0]);
	if (r < 0)
		return r;
	(void)fd_close(*root);
	*root = tree;
	return 0;
}

static int add_binds(const struct files_query *q, int *root, struct err *e)
{
	struct part parts[FILES_BINDS_MAX];
	size_t n = 0;
	int r = 0;

	if (q->binds_n > FILES_BINDS_MAX)
		return err_set(e, ERR_EXHAUSTED, "%zu volumes are more than the %d that fit",
			       q->binds_n, FILES_BINDS_MAX);
	for (size_t i = 0; i < FILES_BINDS_MAX; i++)
		parts[i] = (struct part){.fd = -1};
	for (; n < q->binds_n && r == 0; n++)
		r = open_part(&q->binds[n], &parts[n], e);
	if (r == 0 && n > 0)
		r = assemble(*root, parts, n, e);
	if (r < 0 && e->sys == EINVAL && q->keeper_path) {
		err_clear(e);
		r = assemble_apart(q->keeper_path, root, parts, n, e);
	}
	close_parts(parts, n);
	return r;
}

int files_open(const struct files_query *q, int *ret_root_fd, struct err *e)
{
	auto_close int root = -1;
	int r;

	assert(q->orders || q->pid > 0);
	assert(e);
	if (q->pid > 0)
		return open_running(q, ret_root_fd, e);
	r = open_stopped(q->orders, &root, e);
	if (r == 0)
		r = add_binds(q, &root, e);
	if (r == 0 && q->readonly)
		r = make_readonly(root, true, e);
	if (r < 0)
		return err_wrap(e, "files of container '%s'", q->orders->id);
	*ret_root_fd = take_fd(&root);
	return 0;
}

/* In the child: everything that was sent, until the sender's end of it. */
static int receive_parts(int sock, int *ret_root, struct part *parts, size_t *ret_n,
			 struct arena *a, struct err *e)
{
	char text[INROOT_PATH_MAX + 2];
	size_t n, fds_n;
	int fd, r;

	for (;;) {
		r = fdpass_recv(sock, text, sizeof(text) - 1, &fd, 1, &n, &fds_n, e);
		if (r < 0 || n == 0)
			return r;
		if (fds_n != 1 || *ret_n == FILES_BINDS_MAX)
			return err_set(e, ERR_INVALID, "a list of volumes that is none");
		text[n] = '\0';
		if (text[0] == 'r')
			*ret_root = fd;
		else
			parts[(*ret_n)++] = (struct part){.fd = fd,
							  .target = arena_dup_text(a, text + 1),
							  .directory = text[0] == 'd'};
	}
}

static int child_tree(int sock, struct arena *a, int *ret, struct err *e)
{
	struct part parts[FILES_BINDS_MAX];
	auto_close int place = -1, root = -1;
	size_t n = 0;
	int r = receive_parts(sock, &root, parts, &n, a, e);

	if (r < 0)
		return r;
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "cannot make a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, "cannot make mounts private");
	/* Any directory will do as its place: nobody else sees this namespace. */
	place = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (place < 0)
		return err_sys(e, "cannot open '/'");
	r = mount_attach(root, place, e);
	if (r == 0)
		r = assemble(root, parts, n, e);
	close_parts(parts, n);
	return r < 0 ? r : mount_clone(root, "", true, false, ret, e);
}

int files_child(int sock, struct err *e)
{
	auto_arena struct arena a = {0};
	auto_close int tree = -1;
	int r = child_tree(sock, &a, &tree, e);

	if (r < 0) {
		(void)!fdpass_send(sock, e->text, strlen(e->text), NULL, 0, NULL);
		return r;
	}
	return fdpass_send(sock, "t", 1, &tree, 1, e);
}
