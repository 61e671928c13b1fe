/*
 * Networks: one node's bridges, addresses, NAT, published ports and names, as a desired state in
 * memory that is laid onto the host.
 *
 * Theory of operation. `struct network_host` holds every network and endpoint of one Hull. Each
 * verb (create, attach, detach, remove) changes the desired state and the host together, with a
 * handful of netlink messages and one nftables transaction; it is synchronous, takes around a
 * millisecond and is meant for the loop thread. Nothing is stored here: the engine keeps the JSON
 * that network_encode() and network_endpoint_encode() give, feeds it back after a restart through
 * the *_load() calls, and calls network_reconcile() once, which makes bridges, table, relays and
 * names what they should be, whatever the host looks like, and removes what carries our tag and
 * belongs to nobody.
 *
 * Names on the host carry a tag made from the root's path (bridge "hl-TAG-...", veth
 * "hv-TAG-...", nft table "hull-TAG"), so that several Hulls and a dockerd live side by side; no
 * rule, chain or sysctl of another is touched, but for ip_forward (and, with the first v6
 * network, its v6 sibling).
 *
 * What needs a process (DNS on 127.0.0.11, relays for connections that rules cannot reach, such as
 * 127.0.0.1 of the host) is hull-net's: this room starts it, tells it tables and hands it sockets.
 * It outlives the daemon. Its loss is noticed on the loop and mended.
 *
 * Not here: the namespace itself (the keeper makes it and hands `struct network_ns` up), joining
 * another container's namespace (the engine's), images and stores.
 *
 *	network_host_open(&(struct network_host_options){.root = root, .run = run,
 *			  .net_program = "/usr/libexec/hull/hull-net", .world = &world_real},
 *			  &host, e);
 *	network_create(host, &(struct network_spec){.name = "bridge", .driver = "bridge",
 *		       .default_bridge = true}, &net, e);
 *	store(network_encode(net));
 *	network_attach(host, net, &ns, &(struct network_join){.container = id, .name = "web",
 *		       .gateway = true, .ports = ports, .ports_n = 1}, &ep, e);
 *	printf("%s\n", network_endpoint_info(ep)->ipv4);
 *	network_detach(host, ep, NULL, e);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"
#include "ground/base/world.h"
#include "ground/format/json.h"
#include "ground/wire/loop.h"

#define NETWORK_NAME_MAX     128   /* bytes of a network's name */
#define NETWORK_NETWORKS_MAX 1024  /* networks of one Hull */
#define NETWORK_ALIASES_MAX  64	   /* aliases and links of one endpoint, each */
#define NETWORK_PORTS_MAX    65536 /* published ports of one endpoint */
#define NETWORK_ADDR_LEN     50	   /* an address as text, NUL included */

struct network_host;
struct network;
struct network_endpoint;

/* ---- data ---- */

/* One IPAM pool. Texts may be NULL: chosen then. */
struct network_subnet {
	char *subnet;	       /* "172.20.0.0/16", "fd00:1::/64" */
	char *gateway;	       /* "172.20.0.1"; NULL: the first address */
	char *ip_range;	       /* "172.20.128.0/20": dynamic addresses come from here */
	struct json_pair *aux; /* name -> address: never given out */
};

/*
 * A network as data. Borrowed by network_create(); network_spec() gives the completed form (id,
 * subnets with gateway, bridge name). Drivers: "bridge", "host", "none" (the latter two have no
 * host state). Options understood: com.docker.network.bridge.name, .bridge.enable_icc,
 * .bridge.enable_ip_masquerade, .bridge.host_binding_ipv4, .bridge.gateway_mode_ipv4 (nat, routed
 * is refused), .driver.mtu, com.docker.network.container_iface_prefix.
 */
struct network_spec {
	char *name;
	char *id;	 /* 64 hex digits; NULL: made */
	char *driver;	 /* NULL: "bridge" */
	char *created;	 /* RFC 3339, the engine's */
	char *owner;	 /* the engine's: docker, kube, cli */
	bool internal;	 /* no NAT, no way out, no upstream names */
	bool attachable; /* kept, means nothing on one node */
	bool ipv6;
	bool default_bridge; /* the network "bridge": no embedded DNS, links by hosts file */
	struct network_subnet *subnets; /* one v4, one v6 at most */
	size_t subnets_n;
	struct json_pair *labels;
	struct json_pair *options;
};

