/*
 * What hull-net is: the server of names and relays. It is told tables as data over one control
 * connection at a time (the protocol stands in names.c) and holds sockets that were made elsewhere:
 * the DNS sockets inside containers' namespaces, and the bound sockets of published ports. Losing
 * the control connection changes nothing: names resolve and ports answer until told otherwise.
 *
 * One thread, one loop. Its clients are hostile: everything they can make it hold has a maximum
 * below, and messages are read by ground/format/dns, which is fuzzed.
 */
#pragma once

#include "ground/base/err.h"
#include "ground/base/world.h"
#include "ground/wire/loop.h"

#define SERVER_QUESTIONS_MAX	 1024 /* forwarded and not answered yet */
#define SERVER_QUESTIONS_EACH	 100  /* of one container */
#define SERVER_DNS_STREAMS_EACH	 32   /* TCP connections to one container's resolver */
#define SERVER_DNS_STREAMS_ZONE	 1024 /* of all who ask for the cluster's names */
#define SERVER_CONNECTIONS_MAX	 4096 /* relayed TCP connections */
#define SERVER_UDP_SESSIONS_EACH 1024 /* of one relayed UDP port */

struct server;

struct server_options {
	struct loop *loop;
	const struct world *world;
	int listener;		 /* SOCK_SEQPACKET, listening; borrowed */
	const char *resolv_conf; /* the host's; read again when it changed */
};

int server_new(const struct server_options *o, struct server **ret, struct err *e) must_use;
struct server *server_free(struct server *s);

/*
 * Gives up whatever serving does not need: user, capabilities, new privileges, system calls. For a
 * process that is hull-net and nothing else, after everything is opened; there is no way back.
 */
int server_confine(struct err *e) must_use;
