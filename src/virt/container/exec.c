/*
 * One more process in a running container.
 *
 *	caller          joiner (fork)                     process
 *	waits           decodes, compiles seccomp,
 *	                joins the cgroup, setns(pidfd),
 *	                clone3(CLONE_PARENT) -----------> terminal, user, privileges, exec
 *	                tells its pid, ends               its word, or the socket closes: executed
 *
 * The process is the caller's child. The joiner is not dumpable and holds nothing of the host's but
 * its memory when it enters; the program file itself is protected by process_protect_exe in main.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/inroot.h"
#include "ground/linux/process.h"
#include "ground/linux/pty.h"
#include "virt/container/job.h"
#include "virt/container/note.h"

struct joining {
	const struct container_exec_order *o;
	struct arena *a;
	struct spec *s;		/* NULL without a configuration */
	struct spec_process *p; /* a copy that may be changed */
	struct launch launch;
	struct cgroup *cgroup;
	struct cgroup_late late;
	int sock;
};

static char **join_texts(char **a, char **b, struct arena *arena)
{
	size_t n = mem_count_texts(a), m = mem_count_texts(b);
	char **ret = arena_new_array(arena, char *, n + m + 1);

	if (n)
		memcpy(ret, a, n * sizeof(*a));
	if (m)
		memcpy(ret + n, b, m * sizeof(*b));
	return ret;
}

/* A later value of a variable replaces an earlier one, in its place. */
static char **merge_env(char **base, char **added, struct arena *arena)
{
	char **all = join_texts(base, added, arena);
	size_t n = 0;

	for (size_t i = 0; all[i]; i++) {
		size_t name = strcspn(all[i], "="), k = 0;

		while (k < n && (strncmp(all[k], all[i], name) != 0 || all[k][name] != '='))
			k++;
		all[k] = all[i];
		n += k == n;
	}
	all[n] = NULL;
	return all;
}

static void take_fields(struct joining *j)
{
	const struct container_exec_order *o = j->o;
	struct spec_process *p = j->p;

	if (o->args)
		p->args = o->args;
	if (o->env)
		p->env = merge_env(p->env, o->env, j->a);
	if (o->cwd)
		p->cwd = arena_dup_text(j->a, o->cwd);
	p->terminal = o->terminal;
	p->console = (struct spec_console){o->rows, o->columns};
}

static int check_process(const struct joining *j, struct err *e)
{
	const struct spec_process *p = j->p;

	if (!p->args || !p->args[0])
		return err_set(e, ERR_INVALID, "process.args: nothing to run");
	if (!p->cwd || p->cwd[0] != '/')
		return err_set(e, ERR_INVALID, "process.cwd: '%s' is not an absolute path",
			       p->cwd ? p->cwd : "");
	if (p->terminal && !j->o->want_console && j->o->console_socket < 0)
		return err_set(e, ERR_INVALID, "a terminal needs a console socket to go to");
	return 0;
}

static int decode(struct joining *j, struct err *e)
{
	const struct container_exec_order *o = j->o;
	int r = 0;

	if (o->config)
		r = spec_read(AT_FDCWD, o->config, j->a, &j->s, e);
	if (r < 0)
		return r;
	j->p = arena_new(j->a, struct spec_process);
	if (o->process)
		*j->p = *o->process;
	else if (j->s && j->s->process)
		*j->p = *j->s->process;
	if (!o->process)
		take_fields(j);
	if (o->adjust && (r = o->adjust(o->adjust_ctx, j->p, j->a, e)) < 0)
		return r;
	return check_process(j, e);
}

static int prepare(struct joining *j, struct err *e)
{
	const struct container_exec_order *o = j->o;
	struct launch *l = &j->launch;
	int r = decode(j, e);

	if (r == 0)
		r = launch_init(l, j->p, j->a, e);
	if (r < 0)
		return r;
	l->user = o->user;
	l->no_new_keyring = o->no_new_keyring;
	l->preserve_fds = o->preserve_fds;
	memcpy(l->stdio, o->stdio, sizeof(l->stdio));
	if (o->privileged) {
		uint64_t all = caps_all();

		l->caps = (struct caps){.bounding = all, .effective = all, .permitted = all};
		return 0;
	}
	return j->s ? launch_seccomp(l, j->s->os.seccomp, o->seccomp_dir, j->a, e) : 0;
}

