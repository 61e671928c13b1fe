/*
 * Replica sets and replication controllers: as many active pods as spec.replicas says. Pods are
 * made in batches that double while all goes well, so that a template that cannot become a pod
 * costs one request; too many go in an order that hurts least. The two kinds differ in their
 * selector's form only.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/pod.h"
#include "ground/base/mem.h"

#define BURST_MAX   500 /* pods that one look makes or deletes */
#define COST	    "controller.kubernetes.io/pod-deletion-cost"
#define BATCH_FIRST 1

struct sync {
	int64_t wanted, batch; /* still to make; next in one go */
	bool failed;
	bool deletes;
	struct err why; /* the last error */
};

static bool is_old(const struct controller *c)
{
	return c->row == &replicationcontroller_row;
}

static struct informer *sets(const struct controller *c)
{
	return is_old(c) ? controller_view(c, "", "replicationcontrollers")
			 : controller_view(c, "apps", "replicasets");
}

static const char *kind_name(const struct controller *c)
{
	return is_old(c) ? "ReplicationController" : "ReplicaSet";
}

static const struct object *mine(const struct work *w)
{
	return informer_get(sets(w->controller), w->namespace, w->name);
}

static void on_pod(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;

	controller_on_dependent(c, sets(c), kind_name(c), now, before);
}

static void begin(struct controller *c)
{
	informer_on(sets(c), controller_on_self, c);
	informer_on(controller_view(c, "", "pods"), on_pod, c);
}

/* -- which pods go first ----------------------------------------------------------------------- */

struct candidate {
	const struct object *pod;
	bool placed, ready;
	int phase; /* 0 pending, 1 unknown, 2 running */
	int64_t cost, ready_s, restarts, created_s;
	size_t neighbours; /* related pods on its node */
};

static struct candidate candidate_of(const struct controller *c, const struct object *o)
{
	const char *phase = object_value(o, "status.phase");
	const struct pod *p = pod_of(c, o);

	return (struct candidate){
		.pod = o,
		.placed = object_value(o, "spec.nodeName")[0] != '\0',
		.ready = p->ready,
		.phase = text_eq(phase, "Running")   ? 2
			 : text_eq(phase, "Unknown") ? 1
						     : 0,
		.cost = p->cost,
		.ready_s = p->ready_s,
		.restarts = p->restarts,
		.created_s = p->created_s,
	};
}

static int less(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

/* The first to go is the smallest: unplaced, pending, not ready, cheap, crowded, young. */
static int compare(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;
	int by[] = {
		less(a->placed, b->placed),
		less(a->phase, b->phase),
		less(a->ready, b->ready),
		less(a->cost, b->cost),
		less((int64_t)b->neighbours, (int64_t)a->neighbours),
		a->ready ? less(b->ready_s, a->ready_s) : 0,
		less(b->restarts, a->restarts),
		less(b->created_s, a->created_s),
		strcmp(a->pod->uid, b->pod->uid),
	};

	for (size_t i = 0; i < array_len(by); i++)
		if (by[i])
			return by[i];
	return 0;
}

struct node_count {
	const char *node;
	size_t n;
};

static bool count_on_node(void *ctx, const struct object *pod)
{
	struct node_count *c = ctx;

	if (pod_is_active(pod) && text_eq(object_value(pod, "spec.nodeName"), c->node))
		c->n++;
	return true;
}

struct neighbours {
	const struct informer *pods;
	struct node_count count;
};

static bool count_of_set(void *ctx, const struct object *set)
{
	struct neighbours *n = ctx;

	informer_each_owned(n->pods, set->uid, count_on_node, &n->count);
	return true;
}

/* Pods of this set, and of its siblings under one deployment, on the same node. */
static size_t neighbours_of(const struct controller *c, const struct object *set,
			    const struct object *pod)
{
	struct neighbours n = {controller_view(c, "", "pods"),
			       {object_value(pod, "spec.nodeName"), 0}};

	if (!n.count.node[0])
		return 0;
	if (set->owner_uid[0])
		informer_each_owned(sets(c), set->owner_uid, count_of_set, &n);
	else
		(void)count_of_set(&n, set);
	return n.count.n;
}

/* -- making and deleting ----------------------------------------------------------------------- */

static void remember(struct sync *s, const struct err *e)
{
	s->failed = true;
	s->why = *e;
}

static void created(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;
	struct sync *s = w->own;
	const struct object *set = mine(w);

	if (o->error)
		remember(s, o->error);
	if (set && o->error)
		work_event(w->controller, set, "Warning", "FailedCreate", "Error creating: %s",
			   o->error->text);
	else if (set && o->object)
		work_event(w->controller, set, "Normal", "SuccessfulCreate", "Created pod: %s",
			   o->object->name);
	work_called(w, o);
}

static void make_one(struct work *w, const struct object *set)
{
	auto_free char *prefix = mem_printf("%s-", set->name);
	struct json *pod = pod_of_template(json_get(tree_spec(set), "template"), prefix, set);

	work_call(w);
	client_create(&w->controller->client,
		      &(struct client_target){kind_of_resource("", "v1", "pods"), set->namespace},
		      pod, NULL, created, w);
}

static void deleted(void *ctx, const struct outcome *o)
{
	struct work *w = ctx;
	const struct object *set = mine(w);

	if (o->error && o->error->kind != ERR_NOT_FOUND)
		remember(w->own, o->error);
	else if (set && o->object)
		work_event(w->controller, set, "Normal", "SuccessfulDelete", "Deleted pod: %s",
			   o->object->name);
	work_called(w, o);
}

static void delete_some(struct work *w, const struct object *set, const struct owned *pods,
			size_t active, size_t n)
{
	struct candidate *list = mem_new_array(struct candidate, active);
	size_t at = 0;

	((struct sync *)w->own)->deletes = true;
	for (size_t i = 0; i < pods->n; i++)
		if (pod_is_active(pods->list[i]))
			list[at++] = candidate_of(w->controller, pods->list[i]);
	assert(at == active && n <= active);
	for (size_t i = 0; n < active && i < active; i++)
		list[i].neighbours = neighbours_of(w->controller, set, list[i].pod);
	qsort(list, active, sizeof(*list), compare);
	for (size_t i = 0; i < n; i++) {
		const struct object *pod = list[i].pod;

		work_call(w);
		client_delete(&w->controller->client,
			      &(struct client_target){pod->kind, pod->namespace, pod->name, NULL},
			      &(struct delete_options){.grace_s = -1, .uid = pod->uid}, deleted, w);
	}
	free(list);
}

/* -- status ------------------------------------------------------------------------------------ */

struct counts {
	int64_t active, labeled, ready, available, soonest_s;
};

static bool has_labels(const struct object *pod, const struct json *labels)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(labels, &it, &key, &value))
		if (!text_eq(object_label(pod, key), json_text(value)))
			return false;
	return true;
}

