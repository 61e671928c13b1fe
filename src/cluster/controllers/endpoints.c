/*
 * Endpoints: for each service with a selector one object of its name with the addresses of its
 * pods, those that are ready apart from those that are not. A pod that is being deleted leaves at
 * once, before it is told to stop.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/pod.h"
#include "cluster/controllers/served.h"
#include "ground/base/mem.h"

#define MANAGER "endpoint-controller"

static struct informer *view(const struct controller *c)
{
	return controller_view(c, "", "endpoints");
}

static void begin(struct controller *c)
{
	served_subscribe(c);
	informer_on(view(c), controller_on_self, c);
}

struct build {
	const struct controller *controller;
	const struct object *service;
	const char *family;
	struct json *subsets;
};

/* The subset with these ports (taken). */
static struct json *subset_of(struct json *subsets, struct json *ports)
{
	struct json *one;

	for (size_t i = 0; i < json_len(subsets); i++)
		if (json_equal(json_get(json_at(subsets, i), "ports"), ports)) {
			(void)json_free(ports);
			return json_at(subsets, i);
		}
	one = json_new_object();
	json_set(one, "ports", ports);
	json_append(subsets, one);
	return one;
}

static void append(struct json *subset, const char *key, struct json *address)
{
	if (!json_get(subset, key))
		json_set(subset, key, json_new_array());
	json_append(json_get(subset, key), address);
}

static int by_ip(const void *x, const void *y)
{
	struct json *const *a = x, *const *b = y;

	return strcmp(json_get_text(*a, "ip"), json_get_text(*b, "ip"));
}

/* In the order of their texts: the same pods are the same object. */
static void sort(struct json *subset, const char *key)
{
	const struct json *have = json_get(subset, key);
	size_t n = json_len(have);
	struct json **list, *sorted;

	if (n < 2)
		return;
	list = mem_new_array(struct json *, n);
	for (size_t i = 0; i < n; i++)
		list[i] = json_at(have, i);
	qsort(list, n, sizeof(*list), by_ip);
	sorted = json_new_array();
	for (size_t i = 0; i < n; i++)
		json_append(sorted, json_ref(list[i]));
	free(list);
	json_set(subset, key, sorted);
}

static void add_pod(void *ctx, const struct object *pod)
{
	struct build *b = ctx;
	bool unready = served_publishes_unready(b->service);
	const char *ip = served_address(b->controller, pod, b->family);
	struct json *address, *ports;

	if (!ip || (pod->deleting && !unready))
		return;
	ports = served_ports(b->controller, b->service, pod);
	if (json_len(ports) == 0 && json_len(json_get(tree_spec(b->service), "ports")) > 0) {
		(void)json_free(ports);
		return;
	}
	address = json_new_object();
	json_set_text(address, "ip", ip);
	served_describe(b->controller, address, b->service, pod);
	append(subset_of(b->subsets, ports),
	       unready || pod_of(b->controller, pod)->ready ? "addresses" : "notReadyAddresses",
	       address);
}

/* In order; unnamed ports and no ports are written as Kubernetes writes them. */
static void tidy(struct json *subsets)
{
	for (size_t i = 0; i < json_len(subsets); i++) {
		struct json *subset = json_at(subsets, i), *ports = json_get(subset, "ports");

		sort(subset, "addresses");
		sort(subset, "notReadyAddresses");
		if (json_len(ports) == 0)
			json_remove(subset, "ports");
		for (size_t k = 0; k < json_len(ports); k++)
			if (text_eq(json_get_text(json_at(ports, k), "name"), ""))
				json_remove(json_at(ports, k), "name");
	}
}

static bool same(const struct object *have, const struct json *want)
{
	const struct json *tree = object_tree(have), *subsets = json_get(tree, "subsets");
	const struct json *labels = json_get(json_get(tree, "metadata"), "labels");

	return json_equal(labels, json_get(json_get(want, "metadata"), "labels")) &&
	       (json_equal(subsets, json_get(want, "subsets")) ||
		json_len(subsets) + json_len(json_get(want, "subsets")) == 0);
}

static struct json *without_null(struct json *want, const struct json *have_labels)
{
	struct json *labels = json_get(json_get(want, "metadata"), "labels");
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(have_labels, &it, &key, &value))
		if (!json_get(labels, key))
			json_set(labels, key, NULL); /* a merge patch takes it away */
	return want;
}

static void look(struct work *w)
{
	struct controller *c = w->controller;
	const struct object *service =
		informer_get(controller_view(c, "", "services"), w->namespace, w->name);
	const struct object *have = informer_get(view(c), w->namespace, w->name);
	struct build b = {.controller = c, .service = service};
	struct json *want;

	if (!service && have && object_label(have, MANAGED_BY_ENDPOINTS))
		work_delete(w, have);
	if (!service || service->deleting || !served_has_selector(service)) {
		work_end(w);
		return;
	}
	b.family = served_family(service, 0);
	b.subsets = json_new_array();
	served_each(c, service, add_pod, &b);
	tidy(b.subsets);
	want = json_new_object();
	json_set_text(json_make_object(want, "metadata"), "name", service->name);
	json_set(json_make_object(want, "metadata"), "labels",
		 served_labels(service, MANAGED_BY_ENDPOINTS, MANAGER));
	json_set(want, "subsets", b.subsets);
	if (!have)
		work_create(w, view_kind("", "endpoints"), service->namespace, want);
	else if (!same(have, want))
		work_patch(w, have, NULL,
			   without_null(want, json_get(json_get(object_tree(have), "metadata"),
						       "labels")));
	else
		(void)json_free(want);
	work_end(w);
}

const struct controller_row endpoints_row = {"endpoint", begin, look, NULL};
