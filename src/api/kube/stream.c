/*
 * Streams of running pods: which requests they are, the pod and the container that are meant, and
 * the node they go to. Everything that can be refused is refused here, as a Status, before a
 * connection is taken over.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/stream_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

struct sub {
	const char *name;
	void (*run)(struct kube_request *r, const struct stream_node *n);
	bool container; /* it is about one */
};
static void run_proxy(struct kube_request *r, const struct stream_node *n);

static const struct sub subs[] = {
	{"log", log_run, true},	     {"exec", exec_run, true},
	{"attach", exec_run, true},  {"portforward", forward_run, false},
	{"proxy", run_proxy, false},
};

static const struct sub *sub_of(const struct kube_request *r)
{
	for (size_t i = 0; r->sub && i < array_len(subs); i++)
		if (text_eq(subs[i].name, r->sub))
			return &subs[i];
	return NULL;
}

bool stream_is(const struct kube_request *r)
{
	return sub_of(r) != NULL;
}

void streams_end(struct list *streams)
{
	while (!list_empty(streams)) {
		struct stream *s = list_first(streams, struct stream, link);

		s->end(s);
	}
}

/* -- the pod and its container ----------------------------------------------------------------- */

static const char *names_of(struct arena *a, const struct json *list)
{
	auto_strbuf struct strbuf out = {0};

	for (size_t i = 0; i < json_len(list); i++)
		strbuf_printf(&out, "%s%s", i ? " " : "", json_get_text(json_at(list, i), "name"));
	return arena_dup(a, strbuf_str(&out));
}

/* The container that is meant; NULL, and the request is answered. */
static const struct json *container_of_pod(struct kube_request *r, const struct json *pod)
{
	const struct json *spec = json_get(pod, "spec"), *list = json_get(spec, "containers");
	const char *name = http_request_query(r->http, "container");
	const char *usual = json_get_text(json_get(json_get(pod, "metadata"), "annotations"),
					  "kubectl.kubernetes.io/default-container");
	const struct json *found;

	if (!name || !name[0])
		name = usual && podspec_container(spec, usual) ? usual : NULL;
	if (!name && json_len(list) == 1)
		return json_at(list, 0);
	if (!name) {
		answer_status(r, 400, "BadRequest", NULL,
			      "a container name must be specified for pod %s, choose one of: [%s]",
			      r->name, names_of(&r->arena, list));
		return NULL;
	}
	found = podspec_container(spec, name);
	if (!found)
		answer_status(r, 400, "BadRequest", NULL, "container %s is not valid for pod %s",
			      name, r->name);
	return found;
}

/* exec, attach, portforward, proxy want a pod that has not ended. 0, or the request is answered. */
static int check_phase(struct kube_request *r, const struct json *pod)
{
	const char *phase = json_get_text(json_get(pod, "status"), "phase");

	if (text_eq(r->sub, "log") || !(text_eq(phase, "Succeeded") || text_eq(phase, "Failed")))
		return 0;
	if (text_eq(r->sub, "exec") || text_eq(r->sub, "attach"))
		answer_status(
			r, 500, "InternalError", NULL,
			"cannot exec into a container in a completed pod; current phase is %s",
			phase);
	else
		answer_status(r, 400, "BadRequest", NULL,
			      "pod \"%s\" is not running; its phase is %s", r->name, phase);
	return -1;
}

/* Finds the node of a pod. 0, or the request is answered. */
static int find_node(struct kube_request *r, const struct object *o, struct stream_node *ret)
{
	const struct node_directory *nodes = r->kube->o.nodes;
	const struct json *pod = object_tree(o);
	const char *node = json_get_text(json_get(pod, "spec"), "nodeName");

	*ret = (struct stream_node){.target = {.namespace = r->namespace, .pod = r->name}};
	ret->target.uid = arena_dup_text(&r->arena, o->uid);
	if (!node || !node[0]) {
		answer_status(r, 400, "BadRequest", NULL, "pod %s does not have a host assigned",
			      r->name);
		return -1;
	}
	if (nodes)
		ret->ops = nodes->find(nodes->ctx, node, &ret->node);
	if (ret->ops)
		return 0;
	answer_status(r, 503, "ServiceUnavailable", NULL, "node \"%s\" cannot be reached from here",
		      node);
	return -1;
}

/* Of a pod that was named without one. */
static uint16_t first_port(const struct json *pod)
{
	const struct json *list = json_get(json_get(pod, "spec"), "containers");
	const struct json *ports = json_get(json_at(list, 0), "ports");

	return (uint16_t)json_get_i64(json_at(ports, 0), "containerPort", 80);
}

static void with_pod(void *ctx, const struct outcome *o)
{
	struct kube_request *r = ctx;
	const struct sub *sub = sub_of(r);
	const struct json *container;
	struct stream_node n;

	if (o->error) {
		answer_outcome_error(r, o);
		return;
	}
	container = sub->container ? container_of_pod(r, object_tree(o->object)) : NULL;
	if ((sub->container && !container) || find_node(r, o->object, &n) < 0 ||
	    check_phase(r, object_tree(o->object)) < 0)
		return;
	if (container) {
		n.target.container = arena_dup_text(&r->arena, json_get_text(container, "name"));
		n.tty = json_get_bool(container, "tty", false);
	}
	if (text_eq(sub->name, "proxy") && !r->port)
		r->port = first_port(object_tree(o->object));
	sub->run(r, &n);
}

