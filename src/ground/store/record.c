/*
 * Records over SQLite (WAL, synchronous=FULL).
 *
 * Theory of operation. The loop's thread owns `kinds` (the memory index) and appends writes to
 * `queued` under `lock`. The writer thread takes the whole list, runs it as one transaction, and
 * hands it back as a finished batch with loop_post(); the loop's thread then applies the batch to
 * the index and calls the callbacks. Batches are posted in order by one thread, so the index always
 * equals some prefix of the committed transactions. While a commit is syncing, new writes gather
 * for the next one: that is the group commit; nobody waits on purpose to make a batch bigger.
 *
 * The writer is the only user of the SQLite handle after open. It blocks all signals.
 */
#include "ground/store/record.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/database.h"
#include "ground/wire/loop.h"

#define RECORDS_MAGIC  0x52454353u
#define APPLICATION_ID 0x48756c6c /* "Hull" in the file's header */

enum write_kind { WRITE_PUT, WRITE_DELETE, WRITE_BARRIER };

struct write {
	struct write *next;
	enum write_kind what;
	char *kind, *key;
	struct value *value;
	record_done *done;
	void *ctx;
};

struct value {
	size_t n;
	char p[];
};

struct batch {
	struct records *records;
	struct batch *next; /* in records.posted, newest first */
	struct write *first;
	struct err error; /* kind ERR_NONE: committed */
};

struct records {
	uint32_t magic;
	struct loop *loop;
	struct map kinds; /* kind -> struct map * of key -> struct value * */
	struct database file;
	sqlite3_stmt *put, *remove;
	pthread_t writer;
	bool writer_runs;
	pthread_mutex_t lock; /* rank 1: guards what follows */
	pthread_cond_t wake;
	struct write *queued, **queued_end;
	struct batch *posted; /* given to the loop and not yet applied; freed at close */
	bool stop;
};

static struct write *write_free(struct write *w)
{
	if (w) {
		free(w->kind);
		free(w->key);
		free(w->value);
		free(w);
	}
	return NULL;
}

static struct value *value_of(const void *p, size_t n)
{
	struct value *v = mem_new_bytes(1, sizeof(*v) + n + 1);

	v->n = n;
	if (n)
		memcpy(v->p, p, n);
	return v;
}

static struct map *kind_map(struct records *r, const char *kind)
{
	struct map *m = map_get(&r->kinds, kind);

	if (!m) {
		m = mem_new(struct map);
		map_put(&r->kinds, kind, m);
	}
	return m;
}

static const struct database_schema schema = {
	.application = APPLICATION_ID,
	.version = RECORD_SCHEMA,
	.create = "CREATE TABLE record(kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,"
		  " PRIMARY KEY(kind, key)) WITHOUT ROWID",
};

static int load(struct records *r, struct err *e)
{
	sqlite3_stmt *s = NULL;
	int step;

	if (sqlite3_prepare_v2(r->file.db, "SELECT kind, key, value FROM record", -1, &s, NULL) !=
	    SQLITE_OK)
		return database_error(&r->file, e, "cannot read");
	while ((step = sqlite3_step(s)) == SQLITE_ROW) {
		const char *kind = (const char *)sqlite3_column_text(s, 0);
		const char *key = (const char *)sqlite3_column_text(s, 1);
		const void *p = sqlite3_column_blob(s, 2);
		int n = sqlite3_column_bytes(s, 2);

		free(map_put(kind_map(r, kind), key, value_of(p, (size_t)n)));
	}
	(void)sqlite3_finalize(s);
	return step == SQLITE_DONE ? 0 : database_error(&r->file, e, "cannot read");
}

static int prepare(struct records *r, struct err *e)
{
	int bad = database_prepare(&r->file,
				   "INSERT OR REPLACE INTO record(kind, key, value) VALUES(?,?,?)",
				   &r->put, e);

	if (bad < 0)
		return bad;
	return database_prepare(&r->file, "DELETE FROM record WHERE kind = ? AND key = ?",
				&r->remove, e);
}

