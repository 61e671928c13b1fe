/*
 * Subresources that are written: each says which part of an object a body on it may change. The
 * whole object that comes out takes the pipeline like any other. Actions (binding, token) answer a
 * create; eviction is a file of its own.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/objects/pipeline_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

/* Takes one member from the body, or away. */
static void copy_member(struct json *to, const struct json *from, const char *key)
{
	const struct json *value = json_get(from, key);

	if (value)
		json_set(to, key, json_copy(value));
	else
		json_remove(to, key);
}

static int write_scale(struct change *c, struct json *whole, const struct json *body)
{
	json_set_i64(json_make_object(whole, "spec"), "replicas",
		     json_get_i64(json_get(body, "spec"), "replicas", 0));
	(void)c;
	return 0;
}

static int write_finalize(struct change *c, struct json *whole, const struct json *body)
{
	(void)c;
	copy_member(json_make_object(whole, "spec"), json_get(body, "spec"), "finalizers");
	return 0;
}

static int write_approval(struct change *c, struct json *whole, const struct json *body)
{
	(void)c;
	copy_member(json_make_object(whole, "status"), json_get(body, "status"), "conditions");
	return 0;
}

static int write_ephemeral(struct change *c, struct json *whole, const struct json *body)
{
	(void)c;
	copy_member(json_make_object(whole, "spec"), json_get(body, "spec"), "ephemeralContainers");
	return 0;
}

static const struct sub_row {
	const char *name;
	int (*write)(struct change *c, struct json *whole, const struct json *body);
} subs[] = {
	{"scale", write_scale},
	{"finalize", write_finalize},
	{"approval", write_approval},
	{"ephemeralcontainers", write_ephemeral},
};

int sub_write(struct change *c)
{
	struct json *whole;
	int bad;

	if (!c->sub || text_eq(c->sub, "status"))
		return 0;
	for (size_t i = 0; i < array_len(subs); i++) {
		if (!text_eq(subs[i].name, c->sub))
			continue;
		whole = object_copy(c->old);
		bad = subs[i].write(c, whole, c->object);
		(void)json_free(c->object);
		c->object = whole;
		return bad;
	}
	return err_set(&c->error, ERR_NOT_FOUND,
		       "the server could not find the requested resource");
}

/* -- scale ------------------------------------------------------------------------------------- */

static void scale_selector(const struct json *selector, struct strbuf *out)
{
	auto_arena struct arena a = {0};
	struct selector s = {0};
	struct err e;

	if (json_get(selector, "matchLabels") || json_get(selector, "matchExpressions")) {
		if (selector_of_json(selector, &a, &s, &e) < 0)
			return;
	} else {
		selector_of_map(selector, &a, &s);
	}
	selector_write(&s, out);
}

struct json *sub_scale_of(const struct kind *k, const struct json *tree)
{
	static const char *const members[] = {"name", "namespace", "uid", "resourceVersion",
					      "creationTimestamp"};
	const struct json *meta = json_get(tree, "metadata"), *spec = json_get(tree, "spec");
	struct json *scale = json_new_object(), *status;
	auto_strbuf struct strbuf selector = {0};

	assert(k->flags & KIND_SCALE);
	json_set_text(scale, "kind", "Scale");
	json_set_text(scale, "apiVersion", "autoscaling/v1");
	for (size_t i = 0; i < array_len(members); i++)
		copy_member(json_make_object(scale, "metadata"), meta, members[i]);
	json_set_i64(json_make_object(scale, "spec"), "replicas",
		     json_get_i64(spec, "replicas", 0));
	status = json_make_object(scale, "status");
	json_set_i64(status, "replicas", json_get_i64(json_get(tree, "status"), "replicas", 0));
	scale_selector(json_get(spec, "selector"), &selector);
	if (selector.n)
		json_set_text(status, "selector", strbuf_text(&selector));
	return scale;
}

bool sub_get(struct change *c)
{
	if (!text_eq(c->sub, "scale") || !(c->stored->flags & KIND_SCALE))
		return false;
	c->body = sub_scale_of(c->stored, object_tree(c->old));
	return true;
}

/* -- actions ----------------------------------------------------------------------------------- */

static void set_scheduled(struct change *c)
{
	struct json *status = json_make_object(c->object, "status"),
		    *list = json_get(status, "conditions");
	struct json *left = json_new_array(), *one = json_new_object();
	char now[RFC3339_CHARS + 1];

	for (size_t i = 0; i < json_len(list); i++)
		if (!text_eq(json_get_text(json_at(list, i), "type"), "PodScheduled"))
			json_append(left, json_ref(json_at(list, i)));
	json_set_text(one, "type", "PodScheduled");
	json_set_text(one, "status", "True");
	json_set_text(one, "lastTransitionTime", objects_now(c->objects, now));
	json_append(left, one);
	json_set(status, "conditions", left);
}

static void merge_annotations(struct json *meta, const struct json *from)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(from, &it, &key, &value))
		json_set(json_make_object(meta, "annotations"), key, json_ref(value));
}

/* Puts a pod on a node: the one write that may set spec.nodeName. */
static void create_binding(struct change *c, const struct json *body)
{
	const char *node = json_get_text(json_get(body, "target"), "name");
	const char *has = object_value(c->old, "spec.nodeName");

	if (!node || !node[0]) {
		change_fail(c, ERR_INVALID,
			    "Binding \"%s\" is invalid: target.name: Required value", c->name);
		return;
	}
	if (c->old->deleting) {
		change_fail(c, ERR_CONFLICT,
			    "Operation cannot be fulfilled on pods/binding \"%s\": pod %s is being "
			    "deleted, cannot be assigned to a host",
			    c->name, c->name);
		return;
	}
	if (has[0]) {
		change_fail(c, ERR_CONFLICT,
			    "Operation cannot be fulfilled on pods/binding \"%s\": pod %s is "
			    "already assigned to node \"%s\"",
			    c->name, c->name, has);
		return;
	}
	c->object = object_copy(c->old);
	json_set_text(json_make_object(c->object, "spec"), "nodeName", node);
	merge_annotations(json_make_object(c->object, "metadata"),
			  json_get(json_get(body, "metadata"), "annotations"));
	set_scheduled(c);
	change_store(c);
}

static void create_token(struct change *c, const struct json *body)
{
	struct objects *os = c->objects;
	struct json *status = NULL;

	if (!os->o.sign_token) {
		change_fail(c, ERR_UNSUPPORTED, "this server issues no tokens");
		return;
	}
	if (os->o.sign_token(os->o.ctx, c->old, json_get(body, "spec"), &status, &c->error) < 0) {
		c->http_status = c->error.kind == ERR_INVALID ? 422 : 0;
	} else {
		c->body = json_copy(body);
		json_set(c->body, "status", status);
	}
	change_end(c);
}

static const struct action_row {
	const char *kind, *sub;
	void (*create)(struct change *c, const struct json *body);
} actions[] = {
	{"Pod", "binding", create_binding},
	{"Pod", "eviction", eviction_create},
	{"ServiceAccount", "token", create_token},
};

void sub_create(struct change *c)
{
	auto_json struct json *body = take(c->object);

	if (!c->old) {
		change_not_found(c);
		return;
	}
	for (size_t i = 0; i < array_len(actions); i++)
		if (text_eq(actions[i].kind, c->stored->name) && text_eq(actions[i].sub, c->sub)) {
			actions[i].create(c, body);
			return;
		}
	change_fail(c, ERR_NOT_FOUND, "the server could not find the requested resource");
}
