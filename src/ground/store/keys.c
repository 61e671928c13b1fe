/*
 * Revisioned keys: see keys.h.
 *
 * Theory of operation. The loop's thread owns everything but two batches. A write is checked
 * against `newest` (the last write of its key that is not committed) or, without one, against the
 * index; it gets the next number of `counter` and joins `queued`. At the end of a turn, when the
 * writer has nothing, all that is queued is handed to it as one batch. The writer runs it as one
 * transaction and posts it back; the loop's thread then applies it to the index, raises `revision`,
 * tells the watches, tells the writers, and hands the next batch over. While a commit is syncing,
 * writes gather: that is the group commit.
 *
 * A batch that fails takes with it everything queued behind it: those writes were checked against
 * values that now never will be.
 *
 *	queued --turn's end--> handed --transaction--> finished --> applied, told, acknowledged
 *	                                                  \--failure: it and all of queued fails
 */
#include "ground/store/keys.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys_priv.h"
#include "ground/wire/loop.h"

#define PAST_EVENTS 10000u
#define PAST_BYTES  ((size_t)16 << 20)
#define PATIENCE_MS 3000 /* for a revision that lies in the future */

/* -- values ------------------------------------------------------------------------------------ */

struct key_value *key_value_new(const char *key, struct str bytes, void *index, int64_t expires_ns)
{
	size_t key_n = strlen(key) + 1;
	struct key_value *v = mem_new_bytes(1, sizeof(*v) + key_n + bytes.n + 1);
	char *p = (char *)(v + 1);

	v->magic = KEY_VALUE_MAGIC;
	v->refs = 1;
	v->expires_ns = expires_ns;
	v->index = index;
	v->key = memcpy(p, key, key_n);
	if (bytes.n)
		memcpy(p + key_n, bytes.p, bytes.n);
	v->bytes = (struct str){p + key_n, bytes.n};
	return v;
}

const struct key_value *key_value_ref(const struct key_value *v)
{
	struct key_value *counted = (struct key_value *)(uintptr_t)v;

	assert(v->magic == KEY_VALUE_MAGIC);
	(void)__atomic_add_fetch(&counted->refs, 1, __ATOMIC_RELAXED);
	return v;
}

