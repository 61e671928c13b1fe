/*
 * Computed kinds: objects that nobody stores. What nodes and pods use now (metrics.k8s.io) is asked
 * of the nodes that can be reached; how the parts of the control plane do is plain, as all of them
 * are in the process that answers.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/node_ops.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

struct computing {
	struct kube_request *request;
	struct selector labels, fields;
	struct map stats;	     /* node name -> struct json * */
	const struct object **items; /* the answer; owned */
	size_t n, room, left;
};

struct asking {
	struct computing *all;
	char *node;
};

static void computing_free(struct computing *c)
{
	map_each (&c->stats, it)
		(void)json_free(it->value);
	map_done(&c->stats);
	for (size_t i = 0; i < c->n; i++)
		(void)object_unref(c->items[i]);
	free(c->items);
	free(c);
}

static struct json *new_item(const struct kind *k, const char *namespace, const char *name)
{
	struct json *j = json_new_object(), *meta = json_new_object();
	char api[128];

	json_set_text(j, "kind", k->name);
	json_set_text(j, "apiVersion", kind_api(k, api, sizeof(api)));
	json_set_text(meta, "name", name);
	if (namespace && namespace[0])
		json_set_text(meta, "namespace", namespace);
	json_set(j, "metadata", meta);
	return j;
}

/* Takes the tree. It is kept when the request's selectors choose it. */
static void add(struct computing *c, struct json *tree)
{
	auto_object const struct object *o = object_of_tree(c->request->kind, tree);

	(void)json_free(tree);
	if (!object_selected(o, &c->labels) || !object_selected_fields(o, &c->fields))
		return;
	mem_grow(c->items, c->n + 1, c->room);
	c->items[c->n++] = object_ref(o);
}

static void answer(struct computing *c)
{
	struct kube_request *r = c->request;
	char resource[128];

	if (!r->name[0])
		answer_list(r, &(struct list_outcome){
				       .items = c->items, .n = c->n, .next = "", .remaining = -1});
	else if (c->n)
		answer_object(r, 200, c->items[0]);
	else
		answer_status(r, 404, "NotFound", NULL, "%s \"%s\" not found",
			      kind_resource(r->kind, resource, sizeof(resource)), r->name);
	computing_free(c);
}

/* -- use --------------------------------------------------------------------------------------- */

static struct json *usage_of(const struct json *from)
{
	struct json *usage = json_new_object();
	auto_free char *cpu = mem_printf("%lldn", (long long)json_get_i64(from, "cpu", 0));
	auto_free char *memory =
		mem_printf("%lldKi", (long long)json_get_i64(from, "memory", 0) / 1024);

	json_set_text(usage, "cpu", cpu);
	json_set_text(usage, "memory", memory);
	return usage;
}

static void set_time(struct json *item, const struct json *stats)
{
	auto_free char *window = mem_printf("%llds", (long long)json_get_i64(stats, "window_s", 1));
	const char *time = json_get_text(stats, "time");

	if (time)
		json_set_text(item, "timestamp", time);
	json_set_text(item, "window", window);
}

static void set_labels(struct json *item, const struct object *o)
{
	const struct json *labels = json_get(json_get(object_tree(o), "metadata"), "labels");

	if (labels)
		json_set(json_get(item, "metadata"), "labels", json_copy(labels));
}

static void add_node(struct computing *c, const struct object *node)
{
	const struct json *stats = map_get(&c->stats, node->name);
	struct json *item;

	if (!stats)
		return;
	item = new_item(c->request->kind, NULL, node->name);
	set_labels(item, node);
	set_time(item, stats);
	json_set(item, "usage", usage_of(json_get(stats, "node")));
	add(c, item);
}

static const struct json *pod_stats(const struct json *stats, const struct object *pod)
{
	const struct json *pods = json_get(stats, "pods");

	for (size_t i = 0; i < json_len(pods); i++) {
		const struct json *one = json_at(pods, i);

		if (text_eq(json_get_text(one, "name"), pod->name) &&
		    text_eq(json_get_text(one, "namespace"), pod->namespace))
			return one;
	}
	return NULL;
}

