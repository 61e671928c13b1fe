/*
 * The garbage collector: what is owned goes with its last owner. It keeps, by uid, the objects that
 * name owners and those whose deletion waits for dependents, and who owns whom.
 *
 *	background	the owner is gone: its dependents are deleted
 *	foreground	the owner waits (finalizer foregroundDeletion) until its dependents that
 *			block it are gone
 *	orphan		the owner waits (finalizer orphan) until its dependents do not name it
 *
 * An owner that no view has is asked for at the source before anything is deleted, by name, and
 * must have the uid that the dependent says. Nothing is deleted for an owner of an unknown kind.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

#define FOREGROUND "foregroundDeletion"
#define ORPHAN	   "orphan"

struct item {
	const struct kind *kind;
	char *key, *uid;
	char **owners; /* their uids, NULL-terminated; may be NULL */
};

struct collector {
	struct map items;      /* uid -> struct item * */
	struct map dependents; /* owner's uid -> struct map * of uid -> struct item * */
};

static const struct json *meta_of(const struct object *o)
{
	return json_get(object_tree(o), "metadata");
}

static bool mentions(const struct object *o, const char *word)
{
	return memmem(o->bytes.p, o->bytes.n, word, strlen(word)) != NULL;
}

static bool has_finalizer(const struct object *o, const char *name)
{
	const struct json *list;

	if (!mentions(o, name))
		return false;
	list = json_get(meta_of(o), "finalizers");
	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_text(json_at(list, i)), name))
			return true;
	return false;
}

static bool is_waiting(const struct object *o)
{
	return o->deleting && has_finalizer(o, FOREGROUND);
}

static bool is_orphaning(const struct object *o)
{
	return o->deleting && has_finalizer(o, ORPHAN);
}

static const struct json *owners_of(const struct object *o)
{
	return mentions(o, "\"ownerReferences\"") ? json_get(meta_of(o), "ownerReferences") : NULL;
}

/* -- who owns whom ----------------------------------------------------------------------------- */

static void link_item(struct collector *g, struct item *it)
{
	for (char **uid = it->owners; uid && *uid; uid++) {
		struct map *m = map_get(&g->dependents, *uid);

		if (!m) {
			m = mem_new(struct map);
			(void)map_put(&g->dependents, *uid, m);
		}
		(void)map_put(m, it->uid, it);
	}
}

static void unlink_item(struct collector *g, struct item *it)
{
	for (char **uid = it->owners; uid && *uid; uid++) {
		struct map *m = map_get(&g->dependents, *uid);

		if (!m)
			continue;
		(void)map_remove(m, it->uid);
		if (m->count == 0) {
			(void)map_remove(&g->dependents, *uid);
			map_done(m);
			free(m);
		}
	}
}

static void item_free(struct item *it)
{
	(void)mem_free_texts(it->owners);
	free(it->key);
	free(it->uid);
	free(it);
}

static void add_dependents(struct controller *c, const char *uid)
{
	struct collector *g = c->own;
	struct map *m = map_get(&g->dependents, uid);

	if (!m)
		return;
	map_each (m, it)
		workqueue_add(c->queue, it->key);
}

/* Owners whose own deletion may have waited for this dependent. */
static void add_owners(struct controller *c, const struct item *it)
{
	struct collector *g = c->own;

	for (char **uid = it->owners; uid && *uid; uid++)
		if (map_get(&g->items, *uid))
			workqueue_add(c->queue, *uid);
}

static void forget(struct controller *c, const char *uid)
{
	struct collector *g = c->own;
	struct item *it = map_remove(&g->items, uid);

	if (!it)
		return;
	unlink_item(g, it);
	add_owners(c, it);
	item_free(it);
}

static const struct object *object_of(const struct controller *c, const struct item *it)
{
	const struct object *o =
		informer_get_key(informer_of(c->all->o.informers, it->kind), it->key);

	return o && text_eq(o->uid, it->uid) ? o : NULL;
}

static const struct object *owner_in_view(const struct controller *c, const struct object *o,
					  const struct json *ref)
{
	const struct kind *k =
		kind_of_api(json_get_text(ref, "apiVersion"), json_get_text(ref, "kind"));
	const struct object *owner;

	if (!k || k->stored->flags & (KIND_NO_STORE | KIND_COMPUTED))
		return NULL;
	owner = informer_get(informer_of(c->all->o.informers, k),
			     k->flags & KIND_NAMESPACED ? o->namespace : "",
			     json_get_text(ref, "name"));
	return owner && text_eq(owner->uid, json_get_text(ref, "uid")) ? owner : NULL;
}

static bool all_owners_stay(const struct controller *c, const struct object *o)
{
	const struct json *refs = owners_of(o);

	for (size_t i = 0; i < json_len(refs); i++) {
		const struct object *owner = owner_in_view(c, o, json_at(refs, i));

		if (!owner || is_waiting(owner))
			return false;
	}
	return true;
}

