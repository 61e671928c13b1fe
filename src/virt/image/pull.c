/*
 * Pull, as one straight line of replies:
 *
 *	(tags/list) → manifest → (index: the platform's manifest) → config → all layers
 *	at once → record
 *
 * Each document is verified against the digest that named it before it is parsed. Config and
 * manifest are kept as blobs while the layers come in; the image appears by one write of the
 * records at the end, or not at all.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/image/registry.h"

#define TAGS_MAX 10000

struct pull_layer {
	struct pull *pull;
	const struct manifest_part *part;
	const char *diff_id;
	struct layer_waiter *waiter;
	char id[13]; /* 12 digits of the blob */
	bool same_as_earlier;
};

struct pull {
	struct image_task task; /* first */
	struct registry *registry;
	struct registry_call *call;
	struct reference reference;
	struct manifest_platform platform;
	enum image_owner owner;
	char **tags; /* all_tags: what is to be pulled; NULL otherwise */
	size_t tags_at;
	/* of the image under way */
	char top_digest[DIGEST_ROOM], manifest_digest[DIGEST_ROOM];
	struct strbuf manifest_bytes, config_bytes;
	struct manifest manifest;
	struct image *image;
	struct pull_layer *layers;
	size_t open;	    /* layers and the keeping of documents not done yet */
	bool keeping, gone; /* a job runs; the task is over and waits for it only */
	struct err keep_err, end_err;
	bool pinned;
};

static void ask_manifest(struct pull *p, const char *what);

static void stop_all(struct pull *p)
{
	p->call = registry_cancel(p->call);
	for (size_t k = 0; p->layers && k < p->manifest.parts_n; k++)
		p->layers[k].waiter = layer_leave(p->layers[k].waiter);
}

static void pin_blobs(struct pull *p, int by)
{
	struct image_store *s = p->task.store;

	if (!p->image || p->pinned == (by > 0))
		return;
	p->pinned = by > 0;
	index_pin_blob(s, p->image->id, by);
	index_pin_blob(s, p->manifest_digest, by);
	for (size_t k = 0; k < p->manifest.parts_n; k++)
		index_pin_blob(s, p->manifest.parts[k].digest, by);
}

static void forget_image(struct pull *p)
{
	stop_all(p);
	pin_blobs(p, -1);
	strbuf_clear(&p->manifest_bytes);
	strbuf_clear(&p->config_bytes);
	p->image = image_unref(p->image);
	p->layers = NULL;
}

static void finish_task(struct pull *p, const struct err *e)
{
	if (p->gone)
		return;
	stop_all(p);
	if (p->keeping) { /* the job reads our buffers: the task ends after it */
		p->gone = true;
		if (e)
			p->end_err = *e;
		return;
	}
	task_end(&p->task, e);
}

static void fail(struct pull *p, const struct err *e)
{
	finish_task(p, e);
}

static void on_cancel(struct image_task *t, const struct err *e)
{
	finish_task((struct pull *)t, e);
}

static void on_release(struct image_task *t)
{
	struct pull *p = task_live(t);

	forget_image(p);
	strbuf_done(&p->manifest_bytes);
	strbuf_done(&p->config_bytes);
	(void)mem_free_texts(p->tags);
	p->registry = registry_free(p->registry);
}

/* ---- The end ---- */

static void next_tag(struct pull *p)
{
	forget_image(p);
	if (!p->tags || !p->tags[p->tags_at]) {
		task_end(&p->task, NULL);
		return;
	}
	p->reference.tag = p->tags[p->tags_at++];
	task_say(&p->task, p->reference.tag, "Pulling from %s", p->reference.path);
	ask_manifest(p, p->reference.tag);
}

static void layer_record(struct pull *p, size_t k, struct index_layer *ret)
{
	const struct manifest_part *part = &p->manifest.parts[k];
	struct image_store *s = p->task.store;
	const struct index_layer *known;

	if (blob_has(s->blobs, part->digest, NULL)) {
		*ret = (struct index_layer){mem_dup_text(part->digest),
					    mem_dup_text(part->media_type), part->size_bytes};
		return;
	}
	known = index_layer_blob(s, p->image->diff_ids[k]);
	if (known)
		*ret = (struct index_layer){mem_dup_text(known->blob),
					    mem_dup_text(known->media_type), known->size_bytes};
}

