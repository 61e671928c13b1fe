/*
 * Deployments: replica sets, one for each pod template that was wanted, scaled so that today's
 * replaces the others. One look takes one step; what it changes comes back as an event, which is
 * the next look. Status is told at the end of each.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/deployment_priv.h"
#include "ground/base/mem.h"

static struct informer *deployments(const struct controller *c)
{
	return controller_view(c, "apps", "deployments");
}

static struct informer *sets(const struct controller *c)
{
	return controller_view(c, "apps", "replicasets");
}

static void on_set(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;

	controller_on_dependent(c, deployments(c), "Deployment", now, before);
}

/* A pod that ended or went: recreation waits for that. */
static void on_pod(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	const struct object *pod = now ? now : before, *set;

	if ((now && pod_is_active(now)) || !text_eq(pod->owner_kind, "ReplicaSet"))
		return;
	set = informer_get(sets(c), pod->namespace, pod->owner_name);
	if (set && text_eq(set->uid, pod->owner_uid))
		on_set(c, set, NULL);
}

static void begin(struct controller *c)
{
	informer_on(deployments(c), controller_on_self, c);
	informer_on(sets(c), on_set, c);
	informer_on(controller_view(c, "", "pods"), on_pod, c);
}

/* -- a look ------------------------------------------------------------------------------------ */

int64_t set_replicas(const struct object *set)
{
	return json_get_i64(tree_spec(set), "replicas", 1);
}

int64_t set_available(const struct object *set)
{
	return json_get_i64(tree_status(set), "availableReplicas", 0);
}

int64_t rollout_total(const struct rollout *r)
{
	int64_t n = 0;

	for (size_t i = 0; i < r->sets.n; i++)
		n += set_replicas(r->sets.list[i]);
	return n;
}

static int by_age(const void *x, const void *y)
{
	const struct object *const *a = x, *const *b = y;
	int64_t when_a = tree_created_s(*a), when_b = tree_created_s(*b);

	if (when_a != when_b)
		return when_a < when_b ? -1 : 1;
	return strcmp((*a)->name, (*b)->name);
}

/* The same pods, whichever set they are of. */
static bool same_template(const struct json *a, const struct json *b)
{
	auto_json struct json *x = json_copy(a), *y = json_copy(b);

	json_remove(json_get(json_get(x, "metadata"), "labels"), HASH_LABEL);
	json_remove(json_get(json_get(y, "metadata"), "labels"), HASH_LABEL);
	return json_equal(x, y);
}

static void resolve(struct rollout *r)
{
	const struct json *strategy = json_get(r->spec, "strategy");
	const struct json *rolling = json_get(strategy, "rollingUpdate");

	r->replicas = json_get_i64(r->spec, "replicas", 1);
	r->paused = json_get_bool(r->spec, "paused", false);
	r->recreate = text_eq(json_get_text(strategy, "type"), "Recreate");
	if (r->recreate)
		return;
	r->surge = tree_portion(json_get(rolling, "maxSurge"), r->replicas, true);
	r->unavailable = tree_portion(json_get(rolling, "maxUnavailable"), r->replicas, false);
	if (r->surge == 0 && r->unavailable == 0)
		r->unavailable = 1; /* or it would never end */
	if (r->unavailable > r->replicas)
		r->unavailable = r->replicas;
}

bool rollout_look(struct rollout *r, struct work *w, bool claim)
{
	const struct object *d = informer_get(deployments(w->controller), w->namespace, w->name);
	auto_arena struct arena a = {0};
	struct selector selector = {0};

	*r = (struct rollout){.work = w};
	if (!d || selector_of_object(d, &a, &selector) < 0 || selector.n == 0)
		return false;
	r->deployment = object_ref(d);
	r->spec = tree_spec(d);
	resolve(r);
	owned_claim(claim ? w : NULL, d, sets(w->controller), &selector, &r->sets);
	if (r->sets.n)
		qsort(r->sets.list, r->sets.n, sizeof(struct object *), by_age);
	for (size_t i = 0; i < r->sets.n && !r->current; i++)
		if (same_template(json_get(tree_spec(r->sets.list[i]), "template"),
				  json_get(r->spec, "template")))
			r->current = r->sets.list[i];
	return true;
}

