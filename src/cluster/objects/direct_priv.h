/*
 * The parts of the direct client, one file each: what one list, one watch, one removal of many
 * needs of the others.
 */
#pragma once

#include "cluster/objects/pipeline_priv.h"

/* direct_list.c */
void direct_list(const struct client *client, const struct client_target *t,
		 const struct list_query *q, client_listed *done, void *ctx);
void direct_remove_all(const struct client *client, const struct client_target *t,
		       const struct list_query *q, const struct delete_options *o,
		       client_listed *done, void *ctx);

/* direct_watch.c */
void direct_watch(const struct client *client, const struct client_target *t,
		  const struct watch_query *q, const struct watch_sink *sink,
		  struct client_watch **ret);
void direct_unwatch(struct client_watch *w);
void direct_unwatch_all(struct objects *os);
void direct_bookmark(void *objects);

/* A selector that outlives the one it was made of; in the arena. NULL stays NULL. */
const struct selector *direct_keep(const struct selector *s, struct arena *a);
