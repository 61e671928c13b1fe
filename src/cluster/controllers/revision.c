/* Controller revisions: see revision.h. */
#include "cluster/controllers/revision.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"

int64_t revision_number(const struct object *revision)
{
	return json_get_i64(object_tree(revision), "revision", 0);
}

const char *revision_hash(const struct object *revision)
{
	const char *hash = object_label(revision, REVISION_HASH_LABEL);

	return hash ? hash : "";
}

static int by_number(const void *x, const void *y)
{
	const struct object *const *a = x, *const *b = y;
	int64_t na = revision_number(*a), nb = revision_number(*b);

	if (na != nb)
		return na < nb ? -1 : 1;
	return strcmp((*a)->name, (*b)->name);
}

/* What a revision keeps: a patch that brings its template back. */
static struct json *data_of(const struct object *owner)
{
	struct json *data = json_new_object();
	struct json *template = json_copy(json_get(tree_spec(owner), "template"));

	json_set_text(template, "$patch", "replace");
	json_set(json_make_object(data, "spec"), "template", template);
	return data;
}

struct json *revision_template(const struct object *revision)
{
	struct json *template = json_copy(
		json_get(json_get(json_get(object_tree(revision), "data"), "spec"), "template"));

	if (template)
		json_remove(template, "$patch");
	return template;
}

struct making {
	struct work *work;
	char *name;
};

/* Another one has the name: the next look takes another. */
static void made(void *ctx, const struct outcome *o)
{
	struct making *m = ctx;
	struct work *w = m->work;
	const struct kind *k = kind_of_word(
		strstr(w->controller->row->name, "daemon") ? "daemonsets" : "statefulsets");
	const struct object *owner = informer_get(informer_of(w->controller->all->o.informers, k),
						  w->namespace, w->name);
	const struct object *have =
		informer_get(controller_view(w->controller, "apps", "controllerrevisions"),
			     w->namespace, m->name);

	if (owner && o->error && o->error->kind == ERR_EXISTS &&
	    !(have && text_eq(have->owner_uid, owner->uid))) {
		struct json *status = json_new_object();

		json_set_i64(status, "collisionCount",
			     json_get_i64(tree_status(owner), "collisionCount", 0) + 1);
		work_status(w, owner, status);
	}
	work_called(w, o);
	free(m->name);
	free(m);
}

static void make(struct work *w, const struct object *owner, struct json *data, int64_t number)
{
	struct json *revision = json_new_object(), *meta = json_make_object(revision, "metadata");
	const struct json *labels =
		json_get(json_get(json_get(tree_spec(owner), "template"), "metadata"), "labels");
	struct json *owners = json_new_array();
	struct making *m = mem_new(struct making);
	char hash[TREE_HASH_CHARS];

	tree_hash(data, json_get_i64(tree_status(owner), "collisionCount", 0), hash);
	*m = (struct making){w, mem_printf("%s-%s", owner->name, hash)};
	json_set_text(meta, "name", m->name);
	json_set(meta, "labels", labels ? json_copy(labels) : json_new_object());
	json_set_text(json_get(meta, "labels"), REVISION_HASH_LABEL, hash);
	json_append(owners, owner_reference(owner));
	json_set(meta, "ownerReferences", owners);
	json_set(revision, "data", data);
	json_set_i64(revision, "revision", number);
	work_call(w);
	client_create(
		&w->controller->client,
		&(struct client_target){view_kind("apps", "controllerrevisions"), owner->namespace},
		revision, NULL, made, m);
}

void revisions_look(struct work *w, const struct object *owner, const struct selector *s,
		    struct revisions *ret)
{
	struct json *data = data_of(owner), *patch;
	int64_t newest;

	*ret = (struct revisions){0};
	owned_claim(w, owner, controller_view(w->controller, "apps", "controllerrevisions"), s,
		    &ret->all);
	if (ret->all.n)
		qsort(ret->all.list, ret->all.n, sizeof(struct object *), by_number);
	newest = ret->all.n ? revision_number(ret->all.list[ret->all.n - 1]) : 0;
	for (size_t i = ret->all.n; i-- > 0 && !ret->current;)
		if (json_equal(json_get(object_tree(ret->all.list[i]), "data"), data))
			ret->current = ret->all.list[i];
	if (!ret->current) {
		make(w, owner, data, newest + 1);
		return;
	}
	(void)json_free(data);
	if (revision_number(ret->current) == newest)
		return;
	patch = json_new_object();
	json_set_i64(patch, "revision", newest + 1);
	work_patch(w, ret->current, NULL, patch);
}

void revisions_done(struct revisions *r)
{
	owned_done(&r->all);
	r->current = NULL;
}

void revisions_clean(struct work *w, const struct object *owner, const struct revisions *r,
		     bool (*lives)(void *ctx, const struct object *revision), void *ctx)
{
	int64_t keep = json_get_i64(tree_spec(owner), "revisionHistoryLimit", 10), old = 0;

	for (size_t i = 0; i < r->all.n; i++)
		old += r->all.list[i] != r->current && !lives(ctx, r->all.list[i]);
	for (size_t i = 0; i < r->all.n && old > keep; i++) {
		if (r->all.list[i] == r->current || lives(ctx, r->all.list[i]))
			continue;
		work_delete(w, r->all.list[i]);
		old--;
	}
}
