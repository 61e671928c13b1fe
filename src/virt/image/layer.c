/*
 * Theory of operation
 *
 * One layer on its way in: bytes → (job: blob file and hash) → verified; at the same time blob
 * file → hull-unpack → temporary directory. The child follows the growing file and is told
 * "that is all" only after the digest was right, so a wrong digest never becomes a layer.
 *
 *	WAITING --place free--> RUNNING --verified and unpacked--> SYNCING --synced, renamed--> DONE
 *	   \_______________________\____________ fail: stop source and child, clean -> FAILED
 *
 * Works are keyed by DiffID in store->works: who wants a layer that somebody is bringing joins
 * as another waiter. Finished works gather in store->finishing; one job syncs the file system
 * once for all of them, renames blobs and directories, and only then are waiters told. Nobody
 * sees a layer that a power cut could take back.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/store/folder.h"
#include "virt/image/image_priv.h"

#define DRAIN_BYTES (512u << 10) /* worth a job */
#define PAUSE_BYTES (4u << 20)	 /* waiting for the disk: the network shall wait as well */
#define WORK_MAGIC  0x6c617965
#define TELL_MS	    100
#define LOSSY_REST_MAX \
	(64u << 20) /* after a damaged stream: fetch this much more to name the cause */

struct layer_work {
	unsigned int magic;
	struct image_store *store;
	struct list link; /* in waiting or finishing */
	struct list waiters;
	enum layer_state state;
	const char *name; /* in messages, or NULL */
	char key[DIGEST_ROOM], diff_id[DIGEST_ROOM], blob[DIGEST_ROOM];
	int64_t size;
	struct layer_source source;
	bool fetching, fetched, draining_now, paused, verified, unpacked, failed, cleaning;
	struct blob_writer *writer;
	struct strbuf filling, draining;
	uint64_t got; /* bytes the source gave */
	struct child *child;
	uint64_t child_at;
	char tmp[32]; /* below <root>/layer; "" none */
	uint64_t unpacked_bytes, entries;
	struct json *implicit;
	struct err err, drain_err;
	int64_t last_tell_ms;
};

struct layer_waiter {
	struct list link;
	struct index_layer_dir *pinned; /* from done to leave: nobody collects it meanwhile */
	struct layer_work *work;	/* NULL: the layer was there */
	struct image_store *store;
	struct layer_events ev;
	char diff_id[DIGEST_ROOM];
};

static struct layer_work *as_work(void *p)
{
	struct layer_work *w = p;

	assert(w);
	assert(w->magic == WORK_MAGIC);
	return w;
}

static void run_next(struct image_store *s);
static void sync_next(struct image_store *s);
static void fail(struct layer_work *w, const struct err *e);

/* ---- Telling ---- */

static void tell(struct layer_work *w, const char *status, int64_t current, int64_t total)
{
	list_each (&w->waiters, struct layer_waiter, link, it) {
		if (it->ev.moved)
			it->ev.moved(it->ev.arg, status, current, total);
	}
}

static void tell_slowly(struct layer_work *w, const char *status, uint64_t current)
{
	int64_t now = loop_now_ms(w->store->loop);

	if (now - w->last_tell_ms < TELL_MS)
		return;
	w->last_tell_ms = now;
	tell(w, status, (int64_t)current, w->size);
}

static void fail_deferred(void *arg);

static void work_free(struct layer_work *w)
{
	assert(!w->child && !w->draining_now);
	loop_defer_cancel(w->store->loop, fail_deferred, w);
	list_remove(&w->link);
	strbuf_done(&w->filling);
	strbuf_done(&w->draining);
	(void)blob_abort(w->writer);
	if (w->source.release)
		w->source.release(w->source.arg);
	(void)json_free(w->implicit);
	w->magic = 0;
	free(w);
}

static void pin(struct layer_waiter *w)
{
	w->pinned = index_layer_dir(w->store, w->diff_id);
	if (w->pinned)
		w->pinned->pins++;
}

