/*
 * Bodies that flow into the engine's feed, at its pace. The operation's own callback answers the
 * call; it may come before the body is whole, the rest is then read away by the server.
 */
#include <assert.h>

#include "api/docker/docker_priv.h"

static void feed_drained(void *ctx)
{
	struct call *c = call_of(ctx);

	if (c->feed)
		http_request_resume(c->r);
}

static void piece(void *arg, struct http_request *r, const void *bytes, size_t n)
{
	struct call *c = call_of(arg);
	struct feed *f = c->feed;

	if (!f)
		return;
	if (n == 0) {
		c->feed = NULL;
		feed_end(f);
		return;
	}
	if (feed_write(f, bytes, n))
		http_request_pause(r);
}

static void body_gone(void *arg)
{
	struct call *c = call_of(arg);
	struct feed *f = c->feed;

	/* With the whole body in, the operation goes on; its callback ends the call in any case. */
	c->feed = NULL;
	if (f)
		feed_cancel(f);
}

void in_end(struct call *c)
{
	struct feed *f = c->feed;

	c->feed = NULL;
	if (f) /* the outcome came before the body's end */
		feed_cancel(f);
}

void in_start(struct call *c, struct feed *f)
{
	assert(f);
	c->feed = f;
	feed_on_drained(f, feed_drained, c);
	http_request_on_gone(c->r, body_gone, c);
	http_request_stream(c->r, piece, c);
}
