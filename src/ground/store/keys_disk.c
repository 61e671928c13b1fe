/*
 * Keys on disk. `live` holds what is; `past` holds, for each event that is remembered, what it
 * replaced: row R says which key changed at revision R and what it was before (nothing, when it
 * was made). What a key became at R is what the next row of that key replaced, or what is live. So
 * a value is written once more only when it is replaced, and the past is deleted from its old end.
 *
 * A commit appends to SQLite's write-ahead log and syncs that. The log is moved into the file when
 * nobody waits for a commit, by a commit itself only when it has become very long.
 */
#include <assert.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys_priv.h"

#define APPLICATION_ID 0x48756c6b /* "Hulk" in the file's header: Hull's keys */
#define FORGET_ROWS    256	  /* of the past, with one batch */
#define PAGE_BYTES     (16 << 10) /* several objects each: 4 KiB would hold a part of one */
#define LOG_PAGES      256	  /* of the write-ahead log: enough to be moved at leisure */
#define LOG_PAGES_MOST 2048	  /* not at leisure any more */

static const struct database_schema schema = {
	.application = APPLICATION_ID,
	.version = KEYS_SCHEMA,
	.page_bytes = PAGE_BYTES,
	.create = "CREATE TABLE live(key TEXT PRIMARY KEY, value BLOB NOT NULL,"
		  " created INTEGER NOT NULL, modified INTEGER NOT NULL, expires INTEGER NOT NULL)"
		  " WITHOUT ROWID;"
		  "CREATE TABLE past(revision INTEGER PRIMARY KEY, key TEXT NOT NULL,"
		  " deleted INTEGER NOT NULL, value BLOB, created INTEGER, modified INTEGER);"
		  "CREATE TABLE counter(one INTEGER PRIMARY KEY CHECK(one = 1),"
		  " revision INTEGER NOT NULL, compacted INTEGER NOT NULL);"
		  "INSERT INTO counter VALUES(1, 0, 0);"
		  "CREATE TABLE unkept(prefix TEXT PRIMARY KEY) WITHOUT ROWID",
};

static int log_grew(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct key_disk *d = arg;

	(void)db;
	(void)name;
	d->log_pages = pages;
	return SQLITE_OK;
}

int disk_open(struct key_disk *d, const char *path, struct err *e)
{
	static const char forget[] = "DELETE FROM past WHERE revision IN (SELECT revision FROM past"
				     " WHERE revision <= ? ORDER BY revision LIMIT ?)";
	const struct {
		const char *sql;
		sqlite3_stmt **to;
	} rows[] = {
		{"INSERT OR REPLACE INTO live VALUES(?,?,?,?,?)", &d->put},
		{"DELETE FROM live WHERE key = ?", &d->remove},
		{"INSERT INTO past VALUES(?,?,?,?,?,?)", &d->past},
		{forget, &d->forget},
		{"UPDATE counter SET revision = ?, compacted = ?", &d->counter},
		{"INSERT OR IGNORE INTO unkept VALUES(?)", &d->unkept},
	};
	int bad = database_open(&d->file, path, &schema, e);

	for (size_t i = 0; i < array_len(rows) && bad >= 0; i++)
		bad = database_prepare(&d->file, rows[i].sql, rows[i].to, e);
	if (bad >= 0) /* instead of the hook that moves the log in the middle of a commit */
		(void)sqlite3_wal_hook(d->file.db, log_grew, d);
	return bad;
}

void disk_close(struct key_disk *d)
{
	sqlite3_stmt *const all[] = {d->put, d->remove, d->past, d->forget, d->counter, d->unkept};

	for (size_t i = 0; i < array_len(all); i++)
		(void)sqlite3_finalize(all[i]);
	database_close(&d->file);
}

/* -- reading ----------------------------------------------------------------------------------- */

