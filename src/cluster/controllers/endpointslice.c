/*
 * Endpoint slices: the addresses of a service's pods, at most a hundred in one object, so that one
 * pod's change is a small write however many serve. An endpoint stays in the slice it is in; pods
 * that are going are told as terminating, not ready any more. Slices go with their service by
 * ownership.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/pod.h"
#include "cluster/controllers/served.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

#define MANAGER	      "endpointslice-controller.k8s.io"
#define ENDPOINTS_MAX 100 /* in one slice */
#define ZONE	      "topology.kubernetes.io/zone"

static struct informer *view(const struct controller *c)
{
	return controller_view(c, "discovery.k8s.io", "endpointslices");
}

static bool is_ours(const struct object *slice)
{
	return text_eq(object_label(slice, MANAGED_BY_SLICES), MANAGER);
}

static void on_slice(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	const struct object *slice = now ? now : before;
	const char *service = object_label(slice, SERVICE_NAME_LABEL);
	auto_free char *key = NULL;

	if (!is_ours(slice) || !service)
		return;
	key = mem_printf("%s/%s", slice->namespace, service);
	workqueue_add(c->queue, key);
}

static void begin(struct controller *c)
{
	(void)controller_view(c, "", "nodes");
	served_subscribe(c);
	informer_on(view(c), on_slice, c);
}

/* What shall be in slices of one family and one set of ports. */
struct group {
	const char *family;
	struct json *ports;
	struct map endpoints; /* pod's uid -> struct json *, not yet in a slice */
	struct group *next;
};

struct build {
	struct work *work;
	const struct object *service;
	const char *family;
	struct group *groups;
	bool any; /* of this family */
};

static struct group *group_of(struct build *b, struct json *ports)
{
	struct group *g;

	for (g = b->groups; g; g = g->next)
		if (text_eq(g->family, b->family) && json_equal(g->ports, ports)) {
			(void)json_free(ports);
			return g;
		}
	g = mem_new(struct group);
	g->family = b->family;
	g->ports = ports;
	g->next = b->groups;
	b->groups = g;
	return g;
}

static void add_pod(void *ctx, const struct object *pod)
{
	struct build *b = ctx;
	const struct controller *c = b->work->controller;
	const char *ip = served_address(c, pod, b->family), *zone;
	struct json *endpoint, *list, *conditions, *ports;
	const struct object *node;
	bool serving;

	if (!ip)
		return;
	ports = served_ports(c, b->service, pod);
	if (json_len(ports) == 0 && json_len(json_get(tree_spec(b->service), "ports")) > 0) {
		(void)json_free(ports);
		return;
	}
	serving = pod_of(c, pod)->ready;
	endpoint = json_new_object();
	list = json_new_array();
	json_append(list, json_new_text(ip));
	json_set(endpoint, "addresses", list);
	conditions = json_make_object(endpoint, "conditions");
	json_set_bool(conditions, "ready",
		      served_publishes_unready(b->service) || (serving && !pod->deleting));
	json_set_bool(conditions, "serving", serving);
	json_set_bool(conditions, "terminating", pod->deleting);
	served_describe(c, endpoint, b->service, pod);
	node = informer_get(controller_view(c, "", "nodes"), "",
			    object_value(pod, "spec.nodeName"));
	zone = node ? object_label(node, ZONE) : NULL;
	if (zone)
		json_set_text(endpoint, "zone", zone);
	(void)map_put(&group_of(b, ports)->endpoints, pod->uid, endpoint);
	b->any = true;
}

/* -- slices ------------------------------------------------------------------------------------ */

/* Puts what is left of a group behind `list`, as far as there is room. */
static void fill(struct json *list, struct group *g)
{
	map_each (&g->endpoints, it) {
		auto_free char *uid = NULL;

		if (json_len(list) >= ENDPOINTS_MAX)
			return;
		uid = mem_dup_text(it->key);
		json_append(list, it->value);
		(void)map_remove(&g->endpoints, uid);
	}
}

static struct json *slice_of(struct build *b, const char *family, const struct json *ports,
			     struct json *endpoints)
{
	struct json *slice = json_new_object(), *meta = json_make_object(slice, "metadata");
	struct json *owners = json_new_array(), *labels;
	auto_free char *prefix = mem_printf("%s-", b->service->name);

	labels = served_labels(b->service, MANAGED_BY_SLICES, MANAGER);
	json_set_text(labels, SERVICE_NAME_LABEL, b->service->name);
	json_set_text(meta, "generateName", prefix);
	json_set(meta, "labels", labels);
	json_append(owners, owner_reference(b->service));
	json_set(meta, "ownerReferences", owners);
	json_set_text(slice, "addressType", family);
	json_set(slice, "endpoints", endpoints);
	json_set(slice, "ports", ports ? json_copy(ports) : json_new_array());
	return slice;
}

