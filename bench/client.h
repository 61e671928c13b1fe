/*
 * What the measuring clients share: connections that speak HTTP, over TLS where there is a
 * certificate, and are served by one epoll loop, since they share the processors with what they
 * measure. Whatever goes wrong ends the program. Included by one file each.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (64 << 10)

struct client {
	int fd;
	gnutls_session_t tls; /* NULL: plain */
	char *answer;
	size_t have; /* of the answer */
	long number;
	int64_t from;
};

static struct sockaddr_in target;
static gnutls_certificate_credentials_t certificate; /* NULL: plain */

static void fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void start_tls(struct client *c)
{
	int r;

	(void)gnutls_init(&c->tls, GNUTLS_CLIENT);
	(void)gnutls_set_default_priority(c->tls);
	(void)gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, certificate);
	gnutls_transport_set_int(c->tls, c->fd);
	do
		r = gnutls_handshake(c->tls);
	while (r < 0 && !gnutls_error_is_fatal(r));
	if (r < 0)
		fail("handshake: %s", gnutls_strerror(r));
}

static void open_client(struct client *c)
{
	int one = 1;

	c->answer = malloc(ANSWER_MAX + 1);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&target, sizeof(target)) < 0)
		fail("cannot connect");
	if (certificate)
		start_tls(c);
}

static void send_all(struct client *c, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent =
			c->tls ? gnutls_record_send(c->tls, p, n) : send(c->fd, p, n, MSG_NOSIGNAL);

		if (sent == GNUTLS_E_AGAIN || (!c->tls && sent < 0 && errno == EAGAIN)) {
			(void)poll(&(struct pollfd){.fd = c->fd, .events = POLLOUT}, 1, -1);
			continue;
		}
		if (sent <= 0)
			fail("cannot send");
		p += sent;
		n -= (size_t)sent;
	}
}

/* What is there of the answer; false: nothing more, for now. */
static bool receive(struct client *c)
{
	ssize_t n;

	if (c->have == ANSWER_MAX)
		fail("an answer is longer than %d bytes", ANSWER_MAX);
	do
		n = c->tls ? gnutls_record_recv(c->tls, c->answer + c->have, ANSWER_MAX - c->have)
			   : recv(c->fd, c->answer + c->have, ANSWER_MAX - c->have, 0);
	while (c->tls && n < 0 && n != GNUTLS_E_AGAIN && !gnutls_error_is_fatal((int)n));
	if (n == GNUTLS_E_AGAIN || (!c->tls && n < 0 && errno == EAGAIN))
		return false;
	if (n <= 0)
		fail("the connection ended");
	c->have += (size_t)n;
	c->answer[c->have] = '\0';
	return true;
}

static bool is_whole(const struct client *c)
{
	const char *body = strstr(c->answer, "\r\n\r\n"), *length;

	if (!body)
		return false;
	if (strncmp(c->answer, "HTTP/1.1 20", 11) != 0)
		fail("refused: %.400s", c->answer);
	length = strcasestr(c->answer, "\r\nContent-Length:");
	if (!length || length > body)
		fail("an answer without a length: %.400s", c->answer);
	return c->have >= (size_t)(body + 4 - c->answer) + strtoul(length + 17, NULL, 10);
}

static void set_target(const char *address, const char *port)
{
	target.sin_family = AF_INET;
	(void)inet_pton(AF_INET, address, &target.sin_addr);
	target.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
}

static void set_certificate(char *cert, char *key)
{
	(void)gnutls_certificate_allocate_credentials(&certificate);
	if (gnutls_certificate_set_x509_key_file(certificate, cert, key, GNUTLS_X509_FMT_PEM) < 0)
		fail("cannot read '%s' and '%s'", cert, key);
}

/* Connects, and joins a poller; data.ptr is the client. */
static void join_client(struct client *c, int poller)
{
	struct epoll_event on = {.events = EPOLLIN, .data.ptr = c};

	open_client(c);
	(void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
	(void)epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &on);
}