static struct key_value *read_value(sqlite3_stmt *s, const char *key, int value, int created,
				    int modified, int64_t expires)
{
	struct str bytes = {sqlite3_column_blob(s, value), (size_t)sqlite3_column_bytes(s, value)};
	struct key_value *v = key_value_new(key, bytes, NULL, expires);

	v->created = (uint64_t)sqlite3_column_int64(s, created);
	v->modified = (uint64_t)sqlite3_column_int64(s, modified);
	return v;
}

static void index_value(const struct keys *k, struct key_value *v)
{
	if (!k->o.index)
		return;
	v->index = k->o.index(k->o.ctx, v);
	v->index_free = k->o.index_free;
}

/* A version that is not an event itself: what a key was before the past begins. */
static void set_oldest(struct key_node *n, const struct key_value *v)
{
	struct version *version = mem_new(struct version);

	version->v = v;
	version->revision = v->modified;
	version->older = n->newest;
	n->newest = version;
}

/* One event. What the key became is not known yet: the next row of the key, or `live`, says it. */
static void load_event(struct keys *k, sqlite3_stmt *s)
{
	const char *key = (const char *)sqlite3_column_text(s, 1);
	struct key_node *n = key_index_make(&k->index, key);

	if (sqlite3_column_type(s, 3) != SQLITE_NULL) {
		struct key_value *old = read_value(s, key, 3, 4, 5, 0);

		index_value(k, old);
		if (!n->newest)
			set_oldest(n, old);
		else
			n->newest->v = old;
	}
	key_index_apply(&k->index, n, NULL, (uint64_t)sqlite3_column_int64(s, 0));
}

static void load_live(struct keys *k, sqlite3_stmt *s)
{
	const char *key = (const char *)sqlite3_column_text(s, 0);
	struct key_value *v = read_value(s, key, 1, 2, 3, sqlite3_column_int64(s, 4));
	struct key_node *n = key_index_make(&k->index, key);

	index_value(k, v);
	if (n->newest && n->newest->revision == v->modified)
		n->newest->v = v;
	else
		set_oldest(n, v);
	k->index.count++;
	expiry_note(k, v);
}

static void load_unkept(struct keys *k, sqlite3_stmt *s)
{
	mem_append_text(&k->unkept, (const char *)sqlite3_column_text(s, 0));
}

static int load_rows(struct keys *k, const char *sql, void (*row)(struct keys *k, sqlite3_stmt *s),
		     struct err *e)
{
	struct database *d = &k->disk.file;
	sqlite3_stmt *s = NULL;
	int step;

	if (sqlite3_prepare_v2(d->db, sql, -1, &s, NULL) != SQLITE_OK)
		return database_error(d, e, "cannot read");
	while ((step = sqlite3_step(s)) == SQLITE_ROW)
		row(k, s);
	(void)sqlite3_finalize(s);
	return step == SQLITE_DONE ? 0 : database_error(d, e, "cannot read");
}

int disk_load(struct key_disk *d, struct keys *k, struct err *e)
{
	int64_t revision = 0, compacted = 0;
	int bad = database_ask(&d->file, "SELECT revision FROM counter", &revision, NULL, e);

	if (bad >= 0)
		bad = database_ask(&d->file, "SELECT compacted FROM counter", &compacted, NULL, e);
	if (bad >= 0)
		bad = load_rows(k,
				"SELECT revision, key, deleted, value, created, modified FROM past"
				" WHERE revision > (SELECT compacted FROM counter)"
				" ORDER BY revision",
				load_event, e);
	k->index.count = 0; /* events that are not complete were counted as deletions */
	if (bad >= 0)
		bad = load_rows(k, "SELECT key, value, created, modified, expires FROM live",
				load_live, e);
	if (bad >= 0)
		bad = load_rows(k, "SELECT prefix FROM unkept", load_unkept, e);
	k->revision = k->counter = k->loaded = (uint64_t)revision;
	k->index.compacted = (uint64_t)compacted;
	return bad;
}

/* -- writing ----------------------------------------------------------------------------------- */

