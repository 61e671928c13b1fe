/*
 * Removing: what a delete does. An object that nothing holds goes at once. Finalizers, and the
 * grace period of a pod that runs somewhere, turn the delete into an update: the object gets its
 * deletionTimestamp, and goes with the write that takes the last hold away.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/objects/pipeline_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

static const char *const immortal[] = {"default", "kube-system", "kube-public", "kube-node-lease"};

/* How long a pod may take to end, in seconds. */
static int64_t grace_of(struct change *c, const struct json *tree, const struct delete_options *o)
{
	const char *node = json_get_text(json_get(tree, "spec"), "nodeName");
	const char *phase = json_get_text(json_get(tree, "status"), "phase");
	int64_t grace = o->grace_s;

	if (!kind_is(c->stored, "", "Pod"))
		return 0;
	if (!node || !node[0] || text_eq(phase, "Succeeded") || text_eq(phase, "Failed"))
		return 0;
	if (grace < 0)
		grace = json_get_i64(json_get(tree, "spec"), "terminationGracePeriodSeconds", 30);
	return grace < 0 ? 1 : grace;
}

static void add_finalizer(struct json *meta, const char *name)
{
	struct json *list = json_get(meta, "finalizers");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_text(json_at(list, i)), name))
			return;
	if (!list) {
		json_set(meta, "finalizers", json_new_array());
		list = json_get(meta, "finalizers");
	}
	json_append(list, json_new_text(name));
}

static void drop_finalizer(struct json *meta, const char *name)
{
	const struct json *list = json_get(meta, "finalizers");
	struct json *left = json_new_array();

	for (size_t i = 0; i < json_len(list); i++)
		if (!text_eq(json_text(json_at(list, i)), name))
			json_append(left, json_ref(json_at(list, i)));
	json_set(meta, "finalizers", left);
	if (json_len(left) == 0)
		json_remove(meta, "finalizers");
}

/* What is to become of the dependents is written as a finalizer: the collector reads it. */
static void propagate(struct change *c, struct json *meta, enum client_propagation how)
{
	if (how == PROPAGATE_DEFAULT && kind_is(c->stored, "", "ReplicationController"))
		how = PROPAGATE_ORPHAN;
	switch (how) {
	case PROPAGATE_FOREGROUND:
		drop_finalizer(meta, "orphan");
		add_finalizer(meta, "foregroundDeletion");
		break;
	case PROPAGATE_ORPHAN:
		drop_finalizer(meta, "foregroundDeletion");
		add_finalizer(meta, "orphan");
		break;
	case PROPAGATE_BACKGROUND:
		drop_finalizer(meta, "orphan");
		drop_finalizer(meta, "foregroundDeletion");
		break;
	case PROPAGATE_DEFAULT:
		break;
	}
}

static bool held(const struct json *tree)
{
	const struct json *meta = json_get(tree, "metadata");

	return json_len(json_get(meta, "finalizers")) > 0 ||
	       json_get_i64(meta, "deletionGracePeriodSeconds", 0) > 0;
}

static bool namespace_held(const struct change *c, const struct json *tree)
{
	return kind_is(c->stored, "", "Namespace") &&
	       json_len(json_get(json_get(tree, "spec"), "finalizers")) > 0;
}

bool remove_when_free(struct change *c)
{
	const struct json *meta = json_get(c->object, "metadata");

	if (!json_get_text(meta, "deletionTimestamp") || held(c->object) ||
	    namespace_held(c, c->object))
		return false;
	change_remove(c);
	return true;
}

static int check_preconditions(struct change *c, const struct delete_options *o)
{
	char resource[128], have[24];

	kind_resource(c->kind, resource, sizeof(resource));
	(void)snprintf(have, sizeof(have), "%llu", (unsigned long long)c->old->revision);
	if (o->uid && o->uid[0] && !text_eq(o->uid, c->old->uid))
		return err_set(&c->error, ERR_CONFLICT,
			       "Operation cannot be fulfilled on %s \"%s\": Precondition failed: "
			       "UID in precondition: %s, UID in object meta: %s",
			       resource, c->name, o->uid, c->old->uid);
	if (o->revision && o->revision[0] && !text_eq(o->revision, have))
		return err_set(&c->error, ERR_CONFLICT,
			       "Operation cannot be fulfilled on %s \"%s\": Precondition failed: "
			       "ResourceVersion in precondition: %s, ResourceVersion in object "
			       "meta: %s",
			       resource, c->name, o->revision, have);
	if (!kind_is(c->stored, "", "Namespace"))
		return 0;
	for (size_t i = 0; i < array_len(immortal) - 1; i++)
		if (text_eq(c->name, immortal[i]))
			return change_forbid(c, "this namespace may not be deleted");
	return 0;
}

static void mark(struct change *c, int64_t grace)
{
	struct json *meta = json_get(c->object, "metadata");
	int64_t at = world_now_ns(c->objects->world) + grace * 1000000000;
	char text[RFC3339_CHARS + 1];

	json_set_text(meta, "deletionTimestamp", rfc3339_seconds(at, text));
	json_set_i64(meta, "deletionGracePeriodSeconds", grace);
	if (kind_is(c->stored, "", "Namespace")) {
		if (!json_get(c->object, "status"))
			json_set(c->object, "status", json_new_object());
		json_set_text(json_get(c->object, "status"), "phase", "Terminating");
	}
	if (json_get(meta, "generation") && !c->old->deleting)
		json_set_i64(meta, "generation", json_get_i64(meta, "generation", 0) + 1);
}

void remove_begin(struct change *c, const struct delete_options *o)
{
	struct json *meta;
	int64_t grace, left;

	assert(c->verb == CHANGE_DELETE && c->old);
	if (check_preconditions(c, o) < 0) {
		change_end(c);
		return;
	}
	c->object = object_copy(c->old);
	meta = json_get(c->object, "metadata");
	grace = grace_of(c, c->object, o);
	propagate(c, meta, o->propagation);
	left = json_get_i64(meta, "deletionGracePeriodSeconds", 0);
	if (grace == 0 && !(json_len(json_get(meta, "finalizers")) > 0) &&
	    !namespace_held(c, c->object)) {
		change_remove(c);
		return;
	}
	if (!c->old->deleting || grace < left)
		mark(c, grace);
	if (json_equal(c->object, object_tree(c->old))) {
		c->result = object_ref(c->old);
		change_end(c);
		return;
	}
	change_store(c);
}
