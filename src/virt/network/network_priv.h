/*
 * What the files of this room share: the host, its networks and endpoints as they are in memory,
 * and the verbs between the files. One file per concern: spec (checking, JSON), pool (addresses),
 * bridge (links), rules (nftables), publish (ports), endpoint, names (hull-net's client end), host.
 */
#pragma once

#include <net/if.h>

#include "ground/base/arena.h"
#include "ground/base/ip.h"
#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/format/dns.h"
#include "ground/linux/netlink.h"
#include "ground/linux/nftables.h"
#include "virt/network/network.h"

enum network_driver { DRIVER_BRIDGE, DRIVER_HOST, DRIVER_NONE, DRIVER_PODS };

struct names;	  /* the client end of hull-net */
struct pods;	  /* what pod.c knows of this node's pods */
struct services;  /* what is served at cluster addresses */
struct zone_told; /* the cluster's names, as hull-net is told */

struct network_host {
	char *root, *run;
	char tag[5];
	char table[16]; /* "hull-TAG" */
	uint64_t seed;	/* from the root: the v6 prefix */
	const struct world *world;
	struct loop *loop;
	void (*names_wanted)(void *ctx, const char *container);
	void *ctx;
	struct pool *pools; /* where default subnets come from */
	size_t pools_n;
	struct netlink netlink;
	int nft_fd;
	bool laid;	   /* our table is on the host */
	bool foreign_drop; /* somebody's forward chain drops by policy: publish by relay only */
	uint16_t egress_tcp, egress_dns; /* hull-net's doors to the world, 0: none */
	bool forwarding4, forwarding6;
	bool bridged_rules; /* br_netfilter: a DNAT back to its sender is bridged, not routed */
	struct list networks, endpoints; /* in order of making */
	size_t networks_n;
	struct names *names;	   /* NULL: no hull-net */
	struct pods *pods;	   /* NULL: none were configured */
	struct services *services; /* NULL: there were none yet */
	struct zone_told *zone;	   /* NULL: none is served */
	struct loop_watch *nft_watch;
	struct loop_timer *nft_settle;
	int nft_events;
};

struct network {
	struct list link;
	struct network_host *host;
	struct arena arena; /* holds spec */
	struct network_spec spec;
	enum network_driver driver;
	char bridge[IFNAMSIZ];
	int index;   /* of the bridge, 0: not laid */
	bool loaded; /* from a record: its own bridge may be on the host already */
	uint32_t mtu;
	bool icc, masquerade;
	char iface_prefix[IFNAMSIZ];
	struct ip binding; /* default host address of published ports; none: all */
	struct ip_net net4, net6;
	struct ip_net range4, range6;
	struct ip gateway4, gateway6;
	struct ip next4, next6; /* where the search for a free address goes on */
	struct map taken;	/* address -> what holds it (a text) */
	size_t endpoints_n;
};

struct published {
	struct network_port port; /* resolved */
	int fd;			  /* the socket that reserves it, -1: hull-net holds it */
	bool given;		  /* hull-net has it */
};

struct network_endpoint {
	struct list link;
	struct network *network;
	struct arena arena;
	struct network_endpoint_info info;
	char *name;
	char **aliases;
	struct json_pair *links;
	char **dns;
	struct ip ip4, ip6;
	uint8_t mac[6];
	struct published *published;
	struct network_port *ports; /* what info.ports shows: the same, without descriptors */
	size_t published_n, published_room;
};

/* ---- host.c ---- */

struct network *network_new(struct network_host *h); /* in no list yet */
void network_free(struct network *n);

/* ---- spec.c ---- */

/* Deep-copies, checks and reads `spec` into n->spec and the fields made from it; addresses not yet.
 */
int spec_take(struct network *n, const struct network_spec *spec, struct err *e) must_use;
int spec_take_record(struct network *n, const struct json *record, struct err *e) must_use;
struct json *spec_encode(const struct network_spec *s);
const char *spec_option(const struct network *n, const char *key);

/* ---- pool.c ---- */

/* Default subnets: those of `bits` bits within `net`, from the `first` on. */
struct pool {
	struct ip_net net;
	uint8_t bits;
	uint16_t first;
};

/* Reads "172.30.0.0/16:24"; NULL gives the built-in ones. */
int pool_read(char *const *texts, struct pool **ret, size_t *ret_n, struct err *e) must_use;

/* Completes and checks the subnets of a bridge network; writes them back into n->spec. */
int pool_choose(struct network *n, struct err *e) must_use;
/* Reserves a wanted address, or the next free one, for `holder` (a text that outlives the hold). */
int pool_take(struct network *n, int family_n, const struct ip *wanted, const char *holder,
	      struct ip *ret, struct err *e) must_use;
void pool_give(struct network *n, const struct ip *a);

/* ---- bridge.c ---- */

