/*
 * What the files of hull-net share: the tables as they were told, and the verbs between the control
 * connection (server.c), names (resolver.c), upstream (forward.c) and relays (relay.c,
 * relay_udp.c).
 */
#pragma once

#include <sys/socket.h>

#include "ground/base/arena.h"
#include "ground/base/ip.h"
#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/format/dns.h"
#include "ground/format/json.h"
#include "ground/wire/packet.h"
#include "virt/network/server.h"

#define UPSTREAMS_MAX 3 /* as in resolv.conf(5) */

struct upstreams {
	struct ip at[UPSTREAMS_MAX];
	size_t n;
};

struct zone;

struct server {
	struct loop *loop;
	const struct world *world;
	int listener;
	uid_t owner; /* who may tell: whoever started this process */
	struct loop_watch *watch;
	struct packet *control;
	char *resolv_conf;
	struct upstreams host; /* read from it */
	int64_t resolv_mtime_ns, resolv_looked_ms;
	struct map containers; /* id -> struct member */
	struct map names;      /* "network/name" -> struct holders */
	struct map relays;     /* key -> struct relay */
	struct zone *zone;     /* NULL: none was told */
	struct list questions; /* forwarded, struct question */
	size_t questions_n, connections_n;
};

/* ---- names ---- */

/* One container on one network. */
struct place {
	char *network, *network_name;
	char **names;
	struct ip ip4, ip6;
};

struct holders {
	struct place **items;
	size_t n, room;
};

struct member {
	struct server *server;
	char *id;
	struct arena arena; /* of what follows, told anew each time */
	struct place *places;
	size_t places_n;
	struct json_pair *links; /* key: alias, value: the other's name */
	bool upstream;
	const struct zone *zone; /* it is no container but where the zone is asked for */
	struct upstreams dns;	 /* its own; none: the host's */
	int udp, tcp;
	struct loop_watch *udp_watch, *tcp_watch;
	struct list streams; /* TCP clients, struct dns_stream */
	size_t streams_n, questions_n;
};

/* Takes what was told; descriptors (-1: as before) become the member's. */
int member_tell(struct server *s, const char *id, const struct json *told, int *udp, int *tcp,
		struct err *e) must_use;
void member_forget(struct server *s, const char *id);

/* ---- forwarding ---- */

/* Who asked: a datagram's sender, or a TCP stream. */
struct asker {
	struct member *member;
	struct sockaddr_storage from;
	socklen_t from_n;
	struct dns_stream *stream; /* NULL: UDP */
};

void forward_question(const struct asker *who, const struct dns_query *q, const void *bytes,
		      size_t n);
/* The asker (or with stream NULL the whole member) is going: nobody waits any more. */
void forward_forget(struct member *m, const struct dns_stream *stream);
void resolver_reply(const struct asker *who, const void *bytes, size_t n);
void resolver_refuse(const struct asker *who, const struct dns_query *q, enum dns_rcode rcode);

/* Asks for another name in place of the one asked for, and answers with both. */
void forward_alias(const struct asker *who, const struct dns_query *q, const char *target,
		   uint32_t ttl_s);

/* ---- the zone ---- */

void zone_free(struct server *s);
void zone_connected(struct server *s); /* a new daemon, or the same anew, tells from now on */
int zone_tell(struct server *s, const struct json *told, int *udp, int *tcp,
	      struct err *e) must_use;
int zone_records(struct server *s, const struct json *told, struct err *e) must_use;
void zone_settled(struct server *s); /* what this connection did not name is forgotten */
void zone_question(const struct asker *who, const struct dns_query *q, const void *bytes, size_t n);

/* ---- relays ---- */

struct relay {
	struct server *server;
	char *key;
	bool udp;
	bool egress; /* TCP of containers to the world, each to where it was meant to go */
	int fd;
	struct sockaddr_storage to;
	socklen_t to_n;
	struct loop_watch *watch;
	struct loop_timer *idle; /* UDP: forgets silent sessions; TCP: accepts again */
	struct list links;	 /* struct stream (TCP) or struct session (UDP) */
	struct map sessions;	 /* UDP: client -> struct session */
	size_t sessions_n;
};

int relay_tell(struct server *s, const struct json *told, int *fd, struct err *e) must_use;
void relay_forget(struct server *s, const char *key);
void relay_tcp_ready(void *arg, unsigned ready);
void relay_tcp_done(struct relay *r);
void relay_udp_ready(void *arg, unsigned ready);
void relay_udp_done(struct relay *r);
int relay_udp_start(struct relay *r, struct err *e) must_use;
