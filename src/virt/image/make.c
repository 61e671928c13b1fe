/*
 * New images: import (an archive becomes the one layer) and commit (a container's writable
 * directory becomes one more). Both are: child writes the archive into a blob → job hashes and
 * publishes → layer work unpacks it → config is written → record. The blob stays plain; push
 * compresses it when somebody wants it elsewhere.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ground/base/rfc3339.h"
#include "ground/store/inflate.h"
#include "virt/image/image_priv.h"

struct make {
	struct image_task task; /* first */
	struct child *child;
	struct blob_writer *writer;
	struct layer_waiter *waiter;
	struct image *base; /* commit */
	struct json *run;   /* the new "config" object, or NULL */
	char *reference, *author, *message;
	struct manifest_platform platform;
	enum image_owner owner;
	char blob[DIGEST_ROOM];
	int64_t size;
	const char *media_type;
	bool publishing, gone;
	struct err job_err, end_err;
};

static void finish(struct make *m, const struct err *e)
{
	if (m->gone)
		return;
	m->waiter = layer_leave(m->waiter);
	if (m->child || m->publishing) {
		m->gone = true;
		if (e)
			m->end_err = *e;
		if (m->child)
			child_cancel(m->child);
		return;
	}
	task_end(&m->task, e);
}

static void on_cancel(struct image_task *t, const struct err *e)
{
	finish((struct make *)t, e);
}

static void on_release(struct image_task *t)
{
	struct make *m = task_live(t);

	m->waiter = layer_leave(m->waiter);
	m->writer = blob_abort(m->writer);
	m->base = image_unref(m->base);
	m->run = json_free(m->run);
	if (m->blob[0])
		index_pin_blob(t->store, m->blob, -1);
}

/* ---- The config ---- */

static struct json *history_step(struct make *m, const char *now)
{
	struct json *step = json_new_object();

	json_set_text(step, "created", now);
	if (m->author)
		json_set_text(step, "author", m->author);
	json_set_text(step, "created_by", m->base ? "hull commit" : "hull import");
	if (m->message)
		json_set_text(step, "comment", m->message);
	return step;
}

static struct json *copied_list(const struct json *j)
{
	return json_kind(j) == JSON_ARRAY ? json_copy(j) : json_new_array();
}

static struct json *make_config(struct make *m)
{
	struct image_store *s = m->task.store;
	const struct json *old = m->base ? m->base->config : NULL;
	struct json *c = old ? json_copy(old) : json_new_object();
	struct json *rootfs = json_new_object(), *history = copied_list(json_get(old, "history"));
	struct json *diff_ids = copied_list(json_get(json_get(old, "rootfs"), "diff_ids"));
	char now[RFC3339_CHARS + 1];

	(void)rfc3339_text(world_now_ns(s->world), now);
	json_remove(c, "container");
	json_remove(c, "container_config");
	if (!old) {
		json_set_text(c, "architecture", m->platform.architecture);
		json_set_text(c, "os", m->platform.os);
		if (m->platform.variant)
			json_set_text(c, "variant", m->platform.variant);
	}
	json_set_text(c, "created", now);
	if (m->author)
		json_set_text(c, "author", m->author);
	if (m->message)
		json_set_text(c, "comment", m->message);
	if (m->run)
		json_set(c, "config", json_ref(m->run));
	else if (!old)
		json_set(c, "config", json_new_object());
	json_append(history, history_step(m, now));
	json_set(c, "history", history);
	json_append(diff_ids, json_new_text(layer_diff_id(m->waiter)));
	json_set_text(rootfs, "type", "layers");
	json_set(rootfs, "diff_ids", diff_ids);
	json_set(c, "rootfs", rootfs);
	return c;
}

static int record(struct make *m, struct image *image, struct err *e)
{
	struct image_store *s = m->task.store;
	size_t n = image->layers_n;
	auto_free struct index_layer *layers = mem_new_array(struct index_layer, n + 1);
	struct index_image *base = m->base ? index_image(s, m->base->id) : NULL;
	struct index_add add = {
		.image = image, .layers = layers, .owner = m->owner, .names = {m->reference}};
	int r;

	for (size_t k = 0; k + 1 < n; k++) {
		const struct index_layer *from = base ? &base->layers[k] : NULL;

		if (!from || !from->blob)
			from = index_layer_blob(s, image->diff_ids[k]);
		if (from && from->blob)
			layers[k] = (struct index_layer){mem_dup_text(from->blob),
							 mem_dup_text(from->media_type),
							 from->size_bytes};
	}
	layers[n - 1] =
		(struct index_layer){mem_dup_text(m->blob), mem_dup_text(m->media_type), m->size};
	r = index_add(s, &add, NULL, e);
	for (size_t k = 0; k < n; k++)
		index_layer_done(&layers[k]);
	return r;
}

static void on_layer_done(void *arg, const struct err *failure)
{
	struct make *m = task_live(arg);
	struct image_store *s = m->task.store;
	auto_json struct json *config = NULL;
	auto_strbuf struct strbuf b = {0};
	struct image *image = NULL;
	char digest[DIGEST_ROOM];
	struct err e = {0};
	int r;

	if (failure) {
		finish(m, failure);
		return;
	}
	config = make_config(m);
	json_write(config, &b);
	r = manifest_config(strbuf_str(&b), "the new image's config", &image, &e);
	if (r == 0)
		r = blob_put(s->blobs, strbuf_str(&b), digest, &e);
	if (r == 0)
		r = record(m, image, &e);
	if (r == 0) {
		task_set_image(&m->task, image_ref(index_image(s, image->id)->image));
		task_say(&m->task, NULL, "%s", image->id);
	}
	(void)image_unref(image);
	finish(m, r < 0 ? &e : NULL);
}

