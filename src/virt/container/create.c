/*
 * Creation, the caller's side: decode, make the first process in its namespaces, and while it
 * builds its root (init.c) make the cgroup, write the id maps and run the runtime's hooks.
 *
 *	caller                                         first process (init.c)
 *	decode, look up names, compile seccomp
 *	clone3 --------------------------------------> network namespace, root, mounts ...
 *	id maps               -- MAPPED -->
 *	cgroup made, limits   -- CGROUP -->            joins
 *	prestart, createRuntime <-- HOOKS --           (only if there are any)
 *	                      -- GO -->                createContainer, pivot_root
 *	                      <-- READY --             finds the program, waits at the gate
 *
 * Both sides run at once: the two costly things, the network namespace and the cgroup directories,
 * are made on two processors. Whatever fails on either side, the process is killed and the cgroup
 * removed.
 */
#include "virt/container/container.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/idmap.h"
#include "ground/linux/process.h"
#include "virt/container/apart.h"
#include "virt/container/helper.h"
#include "virt/container/hook.h"
#include "virt/container/job.h"
#include "virt/container/note.h"
#include "virt/container/resources.h"
#include "virt/container/state.h"

char *job_state(const struct job *j, const char *status, pid_t pid)
{
	struct state st = {.id = (char *)j->o->id,
			   .status = status,
			   .pid = pid,
			   .bundle = (char *)j->o->bundle,
			   .annotations = j->s->annotations};

	return state_oci_text(&st);
}

static int read_config(struct job *j, struct err *e)
{
	const struct container_order *o = j->o;
	char *path = o->config ? arena_dup_text(j->a, o->config)
			       : arena_printf(j->a, "%s/config.json", o->bundle);
	int r = spec_read(AT_FDCWD, path, j->a, &j->s, e);

	if (r == 0 && o->adjust)
		r = o->adjust(o->adjust_ctx, j->s, j->a, e);
	if (r < 0)
		return r;
	if (o->cgroup_path)
		j->s->os.cgroups_path = arena_dup_text(j->a, o->cgroup_path);
	if (!j->s->process)
		return err_set(e, ERR_INVALID, "%s: process: missing", path);
	return 0;
}

