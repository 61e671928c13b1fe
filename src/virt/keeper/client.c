/*
 * Attached clients: see client.h. The socket is written with MSG_DONTWAIT, so that its mode (which
 * the daemon shares) is not touched; a peer that is gone shows as an error or as EPOLLHUP, never as
 * a signal.
 */
#include "virt/keeper/client.h"

#include <assert.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ground/base/mem.h"

#define CLIENT_MAGIC 0x434c4e54

static struct client *as_client(void *p)
{
	struct client *c = p;

	assert(c);
	assert(c->magic == CLIENT_MAGIC);
	return c;
}

void client_frame(enum log_stream stream, size_t n, unsigned char ret[CLIENT_FRAME_HEADER])
{
	assert(n <= UINT32_MAX);
	memset(ret, 0, CLIENT_FRAME_HEADER);
	ret[0] = (unsigned char)stream;
	for (int i = 0; i < 4; i++)
		ret[4 + i] = (unsigned char)(n >> (24 - 8 * i));
}

bool client_scan_keys(struct client *c, const char *p, size_t n, struct strbuf *out)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == c->keys[c->keys_seen]) {
			if (++c->keys_seen == c->keys_n)
				return false;
			continue;
		}
		/* Not the keys after all: what looked like their beginning is input. */
		strbuf_add(out, c->keys, c->keys_seen);
		c->keys_seen = 0;
		if (p[i] == c->keys[0])
			c->keys_seen = 1;
		else
			strbuf_add_char(out, p[i]);
	}
	return true;
}

static void leave(struct client *c, bool by_keys)
{
	const struct client_ops *ops = c->ops;
	void *ctx = c->ctx;

	ops->gone(ctx, c, by_keys);
	(void)client_free(c);
	ops->relieved(ctx);
}

static uint32_t wanted_events(const struct client *c)
{
	uint32_t events = c->out.n > 0 ? EPOLLOUT : 0;

	if (c->input_open && c->phase != CLIENT_DRAINING && c->ops->input_wanted(c->ctx))
		events |= EPOLLIN;
	return events;
}

void client_refresh(struct client *c)
{
	turn_watch_want(c->turn, &c->watch, wanted_events(c));
}

/* Sends; what does not fit is kept. false: the client is gone (and still to be left). */
static bool send_or_keep(struct client *c, struct iovec *iov, int iov_n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)iov_n};
	ssize_t done = 0;

	if (c->out.n == 0)
		done = sendmsg(c->watch.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (done < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		return false;
	if (done < 0)
		done = 0;
	for (int i = 0; i < iov_n; i++) {
		size_t skip = (size_t)done < iov[i].iov_len ? (size_t)done : iov[i].iov_len;

		strbuf_add(&c->out, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
		done -= (ssize_t)skip;
	}
	return true;
}

/* false: the peer is gone. */
static bool put(struct client *c, enum log_stream stream, const char *p, size_t n)
{
	unsigned char header[CLIENT_FRAME_HEADER];
	struct iovec iov[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)p, n}};

	if (n == 0 || !(stream == LOG_STREAM_STDOUT ? c->want_stdout : c->want_stderr))
		return true;
	client_frame(stream, n, header);
	return c->multiplexed ? send_or_keep(c, iov, 2) : send_or_keep(c, iov + 1, 1);
}

void client_output(struct client *c, enum log_stream stream, const char *p, size_t n)
{
	assert(c->magic == CLIENT_MAGIC);
	if (c->phase != CLIENT_LIVE)
		return;
	/* A peer that is gone is told by its watch soon: it is not freed under the caller's feet.
	 */
	if (!put(c, stream, p, n))
		(void)shutdown(c->watch.fd, SHUT_RDWR);
	client_refresh(c);
}

bool client_is_full(const struct client *c)
{
	return c->phase == CLIENT_LIVE && c->out.n >= CLIENT_BACKLOG;
}

/* Output of the log until the socket is full or the log's end is reached. false: gone. */
static bool replay(struct client *c)
{
	struct log_line line;
	int got = LOG_LINE;

	while (c->replay && c->out.n < CLIENT_BACKLOG) {
		got = log_reader_next(c->replay, &line, NULL);
		if (got != LOG_LINE && got != LOG_AGAIN)
			break;
		if (got == LOG_LINE && !put(c, line.stream, line.text, line.text_n))
			return false;
	}
	if (c->replay && (got == LOG_NONE || got == LOG_END || got < 0)) {
		c->replay = log_reader_free(c->replay);
		c->phase = c->no_stream ? CLIENT_DRAINING : CLIENT_LIVE;
		if (!c->no_stream)
			c->ops->caught_up(c->ctx, c);
	}
	return true;
}

