/*
 * Inside of virt/image: the store, its records, tasks and the pieces that tasks are made of.
 * Everything is for the loop's thread; jobs get what they need handed over.
 */
#pragma once

#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/store/blob.h"
#include "ground/store/digest.h"
#include "ground/wire/loop.h"
#include "virt/image/image.h"
#include "virt/image/manifest.h"
#include "virt/image/reference.h"
#include "virt/image/unpack.h"

struct http_client;
struct registry_settings;

/* ---- Records (index.c) ---- */

struct index_layer { /* how one layer of one image is kept for push */
	char *blob;  /* digest of the compressed (or plain) blob; NULL: none is kept */
	char *media_type;
	int64_t size_bytes;
};

struct index_image {
	struct image *image;
	struct index_layer *layers; /* image->layers_n */
	char *manifest;		    /* digest of its manifest blob, NULL: none is kept */
	unsigned int holds;
	bool removed; /* deleted while held: no name finds it */
};

struct index_name { /* one reference: key is "OWNER\tFULL" */
	char *full;
	enum image_owner owner;
	char id[DIGEST_ROOM];
};

struct index_layer_dir { /* one unpacked layer on disk */
	char diff_id[DIGEST_ROOM];
	int64_t bytes;
	unsigned int pins; /* holds and tasks */
};

struct image_store {
	char *root;
	struct loop *loop;
	const struct world *world;
	char *unpack_program;
	const char *architecture;
	unsigned int layers_at_once, layers_busy;
	struct unpack_limits limits;
	int root_fd, image_fd, layer_fd; /* <root>, <root>/image, <root>/layer */
	struct blob_store *blobs;
	struct http_client *http;
	struct registry_settings *settings;
	struct map images;     /* id → struct index_image */
	struct map names;      /* key → struct index_name */
	struct map layers;     /* diff id → struct index_layer_dir */
	struct map works;      /* diff id → struct layer_work under way */
	struct map blob_pins;  /* digest → count as pointer */
	struct list waiting;   /* layer works waiting for a free place */
	struct list finishing; /* layer works waiting for the next sync */
	struct list tasks, holds, children;
	bool syncing, closing;
	unsigned int failing;  /* layer works on their way to FAILED */
	unsigned int incoming; /* jobs that publish blobs nobody has pinned yet: none is swept */
	int overlay;	       /* -1 not probed, 0 no, 1 yes */
};

int index_load(struct image_store *s, struct err *e) must_use;
/* Writes all records at once, atomically and durably. */
int index_save(struct image_store *s, struct err *e) must_use;
void index_done(struct image_store *s);
struct index_image *index_image(struct image_store *s, const char *id);

/*
 * Records an image whose config and layers are there, and points names at it; durable on return.
 * `layers` is taken over member by member. full names may be NULL.
 */
struct index_add {
	struct image *image; /* a reference is taken */
	struct index_layer *layers;
	const char *manifest;
	const char *names[4]; /* full references, NULL-terminated */
	enum image_owner owner;
};
int index_add(struct image_store *s, const struct index_add *add, bool *ret_new,
	      struct err *e) must_use;
void index_forget(struct image_store *s,
		  const char *id); /* drops the image's entry, names excepted */
const char *image_holder(struct image_store *s, const char *id); /* who holds it, for messages */
/* "…tar+gzip" of OCI for any media type a layer came with. */
const char *index_oci_layer_type(const char *media_type);
void index_layer_done(struct index_layer *l);

void index_pin_blob(struct image_store *s, const char *digest, int by);
/* The unpacked layer, or NULL. */
struct index_layer_dir *index_layer_dir(struct image_store *s, const char *diff_id);
/* A blob that some record knows to hold this layer and that is still there. */
const struct index_layer *index_layer_blob(struct image_store *s, const char *diff_id);
/* Collects what nothing needs: unlinks quickly, deletes in a job. ret_freed may be NULL. */
int64_t index_collect(struct image_store *s, void (*done)(void *arg), void *arg);

/* ---- Tasks (task.c) ---- */

struct image_task {
	unsigned int magic;
	struct image_store *store;
	struct image_watch watch;
	struct list link;
	struct arena arena;
	const char *name; /* "pull alpine" */
	/* Stops what runs; leads to task_end with e. NULL: nothing to stop. */
	void (*cancel)(struct image_task *t, const struct err *e);
	void (*begin)(struct image_task *t);
	void (*release)(struct image_task *t); /* frees what the kind owns, not the task */
	bool ending, cleaning;
	bool brings; /* makes blobs and layers: a failure collects them before it is told */
	struct err err;
	bool failed;
	struct image_result result;
	struct image *image_owned;
};

