/*
 * The client: how everybody asks the cluster for objects and changes them, whether in the same
 * process (direct.h) or from another machine. Every write takes the one pipeline behind it:
 * default, admit, validate, store. The caller's identity travels with the client; who may do what
 * is judged at the API's door (api/kube), not here.
 *
 * All verbs complete by one callback, exactly once, never from inside the call; what the callback
 * is given is borrowed until it returns. Trees given in are taken, also on failure. Loop thread
 * only.
 *
 *	client_create(c, &(struct client_target){kind, "default"}, pod, NULL, made, ctx);
 *	client_patch(c, &(struct client_target){kind, "default", "web", .sub = "status"},
 *		     PATCH_MERGE, patch, NULL, patched, ctx);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/objects/object.h"
#include "cluster/objects/patch.h"
#include "ground/base/err.h"

/* Who asks. Texts live as long as the client. */
struct identity {
	const char *user;	   /* "system:kube-scheduler" */
	const char *uid;	   /* may be NULL */
	const char *const *groups; /* NULL-terminated; may be NULL */
};

/* What is asked for. kind may be any served version: objects come and go in that version. */
struct client_target {
	const struct kind *kind;
	const char *namespace; /* NULL or "": of the cluster, or all namespaces of a list */
	const char *name;      /* NULL for create, list, delete_collection */
	const char *sub;       /* "status", "scale", "binding", "eviction", "token", ...; NULL */
};

/*
 * How a verb ended. error NULL: well. details: members for a Status beside what the error says
 * ("causes", "retryAfterSeconds", "uid"); with causes the error is 422 Invalid, whatever its kind.
 */
struct outcome {
	const struct err *error;
	const struct json *details;
	const char *message;	     /* the error's whole text where that is cut short; NULL */
	int http_status;	     /* of the error, 0: what its kind says */
	const struct object *object; /* in its stored version; NULL where there is none */
	const struct json *body;     /* an answer that is no stored object (Scale, TokenRequest) */
	const char *const *warnings; /* NULL-terminated; NULL */
};
typedef void client_done(void *ctx, const struct outcome *o);

struct write_options {
	bool dry_run;
	bool strict;		   /* unknown and duplicate fields are errors */
	bool ignore_unknown;	   /* they are not even warnings */
	const char *field_manager; /* may be NULL */
	bool upsert;		   /* of an update: create what is not there */
};

enum client_propagation {
	PROPAGATE_DEFAULT,
	PROPAGATE_BACKGROUND,
	PROPAGATE_FOREGROUND,
	PROPAGATE_ORPHAN
};

struct delete_options {
	int64_t grace_s;      /* -1: the object's own */
	const char *uid;      /* precondition; NULL */
	const char *revision; /* precondition; NULL */
	enum client_propagation propagation;
	bool dry_run;
};

/*
 * Which objects. limit 0: all. next: the token of a list that goes on ("" or NULL: the first).
 * revision: NULL: the latest; "0": any; "N": not older than N, or exactly N when `exact`.
 */
struct list_query {
	const struct selector *labels, *fields; /* NULL: all; used before the call returns */
	size_t limit;
	const char *next;
	const char *revision;
	bool exact;
};

struct list_outcome {
	const struct err *error;
	const struct object *const *items; /* in order of namespace and name */
	size_t n;
	uint64_t revision; /* of the whole list */
	const char *next;  /* ""; else there is more */
	int64_t remaining; /* behind this page; -1: not known (with selectors) */
};
typedef void client_listed(void *ctx, const struct list_outcome *l);

enum watch_type { WATCH_ADDED, WATCH_MODIFIED, WATCH_DELETED, WATCH_BOOKMARK };

struct watch_event {
	enum watch_type type;
	uint64_t revision;
	/*
	 * The object, of a deletion its last version with the deletion's revision; NULL:
	 * bookmark.
	 */
	const struct object *object;
};

