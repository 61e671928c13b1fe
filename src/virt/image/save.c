/*
 * Save: blobs, an OCI layout around them (index.json, oci-layout) and Docker's manifest.json beside
 * it, in one tar. The documents are made here, the archive by a child that reads blobs by digest.
 */
#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "virt/image/image_priv.h"

struct save {
	struct image_task task; /* first */
	struct child *child;
	struct unpack_member *members;
	size_t n, room;
	struct map written;		 /* digests that are members already */
	struct map pinned;		 /* digests held while the child reads */
	struct json *manifests, *docker; /* index.json's list, manifest.json */
};

static void add_member(struct save *v, const struct unpack_member *m)
{
	mem_grow(v->members, v->n + 1, v->room);
	v->members[v->n++] = *m;
}

static char *blob_path(struct arena *a, const char *digest)
{
	return arena_printf(a, "blobs/sha256/%s", digest_hex(digest));
}

static int add_blob(struct save *v, const char *digest, struct err *e)
{
	struct image_store *s = v->task.store;
	struct arena *a = &v->task.arena;

	if (map_get(&v->written, digest))
		return 0;
	if (!blob_has(s->blobs, digest, NULL))
		return err_set(e, ERR_NOT_FOUND,
			       "blob %s is gone from the store; pull the image again", digest);
	(void)map_put(&v->written, digest, v);
	(void)map_put(&v->pinned, digest, v);
	index_pin_blob(s, digest, 1);
	add_member(v, &(struct unpack_member){.name = blob_path(a, digest),
					      .file = arena_dup_text(a, digest_hex(digest))});
	return 0;
}

static struct json *descriptor(const char *media_type, const char *digest, int64_t size)
{
	struct json *o = json_new_object();

	json_set_text(o, "mediaType", media_type);
	json_set_text(o, "digest", digest);
	json_set_i64(o, "size", size);
	return o;
}

/* The manifest under which the image is saved: a fresh one, since stored blobs may differ from the
 * pulled. */
static char *make_manifest(struct save *v, const struct index_image *i, char digest[DIGEST_ROOM],
			   int64_t *size)
{
	auto_json struct json *m = json_new_object();
	struct json *layers = json_new_array();
	auto_strbuf struct strbuf b = {0};
	uint64_t config_size = 0;

	(void)blob_has(v->task.store->blobs, i->image->id, &config_size);
	json_set_i64(m, "schemaVersion", 2);
	json_set_text(m, "mediaType", MEDIA_OCI_MANIFEST);
	json_set(m, "config", descriptor(MEDIA_OCI_CONFIG, i->image->id, (int64_t)config_size));
	for (size_t k = 0; k < i->image->layers_n; k++)
		json_append(layers, descriptor(index_oci_layer_type(i->layers[k].media_type),
					       i->layers[k].blob, i->layers[k].size_bytes));
	json_set(m, "layers", layers);
	json_write(m, &b);
	digest_of(b.p, b.n, digest);
	*size = (int64_t)b.n;
	return arena_dup(&v->task.arena, strbuf_str(&b));
}

static void add_to_index(struct save *v, const char *digest, int64_t size, const char *full)
{
	struct json *d = descriptor(MEDIA_OCI_MANIFEST, digest, size);
	const char *colon = full ? strrchr(full, ':') : NULL;

	if (full) {
		struct json *notes = json_new_object();

		json_set_text(notes, "io.containerd.image.name", full);
		json_set_text(notes, "org.opencontainers.image.ref.name",
			      colon ? colon + 1 : "latest");
		json_set(d, "annotations", notes);
	}
	json_append(v->manifests, d);
}

/* names: full references, NULL-terminated; may be empty. */
static int add_image(struct save *v, const struct index_image *i, char *const *names, struct err *e)
{
	struct arena *a = &v->task.arena;
	struct json *o = json_new_object(), *tags = json_new_array(), *layers = json_new_array();
	char digest[DIGEST_ROOM], *text;
	int64_t size;
	int r = add_blob(v, i->image->id, e);

	for (size_t k = 0; k < i->image->layers_n && r == 0; k++) {
		if (!i->layers[k].blob)
			r = err_set(e, ERR_NOT_FOUND,
				    "no archive of layer %s is kept; pull the image again",
				    i->image->diff_ids[k]);
		else
			r = add_blob(v, i->layers[k].blob, e);
		if (r == 0)
			json_append(layers, json_new_text(blob_path(a, i->layers[k].blob)));
	}
	for (size_t k = 0; names[k]; k++)
		json_append(tags, json_new_text(reference_familiar(names[k], a)));
	json_set_text(o, "Config", blob_path(a, i->image->id));
	json_set(o, "RepoTags", tags);
	json_set(o, "Layers", layers);
	json_append(v->docker, o);
	if (r < 0)
		return r;
	text = make_manifest(v, i, digest, &size);
	if (!map_put(&v->written, digest, v))
		add_member(v, &(struct unpack_member){.name = blob_path(a, digest), .text = text});
	for (size_t k = 0; names[k]; k++)
		add_to_index(v, digest, size, names[k]);
	if (!names[0])
		add_to_index(v, digest, size, NULL);
	return 0;
}

