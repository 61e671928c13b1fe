/*
 * Disruption budgets: the status that evictions are judged by. Which pods count, how many of them
 * are healthy, how many must be, and so how many may go now. Evictions write themselves into
 * status.disruptedPods before they delete; here they leave it once the pod has gone, or when it
 * did not go for two minutes.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/pod.h"
#include "ground/base/mem.h"

#define FORGET_S 120 /* an eviction that deleted nothing until then failed */

/* What one look counts. */
struct count {
	struct work *work;
	const struct object *budget;
	struct json *disrupted; /* those that are still on their way out */
	int64_t pods, healthy, desired, expected;
	const char *bad; /* an owner that cannot say how many it wants */
};

static struct informer *budgets(const struct controller *c)
{
	return controller_view(c, "policy", "poddisruptionbudgets");
}

static bool takes(const struct object *budget, const struct object *pod)
{
	auto_arena struct arena a = {0};
	struct selector s = {0};

	return pod && json_get(tree_spec(budget), "selector") &&
	       selector_of_object(budget, &a, &s) == 0 && object_selected(pod, &s);
}

/* -- subscribing ------------------------------------------------------------------------------- */

struct change {
	struct controller *controller;
	const struct object *now, *before;
};

static bool add_budget(void *ctx, const struct object *budget)
{
	const struct change *c = ctx;

	if (takes(budget, c->now) || takes(budget, c->before))
		controller_add(c->controller, budget);
	return true;
}

static void on_pod(void *ctx, const struct object *now, const struct object *before)
{
	struct change c = {ctx, now, before};

	informer_each(budgets(ctx), (now ? now : before)->namespace, add_budget, &c);
}

static bool add_any(void *ctx, const struct object *budget)
{
	controller_add(ctx, budget);
	return true;
}

/* Another number of replicas is wanted. */
static void on_owner(void *ctx, const struct object *now, const struct object *before)
{
	if (now && before && informer_count(budgets(ctx)) > 0 &&
	    object_generation(now) != object_generation(before))
		informer_each(budgets(ctx), now->namespace, add_any, ctx);
}

static void begin(struct controller *c)
{
	for (const struct scalable *row = scalables; row->kind; row++)
		informer_on(controller_view(c, row->group, row->resource), on_owner, c);
	informer_on(budgets(c), controller_on_self, c);
	informer_on(controller_view(c, "", "pods"), on_pod, c);
}

/* -- how many are expected --------------------------------------------------------------------- */

static const struct object *owner_of(const struct controller *c, const struct object *o)
{
	const struct object *owner = scalable_find(c, o->owner_kind, o->namespace, o->owner_name);

	return owner && text_eq(owner->uid, o->owner_uid) ? owner : NULL;
}

/* The scales of all owners, each counted once. */
struct scales {
	struct count *count;
	struct map seen; /* uid -> itself */
	int64_t sum;
};

static bool add_scale(void *ctx, const struct object *pod)
{
	struct scales *s = ctx;
	const struct controller *c = s->count->work->controller;
	const struct object *owner, *above;

	if (!takes(s->count->budget, pod) || !pod->owner_uid[0] ||
	    text_eq(object_value(pod, "status.phase"), "Succeeded") ||
	    text_eq(object_value(pod, "status.phase"), "Failed"))
		return true;
	owner = owner_of(c, pod);
	above = owner ? owner_of(c, owner) : NULL;
	owner = above ? above : owner;
	if (!owner) {
		s->count->bad = pod->owner_kind;
	} else if (!map_get(&s->seen, owner->uid)) {
		(void)map_put(&s->seen, owner->uid, s);
		s->sum += json_get_i64(tree_spec(owner), "replicas", 1);
	}
	return true;
}

static int64_t scale_of(struct count *n)
{
	struct scales s = {.count = n};

	informer_each(controller_view(n->work->controller, "", "pods"), n->budget->namespace,
		      add_scale, &s);
	map_done(&s.seen);
	return s.sum;
}

