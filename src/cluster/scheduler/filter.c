/*
 * Filters: whether a pod fits a node, and why not. Filters are rows; each says its reason as
 * Kubernetes does, so that the sentence about a pod that fits nowhere is one that operators know.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

/* -- taints ------------------------------------------------------------------------------------ */

bool filter_tolerates(const struct json *list, const struct json *taint)
{
	const char *key = json_get_text(taint, "key"), *value = json_get_text(taint, "value"),
		   *effect = json_get_text(taint, "effect");

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *t = json_at(list, i);
		const char *k = json_get_text(t, "key"), *v = json_get_text(t, "value"),
			   *e = json_get_text(t, "effect");
		bool exists = text_eq(json_get_text(t, "operator"), "Exists");

		if (e && e[0] && !text_eq(e, effect))
			continue;
		if (k && k[0] && !text_eq(k, key))
			continue;
		if (exists || (k && k[0] && text_eq(v ? v : "", value ? value : "")))
			return true;
	}
	return false;
}

const struct json *filter_untolerated(const struct pod_class *c, const struct node_info *n)
{
	for (size_t i = 0; i < json_len(n->taints); i++) {
		const struct json *t = json_at(n->taints, i);

		if (!text_eq(json_get_text(t, "effect"), "PreferNoSchedule") &&
		    !filter_tolerates(c->tolerations, t))
			return t;
	}
	return NULL;
}

static const char *by_cordon(struct ask *q, const struct node_info *n)
{
	static const char reason[] = "node(s) were unschedulable";
	struct json *taint;
	bool fine;

	if (!n->cordoned)
		return NULL;
	taint = json_new_object();
	json_set_text(taint, "key", "node.kubernetes.io/unschedulable");
	json_set_text(taint, "effect", "NoSchedule");
	fine = filter_tolerates(q->class->tolerations, taint);
	(void)json_free(taint);
	return fine ? NULL : reason;
}

static const char *by_taints(struct ask *q, const struct node_info *n)
{
	const struct json *t = filter_untolerated(q->class, n);
	const char *value = json_get_text(t, "value");

	return t ? arena_printf(&q->arena, "node(s) had untolerated taint {%s: %s}",
				json_get_text(t, "key"), value ? value : "")
		 : NULL;
}

/* -- affinity to nodes ------------------------------------------------------------------------- */

/* One term of a node selector: all of its expressions and fields. */
bool filter_node_term(const struct json *term, const struct node_info *n)
{
	auto_arena struct arena a = {0};
	auto_json struct json *labels = json_new_object(), *fields = json_new_object(),
			      *names = json_new_object();
	struct json *expressions = json_get(term, "matchExpressions"),
		    *by_field = json_get(term, "matchFields");
	struct selector s;
	struct err e;

	if (json_len(expressions) + json_len(by_field) == 0)
		return false;
	if (expressions)
		json_set(labels, "matchExpressions", json_ref(expressions));
	if (by_field)
		json_set(fields, "matchExpressions", json_ref(by_field));
	json_set_text(names, "metadata.name", n->name);
	if (selector_of_json(labels, &a, &s, &e) < 0 || !selector_matches(&s, n->labels))
		return false;
	return selector_of_json(fields, &a, &s, &e) == 0 && selector_matches(&s, names);
}

bool filter_node_affinity(const struct pod_class *c, const struct node_info *n)
{
	bool any = json_len(c->node_terms) == 0;

	if (c->by_label.n && !selector_matches(&c->by_label, n->labels))
		return false;
	for (size_t i = 0; i < json_len(c->node_terms) && !any; i++)
		any = filter_node_term(json_at(c->node_terms, i), n);
	return any;
}

static const char *by_selector(struct ask *q, const struct node_info *n)
{
	return filter_node_affinity(q->class, n)
		       ? NULL
		       : "node(s) didn't match Pod's node affinity/selector";
}

/* -- ports and amounts ------------------------------------------------------------------------- */

/* "TCP/80/0.0.0.0": of two that differ in the address only, one that is all addresses clashes. */
static bool clashes(const char *a, const char *b)
{
	const char *x = strrchr(a, '/'), *y = strrchr(b, '/');

	assert(x && y);
	if (x - a != y - b || strncmp(a, b, (size_t)(x - a)) != 0)
		return false;
	return text_eq(x, y) || text_eq(x, "/0.0.0.0") || text_eq(y, "/0.0.0.0");
}

static const char *by_ports(struct ask *q, const struct node_info *n)
{
	for (size_t i = 0; i < q->class->ports_n; i++)
		map_each (&n->ports, it)
			if (clashes(q->class->ports[i], it->key))
				return "node(s) didn't have free ports for the requested pod ports";
	return NULL;
}

static const char *by_room(struct ask *q, const struct node_info *n)
{
	static const char *const reasons[AMOUNTS] = {"Insufficient cpu", "Insufficient memory",
						     "Insufficient ephemeral-storage",
						     "Too many pods"};
	static const int order[AMOUNTS] = {AMOUNT_PODS, AMOUNT_CPU, AMOUNT_MEMORY, AMOUNT_DISK};
	const struct pod_class *c = q->class;
	bool yields = n->reserved.n[AMOUNT_PODS] > 0 && c->priority <= n->reserved_priority;

	for (int i = 0; i < AMOUNTS; i++) {
		int a = order[i];
		int64_t used = n->used.n[a] + (yields ? n->reserved.n[a] : 0);

		if (c->wants.n[a] && used + c->wants.n[a] > n->room.n[a])
			return reasons[a];
	}
	for (size_t i = 0; i < c->extras_n; i++) {
		const struct extra_room *x = map_get(&n->extras, c->extras[i].name);

		if (!x || x->used + c->extras[i].n > x->room)
			return arena_printf(&q->arena, "Insufficient %s", c->extras[i].name);
	}
	return NULL;
}

/* -- all together ------------------------------------------------------------------------------ */

const struct filter_row filter_rows[] = {
	{by_cordon, QUEUE_NODE, false, false},
	{by_taints, QUEUE_NODE, false, false},
	{by_selector, QUEUE_NODE, false, false},
	{by_ports, QUEUE_NODE | QUEUE_POD_GONE, true, false},
	{by_room, QUEUE_NODE | QUEUE_POD_GONE, true, true},
	{volumes_fit, QUEUE_NODE | QUEUE_VOLUME | QUEUE_POD_GONE, false, false},
	{topology_spread, QUEUE_NODE | QUEUE_POD_GONE | QUEUE_POD_PLACED, true, false},
	{topology_affinity, QUEUE_NODE | QUEUE_POD_PLACED, false, false},
	{topology_anti_affinity, QUEUE_NODE | QUEUE_POD_GONE, true, false},
	{topology_others, QUEUE_NODE | QUEUE_POD_GONE, true, false},
};
const size_t filter_rows_n = array_len(filter_rows);

const char *filter_node(struct ask *q, const struct node_info *n, size_t *ret_row)
{
	for (size_t i = 0; i < array_len(filter_rows); i++) {
		const char *reason = filter_rows[i].fn(q, n);

		if (!reason)
			continue;
		if (ret_row)
			*ret_row = i;
		return reason;
	}
	return NULL;
}

void ask_begin(struct ask *q, struct scheduler *s, const struct pod_class *c)
{
	*q = (struct ask){.s = s, .class = c, .namespace = c->namespace, .local = true};
	volumes_prepare(q);
	topology_prepare(q);
}

void ask_done(struct ask *q)
{
	arena_done(&q->arena);
}