int bridge_lay(struct network *n, struct err *e) must_use; /* makes or mends it */
int bridge_remove(struct network *n, struct err *e) must_use;
/* Removes links that carry our tag and belong to no network or endpoint. */
int bridge_sweep(struct network_host *h, struct err *e) must_use;
int bridge_forwarding(struct network_host *h, bool v6, struct err *e) must_use;

/* ---- rules.c ---- */

int rules_lay(struct network_host *h, struct err *e) must_use; /* the whole table anew */
int rules_network(struct network *n, bool add, struct err *e) must_use;
int rules_ports(struct network_endpoint *ep, bool add, struct err *e) must_use;
int rules_names(const struct network_ns *ns, struct err *e) must_use;
int rules_watch(struct network_host *h, struct err *e) must_use;
void rules_unwatch(struct network_host *h);
/* Looks for foreign chains that drop forwarded packets by policy; true when the answer changed. */
bool rules_look_around(struct network_host *h);

/* ---- publish.c ---- */

int publish_reserve(struct network_endpoint *ep, const struct network_port *ports, size_t n,
		    struct err *e) must_use;
/* Binds again what was resolved before (after a loss of hull-net or of the host). */
/* A listening (TCP) or bound (UDP) socket on a free port of every IPv4 address. */
int publish_door(enum network_proto proto, int *ret_fd, uint16_t *ret_port, struct err *e) must_use;
/* The same at one address and port. */
int publish_bind(enum network_proto proto, const struct ip *at, uint16_t port, int *ret_fd,
		 struct err *e) must_use;
int publish_rebind(struct network_endpoint *ep, struct published *p, struct err *e) must_use;
void publish_release(struct network_endpoint *ep);

/* ---- endpoint.c ---- */

/* Made of what was asked for or recorded: ports and addresses reserved, nothing on the host yet. */
struct network_endpoint *endpoint_new(struct network *n, const char *container);
int endpoint_fill(struct network_endpoint *ep, const struct network_join *join,
		  struct err *e) must_use;
int endpoint_load_fields(struct network_endpoint *ep, const struct json *record,
			 struct err *e) must_use;
void endpoint_enter(struct network_endpoint *ep); /* into its host's list */
void endpoint_free(struct network_endpoint *ep);
struct network_endpoint *endpoint_find(struct network_host *h, const char *id);

/* ---- pod.c, pod_rules.c, service.c ---- */

/* Interfaces of pods are known to rules by how their names begin: "hp-TAG-". */
#define POD_PREFIX_LEN 8

/* What is the host's of all pods: the node's own addresses, the cluster's nets. */
struct pods {
	struct network *network; /* in no list */
	int index;		 /* of "hl-TAG-pods" */
	char link[IFNAMSIZ], prefix[IFNAMSIZ];
	char table[24]; /* "hull-TAG-pods" */
	struct ip own4, own6;
	struct ip_net *cluster, *services;
	size_t cluster_n, services_n;
	bool laid; /* the table is on the host */
};

struct pods *pods_free(struct pods *p);
int pods_lay(struct network_host *h, struct err *e) must_use; /* makes or mends the host's part */
/* Takes it all off the host, for network_host_clear(). */
int pods_clear(struct network_host *h, struct err *e) must_use;

/* The fixed part of the table, around services and connections that live; services_lay() next. */
int pod_rules_lay(struct network_host *h, struct err *e) must_use;

struct services *services_free(struct services *s);
/* Everything anew into maps that may hold anything. */
int services_lay(struct network_host *h, struct err *e) must_use;

/* ---- zone.c ---- */

struct zone_told *zone_told_free(struct zone_told *z);
int zone_lay(struct network_host *h, struct err *e) must_use; /* its addresses are this host's */
/* What names.c says: hull-net said what it has; it was lost; it has read what it was told. */
void zone_catch_up(struct network_host *h);
void zone_lost(struct network_host *h);
void zone_read(struct network_host *h);
bool zone_is_id(const char *id); /* of what hull-net has: the zone's */

/* ---- names.c: told as data, see tell.h ---- */

/* False: hull-net is lost, and will be caught up with. `message` is taken. */
bool names_send(struct network_host *h, struct json *message, const int *fds, size_t fds_n);
bool names_send_bytes(struct network_host *h, const void *bytes, size_t n);
bool names_ready(const struct network_host *h);		      /* it said what it has */
bool names_has(const struct network_host *h, const char *id); /* it said that it has this */

int names_open(struct network_host *h, const char *program, struct err *e) must_use;
struct names *names_free(struct names *t);
void names_stop(struct names *t); /* ends hull-net */
void names_sync(struct names *t); /* everything anew: hull-net answers what it lacks */
/* Says what a container is now; descriptors may be NULL. Nothing left of it: it is forgotten. */
void names_tell(struct network_host *h, const char *container, const struct network_ns *ns);
void names_tell_port(struct network_endpoint *ep, struct published *p);
/* Opens or shuts hull-net's doors to the world, host->egress_*; see rules.c. */
void names_egress(struct network_host *h, bool open);
void names_forget_port(struct network_endpoint *ep, const struct published *p);
