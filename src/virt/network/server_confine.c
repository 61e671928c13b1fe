/*
 * What hull-net may still do once it serves: it holds sockets of strangers and reads what they
 * send, so that a bug in it must lead nowhere. It becomes a user that owns nothing, and keeps the
 * system calls of the table below; any other one ends it (hulld then starts it anew). Of those that
 * remain, files are opened for reading only, and new sockets speak IP only: no unix socket of the
 * host, no packet socket, no netlink is within reach.
 *
 * It has no root directory of its own: it reads the host's resolv.conf whenever that is replaced.
 */
#include <asm/unistd.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/linux/confine.h"
#include "virt/network/server.h"

#define OWN_ID 1212501580 /* nobody else's user and group: "HULL" in ASCII */

static const int syscalls[] = {
	/* #syscalls packets: names, relays, the control connection */
	__NR_accept4, __NR_connect, __NR_getpeername, __NR_getsockname, __NR_getsockopt, __NR_pipe2,
	__NR_recvfrom, __NR_recvmsg, __NR_sendmsg, __NR_sendto, __NR_setsockopt, __NR_shutdown,
	__NR_splice,
	/* #syscalls files: resolv.conf, the log */
	__NR_close, __NR_fcntl, __NR_fstat, __NR_lseek, __NR_newfstatat, __NR_read, __NR_write,
	__NR_writev,
	/* #syscalls the loop (libuv) */
	__NR_epoll_ctl, __NR_epoll_pwait,
#ifdef __NR_epoll_wait
	__NR_epoll_wait,
#endif
#ifdef __NR_poll
	__NR_poll,
#endif
	__NR_ppoll,
	/* #syscalls libc: memory, time, randomness, its end */
	__NR_brk, __NR_clock_gettime, __NR_exit, __NR_exit_group, __NR_futex, __NR_getpid,
	__NR_getrandom, __NR_gettid, __NR_madvise, __NR_mmap, __NR_mprotect, __NR_mremap,
	__NR_munmap, __NR_restart_syscall, __NR_rt_sigaction, __NR_rt_sigprocmask,
	__NR_rt_sigreturn, __NR_tgkill, /* abort() */
};

static const struct confine_only only[] = {
	{__NR_ioctl, 1, FIONBIO}, /* libuv's way of O_NONBLOCK */
	{__NR_openat, 2, O_RDONLY}, {__NR_openat, 2, O_RDONLY | O_CLOEXEC},
	{__NR_socket, 0, AF_INET},  {__NR_socket, 0, AF_INET6},
};

int server_confine(struct err *e)
{
	const struct confine_rights rights = {
		.syscalls = syscalls,
		.syscalls_n = array_len(syscalls),
		.only = only,
		.only_n = array_len(only),
	};

	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(OWN_ID, OWN_ID, OWN_ID) < 0 ||
			       setresuid(OWN_ID, OWN_ID, OWN_ID) < 0))
		return err_sys(e, "cannot become user %d", OWN_ID);
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "cannot forbid looking into this process");
	return confine_rights(&rights, e);
}
