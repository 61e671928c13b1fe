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
#include "ground/base/rfc3339.h"
#include "ground/wire/loop.h"
#include "virt/network/network.h"

#define EPHEMERAL_MAX  32   /* debug containers that a pod may get */
#define SERVED_MAX_MS  2000 /* until services are left behind that do not let go */
#define DRAIN_MS       10
#define HOST_PORTS_MAX 64

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

static struct pod_container *add_one(struct pod *p, const char *name)
{
	struct pod_container *c = &p->containers[p->n++];

	assert(p->n <= p->room);
	*c = (struct pod_container){.pod = p, .name = mem_dup_text(name), .part = PART_MAIN};
	list_init(&c->probes);
	return c;
}

/* Of a pod whose object is gone: only its name is known. NULL: there is no room. */
struct pod_container *pod_add_container(struct pod *p, const char *name)
{
	if (!p->containers) {
		p->room = EPHEMERAL_MAX;
		p->containers = mem_new_array(struct pod_container, p->room);
	}
	return p->n < p->room ? add_one(p, name) : NULL;
}

static size_t add_containers(struct pod *p, const struct json *list, enum pod_part part)
{
	size_t n = json_len(list);

	for (size_t i = 0; i < n; i++) {
		const struct json *one = json_at(list, i);
		struct pod_container *c;
		const char *name = json_get_text(one, "name");

		if (pod_container_find(p, name) || p->n == p->room)
			continue;
		c = add_one(p, name);
		c->part = part;
		if (part == PART_INIT && text_eq(json_get_text(one, "restartPolicy"), "Always"))
			c->part = PART_SIDECAR;
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

struct pod *pod_make(struct node_agent *a, const char *namespace, const char *name, const char *uid)
{
	struct pod *p = mem_new(struct pod);

	p->magic = POD_MAGIC;
	p->agent = a;
	p->key = mem_printf("%s/%s", namespace, name);
	p->namespace = mem_dup_text(namespace);
	p->name = mem_dup_text(name);
	p->uid = mem_dup_text(uid);
	p->dir = mem_printf("%s/pods/%s", a->o.root, uid);
	p->started_ns = world_now_ns(a->world);
	(void)map_put(&a->known, p->key, p);
	engine_sandbox_each(a->user, find_sandbox, p);
	return p;
}

/* What was told of a container before this daemon: it is so until its probes say otherwise. */
static void take_told(struct pod_container *c, const struct json *status)
{
	static const char *const lists[] = {"containerStatuses", "initContainerStatuses"};

	for (size_t l = 0; l < array_len(lists); l++) {
		const struct json *list = json_get(status, lists[l]);

		for (size_t i = 0; i < json_len(list); i++) {
			const struct json *one = json_at(list, i),
					  *last = json_get(one, "lastState");

			if (!text_eq(json_get_text(one, "name"), c->name))
				continue;
			c->started = json_get_bool(one, "started", false);
			c->ready = json_get_bool(one, "ready", false);
			if (json_len(last))
				c->last_state = json_copy(last);
		}
	}
}

static bool is_over(const struct object *o)
{
	const char *phase = json_get_text(json_get(object_tree(o), "status"), "phase");

	return text_eq(phase, "Succeeded") || text_eq(phase, "Failed");
}

static struct pod *pod_new(struct node_agent *a, const struct object *o)
{
	struct pod *p = pod_make(a, o->namespace, o->name, o->uid);

	know_containers(p, json_get(object_tree(o), "spec"));
	container_adopt(p);
	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].adopted)
			take_told(&p->containers[i], json_get(object_tree(o), "status"));
	p->over = is_over(o);
	return p;
}

