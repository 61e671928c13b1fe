/*
 * Informers: see informer.h. The view is a map of shared objects with an index by controlling owner
 * and one by a field's value. A watch that begins from what there is tells all of it as added;
 * what it did not tell by its first bookmark is gone.
 */
#include "cluster/objects/informer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

#define INFORMER_MAGIC 0x494e464fu
#define LISTENERS_MAX  8 /* who wait for all views at a time */
#define HANDLERS_MAX   64
#define AGAIN_MS       1000

struct entry {
	const struct object *object;
	struct list owned, valued; /* in a bucket of the indexes, or alone */
	bool told;		   /* since the watch began anew */
};

struct handler {
	informer_changed *fn;
	void *ctx;
};

struct informer {
	uint32_t magic;
	struct informers *set;
	struct list link;
	const struct kind *kind;
	struct map entries; /* key -> struct entry * */
	struct map owners;  /* uid -> struct list * of entries */
	char *path;	    /* that is indexed; NULL */
	struct map values;  /* value -> struct list * */
	struct handler handlers[HANDLERS_MAX];
	size_t handlers_n;
	struct client_watch *watch;
	struct loop_timer *again;
	bool synced; /* the watch has told all that there is */
	bool filled; /* that was so once */
};

struct informers {
	struct loop *loop;
	struct client client;
	struct list informers;
	struct listener {
		void (*fn)(void *ctx);
		void *ctx;
	} listeners[LISTENERS_MAX]; /* to be told when all views are filled */
	size_t listeners_n;
};

/* -- indexes ----------------------------------------------------------------------------------- */

static void bucket_add(struct map *m, const char *key, struct list *link)
{
	struct list *bucket;

	list_init(link);
	bucket = map_get(m, key);
	if (!bucket) {
		bucket = mem_new(struct list);
		list_init(bucket);
		(void)map_put(m, key, bucket);
	}
	list_append(bucket, link);
}

static void bucket_remove(struct map *m, const char *key, struct list *link)
{
	struct list *bucket = map_get(m, key);

	list_remove(link);
	if (bucket && list_empty(bucket))
		free(map_remove(m, key));
}

static void index_in(struct informer *i, struct entry *e)
{
	bucket_add(&i->owners, e->object->owner_uid, &e->owned);
	if (i->path)
		bucket_add(&i->values, object_value(e->object, i->path), &e->valued);
}

static void index_out(struct informer *i, struct entry *e)
{
	bucket_remove(&i->owners, e->object->owner_uid, &e->owned);
	if (i->path)
		bucket_remove(&i->values, object_value(e->object, i->path), &e->valued);
}

void informer_index(struct informer *i, const char *path)
{
	if (i->path && text_eq(i->path, path))
		return;
	assert(!i->path); /* one path a kind */
	i->path = mem_dup_text(path);
	map_each (&i->entries, it) {
		struct entry *e = it->value;

		bucket_add(&i->values, object_value(e->object, path), &e->valued);
	}
}

/* -- events ------------------------------------------------------------------------------------ */

static void tell(struct informer *i, const struct object *now, const struct object *before)
{
	for (size_t h = 0; h < i->handlers_n; h++)
		i->handlers[h].fn(i->handlers[h].ctx, now, before);
}

static void put(struct informer *i, const struct object *o)
{
	char key[OBJECT_KEY_MAX];
	struct entry *e = map_get(&i->entries, object_key(o, key));
	const struct object *before = e ? e->object : NULL;

	if (e) {
		e->told = true;
		if (before->revision == o->revision)
			return;
		index_out(i, e);
	} else {
		e = mem_new(struct entry);
		e->told = true;
		(void)map_put(&i->entries, key, e);
	}
	e->object = object_ref(o);
	index_in(i, e);
	if (before && !text_eq(before->uid, o->uid)) { /* another one of the same name */
		tell(i, NULL, before);
		tell(i, o, NULL);
	} else {
		tell(i, o, before);
	}
	(void)object_unref(before);
}

static void drop(struct informer *i, const char *key)
{
	struct entry *e = map_remove(&i->entries, key);

	if (!e)
		return;
	index_out(i, e);
	tell(i, NULL, e->object);
	(void)object_unref(e->object);
	free(e);
}

static void check_synced(struct informers *s)
{
	while (s->listeners_n > 0 && informers_synced(s)) {
		struct listener l = s->listeners[--s->listeners_n];

		l.fn(l.ctx);
	}
}

/* All that there is was told: what was not is gone. */
static void settle(struct informer *i)
{
	map_each (&i->entries, it) {
		const struct entry *e = it->value;
		auto_free char *key = mem_dup_text(it->key);

		if (!e->told)
			drop(i, key);
	}
	i->synced = i->filled = true;
	check_synced(i->set);
}

static void event(void *ctx, const struct watch_event *v)
{
	struct informer *i = ctx;
	char key[OBJECT_KEY_MAX];

	assert(i->magic == INFORMER_MAGIC);
	switch (v->type) {
	case WATCH_ADDED:
	case WATCH_MODIFIED:
		put(i, v->object);
		break;
	case WATCH_DELETED:
		drop(i, object_key(v->object, key));
		break;
	case WATCH_BOOKMARK:
		if (!i->synced)
			settle(i);
		break;
	}
}

