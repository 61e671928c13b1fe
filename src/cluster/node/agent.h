/*
 * The node agent: pods that are bound to this node run in its engine. It registers the node, keeps
 * its lease, makes of each pod a sandbox with containers, tells their status, and answers what the
 * API asks of a node (node_ops.h).
 *
 * Level-triggered: a pod is looked at when its object or one of its containers changes, and every
 * look goes from what is there towards what is wanted. After a restart of the daemon containers are
 * found again by their labels; none is made twice.
 */
#pragma once

#include "cluster/objects/client.h"
#include "cluster/objects/informer.h"
#include "cluster/objects/node_ops.h"
#include "engine/engine.h"
#include "ground/base/world.h"

struct node_agent;

struct node_agent_options {
	struct loop *loop;
	const struct world *world; /* NULL: the real one */
	struct engine *engine;
	const struct client *client; /* lent with the node's identity */
	struct informers *informers;
	const char *node_name;
	const char *root;    /* pods' volumes lie below <root>/pods */
	const char *address; /* the node's own: "192.168.1.7" */
	const char *dns_ip;  /* of the cluster's names; NULL: the host's */
	const char *version; /* of this program */
};

int node_agent_new(const struct node_agent_options *o, struct node_agent **ret,
		   struct err *e) must_use;
/* The informers are to be freed before. What runs goes on. Returns NULL. */
struct node_agent *node_agent_free(struct node_agent *a);
/* Everything is being stopped for good: nothing is started any more. */
void node_agent_quiet(struct node_agent *a);
/* Then, when nothing runs: takes the pods' mounts off the host. */
void node_agent_unmount(struct node_agent *a);

const struct node_ops *node_agent_ops(void); /* its `node` is the agent */
const char *node_agent_name(const struct node_agent *a);
