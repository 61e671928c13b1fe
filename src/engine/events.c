/*
 * Events: a ring of the last ones and a list of subscribers. An event is copied once into the ring
 * and shown to the subscribers from there, deferred: a subscriber never runs inside the verb that
 * caused it. The ring counts events from the engine's start, so a subscriber knows by a number what
 * it has seen; one that falls behind a whole ring (it cannot, with deferral in the same turn) loses
 * the oldest.
 */
#include "engine/engine_priv.h"
#include "engine/streams_priv.h"

#define EVENT_PAIRS_MAX 256

struct kept {
	void *block; /* everything the event points to */
	struct event event;
};

struct subscriber {
	struct stream stream;
	struct list link;
	struct engine *engine;
	enum owner owner;
	struct arena arena;
	struct filters filters;
	struct event_sink sink;
	uint64_t next; /* number of the first event not shown */
	int64_t since_ns, until_ns;
	struct loop_timer *end_timer;
	bool ended;
};

struct event_ring {
	struct engine *engine;
	struct kept kept[EVENTS_KEPT];
	uint64_t said; /* events so far; event n is at n % EVENTS_KEPT */
	struct list subscribers;
	size_t listeners;
	bool deferred, showing; /* showing: subscribers are freed after, not in between */
};

struct event_ring *events_new(struct engine *g)
{
	struct event_ring *r = mem_new(struct event_ring);

	r->engine = g;
	list_init(&r->subscribers);
	return r;
}

static void subscriber_free(struct stream *stream)
{
	struct subscriber *s = container_of(stream, struct subscriber, stream);

	assert(s->stream.magic == STREAM_MAGIC);
	if (s->engine->events->showing) {
		s->ended = true;
		return;
	}
	s->engine->events->listeners--;
	list_remove(&s->link);
	(void)loop_timer_free(s->end_timer);
	arena_done(&s->arena);
	s->stream.magic = 0;
	free(s);
}

struct event_ring *events_free(struct event_ring *r)
{
	if (!r)
		return NULL;
	list_each (&r->subscribers, struct subscriber, link, s)
		subscriber_free(&s->stream);
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		free(r->kept[i].block);
	free(r);
	return NULL;
}

int events_listeners(const struct event_ring *r)
{
	return (int)r->listeners;
}

static const char *attribute(const struct event *v, const char *key)
{
	for (const struct json_pair *p = v->attributes; p && p->key; p++)
		if (text_eq(p->key, key))
			return p->value;
	return NULL;
}

/* The thing an event is about matches by id, name or, for containers, image. */
static bool match_actor(const struct filters *f, const char *type, const struct event *v)
{
	if (!filter_has(f, type))
		return true;
	if (!text_eq(v->type, type))
		return text_eq(type, "image") && text_eq(v->type, "container") &&
		       filter_match(f, type, attribute(v, "image"));
	return filter_match(f, type, v->actor_id) || filter_match(f, type, attribute(v, "name")) ||
	       (text_eq(type, "container") && filter_match_prefix(f, type, v->actor_id));
}

/* "health_status" matches "health_status: healthy". */
static bool match_action(const struct filters *f, const struct event *v)
{
	const char *colon = strchr(v->action, ':');
	auto_free char *head =
		colon ? str_dup((struct str){v->action, (size_t)(colon - v->action)}) : NULL;

	return filter_match(f, "event", v->action) || (head && filter_match(f, "event", head));
}

static bool wanted(const struct subscriber *s, const struct event *v)
{
	static const char *const actors[] = {"container", "image", "network", "volume"};
	const struct filters *f = &s->filters;

	if (v->owner != s->owner)
		return false;
	if (s->since_ns && v->time_ns < s->since_ns)
		return false;
	if (s->until_ns && v->time_ns > s->until_ns)
		return false;
	if (!filter_match(f, "type", v->type) || !match_action(f, v))
		return false;
	for (size_t i = 0; i < array_len(actors); i++)
		if (!match_actor(f, actors[i], v))
			return false;
	return filter_match_labels(f, v->attributes);
}

/* Shows what it has not seen; it may cancel itself or others meanwhile. */
static void show(struct event_ring *r, struct subscriber *s)
{
	assert(r->showing);
	while (s->next < r->said && !s->ended) {
		uint64_t n = s->next++;
		const struct event *v = &r->kept[n % EVENTS_KEPT].event;

		if (r->said - n <= EVENTS_KEPT && wanted(s, v))
			s->sink.event(s->sink.ctx, v);
	}
}

static void show_to(struct event_ring *r, struct subscriber *only)
{
	r->showing = true;
	list_each (&r->subscribers, struct subscriber, link, s) {
		if (!only || s == only)
			show(r, s);
	}
	r->showing = false;
	list_each (&r->subscribers, struct subscriber, link, s) {
		if (s->ended)
			subscriber_free(&s->stream);
	}
}

static void show_all(void *arg)
{
	struct event_ring *r = arg;

	r->deferred = false;
	show_to(r, NULL);
}

static const char *pack_text(char **at, const char *text)
{
	size_t n = strlen(text ? text : "") + 1;
	char *copy = memcpy(*at, text ? text : "", n);

	*at += n;
	return copy;
}

