/*
 * The guest's network: the first Ethernet interface with the addresses given, or by DHCP (RFC 2131,
 * the four-message way, without renewal: the lease of a machine's host does not end).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

#define NETIF_NAME_ROOM 16
#define DHCP_BYTES_MAX	1500

struct netif_config { /* IPv4 in network order; 0: none */
	uint32_t address, netmask, gateway, dns;
};

/* "ADDRESS/PREFIX[,GATEWAY[,DNS]]" */
int netif_parse(struct str text, struct netif_config *ret, struct err *e) must_use;
/* The first interface that is not lo; waits a while for its driver. */
int netif_find(char ret[NETIF_NAME_ROOM], struct err *e) must_use;
int netif_up(const char *name, struct err *e) must_use;
int netif_configure(const char *name, const struct netif_config *c, struct err *e) must_use;
int netif_dhcp(const char *name, struct netif_config *ret, struct err *e) must_use;

/* The pure part: a message for a type (1 discover, 3 request), and what a reply says. */
struct dhcp_reply {
	uint8_t type; /* 2 offer, 5 ack, 6 nak */
	uint32_t server;
	struct netif_config config;
};
void dhcp_write(struct strbuf *out, uint8_t type, uint32_t xid, const uint8_t mac[6],
		uint32_t address, uint32_t server);
int dhcp_read(struct str bytes, uint32_t xid, struct dhcp_reply *ret, struct err *e) must_use;
