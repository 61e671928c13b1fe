/*
 * Placement: whether a pod of a daemon set belongs on a node, by name, node affinity and taints.
 * Room and everything else is the scheduler's to judge.
 */
#pragma once

#include "cluster/controllers/controllers_priv.h"

struct placement {
	bool run;  /* one is to be made there */
	bool stay; /* one that is there may stay */
};
struct placement placement_of(const struct json *pod_spec, const struct object *node);

/* Adds what every pod of a daemon set tolerates. */
void placement_tolerate(struct json *pod_spec);
/* Ties the pod to a node, through its affinity: the scheduler binds it. */
void placement_pin(struct json *pod_spec, const char *node);
/* The node that a pod is bound or pinned to; "" when there is none. */
const char *placement_node(const struct object *pod);
/* Whether one of a pod's tolerations bears a taint, for however long. */
bool placement_tolerates(const struct json *toleration, const struct json *taint);
