/*
 * Load: a saved archive back into images.
 *
 *	child gathers the outer archive into a temporary directory (it is hostile like any other)
 *	→ job reads its documents (bounded, in-tree paths only), takes layer files over as blobs
 *	→ one image after the other: its layers through layer works, then its record
 *
 * Docker's manifest.json is preferred where both are there: it carries whole names. An OCI
 * layout alone gives names by annotation. Digests that an OCI layout promises are checked.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/store/folder.h"
#include "ground/store/inflate.h"
#include "virt/image/image_priv.h"

#define IMAGES_MAX 1000

struct load_layer {
	char blob[DIGEST_ROOM];
	int64_t size;
	const char *media_type;
	struct layer_waiter *waiter;
	struct load *load;
};

struct load_image {
	struct image *image;
	char manifest[DIGEST_ROOM]; /* "" none */
	struct load_layer *layers;
	char **names; /* full, in the arena; NULL-terminated */
};

struct load {
	struct image_task task; /* first */
	struct child *child;
	enum image_owner owner;
	char tmp[32];
	int tmp_fd;
	struct load_image *images;
	size_t n, room, at, open;
	bool working, gone; /* a job runs; the task is over */
	struct err job_err, end_err;
	struct map pinned;
};

/* ---- In the job: documents ---- */

static int open_member(struct load *l, const char *path, struct err *e)
{
	struct open_how how = {.flags = O_RDWR | O_CLOEXEC | O_NONBLOCK,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	struct stat st;
	int fd = path && path[0] ? (int)syscall(SYS_openat2, l->tmp_fd, path, &how, sizeof(how))
				 : -1;

	if (fd < 0)
		return err_set(e, ERR_INVALID,
			       "the archive does not have '%.200s', which its manifest names",
			       path ? path : "");
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)fd_close(fd);
		return err_set(e, ERR_INVALID, "'%.200s' in the archive is no file", path);
	}
	return fd;
}

static int read_member(struct load *l, const char *path, struct strbuf *ret, struct err *e)
{
	auto_close int fd = open_member(l, path, e);
	char step[16384];
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = read(fd, step, sizeof(step))) > 0) {
		if (ret->n + (size_t)n > IMAGE_CONFIG_MAX)
			return err_set(e, ERR_INVALID,
				       "'%.200s' in the archive is larger than %u bytes", path,
				       IMAGE_CONFIG_MAX);
		strbuf_add(ret, step, (size_t)n);
	}
	return n < 0 ? err_sys(e, "cannot read '%.200s' of the archive", path) : 0;
}

