/*
 * The daemon's end of hull-net: finds or starts it, and tells it as data what each container is
 * called and where, and which sockets are whose.
 *
 * Messages are JSON objects over a SOCK_SEQPACKET socket, descriptors beside them; nobody waits for
 * an answer. hull-net lives on when the daemon goes; on each (re)connection it is greeted, answers
 * what it holds, and is then told the difference:
 *
 *	-> {"op":"hello","version":1}
 *	<- {"op":"have","containers":[ID...],"relays":[KEY...]}
 *	-> {"op":"container","id":ID,"upstream":B,"dns":[...]|null,"links":[[target,alias]...],
 *	    "endpoints":[{"network":NID,"names":[...],"ip4":A,"ip6":A}...]}
 *	   with [udp, tcp] or nothing
 *	-> {"op":"forget","id":ID}
 *	-> {"op":"relay","key":KEY,"proto":P,"to":A,"port":N}
 *	   with [socket] or nothing
 *	   (proto "egress": no target, each connection goes where it was meant to go)
 *	-> {"op":"unrelay","key":KEY}            -> {"op":"stop"}
 *
 * (what is told of the cluster's names stands in zone.c)
 *
 * What cannot be sent is dropped: the connection is then lost; a new one starts with everything.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/wire/packet.h"
#include "ground/wire/unix.h"
#include "virt/network/network_priv.h"

#define VERSION	   1
#define RESTART_MS 500 /* a hull-net that ends at once is not started in a circle */

struct names {
	struct network_host *host;
	char *program, *dir, *path;
	struct packet *packet;
	struct loop_timer *again;
	bool synced;  /* hull-net said what it has: from now on single changes are told */
	bool wanted;  /* network_reconcile() was called */
	bool stopped; /* it was told to end: nobody starts it again */
	struct map have_containers, have_relays;
	struct map served; /* containers whose sockets were sent on this connection */
};

static void lost(void *arg);
static void received(void *arg, const void *bytes, size_t n, int *fds, size_t fds_n);

static const struct packet_ops ops = {.received = received, .closed = lost};

/* ---- connection ---- */

static int start(struct names *t, struct err *e)
{
	auto_close int listener = -1;
	char *argv[] = {t->program, t->dir, NULL};
	struct loop_process *process;
	int fds[4] = {-1, -1, STDERR_FILENO, -1}, r;

	r = unix_listen(t->path, SOCK_SEQPACKET | SOCK_NONBLOCK, 0600, &listener, e);
	if (r < 0)
		return r;
	fds[3] = listener;
	r = loop_spawn(t->host->loop,
		       &(struct loop_spawn_options){.program = t->program,
						    .argv = argv,
						    .fds = fds,
						    .fds_n = array_len(fds),
						    .new_session = true},
		       &process, e);
	if (r < 0)
		return err_wrap(e, "cannot start '%s'", t->program);
	(void)loop_process_free(process); /* it outlives us; its end is seen on the connection */
	return 0;
}

static int greet(struct names *t, struct err *e)
{
	static const char hello[] = "{\"op\":\"hello\",\"version\":1}";

	static_assert(VERSION == 1, "hello says the version");
	t->synced = false;
	return packet_send(t->packet, hello, sizeof(hello) - 1, NULL, 0, e);
}

static int connect_or_start(struct names *t, struct err *e)
{
	int r = packet_connect(t->host->loop, t->path, &ops, t, &t->packet, NULL);

	if (r < 0) {
		r = start(t, e);
		if (r == 0)
			r = packet_connect(t->host->loop, t->path, &ops, t, &t->packet, e);
	}
	return r < 0 ? r : greet(t, e);
}

static void try_again(void *arg)
{
	struct names *t = arg;
	struct err e = {0};

	if (t->packet)
		return;
	if (connect_or_start(t, &e) < 0) {
		t->packet = packet_free(t->packet);
		log_error("names and relays are out: %s", e.text);
		loop_timer_set(t->again, RESTART_MS * 10, 0);
	}
}

