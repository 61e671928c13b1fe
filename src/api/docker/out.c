/*
 * Replies that flow: from an engine's sink with back-pressure, or as JSON values one after another.
 * Whatever runs for the call is cancelled when its client leaves. Errors before the first byte
 * become a status of their own; later ones are said inside the stream where its format can carry
 * them, and break the connection where it cannot.
 */
#include <assert.h>
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

struct out_state {
	const char *content_type;
};

/* The client left: nothing calls back after the cancels. */
static void out_gone(void *arg)
{
	struct call *c = call_of(arg);

	stream_cancel(c->stream);
	if (c->waiter)
		wait_cancel(c->waiter);
	if (c->job)
		image_job_cancel(c->job);
	http_request_drop(c->r);
	call_release(c);
}

void out_watch(struct call *c)
{
	http_request_on_gone(c->r, out_gone, c);
}

static void out_drained(void *arg)
{
	struct call *c = call_of(arg);

	if (c->stream)
		stream_resume(c->stream);
}

void out_begin(struct call *c, const char *content_type)
{
	assert(!c->begun);
	c->begun = true;
	http_reply_begin(c->r, 200, content_type);
	http_reply_on_drained(c->r, out_drained, c);
}

size_t out_push(struct call *c, const void *p, size_t n)
{
	assert(c->begun);
	return n ? http_reply_push(c->r, p, n) : 0;
}

void out_json(struct call *c, struct json *j, const char *line_end)
{
	auto_strbuf struct strbuf b = {0};

	json_write(j, &b);
	strbuf_add_text(&b, line_end);
	(void)json_free(j);
	(void)out_push(c, b.p, b.n);
}

void out_end(struct call *c)
{
	assert(c->begun);
	http_reply_end(c->r);
	call_release(c);
}

void out_fail(struct call *c, const struct err *e)
{
	if (!c->begun) {
		call_reply_err(c, e);
		return;
	}
	http_request_drop(c->r);
	call_release(c);
}

/* An engine's stream of bytes. */

static int sink_data(void *ctx, const void *p, size_t n)
{
	struct call *c = call_of(ctx);
	struct out_state *s = c->state;

	if (!c->begun)
		out_begin(c, s->content_type);
	return out_push(c, p, n) > HTTP_REPLY_FULL;
}

static void sink_end(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct out_state *s = c->state;

	c->stream = NULL;
	if (e) {
		out_fail(c, e);
		return;
	}
	if (!c->begun)
		out_begin(c, s->content_type);
	out_end(c);
}

struct sink out_sink(struct call *c, const char *content_type)
{
	struct out_state *s = arena_new(&c->arena, struct out_state);

	s->content_type = content_type;
	c->state = s;
	out_watch(c);
	return (struct sink){sink_data, sink_end, c};
}

/* Progress of pull, push, load: JSON values, each on its line. */

static struct json *aux_json(const struct progress *p)
{
	struct json *j = json_new_object();
	struct json *aux = json_new_object();

	json_set_text(aux, "Tag", p->aux_tag);
	json_set_text(aux, "Digest", p->aux_digest);
	json_set_i64(aux, "Size", p->aux_size);
	json_set(j, "progressDetail", json_new_object());
	json_set(j, "aux", aux);
	return j;
}

static struct json *progress_json(const struct progress *p)
{
	struct json *j = json_new_object();
	struct json *detail;

	if (p->status)
		json_set_text(j, "status", p->status);
	if (!p->id)
		return j;
	detail = json_new_object();
	if (p->current || p->total) {
		json_set_i64(detail, "current", p->current);
		json_set_i64(detail, "total", p->total);
	}
	json_set(j, "progressDetail", detail);
	json_set_text(j, "id", p->id);
	return j;
}

static void out_held(struct call *c)
{
	if (!c->begun)
		out_begin(c, TYPE_JSON);
	if (c->held)
		out_json(c, take(c->held), "\r\n");
}

void out_progress(void *ctx, const struct progress *p)
{
	struct call *c = call_of(ctx);

	out_held(c);
	out_json(c, p->aux_digest ? aux_json(p) : progress_json(p), "\r\n");
}

void out_pull_progress(void *ctx, const struct progress *p)
{
	struct call *c = call_of(ctx);

	if (!c->begun && !c->held)
		c->held = progress_json(p);
	else
		out_progress(ctx, p);
}

void out_progress_done(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	c->job = NULL;
	if (e && !c->begun) {
		call_reply_err(c, e);
		return;
	}
	out_held(c);
	if (e) {
		struct json *j = json_new_object();
		struct json *detail = json_new_object();

		json_set_text(detail, "message", e->text);
		json_set(j, "errorDetail", detail);
		json_set_text(j, "error", e->text);
		out_json(c, j, "\r\n");
	}
	out_end(c);
}