/* ---- The blob ---- */

static void publish_run(void *arg)
{
	struct make *m = task_live(arg);
	unsigned char first[8] = {0};
	ssize_t n = pread(blob_writer_fd(m->writer), first, sizeof(first), 0);
	enum inflate_kind kind = inflate_guess(first, n > 0 ? (size_t)n : 0);

	m->media_type = kind == INFLATE_GZIP   ? MEDIA_OCI_LAYER_GZIP
			: kind == INFLATE_ZSTD ? MEDIA_OCI_LAYER_ZSTD
					       : MEDIA_OCI_LAYER;
	m->job_err.kind = ERR_NONE;
	if (blob_finish(m->writer, NULL, m->blob, &m->job_err) < 0) {
		m->blob[0] = '\0';
		return;
	}
	if (blob_publish(take(m->writer), true, &m->job_err) < 0)
		m->blob[0] = '\0';
}

static void publish_done(void *arg)
{
	struct make *m = task_live(arg);
	struct layer_events ev = {NULL, on_layer_done, m};
	struct layer_options o = {
		.blob = m->blob,
		.size_bytes = m->size,
		.name = m->base ? NULL : "the archive to import",
	};
	struct err e = {0};

	m->publishing = false;
	m->task.store->incoming--;
	if (m->blob[0])
		index_pin_blob(m->task.store, m->blob, 1);
	if (m->gone) {
		task_end(&m->task, &m->end_err);
		return;
	}
	if (m->job_err.kind != ERR_NONE)
		finish(m, &m->job_err);
	else if (layer_want(m->task.store, &o, &ev, &m->waiter, &e) < 0)
		finish(m, &e);
}

static void on_child_done(void *arg, const struct unpack_answer *a, const struct err *failure)
{
	struct make *m = task_live(arg);
	struct err e = {0};

	(void)a;
	m->child = NULL;
	if (m->gone) {
		task_end(&m->task, &m->end_err);
		return;
	}
	if (failure) {
		e = *failure;
		if (e.kind == ERR_EXHAUSTED) {
			errno = ENOSPC;
			(void)blob_write_err(&e, m->task.store->root_fd, m->task.store->root);
		}
		finish(m, &e);
		return;
	}
	if (blob_filled(m->writer, &e) < 0) {
		finish(m, &e);
		return;
	}
	m->size = (int64_t)blob_written(m->writer);
	m->publishing = true;
	m->task.store->incoming++;
	loop_job(m->task.store->loop, publish_run, publish_done, m);
}

static int full_name(struct make *m, const char *reference, struct err *e)
{
	struct reference r;
	int failed;

	if (!reference || !reference[0])
		return 0;
	failed = reference_parse(reference, &m->task.arena, &r, e);
	if (failed < 0)
		return failed;
	if (r.digest)
		return err_set(e, ERR_INVALID, "'%s' has a digest: a new image's name cannot",
			       reference);
	reference_default_tag(&r);
	m->reference = reference_tagged(&r, &m->task.arena);
	return 0;
}

static struct make *make_new(struct image_store *s, const struct image_watch *w, const char *name,
			     enum image_owner owner)
{
	struct make *m = task_new(s, sizeof(*m), w, name);

	m->task.cancel = on_cancel;
	m->task.release = on_release;
	m->task.brings = true;
	m->owner = owner;
	return m;
}

int image_import_start(struct image_store *s, const struct image_import *i,
		       const struct image_watch *w, struct image_task **ret, struct err *e)
{
	struct make *m = make_new(s, w, "import", i->owner);
	struct unpack_orders orders = {.verb = "ingest", .limits = s->limits};
	int r = full_name(m, i->reference, e);

	m->message = arena_dup_text(&m->task.arena, i->message ? i->message : "Imported from -");
	m->run = i->config ? json_copy(i->config) : NULL;
	if (r == 0)
		r = manifest_platform_parse(i->platform, &m->task.arena, &m->platform, e);
	if (r == 0)
		r = blob_begin(s->blobs, &m->writer, e);
	if (r == 0) {
		struct child_options o = {.orders = &orders,
					  .data_fd = i->fd,
					  .done = on_child_done,
					  .arg = m,
					  .dir_fd = blob_writer_fd(m->writer)};

		r = child_start(s, &o, &m->child, e);
	}
	if (r < 0) {
		task_drop(&m->task);
		return r;
	}
	*ret = &m->task;
	return 0;
}

int image_commit_start(struct image_store *s, const struct image_commit *c,
		       const struct image_watch *w, struct image_task **ret, struct err *e)
{
	struct make *m = make_new(s, w, "commit", c->owner);
	struct unpack_orders orders = {
		.verb = "pack", .limits = s->limits, .path = "/", .rename = "", .whiteouts = true};
	auto_close int upper = open(c->upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int r = full_name(m, c->reference, e);

	m->base = c->base ? image_ref((struct image *)c->base) : NULL;
	m->run = c->config ? json_copy(c->config) : NULL;
	m->author = arena_dup_text(&m->task.arena, c->author);
	m->message = arena_dup_text(&m->task.arena, c->message);
	if (r == 0 && upper < 0)
		r = err_sys(e, "cannot open '%s'", c->upper);
	if (r == 0)
		r = manifest_platform_parse(NULL, &m->task.arena, &m->platform, e);
	if (r == 0)
		r = blob_begin(s->blobs, &m->writer, e);
	if (r == 0) {
		struct child_options o = {.orders = &orders,
					  .data_fd = blob_writer_fd(m->writer),
					  .dir_fd = upper,
					  .done = on_child_done,
					  .arg = m};

		r = child_start(s, &o, &m->child, e);
	}
	if (r < 0) {
		task_drop(&m->task);
		return r;
	}
	*ret = &m->task;
	return 0;
}
