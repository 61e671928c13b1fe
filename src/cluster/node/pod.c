/*
 * Pods: one look at one pod. A look never waits: what takes time is begun, and its end adds the pod
 * to the queue again. So a look reads as a list of what should be, in order: volumes, sandbox, init
 * containers one after the other, the others side by side, and the status as it is then.
 *
 *	bound -> volumes -> sandbox -> init... -> running -> (deleted) -> stopping -> gone
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"

#define EPHEMERAL_MAX 32 /* debug containers that a pod may get */

void pod_again(struct pod *p)
{
	workqueue_add(p->agent->queue, p->key);
}

struct pod *pod_find(struct node_agent *a, const char *namespace, const char *name)
{
	auto_free char *key = mem_printf("%s/%s", namespace, name);

	return map_get(&a->known, key);
}

struct pod_container *pod_container_find(struct pod *p, const char *name)
{
	for (size_t i = 0; i < p->n; i++)
		if (text_eq(p->containers[i].name, name))
			return &p->containers[i];
	return NULL;
}

/* -- making and forgetting --------------------------------------------------------------------- */

static size_t add_containers(struct pod *p, const struct json *list, enum pod_part part)
{
	size_t n = json_len(list);

	for (size_t i = 0; i < n; i++) {
		struct pod_container *c = &p->containers[p->n];
		const struct json *one = json_at(list, i);
		const char *name = json_get_text(one, "name");

		if (pod_container_find(p, name) || p->n == p->room)
			continue;
		*c = (struct pod_container){.pod = p, .name = mem_dup_text(name), .part = part};
		if (part == PART_INIT && text_eq(json_get_text(one, "restartPolicy"), "Always"))
			c->part = PART_SIDECAR;
		list_init(&c->probes);
		p->n++;
	}
	return n;
}

static void know_containers(struct pod *p, const struct json *spec)
{
	const struct json *init = json_get(spec, "initContainers"),
			  *main = json_get(spec, "containers"),
			  *ephemeral = json_get(spec, "ephemeralContainers");

	if (!p->containers) { /* calls under way point into it: it never moves */
		p->room = json_len(init) + json_len(main) + EPHEMERAL_MAX;
		p->containers = mem_new_array(struct pod_container, p->room);
	}
	(void)add_containers(p, init, PART_INIT);
	(void)add_containers(p, main, PART_MAIN);
	(void)add_containers(p, ephemeral, PART_EPHEMERAL);
}

static void find_sandbox(void *ctx, const struct sandbox_view *v)
{
	struct pod *p = ctx;

	if (text_eq(v->uid, p->uid))
		(void)snprintf(p->sandbox, sizeof(p->sandbox), "%s", v->id);
}

static struct pod *pod_new(struct node_agent *a, const struct object *o)
{
	struct pod *p = mem_new(struct pod);
	char key[OBJECT_KEY_MAX];

	p->magic = POD_MAGIC;
	p->agent = a;
	p->key = mem_dup_text(object_key(o, key));
	p->namespace = mem_dup_text(o->namespace);
	p->name = mem_dup_text(o->name);
	p->uid = mem_dup_text(o->uid);
	p->dir = mem_printf("%s/pods/%s", a->o.root, o->uid);
	p->started_ns = world_now_ns(a->world);
	(void)map_put(&a->known, p->key, p);
	engine_sandbox_each(a->user, find_sandbox, p);
	know_containers(p, json_get(object_tree(o), "spec"));
	container_adopt(p);
	return p;
}

static void pod_free(struct pod *p)
{
	assert(p->magic == POD_MAGIC);
	(void)map_remove(&p->agent->known, p->key);
	for (size_t i = 0; i < p->n; i++) {
		struct pod_container *c = &p->containers[i];

		container_clear(c);
		free(c->name);
		free(c->image_id);
		(void)json_free(c->last_state);
	}
	free(p->containers);
	free(p->key);
	free(p->namespace);
	free(p->name);
	free(p->uid);
	free(p->dir);
	free(p->trouble_reason);
	free(p->trouble_message);
	(void)json_free(p->told);
	free(p->token);
	p->magic = 0;
	free(p);
}

void pod_forget_all(struct node_agent *a)
{
	map_each (&a->known, it)
		pod_free(it->value);
	map_done(&a->known);
}

static bool is_busy(const struct pod *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].busy)
			return true;
	return p->busy || p->writing || p->token_busy;
}

/* -- the sandbox ------------------------------------------------------------------------------- */

