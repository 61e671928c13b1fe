/*
 * What the unit tests of this room share: a little world of network namespaces. The test's own is
 * the "host"; boxes are containers or pods, and one may be the world beyond the host's uplink.
 */
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/linux/netns.h"
#include "virt/network/network_priv.h"

#define ok(call)                                \
	do {                                    \
		if ((call) < 0)                 \
			fail_msg("%s", e.text); \
	} while (0)

#define ANSWER_MS    3000
#define NO_ANSWER_MS 300

/* Runs a line of shell; its exit code. */
static inline int shell(const char *line)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		(void)execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* ---- a little world ---- */

struct box {
	struct netns_sockets s;
	char id[65];
};

static int host_ns = -1;
static char root[] = "/tmp/hull-network-test-XXXXXX";

static inline void back_to_host(void)
{
	assert_int_equal(setns(host_ns, CLONE_NEWNET), 0);
}

static inline void box_open(struct box *b, char id)
{
	struct err e = {0};

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	ok(netns_loopback_up(&e));
	ok(netns_refuse_ra(&e));
	ok(netns_sockets_open(true, &b->s, &e));
	memset(b->id, id, 64);
	b->id[64] = '\0';
	back_to_host();
}

static inline struct network_ns ns_of(const struct box *b)
{
	return (struct network_ns){b->s.netns, b->s.route, b->s.netfilter, b->s.dns_udp,
				   b->s.dns_tcp};
}

static inline int setup(void **state)
{
	struct err e = {0};

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return 0; /* each test skips itself */
	ok(netns_loopback_up(&e));
	host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	host_ns = fd_close(host_ns);
	return 0;
}

static inline struct network_host *open_host(void)
{
	struct network_host_options o = {.root = root, .run = root, .world = &world_real};
	struct network_host *h = NULL;
	struct err e = {0};

	if (host_ns < 0)
		skip();
	ok(network_host_open(&o, &h, &e));
	return h;
}

/* A server in a namespace: answers each connection with its name, if any, and who asked. */
static inline pid_t serve_as(int netns, const char *ip, uint16_t port, const char *name)
{
	bool six = strchr(ip, ':');
	struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_storage from;
	int ready[2], fd, one = 1;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid > 0) {
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		close(ready[0]);
		return pid;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
	(void)setns(netns, CLONE_NEWNET);
	fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	(void)inet_pton(AF_INET, ip, &at.sin_addr);
	(void)inet_pton(AF_INET6, ip, &at6.sin6_addr);
	if (bind(fd, six ? (void *)&at6 : (void *)&at, six ? sizeof(at6) : sizeof(at)) < 0 ||
	    listen(fd, 8) < 0)
		_exit(1);
	(void)!write(ready[1], "r", 1);
	for (;;) {
		socklen_t n = sizeof(from);
		int c = accept(fd, (void *)&from, &n);
		char client[INET6_ADDRSTRLEN], text[64];

		(void)inet_ntop(from.ss_family,
				six ? (void *)&((struct sockaddr_in6 *)&from)->sin6_addr
				    : (void *)&((struct sockaddr_in *)&from)->sin_addr,
				client, sizeof(client));
		(void)snprintf(text, sizeof(text), "%s%s%.40s", name, *name ? " " : "", client);
		(void)!write(c, text, strlen(text));
		close(c);
	}
}

static inline pid_t serve(int netns, const char *ip, uint16_t port)
{
	return serve_as(netns, ip, port, "");
}

static inline void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static inline void connect_and_tell(const char *ip, uint16_t port, int wait_ms, int out)
{
	bool six = strchr(ip, ':');
	struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char text[64];
	ssize_t n = 0;

	(void)inet_pton(AF_INET, ip, &at.sin_addr);
	(void)inet_pton(AF_INET6, ip, &at6.sin6_addr);
	(void)connect(fd, six ? (void *)&at6 : (void *)&at, six ? sizeof(at6) : sizeof(at));
	if (poll(&p, 1, wait_ms) == 1)
		n = read(fd, text, sizeof(text));
	if (n > 0)
		(void)!write(out, text, (size_t)n);
	_exit(0);
}

/* Who does the server think we are? "" when there is no way to it. */
static inline const char *ask_for(int netns, const char *ip, uint16_t port, int wait_ms)
{
	static char text[64];
	int out[2];
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (pid == 0) {
		(void)setns(netns, CLONE_NEWNET);
		connect_and_tell(ip, port, wait_ms, out[1]);
	}
	close(out[1]);
	n = read(out[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(out[0]);
	(void)waitpid(pid, NULL, 0);
	return text;
}

static inline const char *ask(int netns, const char *ip, uint16_t port)
{
	return ask_for(netns, ip, port, ANSWER_MS);
}

/* A namespace beyond an uplink of the host: host 192.0.2.1, world 192.0.2.2. */
static inline void world_open(struct box *w)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct netlink host = NETLINK_NONE, inside = NETLINK_NONE;
	struct ip_net a = {{4, {192, 0, 2, 1}}, 24}, any = {{4, {0}}, 0};
	struct netlink_link l;
	struct err e = {0};

	box_open(w, 'f');
	ok(netlink_open(&host, &e));
	netlink_add_veth(b, &(struct netlink_veth){
				    .name = "up0", .peer_name = "eth0", .peer_netns = w->s.netns});
	ok(netlink_run(&host, b, &e));
	ok(netlink_link(&host, "up0", &l, &e));
	netlink_add_address(b, l.index, &a);
	ok(netlink_run(&host, b, &e));
	ok(netlink_adopt(w->s.route, &inside, &e));
	netlink_start(b, "eth0", false);
	ok(netlink_run(&inside, b, &e));
	ok(netlink_link(&inside, "eth0", &l, &e));
	a.ip.b[3] = 2;
	netlink_add_address(b, l.index, &a);
	a.ip.b[3] = 1;
	netlink_add_route(b, l.index, &any, &a.ip); /* a neighbour that tries the way in */
	ok(netlink_run(&inside, b, &e));
	netlink_close(&host);
}
