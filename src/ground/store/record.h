/*
 * Records: durable values under (kind, key), for what must survive the death of a daemon.
 *
 * All committed values are held in memory, so that reading is a look-up. Writing is asynchronous: a
 * put or delete is queued; one writer thread commits everything that was queued since its last
 * commit as one SQLite transaction with full sync, and only then are the callbacks called, on the
 * loop, in the order of the calls. Readers see a value when its callback is due, never before: what
 * is read is durable. Writes of one record keep their order. A batch that fails fails all its
 * members, in memory and on disk.
 *
 * One process has a file open at a time (the caller holds a lock). Values are bytes; their version
 * is the caller's. Limits: RECORD_VALUE_MAX.
 *
 *	records_open(loop, "/var/lib/hull/hull.db", &r, e);
 *	record_put(r, "container", id, value, saved, ctx);
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

#define RECORD_VALUE_MAX (16u << 20)
#define RECORD_SCHEMA	 1 /* of the file; older ones are upgraded at open, newer ones refused */

struct loop;
struct records;

typedef void record_done(void *ctx, const struct err *e);

/*
 * Opens (or makes) the file and loads it. ERR_INVALID: it is damaged or no record file;
 * ERR_UNSUPPORTED: a newer release wrote it. The message says what to do.
 */
int records_open(struct loop *loop, const char *path, struct records **ret, struct err *e) must_use;

/* Commits what is queued, calls back nobody, closes. NULL allowed; returns NULL. */
struct records *records_close(struct records *r);

/* The committed value; p NULL when there is none. Valid until the next turn of the loop. */
struct str record_get(const struct records *r, const char *kind, const char *key);

/* Every committed record of a kind; order of first writing. each() must not write. */
void record_each(const struct records *r, const char *kind,
		 void (*each)(void *ctx, const char *key, struct str value), void *ctx);
size_t record_count(const struct records *r, const char *kind);

/* The value is copied. done may be NULL: nobody waits. */
void record_put(struct records *r, const char *kind, const char *key, struct str value,
		record_done *done, void *ctx);
/* Deleting what is not there succeeds. */
void record_delete(struct records *r, const char *kind, const char *key, record_done *done,
		   void *ctx);

/* done() when everything queued before it is durable (or failed: each was told its own error). */
void record_barrier(struct records *r, record_done *done, void *ctx);
