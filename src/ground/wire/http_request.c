/*
 * A request from its owner's side: questions, body, replies. Nothing here calls the library; what
 * should happen is written into the request, and a resting connection is kicked.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/format/json.h"
#include "ground/wire/http_priv.h"

struct http_request *http_request_of(void *p)
{
	struct http_request *r = p;

	assert(r->magic == HTTP_REQUEST_MAGIC);
	return r;
}

void http_pairs_add(struct http_request *r, struct http_pairs *p, const char *name,
		    const char *value)
{
	mem_grow(p->items, p->n + 1, p->room);
	p->items[p->n++] = (struct http_pair){arena_dup_text(&r->arena, name),
					      arena_dup_text(&r->arena, value)};
}

const char *http_pairs_get(const struct http_pairs *p, const char *name, size_t i)
{
	for (size_t k = 0; k < p->n; k++)
		if (strcasecmp(p->items[k].name, name) == 0 && i-- == 0)
			return p->items[k].value;
	return NULL;
}

static void release(void *arg)
{
	struct http_request *r = http_request_of(arg);

	assert(!r->connection);
	assert(r->finished);
	assert(!r->watch);
	if (r->drained)
		loop_defer_cancel(r->loop, r->drained, r->drained_arg);
	strbuf_done(&r->body);
	strbuf_done(&r->out);
	free(r->headers.items);
	free(r->query.items);
	free(r->reply_headers.items);
	arena_done(&r->arena);
	r->magic = 0;
	free(r);
}

void http_release_later(struct http_request *r)
{
	assert(!r->releasing);
	r->releasing = true;
	loop_defer(r->loop, release, r);
}

static void tell_gone(void *arg)
{
	struct http_request *r = http_request_of(arg);

	if (!r->finished && r->on_gone && !r->gone_told) {
		r->gone_told = true;
		r->on_gone(r->gone_arg);
	}
}

void http_tell_gone(struct http_request *r)
{
	if (r->on_gone && !r->gone_told && !r->finished)
		loop_defer(r->loop, tell_gone, r);
}

void http_finish(struct http_request *r)
{
	assert(!r->finished); /* each request is finished once */
	r->finished = true;
	r->ended = true;
	r->paused = false; /* what is left of the body is read away */
	loop_defer_cancel(r->loop, tell_gone, r);
	r->watch = loop_watch_free(r->watch);
	if (r->connection)
		http_kick(r);
	else
		http_release_later(r);
}

/* Questions. */

const char *http_request_method(const struct http_request *r)
{
	return r->method;
}

const char *http_request_path(const struct http_request *r)
{
	return r->path;
}

const char *http_request_header(const struct http_request *r, const char *name)
{
	return http_pairs_get(&r->headers, name, 0);
}

const char *http_request_header_at(const struct http_request *r, const char *name, size_t i)
{
	return http_pairs_get(&r->headers, name, i);
}

const char *http_request_query_at(const struct http_request *r, const char *name, size_t i)
{
	for (size_t k = 0; k < r->query.n; k++)
		if (strcmp(r->query.items[k].name, name) == 0 && i-- == 0)
			return r->query.items[k].value;
	return NULL;
}

static bool each(const struct http_pairs *p, size_t i, const char **ret_name,
		 const char **ret_value)
{
	if (i >= p->n)
		return false;
	*ret_name = p->items[i].name;
	*ret_value = p->items[i].value;
	return true;
}

bool http_request_each_header(const struct http_request *r, size_t i, const char **ret_name,
			      const char **ret_value)
{
	return each(&r->headers, i, ret_name, ret_value);
}

bool http_request_each_query(const struct http_request *r, size_t i, const char **ret_name,
			     const char **ret_value)
{
	return each(&r->query, i, ret_name, ret_value);
}

bool http_request_wants_upgrade(const struct http_request *r)
{
	const char *connection = http_request_header(r, "Connection");

	return connection && strcasestr(connection, "upgrade") && http_request_header(r, "Upgrade");
}

