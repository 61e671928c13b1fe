/*
 * Daemon sets: one pod on each node that its template fits, bound by the scheduler through the
 * pod's affinity. A look makes what is missing and deletes what is out of place; when nothing is,
 * it takes the next step of a rolling update.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/placement.h"
#include "cluster/controllers/pod.h"
#include "cluster/controllers/revision.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

#define BURST_MAX 250

struct spot { /* a node and the set's pods on it */
	const struct object *node;
	struct placement place;
	const struct object *old, *new; /* the oldest that live; of old templates, of today's */
	size_t pods;
	bool makes;
};

struct daemons {
	struct work *work;
	const struct object *set;
	const struct json *spec;
	struct json *pod_spec; /* with what is added */
	struct revisions revisions;
	struct owned pods;
	struct spot *spots;
	size_t n;
	int64_t surge, unavailable, desired, min_ready;
	size_t writes;
};

static struct informer *sets(const struct controller *c)
{
	return controller_view(c, "apps", "daemonsets");
}

static void on_dependent(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;

	controller_on_dependent(c, sets(c), "DaemonSet", now, before);
}

static bool add_each(void *ctx, const struct object *set)
{
	controller_add(ctx, set);
	return true;
}

/* Labels, taints: all sets look again. A heartbeat changes neither. */
static void on_node(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;

	if (now && before && json_equal(tree_spec(now), tree_spec(before)) &&
	    json_equal(json_get(json_get(object_tree(now), "metadata"), "labels"),
		       json_get(json_get(object_tree(before), "metadata"), "labels")))
		return;
	informer_each(sets(c), NULL, add_each, c);
}

static void begin(struct controller *c)
{
	informer_on(sets(c), controller_on_self, c);
	informer_on(controller_view(c, "", "pods"), on_dependent, c);
	informer_on(controller_view(c, "apps", "controllerrevisions"), on_dependent, c);
	informer_on(controller_view(c, "", "nodes"), on_node, c);
}

/* -- a look ------------------------------------------------------------------------------------ */

static bool is_new(const struct daemons *d, const struct object *pod)
{
	return d->revisions.current &&
	       text_eq(object_label(pod, REVISION_HASH_LABEL), revision_hash(d->revisions.current));
}

static bool is_available(const struct daemons *d, const struct object *pod)
{
	int64_t left;
	bool is = pod_available(d->work->controller, pod, d->min_ready, &left);

	if (left > 0 && (!d->work->again_ms || left * 1000 < d->work->again_ms))
		d->work->again_ms = left * 1000;
	return is;
}

static bool add_spot(void *ctx, const struct object *node)
{
	struct daemons *d = ctx;

	d->spots[d->n] = (struct spot){.node = node, .place = placement_of(d->pod_spec, node)};
	d->desired += d->spots[d->n].place.run;
	d->n++;
	return true;
}

static struct spot *spot_of(const struct daemons *d, const struct object *pod)
{
	const char *node = placement_node(pod);

	for (size_t i = 0; i < d->n; i++)
		if (text_eq(d->spots[i].node->name, node))
			return &d->spots[i];
	return NULL;
}

static bool has_ended(const struct object *pod)
{
	return text_eq(object_value(pod, "status.phase"), "Failed") ||
	       text_eq(object_value(pod, "status.phase"), "Succeeded");
}

static bool daemons_look(struct daemons *d, struct work *w, const struct object *set, bool claim)
{
	struct informer *nodes = controller_view(w->controller, "", "nodes");
	const struct json *rolling;
	auto_arena struct arena a = {0};
	struct selector s = {0};

	*d = (struct daemons){.work = w, .set = set, .spec = tree_spec(set)};
	if (selector_of_object(set, &a, &s) < 0 || s.n == 0)
		return false;
	if (claim)
		revisions_look(w, set, &s, &d->revisions);
	else
		owned_claim(NULL, set,
			    controller_view(w->controller, "apps", "controllerrevisions"), &s,
			    &d->revisions.all);
	owned_claim(claim ? w : NULL, set, controller_view(w->controller, "", "pods"), &s,
		    &d->pods);
	d->pod_spec = json_copy(json_get(json_get(d->spec, "template"), "spec"));
	placement_tolerate(d->pod_spec);
	d->min_ready = json_get_i64(d->spec, "minReadySeconds", 0);
	d->spots = mem_new_array(struct spot, informer_count(nodes) + 1);
	informer_each(nodes, NULL, add_spot, d);
	rolling = json_get(json_get(d->spec, "updateStrategy"), "rollingUpdate");
	d->surge = tree_portion(json_get(rolling, "maxSurge"), d->desired, true);
	d->unavailable = tree_portion(json_get(rolling, "maxUnavailable"), d->desired, true);
	if (d->surge == 0 && d->unavailable == 0)
		d->unavailable = 1;
	return true;
}

