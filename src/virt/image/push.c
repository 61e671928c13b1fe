/*
 * Push: every blob is made sure to be there (HEAD, mount from a repository of the same registry, or
 * upload), then the manifest is put. Layers that have only been kept plain are compressed first,
 * once. A blob goes in one piece when small, else in chunks, and goes on after a cut from where the
 * registry says it is.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ground/base/parse.h"
#include "ground/store/inflate.h"
#include "virt/image/registry.h"

#define AT_ONCE	    3
#define CHUNK_BYTES (32ll << 20)
#define TRIES_MAX   5
#define BACKOFF_MS  500

struct push_blob {
	struct push *push;
	const char *digest;
	char id[13];
	int64_t size, sent;
	bool layer;
	int fd, tries;
	struct registry_call *call;
	struct loop_timer *timer;
	char *location; /* of the upload under way; NULL: none */
};

struct push {
	struct image_task task; /* first */
	struct registry *registry;
	struct registry_call *call;
	struct reference reference;
	char id[DIGEST_ROOM];
	enum image_owner owner;
	struct push_blob *blobs;
	size_t n, next, open;
	struct strbuf manifest;
	const char *manifest_type;
	char manifest_digest[DIGEST_ROOM];
	char **tags; /* in the arena; NULL-terminated */
	size_t tags_at;
	/* compressing */
	size_t layer_at;
	struct blob_writer *writer;
	int plain_fd;
	char packed[DIGEST_ROOM];
	int64_t packed_size;
	bool working, gone, pinned;
	struct err job_err, end_err;
};

static void start_more(struct push *p);
static void blob_again(void *arg);

static struct index_image *entry_of(struct push *p)
{
	return index_image(p->task.store, p->id);
}

static void stop_all(struct push *p)
{
	p->call = registry_cancel(p->call);
	for (size_t k = 0; k < p->n; k++) {
		struct push_blob *b = &p->blobs[k];

		b->call = registry_cancel(b->call);
		b->timer = loop_timer_free(b->timer);
		b->fd = fd_close(b->fd);
	}
}

static void finish(struct push *p, const struct err *e)
{
	if (p->gone)
		return;
	stop_all(p);
	if (p->working) {
		p->gone = true;
		if (e)
			p->end_err = *e;
		return;
	}
	task_end(&p->task, e);
}

static void on_cancel(struct image_task *t, const struct err *e)
{
	finish((struct push *)t, e);
}

static void pin_all(struct push *p, int by)
{
	if (p->pinned == (by > 0))
		return;
	p->pinned = by > 0;
	for (size_t k = 0; k < p->n; k++)
		index_pin_blob(p->task.store, p->blobs[k].digest, by);
}

static void on_release(struct image_task *t)
{
	struct push *p = task_live(t);

	stop_all(p);
	pin_all(p, -1);
	strbuf_done(&p->manifest);
	p->writer = blob_abort(p->writer);
	p->plain_fd = fd_close(p->plain_fd);
	p->registry = registry_free(p->registry);
}

/* ---- The manifest, last ---- */

static void put_manifest(struct push *p);

static void on_manifest(void *arg, const struct registry_reply *reply, const struct err *failure)
{
	struct push *p = task_live(arg);
	struct err e = {0};

	p->call = NULL;
	if (failure) {
		finish(p, failure);
		return;
	}
	if (reply->status != 201 && reply->status != 200) {
		(void)err_set(&e, ERR_INVALID, "registry %s did not take the manifest: status %d",
			      registry_endpoint(p->registry), reply->status);
		finish(p, &e);
		return;
	}
	task_say(&p->task, NULL, "%s: digest: %s size: %zu", p->tags[p->tags_at],
		 p->manifest_digest, p->manifest.n);
	task_aux(&p->task, p->tags[p->tags_at], p->manifest_digest, (int64_t)p->manifest.n);
	p->tags_at++;
	put_manifest(p);
}

static void remember_digest(struct push *p)
{
	struct index_image *i = entry_of(p);
	struct index_add add = {.owner = p->owner};

	if (!i)
		return;
	add.image = i->image;
	add.names[0] = reference_digested(&p->reference, p->manifest_digest, &p->task.arena);
	(void)!index_add(p->task.store, &add, NULL, NULL);
}

