/*
 * A database: one SQLite file as this room uses it (WAL, full sync, checked at open), and its
 * errors in words that say what to do. For record.c and keys.c; nobody outside this room sees
 * SQLite.
 */
#pragma once

#include <sqlite3.h>
#include <stdint.h>

#include "ground/base/err.h"

struct database {
	sqlite3 *db;
	char *path;
};

struct database_schema {
	int application; /* application_id in the file's header, so that no other file is taken */
	int version;
	int page_bytes;	    /* of a new file; 0: SQLite's own choice */
	const char *create; /* SQL that makes the tables in an empty file */
};

/*
 * Opens or makes the file. ERR_INVALID: it is damaged, or of another program; ERR_UNSUPPORTED: a
 * newer release wrote it. *d is to be closed in every case.
 */
int database_open(struct database *d, const char *path, const struct database_schema *schema,
		  struct err *e) must_use;
void database_close(struct database *d);

/* What SQLite said last, as an error: a full disk is ERR_EXHAUSTED, damage ERR_INVALID. */
int database_error(const struct database *d, struct err *e, const char *doing);

int database_run(const struct database *d, const char *sql, const char *doing,
		 struct err *e) must_use;
/* The single number or text (the caller's) of a question; either may be NULL. */
int database_ask(const struct database *d, const char *sql, int64_t *ret, char **ret_text,
		 struct err *e) must_use;
/* A statement that is used again and again; finalized by its owner. */
int database_prepare(const struct database *d, const char *sql, sqlite3_stmt **ret,
		     struct err *e) must_use;
/* Runs a statement that gives no row, and makes it ready for the next time. */
int database_step(const struct database *d, sqlite3_stmt *s, struct err *e) must_use;