static struct counts count(const struct controller *c, const struct object *set,
			   const struct owned *pods)
{
	const struct json *spec = tree_spec(set);
	const struct json *labels =
		json_get(json_get(json_get(spec, "template"), "metadata"), "labels");
	int64_t min_ready = json_get_i64(spec, "minReadySeconds", 0), left;
	struct counts n = {0};

	for (size_t i = 0; i < pods->n; i++) {
		const struct object *pod = pods->list[i];

		if (!pod_is_active(pod))
			continue;
		n.active++;
		n.labeled += has_labels(pod, labels);
		n.ready += pod_of(c, pod)->ready;
		n.available += pod_available(c, pod, min_ready, &left);
		if (left > 0 && (!n.soonest_s || left < n.soonest_s))
			n.soonest_s = left;
	}
	return n;
}

static void set_failure(const struct work *w, const struct object *set, struct json *status)
{
	const struct sync *s = w->own;
	const struct json *have = condition_of(tree_status(set), "ReplicaFailure");
	char now[TIME_CHARS];

	if (s->failed && have) /* its message names a pod: it would never settle */
		return;
	if (s->failed)
		condition_set(status, tree_status(set), "ReplicaFailure", "True",
			      s->deletes ? "FailedDelete" : "FailedCreate", s->why.text,
			      controller_now(w->controller, now));
	else if (have)
		condition_remove(status, tree_status(set), "ReplicaFailure");
}

static void tell_status(struct work *w)
{
	struct controller *c = w->controller;
	const struct object *set = mine(w);
	auto_owned struct owned pods = {0};
	auto_arena struct arena a = {0};
	struct selector selector = {0};
	struct json *status;
	struct counts n;

	if (!set || selector_of_object(set, &a, &selector) < 0) {
		work_end(w);
		return;
	}
	owned_claim(NULL, set, controller_view(c, "", "pods"), &selector, &pods);
	n = count(c, set, &pods);
	status = json_new_object();
	json_set_i64(status, "replicas", n.active);
	tree_set_count(status, "fullyLabeledReplicas", n.labeled);
	tree_set_count(status, "readyReplicas", n.ready);
	tree_set_count(status, "availableReplicas", n.available);
	json_set_i64(status, "observedGeneration", object_generation(set));
	set_failure(w, set, status);
	w->again_ms = n.soonest_s * 1000;
	work_status(w, set, status);
	work_end(w);
}

/* -- one key ----------------------------------------------------------------------------------- */

static void make_batch(struct work *w)
{
	struct sync *s = w->own;
	const struct object *set = mine(w);
	int64_t n = s->batch < s->wanted ? s->batch : s->wanted;

	if (!set || set->deleting || s->failed || n <= 0) {
		tell_status(w);
		return;
	}
	s->wanted -= n;
	s->batch *= 2;
	w->then = make_batch;
	for (int64_t i = 0; i < n; i++)
		make_one(w, set);
	work_end(w);
}

static void look(struct work *w)
{
	const struct object *set = mine(w);
	auto_owned struct owned pods = {0};
	auto_arena struct arena a = {0};
	struct selector selector = {0};
	struct sync *s = mem_new(struct sync);
	int64_t want, active = 0;

	w->own = s;
	if (!set || selector_of_object(set, &a, &selector) < 0 || selector.n == 0) {
		work_end(w);
		return;
	}
	owned_claim(w, set, controller_view(w->controller, "", "pods"), &selector, &pods);
	for (size_t i = 0; i < pods.n; i++)
		active += pod_is_active(pods.list[i]);
	want = json_get_i64(tree_spec(set), "replicas", 1);
	w->then = tell_status;
	if (!set->deleting && active > want) {
		int64_t n = active - want < BURST_MAX ? active - want : BURST_MAX;

		delete_some(w, set, &pods, (size_t)active, (size_t)n);
	} else if (!set->deleting && active < want) {
		s->wanted = want - active < BURST_MAX ? want - active : BURST_MAX;
		s->batch = BATCH_FIRST;
		w->then = make_batch;
	}
	work_end(w);
}

const struct controller_row replicaset_row = {"replicaset", begin, look, NULL};
const struct controller_row replicationcontroller_row = {"replication", begin, look, NULL};
