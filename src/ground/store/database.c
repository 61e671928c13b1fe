/* One SQLite file: see database.h. */
#include "ground/store/database.h"

#include <assert.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"

int database_error(const struct database *d, struct err *e, const char *doing)
{
	int code = sqlite3_extended_errcode(d->db);
	enum err_kind kind = ERR_SYSTEM;

	if ((code & 0xff) == SQLITE_FULL)
		kind = ERR_EXHAUSTED;
	else if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB)
		kind = ERR_INVALID;
	else if ((code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED)
		kind = ERR_BUSY;
	if (kind == ERR_EXHAUSTED)
		return err_set(e, kind, "%s '%s': the disk is full; free some space there", doing,
			       d->path);
	if (kind == ERR_INVALID)
		return err_set(
			e, kind,
			"%s '%s': the file is damaged (%s); restore it from a backup, or move it "
			"away to begin with an empty state",
			doing, d->path, sqlite3_errmsg(d->db));
	return err_set(e, kind, "%s '%s': %s", doing, d->path, sqlite3_errmsg(d->db));
}

int database_run(const struct database *d, const char *sql, const char *doing, struct err *e)
{
	if (sqlite3_exec(d->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return database_error(d, e, doing);
	return 0;
}

int database_ask(const struct database *d, const char *sql, int64_t *ret, char **ret_text,
		 struct err *e)
{
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(d->db, sql, -1, &s, NULL) != SQLITE_OK)
		return database_error(d, e, "cannot read");
	if (sqlite3_step(s) != SQLITE_ROW) {
		(void)sqlite3_finalize(s);
		return database_error(d, e, "cannot read");
	}
	if (ret)
		*ret = sqlite3_column_int64(s, 0);
	if (ret_text)
		*ret_text = mem_dup_text((const char *)sqlite3_column_text(s, 0));
	(void)sqlite3_finalize(s);
	return 0;
}

int database_prepare(const struct database *d, const char *sql, sqlite3_stmt **ret, struct err *e)
{
	if (sqlite3_prepare_v3(d->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) != SQLITE_OK)
		return database_error(d, e, "cannot use");
	return 0;
}

int database_step(const struct database *d, sqlite3_stmt *s, struct err *e)
{
	int step = sqlite3_step(s);

	if (step != SQLITE_DONE) {
		int bad = database_error(d, e, "cannot write to");

		(void)sqlite3_reset(s);
		return bad;
	}
	(void)sqlite3_reset(s);
	(void)sqlite3_clear_bindings(s);
	return 0;
}

static int check_integrity(const struct database *d, struct err *e)
{
	auto_free char *verdict = NULL;
	int bad = database_ask(d, "PRAGMA integrity_check(1)", NULL, &verdict, e);

	if (bad < 0)
		return bad;
	if (!text_eq(verdict, "ok"))
		return err_set(
			e, ERR_INVALID,
			"cannot open '%s': the file is damaged (%s); restore it from a backup, or "
			"move it away to begin with an empty state",
			d->path, verdict);
	return 0;
}

static int check_schema(const struct database *d, const struct database_schema *schema,
			struct err *e)
{
	auto_free char *sql = NULL;
	int64_t version = 0, application = 0;
	int bad = database_ask(d, "PRAGMA user_version", &version, NULL, e);

	if (bad >= 0)
		bad = database_ask(d, "PRAGMA application_id", &application, NULL, e);
	if (bad < 0)
		return bad;
	if (application && application != schema->application)
		return err_set(e, ERR_INVALID,
			       "cannot open '%s': it is a database of another program", d->path);
	if (version > schema->version)
		return err_set(
			e, ERR_UNSUPPORTED,
			"cannot open '%s': a newer release wrote it (schema %lld, this one knows "
			"%d); use that release",
			d->path, (long long)version, schema->version);
	if (version == schema->version)
		return 0;
	sql = mem_printf(
		"BEGIN IMMEDIATE;%s;PRAGMA application_id=%d;PRAGMA user_version=%d;COMMIT",
		schema->create, schema->application, schema->version);
	return database_run(d, sql, "cannot make the tables of", e);
}

int database_open(struct database *d, const char *path, const struct database_schema *schema,
		  struct err *e)
{
	auto_free char *sql = NULL;
	int bad;

	assert(!d->db && !d->path);
	d->path = mem_dup_text(path);
	if (sqlite3_open_v2(path, &d->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return database_error(d, e, "cannot open");
	(void)sqlite3_busy_timeout(d->db, 2000);
	bad = check_integrity(d, e);
	sql = mem_printf("PRAGMA page_size=%d; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			 " PRAGMA cache_size=-512",
			 schema->page_bytes);
	if (bad >= 0)
		bad = database_run(d, sql, "cannot open", e);
	return bad < 0 ? bad : check_schema(d, schema, e);
}

void database_close(struct database *d)
{
	(void)sqlite3_close(d->db);
	free(d->path);
	*d = (struct database){0};
}
