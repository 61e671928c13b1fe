/*
 * Content-addressed blobs: files under <top>/blob/sha256/HEX whose name is the SHA-256 of
 * their bytes.
 *
 * A blob is written to <top>/blob/tmp/ while its digest runs along, then checked, synced and
 * renamed: what stands under its name is whole. Temporary files of a dead process are swept at
 * open. A store may be used from several threads at once; one writer belongs to one thread at
 * a time.
 *
 *	blob_begin(store, &w, e);
 *	blob_write(w, p, n, e) ...
 *	blob_finish(w, "sha256:…" or NULL, digest, e);	verified, still hidden
 *	blob_publish(w, true, e);			synced and visible; w is freed
 *
 * Who publishes many blobs at once syncs the file system once himself and passes sync = false.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/store/digest.h"

struct blob_store;
struct blob_writer;

/* `top` exists; "blob" is made below it. */
int blob_store_open(const char *top, struct blob_store **ret, struct err *e) must_use;
struct blob_store *blob_store_free(struct blob_store *s); /* NULL allowed; returns NULL */

int blob_begin(struct blob_store *s, struct blob_writer **ret, struct err *e) must_use;
int blob_write(struct blob_writer *w, const void *p, size_t n, struct err *e) must_use;
/*
 * In two steps, for writers that must not hash where they write: append puts bytes in the file
 * only, hash reads what is not hashed yet back from the page cache (on any one thread at a time,
 * also while appends go on up to `upto`).
 */
int blob_append(struct blob_writer *w, const void *p, size_t n, struct err *e) must_use;
int blob_hash(struct blob_writer *w, uint64_t upto, struct err *e) must_use;

/* Somebody else wrote to blob_writer_fd: take its size as what was written. */
int blob_filled(struct blob_writer *w, struct err *e) must_use;
/* A writer around a whole file on the same file system, which keeps its own name as well. */
int blob_adopt(struct blob_store *s, int fd, struct blob_writer **ret, struct err *e) must_use;

int blob_writer_fd(const struct blob_writer *w); /* borrowed: readable and writable */
uint64_t blob_written(const struct blob_writer *w);
/* Hashes the rest, compares with `expect` (NULL: anything). ERR_INVALID: digest mismatch. */
int blob_finish(struct blob_writer *w, const char *expect, char ret[DIGEST_ROOM],
		struct err *e) must_use;
int blob_publish(struct blob_writer *w, bool sync,
		 struct err *e) must_use;	       /* frees w in any case */
struct blob_writer *blob_abort(struct blob_writer *w); /* NULL allowed; returns NULL */
own_define(blob_writer, struct blob_writer *, (void)blob_abort);
#define auto_blob_writer own_auto(blob_writer)

/* Small whole blobs (configs, manifests): synced. */
int blob_put(struct blob_store *s, struct str bytes, char ret[DIGEST_ROOM], struct err *e) must_use;
/* Reads at most `max` bytes and verifies them. */
int blob_get(struct blob_store *s, const char *digest, size_t max, struct strbuf *ret,
	     struct err *e) must_use;

/* ERR_NOT_FOUND when absent; size may be NULL. */
int blob_open(struct blob_store *s, const char *digest, int *ret_fd, uint64_t *ret_size,
	      struct err *e) must_use;
bool blob_has(struct blob_store *s, const char *digest, uint64_t *ret_size);
int blob_verify(struct blob_store *s, const char *digest,
		struct err *e) must_use; /* reads it all */
int blob_delete(struct blob_store *s, const char *digest,
		struct err *e) must_use; /* absent: good */
/* Calls fn for each published blob; fn may delete it. */
int blob_each(struct blob_store *s, void (*fn)(void *arg, const char *digest, uint64_t size_bytes),
	      void *arg, struct err *e) must_use;
int blob_sync_names(struct blob_store *s, struct err *e) must_use; /* makes renames durable */

/* "no space left: …" with the path and what is free there, from errno of a failed write below fd.
 */
int blob_write_err(struct err *e, int fd, const char *path);