static void on_change(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	struct collector *g = c->own;
	const struct object *o = now ? now : before;
	/* A copy: at the start all that there is comes in one turn. */
	auto_json struct json *copy =
		now && mentions(now, "\"ownerReferences\"") ? object_copy(now) : NULL;
	const struct json *refs = json_get(json_get(copy, "metadata"), "ownerReferences");
	bool ends = now && (is_waiting(now) || is_orphaning(now));
	char key[OBJECT_KEY_MAX];
	struct item *it;

	forget(c, o->uid);
	if (!now || is_waiting(now))
		add_dependents(c, o->uid);
	if (!now || (json_len(refs) == 0 && !ends))
		return;
	it = mem_new(struct item);
	*it = (struct item){o->kind, mem_dup_text(object_key(o, key)), mem_dup_text(o->uid), NULL};
	for (size_t i = 0; i < json_len(refs); i++) {
		const char *uid = json_get_text(json_at(refs, i), "uid");

		if (uid && uid[0])
			mem_append_text(&it->owners, uid);
	}
	(void)map_put(&g->items, it->uid, it);
	link_item(g, it);
	add_owners(c, it);
	workqueue_add(c->queue, it->uid);
}

static void begin(struct controller *c)
{
	const struct kind *k;

	c->own = mem_new(struct collector);
	for (size_t i = 0; (k = kind_at(i)) != NULL; i++)
		if (k->stored == k && k->plural[0] && !text_eq(k->name, "Event") &&
		    !(k->flags & (KIND_NO_STORE | KIND_COMPUTED)))
			informer_on(informer_of(c->all->o.informers, k), on_change, c);
}

static void end(struct controller *c)
{
	struct collector *g = c->own;

	map_each (&g->dependents, d) {
		map_done(d->value);
		free(d->value);
	}
	map_done(&g->dependents);
	map_each (&g->items, i)
		item_free(i->value);
	map_done(&g->items);
	free(g);
	c->own = NULL;
}

/* -- writes ------------------------------------------------------------------------------------ */

static void drop_finalizer(struct work *w, const struct object *o, const char *name)
{
	const struct json *have = json_get(meta_of(o), "finalizers");
	struct json *patch = json_new_object(), *meta = json_make_object(patch, "metadata");
	struct json *left = json_new_array();
	auto_free char *revision = mem_printf("%llu", (unsigned long long)o->revision);

	for (size_t i = 0; i < json_len(have); i++)
		if (!text_eq(json_text(json_at(have, i)), name))
			json_append(left, json_ref(json_at(have, i)));
	json_set(meta, "finalizers", tree_list(left));
	json_set_text(meta, "uid", o->uid);
	json_set_text(meta, "resourceVersion", revision);
	work_patch(w, o, NULL, patch);
}

/* Leaves those owners only that keep() wants. */
static void keep_owners(struct work *w, const struct object *o,
			bool (*keep)(const void *ctx, const char *uid), const void *ctx)
{
	const struct json *have = owners_of(o);
	struct json *patch = json_new_object(), *meta = json_make_object(patch, "metadata");
	struct json *left = json_new_array();
	auto_free char *revision = mem_printf("%llu", (unsigned long long)o->revision);

	for (size_t i = 0; i < json_len(have); i++)
		if (keep(ctx, json_get_text(json_at(have, i), "uid")))
			json_append(left, json_ref(json_at(have, i)));
	json_set(meta, "ownerReferences", tree_list(left));
	json_set_text(meta, "uid", o->uid);
	json_set_text(meta, "resourceVersion", revision);
	work_patch(w, o, NULL, patch);
}

static bool is_not(const void *ctx, const char *uid)
{
	return !text_eq(ctx, uid);
}

static void drop_orphan(struct work *w)
{
	struct collector *g = w->controller->own;
	const struct item *it = map_get(&g->items, w->name);
	const struct object *o = it ? object_of(w->controller, it) : NULL;

	if (o && !w->failed)
		drop_finalizer(w, o, ORPHAN);
	work_end(w);
}

/* All or nothing: the owner is let go when no dependent names it any more. */
static void orphan(struct work *w, const struct object *owner)
{
	struct collector *g = w->controller->own;
	struct map *m = map_get(&g->dependents, owner->uid);

	w->then = drop_orphan;
	if (!m)
		return;
	map_each (m, d) {
		const struct object *o = object_of(w->controller, d->value);

		if (o)
			keep_owners(w, o, is_not, owner->uid);
	}
}

