/* Programs of the host as a container's processes: see machine.h. Runs in a maker. */
#include "virt/keeper/machine.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/process.h"
#include "ground/linux/pty.h"

#define CGROUP_END_MS 2000

struct launch {
	char *const *argv;
	const int *stdio;
	int terminal; /* the slave; -1: stdio */
	int report;
	struct cgroup *cgroup;
};

static int enter(const struct launch *l, struct err *e)
{
	struct cgroup_late late = {.fd = -1};

	(void)setsid();
	if (cgroup_late_open(l->cgroup, &late, e) < 0 ||
	    cgroup_join_self(l->cgroup, false, e) < 0 || cgroup_join_late(&late, e) < 0)
		return -ERR_SYSTEM;
	if (l->terminal >= 0)
		return pty_adopt(l->terminal, e);
	for (int i = 0; i < 3; i++)
		if (dup2(l->stdio[i], i) < 0)
			return err_sys(e, "cannot set stream %d", i);
	return 0;
}

static _Noreturn void child(const struct launch *l)
{
	static char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	struct err e = {0};
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (enter(l, &e) == 0) {
		(void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
		(void)execve(l->argv[0], l->argv, env);
		(void)err_sys(&e, "cannot run '%s'", l->argv[0]);
	}
	(void)!write(l->report, &e, sizeof(e));
	_exit(127);
}

/* The child's words, or nothing when it runs. */
static int await_exec(int report, pid_t pid, struct err *e)
{
	struct err why;

	if (read(report, &why, sizeof(why)) != (ssize_t)sizeof(why))
		return 0;
	(void)waitpid(pid, NULL, 0);
	*e = why;
	e->kind = ERR_INTERNAL; /* our own program is to blame, never the user's */
	return -ERR_INTERNAL;
}

static int start(struct launch *l, struct container *c, struct err *e)
{
	int report[2], r;

	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(e, "cannot make a pipe");
	l->report = report[1];
	c->pid = fork();
	if (c->pid == 0)
		child(l);
	(void)close(report[1]);
	r = c->pid < 0 ? err_sys(e, "cannot fork") : await_exec(report[0], c->pid, e);
	(void)close(report[0]);
	if (r < 0)
		return r;
	r = process_start_time(c->pid, &c->start_time, NULL, e);
	return r < 0 ? r : process_open(c->pid, c->start_time, &c->pidfd, e);
}

static void drop(struct container *c)
{
	c->pidfd = fd_close(c->pidfd);
	c->console = fd_close(c->console);
	c->cgroup = cgroup_free(c->cgroup);
}

static int open_terminal(struct launch *l, struct container *c, uint32_t rows, uint32_t columns,
			 struct err *e)
{
	auto_close int devpts = open("/dev/pts", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (devpts < 0)
		return err_sys(e, "cannot open '/dev/pts'");
	if (pty_open(devpts, &c->console, &l->terminal, e) < 0)
		return -ERR_SYSTEM;
	if (rows > 0 && columns > 0)
		(void)!pty_resize(c->console, rows, columns, NULL);
	return 0;
}

int machine_create(const struct keeper_orders *o, const int stdio[3], struct container *ret,
		   struct err *e)
{
	struct cgroup_want want = {.path = o->cgroup_path, .id = o->id};
	struct launch l = {.argv = o->run_args, .stdio = stdio, .terminal = -1};
	struct container c = CONTAINER_INIT;
	int r = cgroup_make(&want, &c.cgroup, e);

	assert(o->run_args && o->run_args[0]);
	if (r < 0)
		return r;
	l.cgroup = c.cgroup;
	if (o->tty)
		r = open_terminal(&l, &c, o->rows, o->columns, e);
	if (r == 0)
		r = start(&l, &c, e);
	(void)fd_close(l.terminal);
	if (r < 0) {
		(void)!cgroup_end(c.cgroup, CGROUP_END_MS, NULL);
		drop(&c);
		return r;
	}
	*ret = c;
	return 0;
}

static void append_pair(char ***argv, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	mem_append_text(argv, name);
	mem_append_text(argv, value);
}

int machine_exec(const struct keeper_orders *o, const struct keeper_exec *x, struct cgroup *cg,
		 const int stdio[3], struct container *ret, struct err *e)
{
	struct launch l = {.stdio = stdio, .terminal = -1, .cgroup = cg};
	struct container c = CONTAINER_INIT;
	char **argv = NULL;
	int r = 0;

	if (!o->exec_args)
		return err_set(e, ERR_UNSUPPORTED,
			       "machine '%s' has no agent: it did not boot an image", o->id);
	argv = mem_dup_texts(o->exec_args);
	append_pair(&argv, "--workdir", x->cwd);
	append_pair(&argv, "--user", x->user);
	for (char **v = x->env; v && *v; v++)
		append_pair(&argv, "--env", *v);
	if (x->tty)
		mem_append_text(&argv, "--tty");
	if (x->client.want_stdin)
		mem_append_text(&argv, "--interactive");
	mem_append_text(&argv, "--");
	for (char **v = x->args; *v; v++)
		mem_append_text(&argv, *v);
	l.argv = argv;
	if (x->tty)
		r = open_terminal(&l, &c, x->rows, x->columns, e);
	if (r == 0)
		r = start(&l, &c, e);
	(void)fd_close(l.terminal);
	argv = mem_free_texts(argv);
	if (r < 0)
		drop(&c);
	else
		*ret = c;
	return r;
}
