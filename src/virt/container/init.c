/*
 * Creation, the inside: the container's first process from clone to exec. See create.c for the
 * picture.
 *
 * It runs on a copy of its caller's memory, is not dumpable, and talks through one socket until the
 * gate opens. The steps are a table: each either succeeds or its error is told and the process
 * ends; the kernel then takes its namespaces and mounts away, so that there is nothing to undo
 * here.
 */
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
#include <unistd.h>

#include <linux/keyctl.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/mount.h"
#include "ground/linux/netns.h"
#include "ground/linux/process.h"
#include "ground/linux/pty.h"
#include "virt/container/hook.h"
#include "virt/container/job.h"
#include "virt/container/note.h"

/* Signals ignored or blocked by whoever started the caller would stay so in the container. */
static void reset_signals(void)
{
	struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &plain, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The host's procfs is still the one at /proc, and calls us by the host's number. */
static pid_t host_pid(void)
{
	char text[16];
	uint32_t pid;
	ssize_t n = readlink("/proc/self", text, sizeof(text));

	if (n <= 0 || parse_u32((struct str){text, (size_t)n}, "pid", &pid, NULL) < 0)
		return 0;
	return (pid_t)pid;
}

static int step_begin(struct job *j, struct err *e)
{
	struct note *n;
	int r;

	j->sock[0] = fd_close(j->sock[0]);
	reset_signals();
	(void)setsid();
	(void)umask(0); /* modes are as they are said; launch_privileges sets the program's */
	if (j->made_bits & NAMESPACE_BIT(NAMESPACE_USER)) {
		n = arena_new(j->a, struct note);
		r = note_expect(j->sock[1], NOTE_MAPPED, n, e);
		if (r < 0)
			return r;
		/* EPERM: setgroups is denied here; EINVAL: 0 is not mapped. Both are legitimate. */
		if (!j->launch.keep_groups)
			(void)syscall(SYS_setgroups, 0, NULL);
		if ((syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0) &&
		    errno != EINVAL)
			return err_sys(e, "cannot become root of the user namespace");
	}
	if (j->launch.seccomp.notifies)
		j->launch.host_pid = host_pid();
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return 0;
}

static int step_namespaces(struct job *j, struct err *e)
{
	const enum namespace_kind late[] = {NAMESPACE_IPC, NAMESPACE_UTS, NAMESPACE_NETWORK,
					    NAMESPACE_MOUNT};
	int r;

	for (size_t i = 0; i < array_len(late); i++) {
		if (!(j->join_bits & NAMESPACE_BIT(late[i])))
			continue;
		r = namespace_join(j->join_fd[late[i]], late[i], e);
		if (r < 0)
			return r;
	}
	if (!(j->made_bits & NAMESPACE_BIT(NAMESPACE_NETWORK)))
		return 0;
	r = namespace_unshare(NAMESPACE_NETWORK, e);
	return r < 0 ? r : netns_loopback_up(e);
}

static int step_names(struct job *j, struct err *e)
{
	const char *host = j->s->hostname, *domain = j->s->domainname;

	if (host && sethostname(host, strlen(host)) < 0)
		return err_sys(e, "cannot set hostname to '%s'", host);
	if (domain && setdomainname(domain, strlen(domain)) < 0)
		return err_sys(e, "cannot set domainname to '%s'", domain);
	return 0;
}

static int step_priority(struct job *j, struct err *e)
{
	int r = launch_personality(j->s->os.personality, e);

	return r < 0 ? r : launch_priority(&j->launch, e);
}

/* The runtime's hooks see the mounts made and the old root still there; then those of the
 * container. */
static int step_hooks(struct job *j, struct err *e)
{
	const struct spec_hooks *h = j->s->hooks;
	struct note *n;
	int r;

	if (!h || !(h->prestart_n + h->create_runtime_n + h->create_container_n))
		return 0;
	n = arena_new(j->a, struct note);
	r = note_send(j->sock[1], NOTE_HOOKS, NULL, 0, NULL, 0, e);
	if (r == 0)
		r = note_expect(j->sock[1], NOTE_GO, n, e);
	if (r < 0)
		return r;
	return hook_run(h->create_container, h->create_container_n, "createContainer", n->bytes, e);
}

static int step_user(struct job *j, struct err *e)
{
	struct launch *l = &j->launch;
	int r = launch_user(l, j->root, j->a, e);

	if (r == 0)
		r = launch_own_terminal(l, e);
	return r < 0 ? r : launch_cwd(l, e);
}

static int step_late_cgroup(struct job *j, struct err *e)
{
	return job_join_cgroup(j, e);
}

static int step_privileges(struct job *j, struct err *e)
{
	return launch_privileges(&j->launch, e);
}

static int step_find(struct job *j, struct err *e)
{
	return launch_find(&j->launch, j->a, e);
}

static int send_console(const struct job *j, struct err *e)
{
	static const char name[] = "/dev/pts/ptmx";
	int r;

	if (j->console_master < 0 || j->o->console_socket < 0)
		return 0;
	r = fdpass_send(j->o->console_socket, name, sizeof(name) - 1, &j->console_master, 1, e);
	return r < 0 ? err_wrap(e, "handing the terminal to the console socket") : 0;
}

/* Through the gate: at once, by a word on our own socket, or by whoever connects to the listener.
 */
static int step_gate(struct job *j, struct err *e)
{
	bool tell_console = j->console_master >= 0 && j->o->console_socket < 0;
	const int keep[] = {j->sock[1], j->o->gate_listen, j->console_master};
	struct note *n = arena_new(j->a, struct note);
	int r = send_console(j, e);

	if (r == 0)
		r = launch_descriptors(&j->launch, keep, array_len(keep), e);
	if (r == 0)
		r = note_send(j->sock[1], NOTE_READY, NULL, 0, &j->console_master, tell_console, e);
	if (r < 0)
		return r;
	j->console_master = fd_close(j->console_master);
	if (j->o->gate_listen >= 0 && !j->o->start) {
		int peer;

		do
			peer = accept4(j->o->gate_listen, NULL, NULL, SOCK_CLOEXEC);
		while (peer < 0 && errno == EINTR);
		if (peer < 0)
			return err_sys(e, "cannot wait at the gate");
		(void)fd_close(j->sock[1]);
		j->sock[1] = peer;
	}
	return note_expect(j->sock[1], NOTE_START, n, e);
}

static int step_start_hooks(struct job *j, struct err *e)
{
	const struct spec_hooks *h = j->s->hooks;
	auto_free char *state = NULL;

	if (!h || !h->start_container_n)
		return 0;
	state = job_state(j, "created", getpid());
	return hook_run(h->start_container, h->start_container_n, "startContainer", state, e);
}

static int step_exec(struct job *j, struct err *e)
{
	return launch_exec(&j->launch, e);
}

_Noreturn void init_run(struct job *j)
{
	static int (*const steps[])(struct job *, struct err *) = {
		step_begin,  step_namespaces,	step_names,	  step_priority,   root_prepare,
		mounts_make, mounts_make_binds, devices_make,	  devices_console, sysctls_apply,
		step_hooks,  step_late_cgroup,	root_finish,	  step_user,	   step_privileges,
		step_find,   step_gate,		step_start_hooks, step_exec,
	};
	struct err e = {0};

	for (size_t i = 0; i < array_len(steps); i++)
		if (steps[i](j, &e) < 0)
			break;
	note_send_error(j->sock[1], &e);
	_exit(1);
}
