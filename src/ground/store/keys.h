/*
 * Revisioned keys: the state of a cluster as ordered keys with immutable values, one counter of
 * revisions for all, and watches that miss nothing.
 *
 * All live values and the recent past are held in memory, so that reading is a look-up; durability
 * is behind the door (SQLite today, etcd next: nothing here says which). Writing is
 * compare-and-swap and asynchronous: a write is checked against what is committed and what is still
 * on its way, gets the next revision, and is committed with everything that one turn of the loop
 * gathered, in one transaction with full sync. Only then is it applied to memory, told to watchers
 * in the order of revisions, and acknowledged, in this order. Readers and watchers never see what
 * is not durable. When a batch fails, all that was built on it fails with it, and nothing of it was
 * ever seen.
 *
 * Keys written with KEYS_OVERWRITE (leases, events) take revisions from the same counter and commit
 * in the same batches, but leave no history on disk. Keys may expire: they are deleted like by a
 * caller. The past is compacted by itself, a little in each batch, never in one long transaction. A
 * watch or list that asks for a past that is gone gets ERR_GONE.
 *
 * Loop thread only, but for key_value_ref and _unref. Callbacks never come from inside the call.
 *
 *	keys_put(k, key_value_new("pods/default/web", bytes, NULL, 0), 0, 0, made, ctx);
 *	keys_watch(k, "pods/", keys_revision(k), changed, ctx, &w, e);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"
#include "ground/base/world.h"

#define KEYS_KEY_MAX   1024u	  /* bytes of a key; no NUL inside */
#define KEYS_VALUE_MAX (3u << 20) /* bytes of a value: ERR_EXHAUSTED above */
#define KEYS_SCHEMA    1	  /* of the file; older ones are upgraded at open, newer refused */

struct loop;
struct keys;
struct keys_watch;

/* One version of one key. Immutable once it was put, but for `index`; shared by counting. */
struct key_value {
	uint32_t magic;
	unsigned int refs;	    /* atomic */
	uint64_t created, modified; /* revisions; 0 before the put */
	int64_t expires_ns;	    /* wall clock; 0: never */
	void *index; /* what the owner of the keys knows about it; see keys_options */
	void (*index_free)(void *index);
	const char *key;
	struct str bytes; /* NUL behind them */
};

/* Copies key and bytes. index: what keys_options.index would make of it, NULL: not made yet. */
struct key_value *key_value_new(const char *key, struct str bytes, void *index, int64_t expires_ns);
const struct key_value *key_value_ref(const struct key_value *v);
const struct key_value *key_value_unref(const struct key_value *v); /* NULL allowed; returns NULL */

struct keys_options {
	struct loop *loop;
	const struct world *world; /* NULL: the real one */
	const char *path;	   /* of the file; made where missing */
	size_t past_events;	   /* how many events of the past are kept; 0: 10,000 */
	size_t past_bytes;	   /* and how many bytes of values at most; 0: 16 MiB */
	/*
	 * Called for each value that is loaded or put without an index: what the owner wants to
	 * find again at v->index (labels, owners). May be NULL. `v` outlives its index.
	 */
	void *(*index)(void *ctx, const struct key_value *v);
	void (*index_free)(void *index);
	void *ctx;
};

/*
 * Opens (or makes) the file, checks its integrity, loads it. ERR_INVALID: damaged or of another
 * program; ERR_UNSUPPORTED: a newer release wrote it. The message says what to do.
 */
int keys_open(const struct keys_options *o, struct keys **ret, struct err *e) must_use;
/* Commits what is queued, calls back nobody, ends every watch silently. Returns NULL. */
struct keys *keys_close(struct keys *k);

/* -- writing ----------------------------------------------------------------------------------- */

enum { KEYS_OVERWRITE = 1u << 0 }; /* leaves no history on disk; the same for all puts of one key */

/* v: what was put, or the last value of what was deleted; borrowed; NULL with an error. */
typedef void keys_done(void *ctx, const struct key_value *v, uint64_t revision,
		       const struct err *e);

/*
 * Puts v (taken, also on failure). expect 0: the key must be absent (ERR_EXISTS); else it must be
 * at exactly this revision (ERR_CONFLICT; ERR_NOT_FOUND when it is gone), what is on its way
 * counted in. v->created follows from the old value. done may be NULL.
 */
void keys_put(struct keys *k, struct key_value *v, uint64_t expect, unsigned int flags,
	      keys_done *done, void *ctx);
void keys_delete(struct keys *k, const char *key, uint64_t expect, keys_done *done, void *ctx);

/* -- reading ----------------------------------------------------------------------------------- */

/* The revision up to which everything is committed and applied. */
uint64_t keys_revision(const struct keys *k);

/*
 * done(ctx, NULL, revision, e) once reads answer at least as of `at_least`; 0: as of the latest
 * write that anybody was told of. Without waiting where memory is the truth already (then still not
 * from inside). ERR_TIMEOUT: the revision lies in the future and did not come.
 */
void keys_fresh(struct keys *k, uint64_t at_least, keys_done *done, void *ctx);

const struct key_value *keys_get(const struct keys *k, const char *key); /* borrowed; NULL */
/*
 * The newest version, one that is on its way counted in: what the next write builds on. Its
 * revision is that of the put, and it must not be shown to anybody before it is committed.
 */
const struct key_value *keys_newest(const struct keys *k, const char *key);

/*
 * Every key that begins with prefix, in order, as of `revision` (0: now), behind the key `after`
 * (NULL: from the first); until each() answers false. ERR_GONE: that past is compacted.
 * ERR_INVALID: the revision lies in the future. each() may write and watch.
 */
int keys_each(const struct keys *k, const char *prefix, const char *after, uint64_t revision,
	      bool (*each)(void *ctx, const struct key_value *v), void *ctx,
	      struct err *e) must_use;
size_t keys_count(const struct keys *k, const char *prefix); /* now; O(log n) or O(matches) */

/* -- watching ---------------------------------------------------------------------------------- */

enum key_event_type { KEY_ADDED, KEY_MODIFIED, KEY_DELETED };

struct key_event {
	enum key_event_type type;
	uint64_t revision;
	const struct key_value *now;	/* NULL when deleted */
	const struct key_value *before; /* NULL when added */
};
typedef void keys_event(void *ctx, const struct key_event *v);

/*
 * Tells every event behind revision `from` on keys that begin with prefix, each once, in order;
 * what is past already first. An event is told before its writer is acknowledged.
 * ERR_GONE: that past is compacted. ERR_INVALID: `from` lies in the future.
 */
int keys_watch(struct keys *k, const char *prefix, uint64_t from, keys_event *fn, void *ctx,
	       struct keys_watch **ret, struct err *e) must_use;
struct keys_watch *keys_unwatch(struct keys_watch *w); /* also from its callback; returns NULL */

/* -- keeping ----------------------------------------------------------------------------------- */

/* Forgets the past before `revision` (in memory at once, on disk bit by bit). */
void keys_compact(struct keys *k, uint64_t revision);
/* The oldest revision that a watch may still begin from. */
uint64_t keys_compacted(const struct keys *k);

/*
 * A consistent copy of everything committed, while writes go on, synced; done(ctx, NULL, rev,
 * e).
 */
void keys_backup(struct keys *k, const char *path, keys_done *done, void *ctx);