/*
 * event() for each change of the selection, in order: what begins to match is ADDED, what ceases to
 * is DELETED. end() once, when the watch cannot go on (ERR_GONE: list again), not after
 * client_unwatch().
 */
struct watch_sink {
	void (*event)(void *ctx, const struct watch_event *v);
	void (*end)(void *ctx, const struct err *e);
	void *ctx;
};

struct watch_query {
	const struct selector *labels, *fields; /* copied */
	const char *revision; /* from behind it; NULL or "0": what there is as ADDED, then go on */
	bool bookmarks;	      /* about once a minute, and one after the first objects */
	bool news_only;	      /* without a revision too: nothing of what there is */
};

struct client_watch; /* opaque; the implementation's struct begins with it */
struct client;

struct client_ops {
	void (*get)(const struct client *c, const struct client_target *t, const char *revision,
		    client_done *done, void *ctx);
	void (*list)(const struct client *c, const struct client_target *t,
		     const struct list_query *q, client_listed *done, void *ctx);
	void (*watch)(const struct client *c, const struct client_target *t,
		      const struct watch_query *q, const struct watch_sink *sink,
		      struct client_watch **ret);
	void (*unwatch)(struct client_watch *w);
	void (*create)(const struct client *c, const struct client_target *t, struct json *object,
		       const struct write_options *o, client_done *done, void *ctx);
	void (*update)(const struct client *c, const struct client_target *t, struct json *object,
		       const struct write_options *o, client_done *done, void *ctx);
	void (*patch)(const struct client *c, const struct client_target *t, enum patch_type type,
		      struct json *patch, const struct write_options *o, client_done *done,
		      void *ctx);
	void (*remove)(const struct client *c, const struct client_target *t,
		       const struct delete_options *o, client_done *done, void *ctx);
	void (*remove_all)(const struct client *c, const struct client_target *t,
			   const struct list_query *q, const struct delete_options *o,
			   client_listed *done, void *ctx);
};

struct client {
	const struct client_ops *ops;
	void *impl;
	struct identity identity;
};

static inline void client_get(const struct client *c, const struct client_target *t,
			      const char *revision, client_done *done, void *ctx)
{
	c->ops->get(c, t, revision, done, ctx);
}

static inline void client_list(const struct client *c, const struct client_target *t,
			       const struct list_query *q, client_listed *done, void *ctx)
{
	c->ops->list(c, t, q, done, ctx);
}

/* *ret is set before this returns and stays until end() or client_unwatch(). */
static inline void client_watch(const struct client *c, const struct client_target *t,
				const struct watch_query *q, const struct watch_sink *sink,
				struct client_watch **ret)
{
	c->ops->watch(c, t, q, sink, ret);
}

static inline void client_unwatch(const struct client *c, struct client_watch *w)
{
	c->ops->unwatch(w);
}

static inline void client_create(const struct client *c, const struct client_target *t,
				 struct json *object, const struct write_options *o,
				 client_done *done, void *ctx)
{
	c->ops->create(c, t, object, o, done, ctx);
}

/* object's metadata.resourceVersion must be the current one, or be absent: then it wins. */
static inline void client_update(const struct client *c, const struct client_target *t,
				 struct json *object, const struct write_options *o,
				 client_done *done, void *ctx)
{
	c->ops->update(c, t, object, o, done, ctx);
}

static inline void client_patch(const struct client *c, const struct client_target *t,
				enum patch_type type, struct json *patch,
				const struct write_options *o, client_done *done, void *ctx)
{
	c->ops->patch(c, t, type, patch, o, done, ctx);
}

/* outcome.object: what remains (a grace period or finalizers hold it), or was. */
static inline void client_delete(const struct client *c, const struct client_target *t,
				 const struct delete_options *o, client_done *done, void *ctx)
{
	c->ops->remove(c, t, o, done, ctx);
}

static inline void client_delete_all(const struct client *c, const struct client_target *t,
				     const struct list_query *q, const struct delete_options *o,
				     client_listed *done, void *ctx)
{
	c->ops->remove_all(c, t, q, o, done, ctx);
}
