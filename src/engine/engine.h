/*
 * The engine: one node's workloads. It joins images, networks, volumes and keepers into containers
 * that are created, started, attached to, waited for and removed; it keeps their records on disk
 * and finds what runs again after a restart. APIs (Docker today) are thin shapes over this door.
 *
 * Rules of the house here:
 * - One thread: everything below is called on the loop's thread and calls back on it.
 * - Verbs that take time end with one callback, exactly once, never from inside the call that began
 *   it, with `e` NULL on success. What a callback is given lives until it returns. Questions
 *   (engine_inspect, engine_list, ...) answer at once from memory.
 * - Every workload and image reference has an owner; a `struct user` is the engine as one owner
 * sees it: it finds, lists, prunes and removes only its own.
 * - `ref` is a name, a full id or a unique prefix of an id. ERR_NOT_FOUND "no such container: x",
 *   ERR_INVALID when a prefix is ambiguous.
 * - Nothing is acknowledged before it is durable.
 *
 * The other doors of this room: engine/request.h (what a container shall be), engine/workload.h
 * (containers), engine/exec.h, engine/events.h, engine/images.h, engine/networks.h,
 * engine/volumes.h, engine/stream.h (bytes in and out), engine/system.h (info, disk usage).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/world.h"

struct loop; /* ground/wire/loop.h */
struct engine;
struct user;
struct network_pods_options; /* virt/network/pod.h */

enum owner { OWNER_DOCKER, OWNER_KUBE, OWNER_CLI, OWNERS };

#define ENGINE_ID_HEX 64 /* digits of every id */

struct engine_options {
	struct loop *loop;
	const struct world *world;  /* NULL: the real one */
	const char *root;	    /* /var/lib/hull */
	const char *run;	    /* /run/hull */
	const char *libexec;	    /* directory of hull-keeper, hull-net, hull-init, hull-unpack */
	char *const *address_pools; /* "172.30.0.0/16:24" = networks of /24; NULL: the defaults */
	char *const *insecure_registries;
	char *const *mirrors; /* "registry=https://mirror" or "https://mirror" for docker.io */
	char *const *dns;     /* default name servers of containers; NULL: the host's */
	/* The node's range of pods, where it is one of a cluster; NULL: sandboxes use a bridge. */
	const struct network_pods_options *pods;
	bool debug;
};

typedef void engine_done(void *ctx, const struct err *e);

/*
 * Opens root and run (made where missing), takes the lock, reads the records, adopts what runs,
 * buries what died, removes what was half made, applies restart policies. ready() is called once
 * when the engine may serve. ERR_BUSY when another daemon holds the same root or run directory.
 */
int engine_new(const struct engine_options *o, engine_done *ready, void *ctx, struct engine **ret,
	       struct err *e) must_use;

/* Makes pending writes durable and lets go of everything that runs (it goes on running). Returns
 * NULL. */
struct engine *engine_free(struct engine *e);

/*
 * Stops every container and takes off the host what is ours there, then done(). Restart policies
 * are kept for the next daemon. Nothing should be asked of the engine in the meantime.
 */
void engine_shutdown(struct engine *e, engine_done *done, void *ctx);

/* The engine as `owner` sees it; lives as long as the engine. */
struct user *engine_user(struct engine *e, enum owner owner);

const char *owner_name(enum owner owner); /* "docker" */
