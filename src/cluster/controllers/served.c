/* What a service is served by: see served.h. */
#include "cluster/controllers/served.h"

#include <assert.h>
#include <string.h>

#include "cluster/controllers/pod.h"
#include "ground/base/mem.h"

static bool takes(const struct object *service, const struct object *pod)
{
	auto_arena struct arena a = {0};
	struct selector s = {0};

	return pod && served_has_selector(service) && selector_of_object(service, &a, &s) == 0 &&
	       object_selected(pod, &s);
}

struct change {
	struct controller *controller;
	const struct object *now, *before;
};

static bool add_service(void *ctx, const struct object *service)
{
	struct change *c = ctx;

	if (takes(service, c->now) || takes(service, c->before))
		controller_add(c->controller, service);
	return true;
}

static void on_pod(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	struct change change = {c, now, before};

	informer_each(controller_view(c, "", "services"), (now ? now : before)->namespace,
		      add_service, &change);
}

void served_subscribe(struct controller *c)
{
	informer_on(controller_view(c, "", "services"), controller_on_self, c);
	informer_on(controller_view(c, "", "pods"), on_pod, c);
}

bool served_has_selector(const struct object *service)
{
	const struct json *spec = tree_spec(service);

	return json_len(json_get(spec, "selector")) > 0 &&
	       !text_eq(json_get_text(spec, "type"), "ExternalName");
}

bool served_is_headless(const struct object *service)
{
	return text_eq(json_get_text(tree_spec(service), "clusterIP"), "None");
}

bool served_publishes_unready(const struct object *service)
{
	return json_get_bool(tree_spec(service), "publishNotReadyAddresses", false);
}

const char *served_family(const struct object *service, size_t i)
{
	const struct json *list = json_get(tree_spec(service), "ipFamilies");
	const char *ip = json_get_text(tree_spec(service), "clusterIP");

	if (json_len(list) > 0)
		return json_text(json_at(list, i));
	if (i > 0)
		return NULL;
	return ip && strchr(ip, ':') ? "IPv6" : "IPv4";
}

struct each {
	struct selector selector;
	void (*fn)(void *ctx, const struct object *pod);
	void *ctx;
};

static bool each_pod(void *ctx, const struct object *pod)
{
	struct each *e = ctx;
	const char *phase = object_value(pod, "status.phase");

	if (object_selected(pod, &e->selector) && !text_eq(phase, "Succeeded") &&
	    !text_eq(phase, "Failed"))
		e->fn(e->ctx, pod);
	return true;
}

void served_each(const struct controller *c, const struct object *service,
		 void (*fn)(void *ctx, const struct object *pod), void *ctx)
{
	auto_arena struct arena a = {0};
	struct each e = {.fn = fn, .ctx = ctx};

	if (served_has_selector(service) && selector_of_object(service, &a, &e.selector) == 0)
		informer_each(controller_view(c, "", "pods"), service->namespace, each_pod, &e);
}

const char *served_address(const struct controller *c, const struct object *pod, const char *family)
{
	const struct pod *p = pod_of(c, pod);

	return text_eq(family, "IPv6") ? p->ip6 : p->ip4;
}

static int64_t named_port(const struct json *ports, const char *name, const char *protocol)
{
	for (size_t i = 0; i < json_len(ports); i++) {
		const struct json *p = json_at(ports, i);
		const char *its = json_get_text(p, "protocol");

		if (text_eq(json_get_text(p, "name"), name) && text_eq(its ? its : "TCP", protocol))
			return json_get_i64(p, "containerPort", 0);
	}
	return 0;
}

/* 0: this pod has no port of that name. */
static int64_t port_on(const struct json *port, const struct pod *pod)
{
	const struct json *target = json_get(port, "targetPort");
	const char *protocol = json_get_text(port, "protocol");

	if (!target)
		return json_get_i64(port, "port", 0);
	if (json_kind(target) != JSON_STRING)
		return json_i64(target, 0);
	return named_port(pod->ports, json_text(target), protocol ? protocol : "TCP");
}

struct json *served_ports(const struct controller *c, const struct object *service,
			  const struct object *pod)
{
	const struct json *ports = json_get(tree_spec(service), "ports");
	struct json *list = json_new_array();

	for (size_t i = 0; i < json_len(ports); i++) {
		const struct json *p = json_at(ports, i);
		const char *name = json_get_text(p, "name"), *app = json_get_text(p, "appProtocol");
		const char *protocol = json_get_text(p, "protocol");
		int64_t n = port_on(p, pod_of(c, pod));
		struct json *one;

		if (!n)
			continue;
		one = json_new_object();
		json_set_text(one, "name", name ? name : "");
		json_set_i64(one, "port", n);
		json_set_text(one, "protocol", protocol ? protocol : "TCP");
		if (app)
			json_set_text(one, "appProtocol", app);
		json_append(list, one);
	}
	return list;
}

void served_describe(const struct controller *c, struct json *address, const struct object *service,
		     const struct object *pod)
{
	const struct pod *p = pod_of(c, pod);
	const char *node = object_value(pod, "spec.nodeName");
	struct json *ref = json_make_object(address, "targetRef");

	json_set_text(ref, "kind", "Pod");
	json_set_text(ref, "namespace", pod->namespace);
	json_set_text(ref, "name", pod->name);
	json_set_text(ref, "uid", pod->uid);
	if (node[0])
		json_set_text(address, "nodeName", node);
	if (p->hostname && p->hostname[0] && text_eq(p->subdomain, service->name))
		json_set_text(address, "hostname", p->hostname);
}

struct json *served_labels(const struct object *service, const char *managed_by,
			   const char *manager)
{
	const struct json *have = json_get(json_get(object_tree(service), "metadata"), "labels");
	struct json *labels = have ? json_copy(have) : json_new_object();

	json_set_text(labels, managed_by, manager);
	json_remove(labels, HEADLESS_LABEL);
	if (served_is_headless(service))
		json_set_text(labels, HEADLESS_LABEL, "");
	return labels;
}
