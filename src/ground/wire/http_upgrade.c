/*
 * Connections over TLS that were taken over. A caller wants a plain descriptor, so it gets one end
 * of a socket pair, and bytes are carried between the other end and the client:
 *
 *	caller -- pair -- [carry] -- TLS session -- client
 *
 * The session is the library's. Its connection rests from here on: the library looks neither at the
 * session nor at the socket (which is in no epoll set) until the connection is dropped at the end.
 * The library's own way of upgrading over TLS is of no use: it is left without memory for buffers
 * once the reply's head was built, and then relays four bytes at a time (0.9.75).
 *
 * Each direction holds at most one block; while that waits, its source is not read, so whoever is
 * slow holds back the other end. Ends are told as they are: the client's close_notify is end of
 * file for the caller, the caller's shutdown of writing is close_notify for the client. When the
 * caller closes, what it wrote is still sent, then the connection ends.
 */
#include <assert.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <sys/socket.h>

#include "ground/base/log.h"
#include "ground/base/own.h"
#include "ground/format/base64.h"
#include "ground/wire/http_priv.h"

#define UPGRADE_MAGIC 0x48745570u
#define BLOCK_BYTES   (16u << 10) /* a TLS record's: nothing stays decrypted inside the session */

struct way {
	char *bytes;
	size_t at, n;	    /* what waits */
	bool ended, passed; /* its source has ended; that was told at the other side */
};

struct http_upgrade {
	unsigned magic;
	struct list link;
	struct http_request *request;
	gnutls_session_t session;
	int fd; /* our end of the pair */
	struct loop_watch *caller, *client;
	bool caller_closed;
	struct way out, in; /* caller to client, client to caller */
};

static void done(struct http_upgrade *u)
{
	struct http_request *r = u->request;

	assert(u->magic == UPGRADE_MAGIC);
	list_remove(&u->link);
	u->caller = loop_watch_free(u->caller);
	u->client = loop_watch_free(u->client);
	u->fd = fd_close(u->fd);
	free(u->out.bytes);
	free(u->in.bytes);
	u->magic = 0;
	free(u);
	r->reply = HTTP_DROP;
	http_kick(r);
}

void http_upgrades_end(struct list *upgrades)
{
	list_each (upgrades, struct http_upgrade, link, u)
		done(u);
}

/* Of one call: how many bytes, 0 at the end, -1 would wait, -2 broken. */
static ssize_t of_errno(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? -1 : -2;
}

static ssize_t of_gnutls(ssize_t n)
{
	if (n >= 0)
		return n;
	return gnutls_error_is_fatal((int)n) ? -2 : -1;
}

static ssize_t caller_read(struct http_upgrade *u, void *p, size_t n)
{
	return of_errno(recv(u->fd, p, n, MSG_DONTWAIT));
}

