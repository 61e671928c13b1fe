/*
 * The records of a store: images, names, unpacked layers, and who needs what.
 *
 * All records are one file, <root>/image/images.json, written whole and renamed: a name and the
 * image it points at become visible in the same instant, and a crash leaves the state before or
 * after, nothing else. The file is small (1 KB for each image) and changes rarely. Layers on disk
 * are found by listing <root>/layer; what no record needs is collected.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "ground/store/folder.h"
#include "virt/image/image_priv.h"

#define INDEX_FILE	"images.json"
#define INDEX_BYTES_MAX (256u << 20)
#define INDEX_VERSION	1
#define TRASH		"trash-" /* hidden layers on their way out, in <root>/image */

static const char *const owner_names[] = {"docker", "kube", "cli"};
static_assert(array_len(owner_names) == IMAGE_OWNERS, "a name for each owner");

struct layer_row {
	char *blob, *media_type;
	int64_t size;
};

struct image_row {
	char *id, *manifest;
	bool removed;
	struct layer_row *layers;
	size_t layers_n;
};

struct name_row {
	char *name, *owner, *image;
};

struct index_file {
	int64_t version;
	struct image_row *images;
	size_t images_n;
	struct name_row *names;
	size_t names_n;
};

static const struct json_field layer_fields[] = {
	{"blob", JSON_TEXT, offsetof(struct layer_row, blob)},
	{"media_type", JSON_TEXT, offsetof(struct layer_row, media_type)},
	{"size", JSON_I64, offsetof(struct layer_row, size)},
};
static const struct json_shape layer_shape = JSON_SHAPE(struct layer_row, layer_fields);

static const struct json_field image_fields[] = {
	{"id", JSON_TEXT, offsetof(struct image_row, id), .required = true},
	{"manifest", JSON_TEXT, offsetof(struct image_row, manifest)},
	{"removed", JSON_FLAG, offsetof(struct image_row, removed)},
	{"layers", JSON_LIST, offsetof(struct image_row, layers), .shape = &layer_shape,
	 .count = offsetof(struct image_row, layers_n)},
};
static const struct json_shape image_shape = JSON_SHAPE(struct image_row, image_fields);

static const struct json_field name_fields[] = {
	{"name", JSON_TEXT, offsetof(struct name_row, name), .required = true},
	{"owner", JSON_TEXT, offsetof(struct name_row, owner), .required = true},
	{"image", JSON_TEXT, offsetof(struct name_row, image), .required = true},
};
static const struct json_shape name_shape = JSON_SHAPE(struct name_row, name_fields);

static const struct json_field file_fields[] = {
	{"version", JSON_I64, offsetof(struct index_file, version), .required = true},
	{"images", JSON_LIST, offsetof(struct index_file, images), .shape = &image_shape,
	 .count = offsetof(struct index_file, images_n)},
	{"names", JSON_LIST, offsetof(struct index_file, names), .shape = &name_shape,
	 .count = offsetof(struct index_file, names_n)},
};
static const struct json_shape file_shape = JSON_SHAPE(struct index_file, file_fields);

/* ---- In memory ---- */

void index_layer_done(struct index_layer *l)
{
	free(l->blob);
	free(l->media_type);
	*l = (struct index_layer){0};
}

static void image_entry_free(struct index_image *i)
{
	for (size_t k = 0; i->layers && k < i->image->layers_n; k++)
		index_layer_done(&i->layers[k]);
	free(i->layers);
	free(i->manifest);
	(void)image_unref(i->image);
	free(i);
}

static void name_free(struct index_name *n)
{
	free(n->full);
	free(n);
}

struct index_image *index_image(struct image_store *s, const char *id)
{
	return map_get(&s->images, id);
}

struct index_layer_dir *index_layer_dir(struct image_store *s, const char *diff_id)
{
	return map_get(&s->layers, diff_id);
}

const struct index_layer *index_layer_blob(struct image_store *s, const char *diff_id)
{
	map_each (&s->images, it) {
		const struct index_image *i = it->value;

		for (size_t k = 0; k < i->image->layers_n; k++)
			if (strcmp(i->image->diff_ids[k], diff_id) == 0 && i->layers[k].blob &&
			    blob_has(s->blobs, i->layers[k].blob, NULL))
				return &i->layers[k];
	}
	return NULL;
}

void index_pin_blob(struct image_store *s, const char *digest, int by)
{
	intptr_t count = (intptr_t)map_get(&s->blob_pins, digest) + by;

	assert(count >= 0);
	if (count == 0)
		(void)map_remove(&s->blob_pins, digest);
	else
		(void)map_put(&s->blob_pins, digest, (void *)count);
}

