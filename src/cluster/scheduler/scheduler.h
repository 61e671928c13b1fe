/*
 * The scheduler: pods without a node get one. It lives on the views of pods and nodes; a pod that
 * fits nowhere is told why, and is looked at again when something changes.
 */
#pragma once

#include "cluster/objects/client.h"
#include "cluster/objects/informer.h"
#include "ground/base/world.h"

struct loop;
struct scheduler;

struct scheduler_options {
	struct loop *loop;
	const struct world *world;   /* NULL: the real one */
	const struct client *client; /* lent with the scheduler's identity */
	struct informers *informers;
};

struct scheduler *scheduler_new(const struct scheduler_options *o);
/* The informers are to be freed before. Returns NULL. */
struct scheduler *scheduler_free(struct scheduler *s);