static void waiters_done(struct layer_work *w, const struct err *e)
{
	/* Not list_each: a callback may leave with other waiters of this work. */
	while (!list_empty(&w->waiters)) {
		struct layer_waiter *it = list_first(&w->waiters, struct layer_waiter, link);

		list_remove(&it->link);
		it->work = NULL;
		memcpy(it->diff_id, w->diff_id, DIGEST_ROOM);
		if (!e)
			pin(it);
		it->ev.done(it->ev.arg, e); /* frees it by layer_leave, now or later */
	}
}

static void work_end(struct layer_work *w, const struct err *e)
{
	struct image_store *s = w->store;
	bool was_failed;

	if (map_get(&s->works, w->key) == w)
		(void)map_remove(&s->works, w->key);
	index_pin_blob(s, w->blob, -1);
	if (w->state != LAYER_WAITING) {
		assert(s->layers_busy > 0);
		s->layers_busy--;
	}
	w->state = e ? LAYER_FAILED : LAYER_DONE;
	waiters_done(w, e);
	was_failed = w->failed;
	work_free(w);
	run_next(s);
	if (was_failed && --s->failing == 0)
		task_cleaned(s);
}

/* ---- Failing ---- */

struct clean_job {
	struct layer_work *work;
	int layer_fd;
};

static void clean_run(void *arg)
{
	struct clean_job *j = arg;

	(void)!folder_remove(j->layer_fd, j->work->tmp, NULL);
}

static void clean_done(void *arg)
{
	struct clean_job *j = arg;
	struct layer_work *w = j->work;
	struct err e = w->err;

	free(j);
	w->tmp[0] = '\0';
	work_end(w, &e);
}

/* Everything that touches the directory and the file must be over before they are removed. */
static void fail_further(struct layer_work *w)
{
	struct clean_job *j;

	if (w->child || w->draining_now || w->cleaning)
		return;
	w->cleaning = true;
	if (!w->tmp[0]) {
		struct err e = w->err;

		work_end(w, &e);
		return;
	}
	j = mem_new(struct clean_job);
	j->work = w;
	j->layer_fd = w->store->layer_fd;
	loop_job(w->store->loop, clean_run, clean_done, j);
}

static void fail_deferred(void *arg)
{
	fail_further(arg);
}

static void fail(struct layer_work *w, const struct err *e)
{
	if (w->failed)
		return;
	w->failed = true;
	w->store->failing++;
	w->err = *e;
	if (w->fetching) {
		w->fetching = false;
		w->source.stop(w->source.arg, w);
	}
	if (w->child)
		child_cancel(w->child);
	else
		loop_defer(w->store->loop, fail_deferred, w);
}

/* Says which layer; and where a disk is full, which disk. */
static void explain(struct layer_work *w, struct err *e)
{
	if (e->kind == ERR_EXHAUSTED && (e->sys == ENOSPC || e->sys == EDQUOT)) {
		auto_free char *path = mem_printf("%s/layer", w->store->root);

		errno = e->sys;
		(void)blob_write_err(e, w->store->layer_fd, path);
	}
	if (w->name)
		(void)err_wrap(e, "%s", w->name);
	else
		(void)err_wrap(e, "layer %s", w->blob);
}

static void fail_explained(struct layer_work *w, struct err *e)
{
	explain(w, e);
	fail(w, e);
}

/* ---- Completing ---- */

static void complete(struct layer_work *w)
{
	if (w->failed || !w->verified || !w->unpacked)
		return;
	assert(w->state == LAYER_RUNNING);
	assert(!w->child);
	assert(!w->draining_now);
	w->state = LAYER_SYNCING;
	list_append(&w->store->finishing, &w->link);
	sync_next(w->store);
}

struct sync_job {
	struct image_store *store;
	struct list works;
	struct err err;
	bool failed;
};