static void record(struct pull *p)
{
	struct image_store *s = p->task.store;
	struct arena *a = &p->task.arena;
	size_t n = p->manifest.parts_n, names = 0;
	auto_free struct index_layer *layers = mem_new_array(struct index_layer, n + 1);
	struct index_add add = {.image = p->image,
				.layers = layers,
				.manifest = p->manifest_digest,
				.owner = p->owner};
	const char *shown;
	struct err e = {0};
	bool is_new = false;
	int r;

	for (size_t k = 0; k < n; k++)
		layer_record(p, k, &layers[k]);
	if (p->reference.tag && !p->reference.digest)
		add.names[names++] = reference_tagged(&p->reference, a);
	add.names[names] = reference_digested(&p->reference, p->top_digest, a);
	shown = reference_familiar(add.names[0], a);
	parents_settle(s, p->image);
	r = index_add(s, &add, &is_new, &e);
	for (size_t k = 0; k < n; k++)
		index_layer_done(&layers[k]);
	if (r < 0) {
		fail(p, &e);
		return;
	}
	task_set_image(&p->task, image_ref(index_image(s, p->image->id)->image));
	task_say(&p->task, NULL, "Digest: %s", p->top_digest);
	task_say(&p->task, NULL,
		 is_new ? "Status: Downloaded newer image for %s"
			: "Status: Image is up to date for %s",
		 shown);
	next_tag(p);
}

static void one_done(struct pull *p)
{
	assert(p->open > 0);
	if (--p->open == 0)
		record(p);
}

/* ---- Layers ---- */

static void on_layer_moved(void *arg, const char *status, int64_t current, int64_t total)
{
	struct pull_layer *l = arg;

	task_count(&l->pull->task, l->id, status, current, total);
}

static void on_layer_done(void *arg, const struct err *e)
{
	struct pull_layer *l = arg;

	if (e)
		fail(l->pull, e);
	else
		one_done(l->pull);
}

static bool seen_earlier(const struct pull *p, size_t k)
{
	for (size_t i = 0; i < k; i++)
		if (strcmp(p->image->diff_ids[i], p->image->diff_ids[k]) == 0)
			return true;
	return false;
}

static int want_layer(struct pull *p, size_t k, struct err *e)
{
	struct pull_layer *l = &p->layers[k];
	struct layer_events ev = {on_layer_moved, on_layer_done, l};
	struct layer_source source;
	struct layer_options o = {.diff_id = p->image->diff_ids[k],
				  .blob = p->manifest.parts[k].digest,
				  .size_bytes = p->manifest.parts[k].size_bytes,
				  .source = &source};

	registry_blob_source(p->registry, &source);
	return layer_want(p->task.store, &o, &ev, &l->waiter, e);
}

static void want_layers(struct pull *p)
{
	size_t n = p->manifest.parts_n;
	struct err e = {0};

	p->layers = arena_new_array(&p->task.arena, struct pull_layer, n + 1);
	for (size_t k = 0; k < n; k++) {
		struct pull_layer *l = &p->layers[k];

		l->pull = p;
		snprintf(l->id, sizeof(l->id), "%.12s", digest_hex(p->manifest.parts[k].digest));
		l->same_as_earlier = seen_earlier(p, k);
		if (!l->same_as_earlier)
			task_say(&p->task, l->id, "Pulling fs layer");
	}
	for (size_t k = 0; k < n; k++) {
		if (p->layers[k].same_as_earlier)
			continue;
		p->open++;
		if (want_layer(p, k, &e) < 0) {
			fail(p, &e);
			return;
		}
	}
}

/* ---- Documents ---- */

static void keep_run(void *arg)
{
	struct pull *p = task_live(arg);
	struct image_store *s = p->task.store;
	char digest[DIGEST_ROOM];

	p->keep_err.kind = ERR_NONE;
	if (blob_put(s->blobs, strbuf_str(&p->config_bytes), digest, &p->keep_err) == 0)
		(void)!blob_put(s->blobs, strbuf_str(&p->manifest_bytes), digest, &p->keep_err);
}

static void keep_done(void *arg)
{
	struct pull *p = task_live(arg);

	p->keeping = false;
	if (p->gone)
		task_end(&p->task, &p->end_err);
	else if (p->keep_err.kind != ERR_NONE)
		fail(p, &p->keep_err);
	else
		one_done(p);
}

