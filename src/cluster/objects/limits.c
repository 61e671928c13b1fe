/*
 * LimitRanges: what containers get that say nothing, and what nobody may ask for. Defaults first,
 * in every range of the namespace; then all findings of all ranges in one refusal.
 */
#include <assert.h>

#include "cluster/objects/pipeline_priv.h"
#include "cluster/objects/usage.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

struct limits {
	struct change *change;
	struct strbuf findings;
	size_t n;
};

static void fill(struct json *to, const struct json *from)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(from, &it, &key, &value))
		if (!json_get(to, key))
			json_set(to, key, json_ref(value));
}

static void fill_containers(struct json *list, const struct json *item)
{
	for (size_t i = 0; i < json_len(list); i++) {
		struct json *resources = json_make_object(json_at(list, i), "resources");

		if (json_len(json_get(item, "default")))
			fill(json_make_object(resources, "limits"), json_get(item, "default"));
		if (json_len(json_get(item, "defaultRequest")))
			fill(json_make_object(resources, "requests"),
			     json_get(item, "defaultRequest"));
	}
}

static void find(struct limits *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void find(struct limits *l, const char *fmt, ...)
{
	va_list ap;

	if (l->n++)
		strbuf_add_text(&l->findings, ", ");
	va_start(ap, fmt);
	strbuf_vprintf(&l->findings, fmt, ap);
	va_end(ap);
}

static void check_least(struct limits *l, const char *type, const struct json *min,
			const struct json *requests)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	struct quantity least, have;

	while (json_next(min, &it, &key, &value)) {
		const struct json *v = json_get(requests, key);

		if (!quantity_read(value, &least))
			continue;
		if (!quantity_read(v, &have))
			find(l, "minimum %s usage per %s is %s.  No request is specified", key,
			     type, json_text(value));
		else if (have.nano < least.nano)
			find(l, "minimum %s usage per %s is %s, but request is %s", key, type,
			     json_text(value), json_text(v));
	}
}

static void check_most(struct limits *l, const char *type, const struct json *max,
		       const struct json *limits, const struct json *requests)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	struct quantity most, have;

	while (json_next(max, &it, &key, &value)) {
		const struct json *v = json_get(limits, key), *r = json_get(requests, key);
		bool claim = text_eq(type, "PersistentVolumeClaim");

		if (!quantity_read(value, &most))
			continue;
		if (claim)
			v = r;
		if (!quantity_read(v, &have))
			find(l, "maximum %s usage per %s is %s.  No limit is specified", key, type,
			     json_text(value));
		else if (have.nano > most.nano)
			find(l, "maximum %s usage per %s is %s, but %s is %s", key, type,
			     json_text(value), claim ? "request" : "limit", json_text(v));
		else if (quantity_read(r, &have) && have.nano > most.nano)
			find(l, "maximum %s usage per %s is %s, but request is %s", key, type,
			     json_text(value), json_text(r));
	}
}

static void check_ratio(struct limits *l, const char *type, const struct json *ratios,
			const struct json *resources)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	struct quantity most, limit, request;

	while (json_next(ratios, &it, &key, &value)) {
		if (!quantity_read(value, &most) ||
		    !quantity_read(json_get(json_get(resources, "limits"), key), &limit) ||
		    !quantity_read(json_get(json_get(resources, "requests"), key), &request))
			continue;
		/* limit / request > ratio, without dividing */
		if (limit.nano / 1000000 * 1000 > request.nano / 1000000 * (most.nano / 1000000))
			find(l,
			     "%s max limit to request ratio per %s is %s, but provided ratio is %f",
			     key, type, json_text(value),
			     (double)limit.nano / (double)(request.nano ? request.nano : 1));
	}
}

static void check_resources(struct limits *l, const struct json *item, const struct json *resources)
{
	const char *type = json_get_text(item, "type");

	check_least(l, type, json_get(item, "min"), json_get(resources, "requests"));
	check_most(l, type, json_get(item, "max"), json_get(resources, "limits"),
		   json_get(resources, "requests"));
	check_ratio(l, type, json_get(item, "maxLimitRequestRatio"), resources);
}

static void check_containers(struct limits *l, const struct json *item, const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++)
		check_resources(l, item, json_get(json_at(list, i), "resources"));
}

static struct json *sums_of(const struct json *pod, const char *which)
{
	auto_arena struct arena a = {0};
	struct usage u = {.arena = &a};
	struct json *o = json_new_object();
	char text[QUANTITY_CHARS];

	usage_of_pod(pod, which, &u);
	for (size_t i = 0; i < u.n; i++)
		json_set_text(o, u.list[i].name, quantity_text(&u.list[i].amount, text));
	return o;
}

static void check_pod(struct limits *l, const struct json *item, const struct json *pod)
{
	auto_json struct json *sums = json_new_object();

	json_set(sums, "requests", sums_of(pod, "requests"));
	json_set(sums, "limits", sums_of(pod, "limits"));
	check_resources(l, item, sums);
}

static bool is(const struct json *item, const char *type)
{
	return text_eq(json_get_text(item, "type"), type);
}

static bool fill_from(void *ctx, const struct object *range)
{
	struct limits *l = ctx;
	struct json *spec = json_get(l->change->object, "spec");
	auto_json struct json *tree = object_copy(range);
	const struct json *items = json_get(json_get(tree, "spec"), "limits");

	for (size_t i = 0; i < json_len(items); i++)
		if (is(json_at(items, i), "Container")) {
			fill_containers(json_get(spec, "containers"), json_at(items, i));
			fill_containers(json_get(spec, "initContainers"), json_at(items, i));
		}
	return true;
}

static bool check_range(void *ctx, const struct object *range)
{
	struct limits *l = ctx;
	const struct json *spec = json_get(l->change->object, "spec");
	auto_json struct json *tree = object_copy(range);
	const struct json *items = json_get(json_get(tree, "spec"), "limits");
	bool pod = text_eq(l->change->stored->name, "Pod");

	for (size_t i = 0; i < json_len(items); i++) {
		const struct json *item = json_at(items, i);

		if (pod && is(item, "Container")) {
			check_containers(l, item, json_get(spec, "containers"));
			check_containers(l, item, json_get(spec, "initContainers"));
		} else if (pod && is(item, "Pod")) {
			check_pod(l, item, l->change->object);
		} else if (!pod && is(item, "PersistentVolumeClaim")) {
			check_resources(l, item, json_get(spec, "resources"));
		}
	}
	return true;
}

int admission_limits(struct change *c)
{
	const struct kind *k = kind_of_resource("", "v1", "limitranges");
	struct limits l = {.change = c};
	int bad = 0;

	if (text_eq(c->stored->name, "Pod"))
		objects_each(c->objects, k, c->namespace, fill_from, &l);
	objects_each(c->objects, k, c->namespace, check_range, &l);
	if (l.n == 1)
		bad = change_forbid(c, "%s", strbuf_text(&l.findings));
	else if (l.n > 1)
		bad = change_forbid(c, "[%s]", strbuf_text(&l.findings));
	strbuf_done(&l.findings);
	return bad;
}
