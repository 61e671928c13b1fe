/*
 * Services on this node: what the cluster's Services and EndpointSlices say, made into packets'
 * rules (virt/network/service.h) and names (virt/network/zone.h).
 *
 * What changed in one turn of the loop is one transaction, and at most one message per service.
 * Nothing is touched before both views (its own: who else looks does not matter) are filled once:
 * rules and names of before a restart serve until then. Level-triggered: a service is always made
 * anew from all that is known of it.
 *
 * Ready endpoints serve; where a port has none, those that still serve while they end. The service
 * whose address is the cluster's name server is hull-net's own and gets no rules.
 *
 * Where a pool is given, services of type LoadBalancer get an address of it (status.loadBalancer);
 * that is for one node of a cluster only.
 */
#pragma once

#include "cluster/objects/client.h"

struct loop;
struct network_host; /* virt/network/network.h */
struct node_services;

struct node_services_options {
	struct loop *loop;
	const struct client *client; /* reads, and with a pool writes status; outlives this */
	struct network_host *net;    /* engine_cluster_net(); configured for pods */
	const char *node;	     /* this node's name */
	const char *domain;	     /* "cluster.local" */
	/* Where names are asked for, one of each family at most; NULL-terminated: "10.96.0.10" */
	const char *const *dns;
	const char *pool; /* "192.168.1.240/28"; NULL: nobody is given an address */
	/*
	 * Where the API listens, "127.0.0.1:6443": what the service default/kubernetes leads to for
	 * as long as it has no endpoints. NULL: nowhere.
	 */
	const char *api;
};

/* Opens the zone at once; ERR_CONFLICT: its port 53 is taken. */
int node_services_new(const struct node_services_options *o, struct node_services **ret,
		      struct err *e) must_use;
struct node_services *node_services_free(struct node_services *s); /* rules and names stay; NULL */
