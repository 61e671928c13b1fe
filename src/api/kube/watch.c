/*
 * Watches: one JSON line per event, for as long as the client listens. An event is encoded once for
 * all watches that want it in the same form; a client that does not read is cut off when
 * WATCH_BEHIND_MAX bytes wait for it, and comes back with the revision it has.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/table.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/wire/loop.h"

#define WATCH_BEHIND_MAX ((size_t)16 << 20)
#define WATCH_SECONDS \
	2700 /* where the client says nothing; some more, so that not all end at once */
#define EVENTS_KEPT  64
#define DEADLINES_MS 1000

struct watching {
	struct list link;
	struct kube_request *request;
	struct client_watch *watch;
	struct arena arena;
	bool headers_sent; /* of Tables: columns come once */
	bool bookmarks;
	int64_t until_ms;
};

/* -- encoded once ------------------------------------------------------------------------------ */

struct event_cache {
	struct cached {
		uint64_t revision;
		enum watch_type type;
		const struct kind *kind;
		enum answer_form form;
		struct strbuf bytes;
	} kept[EVENTS_KEPT];
};

struct event_cache *event_cache_new(void)
{
	return mem_new(struct event_cache);
}

struct event_cache *event_cache_free(struct event_cache *c)
{
	for (size_t i = 0; c && i < EVENTS_KEPT; i++)
		strbuf_done(&c->kept[i].bytes);
	free(c);
	return NULL;
}

