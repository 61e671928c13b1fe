/*
 * Taint eviction: a pod leaves a node whose NoExecute taints it does not tolerate, at once or, when
 * it tolerates each for a while only, after the shortest of these.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/placement.h"
#include "ground/base/mem.h"

#define FOR_EVER INT64_MAX

static struct informer *pods(const struct controller *c)
{
	return controller_view(c, "", "pods");
}

static bool executes(const struct json *taint)
{
	return text_eq(json_get_text(taint, "effect"), "NoExecute");
}

static bool has_taints(const struct object *node)
{
	const struct json *list = node ? json_get(tree_spec(node), "taints") : NULL;

	for (size_t i = 0; i < json_len(list); i++)
		if (executes(json_at(list, i)))
			return true;
	return false;
}

static const struct object *node_of(const struct controller *c, const struct object *pod)
{
	const char *name = object_value(pod, "spec.nodeName");

	return name[0] ? informer_get(controller_view(c, "", "nodes"), NULL, name) : NULL;
}

static bool add_pod(void *ctx, const struct object *pod)
{
	controller_add(ctx, pod);
	return true;
}

static void on_node(void *ctx, const struct object *now, const struct object *before)
{
	if (now && (has_taints(now) || has_taints(before)))
		informer_each_value(pods(ctx), "spec.nodeName", now->name, add_pod, ctx);
}

static void on_pod(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	char key[OBJECT_KEY_MAX];

	if (!now)
		(void)map_remove(c->own, object_key(before, key));
	else if (has_taints(node_of(c, now)))
		controller_add(c, now);
}

static void begin(struct controller *c)
{
	c->own = mem_new(struct map); /* pod -> (void *) the second since when it only stays */
	informer_index(pods(c), "spec.nodeName");
	informer_on(controller_view(c, "", "nodes"), on_node, c);
	informer_on(pods(c), on_pod, c);
}

static void end(struct controller *c)
{
	map_done(c->own);
	free(c->own);
	c->own = NULL;
}

/* For how many seconds a taint is borne; 0: not at all. */
static int64_t borne_s(const struct object *pod, const struct json *taint)
{
	const struct json *list = json_get(tree_spec(pod), "tolerations");
	int64_t least = -1;

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *t = json_at(list, i);
		int64_t s = json_get_i64(t, "tolerationSeconds", FOR_EVER);

		if (placement_tolerates(t, taint) && (least < 0 || s < least))
			least = s < 0 ? 0 : s;
	}
	return least < 0 ? 0 : least;
}

static int64_t stay_s(const struct object *pod, const struct object *node)
{
	const struct json *list = json_get(tree_spec(node), "taints");
	int64_t least = FOR_EVER;

	for (size_t i = 0; i < json_len(list); i++) {
		int64_t s = executes(json_at(list, i)) ? borne_s(pod, json_at(list, i)) : FOR_EVER;

		least = s < least ? s : least;
	}
	return least;
}

static int64_t monotonic_s(const struct controller *c)
{
	return world_monotonic_ns(c->all->world) / 1000000000 + 1;
}

static int64_t since_s(struct work *w)
{
	struct map *since = w->controller->own;
	int64_t now = monotonic_s(w->controller), begun = (int64_t)(intptr_t)map_get(since, w->key);

	if (!begun) {
		begun = now;
		(void)map_put(since, w->key, (void *)(intptr_t)now);
	}
	return begun;
}

static void evict(struct work *w, const struct object *pod)
{
	struct json *status = json_new_object();
	char now[TIME_CHARS];

	condition_set(status, tree_status(pod), "DisruptionTarget", "True",
		      "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint",
		      controller_now(w->controller, now));
	work_status(w, pod, status);
	work_event(w->controller, pod, "Normal", "TaintManagerEviction",
		   "Marking for deletion Pod %s/%s", pod->namespace, pod->name);
	work_delete(w, pod);
}

static void look(struct work *w)
{
	struct controller *c = w->controller;
	const struct object *pod = informer_get(pods(c), w->namespace, w->name);
	const struct object *node = pod ? node_of(c, pod) : NULL;
	int64_t stay = pod && node && !pod->deleting ? stay_s(pod, node) : FOR_EVER, left;

	if (stay == FOR_EVER) {
		(void)map_remove(c->own, w->key);
		work_end(w);
		return;
	}
	left = since_s(w) + stay - monotonic_s(c);
	if (stay > 0 && left > 0)
		w->again_ms = left * 1000;
	else
		evict(w, pod);
	work_end(w);
}

const struct controller_row tainteviction_row = {"taint-eviction", begin, look, end};
