/*
 * Quotas: a change that would take a namespace over what a ResourceQuota allows is refused. What is
 * used is counted from the objects themselves and from changes that are admitted but not committed
 * yet (their claims), never from a quota's status, which is always a little old.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/objects/pipeline_priv.h"
#include "cluster/objects/usage.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

struct quota_claim {
	struct list all, mine; /* in objects.claims, in change.claims */
	struct change *change;
};

struct check {
	struct change *change;
	struct arena *arena;
	struct usage now, old; /* what the change's object counts for, and counted for */
	const struct object *quota;
	struct usage used;
	int bad;
};

static bool same_object(const struct change *c, const struct object *o)
{
	return text_eq(o->name, c->name) && text_eq(o->namespace, c->namespace);
}

static bool add_used(void *ctx, const struct object *o)
{
	struct check *k = ctx;
	const struct json *spec = json_get(object_tree(k->quota), "spec");

	if (!same_object(k->change, o) && usage_in_scope(spec, o->kind, object_tree(o)))
		usage_add(&k->used, o->kind, object_tree(o));
	return true;
}

/* Others of this kind: committed, and on their way. */
static void count_used(struct check *k)
{
	struct change *c = k->change;
	auto_json struct json *spec = json_copy(json_get(object_tree(k->quota), "spec"));

	objects_each(c->objects, c->stored, c->namespace, add_used, k);
	list_each (&c->objects->claims, struct quota_claim, all, claim) {
		const struct change *other = claim->change;

		if (other->stored == c->stored && text_eq(other->namespace, c->namespace) &&
		    !text_eq(other->name, c->name) &&
		    usage_in_scope(spec, other->stored, other->object))
			usage_add(&k->used, other->stored, other->object);
	}
}

static void say(struct strbuf *out, const char *name, const struct quantity *q)
{
	char text[QUANTITY_CHARS];
	struct quantity zero = {0, q ? q->form : QUANTITY_DECIMAL};

	strbuf_printf(out, "%s%s=%s", out->n ? "," : "", name, quantity_text(q ? q : &zero, text));
}

/* What a container says of "requests.memory", or of "memory", which is the same. */
static const struct json *said(const struct json *container, const char *name)
{
	const struct json *resources = json_get(container, "resources");
	bool limit = text_starts(name, "limits.");
	const char *dot = strchr(name, '.');

	return json_get(json_get(resources, limit ? "limits" : "requests"), dot ? dot + 1 : name);
}

static void tell_silent(const struct json *containers, const char *name, struct strbuf *out)
{
	for (size_t i = 0; i < json_len(containers); i++) {
		const struct json *c = json_at(containers, i);

		if (!said(c, name))
			strbuf_printf(out, "%s%s", out->n ? "," : "", json_get_text(c, "name"));
	}
}

/* A quota on compute wants every container to say what it needs: names those that do not. */
static void tell_unsaid(const struct check *k, const char *name, struct strbuf *out)
{
	static char *const must[] = {"cpu",	   "memory",	      "requests.cpu",
				     "limits.cpu", "requests.memory", "limits.memory",
				     NULL};
	const struct json *spec = json_get(k->change->object, "spec");
	auto_strbuf struct strbuf silent = {0};

	/* What runs already is not asked again. */
	if (!kind_is(k->change->stored, "", "Pod") || k->change->old || !text_in(name, must))
		return;
	tell_silent(json_get(spec, "containers"), name, &silent);
	tell_silent(json_get(spec, "initContainers"), name, &silent);
	if (silent.n)
		strbuf_printf(out, "%s%s for: %s", out->n ? "; " : "", name, strbuf_text(&silent));
}

static void compare(struct check *k, const struct json *hard)
{
	auto_strbuf struct strbuf wanted = {0}, used = {0}, limited = {0}, missing = {0};
	struct json_iter it = {0};
	struct json *value;
	const char *name;

	while (json_next(hard, &it, &name, &value)) {
		const struct quantity *now = usage_get(&k->now, name);
		const struct quantity *old = usage_get(&k->old, name);
		const struct quantity *others = usage_get(&k->used, name);
		struct quantity most;
		struct err e;

		tell_unsaid(k, name, &missing);
		if (!now || (old && now->nano <= old->nano) || !json_text(value) ||
		    quantity_parse(json_str(value), &most, &e) < 0 ||
		    now->nano + (others ? others->nano : 0) <= most.nano)
			continue;
		say(&wanted, name, now);
		say(&used, name, others);
		say(&limited, name, &most);
	}
	if (missing.n)
		k->bad = change_forbid(k->change, "failed quota: %s: must specify %s",
				       k->quota->name, strbuf_text(&missing));
	else if (wanted.n)
		k->bad = change_forbid(k->change,
				       "exceeded quota: %s, requested: %s, used: %s, limited: %s",
				       k->quota->name, strbuf_text(&wanted), strbuf_text(&used),
				       strbuf_text(&limited));
}

static bool concerns(const struct check *k, const struct json *hard)
{
	struct json_iter it = {0};
	struct json *value;
	const char *name;

	while (json_next(hard, &it, &name, &value))
		if (usage_get(&k->now, name) || text_eq(k->change->stored->name, "Pod"))
			return true;
	return false;
}

static bool check_one(void *ctx, const struct object *quota)
{
	struct check *k = ctx;
	auto_json struct json *spec = json_copy(json_get(object_tree(quota), "spec"));
	const struct json *hard = json_get(spec, "hard");

	if (!concerns(k, hard) || !usage_in_scope(spec, k->change->stored, k->change->object))
		return true;
	k->quota = quota;
	k->used = (struct usage){.arena = k->arena};
	count_used(k);
	compare(k, hard);
	return k->bad == 0;
}

static bool found(void *ctx, const struct object *quota)
{
	bool *any = ctx;

	(void)quota;
	*any = true;
	return false;
}

int quota_admit(struct change *c)
{
	const struct kind *quotas = kind_of_resource("", "v1", "resourcequotas");
	auto_arena struct arena a = {0};
	struct quota_claim *claim;
	struct check *k;
	bool any = false;

	if (!(c->stored->flags & KIND_NAMESPACED) || c->stored->flags & KIND_OVERWRITE)
		return 0;
	if (c->sub && text_eq(c->sub, "status"))
		return 0;
	objects_each(c->objects, quotas, c->namespace, found, &any);
	if (!any)
		return 0;
	k = arena_new(&a, struct check);
	k->change = c;
	k->arena = &a;
	k->now.arena = k->old.arena = &a;
	usage_add(&k->now, c->stored, c->object);
	if (c->old)
		usage_add(&k->old, c->stored, object_tree(c->old));
	objects_each(c->objects, quotas, c->namespace, check_one, k);
	if (k->bad < 0 || !k->quota || c->dry_run)
		return k->bad;
	claim = mem_new(struct quota_claim);
	claim->change = c;
	list_append(&c->objects->claims, &claim->all);
	list_append(&c->claims, &claim->mine);
	return 0;
}

void quota_end(struct change *c)
{
	list_each (&c->claims, struct quota_claim, mine, claim) {
		list_remove(&claim->all);
		list_remove(&claim->mine);
		free(claim);
	}
}
