/* Usage: see usage.h. */
#include "cluster/objects/usage.h"

#include <assert.h>
#include <stdio.h>

#include "ground/base/mem.h"
#include "ground/base/str.h"

void usage_add_one(struct usage *u, const char *name, struct quantity q)
{
	for (size_t i = 0; i < u->n; i++)
		if (text_eq(u->list[i].name, name)) {
			u->list[i].amount.nano += q.nano;
			return;
		}
	if (u->n == USAGE_MAX)
		return;
	u->list[u->n].name = arena_dup_text(u->arena, name);
	u->list[u->n++].amount = q;
}

const struct quantity *usage_get(const struct usage *u, const char *name)
{
	for (size_t i = 0; i < u->n; i++)
		if (text_eq(u->list[i].name, name))
			return &u->list[i].amount;
	return NULL;
}

static void add_count(struct usage *u, const char *name)
{
	usage_add_one(u, name, (struct quantity){1000000000, QUANTITY_DECIMAL});
}

static void add_list(struct usage *u, const struct json *resources)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	struct quantity q;

	while (json_next(resources, &it, &key, &value))
		if (quantity_read(value, &q))
			usage_add_one(u, key, q);
}

/* Keeps the larger of both. */
static void raise_to(struct usage *u, const struct usage *other)
{
	for (size_t i = 0; i < other->n; i++) {
		const struct quantity *have = usage_get(u, other->list[i].name);
		struct quantity more = other->list[i].amount;

		if (have && have->nano >= more.nano)
			continue;
		more.nano -= have ? have->nano : 0;
		usage_add_one(u, other->list[i].name, more);
	}
}

static void add_all(struct usage *u, const struct usage *other)
{
	for (size_t i = 0; i < other->n; i++)
		usage_add_one(u, other->list[i].name, other->list[i].amount);
}

void usage_of_pod(const struct json *pod, const char *which, struct usage *u)
{
	const struct json *spec = json_get(pod, "spec"), *list = json_get(spec, "containers");
	struct usage sum = {.arena = u->arena}, sidecars = {.arena = u->arena};

	for (size_t i = 0; i < json_len(list); i++)
		add_list(&sum, json_get(json_get(json_at(list, i), "resources"), which));
	list = json_get(spec, "initContainers");
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		const struct json *wants = json_get(json_get(one, "resources"), which);

		if (text_eq(json_get_text(one, "restartPolicy"), "Always")) {
			add_list(&sum, wants);
			add_list(&sidecars, wants);
		}
	}
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		struct usage alone = {.arena = u->arena};

		if (text_eq(json_get_text(one, "restartPolicy"), "Always"))
			continue;
		add_all(&alone, &sidecars);
		add_list(&alone, json_get(json_get(one, "resources"), which));
		raise_to(&sum, &alone);
	}
	add_list(&sum, json_get(spec, "overhead"));
	add_all(u, &sum);
}

/* -- per kind ---------------------------------------------------------------------------------- */

static void add_prefixed(struct usage *u, const char *prefix, const struct usage *sum)
{
	char name[128];

	for (size_t i = 0; i < sum->n; i++) {
		(void)snprintf(name, sizeof(name), "%s%s", prefix, sum->list[i].name);
		usage_add_one(u, name, sum->list[i].amount);
	}
}

static bool pod_ended(const struct json *pod)
{
	const char *phase = json_get_text(json_get(pod, "status"), "phase");

	return text_eq(phase, "Succeeded") || text_eq(phase, "Failed");
}

static void add_pod(struct usage *u, const struct json *pod)
{
	struct usage requests = {.arena = u->arena}, limits = {.arena = u->arena};

	if (pod_ended(pod))
		return;
	add_count(u, "pods");
	usage_of_pod(pod, "requests", &requests);
	usage_of_pod(pod, "limits", &limits);
	add_prefixed(u, "requests.", &requests);
	add_prefixed(u, "limits.", &limits);
	add_prefixed(u, "", &requests);
}

