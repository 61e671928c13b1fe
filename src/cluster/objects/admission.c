/*
 * Admission: what the state of the cluster says to a change. It sits below every client,
 * controllers in the same process included. A row is a rule for kinds and verbs; a rule fills in
 * (defaults that live in other objects) or refuses, with Kubernetes' words. Rules run in the order
 * of the table.
 */
#include <assert.h>

#include "cluster/objects/pipeline_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

static void add_cause(struct change *c, const char *reason, const char *message, const char *field)
{
	struct json *causes = json_new_array(), *one = json_new_object();

	json_set_text(one, "reason", reason);
	json_set_text(one, "message", message);
	json_set_text(one, "field", field);
	json_append(causes, one);
	c->details = json_new_object();
	json_set(c->details, "causes", causes);
}

/* Nothing is made in a namespace that is not there or is going away. */
static int namespace_life(struct change *c)
{
	const struct object *ns;

	if (!(c->stored->flags & KIND_NAMESPACED))
		return 0;
	ns = objects_newest(c->objects, kind_of_resource("", "v1", "namespaces"), NULL,
			    c->namespace);
	if (!ns)
		return err_set(&c->error, ERR_NOT_FOUND, "namespaces \"%s\" not found",
			       c->namespace);
	if (!ns->deleting || kind_is(c->stored, "", "Event"))
		return 0;
	(void)change_forbid(c,
			    "unable to create new content in namespace %s because it is being "
			    "terminated",
			    c->namespace);
	add_cause(c, "NamespaceTerminating", "namespace is being terminated", "metadata.namespace");
	return -ERR_FORBIDDEN;
}

/* A namespace carries its own name as a label, and is held until it is empty. */
static int namespace_new(struct change *c)
{
	struct json *meta = json_get(c->object, "metadata"), *spec, *list;

	if (!json_get(meta, "labels"))
		json_set(meta, "labels", json_new_object());
	json_set_text(json_get(meta, "labels"), "kubernetes.io/metadata.name", c->name);
	if (c->verb != CHANGE_CREATE)
		return 0;
	if (!json_get(c->object, "spec"))
		json_set(c->object, "spec", json_new_object());
	spec = json_get(c->object, "spec");
	if (json_len(json_get(spec, "finalizers")) == 0) {
		list = json_new_array();
		json_append(list, json_new_text("kubernetes"));
		json_set(spec, "finalizers", list);
	}
	return 0;
}

/* -- storage ----------------------------------------------------------------------------------- */

static int protect(struct change *c, const char *finalizer)
{
	struct json *meta = json_get(c->object, "metadata"), *list = json_get(meta, "finalizers");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_text(json_at(list, i)), finalizer))
			return 0;
	if (!list) {
		json_set(meta, "finalizers", json_new_array());
		list = json_get(meta, "finalizers");
	}
	json_append(list, json_new_text(finalizer));
	return 0;
}

static int protect_volume(struct change *c)
{
	return protect(c, "kubernetes.io/pv-protection");
}

struct newest {
	const char *created;
	const char *name;
};

static bool default_class(void *ctx, const struct object *o)
{
	struct newest *n = ctx;
	const struct json *meta = json_get(object_tree(o), "metadata");
	const char *is = json_get_text(json_get(meta, "annotations"),
				       "storageclass.kubernetes.io/is-default-class");
	const char *created = json_get_text(meta, "creationTimestamp");

	if (text_eq(is, "true") && created && (!n->name || strcmp(created, n->created) > 0))
		*n = (struct newest){created, o->name};
	return true;
}

static int claim_new(struct change *c)
{
	struct json *spec = json_get(c->object, "spec");
	struct newest n = {0};

	if (!json_get(spec, "storageClassName") &&
	    !json_get_text(json_get(json_get(c->object, "metadata"), "annotations"),
			   "volume.beta.kubernetes.io/storage-class")) {
		objects_each(c->objects, kind_of_resource("storage.k8s.io", "v1", "storageclasses"),
			     NULL, default_class, &n);
		if (n.name)
			json_set_text(spec, "storageClassName", n.name);
	}
	return protect(c, "kubernetes.io/pvc-protection");
}

/* -- priorities -------------------------------------------------------------------------------- */

static bool is_global(void *ctx, const struct object *o)
{
	const struct object **ret = ctx;

	if (json_get_bool(object_tree(o), "globalDefault", false))
		*ret = o;
	return true;
}

static int one_default_priority(struct change *c)
{
	const struct object *other = NULL;

	if (!json_get_bool(c->object, "globalDefault", false))
		return 0;
	objects_each(c->objects, c->stored, NULL, is_global, &other);
	if (other && !text_eq(other->name, c->name))
		return change_forbid(c,
				     "PriorityClass %s is already marked as default. Only one "
				     "default can exist",
				     other->name);
	return 0;
}

/* -- the table --------------------------------------------------------------------------------- */

enum { ON_CREATE = 1, ON_UPDATE = 2 };

static const struct rule {
	const char *group, *kind; /* NULL: any */
	unsigned int on;
	int (*admit)(struct change *c);
} rules[] = {
	{NULL, NULL, ON_CREATE, namespace_life},
	{"", "Namespace", ON_CREATE | ON_UPDATE, namespace_new},
	{"", "PersistentVolumeClaim", ON_CREATE, claim_new},
	{"", "PersistentVolume", ON_CREATE, protect_volume},
	{"scheduling.k8s.io", "PriorityClass", ON_CREATE | ON_UPDATE, one_default_priority},
	{"", "Pod", ON_CREATE, admission_pod},
	{"", "Pod", ON_CREATE, admission_limits},
	{"", "PersistentVolumeClaim", ON_CREATE, admission_limits},
	{NULL, NULL, ON_CREATE | ON_UPDATE, quota_admit},
};

int admission_admit(struct change *c)
{
	unsigned int on = c->verb == CHANGE_CREATE ? ON_CREATE : ON_UPDATE;

	assert(c->verb != CHANGE_DELETE && c->object);
	for (size_t i = 0; i < array_len(rules); i++) {
		const struct rule *r = &rules[i];

		if (!(r->on & on) || (r->kind && (!text_eq(r->kind, c->stored->name) ||
						  !text_eq(r->group, c->stored->group))))
			continue;
		if (r->admit(c) < 0)
			return -(int)c->error.kind;
	}
	return 0;
}
