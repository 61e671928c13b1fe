/*
 * Pumps between HTTP and descriptors: everything a pipe or socket yields becomes a reply, or a body
 * is written into a pipe or socket, each at the pace of the slower side, without holding more than
 * a bounded piece in memory.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ground/base/own.h"
#include "ground/wire/http_priv.h"

#define PUMP_BYTES	  (64u << 10)
#define PUMP_READS_A_TURN 4

struct pump {
	struct http_request *r;
	struct loop_watch *watch;
	int fd;
	struct strbuf left; /* of a body: what the descriptor did not take */
	bool whole;	    /* of a body: all of it has come */
	bool broken;	    /* of a body: the reader closed early, the rest is read away */
	loop_fn *out_done;
	http_done_fn *in_done;
	void *arg;
};

static void pump_close(struct pump *p)
{
	p->watch = loop_watch_free(p->watch);
	p->fd = fd_close(p->fd);
}

static void pump_free(struct pump *p)
{
	pump_close(p);
	strbuf_done(&p->left);
	free(p);
}

/* Out: descriptor to client. */

static void out_end(struct pump *p)
{
	loop_fn *done = p->out_done;
	void *arg = p->arg;

	http_request_on_gone(p->r, NULL, NULL);
	http_reply_end(p->r);
	pump_free(p);
	if (done)
		done(arg);
}

static void out_ready(void *arg, unsigned ready)
{
	struct pump *p = arg;
	auto_free char *buf = mem_new_bytes(1, PUMP_BYTES);

	(void)ready;
	for (int i = 0; i < PUMP_READS_A_TURN; i++) {
		ssize_t n = read(p->fd, buf, PUMP_BYTES);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			out_end(p);
			return;
		}
		if (http_reply_push(p->r, buf, (size_t)n) > HTTP_REPLY_FULL) {
			loop_watch_want(p->watch, 0);
			return;
		}
	}
}

static void out_drained(void *arg)
{
	struct pump *p = arg;

	loop_watch_want(p->watch, LOOP_READ);
}

static void out_gone(void *arg)
{
	out_end(arg);
}

void http_reply_fd(struct http_request *r, int status, const char *content_type, int fd,
		   loop_fn *done, void *arg)
{
	struct pump *p = mem_new(struct pump);
	struct err e = {0};

	*p = (struct pump){.r = r, .fd = fd, .out_done = done, .arg = arg};
	if (loop_watch_new(r->loop, fd, LOOP_READ, out_ready, p, &p->watch, &e) < 0) {
		pump_free(p);
		http_reply_err(r, &e);
		if (done)
			loop_defer(r->loop, done, arg);
		return;
	}
	http_reply_begin(r, status, content_type);
	http_reply_on_drained(r, out_drained, p);
	http_request_on_gone(r, out_gone, p);
}

/* In: client to descriptor. */

static void in_finish(struct pump *p, const struct err *e)
{
	http_done_fn *done = p->in_done;
	void *arg = p->arg;
	struct http_request *r = p->r;

	http_request_on_gone(r, NULL, NULL);
	pump_free(p);
	done(arg, r, e);
}

static void in_break(struct pump *p)
{
	p->broken = true;
	strbuf_clear(&p->left);
	pump_close(p);
}

/* Writes what is left over; false while the descriptor takes no more. */
static bool in_write(struct pump *p)
{
	while (!p->broken && p->left.n) {
		ssize_t n = write(p->fd, p->left.p, p->left.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0)
			in_break(p);
		else
			strbuf_drop_front(&p->left, (size_t)n);
	}
	return true;
}

static void in_ready(void *arg, unsigned ready)
{
	struct pump *p = arg;

	(void)ready;
	if (!in_write(p))
		return;
	if (p->watch)
		loop_watch_want(p->watch, 0);
	if (p->whole)
		in_finish(p, NULL);
	else
		http_request_resume(p->r);
}

static void in_piece(void *arg, struct http_request *r, const void *bytes, size_t n)
{
	struct pump *p = arg;

	if (n == 0) {
		p->whole = true;
		if (!p->left.n)
			in_finish(p, NULL);
		return;
	}
	if (p->broken)
		return;
	strbuf_add(&p->left, bytes, n);
	if (in_write(p))
		return;
	http_request_pause(r);
	loop_watch_want(p->watch, LOOP_WRITE);
}

static void in_gone(void *arg)
{
	struct pump *p = arg;
	struct err e = {0};

	/* Only half closed, or all is here already: what it sent still goes its way. */
	if (p->r->connection || p->whole)
		return;
	(void)err_set(&e, ERR_GONE, "the client left before its body was whole");
	in_finish(p, &e);
}

void http_request_to_fd(struct http_request *r, int fd, http_done_fn *done, void *arg)
{
	struct pump *p = mem_new(struct pump);
	struct err e = {0};

	assert(done);
	*p = (struct pump){.r = r, .fd = fd, .in_done = done, .arg = arg};
	if (loop_watch_new(r->loop, fd, 0, in_ready, p, &p->watch, &e) < 0) {
		pump_free(p);
		done(arg, r, &e);
		return;
	}
	http_request_on_gone(r, in_gone, p);
	http_request_stream(r, in_piece, p);
}
