/*
 * Pods: routed endpoints. A pod's namespace gets eth0 with a single address (/32, /128) out of the
 * node's range and a default route over a link-local gateway that no packet ever names; the host
 * gets a route to the other end. Nobody is asked who has which address: both ends know it from the
 * start, so that the first packet goes at once and nothing waits.
 *
 * A pod is a struct network_endpoint of a network that no list shows: network_endpoint_info(),
 * _encode(), _load() and network_detach() work on it as on those of bridges. The engine keeps the
 * record and feeds it back after a restart, before network_reconcile(), just as it does for
 * containers; a pod on the host's own network (hostNetwork) is none of this and has no endpoint.
 *
 * Traffic between pods, and to services (service.h), keeps its source address; what leaves the
 * cluster's nets is masqueraded. An address that was given back is taken again as late as possible.
 * Where somebody else's forward chain drops by policy, TCP of pods is relayed by hull-net, as it is
 * for bridges (rules.c); between pods it then comes from the node's own address.
 *
 *	network_pods_configure(h, &(struct network_pods_options){.range4 = "10.244.0.0/24",
 *			       .cluster = (const char *[]){"10.244.0.0/16", "10.96.0.0/16", NULL},
 *			       .services = (const char *[]){"10.96.0.0/16", NULL}}, e);
 *	network_pod_attach(h, &ns, &(struct network_pod_join){.sandbox = id,
 *			   .name = "default/web-0", .ports = ports, .ports_n = 1}, &pod, e);
 *	status_ip = network_endpoint_info(pod)->ipv4;
 *	store(network_endpoint_encode(pod));
 */
#pragma once

#include "virt/network/network.h"

#define NETWORK_CLUSTER_NETS_MAX 8

struct network_pods_options {
	const char *range4; /* this node's pods: "10.244.0.0/24"; NULL: none */
	const char *range6; /* "fd00:10:244::/64"; NULL: none; one of both there must be */
	/* Nets of the whole cluster, pods and services: never masqueraded. NULL-terminated. */
	const char *const *cluster;
	/* Those of the services: addresses in them that are no service are refused. NULL-terminated
	 */
	const char *const *services;
	uint32_t mtu; /* 0: the kernel's */
};

/*
 * Says what this node's pods are and lays the host's part (an interface that holds the node's own
 * address in the range, the table "hull-TAG-pods"). To be called before the first pod is loaded or
 * attached; again with another range only while there is no pod (ERR_CONFLICT). Services, and the
 * connections of pods, live through it.
 */
int network_pods_configure(struct network_host *h, const struct network_pods_options *o,
			   struct err *e) must_use;
bool network_pods_configured(const struct network_host *h);
/* The node's own address in the range: what pods see of connections that the host makes. "" none.
 */
const char *network_pods_gateway(const struct network_host *h, bool v6);

struct network_pod_join {
	const char *sandbox; /* its id, 64 hex digits */
	const char *name;    /* for messages: "default/web-0" */
	const char *ipv4;    /* NULL: chosen; else this one, which must be free */
	const char *ipv6;
	const struct network_port *ports; /* host ports; host_ip "" is every address */
	size_t ports_n;
};

/*
 * Plugs a fresh namespace in; needs ns->netns and ns->route. ERR_CONFLICT: the address or a host
 * port is taken; ERR_EXHAUSTED: the range is used up. On error nothing stays behind.
 */
int network_pod_attach(struct network_host *h, const struct network_ns *ns,
		       const struct network_pod_join *join, struct network_endpoint **ret,
		       struct err *e) must_use;
/* Takes the way to it, its ports and its address; the interface goes with its namespace, which the
 * caller lets go of. Frees `pod` in any case. */
int network_pod_detach(struct network_host *h, struct network_endpoint *pod,
		       struct err *e) must_use;
/* The pod of a sandbox that still runs, from what network_endpoint_encode() gave. */
int network_pod_load(struct network_host *h, const struct json *record,
		     struct network_endpoint **ret, struct err *e) must_use;
/* Walks the pods: NULL gives the first, then the one after; NULL at the end. */
struct network_endpoint *network_pod_next(struct network_host *h,
					  const struct network_endpoint *pod);
