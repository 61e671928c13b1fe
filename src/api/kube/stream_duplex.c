/*
 * A client's connection after its upgrade. Bytes to send gather in a buffer and leave when the
 * socket takes them; while it is full nothing is read either, so that a client that only talks
 * cannot make the answers grow.
 *
 * The end: a socket that is closed over unread bytes resets the connection, and the client loses
 * what it had not read yet, the exit status for one. So the sending half ends first, and what still
 * comes is read away until the client closes, for a while.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "api/kube/stream_priv.h"
#include "ground/base/log.h"
#include "ground/base/own.h"

#define DUPLEX_MAGIC 0x4b647570u

struct duplex {
	uint32_t magic;
	struct stream stream; /* once it lingers; before, its owner's */
	struct kube *kube;
	struct loop *loop;
	struct loop_watch *watch;
	struct loop_timer *timer; /* of the lingering */
	int fd;
	struct strbuf out;
	const struct duplex_events *on;
	void *ctx;
	bool held;
	bool full; /* the owner was told that there is no room */
	bool finishing, shut, broken;
	bool flush_asked;
};

static struct duplex *duplex_of(void *p)
{
	struct duplex *d = p;

	assert(d->magic == DUPLEX_MAGIC);
	return d;
}

static void flush_later(void *arg);

static void duplex_free(struct duplex *d)
{
	list_remove(&d->stream.link);
	loop_defer_cancel(d->loop, flush_later, d);
	d->watch = loop_watch_free(d->watch);
	d->timer = loop_timer_free(d->timer);
	d->fd = fd_close(d->fd);
	strbuf_done(&d->out);
	d->magic = 0;
	free(d);
}

static void send_out(struct duplex *d)
{
	size_t done = 0;

	while (done < d->out.n && !d->broken) {
		ssize_t n =
			send(d->fd, d->out.p + done, d->out.n - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR)
			d->broken = true;
		done += n > 0 ? (size_t)n : 0;
	}
	strbuf_drop_front(&d->out, d->out.n < done ? d->out.n : done);
	if (d->broken)
		strbuf_clear(&d->out);
}

/* The lingering end; frees d when it is over. */
static void linger(struct duplex *d)
{
	char away[STREAM_BLOCK];
	ssize_t n;

	send_out(d);
	if (!d->broken && d->out.n) {
		loop_watch_want(d->watch, LOOP_WRITE);
		return;
	}
	if (!d->broken && !d->shut) {
		d->shut = true;
		(void)shutdown(d->fd, SHUT_WR);
	}
	n = d->broken ? 0 : recv(d->fd, away, sizeof(away), MSG_DONTWAIT);
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		loop_watch_want(d->watch, LOOP_READ);
	else
		duplex_free(d);
}

static void settle(struct duplex *d)
{
	bool read = !d->held && d->out.n < STREAM_FULL;

	if (d->finishing) {
		linger(d);
		return;
	}
	loop_watch_want(d->watch, (read ? LOOP_READ : LOOP_HUP) | (d->out.n ? LOOP_WRITE : 0));
}

static void say_room(struct duplex *d)
{
	if (d->full && d->out.n < STREAM_LOW && !d->finishing) {
		d->full = false;
		d->on->room(d->ctx);
	}
}

static void receive(struct duplex *d)
{
	char block[STREAM_BLOCK];
	ssize_t n = recv(d->fd, block, sizeof(block), MSG_DONTWAIT);

	if (n > 0)
		d->on->bytes(d->ctx, block, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		d->on->gone(d->ctx);
}

static void ready(void *arg, unsigned what)
{
	struct duplex *d = duplex_of(arg);

	send_out(d);
	say_room(d);
	if (!d->finishing) {
		bool closed = d->broken || what & LOOP_ERROR || (d->held && what & LOOP_HUP);

		if (closed)
			d->on->gone(d->ctx);
		else if (!d->held && what & (LOOP_READ | LOOP_HUP))
			receive(d);
	}
	settle(d);
}

static void flush_later(void *arg)
{
	struct duplex *d = duplex_of(arg);

	d->flush_asked = false;
	send_out(d);
	say_room(d);
	if (d->broken && !d->finishing)
		d->on->gone(d->ctx);
	settle(d);
}

static void too_long(void *arg)
{
	struct duplex *d = duplex_of(arg);

	assert(d->finishing);
	d->broken = true;
	linger(d);
}

static void stream_end(struct stream *s)
{
	duplex_free(duplex_of(container_of(s, struct duplex, stream)));
}

struct duplex *duplex_new(struct kube *k, int fd, const struct duplex_events *on, void *ctx)
{
	struct duplex *d = mem_new(struct duplex);
	struct err e = {0};

	*d = (struct duplex){
		.magic = DUPLEX_MAGIC, .kube = k, .loop = k->loop, .fd = fd, .on = on, .ctx = ctx};
	list_init(&d->stream.link);
	d->timer = loop_timer_new(d->loop, too_long, d);
	if (loop_watch_new(d->loop, fd, LOOP_READ, ready, d, &d->watch, &e) == 0)
		return d;
	log_warn("a stream cannot be served: %s", e.text);
	duplex_free(d);
	return NULL;
}

struct strbuf *duplex_out(struct duplex *d)
{
	return &d->out;
}

void duplex_flush(struct duplex *d)
{
	if (!d->flush_asked) {
		d->flush_asked = true;
		loop_defer(d->loop, flush_later, d);
	}
}

size_t duplex_room(struct duplex *d)
{
	if (d->out.n < STREAM_FULL)
		return STREAM_FULL - d->out.n;
	d->full = true;
	return 0;
}

void duplex_hold(struct duplex *d, bool hold)
{
	if (d->held == hold)
		return;
	d->held = hold;
	duplex_flush(d); /* settles what is wanted */
}

void duplex_finish(struct duplex *d)
{
	assert(d->magic == DUPLEX_MAGIC);
	assert(!d->finishing);
	d->finishing = true;
	stream_add(d->kube, &d->stream, stream_end);
	loop_timer_set(d->timer, STREAM_LINGER_MS, 0);
	duplex_flush(d);
}