void rollout_done(struct rollout *r)
{
	owned_done(&r->sets);
	(void)object_unref(r->deployment);
	*r = (struct rollout){0};
}

void rollout_scale(struct rollout *r, const struct object *set, int64_t replicas)
{
	auto_free char *desired = mem_printf("%lld", (long long)r->replicas);
	auto_free char *most = mem_printf("%lld", (long long)r->replicas + r->surge);
	bool resize = set_replicas(set) != replicas;
	struct json *patch, *notes;

	if (!resize && text_eq(tree_annotation(set, DESIRED), desired) &&
	    text_eq(tree_annotation(set, MAX_REPLICAS), most))
		return;
	patch = json_new_object();
	notes = json_make_object(json_make_object(patch, "metadata"), "annotations");
	json_set_text(json_make_object(patch, "metadata"), "uid", set->uid);
	json_set_text(notes, DESIRED, desired);
	json_set_text(notes, MAX_REPLICAS, most);
	json_set_i64(json_make_object(patch, "spec"), "replicas", replicas);
	r->scaled = r->scaled || resize;
	work_patch(r->work, set, NULL, patch);
	if (resize)
		work_event(r->work->controller, r->deployment, "Normal", "ScalingReplicaSet",
			   "Scaled %s replica set %s from %lld to %lld",
			   replicas > set_replicas(set) ? "up" : "down", set->name,
			   (long long)set_replicas(set), (long long)replicas);
}

/* -- one key ----------------------------------------------------------------------------------- */

static void tell_status(struct work *w)
{
	struct rollout r;

	if (rollout_look(&r, w, false))
		rollout_status(&r);
	rollout_done(&r);
	work_end(w);
}

/* Whether spec.replicas changed since the sets were last scaled for it. */
static bool was_resized(const struct rollout *r)
{
	auto_free char *desired = mem_printf("%lld", (long long)r->replicas);

	for (size_t i = 0; i < r->sets.n; i++) {
		const char *was = tree_annotation(r->sets.list[i], DESIRED);

		if (set_replicas(r->sets.list[i]) > 0 && was && !text_eq(was, desired))
			return true;
	}
	return false;
}

/* Pausing and going on are told as a condition, so that a deadline does not run meanwhile. */
static bool note_pause(struct rollout *r)
{
	const struct json *old = tree_status(r->deployment);
	const struct json *have = condition_of(old, "Progressing");
	const char *reason = json_get_text(have, "reason");
	bool noted = text_eq(reason, "DeploymentPaused");
	struct json *status;
	char now[TIME_CHARS];

	if (!rollout_has_deadline(r) || text_eq(reason, "ProgressDeadlineExceeded") ||
	    noted == r->paused)
		return false;
	status = json_new_object();
	condition_set(status, old, "Progressing", "Unknown",
		      r->paused ? "DeploymentPaused" : "DeploymentResumed",
		      r->paused ? "Deployment is paused" : "Deployment is resumed",
		      controller_now(r->work->controller, now));
	work_status(r->work, r->deployment, status);
	return true;
}

static void act(struct rollout *r)
{
	if (r->deployment->deleting || note_pause(r))
		return;
	rollout_sync_revision(r);
	if (r->paused || was_resized(r)) {
		rollout_scale_all(r);
		if (r->paused)
			rollout_clean(r);
		return;
	}
	rollout_step(r);
}

static void look(struct work *w)
{
	struct rollout r;

	if (rollout_look(&r, w, true)) {
		w->then = tell_status;
		act(&r);
	}
	rollout_done(&r);
	work_end(w);
}

const struct controller_row deployment_row = {"deployment", begin, look, NULL};
