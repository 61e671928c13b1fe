/*
 * Horizontal pod autoscalers: the replicas of a target follow the load of its pods. One look asks
 * the nodes what the pods use, lets each metric say how many replicas it wants, lets the pace cut
 * that, writes the target's scale, and tells in the status what was found. It looks again a moment
 * later, so that a step of load is answered within seconds; without autoscalers nothing is
 * measured.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/autoscaler_priv.h"
#include "ground/base/mem.h"
#include "ground/format/quantity.h"

#define LOOK_MS	  1000 /* beside the second that the nodes measure */
#define TOLERANCE 0.1

struct autoscaler {
	struct sample *sample;
	struct map paces; /* key -> struct pace * */
};

/* What one look found; the status is told at its end. */
struct look {
	int64_t current, desired;
	struct json *status;
	char why[192]; /* of a change */
};

static struct informer *autoscalers(const struct controller *c)
{
	return controller_view(c, "autoscaling", "horizontalpodautoscalers");
}

static const struct object *mine(const struct work *w)
{
	return informer_get(autoscalers(w->controller), w->namespace, w->name);
}

/* Its own status is no news. */
static void on_autoscaler(void *ctx, const struct object *now, const struct object *before)
{
	if (!now || !before || object_generation(now) != object_generation(before))
		controller_add(ctx, now ? now : before);
}

static void begin(struct controller *c)
{
	struct autoscaler *a = mem_new(struct autoscaler);

	c->own = a;
	a->sample = sample_new(c);
	for (const struct scalable *row = scalables; row->kind; row++)
		(void)controller_view(c, row->group, row->resource);
	(void)controller_view(c, "", "nodes");
	(void)controller_view(c, "", "pods");
	informer_on(autoscalers(c), on_autoscaler, c);
}

static void end(struct controller *c)
{
	struct autoscaler *a = c->own;

	a->sample = sample_free(a->sample);
	map_each (&a->paces, it)
		(void)pace_free(it->value);
	map_done(&a->paces);
	free(a);
	c->own = NULL;
}

static struct pace *pace_of(const struct work *w)
{
	struct autoscaler *a = w->controller->own;
	struct pace *p = map_get(&a->paces, w->key);

	if (!p) {
		p = pace_new();
		(void)map_put(&a->paces, w->key, p);
	}
	return p;
}

static const struct object *target_of(const struct work *w, const struct object *scaler)
{
	const struct json *ref = json_get(tree_spec(scaler), "scaleTargetRef");

	return scalable_find(w->controller, json_get_text(ref, "kind"), scaler->namespace,
			     json_get_text(ref, "name"));
}

/* -- telling ----------------------------------------------------------------------------------- */

static void say(const struct work *w, const struct object *scaler, const char *type, bool value,
		const char *reason, const char *message)
{
	struct look *l = w->own;
	char now[TIME_CHARS];

	condition_set(l->status, tree_status(scaler), type, value ? "True" : "False", reason,
		      message, controller_now(w->controller, now));
}

static void tell(struct work *w)
{
	struct look *l = w->own;
	const struct object *scaler = mine(w);

	if (scaler) {
		json_set_i64(l->status, "observedGeneration", object_generation(scaler));
		json_set_i64(l->status, "currentReplicas", l->current);
		json_set_i64(l->status, "desiredReplicas", l->desired);
		w->again_ms = LOOK_MS;
		work_status(w, scaler, l->status);
	} else {
		(void)json_free(l->status);
	}
	l->status = NULL;
	work_end(w);
}

static void rescaled(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;
	struct look *l = w->own;
	const struct object *scaler = mine(w);
	auto_free char *done =
		mem_printf("the HPA controller was able to update the target scale to %lld",
			   (long long)l->desired);
	char now[TIME_CHARS];

	if (scaler && o->error) {
		auto_free char *why = mem_printf("the HPA controller was unable to update the "
						 "target scale: %s",
						 o->error->text);

		say(w, scaler, "AbleToScale", false, "FailedUpdateScale", why);
		work_event(w->controller, scaler, "Warning", "FailedRescale",
			   "New size: %lld; reason: %s; error: %s", (long long)l->desired, l->why,
			   o->error->text);
		l->desired = l->current;
	} else if (scaler) {
		say(w, scaler, "AbleToScale", true, "SucceededRescale", done);
		json_set_text(l->status, "lastScaleTime", controller_now(w->controller, now));
		pace_scaled(pace_of(w), controller_now_s(w->controller), l->current, l->desired);
		work_event(w->controller, scaler, "Normal", "SuccessfulRescale",
			   "New size: %lld; reason: %s", (long long)l->desired, l->why);
	}
	work_called(w, o);
}