static void put_manifest(struct push *p)
{
	struct err e = {0};
	struct registry_request q = {
		.method = "PUT",
		.body = strbuf_str(&p->manifest),
		.body_fd = -1,
		.collect_max = 65536,
		.content_type = p->manifest_type,
		.done = on_manifest,
		.arg = p,
	};

	if (!p->tags[p->tags_at]) {
		remember_digest(p);
		finish(p, NULL);
		return;
	}
	q.path = arena_printf(&p->task.arena, "manifests/%s", p->tags[p->tags_at]);
	if (registry_ask(p->registry, &q, &p->call, &e) < 0)
		finish(p, &e);
}

/* ---- One blob ---- */

static void blob_done(struct push_blob *b, const char *status)
{
	struct push *p = b->push;

	b->fd = fd_close(b->fd);
	b->timer = loop_timer_free(b->timer);
	if (b->layer)
		task_say(&p->task, b->id, "%s", status);
	assert(p->open > 0);
	p->open--;
	if (p->next == p->n && p->open == 0)
		put_manifest(p);
	else
		start_more(p);
}

static void blob_failed(struct push_blob *b, const struct err *failure)
{
	struct err e = *failure;

	if (e.kind != ERR_FORBIDDEN && e.kind != ERR_INVALID && ++b->tries < TRIES_MAX) {
		if (!b->timer)
			b->timer = loop_timer_new(b->push->task.store->loop, blob_again, b);
		loop_timer_set(b->timer, (int64_t)BACKOFF_MS << b->tries, 0);
		return;
	}
	(void)err_wrap(&e, "blob %s", b->digest);
	finish(b->push, &e);
}

static void unexpected(struct push_blob *b, const char *doing, int status)
{
	struct err e = {0};

	(void)err_set(&e, status == 404 ? ERR_UNAVAILABLE : ERR_INVALID,
		      "registry %s answered %s with status %d",
		      registry_endpoint(b->push->registry), doing, status);
	if (status == 404)
		b->location = NULL; /* the upload is forgotten there: begin again */
	blob_failed(b, &e);
}

static void send_next(struct push_blob *b);

static bool keep_location(struct push_blob *b, const struct registry_reply *reply)
{
	if (!reply->location)
		return b->location != NULL;
	b->location = arena_dup_text(&b->push->task.arena, reply->location);
	return true;
}

static void on_sent(void *arg, const struct registry_reply *reply, const struct err *e)
{
	struct push_blob *b = arg;

	b->call = NULL;
	if (e) {
		blob_failed(b, e);
	} else if (reply->status == 201) {
		blob_done(b, "Pushed");
	} else if (reply->status == 202 && keep_location(b, reply)) {
		b->tries = 0;
		b->sent += b->size - b->sent > CHUNK_BYTES ? CHUNK_BYTES : b->size - b->sent;
		if (b->layer)
			task_count(&b->push->task, b->id, "Pushing", b->sent, b->size);
		send_next(b);
	} else {
		unexpected(b, "an upload", reply->status);
	}
}

/* A chunk by PATCH, or the rest and the digest by PUT. */
static void send_next(struct push_blob *b)
{
	struct arena *a = &b->push->task.arena;
	int64_t left = b->size - b->sent, n = left > CHUNK_BYTES ? CHUNK_BYTES : left;
	bool last = b->size <= CHUNK_BYTES || left == 0;
	struct registry_request q = {
		.method = last ? "PUT" : "PATCH",
		.path = b->location,
		.body_fd = n > 0 ? b->fd : -1,
		.body_offset = b->sent,
		.body_size = n,
		.content_type = "application/octet-stream",
		.collect_max = 65536,
		.done = on_sent,
		.arg = b,
	};
	struct err e = {0};

	if (last)
		q.path = arena_printf(a, "%s%cdigest=%s", b->location,
				      strchr(b->location, '?') ? '&' : '?', b->digest);
	else
		q.content_range = arena_printf(a, "%lld-%lld", (long long)b->sent,
					       (long long)(b->sent + n - 1));
	if (registry_ask(b->push->registry, &q, &b->call, &e) < 0)
		finish(b->push, &e);
}

static void on_begun(void *arg, const struct registry_reply *reply, const struct err *e)
{
	struct push_blob *b = arg;

	b->call = NULL;
	if (e) {
		blob_failed(b, e);
	} else if (reply->status == 201) {
		blob_done(b, "Mounted");
	} else if (reply->status == 202 && keep_location(b, reply)) {
		b->sent = 0;
		if (b->layer)
			task_count(&b->push->task, b->id, "Pushing", 0, b->size);
		send_next(b);
	} else {
		unexpected(b, "the begin of an upload", reply->status);
	}
}