static void ended(void *ctx, const struct err *e)
{
	struct informer *i = ctx;

	(void)e;
	i->watch = NULL;
	i->synced = false;
	map_each (&i->entries, it)
		((struct entry *)it->value)->told = false;
	loop_timer_set(i->again, AGAIN_MS, 0);
}

static void begin(void *arg)
{
	struct informer *i = arg;

	client_watch(&i->set->client, &(struct client_target){i->kind},
		     &(struct watch_query){.bookmarks = true},
		     &(struct watch_sink){event, ended, i}, &i->watch);
}

/* -- life -------------------------------------------------------------------------------------- */

struct informers *informers_new(struct loop *loop, const struct client *client)
{
	struct informers *s = mem_new(struct informers);

	s->loop = loop;
	s->client = *client;
	list_init(&s->informers);
	return s;
}

static void buckets_done(struct map *m)
{
	map_each (m, it)
		free(it->value);
	map_done(m);
}

static void informer_free(struct informer *i)
{
	list_remove(&i->link);
	if (i->watch)
		client_unwatch(&i->set->client, i->watch);
	i->again = loop_timer_free(i->again);
	map_each (&i->entries, it) {
		struct entry *e = it->value;

		(void)object_unref(e->object);
		free(e);
	}
	map_done(&i->entries);
	buckets_done(&i->owners);
	buckets_done(&i->values);
	free(i->path);
	i->magic = 0;
	free(i);
}

struct informers *informers_free(struct informers *s)
{
	if (!s)
		return NULL;
	list_each (&s->informers, struct informer, link, i)
		informer_free(i);
	free(s);
	return NULL;
}

struct informer *informer_of(struct informers *s, const struct kind *k)
{
	struct informer *i;

	assert(k);
	list_each (&s->informers, struct informer, link, have)
		if (have->kind == k->stored)
			return have;
	i = mem_new(struct informer);
	i->magic = INFORMER_MAGIC;
	i->set = s;
	i->kind = k->stored;
	i->again = loop_timer_new(s->loop, begin, i);
	list_append(&s->informers, &i->link);
	begin(i);
	return i;
}

void informer_on(struct informer *i, informer_changed *fn, void *ctx)
{
	assert(i->handlers_n < HANDLERS_MAX);
	i->handlers[i->handlers_n++] = (struct handler){fn, ctx};
	map_each (&i->entries, it)
		fn(ctx, ((struct entry *)it->value)->object, NULL);
}

bool informers_synced(const struct informers *s)
{
	for (const struct list *at = s->informers.next; at != &s->informers; at = at->next)
		if (!container_of(at, const struct informer, link)->filled)
			return false;
	return true;
}

bool informers_current(const struct informers *s)
{
	for (const struct list *at = s->informers.next; at != &s->informers; at = at->next)
		if (!container_of(at, const struct informer, link)->synced)
			return false;
	return true;
}

void informers_on_synced(struct informers *s, void (*fn)(void *ctx), void *ctx)
{
	assert(s->listeners_n < LISTENERS_MAX);
	s->listeners[s->listeners_n++] = (struct listener){fn, ctx};
	check_synced(s);
}

/* -- questions --------------------------------------------------------------------------------- */

const struct object *informer_get_key(const struct informer *i, const char *key)
{
	const struct entry *e = map_get(&i->entries, key);

	return e ? e->object : NULL;
}

const struct object *informer_get(const struct informer *i, const char *namespace, const char *name)
{
	auto_free char *key = namespace && namespace[0] ? mem_printf("%s/%s", namespace, name)
							: mem_dup_text(name);

	return informer_get_key(i, key);
}

void informer_each(const struct informer *i, const char *namespace,
		   bool (*fn)(void *ctx, const struct object *o), void *ctx)
{
	map_each (&i->entries, it) {
		const struct object *o = ((const struct entry *)it->value)->object;

		if ((!namespace || text_eq(o->namespace, namespace)) && !fn(ctx, o))
			return;
	}
}

void informer_each_owned(const struct informer *i, const char *owner_uid,
			 bool (*fn)(void *ctx, const struct object *o), void *ctx)
{
	struct list *bucket = map_get(&i->owners, owner_uid);

	if (!bucket)
		return;
	list_each (bucket, struct entry, owned, e)
		if (!fn(ctx, e->object))
			return;
}

void informer_each_value(const struct informer *i, const char *path, const char *value,
			 bool (*fn)(void *ctx, const struct object *o), void *ctx)
{
	struct list *bucket;

	assert(i->path && text_eq(i->path, path));
	bucket = map_get(&i->values, value);
	if (!bucket)
		return;
	list_each (bucket, struct entry, valued, e)
		if (!fn(ctx, e->object))
			return;
}

size_t informer_count(const struct informer *i)
{
	return i->entries.count;
}
