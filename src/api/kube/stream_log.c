/*
 * Logs: text in pieces from a node to its client, whose speed holds the node back.
 */
#include <assert.h>
#include <stdlib.h>

#include "api/kube/stream_priv.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/base/rfc3339.h"

#define LOG_MAGIC 0x4b6c6f67u

struct log {
	uint32_t magic;
	struct stream life;
	struct kube_request *request;
	struct node_stream *stream;
	bool began;
};

static struct log *log_of(void *p)
{
	struct log *l = p;

	assert(l->magic == LOG_MAGIC);
	return l;
}

static void log_free(struct log *l)
{
	list_remove(&l->life.link);
	l->magic = 0;
	free(l);
}

static void begin(struct log *l)
{
	if (!l->began)
		http_reply_begin(l->request->http, 200, "text/plain");
	l->began = true;
}

static int data(void *ctx, const void *p, size_t n)
{
	struct log *l = log_of(ctx);

	begin(l);
	return http_reply_push(l->request->http, p, n) > HTTP_REPLY_FULL;
}

static void end(void *ctx, const struct err *e)
{
	struct log *l = log_of(ctx);
	struct kube_request *r = l->request;

	http_request_on_gone(r->http, NULL, NULL);
	http_reply_on_drained(r->http, NULL, NULL);
	if (e && !l->began) {
		log_free(l);
		answer_error(r, e);
		return;
	}
	begin(l);
	log_free(l);
	http_reply_end(r->http);
	request_end(r);
}

static void drained(void *arg)
{
	struct log *l = log_of(arg);

	l->stream->resume(l->stream);
}

static void gone(void *arg)
{
	struct log *l = log_of(arg);
	struct kube_request *r = l->request;

	l->stream->cancel(l->stream);
	http_reply_on_drained(r->http, NULL, NULL);
	log_free(l);
	http_request_drop(r->http);
	request_end(r);
}

static void life_end(struct stream *s)
{
	gone(container_of(s, struct log, life));
}

/* -- what is asked for ------------------------------------------------------------------------- */

static int invalid(struct kube_request *r, const char *field, const char *value, const char *why)
{
	answer_status(r, 422, "Invalid", NULL,
		      "PodLogOptions \"%s\" is invalid: %s: Invalid value: \"%s\": %s", r->name,
		      field, value, why);
	return -1;
}

/* A number of the query, at least `least`. 0, or the request is answered. */
static int number(struct kube_request *r, const char *name, int64_t least, int64_t *ret)
{
	const char *text = http_request_query(r->http, name);

	if (!text || !text[0])
		return 0;
	if (parse_i64(str_of(text), name, ret, NULL) < 0)
		return invalid(r, name, text, "must be a number");
	if (*ret < least)
		return invalid(r, name, text,
			       least ? "must be greater than 0"
				     : "must be greater than or equal to 0");
	return 0;
}

static int read_since(struct kube_request *r, struct node_log_options *o)
{
	const char *since = http_request_query(r->http, "sinceTime");
	int64_t seconds = 0, now = world_now_ns(r->kube->world);

	if (number(r, "sinceSeconds", 1, &seconds) < 0)
		return -1;
	if (seconds && since)
		return invalid(r, "sinceTime", since,
			       "at most one of `sinceTime` or `sinceSeconds` may be specified");
	if (seconds)
		o->since_ns = seconds < now / 1000000000 ? now - seconds * 1000000000 : 0;
	else if (since && since[0] && rfc3339_parse(since, &o->since_ns, NULL) < 0)
		return invalid(r, "sinceTime", since, "must be a time as in RFC 3339");
	return 0;
}

static int read_stream(struct kube_request *r, struct node_log_options *o)
{
	static const char *const known[] = {"All", "Stdout", "Stderr"};

	o->stream = http_request_query(r->http, "stream");
	if (!o->stream || !o->stream[0]) {
		o->stream = NULL;
		return 0;
	}
	for (size_t i = 0; i < array_len(known); i++)
		if (text_eq(o->stream, known[i]))
			return 0;
	return invalid(r, "stream", o->stream, "must be \"All\", \"Stdout\" or \"Stderr\"");
}

static int read_options(struct kube_request *r, struct node_log_options *o)
{
	*o = (struct node_log_options){
		.follow = query_flag(r, "follow"),
		.previous = query_flag(r, "previous"),
		.timestamps = query_flag(r, "timestamps"),
		.tail_lines = -1,
		.limit_bytes = -1,
	};
	if (number(r, "tailLines", 0, &o->tail_lines) < 0 ||
	    number(r, "limitBytes", 1, &o->limit_bytes) < 0 || read_since(r, o) < 0)
		return -1;
	return read_stream(r, o);
}

void log_run(struct kube_request *r, const struct stream_node *n)
{
	struct node_log_options o;
	struct log *l;
	struct err e = {0};

	if (read_options(r, &o) < 0)
		return;
	l = mem_new(struct log);
	*l = (struct log){.magic = LOG_MAGIC, .request = r};
	list_init(&l->life.link);
	if (n->ops->log(n->node, &n->target, &o, &(struct node_sink){data, end, l}, &l->stream,
			&e) < 0) {
		log_free(l);
		if (e.kind == ERR_CONFLICT || (o.previous && e.kind == ERR_NOT_FOUND))
			answer_status(r, 400, "BadRequest", NULL, "%s", e.text);
		else
			answer_error(r, &e);
		return;
	}
	if (o.follow) /* the headers tell that it works, though nothing may be there yet */
		begin(l);
	stream_add(r->kube, &l->life, life_end);
	http_reply_on_drained(r->http, drained, l);
	http_request_on_gone(r->http, gone, l);
}
