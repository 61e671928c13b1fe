/*
 * Makes a running process do a system call that it does not do by itself: force-call PID NUMBER [ARG...].
 * Prints "returned N" and lets the process go on as if nothing had been, or "killed by signal N". What a
 * process's filter forbids can so be seen from outside, whatever its code may ask for. x86-64 and aarch64.
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__
#define INSTRUCTION 2
#define RESULT(r)   (r).rax
static void aim(struct user_regs_struct *r, unsigned long long nr, const unsigned long long arg[6])
{
	r->rip -= INSTRUCTION; /* it rests behind the instruction that led it into the kernel */
	r->rax = nr;
	r->orig_rax = -1ULL;
	r->rdi = arg[0], r->rsi = arg[1], r->rdx = arg[2], r->r10 = arg[3], r->r8 = arg[4],
	r->r9 = arg[5];
}
#else
#define INSTRUCTION 4
#define RESULT(r)   (r).regs[0]
static void aim(struct user_regs_struct *r, unsigned long long nr, const unsigned long long arg[6])
{
	r->pc -= INSTRUCTION;
	r->regs[8] = nr;
	for (int i = 0; i < 6; i++)
		r->regs[i] = arg[i];
}
#endif

static void fail(const char *what)
{
	fprintf(stderr, "force-call: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void end(int status)
{
	printf("killed by signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	exit(0);
}

/* To the next stop on the way into or out of the kernel. */
static void step(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SYSCALL, pid, 0, 0) < 0 || waitpid(pid, &status, __WALL) < 0)
		fail("going on");
	if (!WIFSTOPPED(status))
		end(status);
	if (WSTOPSIG(status) == SIGSYS) {
		printf("killed by signal %d\n", SIGSYS);
		exit(ptrace(PTRACE_DETACH, pid, 0, SIGSYS) < 0);
	}
}

int main(int argc, char **argv)
{
	pid_t pid = argc > 2 ? (pid_t)strtoul(argv[1], NULL, 10) : 0;
	unsigned long long arg[6] = {0};
	struct user_regs_struct saved, now;
	struct iovec v = {&saved, sizeof(saved)};
	long long result;
	int status;

	for (int i = 3; i < argc && i < 9; i++)
		arg[i - 3] = strtoull(argv[i], NULL, 0);
	if (pid <= 0 || ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) < 0)
		fail("seizing the process");
	/* Out of the call in which it waits, if it does: at the stop behind it nothing is half done. */
	if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0 || waitpid(pid, &status, __WALL) < 0)
		fail("stopping it");
	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &v) < 0)
		fail("reading registers");
	now = saved;
	aim(&now, strtoull(argv[2], NULL, 0), arg);
	v.iov_base = &now;
	if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &v) < 0)
		fail("writing registers");
	step(pid); /* in */
	step(pid); /* out */
	v.iov_base = &now;
	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &v) < 0)
		fail("reading the result");
	result = (long long)RESULT(now);
	/* The kernel's own "do it again" is no answer for a program: it was interrupted. */
	if ((long long)RESULT(saved) <= -512 && (long long)RESULT(saved) >= -516)
		RESULT(saved) = (unsigned long long)-EINTR;
	v.iov_base = &saved;
	if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &v) < 0)
		fail("putting registers back");
	step(pid); /* into its own next call, unless a signal meets it on the way */
	printf("returned %lld\n", result);
	if (ptrace(PTRACE_DETACH, pid, 0, 0) < 0)
		fail("letting it go");
	return 0;
}