static bool flush(struct client *c)
{
	ssize_t done = 0;

	if (c->out.n > 0)
		done = send(c->watch.fd, c->out.p, c->out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (done < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
	strbuf_drop_front(&c->out, (size_t)done);
	if (c->out.n == 0)
		strbuf_done(&c->out);
	return true;
}

/* Everything was said: closes where that is due. May free c. */
static bool left_when_done(struct client *c)
{
	if (c->phase != CLIENT_DRAINING || c->out.n > 0)
		return false;
	leave(c, false);
	return true;
}

static bool read_input(struct client *c)
{
	char block[CLIENT_INPUT];
	auto_strbuf struct strbuf scanned = {0};
	ssize_t n = recv(c->watch.fd, block, sizeof(block), MSG_DONTWAIT);
	bool stay = true;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0) {
		c->input_open = false;
		c->ops->input_ended(c->ctx, c);
		return true;
	}
	if (c->keys_n == 0) {
		c->ops->input(c->ctx, block, (size_t)n);
		return true;
	}
	stay = client_scan_keys(c, block, (size_t)n, &scanned);
	if (scanned.n > 0)
		c->ops->input(c->ctx, scanned.p, scanned.n);
	if (!stay)
		c->keys_seen = c->keys_n;
	return stay;
}

static void on_ready(void *ctx, uint32_t events)
{
	struct client *c = as_client(ctx);
	size_t before = c->out.n;
	bool stay = true;

	if (events & EPOLLIN)
		stay = read_input(c);
	if (!stay) {
		leave(c, c->keys_n > 0 && c->keys_seen == c->keys_n);
		return;
	}
	/* Both directions are closed: nobody reads any more. Half a close is input's end only. */
	if (events & (EPOLLERR | EPOLLHUP)) {
		leave(c, false);
		return;
	}
	if (events & EPOLLOUT)
		stay = flush(c);
	if (stay && c->phase == CLIENT_REPLAYING)
		stay = replay(c);
	if (!stay) {
		leave(c, false);
		return;
	}
	if (left_when_done(c))
		return;
	client_refresh(c);
	if (c->out.n < before)
		c->ops->relieved(c->ctx);
}

void client_finish(struct client *c)
{
	assert(c->magic == CLIENT_MAGIC);
	if (c->phase == CLIENT_REPLAYING) {
		c->no_stream = true; /* ends behind the replay */
		if (!replay(c)) {
			leave(c, false);
			return;
		}
	}
	if (c->phase == CLIENT_LIVE)
		c->phase = CLIENT_DRAINING;
	if (left_when_done(c))
		return;
	client_refresh(c);
}

static void take_keys(struct client *c, const char *keys)
{
	size_t n = keys ? strlen(keys) : 0;

	if (n > CLIENT_KEYS_MAX)
		return;
	memcpy(c->keys, keys ? keys : "", n);
	c->keys_n = n;
}

int client_new(struct turn *turn, const struct keeper_attach *how, bool tty, int fd,
	       const struct client_ops *ops, void *ctx, struct list *clients, struct client **ret,
	       struct err *e)
{
	struct client *c = mem_new(struct client);
	int r;

	c->magic = CLIENT_MAGIC;
	c->turn = turn;
	c->ops = ops;
	c->ctx = ctx;
	c->phase = how->no_stream ? CLIENT_DRAINING : CLIENT_LIVE;
	c->session = mem_dup_text(how->session ? how->session : "");
	c->want_stdin = how->want_stdin && !how->no_stream;
	c->want_stdout = how->want_stdout;
	c->want_stderr = how->want_stderr;
	c->multiplexed = how->multiplexed;
	c->no_stream = how->no_stream;
	c->input_open = c->want_stdin;
	if (tty)
		take_keys(c, how->detach_keys);
	list_init(&c->link);
	c->watch = (struct turn_watch){.fd = -1, .fn = on_ready, .ctx = c};
	r = turn_watch(turn, &c->watch, fd, 0, e);
	if (r < 0) {
		c->watch.fd = fd;
		(void)client_free(c);
		return r;
	}
	list_append(clients, &c->link);
	*ret = c;
	return 0;
}

struct client *client_free(struct client *c)
{
	int fd;

	if (!c)
		return NULL;
	assert(c->magic == CLIENT_MAGIC);
	fd = c->watch.fd;
	turn_unwatch(c->turn, &c->watch);
	(void)fd_close(fd);
	list_remove(&c->link);
	(void)log_reader_free(c->replay);
	strbuf_done(&c->out);
	free(c->session);
	c->magic = 0;
	free(c);
	return NULL;
}