const struct key_value *key_value_unref(const struct key_value *v)
{
	struct key_value *counted = (struct key_value *)(uintptr_t)v;

	if (!v)
		return NULL;
	assert(v->magic == KEY_VALUE_MAGIC);
	if (__atomic_sub_fetch(&counted->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return NULL;
	if (counted->index_free && counted->index)
		counted->index_free(counted->index);
	counted->magic = 0;
	free(counted);
	return NULL;
}

/* -- writing ----------------------------------------------------------------------------------- */

static struct key_write *write_free(struct key_write *w)
{
	if (!w)
		return NULL;
	(void)key_value_unref(w->v);
	(void)key_value_unref(w->old);
	free(w->key);
	free(w);
	return NULL;
}

const struct key_value *keys_get(const struct keys *k, const char *key)
{
	const struct key_node *n;

	assert(k->magic == KEYS_MAGIC);
	n = key_index_find(&k->index, key);
	return n && n->newest ? n->newest->v : NULL;
}

const struct key_value *keys_newest(const struct keys *k, const char *key)
{
	const struct key_write *w = map_get(&k->newest, key);

	return w ? w->v : keys_get(k, key);
}

/* Why a write on `have` is not what its caller expects. */
static int check_expected(const struct key_value *have, const char *key, uint64_t expect,
			  struct err *e)
{
	if (expect == 0 && have)
		return err_set(e, ERR_EXISTS, "'%s' exists", key);
	if (expect != 0 && !have)
		return err_set(e, ERR_NOT_FOUND, "'%s' does not exist", key);
	if (expect != 0 && have->modified != expect)
		return err_set(e, ERR_CONFLICT, "'%s' is at revision %llu, not at %llu", key,
			       (unsigned long long)have->modified, (unsigned long long)expect);
	return 0;
}

static int check_size(const char *key, const struct key_value *v, struct err *e)
{
	if (strlen(key) > KEYS_KEY_MAX)
		return err_set(e, ERR_INVALID, "the key '%.40s...' is longer than %u bytes", key,
			       KEYS_KEY_MAX);
	if (v && v->bytes.n > KEYS_VALUE_MAX)
		return err_set(e, ERR_EXHAUSTED, "the value of '%s' has %zu bytes; %u are allowed",
			       key, v->bytes.n, KEYS_VALUE_MAX);
	return 0;
}

/* A write that is refused before it began; told later in this turn. */
struct refusal {
	keys_done *done;
	void *ctx;
	struct err error;
};

static void tell_refusal(void *arg)
{
	struct refusal *r = arg;

	r->done(r->ctx, NULL, 0, &r->error);
	free(r);
}

static void refuse(struct keys *k, keys_done *done, void *ctx, const struct err *e)
{
	struct refusal *r;

	if (!done)
		return;
	r = mem_new(struct refusal);
	*r = (struct refusal){done, ctx, *e};
	loop_defer(k->loop, tell_refusal, r);
}

static void enqueue(struct keys *k, struct key_write *w)
{
	w->revision = ++k->counter;
	*k->queued_end = w;
	k->queued_end = &w->next;
	(void)map_put(&k->newest, w->key, w);
}

static void index_new(const struct keys *k, struct key_value *v)
{
	if (!v->index && k->o.index)
		v->index = k->o.index(k->o.ctx, v);
}

void keys_put(struct keys *k, struct key_value *v, uint64_t expect, unsigned int flags,
	      keys_done *done, void *ctx)
{
	const struct key_value *have = keys_newest(k, v->key);
	struct key_write *w;
	struct err e;

	assert(k->magic == KEYS_MAGIC && v->modified == 0);
	if (!v->index_free)
		v->index_free = k->o.index_free; /* also of a value that is refused */
	if (check_size(v->key, v, &e) < 0 || check_expected(have, v->key, expect, &e) < 0) {
		refuse(k, done, ctx, &e);
		(void)key_value_unref(v);
		return;
	}
	w = mem_new(struct key_write);
	w->key = mem_dup_text(v->key);
	w->v = v;
	w->old = have ? key_value_ref(have) : NULL;
	w->overwrite = flags & KEYS_OVERWRITE;
	w->done = done;
	w->ctx = ctx;
	enqueue(k, w);
	v->modified = w->revision;
	v->created = have ? have->created : w->revision;
	index_new(k, v);
}

void keys_delete(struct keys *k, const char *key, uint64_t expect, keys_done *done, void *ctx)
{
	const struct key_value *have = keys_newest(k, key);
	const struct key_write *before = map_get(&k->newest, key);
	struct key_write *w;
	struct err e;

	assert(k->magic == KEYS_MAGIC && expect);
	if (check_expected(have, key, expect, &e) < 0) {
		refuse(k, done, ctx, &e);
		return;
	}
	w = mem_new(struct key_write);
	w->key = mem_dup_text(key);
	w->old = key_value_ref(have);
	w->overwrite = before ? before->overwrite : false;
	for (size_t i = 0; k->unkept && k->unkept[i]; i++)
		w->overwrite = w->overwrite || text_starts(key, k->unkept[i]);
	w->done = done;
	w->ctx = ctx;
	enqueue(k, w);
}

/* -- the writer's side ------------------------------------------------------------------------- */

static void batch_finished(void *arg);

static void *writer_main(void *arg)
{
	struct keys *k = arg;

	pthread_mutex_lock(&k->lock);
	for (;;) {
		struct key_batch *b;

		if (!k->handed && !k->stop) {
			pthread_mutex_unlock(&k->lock);
			disk_settle(&k->disk);
			pthread_mutex_lock(&k->lock);
		}
		while (!k->handed && !k->stop)
			pthread_cond_wait(&k->wake, &k->lock);
		b = take(k->handed);
		if (!b)
			break;
		pthread_mutex_unlock(&k->lock);
		if (disk_commit(&k->disk, b->first, b->revision, b->compacted, &b->error) < 0)
			assert(b->error.kind != ERR_NONE);
		pthread_mutex_lock(&k->lock);
		k->finished = b;
		loop_post(k->loop, batch_finished, k);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

/* All that is queued becomes one batch, when the writer is free. */
static void hand_over(void *arg)
{
	struct keys *k = arg;
	struct key_batch *b;

	if (k->writing || !k->queued)
		return;
	b = mem_new(struct key_batch);
	b->keys = k;
	b->first = take(k->queued);
	b->revision = k->counter;
	b->compacted = k->index.compacted;
	k->queued_end = &k->queued;
	k->writing = true;
	pthread_mutex_lock(&k->lock);
	k->handed = b;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
}

/* -- after the commit -------------------------------------------------------------------------- */

static void sweep_watches(struct keys *k)
{
	list_each (&k->watches, struct keys_watch, link, w)
		if (!w->fn) {
			list_remove(&w->link);
			free(w->prefix);
			free(w);
		}
}

static void tell_watch(struct keys_watch *w)
{
	const struct key_index *x = &w->keys->index;
	size_t n = x->past_n;

	for (size_t i = key_index_after(x, w->told); w->fn && i < n; i++) {
		struct key_event v = key_index_event(x, i);
		const char *key = v.now ? v.now->key : v.before ? v.before->key : "";

		w->told = v.revision;
		if (strncmp(key, w->prefix, w->prefix_n) == 0)
			w->fn(w->ctx, &v);
	}
}

/*
 * Nothing leaves the list meanwhile; what joins it is told too, before any of the past that it
 * asked for is forgotten.
 */
static void tell_watches(struct keys *k)
{
	k->telling++;
	for (struct list *at = k->watches.next; at != &k->watches; at = at->next)
		tell_watch(container_of(at, struct keys_watch, link));
	k->telling--;
	if (k->telling == 0)
		sweep_watches(k);
}

static void forget_past(struct keys *k)
{
	size_t events = k->o.past_events ? k->o.past_events : PAST_EVENTS;
	size_t bytes = k->o.past_bytes ? k->o.past_bytes : PAST_BYTES;

	while (k->index.past_n > events || k->index.past_bytes > bytes)
		key_index_forget(&k->index);
}

static void remember_unkept(struct keys *k, const struct key_write *w)
{
	auto_free char *prefix = str_dup((struct str){w->key, key_kind_bytes(w->key)});

	if (!text_in(prefix, k->unkept))
		mem_append_text(&k->unkept, prefix);
}

static void apply(struct keys *k, struct key_batch *b)
{
	for (const struct key_write *w = b->first; w; w = w->next) {
		struct key_node *n = key_index_make(&k->index, w->key);

		key_index_apply(&k->index, n, w->v ? key_value_ref(w->v) : NULL, w->revision);
		if (map_get(&k->newest, w->key) == w)
			(void)map_remove(&k->newest, w->key);
		if (w->overwrite)
			remember_unkept(k, w);
		if (w->v)
			expiry_note(k, w->v);
		k->revision = w->revision;
	}
}

struct waiter {
	struct list link;
	uint64_t at_least;
	keys_done *done;
	void *ctx;
	int64_t until_ms;
};

/* Asks for a timer for the first that waits for the future; all are equally patient. */
static void set_patience(struct keys *k)
{
	int64_t now = loop_now_ms(k->loop);

	list_each (&k->waiters, struct waiter, link, w)
		if (w->at_least > k->revision) {
			loop_timer_set(k->patience, w->until_ms > now ? w->until_ms - now : 0, 0);
			return;
		}
	loop_timer_unset(k->patience);
}

static void tell_waiters(void *arg)
{
	struct keys *k = arg;

	list_each (&k->waiters, struct waiter, link, w)
		if (w->at_least <= k->revision) {
			list_remove(&w->link);
			w->done(w->ctx, NULL, k->revision, NULL);
			free(w);
		}
	set_patience(k);
}

static void tell_writers(struct key_batch *b, const struct err *e)
{
	while (b->first) {
		struct key_write *w = b->first;

		b->first = w->next;
		if (w->done)
			w->done(w->ctx, e ? NULL : w->v ? w->v : w->old, w->revision, e);
		else if (e)
			log_error("%s", e->text);
		(void)write_free(w);
	}
}

/* What was about to end did not: it is tried again. */
static void expire_again(struct keys *k, const struct key_write *first)
{
	for (const struct key_write *w = first; w; w = w->next)
		if (!w->v)
			expiry_note(k, w->old);
}

/* What was queued was built on what has failed. */
static void fail(struct keys *k, struct key_batch *b)
{
	struct err e = b->error;
	struct key_batch behind = {.first = take(k->queued)};

	k->queued_end = &k->queued;
	map_done(&k->newest);
	expire_again(k, b->first);
	expire_again(k, behind.first);
	tell_writers(b, &e);
	if (!behind.first)
		return;
	(void)err_set(&e, ERR_UNAVAILABLE, "a write that this one was built on failed: %s",
		      b->error.text);
	tell_writers(&behind, &e);
}

static void batch_finished(void *arg)
{
	struct keys *k = arg;
	struct key_batch *b;

	assert(k->magic == KEYS_MAGIC);
	pthread_mutex_lock(&k->lock);
	b = take(k->finished);
	pthread_mutex_unlock(&k->lock);
	k->writing = false;
	if (b->error.kind == ERR_NONE) {
		apply(k, b);
		tell_watches(k);
		forget_past(k);
		tell_waiters(k);
		tell_writers(b, NULL);
	} else {
		fail(k, b);
	}
	free(b);
}

/* -- reading ----------------------------------------------------------------------------------- */

uint64_t keys_revision(const struct keys *k)
{
	return k->revision;
}

uint64_t keys_compacted(const struct keys *k)
{
	return k->index.compacted;
}

static void out_of_patience(void *arg)
{
	struct keys *k = arg;
	int64_t now = loop_now_ms(k->loop);
	struct err e;

	list_each (&k->waiters, struct waiter, link, w)
		if (w->at_least > k->revision && w->until_ms <= now) {
			list_remove(&w->link);
			(void)err_set(
				&e, ERR_TIMEOUT, "Too large resource version: %llu, current: %llu",
				(unsigned long long)w->at_least, (unsigned long long)k->revision);
			w->done(w->ctx, NULL, k->revision, &e);
			free(w);
		}
	set_patience(k);
}

void keys_fresh(struct keys *k, uint64_t at_least, keys_done *done, void *ctx)
{
	struct waiter *w = mem_new(struct waiter);

	assert(k->magic == KEYS_MAGIC && done);
	*w = (struct waiter){.at_least = at_least,
			     .done = done,
			     .ctx = ctx,
			     .until_ms = loop_now_ms(k->loop) + PATIENCE_MS};
	list_append(&k->waiters, &w->link);
	if (at_least <= k->revision)
		loop_defer(k->loop, tell_waiters, k);
	else
		set_patience(k);
}

/* A key as of a revision; NULL: it was not there. */
static const struct key_value *as_of(const struct key_node *n, uint64_t revision)
{
	const struct version *v = n->newest;

	while (v && revision && v->revision > revision)
		v = v->older;
	return v ? v->v : NULL;
}

static int check_past(const struct keys *k, uint64_t revision, struct err *e)
{
	if (revision > k->revision)
		return err_set(e, ERR_INVALID, "revision %llu lies in the future; now is %llu",
			       (unsigned long long)revision, (unsigned long long)k->revision);
	if (revision < k->index.compacted)
		return err_set(
			e, ERR_GONE, "revision %llu is forgotten; the oldest that is kept is %llu",
			(unsigned long long)revision, (unsigned long long)k->index.compacted);
	return 0;
}

/* Some of these keys leave no history on disk: their past does not reach behind the last start. */
static bool is_unkept(const struct keys *k, const char *prefix)
{
	for (size_t i = 0; k->unkept && k->unkept[i]; i++)
		if (text_starts(k->unkept[i], prefix) || text_starts(prefix, k->unkept[i]))
			return true;
	return false;
}

static int check_kept(const struct keys *k, const char *prefix, uint64_t revision, struct err *e)
{
	if (check_past(k, revision, e) < 0)
		return -(int)e->kind;
	if (revision < k->loaded && is_unkept(k, prefix))
		return err_set(e, ERR_GONE, "the past of '%s' before revision %llu is forgotten",
			       prefix, (unsigned long long)k->loaded);
	return 0;
}

int keys_each(const struct keys *k, const char *prefix, const char *after, uint64_t revision,
	      bool (*each)(void *ctx, const struct key_value *v), void *ctx, struct err *e)
{
	size_t n = strlen(prefix);
	struct key_node *at = key_index_at(&k->index, after ? after : prefix);

	assert(k->magic == KEYS_MAGIC);
	if (revision && check_kept(k, prefix, revision, e) < 0)
		return -(int)e->kind;
	if (after && at && strcmp(at->key, after) == 0)
		at = key_index_next(at);
	for (; at && strncmp(at->key, prefix, n) == 0; at = key_index_next(at)) {
		const struct key_value *v = as_of(at, revision);

		if (v && !each(ctx, v))
			break;
	}
	return 0;
}

static bool count(void *ctx, const struct key_value *v)
{
	size_t *n = ctx;

	(void)v;
	(*n)++;
	return true;
}

size_t keys_count(const struct keys *k, const char *prefix)
{
	size_t n = 0;

	if (!prefix[0])
		return k->index.count;
	return keys_each(k, prefix, NULL, 0, count, &n, NULL) < 0 ? 0 : n;
}

/* -- watching ---------------------------------------------------------------------------------- */

static void catch_up(void *arg)
{
	struct keys_watch *w = arg;
	struct keys *k = w->keys;

	k->telling++;
	tell_watch(w);
	k->telling--;
	if (k->telling == 0)
		sweep_watches(k);
}

int keys_watch(struct keys *k, const char *prefix, uint64_t from, keys_event *fn, void *ctx,
	       struct keys_watch **ret, struct err *e)
{
	struct keys_watch *w;

	assert(k->magic == KEYS_MAGIC && fn);
	if (check_kept(k, prefix, from, e) < 0)
		return -(int)e->kind;
	w = mem_new(struct keys_watch);
	*w = (struct keys_watch){.keys = k,
				 .prefix = mem_dup_text(prefix),
				 .prefix_n = strlen(prefix),
				 .told = from,
				 .fn = fn,
				 .ctx = ctx};
	list_append(&k->watches, &w->link);
	if (from < k->revision)
		loop_defer(k->loop, catch_up, w);
	*ret = w;
	return 0;
}

struct keys_watch *keys_unwatch(struct keys_watch *w)
{
	if (!w)
		return NULL;
	loop_defer_cancel(w->keys->loop, catch_up, w);
	w->fn = NULL;
	if (w->keys->telling == 0)
		sweep_watches(w->keys);
	return NULL;
}

void keys_compact(struct keys *k, uint64_t revision)
{
	assert(k->magic == KEYS_MAGIC && revision <= k->revision);
	assert(k->telling == 0);
	tell_watches(k); /* nobody loses what it was not told yet */
	while (k->index.past_n && key_index_event(&k->index, 0).revision <= revision)
		key_index_forget(&k->index);
	if (revision > k->index.compacted)
		k->index.compacted = revision;
}

/* -- life -------------------------------------------------------------------------------------- */

static int start_writer(struct keys *k, struct err *e)
{
	sigset_t all, old;
	int bad;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	bad = pthread_create(&k->writer, NULL, writer_main, k);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (bad)
		return err_set(e, ERR_SYSTEM, "cannot start the thread that writes '%s': %s",
			       k->o.path, strerror(bad));
	k->writer_runs = true;
	return 0;
}

int keys_open(const struct keys_options *o, struct keys **ret, struct err *e)
{
	struct keys *k = mem_new(struct keys);
	int bad;

	assert(o->loop && o->path && ret);
	k->magic = KEYS_MAGIC;
	k->o = *o;
	k->loop = o->loop;
	k->world = o->world ? o->world : &world_real;
	k->queued_end = &k->queued;
	list_init(&k->watches);
	list_init(&k->waiters);
	list_init(&k->expiring);
	key_index_init(&k->index);
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->wake, NULL);
	k->expiry = loop_timer_new(k->loop, expiry_due, k);
	k->patience = loop_timer_new(k->loop, out_of_patience, k);
	bad = disk_open(&k->disk, o->path, e);
	if (bad >= 0)
		bad = disk_load(&k->disk, k, e);
	if (bad >= 0)
		bad = start_writer(k, e);
	if (bad < 0) {
		(void)keys_close(k);
		return bad;
	}
	forget_past(k);
	loop_turn_end(k->loop, hand_over, k);
	*ret = k;
	return 0;
}

static void end_writer(struct keys *k)
{
	if (!k->writer_runs)
		return;
	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
	pthread_join(k->writer, NULL);
	k->writer_runs = false;
	loop_post_cancel(k->loop, batch_finished, k);
}

/* What is queued is committed here, by the loop's thread; nobody is called back any more. */
static void commit_rest(struct keys *k)
{
	struct key_batch *b = take(k->finished);
	struct err e = {0};

	if (k->queued && (!b || b->error.kind == ERR_NONE) &&
	    disk_commit(&k->disk, k->queued, k->counter, k->index.compacted, &e) < 0)
		log_error("%s", e.text);
	for (struct key_write *w = b ? b->first : NULL, *next; w; w = next) {
		next = w->next;
		(void)write_free(w);
	}
	free(b);
	while (k->queued) {
		struct key_write *w = k->queued;

		k->queued = w->next;
		(void)write_free(w);
	}
}

struct keys *keys_close(struct keys *k)
{
	if (!k)
		return NULL;
	assert(k->magic == KEYS_MAGIC);
	end_writer(k);
	commit_rest(k);
	list_each (&k->watches, struct keys_watch, link, w)
		(void)keys_unwatch(w);
	loop_defer_cancel(k->loop, tell_waiters, k);
	list_each (&k->waiters, struct waiter, link, w) {
		list_remove(&w->link);
		free(w);
	}
	k->expiry = loop_timer_free(k->expiry);
	k->patience = loop_timer_free(k->patience);
	expiry_done(k);
	map_done(&k->newest);
	key_index_done(&k->index);
	disk_close(&k->disk);
	(void)mem_free_texts(k->unkept);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->wake);
	loop_turn_end_cancel(k->loop, hand_over, k);
	k->magic = 0;
	free(k);
	return NULL;
}