static void update(struct build *b, const struct object *slice, struct json *endpoints)
{
	const struct json *tree = object_tree(slice);
	struct json *want =
		slice_of(b, json_get_text(tree, "addressType"), json_get(tree, "ports"), endpoints);
	const struct json *labels = json_get(json_get(want, "metadata"), "labels");

	if (json_equal(json_get(tree, "endpoints"), endpoints) &&
	    json_equal(json_get(json_get(tree, "metadata"), "labels"), labels)) {
		(void)json_free(want);
		return;
	}
	json_remove(json_get(want, "metadata"), "generateName");
	work_patch(b->work, slice, NULL, want);
}

/* The endpoints of a slice that are still wanted, as they are now, and new ones in its room. */
static struct json *refill(struct group *g, const struct object *slice)
{
	const struct json *have = json_get(object_tree(slice), "endpoints");
	struct json *list = json_new_array();

	for (size_t i = 0; i < json_len(have); i++) {
		const char *uid = json_get_text(json_get(json_at(have, i), "targetRef"), "uid");
		struct json *now = uid ? map_remove(&g->endpoints, uid) : NULL;

		if (now)
			json_append(list, now);
	}
	return list;
}

static struct group *group_for(const struct build *b, const struct object *slice)
{
	const struct json *tree = object_tree(slice), *ports = json_get(tree, "ports");

	for (struct group *g = b->groups; g; g = g->next)
		if (text_eq(g->family, json_get_text(tree, "addressType")) &&
		    (json_equal(g->ports, ports) || json_len(g->ports) + json_len(ports) == 0))
			return g;
	return NULL;
}

struct found {
	const struct object *service;
	struct owned slices;
};

static bool find(void *ctx, const struct object *slice)
{
	struct found *f = ctx;

	if (is_ours(slice) && !slice->deleting &&
	    text_eq(object_label(slice, SERVICE_NAME_LABEL), f->service->name)) {
		mem_grow(f->slices.list, f->slices.n + 1, f->slices.room);
		f->slices.list[f->slices.n++] = object_ref(slice);
	}
	return true;
}

/* One slice without endpoints says that there are none. */
static void keep_placeholder(struct build *b, struct found *f, const char *family)
{
	for (size_t i = 0; i < f->slices.n; i++) {
		const struct object *slice = f->slices.list[i];

		if (slice && text_eq(json_get_text(object_tree(slice), "addressType"), family)) {
			update(b, slice, json_new_array());
			(void)object_unref(slice);
			f->slices.list[i] = NULL;
			return;
		}
	}
	work_create(b->work, view_kind("discovery.k8s.io", "endpointslices"), b->service->namespace,
		    slice_of(b, family, NULL, json_new_array()));
}

static void reconcile(struct build *b, struct found *f)
{
	struct json **lists = mem_new_array(struct json *, f->slices.n + 1);
	struct group **groups = mem_new_array(struct group *, f->slices.n + 1);

	for (size_t i = 0; i < f->slices.n; i++) {
		if (!f->slices.list[i])
			continue;
		groups[i] = group_for(b, f->slices.list[i]);
		if (groups[i])
			lists[i] = refill(groups[i], f->slices.list[i]);
	}
	for (size_t i = 0; i < f->slices.n; i++) {
		if (!f->slices.list[i])
			continue;
		if (groups[i])
			fill(lists[i], groups[i]);
		if (json_len(lists[i]) > 0) {
			update(b, f->slices.list[i], lists[i]);
		} else {
			(void)json_free(lists[i]);
			work_delete(b->work, f->slices.list[i]);
		}
	}
	for (struct group *g = b->groups; g; g = g->next)
		while (g->endpoints.count > 0) {
			struct json *list = json_new_array();

			fill(list, g);
			work_create(b->work, view_kind("discovery.k8s.io", "endpointslices"),
				    b->service->namespace, slice_of(b, g->family, g->ports, list));
		}
	free(lists);
	free(groups);
}

static void look(struct work *w)
{
	struct controller *c = w->controller;
	const struct object *service =
		informer_get(controller_view(c, "", "services"), w->namespace, w->name);
	struct build b = {.work = w, .service = service};
	struct found f = {.service = service};

	if (!service || service->deleting || !served_has_selector(service)) {
		work_end(w);
		return;
	}
	informer_each(view(c), service->namespace, find, &f);
	for (size_t i = 0; (b.family = served_family(service, i)) != NULL; i++) {
		b.any = false;
		served_each(c, service, add_pod, &b);
		if (!b.any)
			keep_placeholder(&b, &f, b.family);
	}
	reconcile(&b, &f);
	while (b.groups) {
		struct group *g = b.groups;

		b.groups = g->next;
		(void)json_free(g->ports);
		map_done(&g->endpoints);
		free(g);
	}
	owned_done(&f.slices);
	work_end(w);
}

const struct controller_row endpointslice_row = {"endpointslice", begin, look, NULL};
