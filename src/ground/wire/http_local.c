/*
 * The command line's HTTP client: plain blocking reads and writes on one unix socket. A connection
 * that the server closed between two calls is not reopened: the caller opens a new one.
 */
#include "ground/wire/http_local.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/unix.h"

#define READ_BYTES (64u << 10)
#define HEX	   "0123456789ABCDEF"

int http_local_open(const char *socket_path, struct http_local *ret, struct err *e)
{
	struct http_local h = {.fd = -1};
	int r = unix_connect(socket_path, SOCK_STREAM, &h.fd, e);

	if (r < 0)
		return r;
	*ret = h;
	return 0;
}

void http_local_close(struct http_local *h)
{
	h->fd = fd_close(h->fd);
	strbuf_done(&h->in);
	http_head_done(&h->head);
	*h = (struct http_local){.fd = -1};
}

static int send_all(struct http_local *h, const void *bytes, size_t n, struct err *e)
{
	const char *p = bytes;

	while (n) {
		ssize_t sent = send(h->fd, p, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EPIPE || errno == ECONNRESET
				       ? err_set(e, ERR_GONE, "the daemon closed the connection")
				       : err_sys(e, "cannot send to the daemon");
		p += sent;
		n -= (size_t)sent;
	}
	return 0;
}

/* More bytes into h->in: 0, or -ERR_GONE at the end of the connection. */
static int receive_more(struct http_local *h, struct err *e)
{
	auto_free char *buf = mem_new_bytes(1, READ_BYTES);
	ssize_t n;

	do
		n = recv(h->fd, buf, READ_BYTES, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != ECONNRESET)
		return err_sys(e, "cannot read from the daemon");
	if (n <= 0)
		return err_set(e, ERR_GONE, "the daemon closed the connection");
	strbuf_add(&h->in, buf, (size_t)n);
	return 0;
}

/* The body from a descriptor, chunked. A reply that comes early (an error) ends it. */
static int send_chunks(struct http_local *h, int fd, struct err *e)
{
	auto_free char *buf = mem_new_bytes(1, READ_BYTES);

	for (;;) {
		struct pollfd early = {.fd = h->fd, .events = POLLIN};
		char size[24];
		ssize_t n = read(fd, buf, READ_BYTES);
		int len;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "cannot read what should be sent");
		if (n == 0)
			return send_all(h, "0\r\n\r\n", 5, e);
		if (poll(&early, 1, 0) > 0)
			return 0;
		len = snprintf(size, sizeof(size), "%zx\r\n", (size_t)n);
		if (send_all(h, size, (size_t)len, e) < 0 || send_all(h, buf, (size_t)n, e) < 0 ||
		    send_all(h, "\r\n", 2, e) < 0)
			return -ERR_GONE;
	}
}

static int send_request(struct http_local *h, const struct http_local_request *q, bool upgrade,
			struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	int r;

	strbuf_printf(&b, "%s %s HTTP/1.1\r\nHost: hull\r\n", q->method, q->target);
	for (size_t i = 0; q->headers && q->headers[i]; i++)
		strbuf_printf(&b, "%s\r\n", q->headers[i]);
	if (upgrade)
		strbuf_add_text(&b, "Connection: Upgrade\r\nUpgrade: tcp\r\n");
	if (q->body_from_fd)
		strbuf_add_text(&b, "Transfer-Encoding: chunked\r\n\r\n");
	else
		strbuf_printf(&b, "Content-Length: %zu\r\n\r\n", q->body_n);
	if (!q->body_from_fd && q->body_n)
		strbuf_add(&b, q->body, q->body_n);
	r = send_all(h, b.p, b.n, e);
	if (r == 0 && q->body_from_fd)
		r = send_chunks(h, q->body_fd, e);
	/* A server that refuses early closes its reading side: its reply is what counts. */
	return r == -ERR_GONE ? 0 : r;
}

static int receive_head(struct http_local *h, struct err *e)
{
	for (;;) {
		size_t used = 0;
		int r = 1;

		if (h->in.n)
			r = http_head_parse(strbuf_str(&h->in), &h->head, &used, e);
		if (r < 0)
			return r;
		if (r == 0) {
			strbuf_drop_front(&h->in, used);
			if (h->head.status == 101 || h->head.status >= 200)
				return 0;
			http_head_done(&h->head); /* 100 Continue */
			continue;
		}
		r = receive_more(h, e);
		if (r < 0)
			return r;
	}
}

