/*
 * What an owner owns: the objects whose controlling owner it is. Those that its selector takes and
 * that have no controller are adopted; those that it does not take any more are let go. A claim
 * answers from the view and asks the client for both.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/mem.h"

struct claim {
	struct work *work; /* NULL: only look */
	const struct object *owner;
	const struct selector *selector; /* NULL: nothing is adopted or let go */
	struct owned *ret;
};

static void add(struct owned *l, const struct object *o)
{
	mem_grow(l->list, l->n + 1, l->room);
	l->list[l->n++] = object_ref(o);
}

void owned_done(struct owned *l)
{
	for (size_t i = 0; i < l->n; i++)
		(void)object_unref(l->list[i]);
	free(l->list);
	*l = (struct owned){0};
}

/* A patch of the owners: all but `without`, and `with`. The uid makes sure of whom. */
static void patch_owners(struct work *w, const struct object *o, const char *without,
			 struct json *with)
{
	const struct json *have = json_get(json_get(object_tree(o), "metadata"), "ownerReferences");
	struct json *patch = json_new_object(), *meta = json_new_object(), *list = json_new_array();

	for (size_t i = 0; i < json_len(have); i++)
		if (!text_eq(json_get_text(json_at(have, i), "uid"), without))
			json_append(list, json_copy(json_at(have, i)));
	if (with)
		json_append(list, with);
	json_set(meta, "ownerReferences", tree_list(list));
	json_set_text(meta, "uid", o->uid);
	json_set(patch, "metadata", meta);
	work_patch(w, o, NULL, patch);
}

static bool claim_own(void *ctx, const struct object *o)
{
	struct claim *c = ctx;

	if (!text_eq(o->namespace, c->owner->namespace))
		return true;
	if (!c->selector || object_selected(o, c->selector))
		add(c->ret, o);
	else if (c->work && !o->deleting && !c->owner->deleting)
		patch_owners(c->work, o, c->owner->uid, NULL);
	return true;
}

static bool claim_orphan(void *ctx, const struct object *o)
{
	struct claim *c = ctx;

	if (o->deleting || !text_eq(o->namespace, c->owner->namespace) ||
	    !object_selected(o, c->selector))
		return true;
	patch_owners(c->work, o, c->owner->uid, owner_reference(c->owner));
	add(c->ret, o);
	return true;
}

void owned_claim(struct work *w, const struct object *owner, const struct informer *view,
		 const struct selector *selector, struct owned *ret)
{
	struct claim c = {w, owner, selector, ret};

	informer_each_owned(view, owner->uid, claim_own, &c);
	if (w && selector && selector->n > 0 && !owner->deleting)
		informer_each_owned(view, "", claim_orphan, &c);
}

int selector_of_object(const struct object *o, struct arena *a, struct selector *ret)
{
	const struct json *s = json_get(json_get(object_tree(o), "spec"), "selector");
	struct err e;

	if (text_eq(o->kind->name, "ReplicationController") || text_eq(o->kind->name, "Service")) {
		selector_of_map(s, a, ret);
		return 0;
	}
	return selector_of_json(s, a, ret, &e);
}

/* -- events ------------------------------------------------------------------------------------ */

struct match {
	struct controller *controller;
	const struct object *dependent;
};

static bool add_if_selects(void *ctx, const struct object *owner)
{
	struct match *m = ctx;
	auto_arena struct arena a = {0};
	struct selector s = {0};

	if (selector_of_object(owner, &a, &s) == 0 && s.n > 0 && object_selected(m->dependent, &s))
		controller_add(m->controller, owner);
	return true;
}

static void add_owner(struct controller *c, const struct informer *owners, const struct object *o)
{
	const struct object *owner = informer_get(owners, o->namespace, o->owner_name);

	if (owner && text_eq(owner->uid, o->owner_uid))
		controller_add(c, owner);
}

void controller_on_dependent(struct controller *c, const struct informer *owners, const char *kind,
			     const struct object *now, const struct object *before)
{
	struct match m = {c, now};

	if (before && text_eq(before->owner_kind, kind))
		add_owner(c, owners, before);
	if (!now)
		return;
	if (text_eq(now->owner_kind, kind))
		add_owner(c, owners, now);
	else if (!now->owner_uid[0] && !now->deleting)
		informer_each(owners, now->namespace, add_if_selects, &m);
}
