/*
 * The few things a static, single-threaded program does inside a fresh network namespace, without
 * libmnl: bring the loopback up, calm IPv6 down, and open the sockets that the daemon works with
 * from outside. Each call acts on the network namespace the caller is in.
 */
#pragma once

#include <stdbool.h>

#include "ground/base/err.h"

/* Sets lo up (ioctl). */
int netns_loopback_up(struct err *e) must_use;

/*
 * Router advertisements are not listened to on interfaces that come later (a neighbour container
 * could send them). Needs a writable /proc/sys of the host. A kernel without IPv6 is no error.
 */
int netns_refuse_ra(struct err *e) must_use;

/* Descriptors from inside, close-on-exec; the shape that virt/network's struct network_ns mirrors.
 */
struct netns_sockets {
	int netns;     /* /proc/self/ns/net */
	int route;     /* NETLINK_ROUTE */
	int netfilter; /* NETLINK_NETFILTER; only with names */
	int dns_udp;   /* 127.0.0.11, kernel-chosen port; only with names */
	int dns_tcp;   /* 127.0.0.11, kernel-chosen port, listening; only with names */
};

#define NETNS_SOCKETS_NONE         \
	{                          \
		-1, -1, -1, -1, -1 \
	}

/* Opens netns and route, and with `names` the other three. The caller closes them. */
int netns_sockets_open(bool names, struct netns_sockets *ret, struct err *e) must_use;
void netns_sockets_close(struct netns_sockets *s); /* all become -1 */
