/*
 * Eviction: a delete of a pod that asks its disruption budget first. The budget's status is lowered
 * in the store before the pod is deleted, so that two evictions never spend the same allowance.
 */
#include <assert.h>

#include "cluster/objects/pipeline_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

struct search {
	struct change *change;
	const struct object *found; /* borrowed for this turn */
	size_t n;
};

static bool consider(void *ctx, const struct object *o)
{
	struct search *s = ctx;
	auto_arena struct arena a = {0};
	struct selector selector;
	struct err e;
	const struct json *how = json_get(json_get(object_tree(o), "spec"), "selector");

	if (!how || selector_of_json(how, &a, &selector, &e) < 0)
		return true;
	if (object_selected(s->change->old, &selector)) {
		s->found = o;
		s->n++;
	}
	return true;
}

static bool counts(const struct json *pod)
{
	const char *phase = json_get_text(json_get(pod, "status"), "phase");

	return !text_eq(phase, "Pending") && !text_eq(phase, "Succeeded") &&
	       !text_eq(phase, "Failed");
}

static struct delete_options options_of(const struct json *body)
{
	const struct json *o = json_get(body, "deleteOptions"), *pre = json_get(o, "preconditions");

	return (struct delete_options){
		.grace_s = json_get_i64(o, "gracePeriodSeconds", -1),
		.uid = json_get_text(pre, "uid"),
		.revision = json_get_text(pre, "resourceVersion"),
	};
}

static void refuse(struct change *c, const char *why, ...)
{
	struct json *causes = json_new_array(), *one = json_new_object();
	auto_strbuf struct strbuf text = {0};
	va_list ap;

	va_start(ap, why);
	strbuf_vprintf(&text, why, ap);
	va_end(ap);
	json_set_text(one, "reason", "DisruptionBudget");
	json_set_text(one, "message", strbuf_text(&text));
	json_append(causes, one);
	c->details = json_new_object();
	json_set(c->details, "causes", causes);
	c->http_status = 429;
	change_fail(c, ERR_BUSY,
		    "Cannot evict pod as it would violate the pod's disruption budget.");
}

/* Whether a pod that is not ready may go without an allowance: nobody misses it. */
static bool is_free(const struct json *pod, const struct json *budget)
{
	const struct json *ready =
		json_find(json_get(json_get(pod, "status"), "conditions"), "type", "Ready");
	const struct json *status = json_get(budget, "status");
	const char *policy = json_get_text(json_get(budget, "spec"), "unhealthyPodEvictionPolicy");
	int64_t desired = json_get_i64(status, "desiredHealthy", 0);

	if (text_eq(json_get_text(ready, "status"), "True"))
		return false;
	return text_eq(policy, "AlwaysAllow") ||
	       (desired > 0 && json_get_i64(status, "currentHealthy", 0) >= desired);
}

/* Whether the budget's status speaks of what its spec says now. */
static bool is_observed(const struct json *budget)
{
	return json_get_i64(json_get(budget, "status"), "observedGeneration", 0) >=
	       json_get_i64(json_get(budget, "metadata"), "generation", 0);
}

/* One allowance is spent: now the pod may go. */
struct spending {
	struct change *change;
	struct json *body;
};

static void spent(void *ctx, const struct outcome *o)
{
	struct spending *s = ctx;
	struct change *c = s->change;
	struct delete_options how = options_of(s->body);

	if (o->error && o->error->kind != ERR_NOT_FOUND) {
		c->error = *o->error;
		c->http_status = o->http_status;
		change_end(c);
	} else {
		remove_begin(c, &how);
	}
	(void)json_free(s->body);
	free(s);
}

static void spend(struct change *c, const struct object *budget, const struct json *body,
		  int64_t left)
{
	struct client_target t = {budget->kind, budget->namespace, budget->name, "status"};
	struct spending *s = mem_new(struct spending);
	struct json *tree = object_copy(budget), *status = json_get(tree, "status");
	struct change *write;
	char now[RFC3339_CHARS + 1];

	if (!json_get(status, "disruptedPods"))
		json_set(status, "disruptedPods", json_new_object());
	json_set_text(json_get(status, "disruptedPods"), c->name, objects_now(c->objects, now));
	json_set_i64(status, "disruptionsAllowed", left - 1);
	*s = (struct spending){c, json_copy(body)};
	write = change_new(c->objects, CHANGE_UPDATE, &t, spent, s);
	write->object = tree;
	write->old = object_ref(budget);
	pipeline_update(write);
}

void eviction_create(struct change *c, const struct json *body)
{
	const struct kind *k = kind_of_resource("policy", "v1", "poddisruptionbudgets");
	struct search s = {.change = c};
	struct delete_options how = options_of(body);
	const struct object *budget;
	const struct json *status;
	int64_t left;

	c->verb = CHANGE_DELETE;
	if (counts(object_tree(c->old)) && !c->old->deleting)
		objects_each(c->objects, k, c->namespace, consider, &s);
	if (s.n == 0) {
		remove_begin(c, &how);
		return;
	}
	if (s.n > 1) {
		change_fail(c, ERR_INTERNAL,
			    "This pod has more than one PodDisruptionBudget, which the eviction "
			    "subresource does not support.");
		return;
	}
	budget = objects_newest(c->objects, k, s.found->namespace, s.found->name);
	status = budget ? json_get(object_tree(budget), "status") : NULL;
	if (budget && is_free(object_tree(c->old), object_tree(budget))) {
		remove_begin(c, &how);
		return;
	}
	if (budget && !is_observed(object_tree(budget))) {
		refuse(c, "The disruption budget %s is still being processed by the server.",
		       s.found->name);
		json_set_i64(c->details, "retryAfterSeconds", 10);
		return;
	}
	left = json_get_i64(status, "disruptionsAllowed", 0);
	if (left <= 0 || !budget) {
		refuse(c, "The disruption budget %s needs %lld healthy pods and has %lld currently",
		       s.found->name, (long long)json_get_i64(status, "desiredHealthy", 0),
		       (long long)json_get_i64(status, "currentHealthy", 0));
		return;
	}
	spend(c, budget, body, left);
}
