/*
 * The store: opened, asked, closed. Questions are answered from the records in memory (index.c).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/wire/http_client.h"
#include "virt/image/registry.h"

#define LAYERS_AT_ONCE	4
#define BYTES_MAX	(128ull << 30)
#define ENTRIES_MAX	4000000
#define DEPTH_MAX	256
#define XATTR_BYTES_MAX (128u << 10)
#define SHORT_ID_MIN	1

static int open_below(struct image_store *s, const char *name, int *ret, struct err *e)
{
	if (mkdirat(s->root_fd, name, 0700) < 0 && errno != EEXIST)
		return blob_write_err(e, s->root_fd, s->root);
	*ret = openat(s->root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret < 0 ? err_sys(e, "cannot open '%s/%s'", s->root, name) : 0;
}

static void set_limits(struct image_store *s, const struct image_limits *l)
{
	s->limits = (struct unpack_limits){
		.bytes_max = l->bytes_max ? l->bytes_max : BYTES_MAX,
		.entries_max = l->entries_max ? l->entries_max : ENTRIES_MAX,
		.depth_max = l->depth_max ? l->depth_max : DEPTH_MAX,
		.xattr_bytes_max = l->xattr_bytes_max ? l->xattr_bytes_max : XATTR_BYTES_MAX,
	};
}

static int open_all(struct image_store *s, const struct image_options *o, struct err *e)
{
	int r;

	s->root_fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root_fd < 0)
		return err_sys(e, "cannot open the root directory '%s'", s->root);
	r = open_below(s, "image", &s->image_fd, e);
	if (r == 0)
		r = open_below(s, "layer", &s->layer_fd, e);
	if (r == 0)
		r = blob_store_open(s->root, &s->blobs, e);
	if (r == 0)
		r = registry_settings_load(s, o->registries, e);
	if (r == 0)
		r = http_client_new(s->loop, "hull/0.1", &s->http, e);
	if (r == 0)
		r = index_load(s, e);
	if (r == 0)
		tree_probe_overlay(s);
	return r;
}

int image_store_open(const struct image_options *o, struct image_store **ret, struct err *e)
{
	struct image_store *s = mem_new(struct image_store);
	int r;

	assert(o->root && o->loop && o->unpack_program);
	/* What does not lie on one path only is refused early: overlay needs absolute paths. */
	s->root = realpath(o->root, NULL);
	s->root_fd = s->image_fd = s->layer_fd = -1;
	s->loop = o->loop;
	s->world = o->world ? o->world : &world_real;
	s->unpack_program = mem_dup_text(o->unpack_program);
	s->architecture = o->architecture ? o->architecture : manifest_host_architecture();
	s->layers_at_once = o->layers_at_once ? o->layers_at_once : LAYERS_AT_ONCE;
	s->overlay = -1;
	set_limits(s, &o->limits);
	list_init(&s->waiting);
	list_init(&s->finishing);
	list_init(&s->tasks);
	list_init(&s->holds);
	list_init(&s->children);
	r = s->root ? open_all(s, o, e)
		    : err_sys(e, "cannot open the root directory '%s'", o->root);
	if (r < 0) {
		(void)image_store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct image_store *image_store_close(struct image_store *s)
{
	if (!s)
		return NULL;
	s->closing = true;
	list_each (&s->tasks, struct image_task, link, t)
		image_task_cancel(t);
	child_abandon(s);
	/* Jobs under way and the ends of tasks still look at the store: then it lives as long as
	 * the process. */
	if (!list_empty(&s->tasks) || s->works.count > 0 || s->syncing)
		return NULL;
	s->http = http_client_free(s->http);
	index_done(s);
	registry_settings_free(s->settings);
	s->blobs = blob_store_free(s->blobs);
	(void)fd_close(s->root_fd);
	(void)fd_close(s->image_fd);
	(void)fd_close(s->layer_fd);
	free(s->unpack_program);
	free(s->root);
	free(s);
	return NULL;
}

/* ---- Finding ---- */

static struct index_image *find_named(struct image_store *s, const char *full)
{
	for (int owner = 0; owner < IMAGE_OWNERS; owner++) {
		auto_free char *key = mem_printf("%d\t%s", owner, full);
		struct index_name *n = map_get(&s->names, key);
		struct index_image *i = n ? index_image(s, n->id) : NULL;

		if (i && !i->removed)
			return i;
	}
	return NULL;
}

/* Digits of an id, with or without "sha256:". */
static bool is_short_id(struct str s)
{
	if (s.n < SHORT_ID_MIN || s.n > DIGEST_HEX_CHARS)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return true;
}

static int find_short(struct image_store *s, struct str digits, struct index_image **ret,
		      struct err *e)
{
	*ret = NULL;
	map_each (&s->images, it) {
		struct index_image *i = it->value;

		if (i->removed || strncmp(digest_hex(i->image->id), digits.p, digits.n) != 0)
			continue;
		if (*ret)
			return err_set(
				e, ERR_INVALID,
				"ambiguous image id '%.*s': several images begin so; give more "
				"digits",
				(int)digits.n, digits.p);
		*ret = i;
	}
	return 0;
}

/* name@digest also finds an image whose manifest has that digest, if the repository is right. */
static struct index_image *find_reference(struct image_store *s, struct reference *r,
					  struct arena *a)
{
	if (r->digest)
		return find_named(s, reference_digested(r, r->digest, a));
	reference_default_tag(r);
	return find_named(s, reference_tagged(r, a));
}

static int find_entry(struct image_store *s, const char *name, struct index_image **ret,
		      struct err *e)
{
	auto_arena struct arena a = {0};
	struct str digits = str_of(name);
	struct reference r;
	struct index_image *i = NULL;
	int failed = 0;

	if (str_starts(digits, "sha256:"))
		digits = (struct str){name + 7, digits.n - 7};
	else if (digits.n != DIGEST_HEX_CHARS) {
		failed = reference_parse(name, &a, &r, e);
		if (failed < 0)
			return failed;
		i = find_reference(s, &r, &a);
	}
	if (!i && is_short_id(digits))
		failed = find_short(s, digits, &i, e);
	if (failed < 0)
		return failed;
	if (!i)
		return err_set(e, ERR_NOT_FOUND, "No such image: %s%s", name,
			       !strchr(name, ':') && !strchr(name, '@') && !is_short_id(digits)
				       ? ":latest"
				       : "");
	*ret = i;
	return 0;
}

int image_find(struct image_store *s, const char *name, struct image **ret, struct err *e)
{
	struct index_image *i = NULL;
	int r;

	assert(name && ret);
	r = find_entry(s, name, &i, e);
	if (r == 0)
		*ret = image_ref(i->image);
	return r;
}

static int by_age(const void *a, const void *b)
{
	const struct image *x = *(struct image *const *)a, *y = *(struct image *const *)b;

	if (x->created_ns != y->created_ns)
		return x->created_ns > y->created_ns ? -1 : 1;
	return strcmp(x->id, y->id);
}

size_t image_list(struct image_store *s, struct image ***ret)
{
	struct image **list = mem_new_array(struct image *, s->images.count + 1);
	size_t n = 0;

	map_each (&s->images, it) {
		const struct index_image *i = it->value;

		if (!i->removed)
			list[n++] = image_ref(i->image);
	}
	qsort(list, n, sizeof(*list), by_age);
	*ret = list;
	return n;
}

static char **names_of(struct image_store *s, const struct image *i, enum image_owner owner,
		       bool digests)
{
	auto_arena struct arena a = {0};
	char **list = mem_new_array(char *, 1);

	map_each (&s->names, it) {
		const struct index_name *n = it->value;

		if (strcmp(n->id, i->id) != 0 || (owner != IMAGE_OWNER_ANY && n->owner != owner))
			continue;
		if ((strchr(n->full, '@') != NULL) == digests &&
		    !text_in(reference_familiar(n->full, &a), list))
			mem_append_text(&list, reference_familiar(n->full, &a));
	}
	return list;
}

char **image_tags(struct image_store *s, const struct image *i, enum image_owner owner)
{
	return names_of(s, i, owner, false);
}

char **image_digests(struct image_store *s, const struct image *i, enum image_owner owner)
{
	return names_of(s, i, owner, true);
}

int image_reference_normal(const char *name, char **ret_full, char **ret_familiar, struct err *e)
{
	auto_arena struct arena a = {0};
	struct reference r;
	int failed = reference_parse(name, &a, &r, e);
	char *full;

	if (failed < 0)
		return failed;
	reference_default_tag(&r);
	full = r.digest ? reference_digested(&r, r.digest, &a) : reference_tagged(&r, &a);
	if (ret_full)
		*ret_full = mem_dup_text(full);
	if (ret_familiar)
		*ret_familiar = mem_dup_text(reference_familiar(full, &a));
	return 0;
}

/* ---- Sizes ---- */

static unsigned int layer_users(struct image_store *s, const char *diff_id)
{
	unsigned int users = 0;

	map_each (&s->images, it) {
		const struct index_image *i = it->value;

		users += text_in(diff_id, i->image->diff_ids) ? 1 : 0;
	}
	return users;
}

int64_t image_shared_bytes(struct image_store *s, const struct image *i)
{
	int64_t sum = 0;

	for (size_t k = 0; k < i->layers_n; k++) {
		struct index_layer_dir *d = index_layer_dir(s, i->diff_ids[k]);

		if (d && layer_users(s, i->diff_ids[k]) > 1)
			sum += d->bytes;
	}
	return sum;
}

static void count_blob(void *arg, const char *digest, uint64_t size_bytes)
{
	struct image_usage *u = arg;

	(void)digest;
	u->blobs++;
	u->blob_bytes += (int64_t)size_bytes;
}

void image_usage(struct image_store *s, struct image_usage *ret)
{
	memset(ret, 0, sizeof(*ret));
	map_each (&s->images, it)
		ret->images += ((struct index_image *)it->value)->removed ? 0 : 1;
	map_each (&s->layers, it) {
		const struct index_layer_dir *d = it->value;

		ret->layers++;
		ret->layer_bytes += d->bytes;
		ret->unused_bytes += d->pins ? 0 : d->bytes;
	}
	(void)!blob_each(s->blobs, count_blob, ret, NULL);
}

/* ---- Holds ---- */

struct image_hold {
	struct list link;
	struct image_store *store;
	char id[DIGEST_ROOM];
	struct image *image;
	char *who;
};

static char **layer_paths(struct image_store *s, const struct image *i)
{
	char **dirs = mem_new_array(char *, i->layers_n + 1);

	for (size_t k = 0; k < i->layers_n; k++)
		dirs[k] = mem_printf("%s/layer/%s/fs", s->root,
				     digest_hex(i->diff_ids[i->layers_n - 1 - k]));
	return dirs;
}

static int hold(struct image_store *s, struct index_image *entry, const char *who, char ***ret_dirs,
		struct image_hold **ret_hold, struct err *e)
{
	struct image *i = entry->image;
	struct image_hold *h;

	for (size_t k = 0; k < i->layers_n; k++)
		if (!index_layer_dir(s, i->diff_ids[k]))
			return err_set(e, ERR_NOT_FOUND,
				       "layer %s of image %.19s is missing in '%s/layer'; pull the "
				       "image again",
				       i->diff_ids[k], i->id, s->root);
	h = mem_new(struct image_hold);
	h->store = s;
	h->image = image_ref(i);
	h->who = mem_dup_text(who);
	memcpy(h->id, i->id, DIGEST_ROOM);
	for (size_t k = 0; k < i->layers_n; k++)
		index_layer_dir(s, i->diff_ids[k])->pins++;
	entry->holds++;
	list_append(&s->holds, &h->link);
	*ret_hold = h;
	if (ret_dirs)
		*ret_dirs = layer_paths(s, i);
	return 0;
}

int image_layers(struct image_store *s, const struct image *i, const char *who, char ***ret_dirs,
		 struct image_hold **ret_hold, struct err *e)
{
	return image_hold_id(s, i->id, who, ret_dirs, ret_hold, e);
}

int image_hold_id(struct image_store *s, const char *id, const char *who, char ***ret_dirs,
		  struct image_hold **ret_hold, struct err *e)
{
	struct index_image *i = index_image(s, id);

	if (!i)
		return err_set(e, ERR_NOT_FOUND, "No such image: %s", id);
	return hold(s, i, who, ret_dirs, ret_hold, e);
}

/* The last holder of a removed image takes it away. */
static void drop_removed(struct image_store *s, const char *id)
{
	struct index_image *i = index_image(s, id);

	if (!i || !i->removed || i->holds > 0)
		return;
	index_forget(s, id);
	(void)!index_save(s, NULL);
	(void)index_collect(s, NULL, NULL);
}

struct image_hold *image_hold_release(struct image_hold *h)
{
	struct index_image *i;

	if (!h)
		return NULL;
	for (size_t k = 0; k < h->image->layers_n; k++) {
		struct index_layer_dir *d = index_layer_dir(h->store, h->image->diff_ids[k]);

		if (d) {
			assert(d->pins > 0);
			d->pins--;
		}
	}
	i = index_image(h->store, h->id);
	if (i) {
		assert(i->holds > 0);
		i->holds--;
	}
	list_remove(&h->link);
	if (!h->store->closing)
		drop_removed(h->store, h->id);
	(void)image_unref(h->image);
	free(h->who);
	free(h);
	return NULL;
}

const char *image_holder(struct image_store *s, const char *id)
{
	list_each (&s->holds, struct image_hold, link, h) {
		if (strcmp(h->id, id) == 0)
			return h->who;
	}
	return "somebody";
}

/* ---- Names ---- */

int image_tag(struct image_store *s, const struct image *i, const char *reference,
	      enum image_owner owner, struct err *e)
{
	auto_arena struct arena a = {0};
	struct reference r;
	struct index_add add = {.owner = owner};
	int failed = reference_parse(reference, &a, &r, e);

	assert(owner < IMAGE_OWNERS);
	if (failed < 0)
		return failed;
	if (r.digest)
		return err_set(e, ERR_INVALID,
			       "refusing to create a tag with a digest reference: '%s'", reference);
	if (!index_image(s, i->id))
		return err_set(e, ERR_NOT_FOUND, "No such image: %s", i->id);
	reference_default_tag(&r);
	add.image = index_image(s, i->id)->image;
	add.names[0] = reference_tagged(&r, &a);
	return index_add(s, &add, NULL, e);
}
