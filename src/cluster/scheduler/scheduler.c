/*
 * The scheduler's life: what is known follows from events; a pod without a node is looked at once,
 * and again when a node or another pod changes in a way that could help. A place is taken in memory
 * at once and given back when the binding fails.
 */
#include "cluster/scheduler/scheduler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define SCHEDULER_MAGIC 0x53434844u
#define SCHEDULER_NAME	"default-scheduler"

/* -- what is known ----------------------------------------------------------------------------- */

static void account(struct scheduler *s, const struct pod_info *p, int sign)
{
	struct node_info *n = map_get(&s->infos, p->node);

	if (!n)
		return;
	for (int i = 0; i < AMOUNTS; i++)
		n->used.n[i] += sign * p->wants.n[i];
	n->pods += (size_t)sign;
	for (size_t i = 0; i < json_len(p->ports); i++) {
		const char *key = json_text(json_at(p->ports, i));

		(void)(sign > 0 ? map_put(&n->ports, key, n) : map_remove(&n->ports, key));
	}
}

static void unplace(struct scheduler *s, const char *key)
{
	struct pod_info *p = map_remove(&s->placed, key);

	if (!p)
		return;
	account(s, p, -1);
	(void)json_free(p->ports);
	free(p->key);
	free(p->node);
	free(p);
}

static void place(struct scheduler *s, const char *key, const struct json *pod, const char *node)
{
	struct pod_info *p = map_get(&s->placed, key);

	if (p && text_eq(p->node, node))
		return;
	unplace(s, key);
	p = mem_new(struct pod_info);
	p->key = mem_dup_text(key);
	p->node = mem_dup_text(node);
	p->ports = fit_ports(pod);
	fit_amounts(pod, &p->wants);
	(void)map_put(&s->placed, key, p);
	account(s, p, 1);
}

static void node_free(struct node_info *n)
{
	(void)json_free(n->node);
	map_done(&n->ports);
	free(n->name);
	free(n);
}

/* Something changed for the better, perhaps: those that fit nowhere are looked at again. */
static void retry(struct scheduler *s)
{
	map_each (&s->unfit, it)
		workqueue_add(s->queue, it->key);
}

static void node_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct scheduler *s = ctx;
	const char *name = now ? now->name : before->name;
	struct node_info *n = map_get(&s->infos, name);

	if (!now) {
		if (n)
			node_free(map_remove(&s->infos, name));
		return;
	}
	if (!n) {
		n = mem_new(struct node_info);
		n->name = mem_dup_text(name);
		(void)map_put(&s->infos, name, n);
		map_each (&s->placed, it) {
			struct pod_info *p = it->value;

			if (text_eq(p->node, name))
				account(s, p, 1);
		}
	}
	(void)json_free(n->node);
	n->node = object_copy(now);
	fit_room(n->node, &n->room);
	retry(s);
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

static void pod_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct scheduler *s = ctx;
	const struct object *o = now ? now : before;
	char key[OBJECT_KEY_MAX];
	const char *node = object_value(o, "spec.nodeName");

	object_key(o, key);
	if (!now || is_over(now)) {
		bool placed = map_get(&s->placed, key) != NULL;

		unplace(s, key);
		(void)map_remove(&s->unfit, key);
		if (placed)
			retry(s);
	} else if (node[0]) {
		place(s, key, object_tree(now), node);
		(void)map_remove(&s->unfit, key);
	} else if (is_ours(now)) {
		workqueue_add(s->queue, key);
	}
}

/* -- telling ----------------------------------------------------------------------------------- */

static char *now_text(const struct scheduler *s, char ret[32])
{
	time_t t = (time_t)(world_now_ns(s->world) / 1000000000);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	(void)strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return ret;
}

static void tell_event(struct scheduler *s, const struct object *pod, const char *type,
		       const char *reason, const char *message)
{
	const char *const about[][2] = {{"kind", "Pod"},
					{"apiVersion", "v1"},
					{"namespace", pod->namespace},
					{"name", pod->name},
					{"uid", pod->uid}};
	struct json *event = json_new_object(), *meta = json_new_object(), *ref = json_new_object(),
		    *source = json_new_object();
	auto_free char *prefix = mem_printf("%s.", pod->name);
	char now[32];

	now_text(s, now);
	json_set_text(meta, "generateName", prefix);
	for (size_t i = 0; i < array_len(about); i++)
		json_set_text(ref, about[i][0], about[i][1]);
	json_set(event, "metadata", meta);
	json_set(event, "involvedObject", ref);
	json_set_text(event, "reason", reason);
	json_set_text(event, "message", message);
	json_set_text(event, "type", type);
	json_set_text(event, "firstTimestamp", now);
	json_set_text(event, "lastTimestamp", now);
	json_set_i64(event, "count", 1);
	json_set_text(source, "component", SCHEDULER_NAME);
	json_set(event, "source", source);
	json_set_text(event, "reportingComponent", SCHEDULER_NAME);
	client_create(&s->client,
		      &(struct client_target){kind_of_resource("", "v1", "events"), pod->namespace},
		      event, NULL, NULL, NULL);
}