static void trouble(struct pod *p, const char *reason, const char *message)
{
	bool same = text_eq(p->trouble_reason, reason) && text_eq(p->trouble_message, message);

	if (same)
		return;
	free(p->trouble_reason);
	free(p->trouble_message);
	p->trouble_reason = mem_dup_text(reason);
	p->trouble_message = mem_dup_text(message);
	if (reason)
		node_event(p, "Warning", reason, NULL, "%s", message);
}

static void sandbox_made(void *ctx, const struct sandbox_view *v, const struct err *e)
{
	struct pod *p = ctx;

	assert(p->magic == POD_MAGIC);
	p->busy = false;
	if (e) {
		trouble(p, "FailedCreatePodSandBox", e->text);
		workqueue_add_after(p->agent->queue, p->key, 1000);
		return;
	}
	trouble(p, NULL, NULL);
	(void)snprintf(p->sandbox, sizeof(p->sandbox), "%s", v->id);
	pod_again(p);
}

static void make_sandbox(struct pod *p, const struct json *spec)
{
	const char *hostname = json_get_text(spec, "hostname");
	char short_name[64];
	struct sandbox_request r = {
		.name = p->key,
		.uid = p->uid,
		.host_network = json_get_bool(spec, "hostNetwork", false),
	};

	(void)snprintf(short_name, sizeof(short_name), "%s",
		       hostname && hostname[0] ? hostname : p->name);
	r.hostname = short_name;
	p->busy = true;
	engine_sandbox_create(p->agent->user, &r, sandbox_made, p);
}

static const char *sandbox_ip(struct pod *p)
{
	const struct sandbox_view *v = engine_sandbox_find(p->agent->user, p->sandbox);

	if (!v)
		return "";
	return v->host_network ? p->agent->o.address : v->ipv4;
}

/* -- towards running --------------------------------------------------------------------------- */

/* What is on its way is no failure: its arrival has the pod looked at again. */
static void mount_failed(struct pod *p, const struct err *e)
{
	if (e->kind == ERR_BUSY)
		return;
	trouble(p, "FailedMount", e->text);
	workqueue_add_after(p->agent->queue, p->key, 1000);
}

/* Volumes and sandbox stand; false: not yet. */
static bool prepare(struct pod *p, const struct json *pod)
{
	struct err e;

	if (!p->sandbox[0] || !engine_sandbox_find(p->agent->user, p->sandbox)) {
		p->sandbox[0] = '\0';
		if (pod_volumes_make(p, pod, &e) < 0) {
			mount_failed(p, &e);
			return false;
		}
		make_sandbox(p, json_get(pod, "spec"));
		return false;
	}
	if (pod_files(p, pod, sandbox_ip(p), &e) < 0 || pod_volumes_make(p, pod, &e) < 0) {
		mount_failed(p, &e);
		return false;
	}
	trouble(p, NULL, NULL);
	return true;
}

static const struct json *spec_of(const struct json *spec, const struct pod_container *c)
{
	static const char *const lists[] = {"initContainers", "initContainers", "containers",
					    "ephemeralContainers"};
	const struct json *list = json_get(spec, lists[c->part]);

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "name"), c->name))
			return json_at(list, i);
	return NULL;
}

/* Init containers one after the other; false: one is not done yet. */
static bool run_init(struct pod *p, const struct json *spec)
{
	const char *policy = json_get_text(spec, "restartPolicy");

	for (size_t i = 0; i < p->n; i++) {
		struct pod_container *c = &p->containers[i];

		if (c->part == PART_MAIN || c->part == PART_EPHEMERAL)
			continue;
		container_look(c);
		if (c->part == PART_SIDECAR) {
			container_advance(c, spec_of(spec, c));
			if (!container_runs(c) || !c->started)
				return false;
		} else if (!(container_ended(c) && c->exit_code == 0)) {
			if (!container_done(c, policy))
				container_advance(c, spec_of(spec, c));
			return false;
		}
	}
	return true;
}

static void run_main(struct pod *p, const struct json *spec)
{
	const char *policy = json_get_text(spec, "restartPolicy");

	for (size_t i = 0; i < p->n; i++) {
		struct pod_container *c = &p->containers[i];

		if (c->part != PART_MAIN && c->part != PART_EPHEMERAL)
			continue;
		container_look(c);
		if (!container_done(c, c->part == PART_EPHEMERAL ? "Never" : policy))
			container_advance(c, spec_of(spec, c));
	}
}

static bool all_done(struct pod *p, const struct json *spec)
{
	const char *policy = json_get_text(spec, "restartPolicy");

	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].part == PART_MAIN &&
		    !container_done(&p->containers[i], policy))
			return false;
	return p->n > 0;
}

