/*
 * A server and a client of the smallest requests, to see what a way between them costs.
 *
 * usage: load serve PORT            answers each connection's byte with a byte, until it is closed
 *        load ask ADDRESS PORT CLIENTS REQUESTS [keep]
 *
 * `ask` keeps so many connections busy until so many requests are answered, each over a connection
 * of its own, or (keep) over one per client. It prints requests a second, and the median and the 99th
 * percentile of a request's time, connecting included, in microseconds. One that fails ends it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS	    64
#define CLIENTS_MAX 1024

static int poller;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void watch(int fd, int op, uint32_t events, void *who)
{
	struct epoll_event e = {.events = events, .data.ptr = who};

	if (epoll_ctl(poller, op, fd, &e) < 0)
		fail("epoll_ctl");
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- the server ---- */

static void serve_one(int fd)
{
	char byte[64];
	ssize_t n = recv(fd, byte, sizeof(byte), MSG_DONTWAIT);

	if (n > 0)
		n = send(fd, byte, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		close(fd);
}

static void serve(uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 4096) < 0)
		fail("listen");
	watch(fd, EPOLL_CTL_ADD, EPOLLIN, (void *)(intptr_t)fd);
	for (;;) {
		struct epoll_event e[EVENTS];
		int n = epoll_wait(poller, e, EVENTS, -1), new;

		for (int i = 0; i < n; i++) {
			if ((intptr_t)e[i].data.ptr != fd) {
				serve_one((int)(intptr_t)e[i].data.ptr);
				continue;
			}
			while ((new = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
				setsockopt(new, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
				watch(new, EPOLL_CTL_ADD, EPOLLIN, (void *)(intptr_t) new);
			}
		}
	}
}

/* ---- the client ---- */

struct client {
	int fd;
	int64_t began;
	int sent;
};

static struct sockaddr_in target;
static int keep;
static long asked, answered, wanted;
static int64_t *times;

static void ask(struct client *c)
{
	if (send(c->fd, "x", 1, MSG_NOSIGNAL) != 1)
		fail("send");
	c->sent = 1;
	watch(c->fd, EPOLL_CTL_MOD, EPOLLIN, c);
}

static void begin(struct client *c)
{
	struct linger hard = {.l_onoff = 1};
	int one = 1;

	asked++;
	c->began = now_ns();
	c->sent = 0;
	if (keep && c->fd >= 0) {
		ask(c);
		return;
	}
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)); /* no port stays behind */
	if (connect(c->fd, (struct sockaddr *)&target, sizeof(target)) < 0 && errno != EINPROGRESS)
		fail("connect");
	watch(c->fd, EPOLL_CTL_ADD, EPOLLOUT, c);
}

static void step(struct client *c)
{
	char byte;
	ssize_t n;

	if (!c->sent) {
		ask(c);
		return;
	}
	n = recv(c->fd, &byte, 1, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n != 1)
		fail("recv");
	times[answered++] = now_ns() - c->began;
	if (!keep) {
		close(c->fd);
		c->fd = -1;
	}
	if (asked < wanted)
		begin(c);
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void ask_all(int clients)
{
	static struct client all[CLIENTS_MAX];
	int64_t from = now_ns(), took;

	times = calloc((size_t)wanted + CLIENTS_MAX, sizeof(*times));
	for (int i = 0; i < clients; i++) {
		all[i].fd = -1;
		begin(&all[i]);
	}
	while (answered < wanted) {
		struct epoll_event e[EVENTS];
		int n = epoll_wait(poller, e, EVENTS, 5000);

		if (n == 0) {
			fprintf(stderr, "load: nothing for 5 s\n");
			exit(1);
		}
		for (int i = 0; i < n; i++)
			step(e[i].data.ptr);
	}
	took = now_ns() - from;
	qsort(times, (size_t)answered, sizeof(*times), compare);
	printf("%.0f %.1f %.1f\n", (double)answered * 1e9 / (double)took,
	       (double)times[answered / 2] / 1000, (double)times[answered * 99 / 100] / 1000);
}

int main(int argc, char **argv)
{
	poller = epoll_create1(0);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve((uint16_t)strtoul(argv[2], NULL, 10));
	if (argc < 6 || strcmp(argv[1], "ask") != 0)
		return 2;
	target.sin_family = AF_INET;
	target.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
	inet_pton(AF_INET, argv[2], &target.sin_addr);
	wanted = strtol(argv[5], NULL, 10);
	keep = argc > 6;
	ask_all((int)strtol(argv[4], NULL, 10));
	return 0;
}
