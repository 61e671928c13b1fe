/*
 * Controllers: the loops that make the cluster what its objects say. Each is a row of one table
 * (controllers.c) and a file of its own; all live on informers and work queues, none polls, and
 * each converges from any state.
 */
#pragma once

#include "cluster/objects/client.h"
#include "cluster/objects/informer.h"
#include "cluster/objects/node_ops.h"
#include "ground/base/world.h"

struct loop;
struct controllers;

struct controllers_options {
	struct loop *loop;
	const struct world *world;   /* NULL: the real one */
	const struct client *client; /* lent to each controller with its own identity */
	struct informers *informers;
	const char *ca_pem; /* the cluster's authority, for kube-root-ca.crt */
	/* Who measures what pods use, for autoscalers; NULL: nobody. */
	const struct node_directory *nodes;
};

struct controllers *controllers_new(const struct controllers_options *o);
struct controllers *controllers_free(struct controllers *c); /* returns NULL */
/* No key waits or is worked on, those aside that are told to come back later. */
bool controllers_idle(const struct controllers *c);
