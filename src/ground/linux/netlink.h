/*
 * Route netlink: links, addresses and routes as typed calls.
 *
 * A `struct netlink` is one socket, either opened here (the namespace of the caller) or a
 * descriptor that came from inside another namespace. Changes are gathered in a batch and go out in
 * one system call; the kernel works them off in order inside that call, so that the answers are
 * there when it returns, and netlink_run() never waits. A batch is not a transaction: what
 * succeeded before or after a failed request stays. The first failure is reported, with the
 * kernel's own sentence where it gives one: "cannot make bridge 'hl-1': File exists".
 *
 * Addresses are struct ip. Needs CAP_NET_ADMIN over the namespace of the socket. One thread at a
 * time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/ip.h"
#include "ground/base/own.h"

#define NETLINK_BATCH_BYTES 65536 /* a batch grows no further: netlink_run() in between */

struct netlink {
	int fd;
	bool owned;
	uint32_t seq;
};

#define NETLINK_NONE     \
	{                \
		.fd = -1 \
	}

int netlink_open(struct netlink *ret, struct err *e) must_use;
/* Works on a borrowed socket; stale answers in it are thrown away. */
int netlink_adopt(int fd, struct netlink *ret, struct err *e) must_use;
void netlink_close(struct netlink *n);

/* ---- questions ---- */

struct netlink_link {
	int index;
	int master;	/* 0: none */
	uint32_t flags; /* IFF_* */
	uint32_t mtu;
	char name[16];
	char kind[16]; /* "bridge", "veth", "" */
	uint8_t mac[6];
};

/* ERR_NOT_FOUND when there is no such interface. */
int netlink_link(struct netlink *n, const char *name, struct netlink_link *ret,
		 struct err *e) must_use;
int netlink_each_link(struct netlink *n, void (*see)(void *ctx, const struct netlink_link *l),
		      void *ctx, struct err *e) must_use;
/* Every address and every unicast route's destination (default routes left out), v4 and v6. */
int netlink_each_net(struct netlink *n, void (*see)(void *ctx, const struct ip_net *net, int index),
		     void *ctx, struct err *e) must_use;
/* The addresses of one interface. */
int netlink_each_address(struct netlink *n, int index,
			 void (*see)(void *ctx, const struct ip_net *net), void *ctx,
			 struct err *e) must_use;

/* ---- changes ---- */

struct netlink_batch;

struct netlink_batch *netlink_batch_new(void);
struct netlink_batch *netlink_batch_free(struct netlink_batch *b);
own_define(netlink_batch, struct netlink_batch *, (void)netlink_batch_free);
#define auto_netlink_batch own_auto(netlink_batch)
/* Sends, collects the answers, empties the batch. The first failure is the result. */
int netlink_run(struct netlink *n, struct netlink_batch *b, struct err *e) must_use;

struct netlink_veth {
	const char *name;	 /* our end, set up */
	int master;		 /* index of its bridge, 0: none */
	uint32_t mtu;		 /* 0: the kernel's */
	const char *peer_name;	 /* the other end, still down: netlink_start() it inside */
	int peer_netns;		 /* descriptor of the namespace it appears in; -1: here */
	const uint8_t *peer_mac; /* 6 bytes or NULL */
	const uint8_t *mac;	 /* our end's; 6 bytes or NULL */
};

void netlink_add_bridge(struct netlink_batch *b, const char *name, const uint8_t mac[6],
			uint32_t mtu, bool ipv6);
void netlink_add_veth(struct netlink_batch *b, const struct netlink_veth *v);
/* Brings an interface up by name; without `ipv6` it gets no link-local address and stays silent. */
void netlink_start(struct netlink_batch *b, const char *name, bool ipv6);
/*
 * A bridge's port: isolated ones of one bridge cannot talk to each other; a hairpin one gets back
 * what it sent when that is where it belongs.
 */
void netlink_set_port(struct netlink_batch *b, const char *name, bool isolated, bool hairpin);
void netlink_add_dummy(struct netlink_batch *b, const char *name);
/* One that is gone already is no error. */
void netlink_delete_link(struct netlink_batch *b, int index, const char *name);
void netlink_set_up(struct netlink_batch *b, int index, const char *name, bool up);
void netlink_set_mtu(struct netlink_batch *b, int index, const char *name, uint32_t mtu);
/* Replaces what is there; v6 without duplicate address detection. */
void netlink_add_address(struct netlink_batch *b, int index, const struct ip_net *a);
void netlink_delete_address(struct netlink_batch *b, int index, const struct ip_net *a);
/* `gateway` may be none (on-link). Replaces a route of the same destination and metric. */
void netlink_add_route(struct netlink_batch *b, int index, const struct ip_net *to,
		       const struct ip *gateway);
/* The same without a gateway, for packets that this host sends with the address `from`. */
void netlink_add_route_from(struct netlink_batch *b, int index, const struct ip_net *to,
			    const struct ip *from);
/* A destination that leads nowhere, but for more specific routes. */
void netlink_add_unreachable(struct netlink_batch *b, const struct ip_net *to);
void netlink_delete_unreachable(struct netlink_batch *b, const struct ip_net *to);
/* Who has this address, for good: nobody is ever asked. Replaces what is there. */
void netlink_add_neighbour(struct netlink_batch *b, int index, const struct ip *ip,
			   const uint8_t mac[6]);
void netlink_delete_route(struct netlink_batch *b, int index, const struct ip_net *to);