static int set_affinity(const char *list, struct err *e)
{
	struct str rest = str_of(list), part;
	cpu_set_t set;

	if (!list || !*list)
		return 0;
	CPU_ZERO(&set);
	while (str_cut(&rest, ',', &part)) {
		struct str first = {NULL, 0};
		uint32_t from, to;
		int r;

		part = str_trim(part);
		if (!str_cut(&part, '-', &first) || (r = parse_u32(first, "CPU", &from, e)) < 0)
			return err_set(e, ERR_INVALID, "process.execCPUAffinity: '%s'", list);
		to = from;
		if (part.p && (r = parse_u32(part, "CPU", &to, e)) < 0)
			return r;
		if (to < from || to >= CPU_SETSIZE)
			return err_set(e, ERR_INVALID, "process.execCPUAffinity: '%s'", list);
		for (; from <= to; from++)
			CPU_SET(from, &set);
	}
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return err_sys(e, "process.execCPUAffinity: cannot run on CPUs '%s'", list);
	return 0;
}

static int set_oom_score(const struct spec_process *p, struct err *e)
{
	auto_close int fd = -1;
	char text[24];
	int n;

	if (!p->oom_score_adj)
		return 0;
	n = snprintf(text, sizeof(text), "%lld", (long long)*p->oom_score_adj);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if ((fd < 0 || write(fd, text, (size_t)n) != n) && geteuid() == 0)
		return err_sys(e, "cannot set process.oomScoreAdj to %s", text);
	return 0;
}

static int join_cgroup(struct joining *j, struct err *e)
{
	const struct container_exec_order *o = j->o;
	int r = 0;

	j->cgroup = o->cgroup;
	if (!j->cgroup)
		return 0;
	if (o->cgroup_sub)
		r = cgroup_sub(o->cgroup, o->cgroup_sub, &j->cgroup, e);
	if (r == 0)
		r = cgroup_join_self(j->cgroup, false, e);
	return r < 0 ? r : cgroup_late_open(j->cgroup, &j->late, e);
}

/* Priorities, limits and the cgroup: while the host's view and rights are still there. */
static int take_place(struct joining *j, struct err *e)
{
	const struct spec_exec_affinity *cpus = j->p->exec_affinity;
	int r = set_affinity(cpus ? cpus->initial : NULL, e);

	if (r == 0)
		r = set_oom_score(j->p, e);
	if (r == 0)
		r = join_cgroup(j, e);
	if (r == 0)
		r = set_affinity(cpus ? cpus->final : NULL, e);
	if (r == 0)
		r = launch_personality(j->s ? j->s->os.personality : NULL, e);
	return r < 0 ? r : launch_priority(&j->launch, e);
}

/* From here on this process is among the container's: what it holds must not be reached into. */
static int enter(struct joining *j, struct err *e)
{
	auto_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int pidfd = -1;
	unsigned int bits = 0;
	int r = process_open(j->o->pid, j->o->start_time, &pidfd, e);

	if (r == 0)
		r = namespace_diff(proc, j->o->pid, &bits, e);
	if (r == 0)
		r = take_place(j, e);
	if (r < 0)
		return r;
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	r = namespace_join_process(pidfd, bits, e);
	if (r < 0 || !(bits & NAMESPACE_BIT(NAMESPACE_USER)))
		return r;
	(void)syscall(SYS_setgroups, 0, NULL);
	if ((syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0) &&
	    errno != EINVAL)
		return err_sys(e, "cannot become root of the user namespace");
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return 0;
}

static int open_console(struct joining *j, int root, struct err *e)
{
	static const char name[] = "/dev/pts/ptmx";
	const struct spec_console *size = &j->p->console;
	auto_close int pts = -1;
	auto_close int master = -1;
	int r;

	if (!j->p->terminal)
		return note_send(j->sock, NOTE_READY, NULL, 0, NULL, 0, e);
	r = inroot_open_nolinks(root, "dev/pts", O_RDONLY | O_DIRECTORY, &pts, e);
	if (r == 0)
		r = pty_open(pts, &master, &j->launch.tty, e);
	if (r == 0 && (size->height || size->width))
		r = pty_resize(master, size->height, size->width, e);
	if (r == 0 && j->o->console_socket >= 0)
		r = fdpass_send(j->o->console_socket, name, sizeof(name) - 1, &master, 1, e);
	if (r < 0)
		return err_wrap(e, "terminal");
	return note_send(j->sock, NOTE_READY, NULL, 0, &master, j->o->console_socket < 0, e);
}