static int write_note(struct image_store *s, struct layer_work *w, struct err *e)
{
	auto_free char *path = mem_printf("%s/layer.json", w->tmp);
	auto_json struct json *j = json_new_object();
	auto_strbuf struct strbuf b = {0};
	auto_close int fd = -1;

	json_set_text(j, "diff_id", w->diff_id);
	json_set_text(j, "blob", w->blob);
	json_set_i64(j, "bytes", (int64_t)w->unpacked_bytes);
	json_set_i64(j, "entries", (int64_t)w->entries);
	if (w->implicit)
		json_set(j, "implicit", json_ref(w->implicit));
	json_write(j, &b);
	fd = openat(s->layer_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, b.p, b.n) != (ssize_t)b.n)
		return blob_write_err(e, s->layer_fd, path);
	return 0;
}

static int publish_one(struct image_store *s, struct layer_work *w, struct err *e)
{
	if (w->writer) {
		int r = blob_publish(take(w->writer), false, e);

		if (r < 0)
			return r;
	}
	if (renameat(s->layer_fd, w->tmp, s->layer_fd, digest_hex(w->diff_id)) == 0)
		return 0;
	/* There already: left by a crash between this rename and its record. One is as good as the
	 * other. */
	if (errno == EEXIST || errno == ENOTEMPTY)
		return folder_remove(s->layer_fd, w->tmp, e);
	return err_sys(e, "cannot name layer '%s/layer/%s'", s->root, digest_hex(w->diff_id));
}

static void sync_run(void *arg)
{
	struct sync_job *j = arg;
	struct image_store *s = j->store;
	int r = 0;

	list_each (&j->works, struct layer_work, link, w) {
		if (r == 0)
			r = write_note(s, w, &j->err);
	}
	if (r == 0 && syncfs(s->root_fd) < 0)
		r = blob_write_err(&j->err, s->root_fd, s->root);
	list_each (&j->works, struct layer_work, link, w) {
		if (r == 0)
			r = publish_one(s, w, &j->err);
	}
	if (r == 0)
		r = blob_sync_names(s->blobs, &j->err);
	if (r == 0 && fsync(s->layer_fd) < 0)
		r = err_sys(&j->err, "cannot sync '%s/layer'", s->root);
	j->failed = r < 0;
}

static void note_layer(struct image_store *s, struct layer_work *w)
{
	struct index_layer_dir *dir = map_get(&s->layers, w->diff_id);

	if (dir)
		return;
	dir = mem_new(struct index_layer_dir);
	memcpy(dir->diff_id, w->diff_id, DIGEST_ROOM);
	dir->bytes = (int64_t)w->unpacked_bytes;
	(void)map_put(&s->layers, w->diff_id, dir);
}

static void sync_done(void *arg)
{
	struct sync_job *j = arg;
	struct image_store *s = j->store;

	s->syncing = false;
	list_each (&j->works, struct layer_work, link, w) {
		list_remove(&w->link);
		if (j->failed) {
			fail_explained(w, &j->err);
			continue;
		}
		note_layer(s, w);
		tell(w, "Pull complete", 0, 0);
		work_end(w, NULL);
	}
	free(j);
	sync_next(s);
}

static void sync_next(struct image_store *s)
{
	struct sync_job *j;

	if (s->syncing || list_empty(&s->finishing))
		return;
	s->syncing = true;
	j = mem_new(struct sync_job);
	j->store = s;
	list_init(&j->works);
	list_each (&s->finishing, struct layer_work, link, w) {
		list_remove(&w->link);
		list_append(&j->works, &w->link);
	}
	loop_job(s->loop, sync_run, sync_done, j);
}

/* ---- Writing and hashing, in a job ---- */

static void drain_on(struct layer_work *w);

static void drain_run(void *arg)
{
	struct layer_work *w = as_work(arg);

	w->drain_err.kind = ERR_NONE;
	(void)!blob_write(w->writer, w->draining.p, w->draining.n, &w->drain_err);
}