static bool init_failed(struct pod *p, const struct json *spec)
{
	const char *policy = json_get_text(spec, "restartPolicy");

	for (size_t i = 0; i < p->n; i++) {
		const struct pod_container *c = &p->containers[i];

		if (c->part == PART_INIT && container_done(c, policy) && c->exit_code != 0)
			return true;
	}
	return false;
}

static void stop_sidecars(struct pod *p)
{
	for (size_t i = 0; i < p->n; i++) {
		container_look(&p->containers[i]);
		if (p->containers[i].part == PART_SIDECAR && container_runs(&p->containers[i]))
			container_stop(&p->containers[i], 10);
	}
}

static void run(struct pod *p, const struct object *o)
{
	const struct json *pod = object_tree(o), *spec = json_get(pod, "spec");

	if (all_done(p, spec) || init_failed(p, spec))
		stop_sidecars(p);
	else if (!p->busy && prepare(p, pod) && run_init(p, spec))
		run_main(p, spec);
	status_write(p, o);
}

/* -- towards nothing --------------------------------------------------------------------------- */

static bool stop_all(struct pod *p, int64_t grace_s)
{
	bool left = false;

	for (size_t i = 0; i < p->n; i++) {
		struct pod_container *c = &p->containers[i];

		container_look(c);
		if (!container_runs(c))
			continue;
		left = true;
		if (!c->busy && !c->wanted_stop)
			container_stop(c, grace_s);
	}
	return left || is_busy(p);
}

static void sandbox_gone(void *ctx, const struct err *e)
{
	struct pod *p = ctx;

	(void)e;
	p->busy = false;
	p->sandbox[0] = '\0';
	pod_again(p);
}

/* Containers, sandbox and volumes; true when nothing is left. */
static bool clear(struct pod *p)
{
	bool left = false;

	for (size_t i = 0; i < p->n; i++) {
		struct pod_container *c = &p->containers[i];

		if (c->id[0] || c->last_id[0]) {
			left = true;
			if (!c->busy)
				container_remove(c);
		}
	}
	if (left || is_busy(p))
		return false;
	if (p->sandbox[0]) {
		p->busy = true;
		engine_sandbox_remove(p->agent->user, p->sandbox, sandbox_gone, p);
		return false;
	}
	pod_volumes_remove(p);
	return true;
}

static void object_gone(void *ctx, const struct outcome *o)
{
	struct pod *p = ctx;

	p->writing = false;
	if (o->error && o->error->kind != ERR_NOT_FOUND && o->error->kind != ERR_CONFLICT)
		workqueue_add_after(p->agent->queue, p->key, 1000);
	else
		pod_again(p);
}

static void delete_object(struct pod *p, const struct object *o)
{
	if (p->writing)
		return;
	p->writing = true;
	client_delete(&p->agent->client,
		      &(struct client_target){o->kind, o->namespace, o->name, NULL},
		      &(struct delete_options){.grace_s = 0, .uid = p->uid}, object_gone, p);
}

static void end(struct pod *p, const struct object *o)
{
	const struct json *meta = json_get(object_tree(o), "metadata");
	int64_t grace = json_get_i64(meta, "deletionGracePeriodSeconds", 30);

	if (!p->stopping)
		node_event(p, "Normal", "Killing", NULL, "stopping the pod's containers");
	p->stopping = true;
	if (stop_all(p, grace)) {
		status_write(p, o);
		return;
	}
	if (!clear(p))
		return;
	delete_object(p, o);
}

/* The object is gone, or another pod of the same name stands there. */
static void end_without_object(struct pod *p)
{
	if (stop_all(p, 0) || !clear(p) || is_busy(p))
		return;
	pod_free(p);
}

void pod_sync(void *agent, const char *key)
{
	struct node_agent *a = agent;
	const struct object *o = informer_get_key(a->pods, key);
	struct pod *p = map_get(&a->known, key);
	bool ours = o && text_eq(object_value(o, "spec.nodeName"), a->node_name);
	auto_free char *copy = mem_dup_text(key);

	assert(a->magic == AGENT_MAGIC);
	if (p && (!ours || !text_eq(p->uid, o->uid))) {
		end_without_object(p);
		if (ours && !map_get(&a->known, copy))
			workqueue_add(a->queue, copy);
	} else if (ours) {
		if (!p)
			p = pod_new(a, o);
		know_containers(p, json_get(object_tree(o), "spec"));
		if (o->deleting)
			end(p, o);
		else
			run(p, o);
	}
	workqueue_done(a->queue, copy, false);
}