enum network_proto { NETWORK_TCP, NETWORK_UDP, NETWORK_SCTP };
#define NETWORK_PROTOS 3
const char *network_proto_name(enum network_proto p); /* "tcp" */
int network_proto_parse(struct str text, enum network_proto *ret, struct err *e) must_use;

/* One published port. In a request a range is expanded by the caller, or given in host_port_last.
 */
struct network_port {
	char host_ip[NETWORK_ADDR_LEN]; /* "": every address, v4 and v6 */
	uint16_t host_port;		/* 0: a free one is picked */
	uint16_t host_port_last;	/* > host_port: the first free one of this range; else 0 */
	uint16_t port;			/* the container's */
	enum network_proto proto;
};

/* What an endpoint is once attached; every text is "" where it does not apply. */
struct network_endpoint_info {
	char id[65];
	char network[65]; /* id of the network */
	char container[65];
	char ifname[16]; /* inside: "eth0" */
	char host_ifname[16];
	char mac[18];
	char ipv4[NETWORK_ADDR_LEN];
	char gateway4[NETWORK_ADDR_LEN];
	char ipv6[NETWORK_ADDR_LEN];
	char gateway6[NETWORK_ADDR_LEN];
	uint8_t prefix4, prefix6;
	bool gateway;			  /* the default route goes this way */
	const struct network_port *ports; /* resolved: host_ip and host_port filled; v4 and v6
					     of one request are two entries */
	size_t ports_n;
	char *const *aliases; /* NULL-terminated, as asked */
};

/* Descriptors from inside a container's network namespace; -1 where absent. Always borrowed. */
struct network_ns {
	int netns;     /* the namespace itself (nsfs) */
	int route;     /* NETLINK_ROUTE socket opened inside */
	int netfilter; /* NETLINK_NETFILTER socket opened inside; needed where dns_* are given */
	int dns_udp;   /* bound to 127.0.0.11, any port, inside; see ground/linux/netns.h */
	int dns_tcp;   /* the same, listening */
};

struct network_join {
	const char *container; /* 64 hex digits */
	const char *name;      /* the container's name, without "/" */
	const char *hostname;  /* NULL or its --hostname; not resolvable, only in the hosts file */
	char *const *aliases;  /* further names on this network */
	const struct json_pair *links; /* key: the other container's name or id, value: alias */
	const char *ipv4;	       /* NULL: chosen; must lie in the subnet */
	const char *ipv6;
	const char *mac;
	const char *ifname; /* NULL: "eth0", "eth1", ...: the first free one of this container */
	bool gateway;	    /* put the default route here (the engine picks one network) */
	const struct network_port *ports; /* published through this endpoint */
	size_t ports_n;
	char *const *dns; /* upstream servers of this container; NULL: the host's */
};

/* ---- the host ---- */

struct network_host_options {
	const char *root;	 /* its real path makes the tag */
	const char *run;	 /* hull-net lives in <run>/net */
	struct loop *loop;	 /* where the connection to hull-net lives; NULL with net_program */
	const char *net_program; /* hull-net; NULL: no names, no relays (tests) */
	const struct world *world;
	char *const *pools; /* "172.30.0.0/16:24": where default subnets come from; NULL: ours */
	/*
	 * hull-net has lost (or never had) this container's DNS sockets: get new ones from its
	 * keeper and give them to network_names_serve(). May be NULL. Never called from inside a
	 * verb, only from network_reconcile() and network_host_readable().
	 */
	void (*names_wanted)(void *ctx, const char *container);
	void *ctx;
};

/* Opens netlink sockets, connects to hull-net or starts it. Nothing on the host is changed yet. */
int network_host_open(const struct network_host_options *o, struct network_host **ret,
		      struct err *e) must_use;
/* Forgets everything and touches nothing: bridges, rules and hull-net stay. Returns NULL. */
struct network_host *network_host_free(struct network_host *h);
/*
 * Takes everything off the host that carries our tag (bridges, veths, table), and ends hull-net.
 * For `hull down` with nothing running.
 */
int network_host_clear(struct network_host *h, struct err *e) must_use;

/*
 * Makes the host what was loaded: to be called once after the *_load() calls. Goes on past single
 * failures, says the first, and may be called again at any time.
 */
int network_reconcile(struct network_host *h, struct err *e) must_use;

/* The tag, 4 hex digits: "hull-TAG" is the nft table. */
const char *network_host_tag(const struct network_host *h);

/* ---- networks ---- */

