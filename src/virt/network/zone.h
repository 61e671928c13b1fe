/*
 * The cluster's names: a zone that hull-net answers for, at an address of its own on this node.
 *
 * Theory of operation. Who owns names (a service, say "default/web") gives all its records at once;
 * giving them again replaces them, giving none forgets them. They are kept here, so that a hull-net
 * that was lost is told everything again, and there, so that names resolve while the daemon is
 * away. A change is one message, and answered from when hull-net has read it.
 *
 * What hull-net adds by itself: addresses in names ("10-244-0-5.default.pod.DOMAIN"), the zone's
 * SOA record beside every "no", and the answers of the host's own name servers for all that is
 * neither in the zone nor a reverse name it knows. An alias (CNAME) is followed for the client.
 *
 * What is known after a restart of the daemon is what hull-net still has, until
 * network_zone_settled() says that every owner was named; then the rest is forgotten.
 */
#pragma once

#include "ground/base/ip.h"
#include "virt/network/network.h"

#define NETWORK_ZONE_ADDRESSES_MAX 2
#define NETWORK_RECORDS_MAX	   16384 /* of one owner */
#define NETWORK_ZONE_TTL_S	   5

enum network_record_type {
	NETWORK_RECORD_IP,
	NETWORK_RECORD_SRV,
	NETWORK_RECORD_CNAME,
	NETWORK_RECORD_PTR
};

struct network_record {
	enum network_record_type type;
	const char *name;   /* lower case, whole, no dot at the end: "web.default.svc.cluster.local"
			   */
	struct ip ip;	    /* IP: A or AAAA */
	const char *target; /* the others */
	uint16_t port;	    /* SRV */
};

struct network_zone_options {
	const char *domain; /* "cluster.local" */
	/* Where pods ask; NULL-terminated, one of each family at most: "10.96.0.10" */
	const char *const *addresses;
};

/*
 * Takes the addresses for this host (network_pods_configure() comes first), binds port 53 there
 * unless a hull-net that lives has it, and hands it over. ERR_CONFLICT: somebody else has the port.
 */
int network_zone_open(struct network_host *h, const struct network_zone_options *o,
		      struct err *e) must_use;
/* All records of one owner, in place of what it had. n 0: it has none. Borrowed. */
int network_zone_set(struct network_host *h, const char *owner,
		     const struct network_record *records, size_t n, struct err *e) must_use;
/* From now on owners that were not named since the start have no records. */
void network_zone_settled(struct network_host *h);