static bool has_member(struct load *l, const char *path)
{
	return faccessat(l->tmp_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static const char *media_of(int fd)
{
	unsigned char first[8] = {0};
	ssize_t n = pread(fd, first, sizeof(first), 0);
	enum inflate_kind kind = inflate_guess(first, n > 0 ? (size_t)n : 0);

	return kind == INFLATE_GZIP   ? MEDIA_OCI_LAYER_GZIP
	       : kind == INFLATE_ZSTD ? MEDIA_OCI_LAYER_ZSTD
				      : MEDIA_OCI_LAYER;
}

/* A file of the archive becomes a blob; `expect` is what an OCI layout promised, or NULL. */
static int take_layer(struct load *l, const char *path, const char *expect, struct load_layer *ret,
		      struct err *e)
{
	struct image_store *s = l->task.store;
	auto_blob_writer struct blob_writer *w = NULL;
	auto_close int fd = open_member(l, path, e);
	int r;

	if (fd < 0)
		return fd;
	ret->load = l;
	ret->media_type = media_of(fd);
	r = blob_adopt(s->blobs, fd, &w, e);
	if (r < 0)
		return r;
	ret->size = (int64_t)blob_written(w);
	r = blob_finish(w, expect, ret->blob, e);
	if (r < 0)
		return err_wrap(e, "layer '%.200s' of the archive", path);
	return blob_publish(take(w), true, e);
}

static struct load_image *add_image(struct load *l)
{
	mem_grow(l->images, l->n + 1, l->room);
	l->images[l->n] = (struct load_image){0};
	return &l->images[l->n++];
}

/* Reads and keeps the config; layers_n is what the manifest lists. */
static int take_config(struct load *l, const char *path, const char *expect, size_t layers_n,
		       struct load_image *i, struct err *e)
{
	auto_strbuf struct strbuf bytes = {0};
	char digest[DIGEST_ROOM];
	int r = read_member(l, path, &bytes, e);

	if (r == 0)
		r = manifest_config(strbuf_str(&bytes), path, &i->image, e);
	if (r < 0)
		return r;
	if (expect && strcmp(expect, i->image->id) != 0)
		return err_set(e, ERR_INVALID,
			       "config '%.200s': digest mismatch: expected %s, its bytes have %s",
			       path, expect, i->image->id);
	if (i->image->layers_n != layers_n)
		return err_set(
			e, ERR_INVALID,
			"config '%.200s': rootfs.diff_ids has %zu entries, the manifest has %zu "
			"layers",
			path, i->image->layers_n, layers_n);
	i->layers = arena_new_array(&l->task.arena, struct load_layer, layers_n + 1);
	return blob_put(l->task.store->blobs, strbuf_str(&bytes), digest, e);
}

static int take_names(struct load *l, const struct json *tags, struct load_image *i, struct err *e)
{
	size_t n = json_len(tags), count = 0;

	i->names = arena_new_array(&l->task.arena, char *, n + 1);
	for (size_t k = 0; k < n; k++) {
		const char *text = json_text(json_at(tags, k));
		struct reference r;
		int failed = reference_parse(text ? text : "", &l->task.arena, &r, e);

		if (failed < 0)
			return err_wrap(e, "manifest.json: RepoTags[%zu]", k);
		reference_default_tag(&r);
		if (r.tag)
			i->names[count++] = reference_tagged(&r, &l->task.arena);
	}
	return 0;
}

static int read_docker_image(struct load *l, const struct json *o, struct err *e)
{
	const struct json *layers = json_get(o, "Layers");
	struct load_image *i = add_image(l);
	int r = take_config(l, json_get_text(o, "Config"), NULL, json_len(layers), i, e);

	for (size_t k = 0; k < json_len(layers) && r == 0; k++)
		r = take_layer(l, json_text(json_at(layers, k)), NULL, &i->layers[k], e);
	return r < 0 ? r : take_names(l, json_get(o, "RepoTags"), i, e);
}

static int read_docker(struct load *l, struct err *e)
{
	auto_strbuf struct strbuf bytes = {0};
	auto_json struct json *j = NULL;
	int r = read_member(l, "manifest.json", &bytes, e);

	if (r == 0)
		r = json_parse(strbuf_str(&bytes), "manifest.json", &j, e);
	if (r < 0)
		return r;
	if (json_kind(j) != JSON_ARRAY || json_len(j) > IMAGES_MAX)
		return err_set(e, ERR_INVALID,
			       "manifest.json: expected a list of at most %d images", IMAGES_MAX);
	for (size_t k = 0; k < json_len(j) && r == 0; k++)
		r = read_docker_image(l, json_at(j, k), e);
	return r;
}

/* The name an index entry carries, when it is a whole one. */
static const char *annotated_name(const struct manifest_part *part)
{
	const char *name = NULL;

	for (const struct json_pair *p = part->annotations; p && p->key; p++)
		if (strcmp(p->key, "io.containerd.image.name") == 0)
			return p->value;
		else if (strcmp(p->key, "org.opencontainers.image.ref.name") == 0 &&
			 strpbrk(p->value, ":/"))
			name = p->value;
	return name;
}

static int name_oci_image(struct load *l, const struct manifest_part *part, struct load_image *i,
			  struct err *e)
{
	auto_json struct json *tags = json_new_array();
	const char *name = annotated_name(part);

	if (name)
		json_append(tags, json_new_text(name));
	return take_names(l, tags, i, e);
}

static struct load_image *loaded_already(struct load *l, const char *manifest)
{
	for (size_t k = 0; k < l->n; k++)
		if (strcmp(l->images[k].manifest, manifest) == 0)
			return &l->images[k];
	return NULL;
}

static int read_oci_image(struct load *l, const struct manifest_part *part, bool nested,
			  struct err *e)
{
	char *path = arena_printf(&l->task.arena, "blobs/sha256/%s", digest_hex(part->digest));
	auto_strbuf struct strbuf bytes = {0};
	struct load_image *i;
	struct manifest m;
	char digest[DIGEST_ROOM];
	int r = read_member(l, path, &bytes, e);

	if (r < 0)
		return r;
	digest_of(bytes.p, bytes.n, digest);
	if (strcmp(digest, part->digest) != 0)
		return err_set(e, ERR_INVALID, "'%s': digest mismatch: its bytes have %s", path,
			       digest);
	r = manifest_parse(strbuf_str(&bytes), path, NULL, &l->task.arena, &m, e);
	if (r < 0)
		return r;
	if (m.index) {
		struct manifest_platform want;
		const struct manifest_part *chosen;
		struct manifest_part named;

		r = nested ? err_set(e, ERR_INVALID, "'%s': an index inside an index", path)
			   : manifest_platform_parse(NULL, &l->task.arena, &want, e);
		if (r == 0)
			r = manifest_choose(&m, &want, path, &chosen, e);
		if (r < 0)
			return r;
		named = *chosen;
		named.annotations = part->annotations;
		return read_oci_image(l, &named, true, e);
	}
	i = add_image(l);
	memcpy(i->manifest, digest, DIGEST_ROOM);
	path = arena_printf(&l->task.arena, "blobs/sha256/%s", digest_hex(m.config.digest));
	r = take_config(l, path, m.config.digest, m.parts_n, i, e);
	for (size_t k = 0; k < m.parts_n && r == 0; k++) {
		path = arena_printf(&l->task.arena, "blobs/sha256/%s",
				    digest_hex(m.parts[k].digest));
		r = take_layer(l, path, m.parts[k].digest, &i->layers[k], e);
	}
	if (r == 0)
		r = blob_put(l->task.store->blobs, strbuf_str(&bytes), digest, e);
	return r < 0 ? r : name_oci_image(l, part, i, e);
}

static int read_oci(struct load *l, struct err *e)
{
	auto_strbuf struct strbuf bytes = {0};
	struct manifest index;
	int r = read_member(l, "index.json", &bytes, e);

	if (r == 0)
		r = manifest_parse(strbuf_str(&bytes), "index.json", NULL, &l->task.arena, &index,
				   e);
	if (r < 0)
		return r;
	if (!index.index)
		return err_set(e, ERR_INVALID, "index.json is no index: it has no 'manifests'");
	for (size_t k = 0; k < index.parts_n && r == 0; k++)
		if (!loaded_already(l, index.parts[k].digest) || annotated_name(&index.parts[k]))
			r = read_oci_image(l, &index.parts[k], false, e);
	return r;
}

static int read_archive(struct load *l, struct err *e)
{
	int r;

	if (has_member(l, "manifest.json"))
		r = read_docker(l, e);
	else if (has_member(l, "index.json"))
		r = read_oci(l, e);
	else
		return err_set(e, ERR_INVALID,
			       "the archive holds no image: it has neither manifest.json (docker "
			       "save) nor index.json "
			       "(OCI layout); for a plain root file system use import");
	if (r == 0 && l->n == 0)
		return err_set(e, ERR_INVALID, "the archive holds no image");
	return r;
}

static void read_run(void *arg)
{
	struct load *l = task_live(arg);

	l->job_err.kind = ERR_NONE;
	(void)!read_archive(l, &l->job_err);
	(void)!folder_remove(l->task.store->layer_fd, l->tmp, NULL);
}

/* ---- On the loop ---- */

static void next_image(struct load *l);

static void leave_layers(struct load *l)
{
	for (size_t k = 0; k < l->n; k++)
		for (size_t i = 0;
		     l->images[k].layers && l->images[k].image && i < l->images[k].image->layers_n;
		     i++)
			l->images[k].layers[i].waiter = layer_leave(l->images[k].layers[i].waiter);
}

static void clean_run(void *arg)
{
	struct load *l = task_live(arg);

	(void)!folder_remove(l->task.store->layer_fd, l->tmp, NULL);
}

static void clean_done(void *arg)
{
	struct load *l = task_live(arg);

	task_end(&l->task, &l->end_err);
}

static void finish(struct load *l, const struct err *e)
{
	if (l->gone)
		return;
	leave_layers(l);
	if (l->child || l->working) {
		l->gone = true;
		if (e)
			l->end_err = *e;
		if (l->child)
			child_cancel(l->child);
		return;
	}
	task_end(&l->task, e);
}

static void on_cancel(struct image_task *t, const struct err *e)
{
	finish((struct load *)t, e);
}

static void on_release(struct image_task *t)
{
	struct load *l = task_live(t);

	leave_layers(l);
	map_each (&l->pinned, it)
		index_pin_blob(t->store, it->key, -1);
	map_done(&l->pinned);
	for (size_t k = 0; k < l->n; k++)
		(void)image_unref(l->images[k].image);
	free(l->images);
	l->tmp_fd = fd_close(l->tmp_fd);
}

static void pin(struct load *l, const char *digest)
{
	if (!digest[0] || map_put(&l->pinned, digest, l))
		return;
	index_pin_blob(l->task.store, digest, 1);
}

static void record(struct load *l)
{
	struct load_image *i = &l->images[l->at];
	size_t n = i->image->layers_n;
	auto_free struct index_layer *layers = mem_new_array(struct index_layer, n + 1);
	struct index_add add = {.image = i->image,
				.layers = layers,
				.owner = l->owner,
				.manifest = i->manifest[0] ? i->manifest : NULL};
	struct image_store *s = l->task.store;
	struct err e = {0};
	int r = 0;

	for (size_t k = 0; k < n; k++)
		layers[k] = (struct index_layer){mem_dup_text(i->layers[k].blob),
						 mem_dup_text(i->layers[k].media_type),
						 i->layers[k].size};
	parents_settle(s, i->image);
	add.names[0] = i->names[0];
	r = index_add(s, &add, NULL, &e);
	for (size_t k = 1; r == 0 && i->names[0] && i->names[k]; k++) {
		struct index_add more = {
			.image = i->image, .owner = l->owner, .names = {i->names[k]}};

		r = index_add(s, &more, NULL, &e);
	}
	for (size_t k = 0; k < n; k++)
		index_layer_done(&layers[k]);
	if (r < 0) {
		finish(l, &e);
		return;
	}
	task_set_image(&l->task, image_ref(index_image(s, i->image->id)->image));
	for (size_t k = 0; i->names[k]; k++)
		task_stream(&l->task, "Loaded image: %s\n",
			    reference_familiar(i->names[k], &l->task.arena));
	if (!i->names[0])
		task_stream(&l->task, "Loaded image ID: %s\n", i->image->id);
	l->at++;
	next_image(l);
}

static void on_layer_moved(void *arg, const char *status, int64_t current, int64_t total)
{
	struct load_layer *y = arg;
	char id[13];

	snprintf(id, sizeof(id), "%.12s", digest_hex(y->blob));
	if (strcmp(status, "Download complete") != 0)
		task_count(&y->load->task, id, status, current, total);
}

static void on_layer_done(void *arg, const struct err *e)
{
	struct load_layer *y = arg;
	struct load *l = y->load;

	if (e) {
		finish(l, e);
		return;
	}
	assert(l->open > 0);
	if (--l->open == 0)
		record(l);
}

static bool seen_earlier(const struct load_image *i, size_t k)
{
	for (size_t j = 0; j < k; j++)
		if (strcmp(i->image->diff_ids[j], i->image->diff_ids[k]) == 0)
			return true;
	return false;
}

static void next_image(struct load *l)
{
	struct load_image *i = l->at < l->n ? &l->images[l->at] : NULL;
	struct err e = {0};

	if (!i) {
		finish(l, NULL);
		return;
	}
	for (size_t k = 0; k < i->image->layers_n; k++) {
		struct load_layer *y = &i->layers[k];
		struct layer_events ev = {on_layer_moved, on_layer_done, y};
		struct layer_options o = {
			.diff_id = i->image->diff_ids[k], .blob = y->blob, .size_bytes = y->size};

		if (seen_earlier(i, k))
			continue;
		l->open++;
		if (layer_want(l->task.store, &o, &ev, &y->waiter, &e) < 0) {
			finish(l, &e);
			return;
		}
	}
	if (i->image->layers_n == 0)
		record(l);
}

static void read_done(void *arg)
{
	struct load *l = task_live(arg);

	l->working = false;
	l->task.store->incoming--;
	for (size_t k = 0; k < l->n; k++) {
		struct load_image *i = &l->images[k];

		if (!i->image)
			continue;
		pin(l, i->image->id);
		pin(l, i->manifest);
		for (size_t y = 0; i->layers && y < i->image->layers_n; y++)
			pin(l, i->layers[y].blob);
	}
	if (l->gone)
		task_end(&l->task, &l->end_err);
	else if (l->job_err.kind != ERR_NONE)
		finish(l, &l->job_err);
	else
		next_image(l);
}

static void on_child_done(void *arg, const struct unpack_answer *a, const struct err *failure)
{
	struct load *l = task_live(arg);
	struct err e = {0};

	(void)a;
	l->child = NULL;
	if (failure || l->gone) {
		if (failure)
			e = *failure;
		if (!l->gone && e.kind == ERR_EXHAUSTED) {
			errno = ENOSPC;
			(void)blob_write_err(&e, l->task.store->layer_fd, l->task.store->root);
		}
		if (!l->gone)
			l->end_err = e;
		l->gone = true;
		loop_job(l->task.store->loop, clean_run, clean_done, l);
		return;
	}
	l->working = true;
	l->task.store->incoming++;
	loop_job(l->task.store->loop, read_run, read_done, l);
}

static int make_tmp(struct load *l, struct err *e)
{
	struct image_store *s = l->task.store;
	char id[17];

	world_random_hex(s->world, id, 16);
	snprintf(l->tmp, sizeof(l->tmp), "tmp-%s", id);
	if (mkdirat(s->layer_fd, l->tmp, 0700) < 0)
		return blob_write_err(e, s->layer_fd, s->root);
	l->tmp_fd = openat(s->layer_fd, l->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return l->tmp_fd < 0 ? err_sys(e, "cannot open '%s/layer/%s'", s->root, l->tmp) : 0;
}

int image_load_start(struct image_store *s, int fd, enum image_owner owner,
		     const struct image_watch *w, struct image_task **ret, struct err *e)
{
	struct load *l = task_new(s, sizeof(*l), w, "load");
	struct unpack_orders orders = {.verb = "gather", .limits = s->limits};
	int r;

	l->owner = owner;
	l->tmp_fd = -1;
	l->task.cancel = on_cancel;
	l->task.release = on_release;
	l->task.brings = true;
	r = make_tmp(l, e);
	if (r == 0) {
		struct child_options o = {.orders = &orders,
					  .data_fd = fd,
					  .dir_fd = l->tmp_fd,
					  .done = on_child_done,
					  .arg = l};

		r = child_start(s, &o, &l->child, e);
	}
	if (r < 0) {
		task_drop(&l->task);
		return r;
	}
	*ret = &l->task;
	return 0;
}