static const char *const type_names[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"};

static void encode(const struct kube_request *r, const struct watch_event *v, struct strbuf *out)
{
	strbuf_printf(out, "{\"type\":\"%s\",\"object\":", type_names[v->type]);
	if (r->form == ANSWER_METADATA) {
		auto_json struct json *j = json_new_object();

		json_set_text(j, "kind", "PartialObjectMetadata");
		json_set_text(j, "apiVersion", "meta.k8s.io/v1");
		json_set(j, "metadata", json_copy(json_get(object_tree(v->object), "metadata")));
		json_write(j, out);
	} else {
		answer_write(r->kind, v->object, out);
	}
	strbuf_add_text(out, "}\n");
}

static struct str encoded(struct kube_request *r, const struct watch_event *v)
{
	struct cached *c = &r->kube->events->kept[v->revision % EVENTS_KEPT];

	if (c->revision == v->revision && c->type == v->type && c->kind == r->kind &&
	    c->form == r->form)
		return strbuf_str(&c->bytes);
	strbuf_clear(&c->bytes);
	encode(r, v, &c->bytes);
	c->revision = v->revision;
	c->type = v->type;
	c->kind = r->kind;
	c->form = r->form;
	return strbuf_str(&c->bytes);
}

/* A Table says how old things are now: it is made for each. */
static void encode_table(struct watching *w, const struct watch_event *v, struct strbuf *out)
{
	struct kube_request *r = w->request;
	struct table_how how = {.api_version = r->table_version,
				.no_headers = w->headers_sent,
				.now_ns = world_now_ns(r->kube->world)};
	struct json *table = table_new(r->kind->stored, &how), *event = json_new_object();
	const char *include = http_request_query(r->http, "includeObject");

	if (text_eq(include, "Object"))
		how.include = TABLE_OBJECT_FULL;
	else if (text_eq(include, "None"))
		how.include = TABLE_OBJECT_NONE;
	table_add(table, r->kind->stored, object_tree(v->object), &how);
	json_set_text(event, "type", type_names[v->type]);
	json_set(event, "object", table);
	json_write(event, out);
	strbuf_add_char(out, '\n');
	(void)json_free(event);
	w->headers_sent = true;
}

static void encode_bookmark(const struct kube_request *r, uint64_t revision, bool initial,
			    struct strbuf *out)
{
	char api[128];

	if (r->form == ANSWER_METADATA)
		strbuf_add_text(out, "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":"
				     "\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\"");
	else
		strbuf_printf(out,
			      "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"%s\","
			      "\"apiVersion\":\"%s\"",
			      r->kind->name, kind_api(r->kind, api, sizeof(api)));
	strbuf_printf(out, ",\"metadata\":{\"resourceVersion\":\"%llu\"%s}}}\n",
		      (unsigned long long)revision,
		      initial ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "");
}

/* -- one watch --------------------------------------------------------------------------------- */

static void watching_end(struct watching *w)
{
	struct kube_request *r = w->request;

	client_unwatch(&r->client, w->watch);
	list_remove(&w->link);
	arena_done(&w->arena);
	free(w);
	http_reply_end(r->http);
	request_end(r);
}

static void end_later(void *arg)
{
	watching_end(arg);
}

static void push(struct watching *w, struct str bytes)
{
	if (http_reply_push(w->request->http, bytes.p, bytes.n) > WATCH_BEHIND_MAX &&
	    w->until_ms > 0) {
		w->until_ms = 0;
		loop_defer(w->request->kube->loop, end_later, w);
	}
}

static void event(void *ctx, const struct watch_event *v)
{
	struct watching *w = ctx;
	struct kube_request *r = w->request;
	auto_strbuf struct strbuf own = {0};

	if (w->until_ms == 0)
		return;
	if (v->type == WATCH_BOOKMARK) {
		bool initial = query_flag(r, "sendInitialEvents") && !w->headers_sent;

		if (r->form == ANSWER_TABLE)
			return;
		w->headers_sent = true;
		encode_bookmark(r, v->revision, initial, &own);
		push(w, strbuf_str(&own));
	} else if (r->form == ANSWER_TABLE) {
		encode_table(w, v, &own);
		push(w, strbuf_str(&own));
	} else {
		push(w, encoded(r, v));
	}
}

static void ended(void *ctx, const struct err *e)
{
	struct watching *w = ctx;
	struct kube_request *r = w->request;
	int code = err_kind_info(e->kind)->http_status;
	struct json *j = json_new_object();
	auto_strbuf struct strbuf out = {0};

	json_set_text(j, "type", "ERROR");
	json_set(j, "object", status_of(r, code, status_reason(code, e->kind), e->text, NULL));
	json_write(j, &out);
	strbuf_add_char(&out, '\n');
	(void)json_free(j);
	push(w, strbuf_str(&out));
	w->watch = NULL;
	loop_defer_cancel(r->kube->loop, end_later, w);
	list_remove(&w->link);
	arena_done(&w->arena);
	free(w);
	http_reply_end(r->http);
	request_end(r);
}

static void gone(void *arg)
{
	struct watching *w = arg;

	loop_defer_cancel(w->request->kube->loop, end_later, w);
	watching_end(w);
}

void watch_deadlines(void *arg)
{
	struct kube *k = arg;
	int64_t now = loop_now_ms(k->loop);
	int64_t next = INT64_MAX;

	list_each (&k->watches, struct watching, link, w)
		if (w->until_ms && w->until_ms <= now) {
			loop_defer_cancel(k->loop, end_later, w);
			watching_end(w);
		} else if (w->until_ms && w->until_ms < next) {
			next = w->until_ms;
		}
	if (next != INT64_MAX)
		loop_timer_set(k->deadlines, next - now > DEADLINES_MS ? next - now : DEADLINES_MS,
			       0);
}

void watch_end_all(struct kube *k)
{
	list_each (&k->watches, struct watching, link, w)
		gone(w);
}

static int64_t seconds_of(struct kube_request *r)
{
	const char *asked = http_request_query(r->http, "timeoutSeconds");
	unsigned char more = 0;
	int64_t s = 0;
	struct err e;

	if (asked && parse_i64(str_of(asked), "timeoutSeconds", &s, &e) == 0 && s > 0)
		return s;
	r->kube->world->random(r->kube->world->ctx, &more, 1);
	return WATCH_SECONDS + more;
}

static const char *from_of(const struct kube_request *r)
{
	if (query_flag(r, "sendInitialEvents"))
		return NULL;
	return http_request_query(r->http, "resourceVersion");
}

/* What is no revision at all is told before the stream begins. */
static int check_revision(struct kube_request *r)
{
	const char *text = http_request_query(r->http, "resourceVersion");
	uint64_t n = 0;
	struct err e;

	if (!text || !text[0] || parse_u64(str_of(text), "resourceVersion", &n, &e) == 0)
		return 0;
	answer_error(r, &e);
	return -ERR_INVALID;
}

void watch_run(struct kube_request *r)
{
	struct client_target t = {r->kind, r->namespace, NULL, NULL};
	struct selector labels, fields;
	struct watch_query q = {.labels = &labels, .fields = &fields};
	struct kube *k = r->kube;
	struct watching *w;

	if (r->name[0]) { /* /watch/.../NAME */
		answer_status(r, 405, "MethodNotAllowed", NULL,
			      "watch one object by fieldSelector=metadata.name=%s", r->name);
		return;
	}
	if (query_selectors(r, &labels, &fields) < 0 || query_revision(r) < 0 ||
	    check_revision(r) < 0)
		return;
	w = mem_new(struct watching);
	w->request = r;
	w->until_ms = loop_now_ms(k->loop) + seconds_of(r) * 1000;
	list_append(&k->watches, &w->link);
	watch_deadlines(k);
	q.revision = from_of(r);
	q.bookmarks = query_flag(r, "allowWatchBookmarks");
	q.news_only = http_request_query(r->http, "sendInitialEvents") &&
		      !query_flag(r, "sendInitialEvents");
	k->served++;
	http_reply_begin(r->http, 200, "application/json");
	client_watch(&r->client, &t, &q,
		     &(struct watch_sink){.event = event, .end = ended, .ctx = w}, &w->watch);
	http_request_on_gone(r->http, gone, w);
}
