/*
 * Resource quotas: their status, what is used of what is allowed. Admission counts for itself and
 * never reads it (objects/quota.c); this is for people, and it follows deletions. Changes of what a
 * quota counts mark it; one look counts all of them together.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/controllers_priv.h"
#include "cluster/objects/usage.h"
#include "ground/base/mem.h"

/* What quotas can count; of anything else its view would have to be kept for nobody. */
static const char *const counted[][2] = {
	{"", "pods"},
	{"", "services"},
	{"", "configmaps"},
	{"", "secrets"},
	{"", "persistentvolumeclaims"},
	{"", "replicationcontrollers"},
	{"", "resourcequotas"},
	{"apps", "deployments"},
	{"apps", "replicasets"},
	{"apps", "statefulsets"},
	{"apps", "daemonsets"},
	{"batch", "jobs"},
	{"batch", "cronjobs"},
};

static struct informer *quotas(const struct controller *c)
{
	return controller_view(c, "", "resourcequotas");
}

static bool add_quota(void *ctx, const struct object *quota)
{
	controller_add(ctx, quota);
	return true;
}

/* A pod counts for as much until it has ended; others until they go, but for their numbers. */
static void on_counted(void *ctx, const struct object *now, const struct object *before)
{
	const struct object *o = now ? now : before;

	if (informer_count(quotas(ctx)) == 0)
		return;
	if (now && before && object_generation(now) == object_generation(before) &&
	    text_eq(object_value(now, "status.phase"), object_value(before, "status.phase")) &&
	    now->deleting == before->deleting)
		return;
	informer_each(quotas(ctx), o->namespace, add_quota, ctx);
}

static void begin(struct controller *c)
{
	informer_on(quotas(c), controller_on_self, c);
	for (size_t i = 0; i < array_len(counted); i++)
		informer_on(controller_view(c, counted[i][0], counted[i][1]), on_counted, c);
}

struct sum {
	const struct json *spec;
	struct usage usage;
};

static bool add_object(void *ctx, const struct object *o)
{
	struct sum *s = ctx;

	if (usage_in_scope(s->spec, o->kind, object_tree(o)))
		usage_add(&s->usage, o->kind, object_tree(o));
	return true;
}

/* The status of what is allowed: each name, used or not. */
static struct json *used_of(const struct sum *s, const struct json *hard)
{
	struct json *used = json_new_object(), *value;
	struct json_iter it = {0};
	const char *name;

	while (json_next(hard, &it, &name, &value)) {
		const struct quantity *q = usage_get(&s->usage, name);
		struct quantity zero = {0, QUANTITY_DECIMAL};
		char text[QUANTITY_CHARS];

		json_set_text(used, name, quantity_text(q ? q : &zero, text));
	}
	return used;
}

/* A merge patch of a map: what was there and is wanted no more goes. */
static struct json *map_patch(struct json *want, const struct json *have)
{
	struct json_iter it = {0};
	struct json *value;
	const char *name;

	while (json_next(have, &it, &name, &value))
		if (!json_get(want, name))
			json_set(want, name, NULL);
	return want;
}

static void look(struct work *w)
{
	struct controller *c = w->controller;
	const struct object *quota = informer_get(quotas(c), w->namespace, w->name);
	auto_arena struct arena a = {0};
	auto_json struct json *spec = NULL;
	struct sum s = {.usage = {.arena = &a}};
	const struct json *hard, *have;
	struct json *status;

	if (!quota || quota->deleting) {
		work_end(w);
		return;
	}
	spec = json_copy(tree_spec(quota)); /* more trees are walked than are kept */
	s.spec = spec;
	for (size_t i = 0; i < array_len(counted); i++)
		informer_each(controller_view(c, counted[i][0], counted[i][1]), w->namespace,
			      add_object, &s);
	hard = json_get(spec, "hard");
	have = tree_status(quota);
	status = json_new_object();
	json_set(status, "hard",
		 map_patch(hard ? json_copy(hard) : json_new_object(), json_get(have, "hard")));
	json_set(status, "used", map_patch(used_of(&s, hard), json_get(have, "used")));
	work_status(w, quota, status);
	work_end(w);
}

const struct controller_row quota_row = {"resourcequota", begin, look, NULL};
