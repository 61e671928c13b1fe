/*
 * Classes of pods: what a scheduler asks of a pod is its shape (namespace, labels, and the parts of
 * its spec that filters and scores read). Pods whose shapes are the same text are the same to it,
 * and their selectors, sums and terms are made once.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/objects/usage.h"
#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"

static const char *const amount_names[AMOUNTS] = {"cpu", "memory", "ephemeral-storage", "pods"};

/* -- the shape --------------------------------------------------------------------------------- */

static void keep(struct json *to, const struct json *from, const char *key)
{
	struct json *v = json_get(from, key);

	if (v)
		json_set(to, key, json_ref(v));
}

static void keep_list(struct json *to, const struct json *from, const char *list,
		      const char *const *keys)
{
	const struct json *have = json_get(from, list);
	struct json *made = json_new_array();

	for (size_t i = 0; i < json_len(have); i++) {
		struct json *one = json_new_object();

		for (size_t k = 0; keys[k]; k++)
			keep(one, json_at(have, i), keys[k]);
		if (json_len(one))
			json_append(made, one);
		else
			(void)json_free(one);
	}
	json_set(to, list, made);
}

static struct json *shape_of(const struct json *pod)
{
	static const char *const parts[] = {
		"nodeSelector", "affinity", "tolerations",	"topologySpreadConstraints",
		"overhead",	"priority", "preemptionPolicy", "resources"};
	static const char *const of_container[] = {"image", "resources", "ports", NULL};
	static const char *const of_init[] = {"resources", "ports", "restartPolicy", NULL};
	static const char *const of_volume[] = {"persistentVolumeClaim", "ephemeral", NULL};
	const struct json *meta = json_get(pod, "metadata"), *spec = json_get(pod, "spec");
	struct json *shape = json_new_object(), *made = json_new_object();

	keep(shape, meta, "namespace");
	keep(shape, meta, "labels");
	for (size_t i = 0; i < array_len(parts); i++)
		keep(made, spec, parts[i]);
	keep_list(made, spec, "containers", of_container);
	keep_list(made, spec, "initContainers", of_init);
	keep_list(made, spec, "volumes", of_volume);
	json_set(shape, "spec", made);
	return shape;
}

/* -- sums -------------------------------------------------------------------------------------- */

static void sum_up(struct pod_class *c)
{
	struct usage u = {.arena = &c->arena};

	usage_of_pod(c->shape, "requests", &u);
	c->extras = arena_new_array(&c->arena, struct extra, USAGE_MAX);
	for (size_t i = 0; i < u.n; i++) {
		int a = 0;

		while (a < AMOUNTS && !text_eq(u.list[i].name, amount_names[a]))
			a++;
		if (a < AMOUNTS)
			c->wants.n[a] = a == AMOUNT_CPU ? quantity_milli(&u.list[i].amount)
							: quantity_whole(&u.list[i].amount);
		else if (quantity_whole(&u.list[i].amount))
			c->extras[c->extras_n++] =
				(struct extra){u.list[i].name, quantity_whole(&u.list[i].amount)};
	}
	c->wants.n[AMOUNT_PODS] = 1;
}

static void add_ports(struct pod_class *c, const struct json *containers, size_t *room)
{
	for (size_t i = 0; i < json_len(containers); i++) {
		const struct json *ports = json_get(json_at(containers, i), "ports");

		for (size_t p = 0; p < json_len(ports); p++) {
			const struct json *one = json_at(ports, p);
			int64_t port = json_get_i64(one, "hostPort", 0);
			const char *proto = json_get_text(one, "protocol");
			const char *ip = json_get_text(one, "hostIP");

			if (!port)
				continue;
			mem_grow(c->ports, c->ports_n + 1, *room);
			c->ports[c->ports_n++] =
				arena_printf(&c->arena, "%s/%lld/%s", proto ? proto : "TCP",
					     (long long)port, ip && ip[0] ? ip : "0.0.0.0");
		}
	}
}