static void on_config(void *arg, const struct registry_reply *reply, const struct err *failure)
{
	struct pull *p = task_live(arg);
	const char *what = p->manifest.config.digest;
	char digest[DIGEST_ROOM];
	struct err e = {0};

	p->call = NULL;
	if (failure) {
		fail(p, failure);
		return;
	}
	digest_of(reply->body.p, reply->body.n, digest);
	if (reply->status != 200)
		(void)err_set(&e, ERR_NOT_FOUND, "registry %s does not have the image's config %s",
			      registry_endpoint(p->registry), what);
	else if (strcmp(digest, what) != 0)
		(void)err_set(&e, ERR_INVALID,
			      "config: digest mismatch: expected %s, the bytes received have %s",
			      what, digest);
	else if (manifest_config(reply->body, "image config", &p->image, &e) == 0 &&
		 p->image->layers_n != p->manifest.parts_n)
		(void)err_set(&e, ERR_INVALID,
			      "image config %s: rootfs.diff_ids has %zu entries, the manifest has "
			      "%zu layers",
			      what, p->image->layers_n, p->manifest.parts_n);
	if (e.kind != ERR_NONE) {
		p->image = image_unref(p->image);
		fail(p, &e);
		return;
	}
	strbuf_add(&p->config_bytes, reply->body.p, reply->body.n);
	pin_blobs(p, 1);
	p->open = 1;
	p->keeping = true;
	loop_job(p->task.store->loop, keep_run, keep_done, p);
	want_layers(p);
}

static void ask_config(struct pull *p)
{
	struct err e = {0};
	struct registry_request q = {
		.path = arena_printf(&p->task.arena, "blobs/%s", p->manifest.config.digest),
		.accept = "*/*",
		.body_fd = -1,
		.collect_max = IMAGE_CONFIG_MAX,
		.done = on_config,
		.arg = p,
	};

	if (p->manifest.config.media_type && !strstr(p->manifest.config.media_type, "image")) {
		(void)err_set(&e, ERR_UNSUPPORTED, "%s is no container image: its config is a '%s'",
			      p->reference.path, p->manifest.config.media_type);
		fail(p, &e);
	} else if (registry_ask(p->registry, &q, &p->call, &e) < 0) {
		fail(p, &e);
	}
}

static void manifest_name(const struct pull *p, char *ret, size_t n)
{
	snprintf(ret, n, "manifest of %s/%s%c%s", p->reference.host, p->reference.path,
		 p->reference.digest ? '@' : ':',
		 p->reference.digest ? p->reference.digest : p->reference.tag);
}

/* `expect`: the digest it was asked by, or NULL for a tag. */
static int take_manifest(struct pull *p, const struct registry_reply *reply, const char *expect,
			 struct err *e)
{
	char what[700];

	manifest_name(p, what, sizeof(what));
	if (reply->status == 404) {
		char *text = registry_error_text(reply->body, &p->task.arena);

		return err_set(e, ERR_NOT_FOUND, "%s not found%s%s", what, text[0] ? ": " : "",
			       text);
	}
	digest_of(reply->body.p, reply->body.n, p->manifest_digest);
	if (!expect && reply->digest && digest_valid(str_of(reply->digest)))
		expect = reply->digest;
	if (expect && strcmp(expect, p->manifest_digest) != 0)
		return err_set(e, ERR_INVALID,
			       "%s: digest mismatch: expected %s, the bytes received have %s", what,
			       expect, p->manifest_digest);
	if (!p->top_digest[0])
		memcpy(p->top_digest, p->manifest_digest, DIGEST_ROOM);
	strbuf_clear(&p->manifest_bytes);
	strbuf_add(&p->manifest_bytes, reply->body.p, reply->body.n);
	return manifest_parse(reply->body, what, reply->content_type, &p->task.arena, &p->manifest,
			      e);
}