static void daemons_done(struct daemons *d)
{
	revisions_done(&d->revisions);
	owned_done(&d->pods);
	(void)json_free(d->pod_spec);
	free(d->spots);
}

/* -- making and deleting ----------------------------------------------------------------------- */

static void delete_pod(struct daemons *d, const struct object *pod)
{
	if (pod->deleting || d->writes >= BURST_MAX)
		return;
	d->writes++;
	work_event(d->work->controller, d->set, "Normal", "SuccessfulDelete", "Deleted pod: %s",
		   pod->name);
	work_delete(d->work, pod);
}

static void created(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;
	const struct object *set = informer_get(sets(w->controller), w->namespace, w->name);

	if (set && o->error)
		work_event(w->controller, set, "Warning", "FailedCreate", "Error creating: %s",
			   o->error->text);
	else if (set && o->object)
		work_event(w->controller, set, "Normal", "SuccessfulCreate", "Created pod: %s",
			   o->object->name);
	work_called(w, o);
}

static void make_pod(struct daemons *d, struct spot *s)
{
	auto_free char *prefix = mem_printf("%s-", d->set->name);
	struct json *pod, *spec;

	if (s->makes || d->writes >= BURST_MAX || !d->revisions.current)
		return;
	s->makes = true;
	d->writes++;
	pod = pod_of_template(json_get(d->spec, "template"), prefix, d->set);
	spec = json_copy(d->pod_spec);
	placement_pin(spec, s->node->name);
	json_set(pod, "spec", spec);
	json_set_text(json_make_object(json_get(pod, "metadata"), "labels"), REVISION_HASH_LABEL,
		      revision_hash(d->revisions.current));
	work_call(d->work);
	client_create(&d->work->controller->client,
		      &(struct client_target){view_kind("", "pods"), d->set->namespace}, pod, NULL,
		      created, d->work);
}

/* One of several on a node stays: the oldest of each template. */
static void keep_one(struct daemons *d, const struct object **kept, const struct object *pod)
{
	const struct object *have = *kept;

	if (!have) {
		*kept = pod;
		return;
	}
	if (have->deleting || (!pod->deleting && tree_created_s(pod) < tree_created_s(have))) {
		*kept = pod;
		pod = have;
	}
	delete_pod(d, pod);
}

static void place_pod(struct daemons *d, const struct object *pod)
{
	struct spot *s = spot_of(d, pod);

	if (!s) { /* its node is gone; what was bound there is the collector of pods' */
		if (!object_value(pod, "spec.nodeName")[0])
			delete_pod(d, pod);
		return;
	}
	s->pods++;
	if (!s->place.stay) {
		delete_pod(d, pod);
	} else if (has_ended(pod)) {
		if (!pod->deleting)
			work_event(d->work->controller, d->set, "Warning", "FailedDaemonPod",
				   "Found failed daemon pod %s/%s on node %s, will try to kill it",
				   pod->namespace, pod->name, s->node->name);
		delete_pod(d, pod);
	} else {
		keep_one(d, is_new(d, pod) ? &s->new : &s->old, pod);
	}
}

static void manage(struct daemons *d)
{
	for (size_t i = 0; i < d->pods.n; i++)
		place_pod(d, d->pods.list[i]);
	for (size_t i = 0; i < d->n; i++) {
		struct spot *s = &d->spots[i];

		if (s->place.run && s->pods == 0)
			make_pod(d, s);
		else if (s->old && s->new && d->surge == 0)
			delete_pod(d, s->old);
	}
}

/* -- a rolling update -------------------------------------------------------------------------- */

static void roll(struct daemons *d)
{
	int64_t budget = d->unavailable;

	for (size_t i = 0; i < d->n; i++) {
		const struct spot *s = &d->spots[i];
		const struct object *pod = s->new ? s->new : s->old;

		if (s->place.run && (!pod || pod->deleting || !is_available(d, pod)))
			budget--;
	}
	for (size_t i = 0; i < d->n; i++) {
		const struct spot *s = &d->spots[i];

		if (!s->place.run || s->new || !s->old || s->old->deleting)
			continue;
		if (!is_available(d, s->old)) /* it is counted already */
			delete_pod(d, s->old);
		else if (budget-- > 0)
			delete_pod(d, s->old);
	}
}