static void add_lists(struct pod_class *c)
{
	const struct json *containers = json_get(c->spec, "containers"),
			  *volumes = json_get(c->spec, "volumes");
	size_t room = 0;

	add_ports(c, containers, &room);
	c->containers_n = json_len(containers);
	c->images = arena_new_array(&c->arena, char *, json_len(containers) + 1);
	for (size_t i = 0; i < json_len(containers); i++) {
		const char *image = json_get_text(json_at(containers, i), "image");

		if (image)
			c->images[c->images_n++] = arena_dup_text(&c->arena, image);
	}
	c->claims = arena_new_array(&c->arena, char *, json_len(volumes) + 1);
	for (size_t i = 0; i < json_len(volumes); i++) {
		const char *claim = json_get_text(
			json_get(json_at(volumes, i), "persistentVolumeClaim"), "claimName");

		if (claim)
			c->claims[c->claims_n++] = arena_dup_text(&c->arena, claim);
	}
}

/* -- terms ------------------------------------------------------------------------------------- */

/* The selector with what matchLabelKeys and mismatchLabelKeys add of the pod's own labels. */
static void read_selector(struct pod_class *c, const struct json *from, struct term *t)
{
	static const char *const lists[][2] = {{"matchLabelKeys", "In"},
					       {"mismatchLabelKeys", "NotIn"}};
	const struct json *selector = json_get(from, "labelSelector");
	struct json *whole = selector ? json_copy(selector) : NULL;
	struct err e;

	t->nothing = !selector;
	for (size_t l = 0; whole && l < array_len(lists); l++) {
		const struct json *keys = json_get(from, lists[l][0]);

		for (size_t i = 0; i < json_len(keys); i++) {
			const char *key = json_text(json_at(keys, i));
			const char *value = key ? json_get_text(c->labels, key) : NULL;
			struct json *one;

			if (!value)
				continue;
			one = json_new_object();
			json_set_text(one, "key", key);
			json_set_text(one, "operator", lists[l][1]);
			json_append(json_make_array(one, "values"), json_new_text(value));
			json_append(json_make_array(whole, "matchExpressions"), one);
		}
	}
	if (whole && selector_of_json(whole, &c->arena, &t->selector, &e) < 0)
		t->nothing = true;
	(void)json_free(whole);
}

static void read_term(struct pod_class *c, const struct json *from, bool anti, int64_t weight)
{
	struct term *t = &c->terms[c->terms_n++];
	const struct json *of = json_get(from, "namespaceSelector");
	const char *key = json_get_text(from, "topologyKey");
	struct err e;

	*t = (struct term){.key = key ? key : "", .anti = anti, .weight = weight};
	read_selector(c, from, t);
	t->namespaces = json_get(from, "namespaces");
	t->any_namespace = json_kind(of) == JSON_OBJECT;
	if (t->any_namespace && selector_of_json(of, &c->arena, &t->of_namespace, &e) < 0)
		t->any_namespace = false;
}

static void read_terms(struct pod_class *c)
{
	static const char *const names[] = {"podAffinity", "podAntiAffinity"};
	const struct json *affinity = json_get(c->spec, "affinity");
	const struct json *lists[2][2];
	size_t n = 0;

	for (size_t i = 0; i < 2; i++) {
		const struct json *a = json_get(affinity, names[i]);

		lists[i][0] = json_get(a, "requiredDuringSchedulingIgnoredDuringExecution");
		lists[i][1] = json_get(a, "preferredDuringSchedulingIgnoredDuringExecution");
		n += json_len(lists[i][0]) + json_len(lists[i][1]);
	}
	c->terms = arena_new_array(&c->arena, struct term, n + 1);
	for (size_t i = 0; i < 2; i++) {
		for (size_t t = 0; t < json_len(lists[i][0]); t++)
			read_term(c, json_at(lists[i][0], t), i == 1, 0);
		for (size_t t = 0; t < json_len(lists[i][1]); t++) {
			const struct json *one = json_at(lists[i][1], t);

			read_term(c, json_get(one, "podAffinityTerm"), i == 1,
				  json_get_i64(one, "weight", 1));
		}
	}
}

