/*
 * The life of nodes. A node renews its lease; one that has not for forty seconds is not known to
 * live: its conditions become Unknown and its pods are not ready any more. What is so with a node
 * becomes taints, from which the scheduler (NoSchedule) and the taint eviction (NoExecute) act. A
 * renewal is timed by this process's clock when it is seen, so that clocks need not agree; a node
 * that never had a lease is nobody's to judge.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/mem.h"

#define GRACE_S	 40
#define LEASES	 "kube-node-lease"
#define PREFIX	 "node.kubernetes.io/"
#define SILENT	 "NodeStatusUnknown"
#define SILENT_2 "Kubelet stopped posting node status."

struct beat {
	int64_t seen_s; /* of the monotonic clock */
};

/* What becomes a taint. */
static const struct row {
	const char *condition, *value, *key, *effect;
} rows[] = {
	{"Ready", "False", PREFIX "not-ready", "NoSchedule"},
	{"Ready", "False", PREFIX "not-ready", "NoExecute"},
	{"Ready", "Unknown", PREFIX "unreachable", "NoSchedule"},
	{"Ready", "Unknown", PREFIX "unreachable", "NoExecute"},
	{"MemoryPressure", "True", PREFIX "memory-pressure", "NoSchedule"},
	{"DiskPressure", "True", PREFIX "disk-pressure", "NoSchedule"},
	{"PIDPressure", "True", PREFIX "pid-pressure", "NoSchedule"},
	{"NetworkUnavailable", "True", PREFIX "network-unavailable", "NoSchedule"},
	{NULL, NULL, PREFIX "unschedulable", "NoSchedule"}, /* of spec.unschedulable */
};

static struct informer *nodes(const struct controller *c)
{
	return controller_view(c, "", "nodes");
}

static struct informer *leases(const struct controller *c)
{
	return controller_view(c, "coordination.k8s.io", "leases");
}

static int64_t monotonic_s(const struct controller *c)
{
	return world_monotonic_ns(c->all->world) / 1000000000;
}

/* A renewal is looked at only where it changes something: the node is given up. */
static void on_lease(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	struct map *beats = c->own;
	struct beat *b;

	(void)before;
	if (!now || !text_eq(now->namespace, LEASES)) /* a lease that goes renews nothing */
		return;
	b = map_get(beats, now->name);
	if (!b) {
		b = mem_new(struct beat);
		(void)map_put(beats, now->name, b);
		workqueue_add(c->queue, now->name);
	}
	b->seen_s = monotonic_s(c);
}

static void begin(struct controller *c)
{
	c->own = mem_new(struct map);
	informer_index(controller_view(c, "", "pods"), "spec.nodeName");
	informer_on(leases(c), on_lease, c);
	informer_on(nodes(c), controller_on_self, c);
}

static void end(struct controller *c)
{
	struct map *beats = c->own;

	map_each (beats, it)
		free(it->value);
	map_done(beats);
	free(beats);
	c->own = NULL;
}

/* -- silence ----------------------------------------------------------------------------------- */

static bool is_silent(struct work *w)
{
	struct controller *c = w->controller;
	const struct beat *b = map_get(c->own, w->key);
	int64_t left;

	if (!b)
		return false;
	left = b->seen_s + GRACE_S - monotonic_s(c);
	w->again_ms = left > 0 ? left * 1000 : 0;
	return left <= 0;
}

static bool set_not_ready(void *ctx, const struct object *pod)
{
	struct work *w = ctx;
	struct json *status;
	char now[TIME_CHARS];

	if (!pod_is_ready(object_tree(pod)))
		return true;
	status = json_new_object();
	condition_set(status, tree_status(pod), "Ready", "False", "NodeNotReady", "",
		      controller_now(w->controller, now));
	work_status(w, pod, status);
	work_event(w->controller, pod, "Warning", "NodeNotReady", "Node is not ready");
	return true;
}

static void give_up(struct work *w, const struct object *node)
{
	static const char *const types[] = {"Ready", "MemoryPressure", "DiskPressure",
					    "PIDPressure"};
	const struct json *have = tree_status(node);
	struct json *status = json_new_object();
	char now[TIME_CHARS];

	controller_now(w->controller, now);
	for (size_t i = 0; i < array_len(types); i++)
		condition_set(status, have, types[i], "Unknown", SILENT, SILENT_2, now);
	if (!text_eq(json_get_text(condition_of(have, "Ready"), "status"), "Unknown"))
		work_event(w->controller, node, "Normal", "NodeNotReady",
			   "Node %s status is now: NodeNotReady", node->name);
	work_status(w, node, status);
	informer_each_value(controller_view(w->controller, "", "pods"), "spec.nodeName", node->name,
			    set_not_ready, w);
}

/* -- taints ------------------------------------------------------------------------------------ */

static bool is_ours(const struct json *taint)
{
	for (size_t i = 0; i < array_len(rows); i++)
		if (text_eq(json_get_text(taint, "key"), rows[i].key) &&
		    text_eq(json_get_text(taint, "effect"), rows[i].effect))
			return true;
	return false;
}

static bool is_due(const struct object *node, const struct row *r)
{
	if (!r->condition)
		return json_get_bool(tree_spec(node), "unschedulable", false);
	return text_eq(json_get_text(condition_of(tree_status(node), r->condition), "status"),
		       r->value);
}

/* The taint as it stands, or a new one. */
static struct json *taint_of(const struct work *w, const struct json *have, const struct row *r)
{
	struct json *taint;
	char now[TIME_CHARS];

	for (size_t i = 0; i < json_len(have); i++)
		if (text_eq(json_get_text(json_at(have, i), "key"), r->key) &&
		    text_eq(json_get_text(json_at(have, i), "effect"), r->effect))
			return json_copy(json_at(have, i));
	taint = json_new_object();
	json_set_text(taint, "key", r->key);
	json_set_text(taint, "effect", r->effect);
	json_set_text(taint, "timeAdded", controller_now(w->controller, now));
	return taint;
}

/* Others' taints stay; the patch holds for this version of the node only. */
static void set_taints(struct work *w, const struct object *node)
{
	const struct json *have = json_get(tree_spec(node), "taints");
	auto_free char *revision = mem_printf("%llu", (unsigned long long)node->revision);
	struct json *want = json_new_array(), *patch;

	for (size_t i = 0; i < json_len(have); i++)
		if (!is_ours(json_at(have, i)))
			json_append(want, json_copy(json_at(have, i)));
	for (size_t i = 0; i < array_len(rows); i++)
		if (is_due(node, &rows[i]))
			json_append(want, taint_of(w, have, &rows[i]));
	if (json_equal(want, have) || json_len(want) + json_len(have) == 0) {
		(void)json_free(want);
		return;
	}
	patch = json_new_object();
	json_set_text(json_make_object(patch, "metadata"), "resourceVersion", revision);
	json_set(json_make_object(patch, "spec"), "taints", tree_list(want));
	work_patch(w, node, NULL, patch);
}

static void look(struct work *w)
{
	struct controller *c = w->controller;
	const struct object *node = informer_get(nodes(c), NULL, w->name);

	if (!node)
		free(map_remove(c->own, w->key));
	else if (!is_silent(w) ||
		 text_eq(json_get_text(condition_of(tree_status(node), "Ready"), "status"),
			 "Unknown"))
		set_taints(w, node);
	else
		give_up(w, node); /* which comes back as an event: then the taints */
	work_end(w);
}

const struct controller_row nodelife_row = {"node", begin, look, end};
