/*
 * Watches of the direct client: what the store tells about one kind, as one client's selection sees
 * it. An object that begins to match is added to the client's world, one that ceases to is deleted
 * from it, whatever happened in the store.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/objects/direct_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/wire/loop.h"

#define WATCH_MAGIC 0x57415443u
#define BOOKMARK_MS 60000

struct client_watch {
	uint32_t magic;
	struct objects *objects;
	struct list link;
	char *prefix;
	struct arena arena;
	const struct selector *labels, *fields;
	struct watch_sink sink;
	struct keys_watch *keys;
	uint64_t from; /* 0: what there is comes first */
	bool bookmarks, news_only, began;
	bool *gone; /* while it is being told what there is */
	struct err error;
};

static bool matches(const struct client_watch *w, const struct object *o)
{
	return o && object_selected(o, w->labels) && object_selected_fields(o, w->fields);
}

/* The last version of what was deleted, as of its deletion. All watches share one. */
static const struct object *deletion(struct objects *os, const struct object *before,
				     uint64_t revision)
{
	if (!os->deleted || os->deleted->revision != revision) {
		(void)object_unref(os->deleted);
		os->deleted = object_at_revision(before, revision);
	}
	return os->deleted;
}

static void changed(void *ctx, const struct key_event *v)
{
	struct client_watch *w = ctx;
	const struct object *now = object_of_value(v->now), *before = object_of_value(v->before);
	bool is = matches(w, now), was = matches(w, before);
	struct watch_event event = {.revision = v->revision, .object = now};

	assert(w->magic == WATCH_MAGIC);
	if (!is && !was)
		return;
	event.type = is && was ? WATCH_MODIFIED : is ? WATCH_ADDED : WATCH_DELETED;
	if (!is) /* gone, or gone from this selection: with what it was then */
		event.object = deletion(w->objects, now ? now : before, v->revision);
	w->sink.event(w->sink.ctx, &event);
}

static void bookmark(struct client_watch *w, uint64_t revision)
{
	struct watch_event event = {.type = WATCH_BOOKMARK, .revision = revision};

	w->sink.event(w->sink.ctx, &event);
}

void direct_bookmark(void *arg)
{
	struct objects *os = arg;
	uint64_t revision = keys_revision(os->keys);

	list_each (&os->watches, struct client_watch, link, w)
		if (w->bookmarks && w->began)
			bookmark(w, revision);
}

struct initial {
	struct client_watch *watch;
	const struct object **items;
	size_t n, room;
};

static bool gather(void *ctx, const struct key_value *v)
{
	struct initial *i = ctx;
	const struct object *o = object_of_value(v);

	if (matches(i->watch, o)) {
		mem_grow(i->items, i->n + 1, i->room);
		i->items[i->n++] = object_ref(o);
	}
	return true;
}

/* What there is, as added; the client may end its watch at any of them. */
static void tell_initial(struct client_watch *w, struct initial *i, uint64_t revision)
{
	bool gone = false;

	w->gone = &gone;
	for (size_t at = 0; at < i->n; at++) {
		struct watch_event event = {WATCH_ADDED, i->items[at]->revision, i->items[at]};

		w->sink.event(w->sink.ctx, &event);
		if (gone)
			return;
	}
	w->gone = NULL;
	w->began = true;
	if (w->bookmarks)
		bookmark(w, revision);
}

static void watch_end(struct client_watch *w, const struct err *why)
{
	struct watch_sink sink = w->sink;
	struct err e = *why;

	direct_unwatch(w);
	sink.end(sink.ctx, &e);
}

static void begin(void *arg)
{
	struct client_watch *w = arg;
	struct keys *keys = w->objects->keys;
	struct initial i = {.watch = w};
	uint64_t revision = keys_revision(keys);
	bool initial = w->from == 0 && !w->news_only;
	bool now = w->from == 0;
	struct err e = w->error;
	int bad = -(int)e.kind;

	assert(w->magic == WATCH_MAGIC);
	if (e.kind == ERR_NONE &&
	    (!initial || keys_each(keys, w->prefix, NULL, 0, gather, &i, &e) == 0))
		bad = keys_watch(keys, w->prefix, now ? revision : w->from, changed, w, &w->keys,
				 &e);
	if (bad == -ERR_GONE)
		(void)err_set(&e, ERR_GONE, "too old resource version: %llu (%llu)",
			      (unsigned long long)w->from,
			      (unsigned long long)keys_compacted(keys));
	if (bad < 0)
		watch_end(w, &e);
	else if (initial)
		tell_initial(w, &i, revision);
	else
		w->began = true;
	for (size_t at = 0; at < i.n; at++)
		(void)object_unref(i.items[at]);
	free(i.items);
}

void direct_watch(const struct client *client, const struct client_target *t,
		  const struct watch_query *q, const struct watch_sink *sink,
		  struct client_watch **ret)
{
	struct objects *os = client->impl;
	struct client_watch *w = mem_new(struct client_watch);

	assert(os->magic == OBJECTS_MAGIC);
	w->magic = WATCH_MAGIC;
	w->objects = os;
	w->sink = *sink;
	w->prefix = objects_key(t->kind->stored, t->namespace, NULL);
	if (q) {
		w->labels = direct_keep(q->labels, &w->arena);
		w->fields = direct_keep(q->fields, &w->arena);
		w->bookmarks = q->bookmarks;
		w->news_only = q->news_only;
	}
	if (q && q->revision && q->revision[0] &&
	    parse_u64(str_of(q->revision), "resourceVersion", &w->from, &w->error) < 0)
		w->from = 0; /* begin() tells the error */
	list_append(&os->watches, &w->link);
	if (w->bookmarks)
		loop_timer_set(os->bookmarks, BOOKMARK_MS, BOOKMARK_MS);
	loop_defer(os->loop, begin, w);
	*ret = w;
}

void direct_unwatch(struct client_watch *w)
{
	struct objects *os;
	bool wanted = false;

	if (!w)
		return;
	assert(w->magic == WATCH_MAGIC);
	os = w->objects;
	loop_defer_cancel(os->loop, begin, w);
	w->keys = keys_unwatch(w->keys);
	if (w->gone)
		*w->gone = true;
	list_remove(&w->link);
	list_each (&os->watches, struct client_watch, link, other)
		wanted = wanted || other->bookmarks;
	if (!wanted)
		loop_timer_unset(os->bookmarks);
	arena_done(&w->arena);
	free(w->prefix);
	w->magic = 0;
	free(w);
}

void direct_unwatch_all(struct objects *os)
{
	list_each (&os->watches, struct client_watch, link, w)
		direct_unwatch(w);
}
