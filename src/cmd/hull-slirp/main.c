/*
 * hull-slirp: the user-mode network of one machine. Descriptor 3 is the packet socket, 4 takes one
 * line: "ok" when every port is open, or why not. It ends when the machine does.
 *
 *	hull-slirp [--loopback] [--publish tcp:ADDRESS:HOST:GUEST]...
 *
 * Before the first packet it gives up root, sees a file system that holds /etc/resolv.conf and nothing
 * else, and may call little more than sockets. Namespaces are made here, as no other thread is.
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/options.h"
#include "ground/base/own.h"
#include "ground/linux/confine.h"
#include "ground/linux/mount.h"
#include "ground/linux/namespace.h"
#include "ground/wire/user_net.h"

#define PACKET_FD   3
#define STATUS_FD   4
#define OWN_ID	    1212501582u /* nobody else's user and group; hull-vm has the one before */
#define RESOLV_MAX  16384
#define DESCRIPTORS 4096

struct args {
	bool loopback;
	char **publish;
};

static const struct option_row rows[] = {
	{0, "loopback", OPTION_FLAG, offsetof(struct args, loopback), NULL,
	 "10.0.2.2 leads to this host's loopback"},
	{'p', "publish", OPTION_TEXTS, offsetof(struct args, publish), "tcp:ADDRESS:HOST:GUEST",
	 "a port of this host"},
};

static const int syscalls[] = {
	__NR_read,	  __NR_write,	      __NR_readv,	    __NR_writev,
	__NR_close,	  __NR_socket,	      __NR_connect,	    __NR_bind,
	__NR_listen,	  __NR_accept,	      __NR_accept4,	    __NR_getsockname,
	__NR_getpeername, __NR_setsockopt,    __NR_getsockopt,	    __NR_sendto,
	__NR_recvfrom,	  __NR_sendmsg,	      __NR_recvmsg,	    __NR_shutdown,
	__NR_poll,	  __NR_ppoll,	      __NR_ioctl,	    __NR_fcntl,
	__NR_openat,	  __NR_fstat,	      __NR_newfstatat,	    __NR_stat,
	__NR_lseek,	  __NR_clock_gettime, __NR_gettimeofday,    __NR_time,
	__NR_getrandom,	  __NR_getpid,	      __NR_futex,	    __NR_brk,
	__NR_mmap,	  __NR_munmap,	      __NR_mremap,	    __NR_madvise,
	__NR_mprotect,	  __NR_rt_sigaction,  __NR_rt_sigprocmask,  __NR_rt_sigreturn,
	__NR_exit,	  __NR_exit_group,    __NR_restart_syscall,
};

/* The host's name servers, as they stand now. */
static int copy_resolv(int root, struct err *e)
{
	static char text[RESOLV_MAX];
	auto_close int from = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
	auto_close int to = -1;
	ssize_t n = from >= 0 ? read(from, text, sizeof(text)) : 0;

	if (mkdirat(root, "etc", 0755) < 0)
		return err_sys(e, "cannot make the network's root");
	to = openat(root, "etc/resolv.conf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (to < 0 || (n > 0 && write(to, text, (size_t)n) != n))
		return err_sys(e, "cannot copy '/etc/resolv.conf'");
	return 0;
}

static int leave_files(struct err *e)
{
	const struct mount_option small[] = {{"size", "64k"}, {"mode", "755"}};
	const struct mount_change own = {.propagation = MS_PRIVATE, .recursive = true};
	auto_close int host = -1, at = -1, root = -1;

	if (namespace_unshare(NAMESPACE_MOUNT, e) < 0)
		return -ERR_SYSTEM;
	host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	at = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (host < 0 || at < 0)
		return err_sys(e, "cannot open '/'");
	if (mount_change(host, &own, e) < 0 ||
	    mount_new("tmpfs", "hull-slirp", small, array_len(small),
		      MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, &root, e) < 0 ||
	    mount_attach(root, at, e) < 0 || copy_resolv(root, e) < 0)
		return -ERR_SYSTEM;
	return confine_root(root, e);
}

static int confine(struct err *e)
{
	const struct confine_rights r = {.syscalls = syscalls,
					 .syscalls_n = array_len(syscalls),
					 .descriptors_max = DESCRIPTORS};

	if (geteuid() == 0) {
		if (leave_files(e) < 0)
			return err_wrap(e, "user-mode network");
		if (setgroups(0, NULL) < 0 || setresgid(OWN_ID, OWN_ID, OWN_ID) < 0 ||
		    setresuid(OWN_ID, OWN_ID, OWN_ID) < 0)
			return err_sys(e, "cannot give up root");
	}
	return confine_rights(&r, e);
}

static int prepare(const struct args *a, struct user_net **ret, struct err *e)
{
	int r = user_net_new(PACKET_FD, a->loopback, ret, e);

	for (char **p = a->publish; r == 0 && p && *p; p++)
		r = user_net_publish(*ret, *p, e);
	return r == 0 ? confine(e) : r;
}

int main(int argc, char **argv)
{
	struct args a = {0};
	struct user_net *net = NULL;
	struct err e = {0};
	const char *word = "ok";
	int first = 0, r;

	log_setup("hull-slirp", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	r = options_parse(rows, array_len(rows), &a, argc, argv, false, &first, &e);
	if (r == 0)
		r = prepare(&a, &net, &e);
	if (r < 0)
		word = e.text;
	(void)!write(STATUS_FD, word, strlen(word));
	(void)close(STATUS_FD);
	if (r == 0)
		r = user_net_run(net, &e);
	(void)user_net_free(net);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