bool http_request_peer(const struct http_request *r, struct unix_peer *ret)
{
	return r->unix_socket && r->connection && unix_peer(r->fd, ret, NULL) == 0;
}

struct str http_request_certificate(const struct http_request *r)
{
	assert(r->magic == HTTP_REQUEST_MAGIC);
	return r->certificate;
}

bool http_request_is_gone(const struct http_request *r)
{
	return r->gone;
}

void http_request_set_data(struct http_request *r, void *data)
{
	r->data = data;
}

void *http_request_data(const struct http_request *r)
{
	return r->data;
}

void http_request_on_gone(struct http_request *r, loop_fn *fn, void *arg)
{
	loop_defer_cancel(r->loop, tell_gone, r);
	r->on_gone = fn;
	r->gone_arg = arg;
	if (r->gone)
		http_tell_gone(r);
	else
		http_watch(r);
}

/* The body. */

static void ask(struct http_request *r, enum http_body_mode mode, void *arg)
{
	assert(r->phase == HTTP_ASKED);
	assert(!r->asked);
	assert(!r->finished);
	r->asked = true;
	r->body_mode = mode;
	r->body_arg = arg;
	http_kick(r);
}

/* Finishes r for the owner, who waits for a body that will not come. */
static void gather_failed(struct http_request *r, enum err_kind kind)
{
	http_body_fn *fn = r->gathered;
	struct err e = {0};

	r->body_mode = HTTP_DRAIN;
	r->gathered = NULL;
	strbuf_done(&r->body);
	if (kind == ERR_GONE) {
		(void)err_set(&e, kind, "the client left before its request was whole");
		http_request_drop(r);
	} else {
		(void)err_set(&e, kind, "the request's body is longer than %zu bytes", r->body_max);
		http_reply_message(r, 413, "%s", e.text);
	}
	fn(r->body_arg, NULL, (struct str){NULL, 0}, &e);
}

static void gather_too_long(void *arg)
{
	gather_failed(http_request_of(arg), ERR_EXHAUSTED);
}

static void gather_broken(void *arg)
{
	gather_failed(http_request_of(arg), ERR_GONE);
}

void http_body_broken(struct http_request *r)
{
	if (r->gathered && !r->finished) {
		loop_defer_cancel(r->loop, gather_too_long, r);
		loop_defer(r->loop, gather_broken, r);
	}
}

void http_request_gather(struct http_request *r, size_t max_bytes, http_body_fn *fn, void *arg)
{
	const char *length = http_request_header(r, "Content-Length");
	uint64_t n = 0;

	r->gathered = fn;
	r->body_max = max_bytes;
	if (length && (parse_u64(str_of(length), "length", &n, NULL) < 0 || n > max_bytes)) {
		r->asked = true;
		r->body_arg = arg;
		loop_defer(r->loop, gather_too_long, r); /* refused before it is sent */
		return;
	}
	ask(r, HTTP_GATHER, arg);
}

void http_request_stream(struct http_request *r, http_piece_fn *fn, void *arg)
{
	r->piece = fn;
	ask(r, HTTP_STREAM, arg);
}

void http_request_pause(struct http_request *r)
{
	r->paused = true; /* rests after the piece that is being given out */
}

void http_request_resume(struct http_request *r)
{
	r->paused = false;
	if (r->phase == HTTP_BODY)
		http_kick(r);
}

void http_body_piece(struct http_request *r, const void *bytes, size_t n)
{
	if (r->finished)
		return; /* answered early: the rest is of no interest */
	if (r->body_mode == HTTP_STREAM) {
		r->piece(r->body_arg, r, bytes, n);
		return;
	}
	assert(r->gathered);
	if (r->body.n + n > r->body_max) {
		gather_failed(r, ERR_EXHAUSTED);
		return;
	}
	strbuf_add(&r->body, bytes, n);
}

