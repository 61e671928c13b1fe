/*
 * The scheduler's life: what is known follows from events; pods without a node wait in the queue
 * and are looked at in rounds, so that the bindings of a round are committed together. A place is
 * taken in memory at once and given back when the binding fails. A round ends after a moment, so
 * that the loop goes on.
 */
#include "cluster/scheduler/scheduler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

#define SCHEDULER_MAGIC 0x53434844u
#define SCHEDULER_NAME	"default-scheduler"
#define IN_FLIGHT_MAX	2048 /* bindings that are not durable yet */
/* With more pods than this under way, those that go well are no news: the flood of events would
 * cost as much as the bindings. Kubernetes drops them, too. */
#define CROWD	 1000
#define ROUND_NS (2 * 1000000ll) /* of one turn of the loop */

static void wake(struct scheduler *s);

/* Noted for the next round: a flood of events is one look at those aside. */
static void tell_queue(struct scheduler *s, unsigned events)
{
	assert((events & ~(unsigned)QUEUE_ANY) == 0);
	s->events |= events;
	wake(s);
}

/* -- what is known ----------------------------------------------------------------------------- */

static void node_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct scheduler *s = ctx;

	if (!now)
		snapshot_forget_node(s, before->name);
	else if (snapshot_node(s, now))
		tell_queue(s, QUEUE_NODE);
}

static void volume_changed(void *ctx, const struct object *now, const struct object *before)
{
	(void)now;
	(void)before;
	tell_queue(ctx, QUEUE_VOLUME);
}

static void namespace_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct scheduler *s = ctx;

	(void)now;
	(void)before;
	s->epoch++;
	tell_queue(s, QUEUE_POD_PLACED | QUEUE_POD_GONE);
}

static bool is_over(const struct object *o)
{
	const char *phase = object_value(o, "status.phase");

	return text_eq(phase, "Succeeded") || text_eq(phase, "Failed");
}

static bool is_ours(const struct object *o)
{
	return !object_value(o, "spec.nodeName")[0] && !o->deleting && !is_over(o) &&
	       text_eq(object_value(o, "spec.schedulerName"), SCHEDULER_NAME);
}

static void dequeue(struct scheduler *s, struct waiting *w)
{
	class_drop(s, w->class);
	queue_remove(s->queue, w);
}

static void enqueue(struct scheduler *s, const char *key, const struct object *pod)
{
	const struct json *tree = object_tree(pod);
	struct waiting *w = queue_get(s->queue, key);
	struct pod_class *c;

	if (json_len(json_get(json_get(tree, "spec"), "schedulingGates"))) {
		if (w)
			dequeue(s, w);
		tell_gated(s, pod);
		return;
	}
	c = class_of(s, tree);
	if (!w) {
		queue_add(s->queue, key, c->priority)->class = c;
	} else if (w->class == c) {
		class_drop(s, c);
		return;
	} else {
		class_drop(s, w->class);
		w->class = c;
		queue_wake(s->queue, w);
	}
	wake(s);
}

static bool same_labels(const struct object *a, const struct object *b)
{
	const char *p = a->labels, *q = b->labels;

	for (; *p && strcmp(p, q) == 0; p += strlen(p) + 1, q += strlen(q) + 1)
		;
	return *p == *q;
}

static void has_node(struct scheduler *s, const char *key, const struct object *now,
		     const struct object *before, const char *node)
{
	struct pod_info *p = map_get(&s->placed, key);
	struct waiting *w = queue_get(s->queue, key);
	struct pod_class *c;

	if (w)
		dequeue(s, w);
	preempt_forget(s, key);
	if (p && text_eq(p->node, node) && (!before || same_labels(now, before))) {
		p->leaving = now->deleting;
		if (before && !object_value(before, "spec.nodeName")[0])
			tell_queue(s, QUEUE_POD_PLACED);
		return;
	}
	(void)snapshot_unplace(s, key);
	c = class_of(s, object_tree(now));
	snapshot_place(s, key, c, node);
	class_drop(s, c);
	((struct pod_info *)map_get(&s->placed, key))->leaving = now->deleting;
	tell_queue(s, QUEUE_POD_PLACED);
}