static int write_past(struct key_disk *d, const struct key_write *w, struct err *e)
{
	sqlite3_stmt *s = d->past;

	(void)sqlite3_bind_int64(s, 1, (int64_t)w->revision);
	(void)sqlite3_bind_text(s, 2, w->key, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int(s, 3, w->v == NULL);
	if (w->old) {
		(void)sqlite3_bind_blob64(s, 4, w->old->bytes.p, w->old->bytes.n, SQLITE_STATIC);
		(void)sqlite3_bind_int64(s, 5, (int64_t)w->old->created);
		(void)sqlite3_bind_int64(s, 6, (int64_t)w->old->modified);
	}
	return database_step(&d->file, s, e);
}

static int write_one(struct key_disk *d, const struct key_write *w, struct err *e)
{
	sqlite3_stmt *s = w->v ? d->put : d->remove;

	(void)sqlite3_bind_text(s, 1, w->key, -1, SQLITE_STATIC);
	if (w->v) {
		(void)sqlite3_bind_blob64(s, 2, w->v->bytes.p, w->v->bytes.n, SQLITE_STATIC);
		(void)sqlite3_bind_int64(s, 3, (int64_t)w->v->created);
		(void)sqlite3_bind_int64(s, 4, (int64_t)w->v->modified);
		(void)sqlite3_bind_int64(s, 5, w->v->expires_ns);
	}
	if (database_step(&d->file, s, e) < 0)
		return -(int)e->kind;
	if (!w->overwrite)
		return write_past(d, w, e);
	return 0;
}

/* "core/events/": the first two parts of a key. */
size_t key_kind_bytes(const char *key)
{
	const char *slash = strchr(key, '/');

	slash = slash ? strchr(slash + 1, '/') : NULL;
	return slash ? (size_t)(slash - key) + 1 : strlen(key);
}

static int write_unkept(struct key_disk *d, const struct key_write *w, struct err *e)
{
	(void)sqlite3_bind_text(d->unkept, 1, w->key, (int)key_kind_bytes(w->key), SQLITE_STATIC);
	return database_step(&d->file, d->unkept, e);
}

static int write_counter(struct key_disk *d, uint64_t revision, uint64_t compacted, struct err *e)
{
	(void)sqlite3_bind_int64(d->forget, 1, (int64_t)compacted);
	(void)sqlite3_bind_int(d->forget, 2, FORGET_ROWS);
	if (database_step(&d->file, d->forget, e) < 0)
		return -(int)e->kind;
	(void)sqlite3_bind_int64(d->counter, 1, (int64_t)revision);
	(void)sqlite3_bind_int64(d->counter, 2, (int64_t)compacted);
	return database_step(&d->file, d->counter, e);
}

/* What stays in the log, because somebody reads it or the disk is full, is moved another time. */
static void move_log(struct key_disk *d)
{
	(void)sqlite3_wal_checkpoint_v2(d->file.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	d->log_pages = 0;
}

int disk_commit(struct key_disk *d, const struct key_write *first, uint64_t revision,
		uint64_t compacted, struct err *e)
{
	int bad = database_run(&d->file, "BEGIN IMMEDIATE", "cannot write to", e);

	if (bad < 0)
		return bad;
	for (const struct key_write *w = first; w && bad >= 0; w = w->next) {
		bad = write_one(d, w, e);
		if (bad >= 0 && w->overwrite)
			bad = write_unkept(d, w, e);
	}
	if (bad >= 0)
		bad = write_counter(d, revision, compacted, e);
	if (bad >= 0)
		bad = database_run(&d->file, "COMMIT", "cannot write to", e);
	if (bad < 0 && !sqlite3_get_autocommit(d->file.db))
		(void)sqlite3_exec(d->file.db, "ROLLBACK", NULL, NULL, NULL);
	if (bad >= 0 && d->log_pages >= LOG_PAGES_MOST)
		move_log(d);
	return bad;
}

void disk_settle(struct key_disk *d)
{
	if (d->log_pages >= LOG_PAGES)
		move_log(d);
}