static void pod_free(struct pod *p)
{
	assert(p->magic == POD_MAGIC);
	(void)map_remove(&p->agent->known, p->key);
	for (size_t i = 0; i < p->n; i++) {
		struct pod_container *c = &p->containers[i];

		container_forget(c);
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

void node_forget_pods(struct node_agent *a)
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

static enum network_proto proto_of(const char *name)
{
	return text_eq(name, "UDP")    ? NETWORK_UDP
	       : text_eq(name, "SCTP") ? NETWORK_SCTP
				       : NETWORK_TCP;
}

/* The ports of the host that the pod's containers ask for. */
static size_t host_ports(const struct json *spec, struct network_port *ports, size_t room)
{
	const struct json *list = json_get(spec, "containers");
	size_t n = 0;

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *own = json_get(json_at(list, i), "ports");

		for (size_t k = 0; k < json_len(own) && n < room; k++) {
			const struct json *one = json_at(own, k);
			const char *ip = json_get_text(one, "hostIP");

			if (json_get_i64(one, "hostPort", 0) == 0)
				continue;
			ports[n] = (struct network_port){
				.host_port = (uint16_t)json_get_i64(one, "hostPort", 0),
				.port = (uint16_t)json_get_i64(one, "containerPort", 0),
				.proto = proto_of(json_get_text(one, "protocol"))};
			if (ip && !text_eq(ip, "0.0.0.0") && !text_eq(ip, "::"))
				(void)snprintf(ports[n].host_ip, sizeof(ports[n].host_ip), "%s",
					       ip);
			n++;
		}
	}
	return n;
}

static void make_sandbox(struct pod *p, const struct json *spec)
{
	const char *hostname = json_get_text(spec, "hostname");
	struct network_port ports[HOST_PORTS_MAX];
	char short_name[64];
	struct sandbox_request r = {
		.name = p->key,
		.uid = p->uid,
		.host_network = json_get_bool(spec, "hostNetwork", false),
		.shared_pid = json_get_bool(spec, "shareProcessNamespace", false),
		.ports = ports,
	};

	if (!r.host_network)
		r.ports_n = host_ports(spec, ports, array_len(ports));
	(void)snprintf(short_name, sizeof(short_name), "%s",
		       hostname && hostname[0] ? hostname : p->name);
	r.hostname = short_name;
	p->busy = true;
	engine_sandbox_create(p->agent->user, &r, sandbox_made, p);
}

const char *pod_ip(const struct pod *p)
{
	const struct sandbox_view *v =
		p->sandbox[0] ? engine_sandbox_find(p->agent->user, p->sandbox) : NULL;

	return !v ? "" : v->host_network ? p->agent->o.address : v->ipv4;
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
	if (pod_files(p, pod, pod_ip(p), &e) < 0 || pod_volumes_make(p, pod, &e) < 0) {
		if (!p->mounted)
			mount_failed(p, &e);
		return p->mounted; /* what was there stays, and what runs goes on */
	}
	p->mounted = true;
	trouble(p, NULL, NULL);
	return true;
}

const struct json *pod_container_spec(const struct json *spec, const struct pod_container *c)
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
		container_probe(c, pod_container_spec(spec, c));
		if (c->part == PART_SIDECAR) {
			container_advance(c, pod_container_spec(spec, c));
			if (!container_runs(c) || !c->started)
				return false;
		} else if (!(container_ended(c) && c->exit_code == 0)) {
			if (!container_done(c, policy))
				container_advance(c, pod_container_spec(spec, c));
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
		container_probe(c, pod_container_spec(spec, c));
		if (!container_done(c, c->part == PART_EPHEMERAL ? "Never" : policy))
			container_advance(c, pod_container_spec(spec, c));
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
			container_stop(&p->containers[i], p->grace_s);
	}
}

/*
 * Tells all to stop, the sidecars when the others have ended, and each time within what is left of
 * the grace; true while one runs.
 */
static bool stop_all(struct pod *p, int64_t grace_s)
{
	int64_t now = loop_now_ms(p->agent->loop), left_s;
	bool main = false, any = false;

	if (!p->stop_by_ms || now + grace_s * 1000 < p->stop_by_ms)
		p->stop_by_ms = now + grace_s * 1000;
	left_s = (p->stop_by_ms - now + 999) / 1000;
	for (size_t i = 0; i < p->n; i++) {
		container_look(&p->containers[i]);
		any = any || container_runs(&p->containers[i]);
		main = main ||
		       (container_runs(&p->containers[i]) && p->containers[i].part != PART_SIDECAR);
	}
	for (size_t i = 0; i < p->n; i++) {
		struct pod_container *c = &p->containers[i];

		if (container_runs(c) && !(main && c->part == PART_SIDECAR))
			container_stop(c, left_s > 0 ? left_s : 0);
	}
	return any || is_busy(p);
}