/* Another repository of the same registry that had this blob by our own records. */
static const char *mount_source(struct push *p, const char *digest)
{
	struct image_store *s = p->task.store;

	map_each (&s->names, it) {
		const struct index_name *n = it->value;
		const struct index_image *i = strchr(n->full, '@') ? index_image(s, n->id) : NULL;
		struct reference r;

		if (!i || reference_parse(n->full, &p->task.arena, &r, NULL) < 0 ||
		    strcmp(r.host, p->reference.host) != 0 ||
		    strcmp(r.path, p->reference.path) == 0)
			continue;
		for (size_t k = 0; k < i->image->layers_n; k++)
			if (text_eq(i->layers[k].blob, digest))
				return r.path;
	}
	return NULL;
}

static void begin_upload(struct push_blob *b)
{
	struct push *p = b->push;
	const char *from = b->layer ? mount_source(p, b->digest) : NULL;
	auto_strbuf struct strbuf path = {0};
	struct registry_request q = {
		.method = "POST", .body_fd = -1, .collect_max = 65536, .done = on_begun, .arg = b};
	struct err e = {0};

	strbuf_add_text(&path, "blobs/uploads/");
	if (from) {
		strbuf_add_char(&path, '?');
		registry_query(&path, "mount", b->digest);
		registry_query(&path, "from", from);
	}
	q.path = strbuf_text(&path);
	if (registry_ask(p->registry, &q, &b->call, &e) < 0)
		finish(p, &e);
}

static void on_head(void *arg, const struct registry_reply *reply, const struct err *e)
{
	struct push_blob *b = arg;

	b->call = NULL;
	if (e)
		blob_failed(b, e);
	else if (reply->status == 200)
		blob_done(b, "Layer already exists");
	else
		begin_upload(b);
}

/* "0-1023": how much the registry has of an upload that was cut. */
static void on_asked_how_far(void *arg, const struct registry_reply *reply, const struct err *e)
{
	struct push_blob *b = arg;
	const char *dash = !e && reply->range ? strchr(reply->range, '-') : NULL;
	uint64_t last;

	b->call = NULL;
	if (e) {
		blob_failed(b, e);
		return;
	}
	if (reply->status != 204 || !dash ||
	    parse_u64(str_of(dash + 1), "range", &last, NULL) < 0 || last >= (uint64_t)b->size) {
		b->location = NULL;
		begin_upload(b);
		return;
	}
	(void)keep_location(b, reply);
	b->sent = last == 0 ? 0 : (int64_t)last + 1;
	send_next(b);
}

static void blob_begin_push(struct push_blob *b)
{
	struct registry_request head = {
		.method = "HEAD",
		.path = arena_printf(&b->push->task.arena, "blobs/%s", b->digest),
		.body_fd = -1,
		.collect_max = 65536,
		.done = on_head,
		.arg = b,
	};
	struct registry_request ask = {.path = b->location,
				       .body_fd = -1,
				       .collect_max = 65536,
				       .done = on_asked_how_far,
				       .arg = b};
	struct err e = {0};

	if (registry_ask(b->push->registry, b->location ? &ask : &head, &b->call, &e) < 0)
		finish(b->push, &e);
}

static void blob_again(void *arg)
{
	blob_begin_push(arg);
}

static void start_more(struct push *p)
{
	struct err e = {0};

	while (p->open < AT_ONCE && p->next < p->n && !p->gone) {
		struct push_blob *b = &p->blobs[p->next++];

		p->open++;
		if (blob_open(p->task.store->blobs, b->digest, &b->fd, NULL, &e) < 0) {
			finish(p, &e);
			return;
		}
		if (b->layer)
			task_say(&p->task, b->id, "Preparing");
		blob_begin_push(b);
	}
}

/* ---- What is to be pushed ---- */

static void add_blob(struct push *p, const char *digest, int64_t size, bool layer)
{
	for (size_t k = 0; k < p->n; k++)
		if (strcmp(p->blobs[k].digest, digest) == 0)
			return;
	p->blobs[p->n] = (struct push_blob){.push = p,
					    .digest = arena_dup_text(&p->task.arena, digest),
					    .size = size,
					    .layer = layer,
					    .fd = -1};
	snprintf(p->blobs[p->n].id, sizeof(p->blobs[p->n].id), "%.12s", digest_hex(digest));
	p->n++;
}

