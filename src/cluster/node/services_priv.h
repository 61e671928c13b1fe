/*
 * What the files of this node's services share: a service as it is read from its objects.
 */
#pragma once

#include "cluster/node/services.h"
#include "ground/base/arena.h"
#include "virt/network/service.h"
#include "virt/network/zone.h"

/* A Service and its EndpointSlices, as trees: nothing else is looked at. */
struct service_objects {
	const char *key; /* "default/web" */
	const char *namespace, *name;
	const struct json *service;
	const struct json *const *slices;
	size_t slices_n;
};

/* Packets: false where there are none (headless, ExternalName). Memory is the arena's. */
bool service_rules(const struct service_objects *o, const char *node, struct arena *a,
		   struct network_service *ret);
/* Names; how many. */
size_t service_names(const struct service_objects *o, const char *domain, struct arena *a,
		     struct network_record **ret);

/* One endpoint of one slice, flattened. */
struct slice_endpoint {
	const struct json *endpoint;
	bool ready;   /* gets new connections */
	bool serving; /* would, if nobody else did */
};
struct slice_endpoint slice_endpoint(const struct json *slice, size_t i);
/* The port of a slice that belongs to a service's port: by name and protocol. 0: none. */
uint16_t slice_port(const struct json *slice, const struct json *service_port);

/* ---- addresses of load balancers ---- */

struct balancer;

struct balancer *balancer_new(const struct client *client, const char *pool, struct err *e);
struct balancer *balancer_free(struct balancer *b);
/* Before anybody is given an address: what each has. */
void balancer_known(struct balancer *b, const char *key, const struct json *service);
/* Gives the service an address, or takes it, as its type says. NULL: it is gone. */
void balancer_look(struct balancer *b, const char *key, const struct object *service);