/* Its time is up: it fails, and nothing of it is started again. */
static bool is_late(struct pod *p, const struct json *pod)
{
	int64_t limit = json_get_i64(json_get(pod, "spec"), "activeDeadlineSeconds", 0);
	const char *start = json_get_text(json_get(pod, "status"), "startTime");
	int64_t since = p->started_ns, left_ms;
	struct err e;

	if (limit <= 0 || p->failed_reason)
		return p->failed_reason != NULL;
	if (start && rfc3339_parse(start, &since, &e) < 0)
		since = p->started_ns;
	left_ms = (since - world_now_ns(p->agent->world)) / 1000000 + limit * 1000;
	if (left_ms > 0) {
		workqueue_add_after(p->agent->queue, p->key, left_ms);
		return false;
	}
	p->failed_reason = "DeadlineExceeded";
	p->failed_message = "Pod was active on the node longer than the specified deadline";
	node_event(p, "Normal", p->failed_reason, NULL, "%s", p->failed_message);
	return true;
}

static void run(struct pod *p, const struct object *o)
{
	const struct json *pod = object_tree(o), *spec = json_get(pod, "spec");
	auto_free char *policy = mem_dup_text(json_get_text(spec, "restartPolicy"));

	p->grace_s = json_get_i64(spec, "terminationGracePeriodSeconds", 30);
	if (p->over) { /* since before this daemon: its last status stands */
		(void)stop_all(p, p->grace_s);
		return;
	}
	if (is_late(p, pod)) {
		(void)stop_all(p, p->grace_s);
	} else if (all_done(p, spec) || init_failed(p, spec)) {
		stop_sidecars(p);
	} else if (!p->busy && prepare(p, pod) && run_init(p, spec)) {
		run_main(p, spec);
	}
	status_write(p, o);
}

/* -- towards nothing --------------------------------------------------------------------------- */

struct serving {
	const struct pod *pod;
	bool is;
};

static bool look_in_slice(void *ctx, const struct object *o)
{
	struct serving *s = ctx;
	const struct json *list = json_get(object_tree(o), "endpoints");

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);

		if (text_eq(json_get_text(json_get(one, "targetRef"), "uid"), s->pod->uid) &&
		    json_get_bool(json_get(one, "conditions"), "ready", true))
			s->is = true;
	}
	return !s->is;
}

static bool is_served(const struct pod *p)
{
	struct serving s = {.pod = p};

	informer_each(p->agent->slices, p->namespace, look_in_slice, &s);
	return s.is;
}

void pod_slice_changed(struct node_agent *a, const struct object *slice)
{
	map_each (&a->known, it) {
		struct pod *p = it->value;

		if (p->served && text_eq(p->namespace, slice->namespace))
			pod_again(p);
	}
}

/*
 * A pod that goes is first told to be unready and leaves its services, here too; only then is it
 * told to stop. true: it is out of everybody's way.
 */
static bool taken_out(struct pod *p, const struct object *o)
{
	int64_t now = loop_now_ms(p->agent->loop);

	if (!p->stopping) {
		p->stopping = true;
		p->served = is_served(p);
		p->served_until_ms = now + SERVED_MAX_MS;
	}
	if (!p->told_unready) {
		status_write(p, o);
		p->told_unready = !p->writing;
	}
	if (!p->told_unready)
		return false;
	if (p->served && is_served(p) && now < p->served_until_ms) {
		workqueue_add_after(p->agent->queue, p->key, p->served_until_ms - now);
		return false;
	}
	if (p->served) { /* packets that are on their way still arrive */
		p->served = false;
		workqueue_add_after(p->agent->queue, p->key, DRAIN_MS);
		p->drained_ms = now + DRAIN_MS;
	}
	return now >= p->drained_ms;
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

		container_forget(c);
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
		p->finished = true;
	if (!informer_get_key(p->agent->pods, p->key))
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

	if (p->finished || (grace > 0 && !taken_out(p, o)))
		return; /* finalizers hold the object, or it is not out of the way yet */
	p->stopping = true;
	if (stop_all(p, grace)) {
		status_write(p, o);
		return;
	}
	if (!p->clearing) {
		status_write(p, o); /* how they ended, for who waits for it */
		p->clearing = !p->writing;
	}
	if (p->clearing && clear(p))
		delete_object(p, o);
}

/* The object is gone, or another pod of the same name stands there. */
static void end_without_object(struct pod *p)
{
	p->stopping = true;
	for (size_t i = 0; i < p->n; i++)
		container_kill(&p->containers[i]);
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
	if (!a->swept) { /* all are looked at then */
		workqueue_done(a->queue, copy, false);
		return;
	}
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