void http_body_end(struct http_request *r)
{
	if (r->finished)
		return;
	if (r->body_mode == HTTP_STREAM)
		r->piece(r->body_arg, r, NULL, 0);
	else if (r->gathered)
		take(r->gathered)(r->body_arg, r, (struct str){strbuf_text(&r->body), r->body.n},
				  NULL);
}

/* Replies. */

void http_reply_header(struct http_request *r, const char *name, const char *value)
{
	assert(r->reply == HTTP_NO_REPLY);
	http_pairs_add(r, &r->reply_headers, name, value);
}

static void reply(struct http_request *r, enum http_reply_mode mode, int status,
		  const char *content_type)
{
	/* A server that is being freed has already dropped the reply. */
	assert(r->reply == HTTP_NO_REPLY || r->reply == HTTP_DROP);
	assert(status >= 200 || mode == HTTP_HIJACK || mode == HTTP_DROP);
	if (r->reply == HTTP_DROP)
		return;
	r->reply = mode;
	r->status = status;
	r->content_type = arena_dup_text(&r->arena, content_type);
}

void http_reply(struct http_request *r, int status, const char *content_type, const void *bytes,
		size_t n)
{
	reply(r, HTTP_WHOLE, status, content_type);
	if (n)
		strbuf_add(&r->out, bytes, n);
	http_finish(r);
}

void http_reply_take(struct http_request *r, int status, const char *content_type,
		     struct strbuf *body)
{
	reply(r, HTTP_WHOLE, status, content_type);
	assert(r->out.n == 0);
	strbuf_done(&r->out);
	r->out = *body;
	*body = (struct strbuf){0};
	http_finish(r);
}

void http_reply_message(struct http_request *r, int status, const char *fmt, ...)
{
	auto_json struct json *j = json_new_object();
	auto_strbuf struct strbuf text = {0};
	auto_strbuf struct strbuf out = {0};
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	json_set_text(j, "message", strbuf_text(&text));
	json_write(j, &out);
	strbuf_add_char(&out, '\n');
	http_reply(r, status, "application/json", out.p, out.n);
}

void http_reply_err(struct http_request *r, const struct err *e)
{
	http_reply_message(r, err_kind_info(e->kind)->http_status, "%s", e->text);
}

void http_reply_begin(struct http_request *r, int status, const char *content_type)
{
	reply(r, HTTP_PIECES, status, content_type);
	http_kick(r);
}

size_t http_reply_push(struct http_request *r, const void *bytes, size_t n)
{
	assert(!r->ended);
	if (!r->connection || r->reply != HTTP_PIECES)
		return 0;
	strbuf_add(&r->out, bytes, n);
	http_kick(r);
	return r->out.n;
}

void http_reply_on_drained(struct http_request *r, loop_fn *fn, void *arg)
{
	if (r->drained)
		loop_defer_cancel(r->loop, r->drained, r->drained_arg);
	r->drained = fn;
	r->drained_arg = arg;
}

void http_reply_end(struct http_request *r)
{
	assert(r->reply == HTTP_PIECES || r->reply == HTTP_DROP);
	http_reply_on_drained(r, NULL, NULL);
	http_finish(r);
}

void http_request_hijack(struct http_request *r, const char *content_type,
			 http_hijacked_fn *hijacked, void *arg)
{
	assert(hijacked);
	if (!r->connection || r->reply == HTTP_DROP) {
		hijacked(arg, -1, (struct str){NULL, 0});
		http_finish(r);
		return;
	}
	reply(r, HTTP_HIJACK, 101, content_type);
	r->hijacked = hijacked;
	r->hijacked_arg = arg;
	http_finish(r);
}

void http_request_drop(struct http_request *r)
{
	r->reply = HTTP_DROP;
	strbuf_clear(&r->out);
	http_finish(r);
}