static void pod_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct scheduler *s = ctx;
	const struct object *o = now ? now : before;
	const char *node = object_value(o, "spec.nodeName");
	char key[OBJECT_KEY_MAX];
	struct waiting *w;

	object_key(o, key);
	w = queue_get(s->queue, key);
	if (!now || is_over(now)) {
		if (w)
			dequeue(s, w);
		preempt_forget(s, key);
		if (snapshot_unplace(s, key))
			tell_queue(s, QUEUE_POD_GONE);
	} else if (node[0]) {
		has_node(s, key, now, before, node);
	} else if (is_ours(now)) {
		if (!map_get(&s->placed, key)) /* it is being bound */
			enqueue(s, key, now);
	} else if (w) {
		dequeue(s, w);
		preempt_forget(s, key);
	}
}

/* -- binding ----------------------------------------------------------------------------------- */

struct binding {
	struct scheduler *scheduler;
	char *key, *node;
};

static void bound(void *ctx, const struct outcome *o)
{
	struct binding *b = ctx;
	struct scheduler *s = b->scheduler;

	assert(s->magic == SCHEDULER_MAGIC && s->in_flight > 0);
	s->in_flight--;
	if (o->error) {
		const struct object *pod = informer_get_key(s->pods, b->key);

		log_debug("pod %s: %s", b->key, o->error->text);
		/* unless somebody else has put it on a node */
		if (!(pod && object_value(pod, "spec.nodeName")[0]) && snapshot_unplace(s, b->key))
			tell_queue(s, QUEUE_POD_GONE);
		if (pod && is_ours(pod))
			enqueue(s, b->key, pod);
	} else if (s->in_flight + queue_count(s->queue) < CROWD) {
		recorder_tell_of(&s->recorder, o->object, "Normal", "Scheduled",
				 "Successfully assigned %s to %s", b->key, b->node);
	}
	free(b->key);
	free(b->node);
	free(b);
	wake(s);
}

static void bind(struct scheduler *s, const struct object *pod, struct waiting *w,
		 const struct node_info *n)
{
	struct json *binding = json_new_object(), *target = json_new_object();
	struct binding *b = mem_new(struct binding);

	*b = (struct binding){s, mem_dup_text(w->key), mem_dup_text(n->name)};
	json_set_text(target, "kind", "Node");
	json_set_text(target, "name", n->name);
	json_set(binding, "target", target);
	snapshot_place(s, w->key, w->class, n->name);
	preempt_forget(s, w->key);
	dequeue(s, w);
	s->in_flight++;
	client_create(&s->client,
		      &(struct client_target){pod->kind, pod->namespace, pod->name, "binding"},
		      binding, NULL, bound, b);
}

/* -- looking ----------------------------------------------------------------------------------- */

/* The node that was cleared for it, when it fits there now. */
static struct node_info *nominated(struct scheduler *s, const struct waiting *w)
{
	struct node_info *n = preempt_nominated(s, w->key);
	struct ask q;

	if (!n)
		return NULL;
	ask_begin(&q, s, w->class);
	if (filter_node(&q, n, NULL))
		n = NULL;
	ask_done(&q);
	return n;
}

static void look(struct scheduler *s, struct waiting *w)
{
	const struct object *pod = informer_get_key(s->pods, w->key);
	auto_strbuf struct strbuf why = {0}, help = {0};
	struct node_info *n;
	unsigned helped_by = 0;

	if (!pod || !is_ours(pod)) {
		dequeue(s, w);
		return;
	}
	preempt_lift(s, w->key, true);
	n = nominated(s, w);
	if (!n)
		n = pick_node(s, w->class, &why, &help, &helped_by);
	if (n) {
		bind(s, pod, w, n);
		return;
	}
	preempt_lift(s, w->key, false);
	if (s->nodes_n && preempt_for(s, pod, w->class, &why))
		tell_nominated(s, pod, preempt_nominated(s, w->key)->name);
	if (help.n)
		strbuf_printf(&why, " It would fit with requests for %s.", strbuf_text(&help));
	queue_set_aside(s->queue, w, helped_by, loop_now_ms(s->o.loop));
	tell_unfit(s, pod, strbuf_text(&why));
}