static bool blocks(const struct object *o, const char *owner_uid)
{
	const struct json *refs = owners_of(o);

	for (size_t i = 0; i < json_len(refs); i++)
		if (text_eq(json_get_text(json_at(refs, i), "uid"), owner_uid))
			return json_get_bool(json_at(refs, i), "blockOwnerDeletion", false);
	return false;
}

static void wait_for_dependents(struct work *w, const struct object *owner)
{
	struct collector *g = w->controller->own;
	struct map *m = map_get(&g->dependents, owner->uid);
	bool blocked = false;

	if (m)
		map_each (m, d) {
			const struct object *o = object_of(w->controller, d->value);

			blocked = blocked || (o && blocks(o, owner->uid));
			if (o && !o->deleting)
				workqueue_add(w->controller->queue, d->key);
		}
	if (!blocked)
		drop_finalizer(w, owner, FOREGROUND);
}

/* -- whether to delete ------------------------------------------------------------------------- */

/* What the source said of each owner. */
struct verdict {
	char **stay, **gone, **waiting; /* uids */
};

struct question {
	struct work *work;
	struct verdict *verdict;
	char *uid;
};

static void answered(void *ctx, const struct outcome *o)
{
	struct question *q = ctx;
	struct verdict *v = q->verdict;

	if (o->error && o->error->kind != ERR_NOT_FOUND)
		q->work->failed = true;
	else if (!o->object || !text_eq(o->object->uid, q->uid))
		mem_append_text(&v->gone, q->uid);
	else if (is_waiting(o->object))
		mem_append_text(&v->waiting, q->uid);
	else
		mem_append_text(&v->stay, q->uid);
	work_called(q->work, o);
	free(q->uid);
	free(q);
}

static void ask(struct work *w, const struct object *o, const struct json *ref)
{
	const struct kind *k =
		kind_of_api(json_get_text(ref, "apiVersion"), json_get_text(ref, "kind"));
	struct verdict *v = w->own;
	struct question *q;

	if (!k || !json_get_text(ref, "uid") || !json_get_text(ref, "name")) {
		mem_append_text(&v->stay, "");
		return;
	}
	q = mem_new(struct question);
	*q = (struct question){w, v, mem_dup_text(json_get_text(ref, "uid"))};
	work_call(w);
	client_get(&w->controller->client,
		   &(struct client_target){k, k->flags & KIND_NAMESPACED ? o->namespace : NULL,
					   json_get_text(ref, "name"), NULL},
		   NULL, answered, q);
}

static bool stays(const void *ctx, const char *uid)
{
	const struct verdict *v = ctx;

	return !text_in(uid, v->gone) && !text_in(uid, v->waiting);
}

static void delete_item(struct work *w, const struct object *o, enum client_propagation how)
{
	auto_free char *revision = mem_printf("%llu", (unsigned long long)o->revision);

	work_call(w);
	client_delete(
		&w->controller->client,
		&(struct client_target){o->kind, o->namespace, o->name, NULL},
		&(struct delete_options){
			.grace_s = -1, .uid = o->uid, .revision = revision, .propagation = how},
		work_called, w);
}

static void decide(struct work *w)
{
	struct collector *g = w->controller->own;
	const struct item *it = map_get(&g->items, w->name);
	const struct object *o = it ? object_of(w->controller, it) : NULL;
	struct verdict *v = w->own;

	if (!o || w->failed) {
		;
	} else if (v->stay) {
		if (v->gone || v->waiting)
			keep_owners(w, o, stays, v);
	} else if (v->waiting && map_get(&g->dependents, o->uid)) {
		delete_item(w, o, PROPAGATE_FOREGROUND);
	} else if (v->waiting || v->gone) {
		delete_item(w, o,
			    has_finalizer(o, ORPHAN)	   ? PROPAGATE_ORPHAN
			    : has_finalizer(o, FOREGROUND) ? PROPAGATE_FOREGROUND
							   : PROPAGATE_BACKGROUND);
	}
	v->stay = mem_free_texts(v->stay);
	v->gone = mem_free_texts(v->gone);
	v->waiting = mem_free_texts(v->waiting);
	work_end(w);
}

static void look(struct work *w)
{
	struct controller *c = w->controller;
	struct collector *g = c->own;
	const struct item *it = map_get(&g->items, w->name);
	const struct object *o = it ? object_of(c, it) : NULL;
	const struct json *refs;

	if (o && is_orphaning(o)) {
		orphan(w, o);
	} else if (o && is_waiting(o)) {
		wait_for_dependents(w, o);
	} else if (o && !o->deleting && !all_owners_stay(c, o)) {
		refs = owners_of(o);
		w->own = mem_new(struct verdict);
		w->then = decide;
		for (size_t i = 0; i < json_len(refs); i++)
			ask(w, o, json_at(refs, i));
	}
	work_end(w);
}

const struct controller_row gc_row = {"generic-garbage-collector", begin, look, end};