static ssize_t caller_write(struct http_upgrade *u, const void *p, size_t n)
{
	return of_errno(send(u->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static ssize_t client_read(struct http_upgrade *u, void *p, size_t n)
{
	ssize_t r = gnutls_record_recv(u->session, p, n);

	/* Left without a word of TLS: an end all the same, what follows is for the protocol. */
	return r == GNUTLS_E_PREMATURE_TERMINATION ? 0 : of_gnutls(r);
}

/* After "would wait" the same bytes come again, as GnuTLS wants it. */
static ssize_t client_write(struct http_upgrade *u, const void *p, size_t n)
{
	return of_gnutls(gnutls_record_send(u->session, p, n));
}

static void caller_end(struct http_upgrade *u)
{
	(void)shutdown(u->fd, SHUT_WR);
}

static void client_end(struct http_upgrade *u)
{
	struct pollfd p = {.fd = u->fd};

	(void)gnutls_bye(u->session, GNUTLS_SHUT_WR);
	u->caller_closed = poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

struct direction {
	ssize_t (*read)(struct http_upgrade *u, void *p, size_t n);
	ssize_t (*write)(struct http_upgrade *u, const void *p, size_t n);
	void (*end)(struct http_upgrade *u);
};
static const struct direction outward = {caller_read, client_write, client_end};
static const struct direction inward = {client_read, caller_write, caller_end};

static int push(struct http_upgrade *u, struct way *w, const struct direction *d)
{
	while (w->n) {
		ssize_t n = d->write(u, w->bytes + w->at, w->n);

		if (n < 0)
			return n == -1 ? 0 : -1;
		w->at += (size_t)n;
		w->n -= (size_t)n;
	}
	return 0;
}

/* One block at most: the other connections have their turn. -1: one side is gone. */
static int carry(struct http_upgrade *u, struct way *w, const struct direction *d)
{
	if (push(u, w, d) < 0)
		return -1;
	if (w->n == 0 && !w->ended) {
		ssize_t n = d->read(u, w->bytes, BLOCK_BYTES);

		if (n == -2)
			return -1;
		w->at = 0;
		w->n = n > 0 ? (size_t)n : 0;
		w->ended = n == 0;
		if (push(u, w, d) < 0)
			return -1;
	}
	if (w->ended && w->n == 0 && !w->passed) {
		w->passed = true;
		d->end(u);
	}
	return 0;
}

static unsigned wants(const struct way *from, const struct way *to)
{
	unsigned want = to->n ? LOOP_WRITE : 0;

	return from->n || from->ended ? want : want | LOOP_READ;
}

static void carry_both(void *arg, unsigned ready)
{
	struct http_upgrade *u = arg;

	(void)ready;
	assert(u->magic == UPGRADE_MAGIC);
	if (carry(u, &u->out, &outward) < 0 || carry(u, &u->in, &inward) < 0 || u->caller_closed ||
	    (u->in.passed && u->out.passed)) {
		done(u);
		return;
	}
	loop_watch_want(u->caller, wants(&u->out, &u->in));
	loop_watch_want(u->client, wants(&u->in, &u->out));
}

static int watch_both(struct http_upgrade *u)
{
	struct http_request *r = u->request;
	struct err e = {0};

	if (loop_watch_new(r->loop, u->fd, LOOP_READ, carry_both, u, &u->caller, &e) == 0 &&
	    loop_watch_new(r->loop, r->fd, LOOP_READ, carry_both, u, &u->client, &e) == 0)
		return 0;
	log_warn("a connection cannot be taken over: %s", e.text);
	return -1;
}

/* Small, into an empty buffer: it goes out at once or never. */
static int greet(gnutls_session_t session, const struct strbuf *head)
{
	return gnutls_record_send(session, head->p, head->n) == (ssize_t)head->n ? 0 : -1;
}

int http_upgrade_begin(struct http_request *r, struct list *upgrades, const struct strbuf *head)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	struct http_upgrade *u;
	int pair[2];

	assert(r->resting && !r->watch);
	if (!info || greet(info->tls_session, head) < 0 ||
	    unix_pair(SOCK_STREAM | SOCK_NONBLOCK, pair, NULL) < 0)
		return -1;
	u = mem_new(struct http_upgrade);
	*u = (struct http_upgrade){.magic = UPGRADE_MAGIC,
				   .request = r,
				   .session = info->tls_session,
				   .fd = pair[0],
				   .out.bytes = mem_new_bytes(1, BLOCK_BYTES),
				   .in.bytes = mem_new_bytes(1, BLOCK_BYTES)};
	list_append(upgrades, &u->link);
	if (watch_both(u) < 0) {
		done(u);
		return fd_close(pair[1]);
	}
	/* What the library had decrypted already would not make the socket readable. */
	carry_both(u, 0);
	return pair[1];
}

bool http_websocket_accept(const char *key, char ret[HTTP_ACCEPT_ROOM])
{
	auto_strbuf struct strbuf bytes = {0};
	auto_strbuf struct strbuf text = {0};
	unsigned char sum[20];

	if (!key || base64_decode(str_of(key), &bytes, NULL) < 0 || bytes.n != 16)
		return false;
	strbuf_printf(&text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text.p, text.n, sum) < 0)
		return false;
	strbuf_clear(&text);
	base64_encode((struct str){(const char *)sum, sizeof(sum)}, &text);
	assert(text.n == HTTP_ACCEPT_ROOM - 1);
	memcpy(ret, strbuf_text(&text), HTTP_ACCEPT_ROOM);
	return true;
}
