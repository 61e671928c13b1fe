/* Placement of daemon pods: see placement.h. */
#include "cluster/controllers/placement.h"

#include <assert.h>

#include "ground/base/mem.h"

static const struct tolerated {
	const char *key, *effect;
	bool host_network; /* only for pods on the host's network */
} always[] = {
	{"node.kubernetes.io/not-ready", "NoExecute", false},
	{"node.kubernetes.io/unreachable", "NoExecute", false},
	{"node.kubernetes.io/disk-pressure", "NoSchedule", false},
	{"node.kubernetes.io/memory-pressure", "NoSchedule", false},
	{"node.kubernetes.io/pid-pressure", "NoSchedule", false},
	{"node.kubernetes.io/unschedulable", "NoSchedule", false},
	{"node.kubernetes.io/network-unavailable", "NoSchedule", true},
};

static bool has_toleration(const struct json *list, const struct tolerated *t)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);

		if (text_eq(json_get_text(one, "key"), t->key) &&
		    text_eq(json_get_text(one, "effect"), t->effect) &&
		    text_eq(json_get_text(one, "operator"), "Exists"))
			return true;
	}
	return false;
}

void placement_tolerate(struct json *spec)
{
	bool host = json_get_bool(spec, "hostNetwork", false);

	if (!json_get(spec, "tolerations"))
		json_set(spec, "tolerations", json_new_array());
	for (size_t i = 0; i < array_len(always); i++) {
		struct json *one;

		if ((always[i].host_network && !host) ||
		    has_toleration(json_get(spec, "tolerations"), &always[i]))
			continue;
		one = json_new_object();
		json_set_text(one, "key", always[i].key);
		json_set_text(one, "operator", "Exists");
		json_set_text(one, "effect", always[i].effect);
		json_append(json_get(spec, "tolerations"), one);
	}
}

static struct json *node_selector(struct json *spec)
{
	return json_make_object(
		json_make_object(json_make_object(spec, "affinity"), "nodeAffinity"),
		"requiredDuringSchedulingIgnoredDuringExecution");
}

void placement_pin(struct json *spec, const char *node)
{
	struct json *terms = json_new_array(), *term = json_new_object();
	struct json *fields = json_new_array(), *field = json_new_object();
	struct json *values = json_new_array();

	json_append(values, json_new_text(node));
	json_set_text(field, "key", "metadata.name");
	json_set_text(field, "operator", "In");
	json_set(field, "values", values);
	json_append(fields, field);
	json_set(term, "matchFields", fields);
	json_append(terms, term);
	json_set(node_selector(spec), "nodeSelectorTerms", terms);
}

static const struct json *terms_of(const struct json *spec)
{
	return json_get(json_get(json_get(json_get(spec, "affinity"), "nodeAffinity"),
				 "requiredDuringSchedulingIgnoredDuringExecution"),
			"nodeSelectorTerms");
}

const char *placement_node(const struct object *pod)
{
	const char *node = object_value(pod, "spec.nodeName"), *pinned;
	const struct json *field;

	if (node[0])
		return node;
	field = json_at(json_get(json_at(terms_of(tree_spec(pod)), 0), "matchFields"), 0);
	pinned = json_text(json_at(json_get(field, "values"), 0));
	return pinned ? pinned : "";
}

/* -- affinity ---------------------------------------------------------------------------------- */

static bool names(const struct json *field, const char *node)
{
	const struct json *values = json_get(field, "values");
	bool in = false;

	for (size_t i = 0; i < json_len(values); i++)
		in = in || text_eq(json_text(json_at(values, i)), node);
	return text_eq(json_get_text(field, "operator"), "NotIn") ? !in : in;
}

static bool term_matches(const struct json *term, const struct object *node)
{
	const struct json *fields = json_get(term, "matchFields");
	struct json *labels = json_get(term, "matchExpressions");
	auto_json struct json *selector = NULL;
	auto_arena struct arena a = {0};
	struct selector s = {0};
	struct err e;

	if (json_len(fields) + json_len(labels) == 0)
		return false; /* an empty term selects nothing */
	for (size_t i = 0; i < json_len(fields); i++)
		if (!names(json_at(fields, i), node->name))
			return false;
	if (!labels)
		return true;
	selector = json_new_object();
	json_set(selector, "matchExpressions", json_ref(labels));
	return selector_of_json(selector, &a, &s, &e) == 0 && object_selected(node, &s);
}

static bool affinity_matches(const struct json *spec, const struct object *node)
{
	const struct json *terms = terms_of(spec);
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(json_get(spec, "nodeSelector"), &it, &key, &value))
		if (!text_eq(object_label(node, key), json_text(value)))
			return false;
	if (!terms)
		return true;
	for (size_t i = 0; i < json_len(terms); i++)
		if (term_matches(json_at(terms, i), node))
			return true;
	return false;
}

/* -- taints ------------------------------------------------------------------------------------ */

bool placement_tolerates(const struct json *toleration, const struct json *taint)
{
	const char *effect = json_get_text(toleration, "effect");
	const char *key = json_get_text(toleration, "key");
	const char *value = json_get_text(toleration, "value");
	const char *has = json_get_text(taint, "value");

	if (effect && effect[0] && !text_eq(effect, json_get_text(taint, "effect")))
		return false;
	if (key && key[0] && !text_eq(key, json_get_text(taint, "key")))
		return false;
	if (text_eq(json_get_text(toleration, "operator"), "Exists"))
		return true;
	return key && key[0] && text_eq(value ? value : "", has ? has : "");
}

static bool is_tolerated(const struct json *spec, const struct json *taint)
{
	const struct json *list = json_get(spec, "tolerations");

	for (size_t i = 0; i < json_len(list); i++)
		if (placement_tolerates(json_at(list, i), taint))
			return true;
	return false;
}

struct placement placement_of(const struct json *pod_spec, const struct object *node)
{
	const struct json *taints = json_get(tree_spec(node), "taints");
	const char *name = json_get_text(pod_spec, "nodeName");
	struct placement p = {true, true};

	if ((name && name[0] && !text_eq(name, node->name)) || !affinity_matches(pod_spec, node))
		return (struct placement){false, false};
	for (size_t i = 0; i < json_len(taints); i++) {
		const struct json *taint = json_at(taints, i);
		const char *effect = json_get_text(taint, "effect");

		if (text_eq(effect, "PreferNoSchedule") || is_tolerated(pod_spec, taint))
			continue;
		p.run = false;
		p.stay = p.stay && !text_eq(effect, "NoExecute");
	}
	return p;
}
