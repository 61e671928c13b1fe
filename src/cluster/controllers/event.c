/*
 * Events: what controllers tell people about an object. The same news about the same object is one
 * event whose count goes up, for as long as the cluster keeps it. Nobody waits for an event, and
 * one that is lost is not missed.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/mem.h"

#define KEPT_MAX 4096 /* events that may still be counted up */
#define LIFE_S	 3000 /* the cluster forgets an event an hour after it was written */

struct told {
	char name[320];
	int64_t count, last_s;
};

static struct json *reference(const struct object *about)
{
	struct json *j = json_new_object();
	auto_free char *revision = mem_printf("%llu", (unsigned long long)about->revision);
	char api[128];

	json_set_text(j, "kind", about->kind->name);
	json_set_text(j, "apiVersion", kind_api(about->kind, api, sizeof(api)));
	json_set_text(j, "name", about->name);
	if (about->namespace[0])
		json_set_text(j, "namespace", about->namespace);
	json_set_text(j, "uid", about->uid);
	json_set_text(j, "resourceVersion", revision);
	return j;
}

void event_forget_all(struct controllers *all)
{
	map_each (&all->events, it)
		free(it->value);
	map_done(&all->events);
}

/* The event that said the same before; NULL: there is none that lives. */
static struct told *find(struct controllers *all, const char *key, int64_t now_s)
{
	struct told *t = map_get(&all->events, key);

	return t && t->last_s + LIFE_S > now_s ? t : NULL;
}

static void count_up(const struct controller *c, const char *namespace, struct told *t)
{
	struct json *patch = json_new_object();
	char now[TIME_CHARS];

	t->count++;
	t->last_s = controller_now_s(c);
	json_set_i64(patch, "count", t->count);
	json_set_text(patch, "lastTimestamp", controller_now(c, now));
	client_patch(&c->client,
		     &(struct client_target){view_kind("", "events"), namespace, t->name, NULL},
		     PATCH_MERGE, patch, NULL, NULL, NULL);
}

static struct told *remember(struct controllers *all, const char *key, const char *about)
{
	struct told *t;
	char hex[17];

	if (all->events.count >= KEPT_MAX)
		event_forget_all(all);
	t = map_get(&all->events, key);
	if (!t) {
		t = mem_new(struct told);
		(void)map_put(&all->events, key, t);
	}
	world_random_hex(all->world, hex, 16);
	(void)snprintf(t->name, sizeof(t->name), "%.230s.%s", about, hex);
	t->count = 1;
	return t;
}

void work_event(struct controller *c, const struct object *about, const char *type,
		const char *reason, const char *fmt, ...)
{
	const char *ns = about->namespace[0] ? about->namespace : "default";
	auto_free char *component = mem_printf("%s-controller", c->row->name);
	auto_strbuf struct strbuf message = {0};
	auto_free char *key = NULL;
	struct json *event;
	struct told *t;
	char now[TIME_CHARS];
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(&message, fmt, ap);
	va_end(ap);
	key = mem_printf("%s %s %s %s", about->uid, component, reason, strbuf_text(&message));
	t = find(c->all, key, controller_now_s(c));
	if (t) {
		count_up(c, ns, t);
		return;
	}
	t = remember(c->all, key, about->name);
	t->last_s = controller_now_s(c);
	controller_now(c, now);
	event = json_new_object();
	json_set_text(json_make_object(event, "metadata"), "name", t->name);
	json_set(event, "involvedObject", reference(about));
	json_set_text(event, "reason", reason);
	json_set_text(event, "message", strbuf_text(&message));
	json_set_text(event, "type", type);
	json_set_text(event, "firstTimestamp", now);
	json_set_text(event, "lastTimestamp", now);
	json_set_i64(event, "count", 1);
	json_set_text(json_make_object(event, "source"), "component", component);
	json_set_text(event, "reportingComponent", component);
	client_create(&c->client, &(struct client_target){view_kind("", "events"), ns}, event, NULL,
		      NULL, NULL);
}