static char *name_key(enum image_owner owner, const char *full)
{
	return mem_printf("%d\t%s", (int)owner, full);
}

/* Points the name at the image; the caller saves. */
static void put_name(struct image_store *s, enum image_owner owner, const char *full,
		     const char *id)
{
	auto_free char *key = name_key(owner, full);
	struct index_name *n = mem_new(struct index_name), *old;

	n->full = mem_dup_text(full);
	n->owner = owner;
	snprintf(n->id, sizeof(n->id), "%s", id);
	old = map_put(&s->names, key, n);
	if (old)
		name_free(old);
}

/* ---- Reading ---- */

static int load_image(struct image_store *s, const struct image_row *row, struct err *e)
{
	auto_strbuf struct strbuf bytes = {0};
	struct index_image *entry;
	struct image *image = NULL;
	int r = digest_check(str_of(row->id), e);

	if (r == 0)
		r = blob_get(s->blobs, row->id, IMAGE_CONFIG_MAX, &bytes, e);
	if (r == 0)
		r = manifest_config(strbuf_str(&bytes), row->id, &image, e);
	if (r < 0)
		return r;
	entry = mem_new(struct index_image);
	entry->image = image;
	entry->removed = row->removed;
	entry->manifest = mem_dup_text(row->manifest);
	if (row->manifest)
		snprintf(image->manifest_digest, sizeof(image->manifest_digest), "%s",
			 row->manifest);
	entry->layers = mem_new_array(struct index_layer, image->layers_n + 1);
	for (size_t k = 0; k < image->layers_n && k < row->layers_n; k++)
		entry->layers[k] = (struct index_layer){mem_dup_text(row->layers[k].blob),
							mem_dup_text(row->layers[k].media_type),
							row->layers[k].size};
	(void)map_put(&s->images, row->id, entry);
	return 0;
}

static int owner_of(const char *name)
{
	for (int i = 0; i < IMAGE_OWNERS; i++)
		if (text_eq(name, owner_names[i]))
			return i;
	return -1;
}

static int load_records(struct image_store *s, struct err *e)
{
	auto_json struct json *j = NULL;
	auto_arena struct arena a = {0};
	struct index_file f;
	int r;

	if (faccessat(s->image_fd, INDEX_FILE, F_OK, 0) < 0)
		return 0;
	r = json_read_file(s->image_fd, INDEX_FILE, INDEX_BYTES_MAX, &j, e);
	if (r == 0)
		r = json_decode(j, &file_shape, "image/" INDEX_FILE, &a, &f, e);
	if (r < 0)
		return r;
	if (f.version != INDEX_VERSION)
		return err_set(e, ERR_UNSUPPORTED,
			       "'%s/image/" INDEX_FILE
			       "' is of version %lld, this program reads %d",
			       s->root, (long long)f.version, INDEX_VERSION);
	for (size_t i = 0; i < f.images_n; i++) {
		struct err why = {0};

		/* One damaged config must not take all other images away. */
		if (load_image(s, &f.images[i], &why) < 0)
			log_warn("image %s is left out: %s", f.images[i].id, why.text);
	}
	for (size_t i = 0; i < f.names_n; i++) {
		int owner = owner_of(f.names[i].owner);

		if (owner >= 0 && index_image(s, f.names[i].image))
			put_name(s, (enum image_owner)owner, f.names[i].name, f.names[i].image);
	}
	return 0;
}

static int64_t layer_bytes_noted(struct image_store *s, const char *name)
{
	auto_free char *path = mem_printf("%s/layer.json", name);
	auto_json struct json *j = NULL;

	if (json_read_file(s->layer_fd, path, 1u << 20, &j, NULL) < 0)
		return -1;
	return json_get_i64(j, "bytes", 0);
}

struct sweep_job {
	int layer_fd, image_fd;
	char **names; /* in <root>/layer */
	char **trash; /* in <root>/image */
	void (*done)(void *arg);
	void *arg;
};

static void sweep_run(void *arg)
{
	struct sweep_job *j = arg;

	for (size_t i = 0; j->names && j->names[i]; i++)
		(void)!folder_remove(j->layer_fd, j->names[i], NULL);
	for (size_t i = 0; j->trash && j->trash[i]; i++)
		(void)!folder_remove(j->image_fd, j->trash[i], NULL);
}