static void rescale(struct work *w, const struct object *target)
{
	const struct look *l = w->own;
	struct json *patch = json_new_object();

	assert(l->desired != l->current);
	json_set_i64(json_make_object(patch, "spec"), "replicas", l->desired);
	w->then = tell;
	work_call(w);
	client_patch(
		&w->controller->client,
		&(struct client_target){target->kind, target->namespace, target->name, "scale"},
		PATCH_MERGE, patch, NULL, rescaled, w);
	work_end(w);
}

static void say_found(const struct work *w, const struct object *scaler)
{
	say(w, scaler, "AbleToScale", true, "SucceededGetScale",
	    "the HPA controller was able to get the target's current scale");
}

/* -- judging ----------------------------------------------------------------------------------- */

/* What all metrics together want. */
struct verdict {
	int64_t replicas;
	char name[128]; /* of the metric that wants most */
	size_t good;
	const char *bad; /* the first reason; NULL: none */
	struct err why;
};

static double tolerance_of(const struct object *scaler, const char *side)
{
	const struct json *v =
		json_get(json_get(json_get(tree_spec(scaler), "behavior"), side), "tolerance");
	struct quantity q;
	struct err e;

	return v && quantity_parse(json_str(v), &q, &e) == 0 ? (double)quantity_milli(&q) / 1000
							     : TOLERANCE;
}

static void gather(const struct work *w, const struct object *scaler, struct load_answer *a,
		   struct verdict *v)
{
	struct look *l = w->own;

	if (a->bad) {
		work_event(w->controller, scaler, "Warning", a->bad, "%s", a->why.text);
		if (!v->bad) {
			v->bad = a->bad;
			v->why = a->why;
		}
		return;
	}
	json_append(json_make_array(l->status, "currentMetrics"), a->status);
	if (v->good++ == 0 || a->replicas > v->replicas) {
		v->replicas = a->replicas;
		memcpy(v->name, a->name, sizeof(v->name));
	}
}

static void weigh(const struct work *w, const struct object *scaler, const struct owned *pods,
		  struct verdict *v)
{
	const struct look *l = w->own;
	const struct json *metrics = json_get(tree_spec(scaler), "metrics");

	for (size_t i = 0; i < json_len(metrics); i++) {
		struct load_question q = {
			.controller = w->controller,
			.sample = ((struct autoscaler *)w->controller->own)->sample,
			.metric = json_at(metrics, i),
			.pods = pods,
			.current = l->current,
			.up = tolerance_of(scaler, "scaleUp"),
			.down = tolerance_of(scaler, "scaleDown"),
		};
		struct load_answer a;

		load_ask(&q, &a);
		gather(w, scaler, &a, v);
	}
}

static bool take_pod(void *ctx, const struct object *pod)
{
	struct owned *l = ctx;

	mem_grow(l->list, l->n + 1, l->room);
	l->list[l->n++] = object_ref(pod);
	return true;
}

struct taking {
	const struct selector *selector;
	struct owned *pods;
};

static bool take_if_selected(void *ctx, const struct object *pod)
{
	const struct taking *t = ctx;

	return object_selected(pod, t->selector) ? take_pod(t->pods, pod) : true;
}

/* Whether the metrics could be weighed; the conditions say why not. */
static bool judge(const struct work *w, const struct object *scaler, const struct object *target,
		  struct verdict *v)
{
	auto_arena struct arena a = {0};
	auto_owned struct owned pods = {0};
	struct selector selector = {0};
	struct taking t = {&selector, &pods};
	auto_free char *text = NULL;

	if (selector_of_object(target, &a, &selector) < 0 || selector.n == 0) {
		say(w, scaler, "ScalingActive", false, "InvalidSelector",
		    "the HPA target's scale is missing a selector");
		return false;
	}
	informer_each(controller_view(w->controller, "", "pods"), w->namespace, take_if_selected,
		      &t);
	weigh(w, scaler, &pods, v);
	if (v->good == 0 || (v->bad && v->replicas < ((struct look *)w->own)->current)) {
		text = mem_printf("the HPA was unable to compute the replica count: %s",
				  v->why.text);
		say(w, scaler, "ScalingActive", false, v->bad ? v->bad : "InvalidMetricSourceType",
		    text);
		work_event(w->controller, scaler, "Warning", "FailedComputeMetricsReplicas",
			   "invalid metrics (%zu invalid out of %zu), first error is: %s",
			   json_len(json_get(tree_spec(scaler), "metrics")) - v->good,
			   json_len(json_get(tree_spec(scaler), "metrics")), v->why.text);
		return false;
	}
	text = mem_printf("the HPA was able to successfully calculate a replica count from %s",
			  v->name);
	say(w, scaler, "ScalingActive", true, "ValidMetricFound", text);
	return true;
}

