/*
 * Informers: a loop's own view of one kind, kept current by list and watch over any client. One per
 * kind and process, shared by all who ask; objects are shared with the hub, so a view costs a
 * pointer each. A watch that ends is begun anew from a list, and the handlers see only what
 * differs: they are level-triggered and see no gap.
 *
 *	struct informer *pods = informer_of(set, kind_of_resource("", "v1", "pods"));
 *	informer_on(pods, pod_changed, me);
 *	...
 *	const struct object *o = informer_get(pods, "default", "web");
 *
 * Objects are borrowed until this turn of the loop ends. Handlers are called in the order of
 * informer_on(), and may read every informer, but not write to the cluster from inside
 * (put a key on a work queue instead).
 */
#pragma once

#include "cluster/objects/client.h"

struct loop;
struct informers;
struct informer;

struct informers *informers_new(struct loop *loop, const struct client *client);
struct informers *informers_free(struct informers *s); /* returns NULL */

/* The view of a kind (in its stored version), begun at the first call. Never NULL. */
struct informer *informer_of(struct informers *s, const struct kind *k);

/* now NULL: it is gone. before NULL: it is new. */
typedef void informer_changed(void *ctx, const struct object *now, const struct object *before);
/* Tells what is there already as new. `ctx` must outlive the set. */
void informer_on(struct informer *i, informer_changed *fn, void *ctx);

/* Whether every view asked for so far has been filled once; fn(ctx) once when that is so. */
bool informers_synced(const struct informers *s);
/* Whether every view shows all that its watch can tell: none has lost it and begins anew. */
bool informers_current(const struct informers *s);
void informers_on_synced(struct informers *s, void (*fn)(void *ctx), void *ctx);

const struct object *informer_get(const struct informer *i, const char *namespace,
				  const char *name); /* NULL: it is not there */
const struct object *informer_get_key(const struct informer *i, const char *key);
/* Each of a namespace (NULL: of all) until fn answers false. fn may not free informers. */
void informer_each(const struct informer *i, const char *namespace,
		   bool (*fn)(void *ctx, const struct object *o), void *ctx);
/* Those whose controlling owner has this uid ("": that have none); a look-up. */
void informer_each_owned(const struct informer *i, const char *owner_uid,
			 bool (*fn)(void *ctx, const struct object *o), void *ctx);
/* Those whose field selector value is this ("spec.nodeName", "node-1"): a look-up, too, for the
 * one path that informer_index() was asked to index. */
void informer_index(struct informer *i, const char *path);
void informer_each_value(const struct informer *i, const char *path, const char *value,
			 bool (*fn)(void *ctx, const struct object *o), void *ctx);
size_t informer_count(const struct informer *i);
