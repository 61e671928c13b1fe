/*
 * Changes: the life of one write, from the verb that makes it to its client's callback. Whatever
 * station ends it, the end is deferred, so that no client is called from inside its own call, and
 * what a change held for others (addresses, quota) is given back or kept by its outcome.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/objects/pipeline_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

#define EVENT_LIFE_NS (INT64_C(3600) * 1000000000) /* an hour, as Kubernetes keeps events */

char *objects_key(const struct kind *stored, const char *namespace, const char *name)
{
	auto_strbuf struct strbuf key = {0};

	strbuf_printf(&key, "%s/%s/", stored->group[0] ? stored->group : "core", stored->plural);
	if (namespace && namespace[0])
		strbuf_printf(&key, "%s/", namespace);
	if (name)
		strbuf_add_text(&key, name);
	return strbuf_take(&key);
}

const struct object *objects_newest(struct objects *os, const struct kind *k, const char *namespace,
				    const char *name)
{
	auto_free char *key = objects_key(k->stored, namespace, name);

	return object_of_value(keys_newest(os->keys, key));
}

struct visit {
	bool (*each)(void *ctx, const struct object *o);
	void *ctx;
};

static bool visit(void *ctx, const struct key_value *v)
{
	const struct visit *to = ctx;
	const struct object *o = object_of_value(v);

	return !o || to->each(to->ctx, o);
}

void objects_each(struct objects *os, const struct kind *k, const char *namespace,
		  bool (*each)(void *ctx, const struct object *o), void *ctx)
{
	auto_free char *prefix = objects_key(k->stored, namespace, NULL);
	struct visit to = {each, ctx};
	struct err e;
	int bad = keys_each(os->keys, prefix, NULL, 0, visit, &to, &e);

	assert(bad == 0); /* the present is always there */
}

char *objects_now(const struct objects *os, char ret[RFC3339_CHARS + 1])
{
	return rfc3339_seconds(world_now_ns(os->world), ret);
}

struct change *change_new(struct objects *os, enum change_verb verb, const struct client_target *t,
			  client_done *done, void *ctx)
{
	struct change *c = mem_new(struct change);

	assert(os->magic == OBJECTS_MAGIC);
	c->magic = CHANGE_MAGIC;
	c->objects = os;
	c->verb = verb;
	c->kind = t->kind;
	c->stored = t->kind->stored;
	c->namespace = mem_dup_text(t->namespace ? t->namespace : "");
	c->name = mem_dup_text(t->name ? t->name : "");
	c->sub = mem_dup_text(t->sub);
	c->key = objects_key(c->stored, c->namespace, c->name);
	c->causes.arena = &c->arena;
	c->done = done;
	c->ctx = ctx;
	list_init(&c->claims);
	return c;
}

static void change_free(struct change *c)
{
	c->magic = 0;
	free(c->namespace);
	free(c->name);
	free(c->sub);
	free(c->key);
	(void)json_free(c->object);
	(void)json_free(c->details);
	(void)json_free(c->body);
	(void)object_unref(c->old);
	(void)object_unref(c->result);
	arena_done(&c->arena);
	(void)mem_free_texts(c->warnings);
	(void)mem_free_texts(c->taken_ips);
	(void)mem_free_texts(c->taken_ports);
	free(c);
}

static void tell(void *arg)
{
	struct change *c = arg;
	struct outcome o = {.error = c->error.kind ? &c->error : NULL,
			    .details = c->details,
			    .message = c->message,
			    .http_status = c->http_status,
			    .object = c->result,
			    .body = c->body,
			    .warnings = (const char *const *)c->warnings};

	assert(c->magic == CHANGE_MAGIC);
	if (c->sub && text_eq(c->sub, "scale") && c->result && !c->body)
		o.body = c->body = sub_scale_of(c->stored, object_tree(c->result));
	if (c->done)
		c->done(c->ctx, &o);
	change_free(c);
}

/* What the outcome decides, before anybody else gets to see it. */
static void settle(struct change *c)
{
	quota_end(c);
	allocate_end(c);
}

void change_end(struct change *c)
{
	settle(c);
	loop_defer(c->objects->loop, tell, c);
}

void change_fail(struct change *c, enum err_kind kind, const char *fmt, ...)
{
	auto_strbuf struct strbuf text = {0};
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	(void)err_set(&c->error, kind, "%s", strbuf_text(&text));
	change_end(c);
}

void change_not_found(struct change *c)
{
	char resource[128];

	change_fail(c, ERR_NOT_FOUND, "%s \"%s\" not found",
		    kind_resource(c->kind, resource, sizeof(resource)), c->name);
}

int change_forbid(struct change *c, const char *fmt, ...)
{
	auto_strbuf struct strbuf text = {0};
	char resource[128];
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	return err_set(&c->error, ERR_FORBIDDEN, "%s \"%s\" is forbidden: %s",
		       kind_resource(c->kind, resource, sizeof(resource)), c->name,
		       strbuf_text(&text));
}

int change_invalid(struct change *c)
{
	int bad = causes_say(&c->causes, c->kind, c->name, &c->error);

	c->message = causes_text(&c->causes, c->kind, c->name);
	c->details = json_new_object();
	json_set(c->details, "causes", causes_json(&c->causes));
	c->http_status = 422;
	return bad;
}

/* -- the store --------------------------------------------------------------------------------- */

static void store_error(struct change *c, const struct err *e)
{
	char resource[128];

	kind_resource(c->kind, resource, sizeof(resource));
	if (e->kind == ERR_EXISTS)
		(void)err_set(&c->error, ERR_EXISTS, "%s \"%s\" already exists", resource, c->name);
	else if (e->kind == ERR_CONFLICT)
		(void)err_set(&c->error, ERR_CONFLICT,
			      "Operation cannot be fulfilled on %s \"%s\": the object has been "
			      "modified; please apply your changes to the latest version and try "
			      "again",
			      resource, c->name);
	else if (e->kind == ERR_NOT_FOUND)
		(void)err_set(&c->error, ERR_NOT_FOUND, "%s \"%s\" not found", resource, c->name);
	else
		c->error = *e;
}

static void stored(void *ctx, const struct key_value *v, uint64_t revision, const struct err *e)
{
	struct change *c = ctx;

	(void)revision;
	assert(c->magic == CHANGE_MAGIC);
	if (e)
		store_error(c, e);
	else
		c->result = object_ref(object_of_value(v));
	settle(c);
	tell(c);
}

static void removed(void *ctx, const struct key_value *v, uint64_t revision, const struct err *e)
{
	struct change *c = ctx;

	assert(c->magic == CHANGE_MAGIC);
	if (e)
		store_error(c, e);
	else if (!c->result)
		c->result = object_at_revision(object_of_value(v), revision);
	settle(c);
	tell(c);
}

void change_store(struct change *c)
{
	bool overwrite = c->stored->flags & KIND_OVERWRITE;
	bool event = overwrite && text_eq(c->stored->name, "Event");
	struct key_value *v;

	if (c->dry_run) {
		c->result = object_of_tree(c->stored, c->object);
		change_end(c);
		return;
	}
	v = object_to_store(c->stored, c->object, c->key,
			    event ? world_now_ns(c->objects->world) + EVENT_LIFE_NS : 0);
	keys_put(c->objects->keys, v, c->old ? c->old->revision : 0, overwrite ? KEYS_OVERWRITE : 0,
		 stored, c);
}

void change_remove(struct change *c)
{
	assert(c->old);
	if (c->dry_run) {
		c->result = object_ref(c->old);
		change_end(c);
		return;
	}
	keys_delete(c->objects->keys, c->key, c->old->revision, removed, c);
}