static void synced(void *ctx)
{
	struct scheduler *s = ctx;

	s->listens = false;
	wake(s);
}

static void go_round(void *ctx)
{
	struct scheduler *s = ctx;
	int64_t until = world_monotonic_ns(s->world) + ROUND_NS, next;
	struct waiting *w = NULL;

	assert(s->magic == SCHEDULER_MAGIC);
	s->woken = false;
	if (!informers_synced(s->o.informers)) {
		if (!s->listens)
			informers_on_synced(s->o.informers, synced, s);
		s->listens = true;
		return;
	}
	queue_tell(s->queue, s->events, loop_now_ms(s->o.loop));
	s->events = 0;
	next = queue_ripen(s->queue, loop_now_ms(s->o.loop));
	if (next >= 0)
		loop_timer_set(s->timer, next - loop_now_ms(s->o.loop), 0);
	while (s->in_flight < IN_FLIGHT_MAX && (w = queue_pop(s->queue))) {
		look(s, w);
		if (world_monotonic_ns(s->world) > until)
			break;
	}
	if (w)
		wake(s);
}

static void wake(struct scheduler *s)
{
	if (s->woken)
		return;
	s->woken = true;
	loop_post(s->o.loop, go_round, s);
}

static void ripe(void *ctx)
{
	wake(ctx);
}

/* -- life -------------------------------------------------------------------------------------- */

static struct informer *view(struct scheduler *s, const char *group, const char *resource,
			     informer_changed *fn)
{
	const struct kind *k = kind_of_resource(group, "v1", resource);
	struct informer *i = informer_of(s->o.informers, k);

	if (fn)
		informer_on(i, fn, s);
	return i;
}

struct scheduler *scheduler_new(const struct scheduler_options *o)
{
	struct scheduler *s = mem_new(struct scheduler);

	assert(o->loop && o->client && o->informers);
	s->magic = SCHEDULER_MAGIC;
	s->o = *o;
	s->world = o->world ? o->world : &world_real;
	s->client = *o->client;
	s->client.identity = (struct identity){.user = "system:kube-scheduler"};
	recorder_init(&s->recorder, &s->client, s->world, SCHEDULER_NAME, NULL);
	s->queue = queue_new();
	s->timer = loop_timer_new(o->loop, ripe, s);
	s->nodes_view = view(s, "", "nodes", node_changed);
	s->pods = view(s, "", "pods", pod_changed);
	s->claims = view(s, "", "persistentvolumeclaims", volume_changed);
	s->volumes = view(s, "", "persistentvolumes", volume_changed);
	s->namespaces = view(s, "", "namespaces", namespace_changed);
	s->budgets = view(s, "policy", "poddisruptionbudgets", NULL);
	return s;
}

static void forget(void *ctx, struct waiting *w)
{
	class_drop(ctx, w->class);
}

struct scheduler *scheduler_free(struct scheduler *s)
{
	if (!s)
		return NULL;
	assert(s->magic == SCHEDULER_MAGIC);
	if (s->woken)
		loop_post_cancel(s->o.loop, go_round, s);
	s->timer = loop_timer_free(s->timer);
	map_each (&s->nominated, it)
		preempt_forget(s, it->key);
	map_done(&s->nominated);
	queue_each(s->queue, forget, s);
	s->queue = queue_free(s->queue);
	snapshot_done(s);
	recorder_done(&s->recorder);
	s->magic = 0;
	free(s);
	return NULL;
}