/*
 * Checks, completes and makes a network. ERR_EXISTS: the name is taken; ERR_INVALID: bad subnet,
 * option or name; ERR_CONFLICT: the subnet overlaps a network or a route of the host;
 * ERR_EXHAUSTED: no free default subnet.
 */
int network_create(struct network_host *h, const struct network_spec *spec, struct network **ret,
		   struct err *e) must_use;
/* Takes back what network_encode() gave; the host is untouched until network_reconcile(). */
int network_load(struct network_host *h, const struct json *record, struct network **ret,
		 struct err *e) must_use;
struct json *network_encode(const struct network *n); /* the caller's */
/* ERR_CONFLICT while endpoints are on it (it names one), ERR_FORBIDDEN for the built-in three. */
int network_remove(struct network_host *h, struct network *n, struct err *e) must_use;

const struct network_spec *network_spec(const struct network *n); /* complete; lives as long as n */
/* Finds by full id, name, or unique id prefix, in this order. ERR_NOT_FOUND, ERR_INVALID:
 * ambiguous. */
int network_find(struct network_host *h, const char *id_or_name, struct network **ret,
		 struct err *e) must_use;
/* Walks in order of making: NULL gives the first, then the one after `n`; NULL at the end. */
struct network *network_next(struct network_host *h, const struct network *n);

/* ---- endpoints ---- */

/*
 * Plugs a namespace into a network: veth pair, address, routes, published ports, names. For "host"
 * and "none" `ns` is not looked at and the info has no addresses. ERR_CONFLICT: the address or the
 * port is taken (the message names the container of ours that holds it); ERR_EXHAUSTED: no address
 * left. On error nothing stays behind.
 */
int network_attach(struct network_host *h, struct network *n, const struct network_ns *ns,
		   const struct network_join *join, struct network_endpoint **ret,
		   struct err *e) must_use;
/*
 * Unplugs. `ns` NULL: the namespace is gone or going, and its veth with it. Otherwise the interface
 * is taken out of the running container; `ns->route` is needed for the new default route only, the
 * engine chooses the endpoint for that with network_endpoint_make_gateway(). Frees `ep` in any
 * case.
 */
int network_detach(struct network_host *h, struct network_endpoint *ep, const struct network_ns *ns,
		   struct err *e) must_use;
int network_endpoint_make_gateway(struct network_host *h, struct network_endpoint *ep,
				  const struct network_ns *ns, struct err *e) must_use;
/* The container was renamed: its name on every user-defined network follows. */
void network_rename(struct network_host *h, const char *container, const char *name);

struct json *network_endpoint_encode(const struct network_endpoint *ep); /* the caller's */
/* The endpoint of a container that still runs; reserves its addresses and ports in memory. */
int network_endpoint_load(struct network_host *h, const struct json *record,
			  struct network_endpoint **ret, struct err *e) must_use;
const struct network_endpoint_info *network_endpoint_info(const struct network_endpoint *ep);
struct network *network_endpoint_network(const struct network_endpoint *ep);
/* Walks the endpoints of one network (n) or of all (n NULL), as network_next() does. */
struct network_endpoint *network_endpoint_next(struct network_host *h, const struct network *n,
					       const struct network_endpoint *ep);

/* Gives hull-net new DNS sockets of a container (borrowed), and redirects port 53 inside to them.
 */
int network_names_serve(struct network_host *h, const char *container, const struct network_ns *ns,
			struct err *e) must_use;
/* Does a container on this network use the embedded DNS, so that its keeper must bind dns_*? */
bool network_has_names(const struct network *n);

/* ---- files of a container ---- */

struct network_files {
	bool embedded_dns; /* on a user-defined network: nameserver 127.0.0.11 */
	bool host_network;
	char *const *dns, *const *dns_search, *const *dns_options; /* NULL: the host's */
	const char *hostname;					   /* "web" */
	const char *domainname;					   /* NULL or "example.org" */
	const char *const *ips;	  /* own addresses, NULL-terminated; NULL: none */
	char *const *extra_hosts; /* "name:address"; "host-gateway" stands for host_gateway */
	const char *host_gateway;
	const struct json_pair *link_hosts; /* key: address, value: "alias name id" */
};

/* The text of /etc/resolv.conf. `host_text` is the host's own file. */
int network_resolv_text(const struct network_files *f, struct str host_text, struct strbuf *out,
			struct err *e) must_use;
/* The text of /etc/hosts. */
int network_hosts_text(const struct network_files *f, struct strbuf *out, struct err *e) must_use;
