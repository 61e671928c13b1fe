/*
 * The inside of revisioned keys. Three parts: what is committed, in memory (keys_memory.c: an
 * ordered index of keys, their versions, and the events of the past); what is on disk (keys_disk.c:
 * one file, one transaction per batch); and what is between them (keys.c: writes on their way,
 * watches).
 */
#pragma once

#include <pthread.h>

#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/store/database.h"
#include "ground/store/keys.h"

#define KEY_VALUE_MAGIC 0x4b56414cu
#define KEYS_MAGIC	0x4b455953u
#define KEY_LEVELS	16

/* -- memory ------------------------------------------------------------------------------------ */

/* One version of a key that is committed; v NULL: it was deleted at this revision. */
struct version {
	const struct key_value *v;
	uint64_t revision;
	struct version *older; /* as long as the past reaches */
};

/* A key in the skip list. One without a version is only there while the past names it. */
struct key_node {
	struct version *newest;
	const char *key; /* behind the links */
	int levels;
	struct key_node *next[];
};

struct key_past {
	uint64_t revision;
	struct key_node *node;
	struct version *version;
	size_t bytes; /* of the version that it replaced */
};

struct key_index {
	struct key_node *head;
	uint64_t draw; /* of the levels */
	size_t count;
	/* the past: a ring of events in the order of revisions */
	struct key_past *past;
	size_t past_room, past_first, past_n, past_bytes;
	uint64_t compacted;
};

void key_index_init(struct key_index *x);
void key_index_done(struct key_index *x);
/* The first node whose key is not below `key`; NULL. */
struct key_node *key_index_at(const struct key_index *x, const char *key);
struct key_node *key_index_find(const struct key_index *x, const char *key); /* exactly; NULL */
struct key_node *key_index_make(struct key_index *x, const char *key);
static inline struct key_node *key_index_next(const struct key_node *n)
{
	return n->next[0];
}
/* A new newest version (v taken, NULL: deleted), remembered as an event. */
void key_index_apply(struct key_index *x, struct key_node *n, const struct key_value *v,
		     uint64_t revision);
/* The i-th event of the past that is kept; what it says of the key. */
struct key_event key_index_event(const struct key_index *x, size_t i);
/* The first event behind a revision: its i; past_n when there is none. */
size_t key_index_after(const struct key_index *x, uint64_t revision);
/* Forgets the oldest event. */
void key_index_forget(struct key_index *x);

/* -- disk -------------------------------------------------------------------------------------- */

struct key_disk {
	struct database file;
	sqlite3_stmt *put, *remove, *past, *forget, *counter, *unkept;
	int log_pages; /* of the write-ahead log, that are not known to be in the file */
};

struct key_write {
	struct key_write *next;
	char *key;
	const struct key_value *v;   /* NULL: a delete */
	const struct key_value *old; /* what it replaces; NULL: nothing */
	uint64_t revision;
	bool overwrite;
	keys_done *done;
	void *ctx;
};

int disk_open(struct key_disk *d, const char *path, struct err *e) must_use;
void disk_close(struct key_disk *d);
/* Everything that is kept, into the index; revisions and prefixes without history too. */
int disk_load(struct key_disk *d, struct keys *k, struct err *e) must_use;
/* One transaction. Forgets the past up to `compacted`, a few rows at a time. */
int disk_commit(struct key_disk *d, const struct key_write *first, uint64_t revision,
		uint64_t compacted, struct err *e) must_use;
/* How much of a key names its kind: "apps/deployments/". */
size_t key_kind_bytes(const char *key);
/* For when nobody waits: moves a log that became long into the file. */
void disk_settle(struct key_disk *d);

/* -- between ----------------------------------------------------------------------------------- */

struct key_batch {
	struct keys *keys;
	struct key_write *first;
	uint64_t revision, compacted;
	struct err error;
};

struct keys_watch {
	struct keys *keys;
	struct list link;
	char *prefix;
	size_t prefix_n;
	uint64_t told;	/* up to this revision */
	keys_event *fn; /* NULL: it ended while it was being told */
	void *ctx;
};

struct keys {
	uint32_t magic;
	struct keys_options o;
	struct loop *loop;
	const struct world *world;
	struct key_index index;
	struct key_disk disk;
	uint64_t revision; /* committed and applied */
	uint64_t counter;  /* given to the newest write */
	uint64_t loaded;   /* the revision at open: nothing before it is known of `unkept` */
	char **unkept;	   /* prefixes of keys that leave no history on disk */
	/* on their way */
	struct key_write *queued, **queued_end;
	struct map newest; /* key -> the last write of it that is not committed */
	bool writing;	   /* the writer has a batch */
	struct list watches, waiters;
	int telling; /* watches are being walked */
	struct list expiring;
	struct loop_timer *expiry, *patience;
	/* shared with the writer */
	pthread_t writer;
	bool writer_runs;
	pthread_mutex_t lock; /* rank 1: guards what follows */
	pthread_cond_t wake;
	struct key_batch *handed, *finished;
	bool stop;
};

/* keys_expiry.c: values that end by themselves. */
void expiry_note(struct keys *k, const struct key_value *v);
void expiry_due(void *keys);
void expiry_done(struct keys *k);