static void sweep_done(void *arg)
{
	struct sweep_job *j = arg;

	if (j->done)
		j->done(j->arg);
	(void)mem_free_texts(j->names);
	(void)mem_free_texts(j->trash);
	free(j);
}

static void load_layer_dir(struct image_store *s, const char *name, char ***sweep)
{
	char digest[7 + 256];
	struct index_layer_dir *dir;
	int64_t bytes;

	snprintf(digest, sizeof(digest), "sha256:%s", name);
	bytes = digest_valid(str_of(digest)) ? layer_bytes_noted(s, name) : -1;
	if (bytes < 0) {
		mem_append_text(sweep, name);
		return;
	}
	dir = mem_new(struct index_layer_dir);
	memcpy(dir->diff_id, digest, DIGEST_ROOM);
	dir->bytes = bytes;
	(void)map_put(&s->layers, dir->diff_id, dir);
}

static void find_trash(struct image_store *s, char ***ret)
{
	int fd = openat(s->image_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	for (struct dirent *d; dir && (d = readdir(dir));)
		if (text_starts(d->d_name, TRASH))
			mem_append_text(ret, d->d_name);
}

/* Layers that are whole; the rest is what a crash left, and is swept in the background. */
static int load_layers(struct image_store *s, struct err *e)
{
	int fd = openat(s->layer_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct sweep_job *job = mem_new(struct sweep_job);

	if (!dir) {
		(void)fd_close(fd);
		free(job);
		return err_sys(e, "cannot read '%s/layer'", s->root);
	}
	for (struct dirent *d; (d = readdir(dir));)
		if (d->d_name[0] != '.')
			load_layer_dir(s, d->d_name, &job->names);
	job->layer_fd = s->layer_fd;
	job->image_fd = s->image_fd;
	find_trash(s, &job->trash);
	if (job->names || job->trash)
		loop_job(s->loop, sweep_run, sweep_done, job);
	else
		free(job);
	return 0;
}

static void count_sizes(struct image_store *s)
{
	map_each (&s->images, it) {
		struct index_image *i = it->value;

		i->image->size_bytes = 0;
		for (size_t k = 0; k < i->image->layers_n; k++) {
			struct index_layer_dir *d = index_layer_dir(s, i->image->diff_ids[k]);

			i->image->size_bytes += d ? d->bytes : 0;
		}
	}
}

int index_load(struct image_store *s, struct err *e)
{
	int r = load_records(s, e);

	if (r == 0)
		r = load_layers(s, e);
	if (r == 0)
		count_sizes(s);
	return r;
}

void index_done(struct image_store *s)
{
	map_each (&s->images, it)
		image_entry_free(it->value);
	map_each (&s->names, it)
		name_free(it->value);
	map_each (&s->layers, it)
		free(it->value);
	map_done(&s->images);
	map_done(&s->names);
	map_done(&s->layers);
	map_done(&s->works);
	map_done(&s->blob_pins);
}

/* ---- Writing ---- */

static struct json *image_json(const struct index_image *i)
{
	struct json *o = json_new_object(), *layers = json_new_array();

	json_set_text(o, "id", i->image->id);
	json_set_text(o, "manifest", i->manifest);
	json_set_bool(o, "removed", i->removed);
	for (size_t k = 0; k < i->image->layers_n; k++) {
		struct json *l = json_new_object();

		json_set_text(l, "blob", i->layers[k].blob);
		json_set_text(l, "media_type", i->layers[k].media_type);
		json_set_i64(l, "size", i->layers[k].size_bytes);
		json_append(layers, l);
	}
	json_set(o, "layers", layers);
	return o;
}

int index_save(struct image_store *s, struct err *e)
{
	auto_json struct json *j = json_new_object();
	struct json *images = json_new_array(), *names = json_new_array();
	auto_strbuf struct strbuf b = {0};
	int r;

	json_set_i64(j, "version", INDEX_VERSION);
	map_each (&s->images, it)
		json_append(images, image_json(it->value));
	map_each (&s->names, it) {
		const struct index_name *n = it->value;
		struct json *o = json_new_object();

		json_set_text(o, "name", n->full);
		json_set_text(o, "owner", owner_names[n->owner]);
		json_set_text(o, "image", n->id);
		json_append(names, o);
	}
	json_set(j, "images", images);
	json_set(j, "names", names);
	json_write_pretty(j, &b);
	r = folder_put(s->image_fd, INDEX_FILE, strbuf_str(&b), 0600, e);
	if (r < 0 && e && e->kind == ERR_EXHAUSTED) {
		errno = e->sys ? e->sys : ENOSPC;
		r = blob_write_err(e, s->image_fd, s->root);
	}
	return r < 0 ? err_wrap(e, "cannot record images in '%s/image'", s->root) : 0;
}

int index_add(struct image_store *s, const struct index_add *add, bool *ret_new, struct err *e)
{
	struct index_image *i = index_image(s, add->image->id), *old = i;

	if (!i) {
		i = mem_new(struct index_image);
		i->image = image_ref(add->image);
		i->layers = mem_new_array(struct index_layer, add->image->layers_n + 1);
		(void)map_put(&s->images, add->image->id, i);
	}
	i->removed = false;
	for (size_t k = 0; k < i->image->layers_n && add->layers; k++) {
		if (!i->layers[k].blob && add->layers[k].blob) {
			i->layers[k] = add->layers[k];
			add->layers[k] = (struct index_layer){0};
		}
	}
	if (add->manifest) {
		free(i->manifest);
		i->manifest = mem_dup_text(add->manifest);
		snprintf(i->image->manifest_digest, sizeof(i->image->manifest_digest), "%s",
			 add->manifest);
	}
	for (size_t k = 0; k < array_len(add->names) && add->names[k]; k++)
		put_name(s, add->owner, add->names[k], add->image->id);
	count_sizes(s);
	if (ret_new)
		*ret_new = old == NULL;
	return index_save(s, e);
}

const char *index_oci_layer_type(const char *media_type)
{
	if (!media_type || strstr(media_type, "gzip"))
		return MEDIA_OCI_LAYER_GZIP;
	return strstr(media_type, "zstd") ? MEDIA_OCI_LAYER_ZSTD : MEDIA_OCI_LAYER;
}

void index_forget(struct image_store *s, const char *id)
{
	struct index_image *i = map_remove(&s->images, id);

	assert(i && i->holds == 0);
	image_entry_free(i);
}

/* ---- Collecting ---- */

static void mark_image(struct image_store *s, const struct index_image *i, struct map *layers,
		       struct map *blobs)
{
	(void)map_put(blobs, i->image->id, s);
	if (i->manifest)
		(void)map_put(blobs, i->manifest, s);
	for (size_t k = 0; k < i->image->layers_n; k++) {
		(void)map_put(layers, i->image->diff_ids[k], s);
		if (i->layers[k].blob)
			(void)map_put(blobs, i->layers[k].blob, s);
	}
}

struct blob_sweep {
	struct image_store *store;
	const struct map *keep;
	int64_t freed;
};

static void sweep_blob(void *arg, const char *digest, uint64_t size_bytes)
{
	struct blob_sweep *b = arg;

	if (map_get(b->keep, digest) || map_get(&b->store->blob_pins, digest))
		return;
	if (blob_delete(b->store->blobs, digest, NULL) == 0)
		b->freed += (int64_t)size_bytes;
}

/* Out of sight by one rename; the deleting takes its time in a job. */
static int64_t hide_layers(struct image_store *s, const struct map *keep, char ***names)
{
	int64_t freed = 0;

	map_each (&s->layers, it) {
		struct index_layer_dir *d = it->value;
		char id[17], name[32];

		if (d->pins || map_get(keep, d->diff_id) || map_get(&s->works, d->diff_id))
			continue;
		world_random_hex(s->world, id, 16);
		snprintf(name, sizeof(name), TRASH "%s", id);
		if (renameat(s->layer_fd, digest_hex(d->diff_id), s->image_fd, name) < 0 &&
		    errno != ENOENT)
			continue;
		mem_append_text(names, name);
		freed += d->bytes;
		(void)map_remove(&s->layers, d->diff_id);
		free(d);
	}
	return freed;
}

int64_t index_collect(struct image_store *s, void (*done)(void *arg), void *arg)
{
	struct map layers = {0}, blobs = {0};
	struct blob_sweep sweep = {.store = s, .keep = &blobs};
	struct sweep_job *job = mem_new(struct sweep_job);
	int64_t freed;

	map_each (&s->images, it)
		mark_image(s, it->value, &layers, &blobs);
	freed = hide_layers(s, &layers, &job->trash);
	if (s->incoming == 0)
		(void)!blob_each(s->blobs, sweep_blob, &sweep, NULL);
	map_done(&layers);
	map_done(&blobs);
	job->layer_fd = s->layer_fd;
	job->image_fd = s->image_fd;
	job->done = done;
	job->arg = arg;
	loop_job(s->loop, sweep_run, sweep_done, job);
	return freed + sweep.freed;
}
