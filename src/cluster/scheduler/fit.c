/*
 * Filters and scores: whether a pod fits a node, why not, and which of those where it fits is best.
 * Filters are rows; each says its reason as Kubernetes does, so that the sentence about a pod that
 * fits nowhere is one that operators know.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/objects/usage.h"
#include "cluster/scheduler/scheduler_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

#define REASONS_MAX 32

static const char *const amount_names[AMOUNTS] = {"cpu", "memory", "ephemeral-storage", "pods"};

/* -- amounts ----------------------------------------------------------------------------------- */

static int64_t amount_of(enum amount a, const struct quantity *q)
{
	return a == AMOUNT_CPU ? quantity_milli(q) : quantity_whole(q);
}

void fit_amounts(const struct json *pod, struct amounts *ret)
{
	auto_arena struct arena a = {0};
	struct usage u = {.arena = &a};

	usage_of_pod(pod, "requests", &u);
	for (int i = 0; i < AMOUNTS; i++) {
		const struct quantity *q = usage_get(&u, amount_names[i]);

		ret->n[i] = q ? amount_of((enum amount)i, q) : 0;
	}
	ret->n[AMOUNT_PODS] = 1;
}

void fit_room(const struct json *node, struct amounts *ret)
{
	const struct json *room = json_get(json_get(node, "status"), "allocatable");

	for (int i = 0; i < AMOUNTS; i++) {
		const struct json *v = json_get(room, amount_names[i]);
		struct quantity q;
		struct err e;

		ret->n[i] = v && quantity_parse(json_str(v), &q, &e) == 0
				    ? amount_of((enum amount)i, &q)
				    : 0;
	}
}

struct json *fit_ports(const struct json *pod)
{
	const struct json *containers = json_get(json_get(pod, "spec"), "containers");
	struct json *keys = json_new_array();

	for (size_t i = 0; i < json_len(containers); i++) {
		const struct json *ports = json_get(json_at(containers, i), "ports");

		for (size_t p = 0; p < json_len(ports); p++) {
			int64_t port = json_get_i64(json_at(ports, p), "hostPort", 0);
			const char *proto = json_get_text(json_at(ports, p), "protocol");
			auto_free char *key =
				mem_printf("%s/%lld", proto ? proto : "TCP", (long long)port);

			if (port)
				json_append(keys, json_new_text(key));
		}
	}
	return keys;
}

/* -- filters ----------------------------------------------------------------------------------- */

struct question {
	const struct json *pod, *spec;
	struct amounts wants;
	struct json *ports;
};

/* Why it does not fit, as Kubernetes says it; NULL: it does. In the arena or static. */
typedef const char *filter_fn(const struct question *q, const struct node_info *n, struct arena *a);

static bool tolerates(const struct json *list, const struct json *taint)
{
	const char *key = json_get_text(taint, "key"), *value = json_get_text(taint, "value"),
		   *effect = json_get_text(taint, "effect");

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *t = json_at(list, i);
		const char *k = json_get_text(t, "key"), *v = json_get_text(t, "value"),
			   *e = json_get_text(t, "effect");
		bool exists = text_eq(json_get_text(t, "operator"), "Exists");

		if (e && e[0] && !text_eq(e, effect))
			continue;
		if (k && k[0] && !text_eq(k, key))
			continue;
		if (exists || (k && k[0] && text_eq(v ? v : "", value ? value : "")))
			return true;
	}
	return false;
}

static const char *by_cordon(const struct question *q, const struct node_info *n, struct arena *a)
{
	static const char reason[] = "node(s) were unschedulable";
	struct json *taint;
	bool fine;

	(void)a;
	if (!json_get_bool(json_get(n->node, "spec"), "unschedulable", false))
		return NULL;
	taint = json_new_object();
	json_set_text(taint, "key", "node.kubernetes.io/unschedulable");
	json_set_text(taint, "effect", "NoSchedule");
	fine = tolerates(json_get(q->spec, "tolerations"), taint);
	(void)json_free(taint);
	return fine ? NULL : reason;
}

static const char *by_taints(const struct question *q, const struct node_info *n, struct arena *a)
{
	const struct json *taints = json_get(json_get(n->node, "spec"), "taints");

	for (size_t i = 0; i < json_len(taints); i++) {
		const struct json *t = json_at(taints, i);
		const char *value = json_get_text(t, "value");

		if (text_eq(json_get_text(t, "effect"), "PreferNoSchedule") ||
		    tolerates(json_get(q->spec, "tolerations"), t))
			continue;
		return arena_printf(a, "node(s) had untolerated taint {%s: %s}",
				    json_get_text(t, "key"), value ? value : "");
	}
	return NULL;
}

static const struct json *labels_of(const struct node_info *n)
{
	return json_get(json_get(n->node, "metadata"), "labels");
}

/* One term of a node selector: all of its expressions and fields. */
static bool term_matches(const struct json *term, const struct node_info *n)
{
	auto_arena struct arena a = {0};
	auto_json struct json *labels = json_new_object(), *fields = json_new_object(),
			      *names = json_new_object();
	const struct json *expressions = json_get(term, "matchExpressions"),
			  *by_field = json_get(term, "matchFields");
	struct selector s;
	struct err e;

	if (json_len(expressions) + json_len(by_field) == 0)
		return false;
	if (expressions)
		json_set(labels, "matchExpressions", json_copy(expressions));
	if (by_field)
		json_set(fields, "matchExpressions", json_copy(by_field));
	json_set_text(names, "metadata.name", n->name);
	if (selector_of_json(labels, &a, &s, &e) < 0 || !selector_matches(&s, labels_of(n)))
		return false;
	return selector_of_json(fields, &a, &s, &e) == 0 && selector_matches(&s, names);
}

