/*
 * The collector of pods: what nobody ends any more. Pods of nodes that are gone, pods that were
 * deleted before they had a node, and of those that have ended the oldest beyond a great number.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/mem.h"

#define ENDED_MAX    12500 /* as Kubernetes keeps */
#define QUARANTINE_S 40	   /* a node that went may come back at once: its pods run on */

struct collector {
	size_t ended;
	struct map gone; /* node -> (void *) the second since when nobody has seen it */
};

static bool has_ended(const struct object *pod)
{
	return pod && (text_eq(object_value(pod, "status.phase"), "Failed") ||
		       text_eq(object_value(pod, "status.phase"), "Succeeded"));
}

static void on_pod(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	struct collector *g = c->own;
	const char *node = object_value(now ? now : before, "spec.nodeName");

	g->ended += has_ended(now);
	g->ended -= has_ended(before);
	if (now && (now->deleting || g->ended > ENDED_MAX ||
		    (node[0] && !informer_get(controller_view(c, "", "nodes"), "", node))))
		controller_add(c, now);
}

static bool add_pod(void *ctx, const struct object *pod)
{
	controller_add(ctx, pod);
	return true;
}

static void on_node(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	struct collector *g = c->own;

	if (now)
		(void)map_remove(&g->gone, now->name);
	else
		informer_each_value(controller_view(c, "", "pods"), "spec.nodeName", before->name,
				    add_pod, c);
}

static void begin(struct controller *c)
{
	struct informer *pods = controller_view(c, "", "pods");

	c->own = mem_new(struct collector);
	informer_index(pods, "spec.nodeName");
	informer_on(controller_view(c, "", "nodes"), on_node, c);
	informer_on(pods, on_pod, c);
}

static void end(struct controller *c)
{
	struct collector *g = c->own;

	map_done(&g->gone);
	free(g);
	c->own = NULL;
}

/* Asked for at the source: a node that has just come may not be in view. */
static void answered(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;
	const struct object *pod =
		informer_get(controller_view(w->controller, "", "pods"), w->namespace, w->name);

	if (pod && o->error && o->error->kind == ERR_NOT_FOUND) {
		work_call(w);
		client_delete(&w->controller->client,
			      &(struct client_target){pod->kind, pod->namespace, pod->name, NULL},
			      &(struct delete_options){.grace_s = 0, .uid = pod->uid}, work_called,
			      w);
	}
	work_called(w, o);
}

static void fail(struct work *w, const struct object *pod)
{
	struct json *status = json_new_object();
	char now[TIME_CHARS];

	json_set_text(status, "phase", "Failed");
	json_set_text(status, "reason", "NodeLost");
	condition_set(status, tree_status(pod), "DisruptionTarget", "True", "DeletionByPodGC",
		      "PodGC: node no longer exists", controller_now(w->controller, now));
	work_status(w, pod, status);
}

static void remove_now(struct work *w, const struct object *pod)
{
	work_call(w);
	client_delete(&w->controller->client,
		      &(struct client_target){pod->kind, pod->namespace, pod->name, NULL},
		      &(struct delete_options){.grace_s = 0, .uid = pod->uid}, work_called, w);
}

/* Seconds until a missing node counts as lost. */
static int64_t quarantine_s(const struct controller *c, const char *node)
{
	struct collector *g = c->own;
	int64_t now = controller_now_s(c), since = (int64_t)(intptr_t)map_get(&g->gone, node);

	if (!since) {
		since = now;
		(void)map_put(&g->gone, node, (void *)(intptr_t)now);
	}
	return since + QUARANTINE_S - now;
}

/* Its node is not there. */
static void look_for_node(struct work *w, const struct object *pod, const char *node)
{
	int64_t left = quarantine_s(w->controller, node);

	if (left > 0) {
		w->again_ms = left * 1000;
		return;
	}
	if (!has_ended(pod))
		fail(w, pod);
	work_call(w);
	client_get(&w->controller->client,
		   &(struct client_target){view_kind("", "nodes"), NULL, node}, NULL, answered, w);
}

static void look(struct work *w)
{
	struct controller *c = w->controller;
	const struct collector *g = c->own;
	const struct object *pod =
		informer_get(controller_view(c, "", "pods"), w->namespace, w->name);
	const char *node = pod ? object_value(pod, "spec.nodeName") : "";

	if (!pod) {
		;
	} else if (node[0] && !informer_get(controller_view(c, "", "nodes"), "", node)) {
		look_for_node(w, pod, node);
	} else if (pod->deleting && !node[0]) {
		remove_now(w, pod);
	} else if (has_ended(pod) && g->ended > ENDED_MAX) {
		remove_now(w, pod);
	}
	work_end(w);
}

const struct controller_row podgc_row = {"pod-garbage-collector", begin, look, end};