static void verify(struct layer_work *w)
{
	struct err e = {0};

	if (blob_finish(w->writer, w->blob, NULL, &e) < 0) {
		fail_explained(w, &e);
		return;
	}
	assert(w->fetched);
	assert(blob_written(w->writer) == (uint64_t)w->size);
	w->verified = true;
	tell(w, "Download complete", 0, 0);
	if (w->err.kind !=
	    ERR_NONE) { /* kept from the child: the bytes are right, the archive is not */
		e = w->err;
		fail(w, &e);
		return;
	}
	if (w->child)
		child_more(w->child, blob_written(w->writer), true);
	complete(w);
}

static void drain_done(void *arg)
{
	struct layer_work *w = as_work(arg);

	w->draining_now = false;
	strbuf_clear(&w->draining);
	if (w->failed) {
		fail_further(w);
		return;
	}
	if (w->drain_err.kind != ERR_NONE) {
		fail_explained(w, &w->drain_err);
		return;
	}
	if (w->child && !w->fetched)
		child_more(w->child, blob_written(w->writer), false);
	if (w->paused && w->fetching) {
		w->paused = false;
		w->source.pause(w->source.arg, false);
	}
	drain_on(w);
}

/* The loop fills one buffer while a job writes and hashes the other: a slow disk never holds the
 * loop. */
static void drain_on(struct layer_work *w)
{
	struct strbuf swap = w->draining;

	if (w->draining_now || w->failed || w->verified)
		return;
	if (w->filling.n == 0) {
		if (w->fetched)
			verify(w);
		return;
	}
	if (!w->fetched && w->filling.n < DRAIN_BYTES && w->got < (uint64_t)w->size)
		return;
	w->draining = w->filling;
	w->filling = swap;
	w->draining_now = true;
	loop_job(w->store->loop, drain_run, drain_done, w);
}

/* ---- Bytes from the source ---- */

uint64_t layer_have(const struct layer_work *w)
{
	return w->got;
}

const char *layer_blob(const struct layer_work *w)
{
	return w->blob;
}

int64_t layer_size(const struct layer_work *w)
{
	return w->size;
}

void layer_bytes(struct layer_work *w, const void *p, size_t n)
{
	struct err e = {0};

	if (w->failed || w->fetched)
		return;
	assert(w->got <= (uint64_t)w->size);
	if (n > (uint64_t)w->size - w->got) {
		(void)err_set(&e, ERR_INVALID,
			      "the registry sends more than the %lld bytes announced",
			      (long long)w->size);
		fail_explained(w, &e);
		return;
	}
	strbuf_add(&w->filling, p, n);
	w->got += n;
	if (w->filling.n >= PAUSE_BYTES && !w->paused) {
		w->paused = true;
		w->source.pause(w->source.arg, true);
	}
	drain_on(w);
	tell_slowly(w, "Downloading", w->got);
}

void layer_fetched(struct layer_work *w, const struct err *e)
{
	struct err why = {0};

	w->fetching = false;
	if (w->failed)
		return;
	if (e) {
		why = *e;
		fail_explained(w, &why);
		return;
	}
	if (w->got != (uint64_t)w->size) {
		(void)err_set(&why, ERR_INVALID,
			      "the registry sent %llu of the %lld bytes announced",
			      (unsigned long long)w->got, (long long)w->size);
		fail_explained(w, &why);
		return;
	}
	w->fetched = true;
	drain_on(w);
}

/* ---- The child ---- */

static void on_at(void *arg, uint64_t at)
{
	struct layer_work *w = as_work(arg);

	w->child_at = at;
	if (w->verified)
		tell_slowly(w, "Extracting", at);
}

static int take_answer(struct layer_work *w, const struct unpack_answer *a, struct err *e)
{
	if (!a->diff_id || !digest_valid(str_of(a->diff_id)))
		return err_set(e, ERR_INTERNAL, "the unpacking process told no DiffID");
	if (w->diff_id[0] && strcmp(w->diff_id, a->diff_id) != 0)
		return err_set(
			e, ERR_INVALID,
			"DiffID mismatch: the image's config promises %s, the layer unpacks to %s",
			w->diff_id, a->diff_id);
	memcpy(w->diff_id, a->diff_id, DIGEST_ROOM);
	w->unpacked_bytes = a->bytes;
	w->entries = a->entries;
	if (a->implicit && a->implicit[0])
		w->implicit = json_new_texts(a->implicit);
	return 0;
}