/* size_bytes of a struct whose first member is the task. */
void *task_new(struct image_store *s, size_t size_bytes, const struct image_watch *w,
	       const char *name);
/* The task behind a callback's argument, checked to be one that lives. */
void *task_live(void *arg);
/* Calls `begin` soon: nothing is told from inside the call that starts a task. */
void task_begin(struct image_task *t, void (*begin)(struct image_task *t));
void task_cleaned(struct image_store *s); /* the last failing layer work is gone */
/* Takes back a task that could not begin: frees it, nobody is told. */
void task_drop(struct image_task *t);
/* Ends it: `done` is called by a deferred call; e NULL: good. Later calls do nothing. */
void task_end(struct image_task *t, const struct err *e);
void task_set_image(struct image_task *t, struct image *i); /* takes the reference */
__attribute__((format(printf, 3, 4))) void task_say(struct image_task *t, const char *id,
						    const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void task_stream(struct image_task *t, const char *fmt, ...);
void task_aux(struct image_task *t, const char *tag, const char *digest, int64_t size);
void task_count(struct image_task *t, const char *id, const char *status, int64_t current,
		int64_t total);

/* ---- The confined child (child.c) ---- */

struct child;

struct child_options {
	const struct unpack_orders *orders;
	int data_fd, dir_fd; /* duplicated into the child; -1: none */
	void (*at)(void *arg, uint64_t at);
	/* Once, after the child is wholly gone: answer or e. */
	void (*done)(void *arg, const struct unpack_answer *answer, const struct err *e);
	void *arg;
};
int child_start(struct image_store *s, const struct child_options *o, struct child **ret,
		struct err *e) must_use;
void child_more(struct child *c, uint64_t upto, bool end); /* follow: what may be read */
void child_cancel(struct child *c);			   /* done follows, with ERR_GONE */
void child_abandon(struct image_store *s); /* all of them, without a word: at close */

/* ---- One layer on its way in (layer.c) ---- */

enum layer_state { LAYER_WAITING, LAYER_RUNNING, LAYER_SYNCING, LAYER_DONE, LAYER_FAILED };

struct layer_work;

struct layer_events {
	void (*moved)(void *arg, const char *status, int64_t current, int64_t total);
	void (*done)(void *arg, const struct err *e);
	void *arg;
};

/* Where the compressed bytes come from when the blob is not there yet. */
struct layer_source {
	/*
	 * Begins to fetch. The source calls layer_bytes for each piece in order, then layer_fetched
	 * once.
	 */
	int (*begin)(void *arg, struct layer_work *w, struct err *e);
	void (*stop)(void *arg, struct layer_work *w);
	void (*pause)(void *arg, bool on); /* back-pressure; a few more pieces may still come */
	void (*release)(void *arg);	   /* once, when the work needs it no more; may be NULL */
	void *arg;
};

struct layer_options {
	const char *diff_id; /* expected; NULL: whatever it is (needs a present blob) */
	const char *blob;    /* digest of the blob */
	int64_t size_bytes;  /* of the blob */
	const char *name;    /* in messages, static; NULL: "layer" and the digest */
	const struct layer_source *source; /* NULL: the blob is there */
};

struct layer_waiter; /* one who wants to know */
/* Joins the work that brings this layer, or begins it. An unpacked layer is done at once
 * (deferred). */
int layer_want(struct image_store *s, const struct layer_options *o, const struct layer_events *ev,
	       struct layer_waiter **ret, struct err *e) must_use;
/* Stops listening; the work is stopped when nobody listens any more. NULL allowed; returns NULL. */
struct layer_waiter *layer_leave(struct layer_waiter *w);
const char *layer_diff_id(const struct layer_waiter *w); /* after done: what it unpacked to */

void layer_bytes(struct layer_work *w, const void *p, size_t n);
void layer_fetched(struct layer_work *w, const struct err *e); /* e NULL: whole */
uint64_t layer_have(const struct layer_work *w);	       /* bytes so far: for resuming */
const char *layer_blob(const struct layer_work *w);
int64_t layer_size(const struct layer_work *w);

/* ---- Folders without an entry (parents.c) ---- */

/* Once all layers of the image are there, before it is recorded. */
void parents_settle(struct image_store *s, const struct image *i);

/* ---- Overlay (tree.c) ---- */

void tree_probe_overlay(struct image_store *s); /* begins; the answer goes to s->overlay */

/* ---- Registries (registry.c, registry_auth.c) ---- */

int registry_settings_load(struct image_store *s, const struct json *given, struct err *e) must_use;
void registry_settings_free(struct registry_settings *r);
