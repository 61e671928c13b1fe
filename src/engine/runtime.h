/*
 * The seam below the engine: what kind of isolation a workload gets. Every kind is run by a
 * supervisor that speaks the keeper's protocol (virt/keeper): hull-keeper for containers, hull-vm
 * for machines. So a kind only says which program that is and prepares what the program reads; the
 * rest of the engine sees no difference.
 */
#pragma once

#include "ground/base/err.h"
#include "virt/keeper/protocol.h"

struct workload;
struct arena;

struct runtime_ops {
	const char *name;    /* "container" */
	const char *program; /* beside hulld or in libexec */
	/* Answers for host_config.runtime: "hull", "runc", ... */
	const char *const *aliases;
	/*
	 * Writes the spec into the container's directory and fills what the orders say about the
	 * workload itself. Called at each start; everything it gives lives in the arena.
	 */
	int (*prepare)(struct workload *w, struct arena *a, struct keeper_orders *ret,
		       struct err *e);
	/* At creation: what this kind cannot do is refused; may change the request. NULL: nothing. */
	int (*check)(struct workload *w, struct err *e);
	/* A machine: it needs no image, makes its root itself, and its files are not ours to reach. */
	bool machine;
};

extern const struct runtime_ops runtime_container, runtime_vm;

/* The kind for a name; NULL and an ERR_INVALID that lists the known ones. */
const struct runtime_ops *runtime_find(const char *name, struct err *e);