static void on_child_done(void *arg, const struct unpack_answer *a, const struct err *failure)
{
	struct layer_work *w = as_work(arg);
	struct err e = {0};

	w->child = NULL;
	if (w->failed) {
		fail_further(w);
		return;
	}
	if (failure) {
		e = *failure;
		explain(w, &e);
		/* A damaged stream has a cause: when little is missing, let the digest say whose
		 * fault it is. */
		if (w->fetching && !w->verified && e.kind == ERR_INVALID &&
		    (uint64_t)w->size - w->got <= LOSSY_REST_MAX) {
			w->err = e;
			return;
		}
		if (w->fetched && !w->verified && e.kind == ERR_INVALID) {
			w->err = e;
			return;
		}
		fail(w, &e);
		return;
	}
	if (take_answer(w, a, &e) < 0) {
		fail_explained(w, &e);
		return;
	}
	w->unpacked = true;
	complete(w);
}

static int start_child(struct layer_work *w, int data_fd, bool follow, struct err *e)
{
	struct image_store *s = w->store;
	struct unpack_orders orders = {
		.verb = "layer",
		.follow = follow,
		.limits = s->limits,
		.devices = true,
		.keep_owner = true,
	};
	auto_free char *fs = mem_printf("%s/fs", w->tmp);
	auto_close int dir_fd =
		openat(s->layer_fd, fs, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct child_options o = {
		.orders = &orders,
		.data_fd = data_fd,
		.dir_fd = dir_fd,
		.at = on_at,
		.done = on_child_done,
		.arg = w,
	};

	if (dir_fd < 0)
		return err_sys(e, "cannot open '%s/layer/%s'", s->root, fs);
	return child_start(s, &o, &w->child, e);
}

/* ---- Beginning ---- */

static int make_tmp(struct layer_work *w, struct err *e)
{
	struct image_store *s = w->store;
	auto_free char *fs = NULL;
	char id[17], name[sizeof(w->tmp)];

	world_random_hex(s->world, id, 16);
	snprintf(name, sizeof(name), "tmp-%s", id);
	fs = mem_printf("%s/fs", name);
	if (mkdirat(s->layer_fd, name, 0700) < 0)
		return blob_write_err(e, s->layer_fd, s->root);
	memcpy(w->tmp, name, sizeof(w->tmp));
	if (mkdirat(s->layer_fd, fs, 0755) < 0)
		return blob_write_err(e, s->layer_fd, s->root);
	return 0;
}

static int run_present(struct layer_work *w, struct err *e)
{
	auto_close int fd = -1;
	int r = blob_open(w->store->blobs, w->blob, &fd, NULL, e);

	if (r < 0)
		return r;
	w->verified = true;
	return start_child(w, fd, false, e);
}

/* The child gets a descriptor that can only read: what is hashed must be what stays. */
static int run_fetch(struct layer_work *w, struct err *e)
{
	char path[32];
	auto_close int fd = -1;
	int r = blob_begin(w->store->blobs, &w->writer, e);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", blob_writer_fd(w->writer));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot open the blob being written");
	r = start_child(w, fd, true, e);
	if (r < 0)
		return r;
	w->fetching = true;
	return w->source.begin(w->source.arg, w, e);
}

static void run(struct layer_work *w)
{
	struct err e = {0};
	int r = make_tmp(w, &e);

	assert(w->state == LAYER_WAITING);
	assert(list_empty(&w->link));
	w->state = LAYER_RUNNING;
	w->store->layers_busy++;
	if (r == 0 && blob_has(w->store->blobs, w->blob, NULL))
		r = run_present(w, &e);
	else if (r == 0 && w->source.begin)
		r = run_fetch(w, &e);
	else if (r == 0)
		r = err_set(&e, ERR_NOT_FOUND,
			    "its blob is gone from the store; pull the image again");
	if (r < 0)
		fail_explained(w, &e);
}

