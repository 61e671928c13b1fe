/*
 * What a node answers to by itself (nodes/NAME/proxy/PATH), for those who ask a kubelet: whether
 * it is well, which pods it has, and what they use. The node agent has no server of its own: its
 * pages are rows here. Everything else it does has a verb.
 */
#include <assert.h>
#include <string.h>

#include "api/kube/stream_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

/* Finds the node of the request; NULL, and the request is answered. */
static const struct node_ops *node_here(struct kube_request *r, void **ret_node)
{
	const struct node_directory *nodes = r->kube->o.nodes;
	const struct node_ops *ops = nodes ? nodes->find(nodes->ctx, r->name, ret_node) : NULL;

	if (!ops)
		answer_status(r, 503, "ServiceUnavailable", NULL,
			      "node \"%s\" cannot be reached from here", r->name);
	return ops;
}

static void healthz(struct kube_request *r)
{
	void *node;

	if (node_here(r, &node))
		answer_text(r, 200, "text/plain; charset=utf-8", STR("ok"));
}

/* -- its pods ---------------------------------------------------------------------------------- */

static void listed(void *ctx, const struct list_outcome *l)
{
	struct kube_request *r = ctx;

	if (l->error) {
		answer_error(r, l->error);
		return;
	}
	r->form = ANSWER_OBJECT;
	answer_list(r, l);
}

static void pods(struct kube_request *r)
{
	auto_free char *text = mem_printf("spec.nodeName=%s", r->name);
	const struct client_target t = {kind_of_resource("", "v1", "pods"), NULL, NULL, NULL};
	struct selector fields = {0};
	struct err e;

	if (selector_parse_fields(text, &r->arena, &fields, &e) < 0) {
		answer_error(r, &e);
		return;
	}
	r->kind = t.kind;
	client_list(&r->client, &t, &(struct list_query){.fields = &fields}, listed, r);
}

/* -- what they use ----------------------------------------------------------------------------- */

static void put_use(struct json *into, const struct json *use, const char *time)
{
	struct json *cpu = json_make_object(into, "cpu"), *memory;

	json_set_text(cpu, "time", time);
	json_set_i64(cpu, "usageNanoCores", json_get_i64(use, "cpu", 0));
	memory = json_make_object(into, "memory");
	json_set_text(memory, "time", time);
	json_set_i64(memory, "usageBytes", json_get_i64(use, "memory", 0));
	json_set_i64(memory, "workingSetBytes", json_get_i64(use, "memory", 0));
}

static struct json *pod_use(const struct json *pod, const char *time)
{
	const struct json *list = json_get(pod, "containers");
	struct json *j = json_new_object(), *ref = json_make_object(j, "podRef");
	struct json *containers = json_make_array(j, "containers");

	json_set_text(ref, "name", json_get_text(pod, "name"));
	json_set_text(ref, "namespace", json_get_text(pod, "namespace"));
	for (size_t i = 0; i < json_len(list); i++) {
		struct json *one = json_new_object();

		json_set_text(one, "name", json_get_text(json_at(list, i), "name"));
		put_use(one, json_at(list, i), time);
		json_append(containers, one);
	}
	return j;
}

static void measured(void *ctx, const struct json *stats, const struct err *e)
{
	struct kube_request *r = ctx;
	const struct json *list = json_get(stats, "pods");
	const char *time = json_get_text(stats, "time");
	struct json *j, *node, *used;

	if (e) {
		answer_error(r, e);
		return;
	}
	j = json_new_object();
	node = json_make_object(j, "node");
	json_set_text(node, "nodeName", r->name);
	put_use(node, json_get(stats, "node"), time);
	used = json_make_array(j, "pods");
	for (size_t i = 0; i < json_len(list); i++)
		json_append(used, pod_use(json_at(list, i), time));
	answer_json(r, 200, j);
}

static void summary(struct kube_request *r)
{
	void *node;
	const struct node_ops *ops = node_here(r, &node);

	if (ops)
		ops->stats(node, measured, r);
}

/* -- the pages --------------------------------------------------------------------------------- */

static const struct page {
	const char *path;
	void (*run)(struct kube_request *r);
} pages[] = {
	{"healthz", healthz}, {"pods", pods}, {"runningpods", pods}, {"stats/summary", summary}};

static const struct page *page_of(const struct kube_request *r)
{
	struct str path = str_of(r->rest ? r->rest : "");

	while (path.n && path.p[path.n - 1] == '/')
		path.n--;
	for (size_t i = 0; i < array_len(pages); i++)
		if (str_is(path, pages[i].path))
			return &pages[i];
	return NULL;
}

static void with_node(void *ctx, const struct outcome *o)
{
	struct kube_request *r = ctx;

	if (o->error)
		answer_outcome_error(r, o);
	else
		page_of(r)->run(r);
}

void node_proxy_run(struct kube_request *r)
{
	const char *method = http_request_method(r->http);
	const struct client_target t = {r->kind, NULL, r->name, NULL};

	assert(text_eq(r->resource, "nodes"));
	if (!page_of(r))
		answer_status(
			r, 404, "NotFound", NULL,
			"node \"%s\" has no page \"%s\": it has healthz, pods, runningpods and "
			"stats/summary",
			r->name, r->rest ? r->rest : "");
	else if (!text_eq(method, "GET") && !text_eq(method, "HEAD"))
		answer_status(r, 405, "MethodNotAllowed", NULL,
			      "the pages of a node can only be read");
	else
		client_get(&r->client, &t, NULL, with_node, r);
}