/* -- the writer's side ------------------------------------------------------------------------- */

static int apply_to_disk(struct records *r, const struct write *w, struct err *e)
{
	sqlite3_stmt *s = w->what == WRITE_PUT ? r->put : r->remove;

	if (w->what == WRITE_BARRIER)
		return 0;
	(void)sqlite3_bind_text(s, 1, w->kind, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(s, 2, w->key, -1, SQLITE_STATIC);
	if (w->what == WRITE_PUT)
		(void)sqlite3_bind_blob64(s, 3, w->value->p, w->value->n, SQLITE_STATIC);
	return database_step(&r->file, s, e);
}

static int commit(struct records *r, const struct write *first, struct err *e)
{
	bool empty = true;
	int bad = 0;

	for (const struct write *w = first; w; w = w->next)
		empty = empty && w->what == WRITE_BARRIER;
	if (empty)
		return 0;
	bad = database_run(&r->file, "BEGIN IMMEDIATE", "cannot write to", e);
	if (bad < 0)
		return bad;
	for (const struct write *w = first; w && bad >= 0; w = w->next)
		bad = apply_to_disk(r, w, e);
	if (bad >= 0)
		bad = database_run(&r->file, "COMMIT", "cannot write to", e);
	if (bad < 0 && !sqlite3_get_autocommit(r->file.db))
		(void)sqlite3_exec(r->file.db, "ROLLBACK", NULL, NULL, NULL);
	return bad;
}

/* -- the loop's side --------------------------------------------------------------------------- */

static void apply_to_memory(struct records *r, struct write *w)
{
	struct map *m;

	if (w->what == WRITE_BARRIER)
		return;
	m = kind_map(r, w->kind);
	if (w->what == WRITE_PUT)
		free(map_put(m, w->key, take(w->value)));
	else
		free(map_remove(m, w->key));
}

static void unlink_batch(struct records *r, const struct batch *b)
{
	struct batch **at = &r->posted;

	pthread_mutex_lock(&r->lock);
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	pthread_mutex_unlock(&r->lock);
}

static struct batch *batch_free(struct batch *b)
{
	while (b->first) {
		struct write *w = b->first;

		b->first = w->next;
		(void)write_free(w);
	}
	free(b);
	return NULL;
}

static void batch_finished(void *ctx)
{
	struct batch *b = ctx;
	struct records *r = b->records;
	bool failed = b->error.kind != ERR_NONE;

	assert(r->magic == RECORDS_MAGIC);
	unlink_batch(r, b);
	for (struct write *w = b->first; w && !failed; w = w->next)
		apply_to_memory(r, w);
	for (const struct write *w = b->first; w; w = w->next) {
		if (w->done)
			w->done(w->ctx, failed ? &b->error : NULL);
		else if (failed)
			log_error("%s", b->error.text);
	}
	(void)batch_free(b);
}

static void *writer_main(void *arg)
{
	struct records *r = arg;

	for (;;) {
		struct batch *b;
		bool last;

		pthread_mutex_lock(&r->lock);
		while (!r->queued && !r->stop)
			pthread_cond_wait(&r->wake, &r->lock);
		last = !r->queued;
		b = mem_new(struct batch);
		b->records = r;
		b->first = take(r->queued);
		r->queued_end = &r->queued;
		pthread_mutex_unlock(&r->lock);
		if (last) {
			free(b);
			return NULL;
		}
		(void)commit(r, b->first, &b->error);
		pthread_mutex_lock(&r->lock);
		b->next = r->posted;
		r->posted = b;
		pthread_mutex_unlock(&r->lock);
		loop_post(r->loop, batch_finished, b);
	}
}

static int start_writer(struct records *r, struct err *e)
{
	sigset_t all, old;
	int bad;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	bad = pthread_create(&r->writer, NULL, writer_main, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (bad)
		return err_set(e, ERR_SYSTEM, "cannot start the thread that writes '%s': %s",
			       r->file.path, strerror(bad));
	r->writer_runs = true;
	return 0;
}

static void enqueue(struct records *r, struct write *w)
{
	assert(r->magic == RECORDS_MAGIC);
	pthread_mutex_lock(&r->lock);
	*r->queued_end = w;
	r->queued_end = &w->next;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

/* -- the door ---------------------------------------------------------------------------------- */

static int open_file(struct records *r, const char *path, struct err *e)
{
	int bad = database_open(&r->file, path, &schema, e);

	if (bad >= 0)
		bad = load(r, e);
	if (bad >= 0)
		bad = prepare(r, e);
	return bad;
}

int records_open(struct loop *loop, const char *path, struct records **ret, struct err *e)
{
	struct records *r = mem_new(struct records);
	int bad;

	assert(loop && path && ret);
	r->magic = RECORDS_MAGIC;
	r->loop = loop;
	r->queued_end = &r->queued;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	bad = open_file(r, path, e);
	if (bad >= 0)
		bad = start_writer(r, e);
	if (bad < 0) {
		(void)records_close(r);
		return bad;
	}
	*ret = r;
	return 0;
}

struct records *records_close(struct records *r)
{
	if (!r)
		return NULL;
	assert(r->magic == RECORDS_MAGIC);
	if (r->writer_runs) {
		pthread_mutex_lock(&r->lock);
		r->stop = true;
		pthread_cond_signal(&r->wake);
		pthread_mutex_unlock(&r->lock);
		pthread_join(r->writer, NULL);
	}
	while (r->posted) {
		struct batch *b = r->posted;

		r->posted = b->next;
		loop_post_cancel(r->loop, batch_finished, b);
		(void)batch_free(b);
	}
	(void)sqlite3_finalize(r->put);
	(void)sqlite3_finalize(r->remove);
	database_close(&r->file);
	map_each (&r->kinds, k) {
		struct map *m = k->value;

		map_each (m, it)
			free(it->value);
		map_done(m);
		free(m);
	}
	map_done(&r->kinds);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->wake);
	r->magic = 0;
	free(r);
	return NULL;
}

struct str record_get(const struct records *r, const char *kind, const char *key)
{
	const struct map *m = map_get(&r->kinds, kind);
	const struct value *v = m ? map_get(m, key) : NULL;

	assert(r->magic == RECORDS_MAGIC);
	return v ? (struct str){v->p, v->n} : (struct str){0};
}

void record_each(const struct records *r, const char *kind,
		 void (*each)(void *ctx, const char *key, struct str value), void *ctx)
{
	const struct map *m = map_get(&r->kinds, kind);

	assert(r->magic == RECORDS_MAGIC);
	if (!m)
		return;
	map_each (m, it) {
		const struct value *v = it->value;

		each(ctx, it->key, (struct str){v->p, v->n});
	}
}

size_t record_count(const struct records *r, const char *kind)
{
	const struct map *m = map_get(&r->kinds, kind);

	return m ? m->count : 0;
}

static struct write *write_new(enum write_kind what, const char *kind, const char *key,
			       record_done *done, void *ctx)
{
	struct write *w = mem_new(struct write);

	w->what = what;
	w->kind = mem_dup_text(kind);
	w->key = mem_dup_text(key);
	w->done = done;
	w->ctx = ctx;
	return w;
}

void record_put(struct records *r, const char *kind, const char *key, struct str value,
		record_done *done, void *ctx)
{
	struct write *w = write_new(WRITE_PUT, kind, key, done, ctx);

	assert(kind && key);
	assert(value.n <= RECORD_VALUE_MAX);
	w->value = value_of(value.p, value.n);
	enqueue(r, w);
}

void record_delete(struct records *r, const char *kind, const char *key, record_done *done,
		   void *ctx)
{
	assert(kind && key);
	enqueue(r, write_new(WRITE_DELETE, kind, key, done, ctx));
}

void record_barrier(struct records *r, record_done *done, void *ctx)
{
	assert(done);
	enqueue(r, write_new(WRITE_BARRIER, NULL, NULL, done, ctx));
}