static void add_pod(struct computing *c, const struct object *pod)
{
	const struct json *stats = map_get(&c->stats, object_value(pod, "spec.nodeName"));
	const struct json *one = pod_stats(stats, pod), *from = json_get(one, "containers");
	struct json *item, *containers;

	if (json_len(from) == 0)
		return; /* nothing of it runs */
	item = new_item(c->request->kind, pod->namespace, pod->name);
	set_labels(item, pod);
	set_time(item, stats);
	containers = json_new_array();
	for (size_t i = 0; i < json_len(from); i++) {
		struct json *j = json_new_object();

		json_set_text(j, "name", json_get_text(json_at(from, i), "name"));
		json_set(j, "usage", usage_of(json_at(from, i)));
		json_append(containers, j);
	}
	json_set(item, "containers", containers);
	add(c, item);
}

static void listed(void *ctx, const struct list_outcome *l)
{
	struct computing *c = ctx;
	struct kube_request *r = c->request;
	bool pods = r->kind->flags & KIND_NAMESPACED;

	if (l->error) {
		answer_error(r, l->error);
		computing_free(c);
		return;
	}
	for (size_t i = 0; i < l->n; i++) {
		if (r->name[0] && !text_eq(l->items[i]->name, r->name))
			continue;
		if (pods)
			add_pod(c, l->items[i]);
		else
			add_node(c, l->items[i]);
	}
	answer(c);
}

static void list_what_uses(struct computing *c)
{
	struct kube_request *r = c->request;
	bool pods = r->kind->flags & KIND_NAMESPACED;
	struct client_target t = {kind_of_resource("", "v1", pods ? "pods" : "nodes"),
				  pods ? r->namespace : NULL, NULL, NULL};

	client_list(&r->kube->client, &t, &(struct list_query){.labels = NULL}, listed, c);
}

static void one_less(struct computing *c)
{
	assert(c->left > 0);
	if (--c->left == 0)
		list_what_uses(c);
}

static void measured(void *ctx, const struct json *stats, const struct err *e)
{
	struct asking *a = ctx;
	struct computing *c = a->all;

	if (!e && stats)
		(void)json_free(map_put(&c->stats, a->node, json_copy(stats)));
	free(a->node);
	free(a);
	one_less(c);
}

static void ask_node(struct computing *c, const char *name)
{
	const struct node_directory *nodes = c->request->kube->o.nodes;
	const struct node_ops *ops;
	struct asking *a;
	void *node = NULL;

	ops = nodes ? nodes->find(nodes->ctx, name, &node) : NULL;
	if (!ops)
		return;
	a = mem_new(struct asking);
	a->all = c;
	a->node = mem_dup_text(name);
	c->left++;
	ops->stats(node, measured, a);
}

static void nodes_listed(void *ctx, const struct list_outcome *l)
{
	struct computing *c = ctx;

	c->left = 1; /* a node may answer at once: it is the last only when all were asked */
	for (size_t i = 0; !l->error && i < l->n; i++)
		ask_node(c, l->items[i]->name);
	one_less(c);
}

/* -- parts ------------------------------------------------------------------------------------- */

static void parts(struct computing *c)
{
	static const char *const names[] = {"controller-manager", "scheduler", "etcd-0"};
	struct kube_request *r = c->request;

	for (size_t i = 0; i < array_len(names); i++) {
		struct json *item, *list, *one;

		if (r->name[0] && !text_eq(r->name, names[i]))
			continue;
		item = new_item(r->kind, NULL, names[i]);
		list = json_new_array();
		one = json_new_object();
		json_set_text(one, "type", "Healthy");
		json_set_text(one, "status", "True");
		json_set_text(one, "message", "ok");
		json_append(list, one);
		json_set(item, "conditions", list);
		add(c, item);
	}
	answer(c);
}

void computed_run(struct kube_request *r, const struct list_query *q)
{
	struct client_target nodes = {kind_of_resource("", "v1", "nodes"), NULL, NULL, NULL};
	struct computing *c = mem_new(struct computing);

	c->request = r;
	c->labels = *q->labels;
	c->fields = *q->fields; /* both in the request's arena */
	if (text_eq(r->kind->name, "ComponentStatus"))
		parts(c);
	else
		client_list(&r->kube->client, &nodes, &(struct list_query){.labels = NULL},
			    nodes_listed, c);
}