static void roll_with_surge(struct daemons *d)
{
	int64_t budget = d->surge;

	for (size_t i = 0; i < d->n; i++) {
		const struct spot *s = &d->spots[i];

		if (!s->old || !s->new)
			continue;
		if (is_available(d, s->new))
			delete_pod(d, s->old);
		else
			budget--;
	}
	for (size_t i = 0; i < d->n; i++) {
		struct spot *s = &d->spots[i];

		if (!s->place.run || s->new || !s->old)
			continue;
		if (s->old->deleting || !is_available(d, s->old) || budget-- > 0)
			make_pod(d, s);
	}
}

static bool lives(void *ctx, const struct object *revision)
{
	const struct daemons *d = ctx;

	for (size_t i = 0; i < d->pods.n; i++)
		if (text_eq(object_label(d->pods.list[i], REVISION_HASH_LABEL),
			    revision_hash(revision)))
			return true;
	return false;
}

/* -- status ------------------------------------------------------------------------------------ */

static struct json *status_of(const struct daemons *d)
{
	int64_t current = 0, wrong = 0, ready = 0, available = 0, updated = 0;
	struct json *status = json_new_object();

	for (size_t i = 0; i < d->n; i++) {
		const struct spot *s = &d->spots[i];
		const struct object *pod = s->new ? s->new : s->old;

		if (s->pods > 0 && !s->place.run)
			wrong++;
		if (s->pods > 0 && s->place.run)
			current++;
		if (!s->place.run || !pod)
			continue;
		ready += pod_of(d->work->controller, pod)->ready;
		available += is_available(d, pod);
		updated += s->new != NULL;
	}
	json_set_i64(status, "currentNumberScheduled", current);
	json_set_i64(status, "numberMisscheduled", wrong);
	json_set_i64(status, "desiredNumberScheduled", d->desired);
	json_set_i64(status, "numberReady", ready);
	tree_set_count(status, "updatedNumberScheduled", updated);
	tree_set_count(status, "numberAvailable", available);
	tree_set_count(status, "numberUnavailable", d->desired - available);
	json_set_i64(status, "observedGeneration", object_generation(d->set));
	return status;
}

static void find_current(struct daemons *d)
{
	size_t n = d->revisions.all.n;

	d->revisions.current = n ? d->revisions.all.list[n - 1] : NULL;
	for (size_t i = 0; i < n; i++)
		if (revision_number(d->revisions.all.list[i]) >
		    revision_number(d->revisions.current))
			d->revisions.current = d->revisions.all.list[i];
}

static void count_pod(struct daemons *d, const struct object *pod)
{
	struct spot *s = spot_of(d, pod);
	const struct object **at;

	if (!s)
		return;
	s->pods++;
	at = is_new(d, pod) ? &s->new : &s->old;
	if (!*at)
		*at = pod;
}

static void tell_status(struct work *w)
{
	const struct object *set = informer_get(sets(w->controller), w->namespace, w->name);
	struct daemons d;

	if (set && daemons_look(&d, w, set, false)) {
		find_current(&d);
		for (size_t i = 0; i < d.pods.n; i++)
			if (!d.pods.list[i]->deleting)
				count_pod(&d, d.pods.list[i]);
		work_status(w, set, status_of(&d));
		daemons_done(&d);
	}
	work_end(w);
}

static void look(struct work *w)
{
	const struct object *set = informer_get(sets(w->controller), w->namespace, w->name);
	struct daemons d;

	if (!set || set->deleting || !daemons_look(&d, w, set, true)) {
		work_end(w);
		return;
	}
	w->then = tell_status;
	if (d.revisions.current) {
		manage(&d);
		if (d.writes == 0 &&
		    !text_eq(json_get_text(json_get(d.spec, "updateStrategy"), "type"), "OnDelete"))
			(d.surge ? roll_with_surge : roll)(&d);
		revisions_clean(w, set, &d.revisions, lives, &d);
	}
	daemons_done(&d);
	work_end(w);
}

const struct controller_row daemonset_row = {"daemon-set", begin, look, NULL};
