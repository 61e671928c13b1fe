/*
 * The inside of the scheduler: what is known of nodes and of pods that have one, kept current by
 * events, and the filters and scores over it.
 */
#pragma once

#include "cluster/objects/workqueue.h"
#include "cluster/scheduler/scheduler.h"
#include "ground/base/arena.h"
#include "ground/base/map.h"

/* Amounts that are compared: milli-CPUs, bytes, bytes, pods. */
enum amount { AMOUNT_CPU, AMOUNT_MEMORY, AMOUNT_DISK, AMOUNT_PODS, AMOUNTS };

struct amounts {
	int64_t n[AMOUNTS];
};

struct node_info {
	char *name;
	struct json *node; /* the object's tree, ours */
	struct amounts room, used;
	struct map ports; /* "TCP/80" of pods that are there */
	size_t pods;
};

/* A pod that has a node, or is about to get one. */
struct pod_info {
	char *key, *node;
	struct amounts wants;
	struct json *ports; /* their keys, an array */
};

struct scheduler {
	uint32_t magic;
	struct scheduler_options o;
	const struct world *world;
	struct client client;
	struct informer *pods, *nodes;
	struct workqueue *queue;
	struct map infos;  /* name -> struct node_info * */
	struct map placed; /* key -> struct pod_info * */
	struct map unfit;  /* keys of pods that fit nowhere */
};

/* What a pod asks for. */
void fit_amounts(const struct json *pod, struct amounts *ret);
void fit_room(const struct json *node, struct amounts *ret);
struct json *fit_ports(const struct json *pod);

/*
 * The best node, NULL when none fits: then `why` is Kubernetes' sentence, and `help` says which
 * change would make it fit ("" when that is not known).
 */
struct node_info *fit_best(struct scheduler *s, const struct json *pod, struct strbuf *why,
			   struct strbuf *help);
