/*
 * Starting a process: see process.h. The child tells a failed exec through a pipe that a good one
 * closes, so that "not found" is known before the session says `started`.
 */
#include "virt/guest/process.h"

#include <assert.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/guest/account.h"

#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct plan {
	const struct guest_start *start;
	struct account account;
	char **env;
	char *program;
	int stdio[3]; /* the child's ends */
	int report;
};

static const char *value_of(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; env && *env; env++)
		if (text_starts(*env, name) && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

static char **environment(const struct guest_start *s, const struct account *who)
{
	char **env = mem_dup_texts(s->env);
	auto_free char *home = mem_printf("HOME=%s", who->home);

	if (!value_of(env, "PATH"))
		mem_append_text(&env, "PATH=" USUAL_PATH);
	if (!value_of(env, "HOME"))
		mem_append_text(&env, home);
	if (s->tty && !value_of(env, "TERM"))
		mem_append_text(&env, "TERM=xterm");
	return env;
}

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* A name without a slash is looked up in PATH; NULL: not there. */
static char *find_program(const char *name, char *const *env)
{
	struct str rest = str_of(value_of(env, "PATH")), dir;

	if (strchr(name, '/'))
		return mem_dup_text(name);
	while (rest.p && str_cut(&rest, ':', &dir)) {
		char *path = mem_printf("%.*s/%s", (int)dir.n, dir.n ? dir.p : ".", name);

		if (is_program(path))
			return path;
		free(path);
	}
	return NULL;
}

static int open_terminal(const struct guest_start *s, struct plan *plan, struct guest_process *p,
			 struct err *e)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	char name[32];
	unsigned n;

	if (master < 0 || ioctl(master, TIOCGPTN, &n) < 0 ||
	    ioctl(master, TIOCSPTLCK, &(int){0}) < 0) {
		(void)fd_close(master);
		return err_sys(e, "cannot make a terminal in the machine");
	}
	(void)snprintf(name, sizeof(name), "/dev/pts/%u", n);
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0) {
		(void)fd_close(master);
		return err_sys(e, "cannot open '%s' in the machine", name);
	}
	p->input = p->output[0] = master;
	for (int i = 0; i < 3; i++)
		plan->stdio[i] = slave;
	if (s->rows > 0 && s->columns > 0)
		(void)!guest_process_resize(p, s->rows, s->columns, NULL);
	return fchown(slave, plan->account.uid, (gid_t)-1) < 0 ? err_sys(e, "cannot own '%s'", name)
							       : 0;
}

static int one_pipe(bool input, int *ours, int *theirs, struct err *e)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "cannot make a pipe in the machine");
	*ours = ends[input];
	*theirs = ends[!input];
	return 0;
}

static int open_pipes(const struct guest_start *s, struct plan *plan, struct guest_process *p,
		      struct err *e)
{
	int r;

	if (s->want_stdin) {
		r = one_pipe(true, &p->input, &plan->stdio[0], e);
	} else {
		plan->stdio[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		r = plan->stdio[0] < 0 ? err_sys(e, "cannot open '/dev/null'") : 0;
	}
	for (int i = 1; i < 3 && r == 0; i++)
		r = one_pipe(false, &p->output[i - 1], &plan->stdio[i], e);
	return r;
}

static int become(const struct plan *plan)
{
	const struct account *who = &plan->account;
	const char *cwd = plan->start->cwd && *plan->start->cwd ? plan->start->cwd : "/";

	if (setgroups(who->groups_n, who->groups) < 0 ||
	    setresgid(who->gid, who->gid, who->gid) < 0 ||
	    setresuid(who->uid, who->uid, who->uid) < 0)
		return -1;
	return chdir(cwd);
}

static _Noreturn void child(const struct plan *plan)
{
	struct sigaction usual = {.sa_handler = SIG_DFL};
	sigset_t none;
	int sys;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &usual, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	for (int i = 0; i < 3; i++)
		(void)dup2(plan->stdio[i], i);
	if (plan->start->tty)
		(void)ioctl(0, TIOCSCTTY, 0);
	if (become(plan) == 0)
		(void)execve(plan->program, plan->start->args, plan->env);
	sys = errno;
	(void)!write(plan->report, &sys, sizeof(sys));
	_exit(127);
}

/* Waits until the program runs; what its exec said otherwise. */
static int await_exec(int report, const char *name, uint32_t *ret_code, struct err *e)
{
	int sys = 0;

	if (read(report, &sys, sizeof(sys)) != (ssize_t)sizeof(sys))
		return 0;
	*ret_code = sys == ENOENT || sys == ENOTDIR ? 127 : 126;
	errno = sys;
	return err_sys(e, "cannot run '%s' in the machine", name);
}

static int launch(struct plan *plan, struct guest_process *p, uint32_t *ret_code, struct err *e)
{
	int report[2], r;

	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(e, "cannot make a pipe in the machine");
	plan->report = report[1];
	p->pid = fork();
	if (p->pid == 0)
		child(plan);
	(void)fd_close(report[1]);
	r = p->pid < 0 ? err_sys(e, "cannot fork in the machine")
		       : await_exec(report[0], plan->start->args[0], ret_code, e);
	(void)fd_close(report[0]);
	return r;
}

static void close_theirs(struct plan *plan, bool tty)
{
	for (int i = 0; i < (tty ? 1 : 3); i++)
		(void)fd_close(plan->stdio[i]);
}

int guest_process_start(const struct guest_start *s, struct guest_process *ret, uint32_t *ret_code,
			struct err *e)
{
	auto_arena struct arena a = {0};
	struct plan plan = {.start = s, .stdio = {-1, -1, -1}};
	struct guest_process p = {.input = -1, .output = {-1, -1}};
	int r;

	assert(s->args && s->args[0]);
	*ret_code = 126;
	r = account_find("/etc", s->user, &a, &plan.account, e);
	if (r < 0)
		return r;
	plan.env = environment(s, &plan.account);
	plan.program = find_program(s->args[0], plan.env);
	if (!plan.program) {
		*ret_code = 127;
		r = err_set(e, ERR_NOT_FOUND,
			    "exec: \"%s\": executable file not found in $PATH of the machine",
			    s->args[0]);
	}
	if (r == 0)
		r = s->tty ? open_terminal(s, &plan, &p, e) : open_pipes(s, &plan, &p, e);
	if (r == 0)
		r = launch(&plan, &p, ret_code, e);
	close_theirs(&plan, s->tty);
	free(plan.program);
	plan.env = mem_free_texts(plan.env);
	if (r < 0)
		guest_process_close(&p);
	else
		*ret = p;
	return r;
}

int guest_process_resize(const struct guest_process *p, uint32_t rows, uint32_t columns,
			 struct err *e)
{
	struct winsize ws = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

	if (ioctl(p->input, TIOCSWINSZ, &ws) < 0)
		return err_sys(e, "cannot resize the terminal in the machine");
	return 0;
}

void guest_process_close(struct guest_process *p)
{
	if (p->output[0] != p->input)
		(void)fd_close(p->output[0]);
	(void)fd_close(p->output[1]);
	(void)fd_close(p->input);
	p->input = p->output[0] = p->output[1] = -1;
}