static void lost(void *arg)
{
	struct names *t = arg;

	if (!t->stopped)
		log_warn("hull-net has ended: starting it again");
	t->packet = packet_free(t->packet);
	t->synced = false;
	map_done(&t->served);
	t->host->egress_tcp = t->host->egress_dns = 0;
	zone_lost(t->host);
	list_each (&t->host->endpoints, struct network_endpoint, link, ep)
		for (size_t i = 0; i < ep->published_n; i++)
			ep->published[i].given = false;
	if (!t->stopped)
		loop_timer_set(t->again, RESTART_MS, 0);
}

int names_open(struct network_host *h, const char *program, struct err *e)
{
	struct names *t = mem_new(struct names);

	t->host = h;
	h->names = t;
	t->program = mem_dup_text(program);
	t->dir = mem_printf("%s/net", h->run);
	t->path = mem_printf("%s/sock", t->dir);
	t->again = loop_timer_new(h->loop, try_again, t);
	if (mkdir(t->dir, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", t->dir);
	return connect_or_start(t, e);
}

struct names *names_free(struct names *t)
{
	if (!t)
		return NULL;
	t->packet = packet_free(t->packet);
	if (t->again)
		t->again = loop_timer_free(t->again);
	map_done(&t->have_containers);
	map_done(&t->have_relays);
	map_done(&t->served);
	free(t->program);
	free(t->dir);
	free(t->path);
	free(t);
	return NULL;
}

/* ---- telling ---- */

static bool tell_bytes(struct names *t, const void *bytes, size_t n, const int *fds, size_t fds_n)
{
	struct err e = {0};

	if (!t->packet)
		return false;
	if (packet_send(t->packet, bytes, n, fds, fds_n, &e) == 0)
		return true;
	log_error("cannot tell hull-net: %s", e.text);
	lost(t);
	return false;
}

static bool say(struct names *t, struct json *message, const int *fds, size_t fds_n)
{
	auto_json struct json *owned = message;
	auto_strbuf struct strbuf b = {0};

	json_write(owned, &b);
	return tell_bytes(t, b.p, b.n, fds, fds_n);
}

static void tell(struct names *t, struct json *message, const int *fds, size_t fds_n)
{
	(void)say(t, message, fds, fds_n);
}

bool names_send(struct network_host *h, struct json *message, const int *fds, size_t fds_n)
{
	auto_json struct json *owned = message;

	return h->names && say(h->names, json_ref(owned), fds, fds_n);
}

bool names_send_bytes(struct network_host *h, const void *bytes, size_t n)
{
	return h->names && tell_bytes(h->names, bytes, n, NULL, 0);
}

bool names_ready(const struct network_host *h)
{
	return h->names && h->names->packet && h->names->synced;
}

bool names_has(const struct network_host *h, const char *id)
{
	return names_ready(h) && map_get(&h->names->have_containers, id);
}

static struct json *op(const char *name)
{
	struct json *j = json_new_object();

	json_set_text(j, "op", name);
	return j;
}

void names_stop(struct names *t)
{
	tell(t, op("stop"), NULL, 0);
	loop_timer_unset(t->again);
	t->stopped = true;
	t->wanted = false;
}

static struct json *endpoint_json(const struct network_endpoint *ep)
{
	struct json *j = json_new_object(), *names = json_new_array();

	json_append(names, json_new_text(ep->name));
	json_append(names, json_new_str((struct str){ep->info.container, 12}));
	for (char **alias = ep->aliases; *alias; alias++)
		json_append(names, json_new_text(*alias));
	json_set_text(j, "network", ep->network->spec.id);
	json_set_text(j, "network_name", ep->network->spec.name);
	json_set(j, "names", names);
	json_set_text(j, "ip4", ep->info.ipv4);
	json_set_text(j, "ip6", ep->info.ipv6);
	return j;
}

static void add_links(struct json *links, const struct network_endpoint *ep)
{
	for (const struct json_pair *p = ep->links; p->key; p++) {
		struct json *pair = json_new_array();

		json_append(pair, json_new_text(p->key));
		json_append(pair, json_new_text(p->value));
		json_append(links, pair);
	}
}

void names_tell(struct network_host *h, const char *container, const struct network_ns *ns)
{
	struct json *j, *endpoints, *links, *dns = NULL;
	bool upstream = false;
	int fds[2] = {-1, -1};
	size_t fds_n = 0;

	if (!h->names)
		return;
	endpoints = json_new_array();
	links = json_new_array();
	list_each (&h->endpoints, struct network_endpoint, link, ep) {
		if (strcmp(ep->info.container, container) != 0 || !network_has_names(ep->network))
			continue;
		json_append(endpoints, endpoint_json(ep));
		add_links(links, ep);
		upstream |= !ep->network->spec.internal;
		if (ep->dns && !dns)
			dns = json_new_texts(ep->dns);
	}
	list_each (&h->endpoints, struct network_endpoint, link, ep)
		if (strcmp(ep->info.container, container) == 0)
			upstream |= !ep->network->spec.internal;
	j = op(json_len(endpoints) ? "container" : "forget");
	json_set_text(j, "id", container);
	json_set_bool(j, "upstream", upstream);
	json_set(j, "dns", dns);
	json_set(j, "links", links);
	json_set(j, "endpoints", endpoints);
	if (ns && ns->dns_udp >= 0 && ns->dns_tcp >= 0) {
		fds[0] = ns->dns_udp;
		fds[1] = ns->dns_tcp;
		fds_n = 2;
	}
	if (fds_n)
		(void)map_put(&h->names->served, container, h);
	else if (!json_len(endpoints))
		(void)map_remove(&h->names->served, container);
	tell(h->names, j, fds, fds_n);
}

static char *port_key(const struct network_port *p)
{
	return mem_printf("%s %s %u", network_proto_name(p->proto), p->host_ip, p->host_port);
}

/* Where a relay of this port goes: the family of the host's address is met where there is one. */
static const char *relay_target(const struct network_endpoint *ep, const struct network_port *p)
{
	bool six = strchr(p->host_ip, ':');

	if (six && ep->info.ipv6[0])
		return ep->info.ipv6;
	return ep->info.ipv4[0] ? ep->info.ipv4 : ep->info.ipv6;
}

void names_tell_port(struct network_endpoint *ep, struct published *p)
{
	struct names *t = ep->network->host->names;
	auto_free char *key = port_key(&p->port);
	struct json *j;

	assert(p->port.host_port);
	if (!t || !t->packet || p->port.proto == NETWORK_SCTP)
		return;
	j = op("relay");
	json_set_text(j, "key", key);
	json_set_text(j, "proto", network_proto_name(p->port.proto));
	json_set_text(j, "to", relay_target(ep, &p->port));
	json_set_i64(j, "port", p->port.port);
	tell(t, j, &p->fd, p->fd >= 0 ? 1 : 0);
	if (!t->packet)
		return;
	p->fd = fd_close(p->fd);
	p->given = true;
}

void names_forget_port(struct network_endpoint *ep, const struct published *p)
{
	struct names *t = ep->network->host->names;
	auto_free char *key = port_key(&p->port);
	struct json *j;

	if (!t || !p->given)
		return;
	j = op("unrelay");
	json_set_text(j, "key", key);
	tell(t, j, NULL, 0);
}

/* ---- the way out under a foreign drop ---- */

#define EGRESS "egress" /* what its relay and its resolver are called */

static void shut_doors(struct names *t)
{
	struct json *relay = op("unrelay"), *resolver = op("forget");

	json_set_text(relay, "key", EGRESS);
	json_set_text(resolver, "id", EGRESS);
	tell(t, relay, NULL, 0);
	tell(t, resolver, NULL, 0);
}

static void hand_over_doors(struct names *t, int tcp, const int dns[2])
{
	struct json *relay = op("relay"), *resolver = op("container");

	json_set_text(relay, "key", EGRESS);
	json_set_text(relay, "proto", EGRESS);
	json_set_text(resolver, "id", EGRESS);
	json_set_bool(resolver, "upstream", true);
	tell(t, relay, &tcp, 1);
	tell(t, resolver, dns, 2);
}

void names_egress(struct network_host *h, bool open)
{
	auto_close int tcp = -1, udp = -1, dns_tcp = -1;
	uint16_t tcp_port = 0, udp_port = 0, unused = 0;
	struct err e = {0};
	int r;

	if (!h->names || !h->names->packet || open == (h->egress_tcp != 0))
		return;
	if (!open) {
		shut_doors(h->names);
		h->egress_tcp = h->egress_dns = 0;
		return;
	}
	r = publish_door(NETWORK_TCP, &tcp, &tcp_port, &e);
	if (r == 0)
		r = publish_door(NETWORK_UDP, &udp, &udp_port, &e);
	if (r == 0) /* a resolver has both; TCP questions take the other door */
		r = publish_door(NETWORK_TCP, &dns_tcp, &unused, &e);
	if (r < 0) {
		log_error("%s", e.text);
		return;
	}
	hand_over_doors(h->names, tcp, (int[]){udp, dns_tcp});
	if (!h->names->packet)
		return;
	h->egress_tcp = tcp_port;
	h->egress_dns = udp_port;
}

/* ---- catching up ---- */

static void read_list(struct map *m, const struct json *list)
{
	map_done(m);
	for (size_t i = 0; i < json_len(list); i++) {
		const char *text = json_text(json_at(list, i));

		if (text)
			(void)map_put(m, text, m);
	}
}

static void sync_relays(struct names *t)
{
	struct err e = {0};

	list_each (&t->host->endpoints, struct network_endpoint, link, ep) {
		for (size_t i = 0; i < ep->published_n; i++) {
			struct published *p = &ep->published[i];
			auto_free char *key = port_key(&p->port);

			bool held = map_remove(&t->have_relays, key) || p->given;

			if (!held && p->fd < 0 && publish_rebind(ep, p, &e) < 0)
				log_error("container '%s': %s", ep->name, e.text);
			else
				names_tell_port(ep, p);
		}
	}
	map_each (&t->have_relays, it) {
		struct json *j = op("unrelay");

		json_set_text(j, "key", it->key);
		tell(t, j, NULL, 0);
	}
}

static void sync_containers(struct names *t)
{
	struct network_host *h = t->host;
	struct map told = {0};

	list_each (&h->endpoints, struct network_endpoint, link, ep) {
		if (!network_has_names(ep->network) || map_put(&told, ep->info.container, ep))
			continue;
		names_tell(h, ep->info.container, NULL);
		if (!map_remove(&t->have_containers, ep->info.container) &&
		    !map_get(&t->served, ep->info.container) && h->names_wanted)
			h->names_wanted(h->ctx, ep->info.container);
	}
	map_each (&t->have_containers, it) {
		struct json *j;

		if (zone_is_id(it->key))
			continue;
		j = op("forget");
		json_set_text(j, "id", it->key);
		tell(t, j, NULL, 0);
	}
	map_done(&told);
}

static void catch_up(struct names *t)
{
	struct err e = {0};

	if (!t->synced || !t->wanted)
		return;
	if (t->host->egress_tcp) {
		(void)map_remove(&t->have_relays, EGRESS);
		(void)map_remove(&t->have_containers, EGRESS);
	}
	sync_relays(t);
	if (t->packet)
		sync_containers(t);
	zone_catch_up(t->host);
	if (t->packet && t->host->foreign_drop && !t->host->egress_tcp &&
	    rules_lay(t->host, &e) < 0)
		log_error("%s", e.text);
}

static void received(void *arg, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	struct names *t = arg;
	auto_json struct json *j = NULL;
	struct err e = {0};

	(void)fds;
	(void)fds_n;
	if (json_parse((struct str){bytes, n}, "hull-net", &j, &e) < 0) {
		log_error("%s", e.text);
		return;
	}
	if (text_eq(json_get_text(j, "op"), "read"))
		zone_read(t->host);
	if (!text_eq(json_get_text(j, "op"), "have"))
		return;
	read_list(&t->have_containers, json_get(j, "containers"));
	read_list(&t->have_relays, json_get(j, "relays"));
	t->synced = true;
	catch_up(t);
}

void names_sync(struct names *t)
{
	struct err e = {0};

	t->wanted = true;
	if (t->packet && greet(t, &e) < 0) /* what it has may have changed since it was asked */
		log_error("%s", e.text);
}