static void ask_for_pod(struct kube_request *r)
{
	const struct kind *pods = kind_of_resource("", "v1", "pods");

	client_get(&r->client, &(struct client_target){pods, r->namespace, r->name, NULL}, NULL,
		   with_pod, r);
}

/* -- proxies ----------------------------------------------------------------------------------- */

static void run_proxy(struct kube_request *r, const struct stream_node *n)
{
	proxy_run(r, n, r->port);
}

/* "[scheme:]name[:port]": into r->name and *ret_port. 0, or the request is answered. */
static int read_name(struct kube_request *r, const char **ret_port)
{
	struct str rest = str_of(r->name), parts[3] = {{NULL, 0}};
	size_t n = 0;

	while (n < array_len(parts) && str_cut(&rest, ':', &parts[n]))
		n++;
	if (rest.n || n == 0 || (n == 3 && !str_is(parts[0], "http") && parts[0].n)) {
		answer_status(
			r, 400, "BadRequest", NULL,
			"invalid request \"%s\": it must be NAME, NAME:PORT or http:NAME:PORT",
			r->name);
		return -1;
	}
	r->name = arena_dup(&r->arena, parts[n == 3 ? 1 : 0]);
	*ret_port = n == 1 ? "" : arena_dup(&r->arena, parts[n - 1]);
	return 0;
}

static int read_port(struct kube_request *r, const char *text)
{
	uint64_t port = 0;

	if (!text[0])
		return 0;
	if (parse_u64(str_of(text), "port", &port, NULL) < 0 || port == 0 || port > UINT16_MAX) {
		answer_status(r, 400, "BadRequest", NULL, "invalid port \"%s\"", text);
		return -1;
	}
	r->port = (uint16_t)port;
	return 0;
}

/* The port of a subset that a service's port is called; 0: it has none of that name. */
static uint16_t subset_port(const struct json *subset, const char *called)
{
	const struct json *ports = json_get(subset, "ports");

	for (size_t i = 0; i < json_len(ports); i++) {
		const char *name = json_get_text(json_at(ports, i), "name");
		int64_t number = json_get_i64(json_at(ports, i), "port", 0);
		auto_free char *text = mem_printf("%" PRId64, number);

		if (!called[0] || text_eq(name, called) || text_eq(text, called))
			return (uint16_t)number;
	}
	return 0;
}

static const char *subset_pod(const struct json *subset)
{
	const struct json *list = json_get(subset, "addresses");

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *target = json_get(json_at(list, i), "targetRef");

		if (text_eq(json_get_text(target, "kind"), "Pod"))
			return json_get_text(target, "name");
	}
	return NULL;
}

static void with_endpoints(void *ctx, const struct outcome *o)
{
	struct kube_request *r = ctx;
	const struct json *subsets;

	if (o->error && o->error->kind != ERR_NOT_FOUND) {
		answer_outcome_error(r, o);
		return;
	}
	subsets = o->error ? NULL : json_get(object_tree(o->object), "subsets");
	for (size_t i = 0; i < json_len(subsets); i++) {
		const char *pod = subset_pod(json_at(subsets, i));

		r->port = subset_port(json_at(subsets, i), r->port_name);
		if (!pod || !r->port)
			continue;
		r->name = arena_dup_text(&r->arena, pod);
		ask_for_pod(r);
		return;
	}
	answer_status(r, 503, "ServiceUnavailable", NULL,
		      "no endpoints available for service \"%s\"", r->name);
}

/* A service's port has a name or a number; its endpoints know them by name only. */
static void with_service(void *ctx, const struct outcome *o)
{
	const struct kind *endpoints = kind_of_resource("", "v1", "endpoints");
	struct kube_request *r = ctx;
	const struct json *ports;

	if (o->error) {
		answer_outcome_error(r, o);
		return;
	}
	ports = json_get(json_get(object_tree(o->object), "spec"), "ports");
	for (size_t i = 0; i < json_len(ports); i++) {
		const struct json *port = json_at(ports, i);
		auto_free char *number = mem_printf("%" PRId64, json_get_i64(port, "port", 0));
		const char *name = json_get_text(port, "name");

		if (text_eq(r->port_name, number))
			r->port_name = name ? arena_dup_text(&r->arena, name) : "";
	}
	client_get(&r->client, &(struct client_target){endpoints, r->namespace, r->name, NULL},
		   NULL, with_endpoints, r);
}

static void start_proxy(struct kube_request *r)
{
	const char *port = "";

	if (read_name(r, &port) < 0)
		return;
	if (text_eq(r->resource, "services")) {
		r->port_name = port;
		client_get(&r->client,
			   &(struct client_target){r->kind, r->namespace, r->name, NULL}, NULL,
			   with_service, r);
	} else if (text_eq(r->resource, "nodes")) {
		node_proxy_run(r);
	} else if (read_port(r, port) == 0) {
		ask_for_pod(r);
	}
}

void stream_run(struct kube_request *r)
{
	if (text_eq(r->sub, "proxy"))
		start_proxy(r);
	else if (text_eq(r->resource, "pods"))
		ask_for_pod(r);
	else
		answer_status(r, 501, "NotImplemented", NULL, "%s/%s is not served", r->resource,
			      r->sub);
}
