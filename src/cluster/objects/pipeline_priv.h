/*
 * The inside of the pipeline: one change on its way from a client to the store. A change is made by
 * a verb (pipeline.c, remove.c, sub.c), takes the stations shape -> admit -> validate -> allocate
 * -> store, and ends by its client's callback.
 */
#pragma once

#include "cluster/objects/cause.h"
#include "cluster/objects/object_priv.h"
#include "ground/base/arena.h"
#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/base/rfc3339.h"

#define OBJECTS_MAGIC 0x4f424a53u
#define CHANGE_MAGIC  0x4348474eu

struct quota_claim;

struct objects {
	uint32_t magic;
	struct objects_options o;
	struct loop *loop;
	struct keys *keys;
	const struct world *world;
	struct map cluster_ips; /* address -> (void *)1: given to a service, or on its way */
	struct map node_ports;	/* "30080" */
	struct list claims;	/* of quotas, by changes that are not committed yet */
	struct list watches;
	struct loop_timer *bookmarks; /* set while a watch wants them */
	const struct object *deleted; /* the last one that was told, shared by all watches */
};

enum change_verb { CHANGE_CREATE, CHANGE_UPDATE, CHANGE_DELETE };

struct change {
	uint32_t magic;
	struct objects *objects;
	enum change_verb verb;
	const struct kind *kind, *stored; /* as asked for, as kept */
	char *namespace, *name;		  /* "" when there is none */
	char *sub;			  /* NULL */
	char *key;
	bool dry_run;
	struct json *object;	  /* what shall be, in the stored form */
	const struct object *old; /* what is, on its way counted in */
	struct causes causes;
	struct arena arena;
	client_done *done;
	void *ctx;
	/* how it ended */
	struct err error;
	int http_status;
	struct json *details;
	const char *message; /* longer than an error can be; NULL */
	const struct object *result;
	struct json *body;
	char **warnings;
	struct list claims; /* of quotas: struct quota_claim */
	char **taken_ips, **taken_ports;
	const struct identity *who; /* the client's; for the call that began the change only */
};

/* -- change.c: its life ------------------------------------------------------------------------ */

struct change *change_new(struct objects *os, enum change_verb verb, const struct client_target *t,
			  client_done *done, void *ctx);
/* Ends with what change->error and the rest say; later in this turn. */
void change_end(struct change *c);
/* Ends with an error of one kind. */
void change_fail(struct change *c, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "pods \"x\" not found" */
void change_not_found(struct change *c);
/* "pods \"x\" is forbidden: WHY" into c->error; returns -ERR_FORBIDDEN. */
int change_forbid(struct change *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What c->causes say into c->error: 422, with each of them. Returns -ERR_INVALID. */
int change_invalid(struct change *c);
/* Puts c->object over c->old (or as new), or says so for a dry run; then ends. */
void change_store(struct change *c);
/* Takes c->old out of the store; then ends with `last` (taken) as result. */
void change_remove(struct change *c);
/* The newest version of a key, on its way counted in; NULL. Borrowed. */
const struct object *objects_newest(struct objects *os, const struct kind *k, const char *namespace,
				    const char *name);
/* The key of an object, in memory of the caller's. `name` NULL: the prefix of a list. */
char *objects_key(const struct kind *stored, const char *namespace, const char *name);
/* Each committed object of a kind in a namespace (NULL: all). */
void objects_each(struct objects *os, const struct kind *k, const char *namespace,
		  bool (*each)(void *ctx, const struct object *o), void *ctx);
char *objects_now(const struct objects *os, char ret[RFC3339_CHARS + 1]); /* seconds */

/* -- the stations ------------------------------------------------------------------------------ */

/* pipeline.c: from a tree in c->object to the end. */
void pipeline_create(struct change *c);
void pipeline_update(struct change *c);
/* The last part of both: admit, validate, allocate, store. */
void pipeline_finish(struct change *c);

/* admission.c: 0, or c->error is set. */
int admission_admit(struct change *c);
int admission_pod(struct change *c);	/* admission_pod.c */
int admission_limits(struct change *c); /* limits.c: LimitRanges */
int quota_admit(struct change *c);	/* quota.c */
void quota_end(struct change *c);	/* takes back the claims of a change that ended */

/* warnings.c: what is taken but hardly meant, into c->warnings. */
void warnings_add(struct change *c);

/* allocate.c: cluster addresses and node ports. */
void allocate_load(struct objects *os);
void allocate_service(struct change *c); /* causes on failure */
void allocate_end(struct change *c);	 /* after the outcome: releases what is not used */

/* remove.c, sub.c */
void remove_begin(struct change *c, const struct delete_options *o);
bool remove_when_free(struct change *c); /* nothing holds a deleted object any more: removes it */
void sub_create(struct change *c);
bool sub_get(struct change *c);
/* Turns c->object, the body of a write on c->sub, into the whole object. 0, or c->error is set. */
int sub_write(struct change *c);
/* eviction.c */
void eviction_create(struct change *c, const struct json *body);
struct json *sub_scale_of(const struct kind *k, const struct json *tree);
