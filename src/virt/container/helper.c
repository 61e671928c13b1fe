/*
 * The helper: some namespaces (pid, time, user) are entered by a new child only, or must be joined
 * while one still has the rights that a new user namespace takes away. A short-lived process joins
 * them and makes the first process with CLONE_PARENT: it is the caller's own child, and the helper
 * is gone.
 */
#include "virt/container/helper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "ground/linux/fdpass.h"
#include "virt/container/note.h"

#define BIT NAMESPACE_BIT

bool helper_needed(const struct job *j)
{
	const unsigned int early = BIT(NAMESPACE_USER) | BIT(NAMESPACE_PID) | BIT(NAMESPACE_TIME);

	if (j->join_bits & early)
		return true;
	if ((j->made_bits & BIT(NAMESPACE_USER)) && j->join_bits)
		return true;
	return (j->made_bits & BIT(NAMESPACE_TIME)) && j->s->os.time_offsets;
}

static int write_offset(int fd, const char *clock, const struct spec_time_offset *o, struct err *e)
{
	char line[80];
	int n;

	if (!o)
		return 0;
	n = snprintf(line, sizeof(line), "%s %lld %u\n", clock, (long long)o->secs, o->nanosecs);
	if (write(fd, line, (size_t)n) != n)
		return err_sys(e, "cannot set linux.timeOffsets.%s", clock);
	return 0;
}

static int make_time(const struct job *j, struct err *e)
{
	const struct spec_time_offsets *o = j->s->os.time_offsets;
	auto_close int fd = -1;
	int r = namespace_unshare(NAMESPACE_TIME, e);

	if (r < 0)
		return r;
	fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot set linux.timeOffsets");
	r = write_offset(fd, "monotonic", o->monotonic, e);
	return r < 0 ? r : write_offset(fd, "boottime", o->boottime, e);
}

/* In a joined user namespace this process still has an id from outside: it becomes root of it. */
static int become_root(struct err *e)
{
	(void)syscall(SYS_setgroups, 0, NULL);
	if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		return err_sys(e, "cannot become root of the user namespace");
	return 0;
}

static int join_all(struct job *j, struct err *e)
{
	/* The mount namespace is joined by the first process: paths are still needed until then. */
	for (int k = 0; k < NAMESPACE_MOUNT; k++) {
		int r;

		if (!(j->join_bits & BIT(k)) || k == NAMESPACE_CGROUP)
			continue;
		r = namespace_join(j->join_fd[k], (enum namespace_kind)k, e);
		if (r == 0 && k == NAMESPACE_USER)
			r = become_root(e);
		if (r < 0)
			return r;
		j->join_bits &= ~BIT(k);
	}
	return 0;
}

static _Noreturn void helper_run(struct job *j, uint64_t flags, int sock)
{
	struct err e = {0};
	pid_t pid = -1;
	int r = join_all(j, &e);

	if (r == 0 && (flags & CLONE_NEWTIME) && j->s->os.time_offsets) {
		r = make_time(j, &e);
		flags &= ~(uint64_t)CLONE_NEWTIME;
	}
	if (r == 0)
		r = namespace_clone(flags | CLONE_PARENT, -1, &pid, NULL, &e);
	if (r == 0 && pid == 0)
		init_run(j);
	if (r < 0)
		note_send_error(sock, &e);
	else
		(void)!note_send(sock, NOTE_MADE, &pid, sizeof(pid), NULL, 0, &e);
	_exit(r < 0);
}

int helper_spawn(struct job *j, uint64_t flags, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	struct note *n = arena_new(j->a, struct note);
	int pair[2] = {-1, -1}, pidfd = -1;
	pid_t helper, pid;
	int r;

	assert(helper_needed(j));
	r = fdpass_pair(SOCK_SEQPACKET, pair, e);

	if (r == 0)
		r = namespace_clone(0, -1, &helper, NULL, e);
	if (r == 0 && helper == 0) {
		pair[0] = fd_close(pair[0]);
		helper_run(j, flags, pair[1]);
	}
	pair[1] = fd_close(pair[1]);
	if (r == 0) {
		r = note_expect(pair[0], NOTE_MADE, n, e);
		while (waitpid(helper, NULL, 0) < 0 && errno == EINTR)
			;
	}
	pair[0] = fd_close(pair[0]);
	if (r < 0)
		return r;
	memcpy(&pid, n->bytes, sizeof(pid));
	/* Our own child, not yet waited for: the pid cannot be another's. */
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return err_sys(e, "cannot open process %d", pid);
	*ret_pid = pid;
	*ret_pidfd = pidfd;
	return 0;
}
