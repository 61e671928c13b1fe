/*
 * Child processes: posix_spawn (the child borrows the parent's memory until it executes, so that no
 * page table is copied), the end told by a watched pidfd, reaped by waitid on that pidfd. No
 * SIGCHLD handler: a library that forks on its own keeps its children.
 *
 * Descriptors are placed in two steps, because a source may carry a number that is a target too:
 * sources below the number of targets are first copied above it, then each goes to its place, then
 * everything above is closed.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "ground/base/own.h"
#include "ground/wire/loop_priv.h"

#define PROCESS_MAGIC 0x50726f63u

struct loop_process {
	unsigned magic;
	struct list link;
	struct loop_watch *watch;
	pid_t pid;
	int pidfd;
	bool ended; /* reaped */
	bool owned; /* somebody holds the pointer */
	void (*exited)(void *arg, struct loop_exit how);
	void *arg;
};

static void process_release(struct loop_process *p)
{
	list_remove(&p->link);
	p->watch = loop_watch_free(p->watch);
	p->pidfd = fd_close(p->pidfd);
	p->magic = 0;
	free(p);
}

static void process_ended(void *arg, unsigned ready)
{
	struct loop_process *p = arg;
	void (*exited)(void *, struct loop_exit) = p->exited;
	siginfo_t info = {0};
	struct loop_exit how = {0};

	(void)ready;
	assert(p->magic == PROCESS_MAGIC);
	if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return;
	if (info.si_code == CLD_EXITED) {
		how.code = info.si_status;
	} else {
		how.code = -1;
		how.signal = info.si_status;
	}
	p->ended = true;
	p->watch = loop_watch_free(p->watch);
	arg = p->arg;
	if (!p->owned)
		process_release(p);
	if (exited)
		exited(arg, how);
}

/* Copies every source that stands on a target's number above all targets. Counts in *ret_copies. */
static int lift_fds(const int *fds, size_t n, int *ret_lifted, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		ret_lifted[i] = fds[i];
		if (fds[i] < 0 || fds[i] >= (int)n)
			continue;
		ret_lifted[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, (int)n);
		if (ret_lifted[i] < 0)
			return err_sys(e, "cannot copy descriptor %d for a child", fds[i]);
	}
	return 0;
}

static void close_lifted(const int *fds, size_t n, const int *lifted)
{
	for (size_t i = 0; i < n; i++)
		if (lifted[i] >= 0 && lifted[i] != fds[i])
			(void)fd_close(lifted[i]);
}

static int add_actions(posix_spawn_file_actions_t *a, const struct loop_spawn_options *o,
		       const int *fds, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = fds[i] < 0 ? posix_spawn_file_actions_addopen(a, (int)i, "/dev/null", O_RDWR, 0)
			       : posix_spawn_file_actions_adddup2(a, fds[i], (int)i);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(a, (int)n);
	if (r == 0)
		r = posix_spawn_file_actions_addchdir_np(a, o->cwd ? o->cwd : "/");
	return r;
}

static int set_attributes(posix_spawnattr_t *at, const struct loop_spawn_options *o)
{
	sigset_t none, all;
	int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	int r;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (o->new_session)
		flags |= POSIX_SPAWN_SETSID;
	r = posix_spawnattr_setsigmask(at, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(at, &all);
	if (r == 0)
		r = posix_spawnattr_setflags(at, (short)flags);
	return r;
}

static int spawn(const struct loop_spawn_options *o, const int *fds, size_t n, pid_t *ret_pid,
		 struct err *e)
{
	char *const nothing[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r;

	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attributes);
	r = add_actions(&actions, o, fds, n);
	if (r == 0)
		r = set_attributes(&attributes, o);
	if (r == 0)
		r = posix_spawn(ret_pid, o->program, &actions, &attributes, o->argv,
				o->envp ? o->envp : nothing);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	if (r == 0)
		return 0;
	errno = r;
	return err_sys(e, "cannot start '%s'", o->program);
}

/* The child runs already: a failure here must not leave it alone and unknown. */
static int process_follow(struct loop *l, struct loop_process *p, struct err *e)
{
	int r;

	p->pidfd = pidfd_open(p->pid, 0);
	if (p->pidfd < 0)
		r = err_sys(e, "cannot follow process %d", (int)p->pid);
	else
		r = loop_watch_new(l, p->pidfd, LOOP_READ, process_ended, p, &p->watch, e);
	if (r < 0) {
		(void)kill(p->pid, SIGKILL);
		(void)waitpid(p->pid, NULL, 0);
	}
	return r;
}

int loop_spawn(struct loop *l, const struct loop_spawn_options *o, struct loop_process **ret,
	       struct err *e)
{
	int fds[LOOP_SPAWN_FDS_MAX], lifted[LOOP_SPAWN_FDS_MAX];
	size_t n = o->fds_n < 3 ? 3 : o->fds_n;
	struct loop_process *p;
	pid_t pid = -1;
	int r;

	assert(o->fds_n <= LOOP_SPAWN_FDS_MAX);
	assert(o->program);
	assert(o->argv);
	for (size_t i = 0; i < n; i++) {
		fds[i] = i < o->fds_n ? o->fds[i] : -1;
		lifted[i] = -1;
	}
	r = lift_fds(fds, n, lifted, e);
	if (r == 0)
		r = spawn(o, lifted, n, &pid, e);
	close_lifted(fds, n, lifted);
	if (r < 0)
		return r;

	p = mem_new(struct loop_process);
	*p = (struct loop_process){.magic = PROCESS_MAGIC,
				   .pid = pid,
				   .pidfd = -1,
				   .owned = ret != NULL,
				   .exited = o->exited,
				   .arg = o->arg};
	list_append(loop_process_list(l), &p->link);
	r = process_follow(l, p, e);
	if (r < 0) {
		process_release(p);
		return r;
	}
	if (ret)
		*ret = p;
	return 0;
}

pid_t loop_process_pid(const struct loop_process *p)
{
	assert(p->magic == PROCESS_MAGIC);
	return p->pid;
}

int loop_process_fd(const struct loop_process *p)
{
	assert(p->magic == PROCESS_MAGIC);
	return p->pidfd;
}

int loop_process_kill(struct loop_process *p, int sig, struct err *e)
{
	assert(p->magic == PROCESS_MAGIC);
	if (p->ended)
		return err_set(e, ERR_GONE, "process %d has ended", (int)p->pid);
	if (pidfd_send_signal(p->pidfd, sig, NULL, 0) < 0)
		return err_sys(e, "cannot send signal %d to process %d", sig, (int)p->pid);
	return 0;
}

struct loop_process *loop_process_free(struct loop_process *p)
{
	if (!p)
		return NULL;
	assert(p->magic == PROCESS_MAGIC);
	assert(p->owned);
	p->owned = false;
	p->exited = NULL;
	if (p->ended)
		process_release(p);
	return NULL;
}

void loop_processes_forget(struct loop *l)
{
	list_each (loop_process_list(l), struct loop_process, link, p) {
		assert(!p->owned || p->ended || !p->exited);
		process_release(p);
	}
}