/* Copies all that the event points to into one block: the ring holds a thousand of them. */
static void *pack(struct event *v, size_t pairs_n)
{
	const struct json_pair *from = v->attributes;
	size_t size = (pairs_n + 1) * sizeof(struct json_pair) + strlen(v->type) +
		      strlen(v->action) + strlen(v->actor_id) + 3;
	struct json_pair *pairs;
	char *at;

	for (size_t i = 0; i < pairs_n; i++)
		size += strlen(from[i].key) + strlen(from[i].value ? from[i].value : "") + 2;
	pairs = mem_new_bytes(1, size);
	at = (char *)(pairs + pairs_n + 1);
	for (size_t i = 0; i < pairs_n; i++) {
		pairs[i].key = (char *)pack_text(&at, from[i].key);
		pairs[i].value = (char *)pack_text(&at, from[i].value);
	}
	v->type = pack_text(&at, v->type);
	v->action = pack_text(&at, v->action);
	v->actor_id = pack_text(&at, v->actor_id);
	v->attributes = pairs;
	assert(at == (char *)pairs + size);
	return pairs;
}

void event_say(struct engine *g, enum owner owner, const char *type, const char *action,
	       const char *id, const struct json_pair *attributes)
{
	struct event_ring *r = g->events;
	struct kept *k = &r->kept[r->said % EVENTS_KEPT];
	size_t n = 0;

	if (g->closing)
		return;
	while (attributes && attributes[n].key)
		n++;
	free(k->block);
	k->event = (struct event){
		.type = type,
		.action = action,
		.actor_id = id,
		.attributes = attributes,
		.time_ns = world_now_ns(g->world),
		.owner = owner,
	};
	k->block = pack(&k->event, n);
	r->said++;
	if (list_empty(&r->subscribers) || r->deferred)
		return;
	r->deferred = true;
	loop_defer(g->loop, show_all, r);
}

void event_container(struct workload *w, const char *action, ...)
{
	struct json_pair pairs[EVENT_PAIRS_MAX + 1];
	size_t n = 0;
	va_list ap;
	const char *key;

	va_start(ap, action);
	while ((key = va_arg(ap, const char *)) != NULL) {
		assert(n < 16);
		pairs[n].key = (char *)key;
		pairs[n++].value = va_arg(ap, char *);
	}
	va_end(ap);
	pairs[n++] = (struct json_pair){(char *)"image", w->image_ref};
	pairs[n++] = (struct json_pair){(char *)"name", w->name};
	for (const struct json_pair *l = w->request.config.labels;
	     l && l->key && n < EVENT_PAIRS_MAX; l++)
		pairs[n++] = *l;
	pairs[n] = (struct json_pair){0};
	event_say(w->engine, w->owner, "container", action, w->id, pairs);
}

static void end_now(void *arg)
{
	struct subscriber *s = arg;
	struct event_ring *r = s->engine->events;
	struct event_sink sink = s->sink;
	size_t before = r->listeners;

	show_to(r, s);
	if (r->listeners < before) /* it cancelled while it was shown the last ones */
		return;
	subscriber_free(&s->stream);
	sink.end(sink.ctx, NULL);
}

static const char *const known_filters[] = {
	"type",	  "event", "container", "image", "network", "volume", "label",	"label!",
	"daemon", "scope", "plugin",	"node",	 "service", "secret", "config", NULL,
};

static void copy_filters(struct subscriber *s, const struct filters *f)
{
	struct filter *list = arena_new_array(&s->arena, struct filter, f->n + 1);

	for (size_t i = 0; i < f->n; i++) {
		size_t n = mem_count_texts(f->list[i].values);
		char **values = arena_new_array(&s->arena, char *, n + 1);

		for (size_t k = 0; k < n; k++)
			values[k] = arena_dup_text(&s->arena, f->list[i].values[k]);
		list[i] = (struct filter){arena_dup_text(&s->arena, f->list[i].key), values};
	}
	s->filters = (struct filters){list, f->n};
}

int engine_events(struct user *u, const struct event_options *o, const struct event_sink *sink,
		  struct stream **ret, struct err *e)
{
	struct engine *g = u->engine;
	struct event_ring *r = g->events;
	struct subscriber *s;
	int64_t now = world_now_ns(g->world);

	assert(sink->event && sink->end);
	if (filters_check(&o->filters, known_filters, e) < 0)
		return -ERR_INVALID;
	s = mem_new(struct subscriber);
	s->stream = (struct stream){STREAM_MAGIC, NULL, subscriber_free};
	s->engine = g;
	s->owner = u->owner;
	s->sink = *sink;
	s->since_ns = o->since_ns;
	s->until_ns = o->until_ns;
	copy_filters(s, &o->filters);
	s->next = r->said;
	if (o->since_ns || (o->until_ns && o->until_ns <= now))
		s->next = r->said > EVENTS_KEPT ? r->said - EVENTS_KEPT : 0;
	list_append(&r->subscribers, &s->link);
	r->listeners++;
	s->end_timer = loop_timer_new(g->loop, end_now, s);
	if (o->until_ns)
		loop_timer_set(s->end_timer,
			       o->until_ns > now ? (o->until_ns - now) / 1000000 + 1 : 0, 0);
	if (s->next < r->said && !r->deferred) {
		r->deferred = true;
		loop_defer(g->loop, show_all, r);
	}
	*ret = &s->stream;
	return 0;
}

void stream_resume(struct stream *s)
{
	assert(s->magic == STREAM_MAGIC);
	if (s->resume)
		s->resume(s);
}

void stream_cancel(struct stream *s)
{
	if (!s)
		return;
	assert(s->magic == STREAM_MAGIC);
	s->cancel(s);
}
