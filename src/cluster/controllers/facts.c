/* Questions that controllers ask of objects, and pieces of objects that they make. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/mem.h"
#include "ground/base/rfc3339.h"

int64_t controller_now_s(const struct controller *c)
{
	return world_now_ns(c->all->world) / 1000000000;
}

char *controller_now(const struct controller *c, char ret[TIME_CHARS])
{
	return rfc3339_seconds(world_now_ns(c->all->world), ret);
}

const struct scalable scalables[] = {
	{"Deployment", "apps", "deployments"},
	{"ReplicaSet", "apps", "replicasets"},
	{"StatefulSet", "apps", "statefulsets"},
	{"ReplicationController", "", "replicationcontrollers"},
	{0},
};

const struct object *scalable_find(const struct controller *c, const char *kind,
				   const char *namespace, const char *name)
{
	const struct scalable *row = scalables;

	while (row->kind && !text_eq(row->kind, kind))
		row++;
	return row->kind && name ? informer_get(controller_view(c, row->group, row->resource),
						namespace, name)
				 : NULL;
}

int64_t time_of(const char *text)
{
	int64_t ns;
	struct err e;

	return text && rfc3339_parse(text, &ns, &e) == 0 ? ns / 1000000000 : 0;
}

struct json *owner_reference(const struct object *owner)
{
	struct json *j = json_new_object();
	char api[128];

	json_set_text(j, "apiVersion", kind_api(owner->kind, api, sizeof(api)));
	json_set_text(j, "kind", owner->kind->name);
	json_set_text(j, "name", owner->name);
	json_set_text(j, "uid", owner->uid);
	json_set_bool(j, "controller", true);
	json_set_bool(j, "blockOwnerDeletion", true);
	return j;
}

const struct json *condition_of(const struct json *status, const char *type)
{
	return json_find(json_get(status, "conditions"), "type", type);
}

bool pod_is_ready(const struct json *pod)
{
	const struct json *ready = condition_of(json_get(pod, "status"), "Ready");

	return text_eq(json_get_text(ready, "status"), "True");
}

bool pod_is_available(const struct json *pod, int64_t min_ready_s, int64_t now_s,
		      int64_t *ret_left_s)
{
	const struct json *ready = condition_of(json_get(pod, "status"), "Ready");
	int64_t since = time_of(json_get_text(ready, "lastTransitionTime"));

	*ret_left_s = 0;
	if (!pod_is_ready(pod))
		return false;
	if (min_ready_s <= 0 || since + min_ready_s <= now_s)
		return true;
	*ret_left_s = since + min_ready_s - now_s;
	return false;
}

bool pod_is_active(const struct object *pod)
{
	const char *phase = object_value(pod, "status.phase");

	return !pod->deleting && !text_eq(phase, "Succeeded") && !text_eq(phase, "Failed");
}

static struct json *list_in(struct json *status, const struct json *old_status)
{
	struct json *list = json_get(status, "conditions");

	if (list)
		return list;
	list = json_get(old_status, "conditions");
	json_set(status, "conditions", list ? json_copy(list) : json_new_array());
	return json_get(status, "conditions");
}

void condition_set(struct json *status, const struct json *old_status, const char *type,
		   const char *value, const char *reason, const char *message, const char *now)
{
	struct json *list = list_in(status, old_status), *one = NULL;

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "type"), type))
			one = json_at(list, i);
	if (!one) {
		one = json_new_object();
		json_set_text(one, "type", type);
		json_append(list, one);
	}
	if (!text_eq(json_get_text(one, "status"), value))
		json_set_text(one, "lastTransitionTime", now);
	else if (text_eq(json_get_text(one, "reason"), reason) &&
		 text_eq(json_get_text(one, "message"), message))
		return;
	json_set_text(one, "status", value);
	json_set_text(one, "reason", reason);
	json_set_text(one, "message", message);
	json_set_text(one, "lastUpdateTime", now);
}

void condition_remove(struct json *status, const struct json *old_status, const char *type)
{
	const struct json *have = list_in(status, old_status);
	struct json *left = json_new_array();

	for (size_t i = 0; i < json_len(have); i++)
		if (!text_eq(json_get_text(json_at(have, i), "type"), type))
			json_append(left, json_ref(json_at(have, i)));
	if (json_len(left) == 0)
		left = json_free(left);
	json_set(status, "conditions", left);
}

int64_t object_generation(const struct object *o)
{
	return json_get_i64(json_get(object_tree(o), "metadata"), "generation", 0);
}

struct json *pod_of_template(const struct json *template, const char *prefix,
			     const struct object *owner)
{
	static const char *const kept[] = {"labels", "annotations", "finalizers"};
	struct json *pod = json_new_object(), *meta = json_new_object(), *owners = json_new_array();

	for (size_t i = 0; i < array_len(kept); i++) {
		const struct json *v = json_get(json_get(template, "metadata"), kept[i]);

		if (v)
			json_set(meta, kept[i], json_copy(v));
	}
	json_set_text(meta, "generateName", prefix);
	json_append(owners, owner_reference(owner));
	json_set(meta, "ownerReferences", owners);
	json_set(pod, "metadata", meta);
	json_set(pod, "spec", json_copy(json_get(template, "spec")));
	return pod;
}