static void expect(struct count *n)
{
	const struct json *spec = tree_spec(n->budget), *most = json_get(spec, "maxUnavailable"),
			  *least = json_get(spec, "minAvailable");

	n->expected = n->pods;
	if (most) {
		n->expected = scale_of(n);
		n->desired = n->expected - tree_portion(most, n->expected, true);
		n->desired = n->desired < 0 ? 0 : n->desired;
	} else if (json_kind(least) == JSON_STRING) {
		n->expected = scale_of(n);
		n->desired = tree_portion(least, n->expected, true);
	} else {
		n->desired = json_i64(least, 0);
	}
}

/* -- what there is ----------------------------------------------------------------------------- */

/* Whether an eviction has spent an allowance for this pod and may still delete it. */
static bool is_on_its_way(struct count *n, const struct object *pod)
{
	const char *when =
		json_get_text(json_get(tree_status(n->budget), "disruptedPods"), pod->name);
	int64_t left;

	if (!when)
		return false;
	left = time_of(when) + FORGET_S - controller_now_s(n->work->controller);
	if (pod->deleting || left <= 0)
		return false;
	json_set_text(n->disrupted, pod->name, when);
	if (!n->work->again_ms || left * 1000 < n->work->again_ms)
		n->work->again_ms = left * 1000;
	return true;
}

static bool count_pod(void *ctx, const struct object *pod)
{
	struct count *n = ctx;
	const char *phase = object_value(pod, "status.phase");

	if (!takes(n->budget, pod) || text_eq(phase, "Succeeded") || text_eq(phase, "Failed"))
		return true;
	n->pods++;
	if (!is_on_its_way(n, pod) && !pod->deleting && pod_of(n->work->controller, pod)->ready)
		n->healthy++;
	return true;
}

/* A merge patch: names that are not on their way any more are taken away. */
static void set_disrupted(struct count *n, struct json *status)
{
	const struct json *have = json_get(tree_status(n->budget), "disruptedPods");
	struct json_iter it = {0};
	struct json *value;
	const char *name;

	if (json_equal(have, n->disrupted) || (!have && json_len(n->disrupted) == 0))
		return;
	while (json_next(have, &it, &name, &value))
		if (!json_get(n->disrupted, name))
			json_set(json_make_object(status, "disruptedPods"), name, NULL);
}

static void set_condition(const struct count *n, struct json *status, int64_t allowed)
{
	char now[TIME_CHARS];

	controller_now(n->work->controller, now);
	if (n->bad)
		condition_set(status, tree_status(n->budget), "DisruptionAllowed", "False",
			      "SyncFailed", "an owner of its pods does not say how many it wants",
			      now);
	else
		condition_set(status, tree_status(n->budget), "DisruptionAllowed",
			      allowed > 0 ? "True" : "False",
			      allowed > 0 ? "SufficientPods" : "InsufficientPods", "", now);
}

static void tell(struct count *n)
{
	struct json *status = json_new_object();
	int64_t allowed = n->healthy - n->desired;

	if (allowed < 0 || n->bad || n->expected <= 0)
		allowed = 0;
	json_set_i64(status, "currentHealthy", n->healthy);
	json_set_i64(status, "desiredHealthy", n->desired);
	json_set_i64(status, "expectedPods", n->expected);
	json_set_i64(status, "disruptionsAllowed", allowed);
	json_set_i64(status, "observedGeneration", object_generation(n->budget));
	set_disrupted(n, status);
	set_condition(n, status, allowed);
	if (n->bad)
		work_event(n->work->controller, n->budget, "Warning",
			   "CalculateExpectedPodCountFailed",
			   "Failed to calculate the number of expected pods: %s does not implement "
			   "the scale subresource",
			   n->bad);
	work_status(n->work, n->budget, status);
}

static void look(struct work *w)
{
	struct controller *c = w->controller;
	const struct object *budget = informer_get(budgets(c), w->namespace, w->name);
	struct count n = {.work = w, .budget = budget};

	if (budget && !budget->deleting) {
		n.disrupted = json_new_object();
		informer_each(controller_view(c, "", "pods"), budget->namespace, count_pod, &n);
		expect(&n);
		tell(&n);
		(void)json_free(n.disrupted);
	}
	work_end(w);
}

const struct controller_row disruption_row = {"disruption", begin, look, NULL};
