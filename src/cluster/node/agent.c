/* The node agent's life, and what wakes it: see agent.h. */
#include "cluster/node/agent.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/node/agent_priv.h"
#include "engine/events.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/wire/http_client.h"
#include "ground/wire/loop.h"

#define BEAT_MS 10000

/* -- what wakes it ----------------------------------------------------------------------------- */

static void pod_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct node_agent *a = ctx;
	const struct object *o = now ? now : before;
	char key[OBJECT_KEY_MAX];

	object_key(o, key);
	if (map_get(&a->known, key) || text_eq(object_value(o, "spec.nodeName"), a->node_name))
		workqueue_add(a->queue, key);
}

/* A map or secret changed: whose pods use it is not known, those of its namespace are looked at. */
static void source_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct node_agent *a = ctx;
	const struct object *o = now ? now : before;

	if (now && !before)
		return; /* who waits for it looks again by itself */
	map_each (&a->known, it) {
		const struct pod *p = it->value;

		if (text_eq(p->namespace, o->namespace))
			workqueue_add(a->queue, p->key);
	}
}

static void slice_changed(void *ctx, const struct object *now, const struct object *before)
{
	pod_slice_changed(ctx, now ? now : before);
}

static void container_event(void *ctx, const struct event *v)
{
	struct node_agent *a = ctx;
	const char *name = NULL, *space = NULL, *exec = NULL;
	int64_t code = 0;
	auto_free char *key = NULL;
	struct err e;

	for (const struct json_pair *at = v->attributes; at && at->key; at++) {
		if (text_eq(at->key, "io.kubernetes.pod.name"))
			name = at->value;
		if (text_eq(at->key, "io.kubernetes.pod.namespace"))
			space = at->value;
		if (text_eq(at->key, "execID"))
			exec = at->value;
		if (text_eq(at->key, "exitCode") &&
		    parse_i64(str_of(at->value), "exit code", &code, &e) < 0)
			code = 0;
	}
	if (text_eq(v->action, "exec_die") && exec) {
		session_exec_ended(a, exec, (int)code);
		action_exec_ended(a, exec, (int)code);
		return;
	}
	if (text_eq(v->action, "die"))
		session_attach_ended(a, v->actor_id);
	if (!name || !space)
		return;
	key = mem_printf("%s/%s", space, name);
	if (map_get(&a->known, key))
		workqueue_add(a->queue, key);
}

static void events_ended(void *ctx, const struct err *e)
{
	struct node_agent *a = ctx;

	(void)e;
	a->events = NULL;
}

static int listen(struct node_agent *a, struct err *e)
{
	static char *const types[] = {"container", NULL};
	static char *const actions[] = {"start", "die", "oom", "destroy", "exec_die", NULL};
	static const struct filter filters[] = {{"type", types}, {"event", actions}};
	struct event_options o = {.filters = {filters, array_len(filters)}};

	return engine_events(a->user, &o, &(struct event_sink){container_event, events_ended, a},
			     &a->events, e);
}

/* -- life -------------------------------------------------------------------------------------- */

static struct informer *view(struct node_agent *a, const char *resource)
{
	return informer_of(a->o.informers, kind_of_resource("", "v1", resource));
}

int node_agent_new(const struct node_agent_options *o, struct node_agent **ret, struct err *e)
{
	struct node_agent *a = mem_new(struct node_agent);

	assert(o->loop && o->engine && o->client && o->informers && o->node_name && o->root);
	a->magic = AGENT_MAGIC;
	a->o = *o;
	a->loop = o->loop;
	a->world = o->world ? o->world : &world_real;
	a->user = engine_user(o->engine, OWNER_KUBE);
	a->node_name = mem_dup_text(o->node_name);
	a->identity = mem_printf("system:node:%s", o->node_name);
	a->client = *o->client;
	a->client.identity = (struct identity){.user = a->identity};
	recorder_init(&a->recorder, &a->client, a->world, "kubelet", a->node_name);
	list_init(&a->sessions);
	list_init(&a->actions);
	if (http_client_new(o->loop, "kube-probe/1.33", &a->http, e) < 0) {
		(void)node_agent_free(a);
		return -(int)e->kind;
	}
	a->queue = workqueue_new(&(struct workqueue_options){
		.loop = o->loop, .name = "node", .parallel = 64, .sync = pod_sync, .ctx = a});
	a->config_maps = view(a, "configmaps");
	a->secrets = view(a, "secrets");
	a->services = view(a, "services");
	a->nodes = view(a, "nodes");
	a->claims = view(a, "persistentvolumeclaims");
	a->stores = view(a, "persistentvolumes");
	a->slices = informer_of(o->informers,
				kind_of_resource("discovery.k8s.io", "v1", "endpointslices"));
	a->pods = view(a, "pods");
	informer_on(a->pods, pod_changed, a);
	informer_on(a->claims, source_changed, a);
	claims_start(a);
	informer_on(a->slices, slice_changed, a);
	informer_on(a->config_maps, source_changed, a);
	informer_on(a->secrets, source_changed, a);
	a->beat = loop_timer_new(o->loop, node_beat, a);
	loop_timer_set(a->beat, BEAT_MS, BEAT_MS);
	if (listen(a, e) < 0) {
		(void)node_agent_free(a);
		return -(int)e->kind;
	}
	node_register(a);
	a->sweeper = loop_timer_new(o->loop, pod_sweep, a);
	pod_sweep(a);
	*ret = a;
	return 0;
}

struct node_agent *node_agent_free(struct node_agent *a)
{
	if (!a)
		return NULL;
	assert(a->magic == AGENT_MAGIC);
	stream_cancel(a->events);
	a->beat = loop_timer_free(a->beat);
	a->sweeper = loop_timer_free(a->sweeper);
	node_forget_pods(a);
	a->http = http_client_free(a->http);
	a->queue = workqueue_free(a->queue);
	a->claim_queue = workqueue_free(a->claim_queue);
	recorder_done(&a->recorder);
	free(a->node_name);
	free(a->identity);
	a->magic = 0;
	free(a);
	return NULL;
}

void node_agent_quiet(struct node_agent *a)
{
	a->swept = false;
}

void node_agent_unmount(struct node_agent *a)
{
	auto_free char *pods = mem_printf("%s/pods", a->o.root);

	pod_mounts_detach(pods);
}

const struct node_ops *node_agent_ops(void)
{
	return &agent_ops;
}

const char *node_agent_name(const struct node_agent *a)
{
	return a->node_name;
}

/* -- events ------------------------------------------------------------------------------------ */

void node_event(struct pod *p, const char *type, const char *reason, const char *container,
		const char *fmt, ...)
{
	static const char *const lists[] = {"initContainers", "initContainers", "containers",
					    "ephemeralContainers"};
	const struct pod_container *c = container ? pod_container_find(p, container) : NULL;
	auto_free char *field =
		container ? mem_printf("spec.%s{%s}", lists[c ? c->part : PART_MAIN], container)
			  : NULL;
	const struct recorder_about about = {"Pod", "v1", p->namespace, p->name, p->uid, field};
	va_list ap;

	va_start(ap, fmt);
	recorder_vtell(&p->agent->recorder, &about, type, reason, fmt, ap);
	va_end(ap);
}