static const char *by_selector(const struct question *q, const struct node_info *n, struct arena *a)
{
	static const char reason[] = "node(s) didn't match Pod's node affinity/selector";
	const struct json *terms =
		json_get(json_get(json_get(json_get(q->spec, "affinity"), "nodeAffinity"),
				  "requiredDuringSchedulingIgnoredDuringExecution"),
			 "nodeSelectorTerms");
	struct selector s;
	bool any = json_len(terms) == 0;

	selector_of_map(json_get(q->spec, "nodeSelector"), a, &s);
	if (!selector_matches(&s, labels_of(n)))
		return reason;
	for (size_t i = 0; i < json_len(terms); i++)
		any = any || term_matches(json_at(terms, i), n);
	return any ? NULL : reason;
}

static const char *by_ports(const struct question *q, const struct node_info *n, struct arena *a)
{
	(void)a;
	for (size_t i = 0; i < json_len(q->ports); i++)
		if (map_get(&n->ports, json_text(json_at(q->ports, i))))
			return "node(s) didn't have free ports for the requested pod ports";
	return NULL;
}

static const char *by_room(const struct question *q, const struct node_info *n, struct arena *a)
{
	static const char *const reasons[AMOUNTS] = {"Insufficient cpu", "Insufficient memory",
						     "Insufficient ephemeral-storage",
						     "Too many pods"};

	(void)a;
	for (int i = 0; i < AMOUNTS; i++)
		if (q->wants.n[i] && n->used.n[i] + q->wants.n[i] > n->room.n[i])
			return reasons[i];
	return NULL;
}

static filter_fn *const filters[] = {by_cordon, by_taints, by_selector, by_ports, by_room};

/* -- scores ------------------------------------------------------------------------------------ */

/* The emptier the better, and the more evenly filled. */
static int64_t score(const struct question *q, const struct node_info *n)
{
	int64_t parts[2], sum = 0;

	for (int i = 0; i < 2; i++) {
		int64_t room = n->room.n[i] ? n->room.n[i] : 1;
		int64_t used = n->used.n[i] + q->wants.n[i];

		parts[i] = used >= room ? 100 : used * 100 / room;
		sum += 100 - parts[i];
	}
	sum += 100 - (parts[0] > parts[1] ? parts[0] - parts[1] : parts[1] - parts[0]);
	return sum * 1000 - (int64_t)n->pods; /* then those with fewer pods */
}

/* -- all together ------------------------------------------------------------------------------ */

struct reasons {
	struct arena arena;
	struct {
		const char *text;
		size_t n;
	} list[REASONS_MAX];
	size_t n;
};

static void count_reason(struct reasons *r, const char *text)
{
	for (size_t i = 0; i < r->n; i++)
		if (text_eq(r->list[i].text, text)) {
			r->list[i].n++;
			return;
		}
	if (r->n == REASONS_MAX)
		return;
	r->list[r->n].text = text;
	r->list[r->n++].n = 1;
}

static void say_why(const struct reasons *r, size_t nodes, struct strbuf *out)
{
	if (nodes == 0) {
		strbuf_add_text(out, "no nodes available to schedule pods");
		return;
	}
	strbuf_printf(out, "0/%zu nodes are available: ", nodes);
	for (size_t i = 0; i < r->n; i++)
		strbuf_printf(out, "%s%zu %s", i ? ", " : "", r->list[i].n, r->list[i].text);
	strbuf_add_char(out, '.');
}

/* How much less it would have to ask for on the node that has most left. */
static void say_help(struct scheduler *s, const struct question *q, struct strbuf *out)
{
	for (int i = 0; i < AMOUNT_PODS; i++) {
		int64_t most = -1;

		map_each (&s->infos, it) {
			const struct node_info *n = it->value;

			if (n->room.n[i] - n->used.n[i] > most)
				most = n->room.n[i] - n->used.n[i];
		}
		if (q->wants.n[i] <= most || most < 0)
			continue;
		strbuf_printf(out, "%s%s of at most %lld%s", out->n ? " and " : "", amount_names[i],
			      (long long)(i == AMOUNT_CPU ? most : most >> 20),
			      i == AMOUNT_CPU ? "m" : "Mi");
	}
}

struct node_info *fit_best(struct scheduler *s, const struct json *pod, struct strbuf *why,
			   struct strbuf *help)
{
	struct question q = {.pod = pod, .spec = json_get(pod, "spec"), .ports = fit_ports(pod)};
	struct reasons *r = mem_new(struct reasons);
	struct node_info *best = NULL;
	int64_t best_score = INT64_MIN;

	fit_amounts(pod, &q.wants);
	map_each (&s->infos, it) {
		struct node_info *n = it->value;
		const char *reason = NULL;
		int64_t points;

		for (size_t f = 0; f < array_len(filters) && !reason; f++)
			reason = filters[f](&q, n, &r->arena);
		points = reason ? 0 : score(&q, n);
		if (reason)
			count_reason(r, reason);
		else if (points > best_score) {
			best = n;
			best_score = points;
		}
	}
	if (!best) {
		say_why(r, s->infos.count, why);
		say_help(s, &q, help);
	}
	(void)json_free(q.ports);
	arena_done(&r->arena);
	free(r);
	return best;
}
