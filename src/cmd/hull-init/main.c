/*
 * hull-init: the first process of a container started with --init. It runs the program as its
 * child, hands every signal on to it, reaps whatever is left to it, and ends as the program ends.
 *
 *	hull-init [--] PROGRAM [ARGUMENT...]
 *
 * The program gets a process group of its own and, where standard input is a terminal, the
 * foreground. Exit code: the program's, 128 + n when signal n killed it, 127 when it is not found,
 * 126 when it cannot be executed. Nothing is allocated and nothing is read: what this program does
 * not do cannot fail inside a small memory limit.
 *
 * As the first process of a pod's shared pid namespace it has no program and only reaps.
 * As /init of a machine's initramfs it is pid 1 and agent of the guest: virt/guest/pid1.h.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/guest/pid1.h"

#define EXIT_NOT_FOUND	    127
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_USAGE	    2

/* Signals that are about this process itself: they are not handed on. */
static const int own_signals[] = {SIGCHLD, SIGTTIN, SIGTTOU, SIGSEGV,
				  SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP};

static const char *explain(int sys)
{
	if (sys == ENOENT)
		return "no such file, or its interpreter or loader is missing in the image";
	if (sys == ENOEXEC)
		return "not a program of this machine's kind (wrong architecture, or a script "
		       "without #!)";
	return strerror(sys);
}

static _Noreturn void run(char **argv, const sigset_t *mask)
{
	int sys;

	(void)setpgid(0, 0);
	if (isatty(0))
		(void)tcsetpgrp(0, getpid());
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	(void)execvp(argv[0], argv);
	sys = errno;
	(void)dprintf(2, "hull-init: cannot run '%s': %s\n", argv[0], explain(sys));
	_exit(sys == ENOENT || sys == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

static int code_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Reaps all that have ended: the program's exit code when it is among them, else -1. */
static int reap(pid_t program)
{
	int status, code = -1;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == program)
			code = code_of(status);
	return code;
}

static int is_own(int sig)
{
	for (size_t i = 0; i < sizeof(own_signals) / sizeof(own_signals[0]); i++)
		if (own_signals[i] == sig)
			return 1;
	return 0;
}

/* The first process of a pod whose containers share their processes: reaps, until it is killed. */
static _Noreturn void reap_for_ever(void)
{
	sigset_t all;
	siginfo_t info;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	for (;;) {
		(void)sigwaitinfo(&all, &info);
		(void)reap(-1);
	}
}

int main(int argc, char **argv)
{
	sigset_t all, before;
	siginfo_t info;
	pid_t program;
	int code = -1;

	if (getpid() == 1 && argc > 0 && strcmp(argv[0], "/init") == 0)
		guest_pid1();
	if (getpid() == 1 && argc == 1)
		reap_for_ever();
	argv++;
	if (argc > 1 && strcmp(argv[0], "--") == 0)
		argv++;
	if (argc < 2 || !argv[0]) {
		(void)dprintf(2, "usage: hull-init [--] PROGRAM [ARGUMENT...]\n");
		return EXIT_USAGE;
	}
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	program = fork();
	if (program < 0) {
		(void)dprintf(2, "hull-init: cannot fork: %s\n", strerror(errno));
		return EXIT_NOT_EXECUTABLE;
	}
	if (program == 0)
		run(argv, &before);
	while (code < 0) {
		int sig = sigwaitinfo(&all, &info);

		if (sig > 0 && !is_own(sig))
			(void)kill(program, sig);
		code = reap(program);
	}
	return code;
}