static const char *docker_or_oci(const struct index_image *i)
{
	for (size_t k = 0; k < i->image->layers_n; k++)
		if (strcmp(index_oci_layer_type(i->layers[k].media_type), MEDIA_OCI_LAYER_GZIP) !=
		    0)
			return MEDIA_OCI_MANIFEST;
	return MEDIA_DOCKER_MANIFEST;
}

static struct json *descriptor(const char *media_type, const char *digest, int64_t size)
{
	struct json *o = json_new_object();

	json_set_text(o, "mediaType", media_type);
	json_set_i64(o, "size", size);
	json_set_text(o, "digest", digest);
	return o;
}

static void new_manifest(struct push *p, const struct index_image *i, int64_t config_size)
{
	bool docker = strcmp(docker_or_oci(i), MEDIA_DOCKER_MANIFEST) == 0;
	auto_json struct json *m = json_new_object();
	struct json *layers = json_new_array();

	p->manifest_type = docker ? MEDIA_DOCKER_MANIFEST : MEDIA_OCI_MANIFEST;
	json_set_i64(m, "schemaVersion", 2);
	json_set_text(m, "mediaType", p->manifest_type);
	json_set(m, "config",
		 descriptor(docker ? MEDIA_DOCKER_CONFIG : MEDIA_OCI_CONFIG, i->image->id,
			    config_size));
	for (size_t k = 0; k < i->image->layers_n; k++)
		json_append(layers,
			    descriptor(docker ? MEDIA_DOCKER_LAYER
					      : index_oci_layer_type(i->layers[k].media_type),
				       i->layers[k].blob, i->layers[k].size_bytes));
	json_set(m, "layers", layers);
	json_write(m, &p->manifest);
}

/* The manifest as it was pulled, when what it names is what we have: its digest stays. */
static bool old_manifest(struct push *p, const struct index_image *i)
{
	struct manifest m;

	if (!i->manifest ||
	    blob_get(p->task.store->blobs, i->manifest, IMAGE_CONFIG_MAX, &p->manifest, NULL) < 0)
		return false;
	if (manifest_parse(strbuf_str(&p->manifest), "manifest", NULL, &p->task.arena, &m, NULL) ==
		    0 &&
	    !m.index && m.parts_n == i->image->layers_n && text_eq(m.config.digest, i->image->id)) {
		bool same = true;

		for (size_t k = 0; k < m.parts_n; k++)
			same = same && text_eq(m.parts[k].digest, i->layers[k].blob);
		p->manifest_type = m.media_type;
		if (same)
			return true;
	}
	strbuf_clear(&p->manifest);
	return false;
}

static void begin_upload_all(struct push *p)
{
	struct index_image *i = entry_of(p);
	uint64_t config_size = 0;
	struct err e = {0};

	if (!i || !blob_has(p->task.store->blobs, p->id, &config_size)) {
		(void)err_set(&e, ERR_GONE, "the image was removed while it was pushed");
		finish(p, &e);
		return;
	}
	p->blobs = arena_new_array(&p->task.arena, struct push_blob, i->image->layers_n + 2);
	for (size_t k = 0; k < i->image->layers_n; k++)
		add_blob(p, i->layers[k].blob, i->layers[k].size_bytes, true);
	add_blob(p, p->id, (int64_t)config_size, false);
	pin_all(p, 1);
	if (!old_manifest(p, i))
		new_manifest(p, i, (int64_t)config_size);
	digest_of(p->manifest.p, p->manifest.n, p->manifest_digest);
	start_more(p);
}

/* ---- Plain layers are compressed first, one by one ---- */

static void compress_run(void *arg)
{
	struct push *p = task_live(arg);

	p->job_err.kind = ERR_NONE;
	if (deflate_file(p->plain_fd, p->writer, &p->job_err) < 0)
		return;
	p->packed_size = (int64_t)blob_written(p->writer);
	if (blob_finish(p->writer, NULL, p->packed, &p->job_err) == 0)
		(void)!blob_publish(take(p->writer), true, &p->job_err);
}

static void compress_next(struct push *p);

