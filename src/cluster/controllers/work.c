/* The work on one key: see controllers_priv.h. */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"

void work_drop(struct work *w)
{
	assert(w->magic == WORK_MAGIC);
	w->magic = 0;
	free(w->namespace);
	free(w->name);
	free(w->own);
	free(w);
}

static void finish(struct work *w)
{
	struct workqueue *q = w->controller->queue;
	auto_free char *key = mem_dup_text(w->key);
	int64_t again = w->again_ms;

	if (again > 0)
		workqueue_add_after(q, key, again);
	workqueue_done(q, key, w->failed);
	work_drop(w);
}

static void one_ended(struct work *w)
{
	void (*then)(struct work * w);

	assert(w->magic == WORK_MAGIC && w->calls > 0);
	if (--w->calls > 0)
		return;
	then = w->then;
	w->then = NULL;
	if (!then) {
		finish(w);
		return;
	}
	w->calls = 1;
	then(w);
}

void work_end(struct work *w)
{
	one_ended(w);
}

void work_call(struct work *w)
{
	w->calls++;
}

void work_called(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;

	assert(w->magic == WORK_MAGIC);
	if (o->error && o->error->kind != ERR_NOT_FOUND && o->error->kind != ERR_EXISTS) {
		w->failed = true;
		log_debug("%s of '%s': %s", w->controller->row->name, w->key, o->error->text);
	}
	one_ended(w);
}

void work_create(struct work *w, const struct kind *k, const char *namespace, struct json *object)
{
	work_call(w);
	client_create(&w->controller->client, &(struct client_target){k, namespace}, object, NULL,
		      work_called, w);
}

void work_patch(struct work *w, const struct object *o, const char *sub, struct json *patch)
{
	work_call(w);
	client_patch(&w->controller->client,
		     &(struct client_target){o->kind, o->namespace, o->name, sub}, PATCH_MERGE,
		     patch, NULL, work_called, w);
}

void work_delete(struct work *w, const struct object *o)
{
	work_call(w);
	client_delete(&w->controller->client,
		      &(struct client_target){o->kind, o->namespace, o->name, NULL},
		      &(struct delete_options){.grace_s = -1, .uid = o->uid}, work_called, w);
}

/* Whether a merge patch of members says nothing new. */
static bool says_nothing(const struct json *patch, const struct json *have)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(patch, &it, &key, &value)) {
		const struct json *old = json_get(have, key);

		if (json_kind(value) == JSON_NULL ? old != NULL : !(old && json_equal(value, old)))
			return false;
	}
	return true;
}

void work_status(struct work *w, const struct object *o, struct json *status)
{
	struct json *patch;

	if (says_nothing(status, json_get(object_tree(o), "status"))) {
		(void)json_free(status);
		return;
	}
	patch = json_new_object();
	json_set_text(json_make_object(patch, "metadata"), "uid",
		      o->uid); /* no other one of its name */
	json_set(patch, "status", status);
	work_patch(w, o, "status", patch);
}

/* -- subscribing ------------------------------------------------------------------------------- */

const struct kind *view_kind(const char *group, const char *resource)
{
	static const char *const versions[] = {"v1", "v2"};
	const struct kind *k = NULL;

	for (size_t i = 0; i < array_len(versions) && !k; i++)
		k = kind_of_resource(group, versions[i], resource);
	assert(k);
	return k;
}

struct informer *controller_view(const struct controller *c, const char *group,
				 const char *resource)
{
	return informer_of(c->all->o.informers, view_kind(group, resource));
}

void controller_add(struct controller *c, const struct object *o)
{
	char key[OBJECT_KEY_MAX];

	workqueue_add(c->queue, object_key(o, key));
}

void controller_on_self(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;

	assert(c->magic == CONTROLLER_MAGIC);
	controller_add(c, now ? now : before);
}

void work_event(struct controller *c, const struct object *about, const char *type,
		const char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	recorder_vtell_of(&c->recorder, about, type, reason, fmt, ap);
	va_end(ap);
}