static void add_service(struct usage *u, const struct json *service)
{
	const struct json *spec = json_get(service, "spec"), *ports = json_get(spec, "ports");

	add_count(u, "services");
	if (text_eq(json_get_text(spec, "type"), "LoadBalancer"))
		add_count(u, "services.loadbalancers");
	for (size_t i = 0; i < json_len(ports); i++)
		if (json_get_i64(json_at(ports, i), "nodePort", 0) ||
		    text_eq(json_get_text(spec, "type"), "NodePort"))
			add_count(u, "services.nodeports");
}

static void add_claim(struct usage *u, const struct json *claim)
{
	const struct json *spec = json_get(claim, "spec");
	const char *class = json_get_text(spec, "storageClassName");
	char name[320];
	struct quantity q;

	add_count(u, "persistentvolumeclaims");
	if (!quantity_read(json_get(json_get(json_get(spec, "resources"), "requests"), "storage"),
			   &q))
		return;
	usage_add_one(u, "requests.storage", q);
	if (!class || !class[0])
		return;
	(void)snprintf(name, sizeof(name), "%s.storageclass.storage.k8s.io/requests.storage",
		       class);
	usage_add_one(u, name, q);
	(void)snprintf(name, sizeof(name), "%s.storageclass.storage.k8s.io/persistentvolumeclaims",
		       class);
	add_count(u, name);
}

void usage_add(struct usage *u, const struct kind *k, const struct json *object)
{
	static const char *const plain[] = {"configmaps", "secrets", "replicationcontrollers",
					    "resourcequotas"};
	char resource[128], name[160];

	(void)snprintf(name, sizeof(name), "count/%s",
		       kind_resource(k, resource, sizeof(resource)));
	add_count(u, name);
	if (k->group[0])
		return;
	if (text_eq(k->name, "Pod"))
		add_pod(u, object);
	else if (text_eq(k->name, "Service"))
		add_service(u, object);
	else if (text_eq(k->name, "PersistentVolumeClaim"))
		add_claim(u, object);
	for (size_t i = 0; i < array_len(plain); i++)
		if (text_eq(plain[i], k->plural))
			add_count(u, plain[i]);
}

/* -- scopes ------------------------------------------------------------------------------------ */

static bool best_effort(const struct json *pod)
{
	struct arena a = {0};
	struct usage u = {.arena = &a};

	usage_of_pod(pod, "requests", &u);
	usage_of_pod(pod, "limits", &u);
	arena_done(&a);
	return u.n == 0;
}

static bool in_priority(const struct json *pod, const char *how, const struct json *values)
{
	const char *class = json_get_text(json_get(pod, "spec"), "priorityClassName");
	bool has = class && class[0];

	if (text_eq(how, "In"))
		return has && json_lists(values, class);
	if (text_eq(how, "NotIn"))
		return !has || !json_lists(values, class);
	return text_eq(how, "DoesNotExist") ? !has : has;
}

static bool one_scope(const char *scope, const char *how, const struct json *values,
		      const struct json *pod)
{
	bool ends = json_get(json_get(pod, "spec"), "activeDeadlineSeconds") != NULL;

	if (text_eq(scope, "BestEffort"))
		return best_effort(pod);
	if (text_eq(scope, "NotBestEffort"))
		return !best_effort(pod);
	if (text_eq(scope, "Terminating"))
		return ends;
	if (text_eq(scope, "NotTerminating"))
		return !ends;
	return text_eq(scope, "PriorityClass") ? in_priority(pod, how, values) : false;
}

bool usage_in_scope(const struct json *quota_spec, const struct kind *k, const struct json *object)
{
	const struct json *scopes = json_get(quota_spec, "scopes");
	const struct json *more =
		json_get(json_get(quota_spec, "scopeSelector"), "matchExpressions");
	bool pod = kind_is(k, "", "Pod");

	if (json_len(scopes) + json_len(more) > 0 && !pod)
		return false;
	for (size_t i = 0; i < json_len(scopes); i++)
		if (!one_scope(json_text(json_at(scopes, i)), "Exists", NULL, object))
			return false;
	for (size_t i = 0; i < json_len(more); i++) {
		const struct json *m = json_at(more, i);

		if (!one_scope(json_get_text(m, "scopeName"), json_get_text(m, "operator"),
			       json_get(m, "values"), object))
			return false;
	}
	return true;
}
