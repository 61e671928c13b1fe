/*
 * Namespaces by clone3 and setns: see namespace.h. Knows nothing of id maps (idmap.c) or mounts.
 */
#include "ground/linux/namespace.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"

static const struct namespace_info kinds[] = {
	[NAMESPACE_USER] = {"user", "user", CLONE_NEWUSER},
	[NAMESPACE_CGROUP] = {"cgroup", "cgroup", CLONE_NEWCGROUP},
	[NAMESPACE_IPC] = {"ipc", "ipc", CLONE_NEWIPC},
	[NAMESPACE_UTS] = {"uts", "uts", CLONE_NEWUTS},
	[NAMESPACE_NETWORK] = {"network", "net", CLONE_NEWNET},
	[NAMESPACE_PID] = {"pid", "pid", CLONE_NEWPID},
	[NAMESPACE_TIME] = {"time", "time", CLONE_NEWTIME},
	[NAMESPACE_MOUNT] = {"mount", "mnt", CLONE_NEWNS},
};
static_assert(array_len(kinds) == NAMESPACE_KINDS, "a row for every kind");

const struct namespace_info *namespace_info(enum namespace_kind k)
{
	assert(k < NAMESPACE_KINDS);
	return &kinds[k];
}

int namespace_find(const char *name)
{
	for (int k = 0; k < NAMESPACE_KINDS; k++)
		if (text_eq(kinds[k].name, name))
			return k;
	return -1;
}

int namespace_clone(uint64_t flags, int cgroup_fd, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	int pidfd = -1;
	struct clone_args args = {.flags = flags};
	long pid;

	assert(ret_pid);
	/* With CLONE_PARENT the child's end is told to the common parent, whose signal it inherits.
	 */
	args.exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD;
	if (ret_pidfd) {
		args.flags |= CLONE_PIDFD;
		args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	}
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return err_sys(e, "cannot make a process with new namespaces%s",
			       errno == ENOSPC ? " (a limit below /proc/sys/user is reached)" : "");
	if (pid > 0 && ret_pidfd)
		*ret_pidfd = pidfd;
	*ret_pid = (pid_t)pid;
	return 0;
}

int namespace_join(int fd, enum namespace_kind kind, struct err *e)
{
	const struct namespace_info *k = namespace_info(kind);

	if (setns(fd, (int)k->flag) < 0)
		return err_sys(e, "cannot join the %s namespace", k->name);
	return 0;
}

int namespace_join_path(const char *path, enum namespace_kind kind, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return err_sys(e, "cannot open the %s namespace '%s'", namespace_info(kind)->name,
			       path);
	if (namespace_join(fd, kind, e) < 0)
		return err_wrap(e, "'%s'", path);
	return 0;
}

int namespace_unshare(enum namespace_kind kind, struct err *e)
{
	const struct namespace_info *k = namespace_info(kind);

	if (unshare((int)k->flag) < 0)
		return err_sys(e, "cannot make a new %s namespace", k->name);
	return 0;
}

int namespace_diff(int procfd, pid_t pid, unsigned int *ret_bits, struct err *e)
{
	unsigned int bits = 0;
	char path[64];

	for (int k = 0; k < NAMESPACE_KINDS; k++) {
		struct stat theirs, ours;

		(void)snprintf(path, sizeof(path), "self/ns/%s", kinds[k].file);
		if (fstatat(procfd, path, &ours, 0) < 0)
			continue; /* a kernel without this kind */
		(void)snprintf(path, sizeof(path), "%d/ns/%s", pid, kinds[k].file);
		if (fstatat(procfd, path, &theirs, 0) < 0)
			return err_sys(e, "cannot look at the namespaces of process %d", pid);
		if (theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev)
			bits |= NAMESPACE_BIT(k);
	}
	*ret_bits = bits;
	return 0;
}

int namespace_join_process(int pidfd, unsigned int bits, struct err *e)
{
	uint64_t flags = 0;

	for (int k = 0; k < NAMESPACE_KINDS; k++)
		if (bits & NAMESPACE_BIT(k))
			flags |= kinds[k].flag;
	if (flags && setns(pidfd, (int)flags) < 0)
		return err_sys(e, "cannot join the container's namespaces");
	return 0;
}