static void decide(const struct work *w, const struct object *scaler, const struct verdict *v)
{
	struct look *l = w->own;
	struct pace_question q = {tree_spec(scaler), controller_now_s(w->controller), l->current,
				  v->replicas};
	struct pace_answer a;

	pace_ask(pace_of(w), &q, &a);
	l->desired = a.replicas;
	(void)snprintf(l->why, sizeof(l->why), "%s",
		       l->desired < l->current ? "All metrics below target" : v->name);
	if (l->desired > l->current)
		(void)snprintf(l->why, sizeof(l->why), "%s above target", v->name);
	say(w, scaler, "AbleToScale", true, a.able, a.able_message);
	say(w, scaler, "ScalingLimited", a.limited, a.limit, a.limit_message);
}

/* The nodes have measured. */
static void weighed(struct work *w)
{
	struct look *l = w->own;
	const struct object *scaler = mine(w), *target = scaler ? target_of(w, scaler) : NULL;
	struct verdict v = {0};

	if (!target) {
		tell(w);
		return;
	}
	l->current = l->desired = json_get_i64(tree_spec(target), "replicas", 1);
	if (judge(w, scaler, target, &v))
		decide(w, scaler, &v);
	else
		say_found(w, scaler);
	if (l->desired != l->current)
		rescale(w, target);
	else
		tell(w);
}

/* What needs no metrics: it was switched off, or somebody scaled it out of its bounds. */
static bool is_settled(const struct work *w, const struct object *scaler)
{
	const struct json *spec = tree_spec(scaler);
	int64_t least = json_get_i64(spec, "minReplicas", 1);
	int64_t most = json_get_i64(spec, "maxReplicas", 1);
	struct look *l = w->own;

	l->desired = l->current;
	if (l->current == 0 && least != 0) {
		say(w, scaler, "ScalingActive", false, "ScalingDisabled",
		    "scaling is disabled since the replica count of the target is zero");
		return true;
	}
	if (l->current > most) {
		l->desired = most;
		(void)snprintf(l->why, sizeof(l->why),
			       "Current number of replicas above Spec.MaxReplicas");
	} else if (l->current < least) {
		l->desired = least;
		(void)snprintf(l->why, sizeof(l->why),
			       "Current number of replicas below Spec.MinReplicas");
	}
	return l->desired != l->current;
}

static void fail_scale(struct work *w, const struct object *scaler)
{
	const struct json *ref = json_get(tree_spec(scaler), "scaleTargetRef");
	const char *kind = json_get_text(ref, "kind"), *name = json_get_text(ref, "name");
	auto_free char *why = mem_printf("the HPA controller was unable to get the target's "
					 "current scale: %s \"%s\" not found",
					 kind ? kind : "", name ? name : "");

	say(w, scaler, "AbleToScale", false, "FailedGetScale", why);
	work_event(w->controller, scaler, "Warning", "FailedGetScale", "%s \"%s\" not found",
		   kind ? kind : "", name ? name : "");
	tell(w);
}

static void look(struct work *w)
{
	struct autoscaler *a = w->controller->own;
	const struct object *scaler = mine(w), *target;
	struct look *l;

	if (!scaler || scaler->deleting) {
		(void)pace_free(map_remove(&a->paces, w->key));
		work_end(w);
		return;
	}
	w->own = l = mem_new(struct look);
	l->status = json_new_object();
	target = target_of(w, scaler);
	if (!target) {
		fail_scale(w, scaler);
		return;
	}
	l->current = json_get_i64(tree_spec(target), "replicas", 1);
	if (!is_settled(w, scaler)) {
		w->then = weighed;
		sample_ask(a->sample, w);
	} else if (l->desired != l->current) {
		rescale(w, target);
	} else {
		say_found(w, scaler);
		tell(w);
	}
}

const struct controller_row autoscaler_row = {"horizontal-pod-autoscaler", begin, look, end};