static const struct json *condition_of(const struct json *pod)
{
	const struct json *list = json_get(json_get(pod, "status"), "conditions");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "type"), "PodScheduled"))
			return json_at(list, i);
	return NULL;
}

/* The condition says why; the same sentence is not said twice. */
static void tell_unfit(struct scheduler *s, const struct object *pod, const char *why)
{
	struct json *patch, *status, *list, *c;
	char now[32];

	if (text_eq(json_get_text(condition_of(object_tree(pod)), "message"), why))
		return;
	patch = json_new_object();
	status = json_new_object();
	list = json_new_array();
	c = json_new_object();
	json_set_text(c, "type", "PodScheduled");
	json_set_text(c, "status", "False");
	json_set_text(c, "reason", "Unschedulable");
	json_set_text(c, "message", why);
	json_set_text(c, "lastTransitionTime", now_text(s, now));
	json_append(list, c);
	json_set(status, "conditions", list);
	json_set(patch, "status", status);
	client_patch(&s->client,
		     &(struct client_target){pod->kind, pod->namespace, pod->name, "status"},
		     PATCH_STRATEGIC, patch, NULL, NULL, NULL);
	tell_event(s, pod, "Warning", "FailedScheduling", why);
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
	auto_free char *text = NULL;

	assert(s->magic == SCHEDULER_MAGIC);
	if (o->error) {
		log_debug("pod %s: %s", b->key, o->error->text);
		unplace(s, b->key);
	} else {
		text = mem_printf("Successfully assigned %s to %s", b->key, b->node);
		tell_event(s, o->object, "Normal", "Scheduled", text);
	}
	workqueue_done(s->queue, b->key, o->error && o->error->kind != ERR_NOT_FOUND);
	free(b->key);
	free(b->node);
	free(b);
}

static void bind(struct scheduler *s, const struct object *pod, const char *key,
		 const struct node_info *n)
{
	struct json *binding = json_new_object(), *target = json_new_object();
	struct binding *b = mem_new(struct binding);

	*b = (struct binding){s, mem_dup_text(key), mem_dup_text(n->name)};
	json_set_text(target, "kind", "Node");
	json_set_text(target, "name", n->name);
	json_set(binding, "target", target);
	place(s, key, object_tree(pod), n->name);
	client_create(&s->client,
		      &(struct client_target){pod->kind, pod->namespace, pod->name, "binding"},
		      binding, NULL, bound, b);
}

static void look(void *ctx, const char *key)
{
	struct scheduler *s = ctx;
	const struct object *pod = informer_get_key(s->pods, key);
	auto_strbuf struct strbuf why = {0}, help = {0};
	const struct node_info *n;

	assert(s->magic == SCHEDULER_MAGIC);
	(void)map_remove(&s->unfit, key);
	if (!pod || !is_ours(pod) || map_get(&s->placed, key) ||
	    json_len(json_get(json_get(object_tree(pod), "spec"), "schedulingGates"))) {
		workqueue_done(s->queue, key, false);
		return;
	}
	n = fit_best(s, object_tree(pod), &why, &help);
	if (n) {
		bind(s, pod, key, n);
		return;
	}
	if (help.n)
		strbuf_printf(&why, " It would fit with requests for %s.", strbuf_text(&help));
	(void)map_put(&s->unfit, key, s);
	tell_unfit(s, pod, strbuf_text(&why));
	workqueue_done(s->queue, key, false);
}

/* -- life -------------------------------------------------------------------------------------- */

struct scheduler *scheduler_new(const struct scheduler_options *o)
{
	struct scheduler *s = mem_new(struct scheduler);

	assert(o->loop && o->client && o->informers);
	s->magic = SCHEDULER_MAGIC;
	s->o = *o;
	s->world = o->world ? o->world : &world_real;
	s->client = *o->client;
	s->client.identity = (struct identity){.user = "system:kube-scheduler"};
	s->queue = workqueue_new(&(struct workqueue_options){
		.loop = o->loop, .name = "scheduler", .parallel = 256, .sync = look, .ctx = s});
	s->nodes = informer_of(o->informers, kind_of_resource("", "v1", "nodes"));
	s->pods = informer_of(o->informers, kind_of_resource("", "v1", "pods"));
	informer_on(s->nodes, node_changed, s);
	informer_on(s->pods, pod_changed, s);
	return s;
}

struct scheduler *scheduler_free(struct scheduler *s)
{
	if (!s)
		return NULL;
	assert(s->magic == SCHEDULER_MAGIC);
	s->queue = workqueue_free(s->queue);
	map_each (&s->placed, it)
		unplace(s, it->key);
	map_done(&s->placed);
	map_each (&s->infos, it)
		node_free(it->value);
	map_done(&s->infos);
	map_done(&s->unfit);
	s->magic = 0;
	free(s);
	return NULL;
}
