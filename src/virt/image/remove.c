/*
 * Docker's rmi: which names go, whether the image goes with them, and what is told. The rules:
 * a name given: that name goes; when it was the image's last tag, its digest names and the image go
 * too. an id given: all names in one repository go and the image with them; several repositories
 * need force.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "virt/image/image_priv.h"

struct removal {
	struct image_store *store;
	enum image_owner owner;
	struct image_removed *list;
	size_t n, room;
};

static void told(struct removal *r, const char *untagged, const char *deleted)
{
	mem_grow(r->list, r->n + 1, r->room);
	r->list[r->n++] = (struct image_removed){mem_dup_text(untagged), mem_dup_text(deleted)};
}

void image_removed_free(struct image_removed *list, size_t n)
{
	for (size_t i = 0; list && i < n; i++) {
		free(list[i].untagged);
		free(list[i].deleted);
	}
	free(list);
}

static bool is_mine(const struct removal *r, const struct index_name *n)
{
	return r->owner == IMAGE_OWNER_ANY || n->owner == r->owner;
}

/* Names of the image: all, tags only, or others' only. */
static size_t count_names(const struct removal *r, const char *id, bool tags_only, bool mine)
{
	size_t count = 0;

	map_each (&r->store->names, it) {
		const struct index_name *n = it->value;

		if (strcmp(n->id, id) == 0 && is_mine(r, n) == mine &&
		    !(tags_only && strchr(n->full, '@')))
			count++;
	}
	return count;
}

static size_t repository_chars(const char *full)
{
	const char *at = strchr(full, '@'), *slash = strrchr(full, '/'), *colon;

	if (at)
		return (size_t)(at - full);
	colon = strchr(slash ? slash : full, ':');
	return colon ? (size_t)(colon - full) : strlen(full);
}

static bool one_repository(const struct removal *r, const char *id)
{
	const char *first = NULL;

	map_each (&r->store->names, it) {
		const struct index_name *n = it->value;

		if (strcmp(n->id, id) != 0 || !is_mine(r, n))
			continue;
		if (first && (repository_chars(first) != repository_chars(n->full) ||
			      strncmp(first, n->full, repository_chars(first)) != 0))
			return false;
		first = n->full;
	}
	return true;
}

static void drop_names(struct removal *r, const char *id, const char *only)
{
	auto_arena struct arena a = {0};

	map_each (&r->store->names, it) {
		struct index_name *n = it->value;

		if (strcmp(n->id, id) != 0 || !is_mine(r, n) ||
		    (only && strcmp(n->full, only) != 0))
			continue;
		told(r, reference_familiar(n->full, &a), NULL);
		(void)map_remove(&r->store->names, it->key);
		free(n->full);
		free(n);
	}
}

static void delete_image(struct removal *r, struct index_image *i)
{
	struct image *image = image_ref(i->image);
	bool held = i->holds > 0;

	if (held)
		i->removed = true;
	else
		index_forget(r->store, image->id);
	told(r, NULL, image->id);
	for (size_t k = image->layers_n; k-- > 0;)
		if (!held && !index_layer_blob(r->store, image->diff_ids[k]))
			told(r, NULL, image->diff_ids[k]);
	(void)image_unref(image);
}

static int check_id_removal(struct removal *r, struct index_image *i, bool force, struct err *e)
{
	const char *id = i->image->id;

	if (i->holds > 0 && !force)
		return err_set(e, ERR_CONFLICT,
			       "conflict: unable to delete %.12s (must be forced) - image is being "
			       "used by %s",
			       digest_hex(id), image_holder(r->store, id));
	if (!force && !one_repository(r, id))
		return err_set(e, ERR_CONFLICT,
			       "conflict: unable to delete %.12s (must be forced) - image is "
			       "referenced in multiple "
			       "repositories",
			       digest_hex(id));
	return 0;
}

static int remove_by_id(struct removal *r, struct index_image *i, bool force, struct err *e)
{
	int failed = check_id_removal(r, i, force, e);
	size_t others;

	if (failed < 0)
		return failed;
	others = count_names(r, i->image->id, false, false);
	if (others > 0 && count_names(r, i->image->id, false, true) == 0)
		return err_set(e, ERR_CONFLICT,
			       "conflict: image %.12s belongs to another interface of this node",
			       digest_hex(i->image->id));
	drop_names(r, i->image->id, NULL);
	if (others == 0)
		delete_image(r, i);
	return 0;
}

static int remove_by_name(struct removal *r, struct index_image *i, const char *full, bool force,
			  struct err *e)
{
	const char *id = i->image->id;
	bool last = count_names(r, id, true, true) <= 1 && count_names(r, id, false, false) == 0;
	bool is_digest = strchr(full, '@') != NULL;

	if (is_digest)
		last = count_names(r, id, false, true) <= 1 &&
		       count_names(r, id, false, false) == 0;
	if (last && i->holds > 0 && !force)
		return err_set(e, ERR_CONFLICT,
			       "conflict: unable to remove repository reference \"%s\" (must "
			       "force) - %s is using its "
			       "referenced image %.12s",
			       full, image_holder(r->store, id), digest_hex(id));
	drop_names(r, id, last ? NULL : full);
	if (last)
		delete_image(r, i);
	return 0;
}

/* The name this owner has; NULL when `name` is an id. */
static char *own_name(struct image_store *s, const char *name, enum image_owner owner,
		      struct arena *a)
{
	struct reference ref;
	char *full;

	if (reference_parse(name, a, &ref, NULL) < 0)
		return NULL;
	reference_default_tag(&ref);
	full = ref.digest ? reference_digested(&ref, ref.digest, a) : reference_tagged(&ref, a);
	map_each (&s->names, it) {
		const struct index_name *n = it->value;

		if ((owner == IMAGE_OWNER_ANY || n->owner == owner) && strcmp(n->full, full) == 0)
			return full;
	}
	return NULL;
}

int image_remove(struct image_store *s, const char *name, enum image_owner owner, bool force,
		 struct image_removed **ret, size_t *ret_n, struct err *e)
{
	auto_arena struct arena a = {0};
	struct removal r = {.store = s, .owner = owner};
	struct image *image = NULL;
	struct index_image *i;
	char *full;
	int failed = image_find(s, name, &image, e);

	if (failed < 0)
		return failed;
	i = index_image(s, image->id);
	assert(i);
	full = own_name(s, name, owner, &a);
	failed = full ? remove_by_name(&r, i, full, force, e) : remove_by_id(&r, i, force, e);
	(void)image_unref(image);
	if (failed == 0)
		failed = index_save(s, e);
	if (failed < 0) {
		image_removed_free(r.list, r.n);
		return failed;
	}
	(void)index_collect(s, NULL, NULL);
	*ret = r.list;
	*ret_n = r.n;
	return 0;
}
