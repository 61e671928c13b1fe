/*
 * Services: addresses that stand for whoever serves at the moment, as nftables maps.
 *
 * Theory of operation. The rules are fixed (pod_rules.c); what a service is, is elements of maps,
 * in the table "hull-TAG-pods". 4 and 6 are two families of the same:
 *
 *	ends4-N  front . 0 ... N-1 -> address . port	endpoints of services that have N, up to
 *							eight; front: address . protocol . port,
 *							the address 0.0.0.0: every one of ours
 *	front4   front -> goto pick4-N | stay4-*	those with more, or with affinity
 *	ends4    front . 0 ... N-1 -> address . port	their endpoints
 *	refuse4, lose4  front				without endpoints
 *	aff4     number . client . address . port	who was sent where, added by packets
 *	pairs4   address . address			endpoints of this node (hairpin)
 *	balanced4  address				answered for by this host
 *
 * A rule draws a number below N and looks the endpoint up: for N up to eight a fixed one, beyond
 * that the chain pick4-N (node4-N for node ports). So a connection costs a few look-ups whatever
 * there is; and a change is an element of a map without verdicts, for which the kernel need not
 * prove its rules again. A service with affinity has a chain of its own per front, with two rules
 * for each endpoint: one for the clients that aff4 has, one that draws. (No map's answer is part of
 * a key or remembered: the nft program could not list such rules.)
 *
 * A service compiles to a sorted list of elements; a change is the difference of two lists, one
 * transaction whatever changed. Established connections are the kernel's and go on; UDP flows to
 * an endpoint that is gone are forgotten.
 *
 * The maps outlive the daemon. network_services_set() replaces everything, and is to be called
 * once the cluster's state is known; what is in the maps works until then.
 *
 * Not here: which endpoints are ready, who gets which address (cluster/node). Endpoints on other
 * nodes are reached by routes that somebody else makes.
 */
#pragma once

#include "ground/base/ip.h"
#include "virt/network/network.h"

#define NETWORK_SERVICE_ENDPOINTS_MAX 4096 /* of one port */

struct network_service_endpoint {
	struct ip ip;
	uint16_t port;
	bool local; /* on this node */
};

struct network_service_port {
	enum network_proto proto;
	uint16_t port;
	uint16_t node_port; /* 0: none */
	const struct network_service_endpoint *endpoints;
	size_t endpoints_n;
};

struct network_service {
	const char *key;	    /* "default/web" */
	const struct ip *addresses; /* cluster addresses */
	const struct ip *externals; /* others that packets may come with */
	const struct ip *balanced;  /* others for which this host answers its neighbours */
	size_t addresses_n, externals_n, balanced_n;
	const struct network_service_port *ports;
	size_t ports_n;
	uint32_t affinity_s; /* how long a client stays with its endpoint; 0: no affinity */
	bool external_local; /* from outside only endpoints of this node; else the packet is lost */
	bool internal_local; /* the same for the cluster addresses */
};

/* These and no others. network_pods_configure() comes first (ERR_INVALID). All is borrowed. */
int network_services_set(struct network_host *h, const struct network_service *all, size_t n,
			 struct err *e) must_use;
/* One transaction: these are new or have changed, and those are gone. */
int network_services_change(struct network_host *h, const struct network_service *changed, size_t n,
			    const char *const *gone, size_t gone_n, struct err *e) must_use;
size_t network_services_count(const struct network_host *h);