static void name_rootfs(struct job *j)
{
	const char *path = j->o->root_path ? j->o->root_path : j->s->root.path;
	size_t n;

	if (j->o->overlay || !path)
		return;
	/* A slash at the end would follow a link that the root must not be. */
	for (n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		;
	j->rootfs = *path == '/' ? arena_printf(j->a, "%.*s", (int)n, path)
				 : arena_printf(j->a, "%s/%.*s", j->o->bundle, (int)n, path);
}

static int plan_namespace(struct job *j, const struct spec_namespace *n, struct err *e)
{
	int kind = namespace_find(n->type);

	assert(kind >= 0);
	if (kind == NAMESPACE_NETWORK && j->o->netns_fd >= 0)
		return 0;
	if (!n->path) {
		j->made_bits |= NAMESPACE_BIT(kind);
		return 0;
	}
	j->join_fd[kind] = open(n->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (j->join_fd[kind] < 0)
		return err_sys(e, "cannot open the %s namespace '%s'", n->type, n->path);
	j->join_bits |= NAMESPACE_BIT(kind);
	return 0;
}

static int plan_namespaces(struct job *j, struct err *e)
{
	unsigned int all;
	int r;

	for (size_t i = 0; i < j->s->os.namespaces_n; i++) {
		r = plan_namespace(j, &j->s->os.namespaces[i], e);
		if (r < 0)
			return r;
	}
	if (j->o->netns_fd >= 0) {
		j->join_fd[NAMESPACE_NETWORK] = fcntl(j->o->netns_fd, F_DUPFD_CLOEXEC, 3);
		if (j->join_fd[NAMESPACE_NETWORK] < 0)
			return err_sys(e, "cannot keep the network namespace's descriptor");
		j->join_bits |= NAMESPACE_BIT(NAMESPACE_NETWORK);
	}
	all = j->made_bits | j->join_bits;
	j->userns = all & NAMESPACE_BIT(NAMESPACE_USER);
	if (!(all & NAMESPACE_BIT(NAMESPACE_MOUNT)))
		return err_set(e, ERR_UNSUPPORTED,
			       "linux.namespaces: a container needs a mount namespace");
	if ((j->made_bits & NAMESPACE_BIT(NAMESPACE_USER)) &&
	    (!j->s->os.uid_mappings_n || !j->s->os.gid_mappings_n))
		return err_set(e, ERR_INVALID,
			       "linux: a new user namespace needs uidMappings and gidMappings");
	if ((j->s->hostname || j->s->domainname) && !(all & NAMESPACE_BIT(NAMESPACE_UTS)))
		return err_set(e, ERR_INVALID,
			       "hostname: cannot be set without a uts namespace of its own");
	return sysctls_check(j->s, all, e);
}

/* What is asked for and cannot be had here is an error, never silently left out. */
static int refuse_unsupported(const struct spec *s, struct err *e)
{
	const char *key = NULL;

	if (json_len(s->os.net_devices))
		key = "linux.netDevices";
	else if (s->os.rdt)
		key = "linux.intelRdt";
	else if (s->os.mount_label && *s->os.mount_label)
		key = "linux.mountLabel";
	return key ? err_set(e, ERR_UNSUPPORTED, "%s is not supported", key) : 0;
}

static int prepare(struct job *j, struct err *e)
{
	struct launch *l = &j->launch;
	const char *groups;
	int r = read_config(j, e);

	if (r < 0 || (r = refuse_unsupported(j->s, e)) < 0 || (r = plan_namespaces(j, e)) < 0)
		return r;
	name_rootfs(j);
	r = launch_init(l, j->s->process, j->a, e);
	if (r < 0)
		return r;
	l->id = j->o->id;
	l->user = j->o->user;
	l->bundle = j->o->bundle;
	l->annotations = j->s->annotations;
	groups = spec_annotation(j->s, "run.oci.keep_original_groups");
	l->keep_groups = groups && text_eq(groups, "1");
	l->no_new_keyring = j->o->no_new_keyring;
	l->preserve_fds = j->o->preserve_fds;
	memcpy(l->stdio, j->o->stdio, sizeof(l->stdio));
	if (j->o->prefix_args) {
		char **args = NULL;
		size_t n = mem_count_texts(j->o->prefix_args), m = mem_count_texts(l->args);

		args = arena_new_array(j->a, char *, n + m + 1);
		memcpy(args, j->o->prefix_args, n * sizeof(*args));
		memcpy(args + n, l->args, m * sizeof(*args));
		l->args = args;
	}
	if ((l->p->terminal) && !j->o->want_console && j->o->console_socket < 0)
		return err_set(e, ERR_INVALID,
			       "process.terminal: a terminal needs a console socket to go to");
	r = launch_seccomp(l, j->s->os.seccomp, j->o->seccomp_dir, j->a, e);
	return r;
}

/* Not dumpable: what shares a pid namespace with the half-made container cannot reach into it.
 * Where the caller is not root its own id maps would be out of its reach, and init.c does it later.
 */
static void hide(const struct job *j)
{
	if (geteuid() == 0)
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int spawn(struct job *j, struct container *c, struct err *e)
{
	int into = c->cgroup ? cgroup_clone_fd(c->cgroup) : -1;
	uint64_t flags = 0;
	int r;

	for (int k = 0; k < NAMESPACE_KINDS; k++)
		if (j->made_bits & NAMESPACE_BIT(k))
			flags |= namespace_info(k)->flag;
	/* Made by the process itself: the first while the caller makes cgroups, the second after
	 * the process has joined them, since what it is in becomes the namespace's root. */
	flags &= ~(uint64_t)(CLONE_NEWNET | CLONE_NEWCGROUP);
	if (helper_needed(j))
		return helper_spawn(j, flags, &c->pid, &c->pidfd, e);
	j->born_in_cgroup = into >= 0;
	r = namespace_clone(flags, into, &c->pid, &c->pidfd, e);
	if (r == 0 && c->pid == 0)
		init_run(j);
	return r;
}

static struct idmap_range *ranges(const struct spec_id_map *m, size_t n, struct arena *a)
{
	struct idmap_range *ret = arena_new_array(a, struct idmap_range, n + 1);

	for (size_t i = 0; i < n; i++)
		ret[i] = (struct idmap_range){m[i].container_id, m[i].host_id, m[i].size};
	return ret;
}

static int write_maps(struct job *j, pid_t pid, struct err *e)
{
	const struct spec_linux *l = &j->s->os;
	int r = idmap_write(pid, ranges(l->uid_mappings, l->uid_mappings_n, j->a),
			    l->uid_mappings_n, ranges(l->gid_mappings, l->gid_mappings_n, j->a),
			    l->gid_mappings_n, e);

	return r < 0 ? r : note_send(j->sock[0], NOTE_MAPPED, NULL, 0, NULL, 0, e);
}

static int write_oom_score(const struct job *j, pid_t pid, struct err *e)
{
	const int64_t *score = j->s->process->oom_score_adj;
	char path[64], text[24];
	auto_close int fd = -1;
	int n;

	if (!score)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	n = snprintf(text, sizeof(text), "%lld", (long long)*score);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, text, (size_t)n) == n)
		return 0;
	/* Engines without privilege copy this value from elsewhere: there it is a wish. */
	if (geteuid() != 0)
		return 0;
	return err_sys(e, "cannot set process.oomScoreAdj to %s", text);
}

/* The directories and their limits; where they are made first, the process is born in them. */
static int make_cgroup(struct job *j, struct container *c, struct err *e)
{
	struct cgroup_want want = {.path = j->s->os.cgroups_path,
				   .id = j->o->id,
				   .systemd = j->o->cgroup_systemd,
				   .disabled = j->o->cgroup_disabled,
				   .need = resources_need(j->s->os.resources)};
	int r = cgroup_make(&want, &c->cgroup, e);

	return r < 0 ? r : resources_apply(c->cgroup, j->s->os.resources, e);
}

static int tell_cgroup(struct job *j, struct container *c, struct err *e)
{
	auto_strbuf struct strbuf text = {0};
	bool joined = j->born_in_cgroup;

	cgroup_save(c->cgroup, &text);
	if (text.n > NOTE_BYTES_MAX - 2)
		return err_set(e, ERR_INVALID, "linux.cgroupsPath is too long");
	/* Inside a user namespace the process has no right to move itself. */
	if (j->userns && !joined) {
		int r = cgroup_join(c->cgroup, c->pid, e);

		if (r < 0)
			return r;
		joined = true;
	}
	strbuf_add_char(&text, joined ? '1' : '0');
	return note_send(j->sock[0], NOTE_CGROUP, text.p, text.n, NULL, 0, e);
}

static int run_hooks(struct job *j, pid_t pid, struct err *e)
{
	const struct spec_hooks *h = j->s->hooks;
	struct note *n;
	auto_free char *state = NULL;
	int r;

	if (!h || !(h->prestart_n + h->create_runtime_n + h->create_container_n))
		return 0;
	n = arena_new(j->a, struct note);
	r = note_expect(j->sock[0], NOTE_HOOKS, n, e);
	if (r < 0)
		return r;
	state = job_state(j, "creating", pid);
	r = hook_run(h->prestart, h->prestart_n, "prestart", state, e);
	if (r == 0)
		r = hook_run(h->create_runtime, h->create_runtime_n, "createRuntime", state, e);
	if (r < 0)
		return r;
	/* The process inside cannot see its own host pid: it gets the state as text. */
	return note_send(j->sock[0], NOTE_GO, state, strlen(state), NULL, 0, e);
}

static int settle(struct job *j, struct container *c, struct err *e)
{
	struct note *n;
	int r = 0;

	if (j->made_bits & NAMESPACE_BIT(NAMESPACE_USER))
		r = write_maps(j, c->pid, e);
	if (r == 0)
		r = write_oom_score(j, c->pid, e);
	if (r == 0 && !c->cgroup)
		r = make_cgroup(j, c, e);
	if (r == 0)
		r = tell_cgroup(j, c, e);
	if (r == 0)
		r = process_start_time(c->pid, &c->start_time, NULL, e);
	if (r == 0 && j->o->made)
		r = j->o->made(j->o->made_ctx, c, e);
	if (r == 0)
		r = run_hooks(j, c->pid, e);
	if (r < 0)
		return r;
	n = arena_new(j->a, struct note);
	r = note_expect(j->sock[0], NOTE_READY, n, e);
	if (r == 0 && n->fds_n)
		c->console = n->fds[0];
	return r;
}

/* A process that ends without a word was killed: for memory, if its cgroup says so. */
static int explain_silence(struct container *c, int r, struct err *e)
{
	auto_strbuf struct strbuf why = {0};

	if (!c->cgroup || !cgroup_oom_explain(c->cgroup, NULL, 0, &why))
		return r;
	return err_set(e, ERR_EXHAUSTED, "the container cannot start: %s", strbuf_text(&why));
}

/* The inside usually knows better why: its word, if it left one, replaces the outside's. */
static int prefer_inside(struct job *j, struct container *c, int r, struct err *e)
{
	struct note *n = arena_new(j->a, struct note);
	struct err theirs = {0};
	int got = 0;

	if (r != -ERR_UNAVAILABLE && r != -ERR_GONE && r != -ERR_NOT_FOUND)
		return r;
	while (got == 0) {
		got = note_recv(j->sock[0], n, &theirs);
		if (got == 0 && n->type == NOTE_END)
			return explain_silence(c, r, e);
	}
	if (e)
		*e = theirs;
	return got;
}

static void undo(struct container *c)
{
	if (c->pidfd >= 0) {
		(void)!process_signal(c->pidfd, SIGKILL, NULL);
		(void)!process_wait(c->pidfd, -1, NULL, NULL);
	}
	if (c->cgroup) {
		(void)!cgroup_kill(c->cgroup, NULL);
		(void)!cgroup_delete(c->cgroup, 2000, NULL);
	}
	container_done(c);
}

static int create_job(struct job *j, struct container *c, struct err *e)
{
	int r = prepare(j, e);

	if (r == 0)
		r = sources_prepare(j, e);
	if (r == 0)
		r = fdpass_pair(SOCK_SEQPACKET, j->sock, e);
	if (r < 0)
		return r;
	hide(j);
	if (cgroup_host_is_v2())
		r = make_cgroup(j, c, e);
	if (r == 0)
		r = spawn(j, c, e);
	j->sock[1] = fd_close(j->sock[1]);
	/* An agent may read to the end before it answers, and our start waits for its answer. */
	j->launch.seccomp_sock = fd_close(j->launch.seccomp_sock);
	if (r == 0)
		r = settle(j, c, e);
	if (r < 0 && c->pid > 0) {
		(void)shutdown(j->sock[0], SHUT_WR);
		r = prefer_inside(j, c, r, e);
	}
	if (r == 0 && (j->o->gate_listen < 0 || j->o->start))
		c->gate = take_fd(&j->sock[0]);
	if (r == 0 && j->o->start)
		r = container_start(c, e);
	return r;
}

int container_create_here(const struct container_order *o, struct container *ret, struct err *e)
{
	auto_arena struct arena a = {0};
	struct job j = {.o = o,
			.a = &a,
			.sock = {-1, -1},
			.root = -1,
			.root_source = -1,
			.console_master = -1};
	struct container c = CONTAINER_INIT;
	int r;

	for (int k = 0; k < NAMESPACE_KINDS; k++)
		j.join_fd[k] = -1;
	j.launch.tty = j.launch.procfd = j.launch.seccomp_sock = -1;
	r = create_job(&j, &c, e);
	for (int k = 0; k < NAMESPACE_KINDS; k++)
		(void)fd_close(j.join_fd[k]);
	for (int i = 0; i < 2; i++)
		(void)fd_close(j.sock[i]);
	sources_close(&j);
	launch_done(&j.launch);
	spec_done(j.s);
	if (r < 0) {
		undo(&c);
		return r;
	}
	*ret = c;
	return 0;
}

int container_create(const struct container_order *o, struct container *ret, struct err *e)
{
	assert(o->id && o->bundle);
	return o->apart ? apart_create(o, ret, e) : container_create_here(o, ret, e);
}