static void on_manifest(void *arg, const struct registry_reply *reply, const struct err *failure)
{
	struct pull *p = task_live(arg);
	bool first = !p->top_digest[0];
	const char *expect = first ? p->reference.digest : p->manifest.parts[0].digest;
	const struct manifest_part *part = NULL;
	struct err e = {0};
	char what[700];
	int r;

	p->call = NULL;
	/* A mirror that does not have it, or is broken, is no reason to give up. */
	if ((failure || reply->status == 404) && first && registry_next_endpoint(p->registry)) {
		ask_manifest(p, p->reference.digest ? p->reference.digest : p->reference.tag);
		return;
	}
	if (failure) {
		fail(p, failure);
		return;
	}
	r = take_manifest(p, reply, expect, &e);
	manifest_name(p, what, sizeof(what));
	if (r == 0 && p->manifest.index && !first)
		r = err_set(&e, ERR_INVALID, "%s: an index inside an index is not an image", what);
	if (r == 0 && p->manifest.index)
		r = manifest_choose(&p->manifest, &p->platform, what, &part, &e);
	if (r < 0) {
		fail(p, &e);
	} else if (part) {
		/* parts[0] carries what is asked for next: see expect above. */
		p->manifest.parts[0] = *part;
		ask_manifest(p, part->digest);
	} else {
		ask_config(p);
	}
}

static void ask_manifest(struct pull *p, const char *what)
{
	struct err e = {0};
	struct registry_request q = {
		.path = arena_printf(&p->task.arena, "manifests/%s", what),
		.accept = MEDIA_OCI_INDEX ", " MEDIA_DOCKER_LIST ", " MEDIA_OCI_MANIFEST
					  ", " MEDIA_DOCKER_MANIFEST,
		.body_fd = -1,
		.collect_max = IMAGE_CONFIG_MAX,
		.done = on_manifest,
		.arg = p,
	};

	if (text_eq(what, p->reference.tag) || text_eq(what, p->reference.digest))
		p->top_digest[0] = '\0';
	if (registry_ask(p->registry, &q, &p->call, &e) < 0)
		fail(p, &e);
}

/* ---- All tags ---- */

static void on_tags(void *arg, const struct registry_reply *reply, const struct err *failure)
{
	struct pull *p = task_live(arg);
	auto_json struct json *j = NULL;
	struct err e = {0};
	struct json *list;

	p->call = NULL;
	if (failure) {
		fail(p, failure);
		return;
	}
	if (reply->status != 200)
		(void)err_set(&e, ERR_NOT_FOUND, "repository %s/%s not found", p->reference.host,
			      p->reference.path);
	else
		(void)!json_parse(reply->body, "list of tags", &j, &e);
	list = json_get(j, "tags");
	for (size_t i = 0; i < json_len(list) && i < TAGS_MAX; i++)
		if (json_text(json_at(list, i)))
			mem_append_text(&p->tags, json_text(json_at(list, i)));
	if (e.kind == ERR_NONE && !p->tags)
		(void)err_set(&e, ERR_NOT_FOUND, "repository %s/%s has no tags", p->reference.host,
			      p->reference.path);
	if (e.kind != ERR_NONE)
		fail(p, &e);
	else
		next_tag(p);
}

static void ask_tags(struct pull *p)
{
	struct err e = {0};
	struct registry_request q = {
		.path = "tags/list",
		.accept = "application/json",
		.body_fd = -1,
		.collect_max = IMAGE_CONFIG_MAX,
		.done = on_tags,
		.arg = p,
	};

	if (registry_ask(p->registry, &q, &p->call, &e) < 0)
		fail(p, &e);
}

static void begin(struct image_task *t)
{
	struct pull *p = task_live(t);
	const char *what = p->reference.digest ? p->reference.digest : p->reference.tag;

	if (!what) {
		ask_tags(p);
		return;
	}
	task_say(&p->task, what, "Pulling from %s", p->reference.path);
	ask_manifest(p, what);
}

int image_pull_start(struct image_store *s, const struct image_pull *o, const struct image_watch *w,
		     struct image_task **ret, struct err *e)
{
	auto_free char *name = mem_printf("pull of %s", o->reference ? o->reference : "");
	struct pull *p = task_new(s, sizeof(*p), w, name);
	struct registry_options ro = {.reference = &p->reference, .auth = &o->auth};
	int r;

	assert(o->reference && o->owner < IMAGE_OWNERS);
	p->task.cancel = on_cancel;
	p->task.release = on_release;
	p->task.brings = true;
	p->owner = o->owner;
	r = reference_parse(o->reference, &p->task.arena, &p->reference, e);
	if (r == 0)
		r = manifest_platform_parse(o->platform, &p->task.arena, &p->platform, e);
	if (r == 0)
		r = registry_open(s, &ro, &p->registry, e);
	if (r < 0) {
		task_drop(&p->task);
		return r;
	}
	*ret = &p->task;
	if (!o->all_tags)
		reference_default_tag(&p->reference);
	task_begin(&p->task, begin);
	return 0;
}