static void read_spreads(struct pod_class *c)
{
	const struct json *list = json_get(c->spec, "topologySpreadConstraints");

	c->spreads = arena_new_array(&c->arena, struct term, json_len(list) + 1);
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *from = json_at(list, i);
		struct term *t = &c->spreads[c->spreads_n++];
		const char *key = json_get_text(from, "topologyKey");

		t->key = key ? key : "";
		t->max_skew = json_get_i64(from, "maxSkew", 1);
		t->min_domains = json_get_i64(from, "minDomains", 1);
		t->hard = !text_eq(json_get_text(from, "whenUnsatisfiable"), "ScheduleAnyway");
		t->heed_affinity = !text_eq(json_get_text(from, "nodeAffinityPolicy"), "Ignore");
		t->heed_taints = text_eq(json_get_text(from, "nodeTaintsPolicy"), "Honor");
		read_selector(c, from, t);
	}
}

/* -- the door ---------------------------------------------------------------------------------- */

static struct pod_class *class_new(struct json *shape, char *text)
{
	struct pod_class *c = mem_new(struct pod_class);
	const struct json *near;

	c->text = text;
	c->shape = shape;
	c->labels = json_get(shape, "labels");
	c->spec = json_get(shape, "spec");
	c->namespace = json_get_text(shape, "namespace");
	c->namespace = c->namespace ? c->namespace : "";
	near = json_get(json_get(c->spec, "affinity"), "nodeAffinity");
	c->node_terms = json_get(json_get(near, "requiredDuringSchedulingIgnoredDuringExecution"),
				 "nodeSelectorTerms");
	c->node_prefers = json_get(near, "preferredDuringSchedulingIgnoredDuringExecution");
	c->tolerations = json_get(c->spec, "tolerations");
	c->priority = json_get_i64(c->spec, "priority", 0);
	c->preempts = !text_eq(json_get_text(c->spec, "preemptionPolicy"), "Never");
	selector_of_map(json_get(c->spec, "nodeSelector"), &c->arena, &c->by_label);
	sum_up(c);
	add_lists(c);
	read_terms(c);
	read_spreads(c);
	return c;
}

struct pod_class *class_of(struct scheduler *s, const struct json *pod)
{
	struct strbuf text = {0};
	struct json *shape = shape_of(pod);
	struct pod_class *c;

	json_write(shape, &text);
	c = map_get(&s->classes, strbuf_text(&text));
	if (c) {
		(void)json_free(shape);
		strbuf_done(&text);
		c->refs++;
		return c;
	}
	c = class_new(shape, strbuf_take(&text));
	c->refs = 1;
	(void)map_put(&s->classes, c->text, c);
	if (c->terms_n) {
		(void)map_put(&s->with_terms, c->text, c);
		s->epoch++;
	}
	return c;
}

void class_drop(struct scheduler *s, struct pod_class *c)
{
	if (!c)
		return;
	assert(c->refs > 0);
	if (--c->refs > 0)
		return;
	(void)map_remove(&s->classes, c->text);
	if (map_remove(&s->with_terms, c->text))
		s->epoch++;
	rank_free(s, c);
	arena_done(&c->arena);
	(void)json_free(c->shape);
	free(c->ports);
	free(c->text);
	free(c);
}

bool class_matches(const struct scheduler *s, const struct pod_class *owner,
		   const struct term *term, const struct pod_class *other)
{
	bool own = json_len(term->namespaces) == 0 && !term->any_namespace;
	bool in = own ? text_eq(owner->namespace, other->namespace)
		      : json_lists(term->namespaces, other->namespace);

	if (term->nothing)
		return false;
	if (!in && term->any_namespace && term->of_namespace.n == 0)
		in = true;
	if (!in && term->any_namespace) {
		const struct object *ns =
			s->namespaces ? informer_get(s->namespaces, NULL, other->namespace) : NULL;

		in = ns && object_selected(ns, &term->of_namespace);
	}
	return in && selector_matches(&term->selector, other->labels);
}