static int discard(struct http_local *h, struct err *e)
{
	char buf[4096];
	size_t n = 1;
	int r = 0;

	while (h->open && r == 0 && n)
		r = http_local_read(h, buf, sizeof(buf), &n, e);
	return r;
}

static int exchange(struct http_local *h, const struct http_local_request *q, bool upgrade,
		    struct err *e)
{
	int r = discard(h, e);

	assert(h->fd >= 0);
	http_head_done(&h->head);
	if (r == 0)
		r = send_request(h, q, upgrade, e);
	return r < 0 ? r : receive_head(h, e);
}

int http_local_call(struct http_local *h, const struct http_local_request *q, int *ret_status,
		    struct err *e)
{
	int r = exchange(h, q, false, e);

	if (r == 0)
		r = http_body_start(&h->head, text_eq(q->method, "HEAD"), &h->body, e);
	if (r < 0)
		return r;
	h->open = !h->body.ended;
	*ret_status = h->head.status;
	return 0;
}

const char *http_local_header(const struct http_local *h, const char *name)
{
	return http_head_get(&h->head, name);
}

int http_local_read(struct http_local *h, void *buf, size_t room, size_t *ret_n, struct err *e)
{
	assert(room > 0);
	*ret_n = 0;
	while (h->open) {
		struct str in = strbuf_str(&h->in);
		struct str piece;
		size_t used = 0;
		int r;

		if (h->body.kind != HTTP_BODY_CHUNKED && in.n > room)
			in.n = room;
		else if (h->body.state == HTTP_CHUNK_DATA && in.n > room)
			in.n = room;
		r = http_body_next(&h->body, in, &piece, &used, e);
		if (r < 0)
			return r;
		if (piece.n >
		    room) { /* a size line and its data came at once: give back what is over */
			h->body.left += piece.n - room;
			h->body.state = HTTP_CHUNK_DATA;
			used -= piece.n - room;
			piece.n = room;
		}
		if (piece.n)
			memcpy(buf, piece.p, piece.n);
		strbuf_drop_front(&h->in, used);
		h->open = !h->body.ended;
		if (piece.n) {
			*ret_n = piece.n;
			return 0;
		}
		if (used)
			continue;
		r = receive_more(h, e);
		if (r == -ERR_GONE && h->body.kind == HTTP_BODY_UNTIL_CLOSE) {
			h->open = false;
			return 0;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int http_local_read_all(struct http_local *h, size_t max_bytes, struct strbuf *out, struct err *e)
{
	char buf[16384];
	size_t n = 1;

	while (n) {
		int r = http_local_read(h, buf, sizeof(buf), &n, e);

		if (r < 0)
			return r;
		if (out->n + n > max_bytes)
			return err_set(e, ERR_EXHAUSTED,
				       "the daemon's reply is longer than %zu bytes", max_bytes);
		strbuf_add(out, buf, n);
	}
	return 0;
}

int http_local_upgrade(struct http_local *h, const struct http_local_request *q, int *ret_status,
		       int *ret_fd, struct strbuf *early, struct err *e)
{
	int r = exchange(h, q, true, e);

	if (r < 0)
		return r;
	*ret_status = h->head.status;
	*ret_fd = -1;
	if (h->head.status == 101 || h->head.status == 200) {
		if (h->in.n)
			strbuf_add(early, h->in.p, h->in.n);
		*ret_fd = take_fd(&h->fd);
		http_local_close(h);
		return 0;
	}
	r = http_body_start(&h->head, false, &h->body, e);
	h->open = r == 0 && !h->body.ended;
	return r;
}

void http_encode(struct strbuf *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		bool plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
			     (*p >= 'a' && *p <= 'z') || strchr("-._~", *p);

		if (plain) {
			strbuf_add_char(out, (char)*p);
		} else {
			strbuf_add_char(out, '%');
			strbuf_add_char(out, HEX[*p >> 4]);
			strbuf_add_char(out, HEX[*p & 15]);
		}
	}
}
