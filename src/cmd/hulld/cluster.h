/*
 * The cluster's parts in this process, in the order in which they start: store, objects, API,
 * loops, node. Wiring only.
 */
#pragma once

#include <stdbool.h>

#include "ground/base/err.h"

struct cluster;
struct engine;
struct loop;
struct network_pods_options; /* virt/network/pod.h */

struct cluster_options {
	struct loop *loop;
	struct engine *engine;
	const char *root, *run;
	const char *listen; /* "127.0.0.1:6443" */
};

int cluster_new(const struct cluster_options *o, struct cluster **ret, struct err *e) must_use;
struct cluster *cluster_free(struct cluster *c); /* returns NULL */
/* `hull down`: pods are not started again while all is being stopped; then nothing stays mounted.
 * NULL allowed. */
void cluster_quiet(struct cluster *c);
void cluster_stopped(struct cluster *c);

/*
 * Where the API shall listen, as `hull up` wrote it down; NULL: there is no cluster. The
 * caller's.
 */
char *cluster_wanted(const char *root);

/* What this node's pods are, for engine_options. */
const struct network_pods_options *cluster_pods(void);
