/*
 * Hooks: see hook.h. The child is a plain fork and exec; its end is awaited on a pidfd, so that the
 * timeout needs neither signals nor polling.
 */
#include "virt/container/hook.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/namespace.h"
#include "ground/linux/process.h"

static _Noreturn void run_child(const struct spec_hook *h, int input, int report)
{
	char *fallback[] = {h->path, NULL};
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup3(input, STDIN_FILENO, 0) < 0 && errno != EINVAL)
		_exit(126);
	(void)execve(h->path, h->args && h->args[0] ? h->args : fallback,
		     h->env ? h->env : environ);
	(void)!write(report, &errno, sizeof(errno));
	_exit(127);
}

/* The state is small: it fits the socket's buffer, so that a hook that never reads blocks nobody.
 */
static int feed(int to, const char *state, struct err *e)
{
	size_t n = strlen(state);

	if (send(to, state, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n && errno != EPIPE)
		return err_sys(e, "cannot hand the state to the hook");
	return 0;
}

static int await(int pidfd, const struct spec_hook *h, int *ret_status, struct err *e)
{
	int64_t seconds = h->timeout ? *h->timeout : -1;
	int ms = seconds < 0 ? -1 : seconds > 1000000 ? 1000000000 : (int)seconds * 1000;
	int r = process_wait(pidfd, ms, ret_status, e);

	if (r != -ERR_TIMEOUT)
		return r;
	(void)!process_signal(pidfd, SIGKILL, NULL);
	(void)!process_wait(pidfd, -1, NULL, NULL);
	return err_set(e, ERR_TIMEOUT, "'%s' was killed: it ran longer than its %lld seconds",
		       h->path, (long long)seconds);
}

static int run_one(const struct spec_hook *h, const char *state, struct err *e)
{
	int in[2] = {-1, -1}, said[2] = {-1, -1};
	int sys = 0, status = 0, r;
	auto_close int pidfd = -1;
	pid_t pid;

	r = fdpass_pair(SOCK_STREAM, in, e);
	if (r == 0 && pipe2(said, O_CLOEXEC) < 0)
		r = err_sys(e, "cannot make a pipe");
	if (r == 0)
		r = namespace_clone(0, -1, &pid, &pidfd, e);
	if (r == 0 && pid == 0)
		run_child(h, in[0], said[1]);
	in[0] = fd_close(in[0]);
	said[1] = fd_close(said[1]);
	if (r == 0)
		r = feed(in[1], state, e);
	in[1] = fd_close(in[1]);
	if (r == 0 && pidfd >= 0)
		r = await(pidfd, h, &status, e);
	if (r == 0 && read(said[0], &sys, sizeof(sys)) == (ssize_t)sizeof(sys)) {
		errno = sys;
		r = err_sys(e, "cannot execute '%s'", h->path);
	}
	said[0] = fd_close(said[0]);
	if (r == 0 && WIFSIGNALED(status))
		r = err_set(e, ERR_SYSTEM, "'%s' was killed by signal %d", h->path,
			    WTERMSIG(status));
	else if (r == 0 && status)
		r = err_set(e, ERR_SYSTEM, "'%s' ended with code %d", h->path, WEXITSTATUS(status));
	return r;
}

int hook_run(const struct spec_hook *hooks, size_t n, const char *what, const char *state,
	     struct err *e)
{
	assert(!n || hooks);
	assert(what && state);
	for (size_t i = 0; i < n; i++)
		if (run_one(&hooks[i], state, e) < 0)
			return err_wrap(e, "%s hook %zu", what, i);
	return 0;
}