static void compress_done(void *arg)
{
	struct push *p = task_live(arg);
	struct index_image *i = entry_of(p);

	p->working = false;
	p->task.store->incoming--;
	p->plain_fd = fd_close(p->plain_fd);
	if (p->gone) {
		task_end(&p->task, &p->end_err);
		return;
	}
	if (p->job_err.kind != ERR_NONE) {
		finish(p, &p->job_err);
		return;
	}
	if (i) {
		index_layer_done(&i->layers[p->layer_at]);
		i->layers[p->layer_at] =
			(struct index_layer){mem_dup_text(p->packed),
					     mem_dup_text(MEDIA_OCI_LAYER_GZIP), p->packed_size};
	}
	p->layer_at++;
	compress_next(p);
}

static void compress_next(struct push *p)
{
	struct image_store *s = p->task.store;
	struct index_image *i = entry_of(p);
	struct err e = {0};
	int r = 0;

	while (i && p->layer_at < i->image->layers_n && i->layers[p->layer_at].blob &&
	       strcmp(index_oci_layer_type(i->layers[p->layer_at].media_type), MEDIA_OCI_LAYER) !=
		       0)
		p->layer_at++;
	if (!i || p->layer_at == i->image->layers_n) {
		r = i ? index_save(s, &e) : 0;
		if (r < 0)
			finish(p, &e);
		else
			begin_upload_all(p);
		return;
	}
	if (!i->layers[p->layer_at].blob)
		r = err_set(&e, ERR_NOT_FOUND,
			    "no archive of layer %s is kept; pull the image again",
			    i->image->diff_ids[p->layer_at]);
	if (r == 0)
		r = blob_open(s->blobs, i->layers[p->layer_at].blob, &p->plain_fd, NULL, &e);
	if (r == 0)
		r = blob_begin(s->blobs, &p->writer, &e);
	if (r < 0) {
		finish(p, &e);
		return;
	}
	p->working = true;
	s->incoming++;
	loop_job(s->loop, compress_run, compress_done, p);
}

static void begin(struct image_task *t)
{
	struct push *p = task_live(t);

	task_say(t, NULL, "The push refers to repository [%s]",
		 reference_repository(&p->reference, &t->arena));
	compress_next(p);
}

/* ---- Beginning ---- */

static void collect_tags(struct push *p)
{
	struct image_store *s = p->task.store;
	char *prefix = arena_printf(&p->task.arena,
				    "%s:", reference_repository(&p->reference, &p->task.arena));
	size_t n = 0;

	p->tags = arena_new_array(&p->task.arena, char *, s->names.count + 1);
	map_each (&s->names, it) {
		const struct index_name *name = it->value;

		if (text_starts(name->full, prefix) && strcmp(name->id, p->id) == 0)
			p->tags[n++] = arena_dup_text(&p->task.arena, name->full + strlen(prefix));
	}
}

static int choose(struct push *p, const struct image_push *o, struct err *e)
{
	struct image *image = NULL;
	int r = reference_parse(o->reference, &p->task.arena, &p->reference, e);

	if (r < 0)
		return r;
	if (p->reference.digest)
		return err_set(e, ERR_INVALID,
			       "cannot push a digest reference: '%s'; give it a tag", o->reference);
	reference_default_tag(&p->reference);
	r = image_find(p->task.store, reference_tagged(&p->reference, &p->task.arena), &image, e);
	if (r < 0)
		return err_set(e, ERR_NOT_FOUND, "An image does not exist locally with the tag: %s",
			       o->reference);
	memcpy(p->id, image->id, DIGEST_ROOM);
	(void)image_unref(image);
	if (o->all_tags) {
		collect_tags(p);
		return 0;
	}
	p->tags = arena_new_array(&p->task.arena, char *, 2);
	p->tags[0] = arena_dup_text(&p->task.arena, p->reference.tag);
	return 0;
}

int image_push_start(struct image_store *s, const struct image_push *o, const struct image_watch *w,
		     struct image_task **ret, struct err *e)
{
	auto_free char *name = mem_printf("push of %s", o->reference);
	struct push *p = task_new(s, sizeof(*p), w, name);
	struct registry_options ro = {.reference = &p->reference, .auth = &o->auth, .push = true};
	int r;

	p->owner = o->owner;
	p->plain_fd = -1;
	p->task.cancel = on_cancel;
	p->task.release = on_release;
	r = choose(p, o, e);
	if (r == 0)
		r = registry_open(s, &ro, &p->registry, e);
	if (r < 0) {
		task_drop(&p->task);
		return r;
	}
	task_begin(&p->task, begin);
	*ret = &p->task;
	return 0;
}