static void run_next(struct image_store *s)
{
	while (!s->closing && s->layers_busy < s->layers_at_once && !list_empty(&s->waiting)) {
		struct layer_work *w = list_first(&s->waiting, struct layer_work, link);

		list_remove(&w->link);
		run(w);
	}
}

/* ---- Waiters ---- */

static void waiter_present(void *arg)
{
	struct layer_waiter *w = arg;

	if (w->ev.moved)
		w->ev.moved(w->ev.arg, "Already exists", 0, 0);
	w->ev.done(w->ev.arg, NULL);
}

static struct layer_work *work_new(struct image_store *s, const struct layer_options *o)
{
	struct layer_work *w = mem_new(struct layer_work);

	w->magic = WORK_MAGIC;
	w->store = s;
	list_init(&w->waiters);
	snprintf(w->blob, sizeof(w->blob), "%s", o->blob);
	snprintf(w->diff_id, sizeof(w->diff_id), "%s", o->diff_id ? o->diff_id : "");
	snprintf(w->key, sizeof(w->key), "%s", o->diff_id ? o->diff_id : o->blob);
	w->size = o->size_bytes;
	w->name = o->name;
	if (o->source)
		w->source = *o->source;
	index_pin_blob(s, w->blob, 1);
	(void)map_put(&s->works, w->key, w);
	list_append(&s->waiting, &w->link);
	return w;
}

static void run_next_deferred(void *arg)
{
	run_next(arg);
}

static void drop_source(const struct layer_options *o)
{
	if (o->source && o->source->release)
		o->source->release(o->source->arg);
}

int layer_want(struct image_store *s, const struct layer_options *o, const struct layer_events *ev,
	       struct layer_waiter **ret, struct err *e)
{
	struct layer_waiter *waiter;
	struct layer_work *w;
	int r = digest_check(str_of(o->blob), e);

	if (r == 0 && o->diff_id)
		r = digest_check(str_of(o->diff_id), e);
	if (r < 0) {
		drop_source(o);
		return r;
	}
	waiter = mem_new(struct layer_waiter);
	waiter->store = s;
	waiter->ev = *ev;
	list_init(&waiter->link);
	*ret = waiter;
	if (o->diff_id && index_layer_dir(s, o->diff_id)) {
		memcpy(waiter->diff_id, o->diff_id, DIGEST_ROOM);
		pin(waiter);
		drop_source(o);
		loop_defer(s->loop, waiter_present, waiter);
		return 0;
	}
	w = map_get(&s->works, o->diff_id ? o->diff_id : o->blob);
	/* A failing work is not joined but followed: its key is taken over by the new one. */
	if (!w || w->failed)
		w = work_new(s, o);
	else
		drop_source(o);
	waiter->work = w;
	list_append(&w->waiters, &waiter->link);
	loop_defer(s->loop, run_next_deferred, s);
	return 0;
}

struct layer_waiter *layer_leave(struct layer_waiter *waiter)
{
	struct layer_work *w;
	struct err e = {0};

	if (!waiter)
		return NULL;
	w = waiter->work;
	loop_defer_cancel(waiter->store->loop, waiter_present, waiter);
	if (waiter->pinned)
		waiter->pinned->pins--;
	list_remove(&waiter->link);
	free(waiter);
	if (!w || !list_empty(&w->waiters) || w->failed || w->state == LAYER_SYNCING)
		return NULL;
	(void)err_set(&e, ERR_GONE, "nobody waits for layer %s any more", w->blob);
	list_remove(&w->link);
	fail(w, &e);
	return NULL;
}

const char *layer_diff_id(const struct layer_waiter *w)
{
	return w->diff_id;
}
