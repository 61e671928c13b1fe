/*
 * Streams over pipes: what a child or the image store writes goes to an API's sink, and what an API
 * is sent goes to a child, with back-pressure in both directions. The pipe decouples them; nothing
 * is buffered here but one block per feed.
 */
#include <fcntl.h>
#include <unistd.h>

#include "engine/engine_priv.h"
#include "engine/streams_priv.h"

#define BLOCK_BYTES   65536
#define FEED_FULL     (256u << 10) /* told "full" above this */
#define BLOCKS_A_TURN 4

/* -- out
 * ------------------------------------------------------------------------------------------- */

struct pipe_stream {
	struct stream stream;
	struct engine *engine;
	struct loop_watch *watch;
	int fd;
	struct sink sink;
	void (*cancelled)(void *ctx);
	void *cancel_ctx;
	bool drained, finished, telling, gone;
	struct err error;
};

static void out_free(struct pipe_stream *s)
{
	s->watch = loop_watch_free(s->watch);
	(void)fd_close(s->fd);
	s->stream.magic = 0;
	free(s);
}

static void out_cancel(struct stream *stream)
{
	struct pipe_stream *s = container_of(stream, struct pipe_stream, stream);

	if (s->telling) {
		s->gone = true;
		return;
	}
	if (s->cancelled && !s->finished) {
		/* The work behind the pipe still knows us: it is told, and answers with
		 * stream_finish. */
		s->sink = (struct sink){0};
		s->watch = loop_watch_free(s->watch);
		s->fd = fd_close(s->fd);
		s->drained = true;
		s->cancelled(s->cancel_ctx);
		return;
	}
	out_free(s);
}

/* Both must have come: the pipe's end, and the word of who wrote into it. */
static void out_maybe_end(struct pipe_stream *s)
{
	struct sink sink = s->sink;
	struct err e = s->error;

	if (!s->drained || !s->finished)
		return;
	out_free(s);
	if (sink.end)
		sink.end(sink.ctx, e.kind ? &e : NULL);
}

static void out_readable(void *arg, unsigned ready)
{
	struct pipe_stream *s = arg;
	char block[BLOCK_BYTES];

	for (int i = 0; i < BLOCKS_A_TURN; i++) {
		ssize_t n = read(s->fd, block, sizeof(block));
		int full;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			s->watch = loop_watch_free(s->watch);
			s->fd = fd_close(s->fd);
			s->drained = true;
			out_maybe_end(s);
			return;
		}
		s->telling = true;
		full = s->sink.data(s->sink.ctx, block, (size_t)n);
		s->telling = false;
		if (s->gone) {
			out_cancel(&s->stream);
			return;
		}
		if (full) {
			loop_watch_want(s->watch, 0);
			return;
		}
	}
}

static void out_resume(struct stream *stream)
{
	struct pipe_stream *s = container_of(stream, struct pipe_stream, stream);

	if (s->watch)
		loop_watch_want(s->watch, LOOP_READ);
}

struct stream *stream_from_fd(struct engine *g, int fd, const struct sink *sink)
{
	struct pipe_stream *s = mem_new(struct pipe_stream);
	struct err e = {0};

	s->stream = (struct stream){STREAM_MAGIC, out_resume, out_cancel};
	s->engine = g;
	s->fd = fd;
	s->sink = *sink;
	if (loop_watch_new(g->loop, fd, LOOP_READ, out_readable, s, &s->watch, &e) < 0) {
		s->error = e;
		s->drained = true;
	}
	return &s->stream;
}

void stream_on_cancel(struct stream *stream, void (*cancelled)(void *ctx), void *ctx)
{
	struct pipe_stream *s = container_of(stream, struct pipe_stream, stream);

	s->cancelled = cancelled;
	s->cancel_ctx = ctx;
}

void stream_finish(struct stream *stream, const struct err *e)
{
	struct pipe_stream *s = container_of(stream, struct pipe_stream, stream);

	assert(s->stream.magic == STREAM_MAGIC && !s->finished);
	s->finished = true;
	if (e)
		s->error = *e;
	out_maybe_end(s);
}

/* -- in
 * --------------------------------------------------------------------------------------------- */

struct feed {
	uint32_t magic;
	struct engine *engine;
	struct loop_watch *watch;
	int fd;
	struct strbuf kept;
	bool ended;	/* by the caller: freed when all is written */
	bool told_full; /* drained() is owed */
	void (*drained)(void *ctx);
	void *ctx;
	void (*cancelled)(void *ctx);
	void *cancel_ctx;
};

static void feed_free(struct feed *f)
{
	f->watch = loop_watch_free(f->watch);
	(void)fd_close(f->fd);
	strbuf_done(&f->kept);
	f->magic = 0;
	free(f);
}

/* The reader went away: what is written from now on is swallowed. */
static void feed_break(struct feed *f)
{
	f->watch = loop_watch_free(f->watch);
	f->fd = fd_close(f->fd);
	strbuf_clear(&f->kept);
}

static void feed_push(struct feed *f)
{
	while (f->kept.n && f->fd >= 0) {
		ssize_t n = write(f->fd, f->kept.p, f->kept.n);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			feed_break(f);
			return;
		}
		strbuf_drop_front(&f->kept, (size_t)n);
	}
	if (f->watch)
		loop_watch_want(f->watch, f->kept.n ? LOOP_WRITE : 0);
}

static void feed_writable(void *arg, unsigned ready)
{
	struct feed *f = arg;

	if (ready & LOOP_ERROR)
		feed_break(f);
	else
		feed_push(f);
	if (f->kept.n)
		return;
	if (f->ended) {
		feed_free(f);
	} else if (f->told_full && f->drained) {
		f->told_full = false;
		f->drained(f->ctx);
	}
}

struct feed *feed_to_fd(struct engine *g, int fd)
{
	struct feed *f = mem_new(struct feed);
	struct err e = {0};

	f->magic = STREAM_MAGIC;
	f->engine = g;
	f->fd = fd;
	if (fd >= 0 && loop_watch_new(g->loop, fd, 0, feed_writable, f, &f->watch, &e) < 0)
		f->fd = fd_close(f->fd);
	return f;
}

void feed_on_cancel(struct feed *f, void (*cancelled)(void *ctx), void *ctx)
{
	f->cancelled = cancelled;
	f->cancel_ctx = ctx;
}

int feed_write(struct feed *f, const void *p, size_t n)
{
	assert(f->magic == STREAM_MAGIC && !f->ended);
	if (f->fd < 0)
		return 0;
	strbuf_add(&f->kept, p, n);
	feed_push(f);
	f->told_full = f->kept.n > FEED_FULL;
	return f->told_full;
}

void feed_on_drained(struct feed *f, void (*drained)(void *ctx), void *ctx)
{
	assert(f->magic == STREAM_MAGIC);
	f->drained = drained;
	f->ctx = ctx;
}

void feed_end(struct feed *f)
{
	assert(f->magic == STREAM_MAGIC && !f->ended);
	f->ended = true;
	f->drained = NULL;
	if (!f->kept.n)
		feed_free(f);
}

void feed_cancel(struct feed *f)
{
	void (*cancelled)(void *ctx);
	void *ctx;

	if (!f)
		return;
	assert(f->magic == STREAM_MAGIC);
	cancelled = f->cancelled;
	ctx = f->cancel_ctx;
	feed_free(f);
	if (cancelled)
		cancelled(ctx);
}
