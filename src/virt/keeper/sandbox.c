/* The child that makes a sandbox: see sandbox.h. Single-threaded, static, gone in a millisecond. */
#include "virt/keeper/sandbox.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/base/str.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/netns.h"

const char *const sandbox_files[] = {"net", "ipc", "uts", NULL};

static int pin(int dirfd, const char *dir, const char *name, struct err *e)
{
	auto_free char *from = mem_printf("/proc/self/ns/%s", name);
	auto_free char *to = mem_printf("%s/%s", dir, name);
	auto_close int fd = openat(dirfd, name, O_RDONLY | O_CREAT | O_CLOEXEC, 0400);

	if (fd < 0 || mount(from, to, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, "cannot pin the %s namespace at '%s'", name, to);
	return 0;
}

static int furnish(struct netns_sockets *ret, struct err *e)
{
	int bad = netns_loopback_up(e);

	if (bad == 0)
		bad = netns_refuse_ra(e);
	return bad == 0 ? netns_sockets_open(false, ret, e) : bad;
}

/* All that runs on account of a sandbox: without a first process there is no namespace. */
static int begin_processes(int dirfd, const char *dir, const char *init, struct err *e)
{
	auto_free char *from = mem_dup_text("/proc/self/ns/pid_for_children");
	auto_free char *to = mem_printf("%s/pid", dir), *id = NULL;
	auto_close int fd = openat(dirfd, "pid", O_RDONLY | O_CREAT | O_CLOEXEC, 0400);
	auto_close int note = openat(dirfd, "init", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0400);
	char *const argv[] = {"hull-init", NULL}, *const env[] = {NULL};
	pid_t pid;

	if (fd < 0 || note < 0 || unshare(CLONE_NEWPID) < 0 || (pid = fork()) < 0)
		return err_sys(e, "cannot make the pid namespace of a sandbox");
	if (pid == 0) {
		(void)setsid();
		(void)close_range(3, ~0U, 0);
		(void)execve(init, argv, env);
		_exit(127);
	}
	id = mem_printf("%d", (int)pid);
	if (write(note, id, strlen(id)) != (ssize_t)strlen(id) ||
	    mount(from, to, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, "cannot pin the pid namespace at '%s'", to);
	return 0;
}

int sandbox_child(int sock, const char *dir, const char *hostname, bool host_network,
		  const char *init, struct err *e)
{
	struct netns_sockets s = NETNS_SOCKETS_NONE;
	auto_close int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fds[SANDBOX_FDS];

	assert(sock >= 0 && dir && hostname);
	if (dirfd < 0)
		return err_sys(e, "cannot open '%s'", dir);
	if (unshare(CLONE_NEWIPC | CLONE_NEWUTS | (host_network ? 0 : CLONE_NEWNET)) < 0)
		return err_sys(e, "cannot make the namespaces of a sandbox");
	if (sethostname(hostname, strlen(hostname)) < 0)
		return err_sys(e, "cannot set the host name '%s'", hostname);
	for (size_t i = host_network ? 1 : 0; sandbox_files[i]; i++)
		if (pin(dirfd, dir, sandbox_files[i], e) < 0)
			return -ERR_SYSTEM;
	if (init && begin_processes(dirfd, dir, init, e) < 0)
		return -ERR_SYSTEM;
	if (host_network)
		return fdpass_send(sock, "ok", 2, NULL, 0, e);
	if (furnish(&s, e) < 0)
		return -ERR_SYSTEM;
	fds[0] = s.netns;
	fds[1] = s.route;
	return fdpass_send(sock, "ok", 2, fds, SANDBOX_FDS, e);
}

static int connect_loopback(const struct sockaddr *a, socklen_t n, int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, a, n) == 0)
		return fd;
	return fd_close(fd);
}

int sandbox_connect_child(int sock, int netns, const char *port, struct err *e)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	auto_close int fd = -1;
	uint32_t number;

	if (parse_u32(str_of(port), "port", &number, e) < 0)
		return -ERR_INVALID;
	if (setns(netns, CLONE_NEWNET) < 0)
		return err_sys(e, "cannot enter the pod's network");
	v4.sin_port = v6.sin6_port = htons((uint16_t)number);
	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = connect_loopback((struct sockaddr *)&v4, sizeof(v4), AF_INET);
	if (fd < 0)
		fd = connect_loopback((struct sockaddr *)&v6, sizeof(v6), AF_INET6);
	if (fd < 0)
		return err_sys(e, "cannot connect to port %u of the pod", number);
	return fdpass_send(sock, "ok", 2, &fd, 1, e);
}
