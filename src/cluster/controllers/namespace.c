/*
 * Namespaces that are to go: everything in them is deleted, kind by kind; when a look finds nothing
 * left, the namespace is let go by its finalize subresource. What is left, and what holds it, is
 * told by conditions.
 */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/controllers_priv.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

#define AGAIN_MS 2000 /* for what is held by finalizers that no view here tells of */

/* What one look found; the maps count with their values. */
struct found {
	struct map kinds, finalizers; /* name -> (void *)count */
	bool failed;
	struct err error;
};

struct visit {
	struct work *work;
	struct found *found;
	const struct kind *kind;
};

static struct informer *view(const struct controller *c)
{
	return controller_view(c, "", "namespaces");
}

/* A pod went: its namespace may be waiting for it. */
static void on_pod(void *ctx, const struct object *now, const struct object *before)
{
	struct controller *c = ctx;
	const struct object *ns = now ? NULL : informer_get(view(c), "", before->namespace);

	if (ns && ns->deleting)
		controller_add(c, ns);
}

static void begin(struct controller *c)
{
	informer_on(view(c), controller_on_self, c);
	informer_on(controller_view(c, "", "pods"), on_pod, c);
}

/* Kinds that have objects in namespaces, in turn. */
static const struct kind *next_kind(size_t *at)
{
	const struct kind *k;

	while ((k = kind_at((*at)++)) != NULL)
		if (k->stored == k && k->plural[0] && k->flags & KIND_NAMESPACED &&
		    !(k->flags & (KIND_NO_STORE | KIND_COMPUTED)))
			return k;
	return NULL;
}

static void count(struct map *m, const char *key)
{
	(void)map_put(m, key, (void *)((uintptr_t)map_get(m, key) + 1));
}

static struct visit *visit_new(struct work *w, const struct kind *k)
{
	struct visit *v = mem_new(struct visit);

	*v = (struct visit){w, w->own, k};
	work_call(w);
	return v;
}

static void visit_end(struct visit *v, const struct err *e)
{
	if (e && e->kind != ERR_NOT_FOUND && e->kind != ERR_UNSUPPORTED) {
		v->found->failed = true;
		v->found->error = *e;
	}
	work_called(v->work, &(struct outcome){0});
	free(v);
}

/* -- the end of a look ------------------------------------------------------------------------- */

static void found_done(struct found *f)
{
	map_done(&f->kinds);
	map_done(&f->finalizers);
}

static void set(const struct controller *c, const struct object *ns, struct json *status,
		const char *type, bool is, const char *reason, const char *message)
{
	char now[TIME_CHARS];

	condition_set(status, tree_status(ns), type, is ? "True" : "False", reason, message,
		      controller_now(c, now));
}

static char *list_text(const struct map *m, const char *begin, const char *form)
{
	auto_strbuf struct strbuf text = {0};
	const char *comma = "";

	strbuf_add_text(&text, begin);
	map_each (m, it) {
		strbuf_printf(&text, "%s%s %s %zu resource instances", comma, it->key, form,
			      (size_t)(uintptr_t)it->value);
		comma = ", ";
	}
	return strbuf_take(&text);
}

static void tell(struct work *w, const struct object *ns, const struct found *f)
{
	const struct controller *c = w->controller;
	struct json *status = json_new_object();
	bool left = f->kinds.count > 0, held = f->finalizers.count > 0;
	auto_free char *what = list_text(&f->kinds, "Some resources are remaining: ", "has");
	auto_free char *who = list_text(
		&f->finalizers, "Some content in the namespace has finalizers remaining: ", "in");

	set(c, ns, status, "NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered",
	    "All resources successfully discovered");
	set(c, ns, status, "NamespaceDeletionGroupVersionParsingFailure", false,
	    "ParsedGroupVersions", "All legacy kube types successfully parsed");
	set(c, ns, status, "NamespaceDeletionContentFailure", f->failed,
	    f->failed ? "ContentDeletionFailed" : "ContentDeleted",
	    f->failed ? f->error.text
		      : "All content successfully deleted, may be waiting on finalization");
	set(c, ns, status, "NamespaceContentRemaining", left,
	    left ? "SomeResourcesRemain" : "ContentRemoved",
	    left ? what : "All content successfully removed");
	set(c, ns, status, "NamespaceFinalizersRemaining", held,
	    held ? "SomeFinalizersRemain" : "ContentHasNoFinalizers",
	    held ? who : "All content-preserving finalizers finished");
	work_status(w, ns, status);
}

static void let_go(struct work *w, const struct object *ns)
{
	const struct json *have = json_get(tree_spec(ns), "finalizers");
	struct json *patch = json_new_object(), *left = json_new_array();

	for (size_t i = 0; i < json_len(have); i++)
		if (!text_eq(json_text(json_at(have, i)), "kubernetes"))
			json_append(left, json_ref(json_at(have, i)));
	json_set(json_make_object(patch, "spec"), "finalizers", left);
	work_patch(w, ns, "finalize", patch);
}

static void conclude(struct work *w)
{
	const struct object *ns = informer_get(view(w->controller), "", w->name);
	struct found *f = w->own;

	if (ns && ns->deleting) {
		if (f->kinds.count == 0 && !f->failed) {
			let_go(w, ns);
		} else {
			tell(w, ns, f);
			w->again_ms = AGAIN_MS;
		}
	}
	found_done(f);
	work_end(w);
}

/* -- a look ------------------------------------------------------------------------------------ */

static void listed(void *ctx, const struct list_outcome *l)
{
	struct visit *v = ctx;
	char name[128];

	kind_resource(v->kind, name, sizeof(name));
	for (size_t i = 0; i < l->n; i++) {
		const struct json *held =
			json_get(json_get(object_tree(l->items[i]), "metadata"), "finalizers");

		count(&v->found->kinds, name);
		for (size_t k = 0; k < json_len(held); k++)
			count(&v->found->finalizers, json_text(json_at(held, k)));
	}
	visit_end(v, l->error);
}

/* What is there after all was asked to go. */
static void list_all(struct work *w)
{
	const struct kind *k;
	size_t at = 0;

	w->then = conclude;
	while ((k = next_kind(&at)) != NULL)
		client_list(&w->controller->client, &(struct client_target){k, w->name},
			    &(struct list_query){0}, listed, visit_new(w, k));
	work_end(w);
}

static void deleted(void *ctx, const struct list_outcome *l)
{
	visit_end(ctx, l->error);
}

static bool is_held(const struct object *ns)
{
	const struct json *list = json_get(tree_spec(ns), "finalizers");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_text(json_at(list, i)), "kubernetes"))
			return true;
	return false;
}

static void look(struct work *w)
{
	const struct object *ns = informer_get(view(w->controller), "", w->name);
	const struct kind *k;
	size_t at = 0;

	if (!ns || !ns->deleting || !is_held(ns)) {
		work_end(w);
		return;
	}
	w->own = mem_new(struct found);
	w->then = list_all;
	while ((k = next_kind(&at)) != NULL)
		client_delete_all(&w->controller->client, &(struct client_target){k, w->name},
				  &(struct list_query){0}, &(struct delete_options){.grace_s = -1},
				  deleted, visit_new(w, k));
	work_end(w);
}

const struct controller_row namespace_row = {"namespace", begin, look, NULL};