static void reset_signals(void)
{
	struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &plain, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Inside, by paths of the container: its terminal, its users, its working directory. */
static int settle_in(struct joining *j, struct err *e)
{
	struct launch *l = &j->launch;
	auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (root < 0)
		return err_sys(e, "cannot open '/'");
	r = open_console(j, root, e);
	if (r == 0)
		r = launch_user(l, root, j->a, e);
	if (r == 0)
		r = launch_own_terminal(l, e);
	return r < 0 ? r : launch_cwd(l, e);
}

static int finish(struct joining *j, struct err *e)
{
	struct launch *l = &j->launch;
	int r;

	reset_signals();
	(void)setsid();
	r = settle_in(j, e);
	if (r == 0 && j->late.fd >= 0)
		r = cgroup_join_late(&j->late, e);
	if (r == 0)
		r = launch_privileges(l, e);
	if (r == 0)
		r = launch_find(l, j->a, e);
	if (r == 0)
		r = launch_descriptors(l, &j->sock, 1, e);
	return r < 0 ? r : launch_exec(l, e);
}

static _Noreturn void joiner_run(const struct container_exec_order *o, int sock)
{
	struct arena a = {0};
	struct joining j = {.o = o, .a = &a, .sock = sock, .late = {-1}};
	struct err e = {0};
	pid_t pid = -1;
	int r;

	j.launch.tty = j.launch.procfd = j.launch.seccomp_sock = -1;
	r = prepare(&j, &e);
	if (r == 0)
		r = enter(&j, &e);
	if (r == 0)
		r = namespace_clone(CLONE_PARENT, -1, &pid, NULL, &e);
	if (r == 0 && pid == 0) {
		r = finish(&j, &e);
	} else if (r == 0) {
		r = note_send(sock, NOTE_MADE, &pid, sizeof(pid), NULL, 0, &e);
	}
	if (r < 0)
		note_send_error(sock, &e);
	_exit(r < 0);
}

/* Listens to both until both have closed; the first error counts. */
static int listen_to(int sock, struct container *c, struct err *e)
{
	struct note n;
	struct err later = {0};
	bool ready = false;
	int first = 0;

	for (;;) {
		int r = note_recv(sock, &n, first ? &later : e);

		if (r < 0 && !first)
			first = r;
		if (r < 0)
			continue;
		if (n.type == NOTE_END)
			break;
		if (n.type == NOTE_MADE && n.n == sizeof(c->pid))
			memcpy(&c->pid, n.bytes, sizeof(c->pid));
		if (n.type == NOTE_READY)
			ready = true;
		if (n.type == NOTE_READY && n.fds_n)
			c->console = n.fds[0];
	}
	if (!first && (!ready || c->pid <= 0))
		return err_set(e, ERR_GONE, "the process has ended without a word");
	return first;
}

static int identify(struct container *c, struct err *e)
{
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->pidfd < 0)
		return err_sys(e, "cannot open process %d", c->pid);
	return process_start_time(c->pid, &c->start_time, NULL, e);
}

int container_exec(const struct container_exec_order *o, struct container *ret, struct err *e)
{
	struct container c = CONTAINER_INIT;
	int pair[2] = {-1, -1};
	pid_t joiner;
	int r = fdpass_pair(SOCK_SEQPACKET, pair, e);

	assert(o->pid > 0);
	if (r == 0)
		r = namespace_clone(0, -1, &joiner, NULL, e);
	if (r == 0 && joiner == 0) {
		pair[0] = fd_close(pair[0]);
		joiner_run(o, pair[1]);
	}
	pair[1] = fd_close(pair[1]);
	if (r == 0) {
		r = listen_to(pair[0], &c, e);
		while (waitpid(joiner, NULL, 0) < 0 && errno == EINTR)
			;
	}
	pair[0] = fd_close(pair[0]);
	if (r == 0)
		r = identify(&c, e);
	else if (c.pid > 0)
		while (waitpid(c.pid, NULL, 0) < 0 && errno == EINTR)
			;
	if (r < 0) {
		container_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}
