/*
 * Sandboxes, as the node agent sees them: the network, host name and ipc namespace that a pod's
 * containers share. It stands while no container runs and while no daemon runs; containers join it
 * by host_config modes "sandbox:ID" (network, ipc, uts).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

struct network_port; /* virt/network/network.h */

struct sandbox_request {
	const char *name;     /* "default/web-0": unique, for people and for finding it again */
	const char *uid;      /* the pod's */
	const char *hostname; /* at most 63 bytes */
	bool host_network;
	bool shared_pid; /* its containers may share their processes: "sandbox:ID", too */
	const struct network_port *ports; /* host ports; only of a node of a cluster */
	size_t ports_n;
};

struct sandbox_view {
	const char *id; /* 64 hex digits */
	const char *name, *uid;
	const char *ipv4, *ipv6; /* "" where there is none */
	bool host_network;
	int netns; /* borrowed: the namespace, to connect from inside; -1: the host's */
};

typedef void engine_sandbox_made(void *ctx, const struct sandbox_view *v, const struct err *e);

/* done() when it is pinned, plugged in and durable. ERR_EXISTS: one of this name is there. */
void engine_sandbox_create(struct user *u, const struct sandbox_request *r,
			   engine_sandbox_made *done, void *ctx);
/* Unplugs and unpins it; what still runs in it keeps its namespaces without a network. */
void engine_sandbox_remove(struct user *u, const char *id, engine_done *done, void *ctx);

/* A TCP connection to a port on the pod's own loopback; fd is the receiver's. */
typedef void engine_sandbox_connected(void *ctx, int fd, const struct err *e);
void engine_sandbox_connect(struct user *u, const char *id, uint16_t port,
			    engine_sandbox_connected *done, void *ctx);

/* NULL: there is none. Borrowed until the next turn of the loop. */
const struct sandbox_view *engine_sandbox_find(struct user *u, const char *id);
void engine_sandbox_each(struct user *u, void (*fn)(void *ctx, const struct sandbox_view *v),
			 void *ctx);
