/* Programs that we start: each ends with us (PR_SET_PDEATHSIG). See mate.h. */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/process.h"
#include "mate.h"

#define HIGH_FD 64

static _Noreturn void become(char *const *argv, const int *fds, size_t n, pid_t parent)
{
	static char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	int high[MATE_FDS_MAX];
	sigset_t none;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
		_exit(MATE_CODE_FAILED);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	/* First out of each other's way, then into place. */
	for (size_t i = 0; i < n; i++)
		high[i] = fds[i] >= 0 ? fcntl(fds[i], F_DUPFD_CLOEXEC, HIGH_FD)
				      : open("/dev/null", O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < n; i++)
		(void)dup2(high[i], (int)i);
	(void)close_range((unsigned)n, ~0u, CLOSE_RANGE_CLOEXEC);
	(void)execve(argv[0], argv, env);
	(void)dprintf(2, "hull: cannot run '%s': %s\n", argv[0], strerror(errno));
	_exit(MATE_CODE_FAILED);
}

int child_start(char *const *argv, const int *fds, size_t fds_n, struct mate_child *ret,
		struct err *e)
{
	pid_t self = getpid(), pid;
	uint64_t start_time;

	assert(fds_n <= MATE_FDS_MAX);
	pid = fork();
	if (pid < 0)
		return err_sys(e, "cannot fork");
	if (pid == 0)
		become(argv, fds, fds_n, self);
	ret->pid = pid;
	ret->pidfd = -1;
	if (process_start_time(pid, &start_time, NULL, e) < 0 ||
	    process_open(pid, start_time, &ret->pidfd, e) < 0)
		return -ERR_SYSTEM;
	return 0;
}

int child_wait(struct mate_child *c, int timeout_ms, int *ret_code, struct err *e)
{
	int status;
	int r = process_wait(c->pidfd, timeout_ms, &status, e);

	if (r < 0)
		return r;
	c->pid = 0;
	c->pidfd = fd_close(c->pidfd);
	*ret_code = process_exit_code(status);
	return 0;
}

void child_kill(struct mate_child *c)
{
	int code;

	if (c->pid <= 0)
		return;
	(void)kill(c->pid, SIGKILL);
	(void)!child_wait(c, -1, &code, NULL);
}
