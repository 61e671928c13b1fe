/*
 * One stream between a guest's socket and a host's unix socket.
 *
 * Theory of operation: bytes from the guest are written at once where the host's program takes
 * them, the rest waits in a buffer of the size that the guest was told; more than that is the
 * guest's fault and ends the connection. Bytes for the guest stay in the unix socket until the
 * guest has both a buffer and credit: then they are read straight into its memory. A socket is
 * watched for what can be acted on only: no busy turns.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/vsock_priv.h"

#define GREETING	   "CONNECT "
#define GREETING_BYTES_MAX 32
#define TAKEN_TELL	   (VSOCK_BUFFER_BYTES / 2)

/* ---- towards the host ---- */

static void taken_add(struct vsock_connection *c, size_t n)
{
	c->taken += (uint32_t)n;
	if (c->taken - c->taken_told >= TAKEN_TELL)
		c->owed |= 1u << VSOCK_CREDIT_UPDATE;
}

/* Bytes written; SIZE_MAX when nobody will ever read. */
static size_t write_some(const struct vsock_connection *c, const void *p, size_t n)
{
	ssize_t r = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (r >= 0)
		return (size_t)r;
	return errno == EAGAIN || errno == EINTR ? 0 : SIZE_MAX;
}

static bool buffer_add(struct vsock_connection *c, struct virtqueue_list *l, size_t n)
{
	if (n > VSOCK_BUFFER_BYTES - c->n)
		return false;
	if (!c->buffer)
		c->buffer = mem_new_bytes(1, VSOCK_BUFFER_BYTES);
	if (c->at + c->n + n > VSOCK_BUFFER_BYTES) {
		memmove(c->buffer, c->buffer + c->at, c->n);
		c->at = 0;
	}
	c->n += virtqueue_take(l, c->buffer + c->at + c->n, n);
	return true;
}

bool vsock_connection_write(struct vsock_connection *c, struct virtqueue_list *bytes, size_t n)
{
	while (c->n == 0 && n && bytes->n) {
		size_t piece = bytes->at->iov_len < n ? bytes->at->iov_len : n;
		size_t wrote = write_some(c, bytes->at->iov_base, piece);

		if (wrote == SIZE_MAX)
			return false;
		(void)virtqueue_skip(bytes, wrote);
		taken_add(c, wrote);
		n -= wrote;
		if (wrote < piece)
			break;
	}
	return n == 0 || buffer_add(c, bytes, n);
}

bool vsock_connection_say(struct vsock_connection *c, const char *text)
{
	size_t n = strlen(text);

	return write_some(c, text, n) == n; /* a fresh socket takes a line */
}

/* The buffer, as far as it goes; then what waited for it to be empty. False: the end. */
static bool buffer_drain(struct vsock_connection *c)
{
	while (c->n) {
		size_t wrote = write_some(c, c->buffer + c->at, c->n);

		if (wrote == SIZE_MAX)
			return false;
		if (wrote == 0)
			return true;
		taken_add(c, wrote);
		c->at += wrote;
		c->n -= wrote;
	}
	c->at = 0;
	free(take(c->buffer));
	if (c->guest_ended)
		(void)shutdown(c->fd, SHUT_WR);
	return c->state != VSOCK_CLOSING;
}

/* ---- towards the guest ---- */

uint32_t vsock_connection_credit(const struct vsock_connection *c)
{
	uint32_t under_way = c->sent - c->peer_taken;

	return under_way < c->peer_room ? c->peer_room - under_way : 0;
}

size_t vsock_connection_read(struct vsock_connection *c, const struct iovec *v, size_t n)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = n};
	ssize_t r = recvmsg(c->fd, &m, MSG_DONTWAIT);

	c->readable = r > 0;
	if (r > 0)
		return (size_t)r;
	if (r == 0 || (errno != EAGAIN && errno != EINTR)) {
		c->host_ended = true;
		c->owed |= 1u << VSOCK_SHUTDOWN;
	}
	return 0;
}

/* ---- greeting ---- */

/* Looks without taking: what follows the line is the stream's. */
static void greeting_read(struct vsock_connection *c)
{
	char line[GREETING_BYTES_MAX + 1] = {0};
	ssize_t r = recv(c->fd, line, GREETING_BYTES_MAX, MSG_PEEK | MSG_DONTWAIT);
	char *end = r > 0 ? memchr(line, '\n', (size_t)r) : NULL;
	size_t skip = strlen(GREETING);
	uint32_t port;

	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (!end) {
		if (r <= 0 || r == GREETING_BYTES_MAX ||
		    strncmp(line, GREETING, (size_t)r < skip ? (size_t)r : skip) != 0)
			vsock_end(c);
		return;
	}
	(void)recv(c->fd, line, (size_t)(end - line) + 1, MSG_DONTWAIT);
	*end = '\0';
	if (strncmp(line, GREETING, skip) != 0 ||
	    parse_u32(str_of(line + skip), "port", &port, NULL) < 0)
		vsock_end(c);
	else
		vsock_request(c, port);
}

/* ---- watching ---- */

void vsock_connection_watch(struct vsock_connection *c)
{
	bool read = c->state == VSOCK_GREETING ||
		    (c->state == VSOCK_OPEN && !c->readable && !c->host_ended);

	loop_watch_want(c->watch, (read ? LOOP_READ : 0u) | (c->n ? LOOP_WRITE : 0u));
}

static void ready_locked(struct vsock_connection *c, unsigned ready)
{
	struct vsock *v = c->vsock;

	if (c->dead)
		return;
	if (c->state == VSOCK_GREETING) {
		greeting_read(c);
		return;
	}
	if (((ready & LOOP_WRITE) && !buffer_drain(c)) || (ready & LOOP_ERROR)) {
		vsock_end(c);
		return;
	}
	if (ready & (LOOP_READ | LOOP_HUP))
		c->readable = !c->host_ended;
	vsock_connection_watch(c);
	vsock_progress(v);
}

static void ready_now(void *arg, unsigned ready)
{
	struct vsock_connection *c = arg;
	struct vsock *v = c->vsock;

	vsock_lock(v);
	ready_locked(c, ready);
	vsock_unlock(v);
}

/* ---- birth and death ---- */

struct vsock_connection *vsock_connection_new(struct vsock *v, struct loop *l, int fd,
					      enum vsock_state state)
{
	struct vsock_connection *c = mem_new(struct vsock_connection);

	assert(fd >= 0);
	list_init(&c->link);
	c->vsock = v;
	c->fd = fd;
	c->state = state;
	if (loop_watch_new(l, fd, LOOP_READ, ready_now, c, &c->watch, NULL) < 0) {
		vsock_connection_free(c);
		return NULL;
	}
	return c;
}

void vsock_connection_free(struct vsock_connection *c)
{
	list_remove(&c->link);
	c->watch = loop_watch_free(c->watch);
	c->fd = fd_close(c->fd);
	free(c->buffer);
	free(c);
}
