/*
 * Events that count: see recorder.h. What was told lately is kept by what it says, so that telling
 * it again is a patch of one small object.
 */
#include "cluster/objects/recorder.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"

#define KEPT_MAX 4096		  /* events that may still be counted up */
#define CHANCE	 UINT64_C(0xffff) /* 65 us */
#define LIFE_S	 3000		  /* the cluster forgets an event an hour after it was written */

struct told {
	char name[320];
	int64_t count, last_s;
};

void recorder_init(struct recorder *r, const struct client *client, const struct world *world,
		   const char *component, const char *host)
{
	assert(client && world && component);
	*r = (struct recorder){
		.client = client, .world = world, .component = component, .host = host};
}

void recorder_done(struct recorder *r)
{
	map_each (&r->told, it)
		free(it->value);
	map_done(&r->told);
}

static int64_t now_s(const struct recorder *r)
{
	return world_now_ns(r->world) / 1000000000;
}

static struct client_target target_of(const struct recorder_about *about, const char *name)
{
	return (struct client_target){
		kind_of_resource("", "v1", "events"),
		about->namespace && about->namespace[0] ? about->namespace : "default", name, NULL};
}

static void count_up(struct recorder *r, const struct recorder_about *about, struct told *t)
{
	struct client_target target = target_of(about, t->name);
	struct json *patch = json_new_object();
	char now[RFC3339_CHARS + 1];

	t->count++;
	t->last_s = now_s(r);
	json_set_i64(patch, "count", t->count);
	json_set_text(patch, "lastTimestamp", rfc3339_seconds(world_now_ns(r->world), now));
	client_patch(r->client, &target, PATCH_MERGE, patch, NULL, NULL, NULL);
}

/* Events are named by their moment, so that a list has them in order; the last bits are chance. */
static uint64_t next_stamp(struct recorder *r)
{
	uint64_t now = (uint64_t)world_now_ns(r->world) & ~CHANCE;
	uint64_t chance;

	r->world->random(r->world->ctx, &chance, sizeof(chance));
	if (now <= (r->last_stamp & ~CHANCE))
		now = (r->last_stamp & ~CHANCE) + CHANCE + 1;
	r->last_stamp = now | (chance & CHANCE);
	return r->last_stamp;
}

static struct told *remember(struct recorder *r, const char *key, const char *about)
{
	struct told *t;

	if (r->told.count >= KEPT_MAX)
		recorder_done(r);
	t = map_get(&r->told, key);
	if (!t) {
		t = mem_new(struct told);
		(void)map_put(&r->told, key, t);
	}
	(void)snprintf(t->name, sizeof(t->name), "%.230s.%llx", about,
		       (unsigned long long)next_stamp(r));
	t->count = 1;
	t->last_s = now_s(r);
	return t;
}

static struct json *reference(const struct recorder_about *about)
{
	const char *const rows[][2] = {
		{"kind", about->kind},
		{"apiVersion", about->api_version},
		{"namespace", about->namespace},
		{"name", about->name},
		{"uid", about->uid},
		{"fieldPath", about->field},
	};
	struct json *j = json_new_object();

	for (size_t i = 0; i < array_len(rows); i++)
		if (rows[i][1] && rows[i][1][0])
			json_set_text(j, rows[i][0], rows[i][1]);
	return j;
}

static struct json *event_of(const struct recorder *r, const struct recorder_about *about,
			     const char *name, const char *type, const char *reason,
			     const char *message)
{
	struct json *event = json_new_object(), *source = json_make_object(event, "source");
	char now[RFC3339_CHARS + 1];

	rfc3339_seconds(world_now_ns(r->world), now);
	json_set_text(json_make_object(event, "metadata"), "name", name);
	json_set(event, "involvedObject", reference(about));
	json_set_text(event, "reason", reason);
	json_set_text(event, "message", message);
	json_set_text(event, "type", type);
	json_set_text(event, "firstTimestamp", now);
	json_set_text(event, "lastTimestamp", now);
	json_set_i64(event, "count", 1);
	json_set_text(source, "component", r->component);
	if (r->host)
		json_set_text(source, "host", r->host);
	json_set_text(event, "reportingComponent", r->component);
	return event;
}

void recorder_vtell(struct recorder *r, const struct recorder_about *about, const char *type,
		    const char *reason, const char *fmt, va_list ap)
{
	auto_strbuf struct strbuf message = {0};
	auto_free char *key = NULL;
	struct client_target target = target_of(about, NULL);
	struct told *t;

	assert(about->kind && about->name && about->uid);
	strbuf_vprintf(&message, fmt, ap);
	key = mem_printf("%s %s %s %s", about->uid, about->field ? about->field : "", reason,
			 strbuf_text(&message));
	t = map_get(&r->told, key);
	if (t && t->last_s + LIFE_S > now_s(r)) {
		count_up(r, about, t);
		return;
	}
	t = remember(r, key, about->name);
	client_create(r->client, &target,
		      event_of(r, about, t->name, type, reason, strbuf_text(&message)), NULL, NULL,
		      NULL);
}

void recorder_tell(struct recorder *r, const struct recorder_about *about, const char *type,
		   const char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	recorder_vtell(r, about, type, reason, fmt, ap);
	va_end(ap);
}

void recorder_vtell_of(struct recorder *r, const struct object *o, const char *type,
		       const char *reason, const char *fmt, va_list ap)
{
	char api[128];
	const struct recorder_about about = {o->kind->name, kind_api(o->kind, api, sizeof(api)),
					     o->namespace,  o->name,
					     o->uid,	    NULL};

	recorder_vtell(r, &about, type, reason, fmt, ap);
}

void recorder_tell_of(struct recorder *r, const struct object *o, const char *type,
		      const char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	recorder_vtell_of(r, o, type, reason, fmt, ap);
	va_end(ap);
}
