/*
 * Processes by identity: see process.h.
 */
#include "ground/linux/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/mount.h"

static int read_small(const char *path, char *buf, size_t size, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return err_sys(e, "cannot open '%s'", path);
	n = read(fd, buf, size - 1);
	if (n < 0)
		return err_sys(e, "cannot read '%s'", path);
	buf[n] = '\0';
	return 0;
}

int process_start_time(pid_t pid, uint64_t *ret, char *ret_state, struct err *e)
{
	char path[64], text[1024];
	struct str rest, field;
	char *p;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	r = read_small(path, text, sizeof(text), e);
	if (r < 0)
		return r;
	/* Field 2 is the name in parentheses, and may hold anything: fields count from the last
	 * ')'. */
	p = strrchr(text, ')');
	if (!p || p[1] != ' ')
		return err_set(e, ERR_SYSTEM, "'%s' is not as proc(5) says", path);
	if (ret_state)
		*ret_state = p[2];
	rest = str_of(p + 2);
	for (int i = 3; i <= 22; i++)
		if (!str_cut(&rest, ' ', &field))
			return err_set(e, ERR_SYSTEM, "'%s' is not as proc(5) says", path);
	return parse_u64(field, "start time", ret, e);
}

bool process_alive(pid_t pid, uint64_t start_time)
{
	uint64_t t;
	char state;

	return process_start_time(pid, &t, &state, NULL) == 0 && t == start_time && state != 'Z' &&
	       state != 'X';
}

int process_boot_id(char ret[BOOT_ID_SIZE], struct err *e)
{
	int r = read_small("/proc/sys/kernel/random/boot_id", ret, BOOT_ID_SIZE, e);

	ret[BOOT_ID_SIZE - 1] = '\0';
	return r;
}

int process_open(pid_t pid, uint64_t start_time, int *ret_pidfd, struct err *e)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t t = 0;

	if (fd < 0 && errno == ESRCH)
		return err_set(e, ERR_GONE, "process %d has ended", pid);
	if (fd < 0)
		return err_sys(e, "cannot open process %d", pid);
	/* Opened first, looked at after: the pid cannot be reused while it is looked at. */
	if (process_start_time(pid, &t, NULL, e) < 0 || t != start_time)
		return err_set(e, ERR_GONE, "process %d has ended", pid);
	*ret_pidfd = take_fd(&fd);
	return 0;
}

int process_signal(int pidfd, int sig, struct err *e)
{
	if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) == 0)
		return 0;
	if (errno == ESRCH)
		return err_set(e, ERR_GONE, "the process has ended");
	return err_sys(e, "cannot send signal %d", sig);
}

int process_wait(int pidfd, int timeout_ms, int *ret_status, struct err *e)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	siginfo_t info = {0};
	int r;

	do
		r = poll(&p, 1, timeout_ms);
	while (r < 0 && errno == EINTR && timeout_ms < 0);
	if (r < 0)
		return err_sys(e, "cannot wait for a process");
	if (r == 0)
		return err_set(e, ERR_TIMEOUT, "the process still runs after %d ms", timeout_ms);
	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0 && errno != ECHILD)
		return err_sys(e, "cannot wait for a process");
	if (ret_status)
		*ret_status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8
							 : info.si_status & 0x7f;
	return 0;
}

int process_exit_code(int wait_status)
{
	return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

int process_private_proc(int *ret_fd, struct err *e)
{
	auto_close int fd = -1;
	struct statfs s;
	int r = mount_new("proc", NULL, NULL, 0,
			  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, &fd, e);

	if (r < 0)
		return err_wrap(e, "private procfs");
	if (fstatfs(fd, &s) < 0 || s.f_type != PROC_SUPER_MAGIC)
		return err_set(e, ERR_FORBIDDEN, "the private procfs is none");
	*ret_fd = take_fd(&fd);
	return 0;
}

int process_write_proc(int procfd, const char *path, const char *value, struct err *e)
{
	struct open_how how = {.flags = O_WRONLY | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS |
					  RESOLVE_NO_MAGICLINKS};
	auto_close int fd = (int)syscall(SYS_openat2, procfd, path, &how, sizeof(how));
	struct statfs s;
	size_t n = strlen(value);

	if (fd < 0)
		return err_sys(e, "cannot open '/proc/%s'", path);
	if (fstatfs(fd, &s) < 0 || s.f_type != PROC_SUPER_MAGIC)
		return err_set(e, ERR_FORBIDDEN, "'/proc/%s' is not in a procfs", path);
	if (write(fd, value, n) != (ssize_t)n)
		return err_sys(e, "cannot write '%s' to '/proc/%s'", value, path);
	return 0;
}

int process_protect_exe(char *const argv[], struct err *e)
{
	auto_close int tree = -1;
	struct mount_change readonly = {.set = MOUNT_ATTR_RDONLY};
	struct statvfs s;
	int r;

	if (geteuid() != 0)
		return 0;
	if (statvfs("/proc/self/exe", &s) < 0)
		return err_sys(e, "cannot look at this program's file");
	if (s.f_flag & ST_RDONLY)
		return 0;
	r = mount_clone(AT_FDCWD, "/proc/self/exe", false, true, &tree, e);
	if (r == -ERR_FORBIDDEN)
		return 0; /* root of a user namespace only: the file is not ours to change */
	if (r < 0 || (r = mount_change(tree, &readonly, e)) < 0)
		return err_wrap(e, "protecting this program's file");
	(void)syscall(SYS_execveat, tree, "", argv, environ, AT_EMPTY_PATH);
	return err_sys(e, "cannot re-execute this program");
}