/* ---- What is asked for ---- */

/* All tags of a repository that was named without one. */
static int add_repository(struct save *v, const struct reference *ref, bool *ret_any, struct err *e)
{
	struct image_store *s = v->task.store;
	char *prefix =
		arena_printf(&v->task.arena, "%s:", reference_repository(ref, &v->task.arena));
	int r = 0;

	map_each (&s->names, it) {
		const struct index_name *n = it->value;
		char *names[] = {n->full, NULL};

		if (r < 0 || !text_starts(n->full, prefix))
			continue;
		*ret_any = true;
		r = add_image(v, index_image(s, n->id), names, e);
	}
	return r;
}

static int add_named(struct save *v, const char *name, struct err *e)
{
	struct image_store *s = v->task.store;
	struct arena *a = &v->task.arena;
	char *names[] = {NULL, NULL};
	struct image *image = NULL;
	struct reference ref;
	bool any = false, parsed = reference_parse(name, a, &ref, NULL) == 0;
	int r;

	if (parsed && !ref.tag && !ref.digest) {
		r = add_repository(v, &ref, &any, e);
		if (r < 0 || any)
			return r;
	}
	r = image_find(s, name, &image, e);
	if (r < 0)
		return r;
	if (parsed && ref.tag)
		names[0] = reference_tagged(&ref, a);
	r = add_image(v, index_image(s, image->id), names, e);
	(void)image_unref(image);
	return r;
}

static void add_documents(struct save *v)
{
	struct arena *a = &v->task.arena;
	auto_json struct json *index = json_new_object();
	auto_strbuf struct strbuf b = {0};

	json_set_i64(index, "schemaVersion", 2);
	json_set_text(index, "mediaType", MEDIA_OCI_INDEX);
	json_set(index, "manifests", take(v->manifests));
	json_write(index, &b);
	add_member(v, &(struct unpack_member){.name = "index.json",
					      .text = arena_dup(a, strbuf_str(&b))});
	strbuf_clear(&b);
	json_write(v->docker, &b);
	add_member(v, &(struct unpack_member){.name = "manifest.json",
					      .text = arena_dup(a, strbuf_str(&b))});
	add_member(v, &(struct unpack_member){.name = "oci-layout",
					      .text = "{\"imageLayoutVersion\":\"1.0.0\"}"});
}

static void on_child_done(void *arg, const struct unpack_answer *a, const struct err *e)
{
	struct save *v = task_live(arg);

	v->child = NULL;
	v->task.result.bytes = a ? (int64_t)a->bytes : 0;
	task_end(&v->task, e);
}

static void on_cancel(struct image_task *t, const struct err *e)
{
	struct save *v = task_live(t);

	(void)e;
	if (v->child)
		child_cancel(v->child);
}

static void on_release(struct image_task *t)
{
	struct save *v = task_live(t);

	map_each (&v->pinned, it)
		index_pin_blob(t->store, it->key, -1);
	map_done(&v->pinned);
	map_done(&v->written);
	(void)json_free(v->manifests);
	(void)json_free(v->docker);
	free(v->members);
}

static int start_child(struct save *v, int fd, struct err *e)
{
	struct image_store *s = v->task.store;
	struct unpack_orders orders = {
		.verb = "save", .limits = s->limits, .members = v->members, .members_n = v->n};
	auto_close int dir = openat(s->root_fd, "blob/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct child_options o = {
		.orders = &orders, .data_fd = fd, .dir_fd = dir, .done = on_child_done, .arg = v};

	if (dir < 0)
		return err_sys(e, "cannot open '%s/blob/sha256'", s->root);
	return child_start(s, &o, &v->child, e);
}

int image_save_start(struct image_store *s, char *const *names, int fd, const struct image_watch *w,
		     struct image_task **ret, struct err *e)
{
	struct save *v = task_new(s, sizeof(*v), w, "save");
	int r = 0;

	v->task.cancel = on_cancel;
	v->task.release = on_release;
	v->manifests = json_new_array();
	v->docker = json_new_array();
	add_member(v, &(struct unpack_member){.name = "blobs/"});
	add_member(v, &(struct unpack_member){.name = "blobs/sha256/"});
	for (size_t i = 0; names[i] && r == 0; i++)
		r = add_named(v, names[i], e);
	if (r == 0) {
		add_documents(v);
		r = start_child(v, fd, e);
	}
	if (r < 0) {
		task_drop(&v->task);
		return r;
	}
	*ret = &v->task;
	return 0;
}
