/*
 * The packet rules: one nftables table per Hull, "inet hull-TAG", one transaction per change.
 *
 * Theory of operation. The rules are fixed; what varies are sets and maps, so that a packet costs
 * the same with one network or a thousand, and a change is an element:
 *
 *	bridges   our bridges             same     (bridge, bridge) of each of them
 *	internal  those without way out   nat      those whose traffic is masqueraded
 *	publish4, publish6        protocol . host port             -> container address . port
 *	self4, self6              (address, address) of each publishing container
 *	publish4_at, publish6_at  host address . protocol . port   -> container address . port
 *
 *	prerouting, output   to one of the host's addresses: look the port up, DNAT
 *	forward              replies and published ports pass; within a bridge all passes; into a
 *	                     bridge nothing else does (isolation); internal networks have no way out
 *	postrouting          out of a bridge: masquerade; back into the same bridge by DNAT: too
 *	                     (hairpin)
 *
 * What cannot be done with rules: accepting here does not overrule a drop in somebody else's
 * forward chain (a dockerd sets its policy to drop). Where such a chain is seen, hull-net
 * relays, since its traffic is the host's own and not forwarded: published ports are not DNATed,
 * and TCP and DNS of containers to the world are redirected to it (IPv4). Other protocols are
 * then that chain's owner's to allow, and the log says so. Other people's chains are never
 * changed.
 *
 * Our table may be flushed under us (`nft flush ruleset`, firewalld): rules_watch() hears of
 * changes and lays the table again.
 */
#include <netinet/in.h> /* before linux/in.h, which defers to it */

#include <assert.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/network_priv.h"

#define PRIORITY_DSTNAT	    (-100)
#define PRIORITY_SRCNAT	    100
#define PRIORITY_FILTER	    0
#define PUBLISH4_TYPE	    NFT_TYPES2(NFT_T_PROTO, NFT_T_PORT)
#define SETTLE_MS	    200 /* how long foreign changes may go on before we look */
#define ESTABLISHED_RELATED 6	/* the bits of `ct state established,related` */

static const uint8_t proto_number[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
static_assert(sizeof(proto_number) == NETWORK_PROTOS, "a number for each protocol");

/* ---- the fixed part ---- */

static void add_sets(struct nft *t)
{
	static const struct nft_set sets[] = {
		{"bridges", NFT_T_IFNAME, NFT_NAME_LEN, 0, 0},
		{"internal", NFT_T_IFNAME, NFT_NAME_LEN, 0, 0},
		{"nat", NFT_T_IFNAME, NFT_NAME_LEN, 0, 0},
		{"same", NFT_TYPES2(NFT_T_IFNAME, NFT_T_IFNAME), 2 * NFT_NAME_LEN, 0, 0},
		{"publish4", PUBLISH4_TYPE, 8, NFT_TYPES2(NFT_T_IPV4, NFT_T_PORT), 8},
		{"publish6", PUBLISH4_TYPE, 8, NFT_TYPES2(NFT_T_IPV6, NFT_T_PORT), 20},
		{"self4", NFT_TYPES2(NFT_T_IPV4, NFT_T_IPV4), 8, 0, 0},
		{"self6", NFT_TYPES2(NFT_T_IPV6, NFT_T_IPV6), 32, 0, 0},
		{"publish4_at", NFT_TYPES3(NFT_T_IPV4, NFT_T_PROTO, NFT_T_PORT), 12,
		 NFT_TYPES2(NFT_T_IPV4, NFT_T_PORT), 8},
		{"publish6_at", NFT_TYPES3(NFT_T_IPV6, NFT_T_PROTO, NFT_T_PORT), 24,
		 NFT_TYPES2(NFT_T_IPV6, NFT_T_PORT), 20},
	};

	for (size_t i = 0; i < array_len(sets); i++)
		nft_add_set(t, &sets[i]);
}

static void add_chains(struct nft *t)
{
	static const struct nft_chain chains[] = {
		{.name = "publish"},
		{"prerouting", true, "nat", NF_INET_PRE_ROUTING, PRIORITY_DSTNAT},
		{"output", true, "nat", NF_INET_LOCAL_OUT, PRIORITY_DSTNAT},
		{"forward", true, "filter", NF_INET_FORWARD, PRIORITY_FILTER},
		{"postrouting", true, "nat", NF_INET_POST_ROUTING, PRIORITY_SRCNAT},
	};

	for (size_t i = 0; i < array_len(chains); i++)
		nft_add_chain(t, &chains[i]);
}

/* One look-up rule of chain publish: [address .] protocol . port in `map`, then DNAT. */
static void add_look_up(struct nft *t, bool v4, bool by_address, const char *map)
{
	uint32_t words = v4 ? 1 : 4, at = by_address ? words : 0;

	nft_rule(t, "publish");
	nft_meta(t, NFT_META_NFPROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), v4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
	if (by_address)
		nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 16 : 24, words * 4, NFT_R(0));
	nft_meta(t, NFT_META_L4PROTO, NFT_R(at));
	nft_payload(t, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_R(at + 1));
	nft_map(t, NFT_R(0), map, NFT_R(0));
	nft_dnat(t, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6, NFT_R(0), NFT_R(words));
}

/* Loopback addresses are the relays': DNAT of them would need route_localnet. */
static void add_loopback_return(struct nft *t, const char *chain)
{
	static const uint8_t four = 127;

	nft_rule(t, chain);
	nft_meta(t, NFT_META_NFPROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), NFPROTO_IPV4);
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, 16, 1, NFT_R(0));
	nft_cmp(t, true, NFT_R(0), &four, 1);
	nft_verdict(t, NFT_RETURN);
	nft_rule(t, chain);
	nft_meta(t, NFT_META_NFPROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), NFPROTO_IPV6);
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, 24, 16, NFT_R(0));
	nft_cmp(t, true, NFT_R(0), &in6addr_loopback, sizeof(in6addr_loopback));
	nft_verdict(t, NFT_RETURN);
}

static void add_publishing(struct nft *t)
{
	static const char *const hooks[] = {"prerouting", "output"};

	add_look_up(t, true, true, "publish4_at");
	add_look_up(t, true, false, "publish4");
	add_look_up(t, false, true, "publish6_at");
	add_look_up(t, false, false, "publish6");
	for (size_t i = 0; i < array_len(hooks); i++) {
		add_loopback_return(t, hooks[i]);
		nft_rule(t, hooks[i]);
		nft_daddr_is(t, RTN_LOCAL);
		nft_jump(t, "publish");
	}
}

static void in_set(struct nft *t, uint32_t meta, const char *set, bool inverted)
{
	nft_meta(t, meta, NFT_R(0));
	nft_in_set(t, NFT_R(0), set, inverted);
}

static void in_same(struct nft *t)
{
	nft_meta(t, NFT_META_IIFNAME, NFT_R(0));
	nft_meta(t, NFT_META_OIFNAME, NFT_R(4));
	nft_in_set(t, NFT_R(0), "same", false);
}

static void ct_has(struct nft *t, uint32_t key, uint32_t bits)
{
	nft_ct(t, key, NFT_R(0));
	nft_bits(t, NFT_R(0), bits);
	nft_cmp_u32(t, false, NFT_R(0), 0);
}

static void add_forward(struct nft *t)
{
	nft_rule(t, "forward");
	ct_has(t, NFT_CT_STATE, ESTABLISHED_RELATED);
	nft_verdict(t, NF_ACCEPT);
	nft_rule(t, "forward");
	in_set(t, NFT_META_OIFNAME, "bridges", false);
	ct_has(t, NFT_CT_STATUS, IPS_DST_NAT);
	nft_verdict(t, NF_ACCEPT);
	nft_rule(t, "forward");
	in_same(t);
	nft_verdict(t, NF_ACCEPT);
	nft_rule(t, "forward");
	in_set(t, NFT_META_IIFNAME, "internal", false);
	nft_verdict(t, NF_DROP);
	nft_rule(t, "forward");
	in_set(t, NFT_META_OIFNAME, "bridges", false);
	nft_verdict(t, NF_DROP);
}

/*
 * Under a foreign drop: TCP to the world, and questions to its name servers, are led to hull-net,
 * which asks in the container's place. Nobody but containers may use those doors.
 */
static void add_egress_lead(struct nft *t, uint8_t proto, uint16_t port, bool dns_only,
			    const struct pods *pods)
{
	uint16_t door = htons(port), dns = htons(53);

	nft_rule(t, "prerouting");
	if (pods) {
		nft_meta(t, NFT_META_IIFNAME, NFT_R(0));
		nft_cmp(t, true, NFT_R(0), pods->prefix, POD_PREFIX_LEN);
	} else {
		in_set(t, NFT_META_IIFNAME, "nat", false);
	}
	nft_meta(t, NFT_META_NFPROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), NFPROTO_IPV4);
	nft_meta(t, NFT_META_L4PROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), proto);
	if (dns_only) {
		nft_payload(t, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_R(0));
		nft_cmp(t, true, NFT_R(0), &dns, sizeof(dns));
	}
	nft_daddr_is(t, RTN_UNICAST);
	nft_daddr_oifname(t, NFT_R(0));
	nft_in_set(t, NFT_R(0), "bridges", true);
	if (pods) { /* their interfaces have no address that could be redirected to */
		nft_load(t, NFT_R(0), pods->own4.b, 4);
		nft_load(t, NFT_R(1), &door, sizeof(door));
		nft_dnat(t, NFPROTO_IPV4, NFT_R(0), NFT_R(1));
		return;
	}
	nft_load(t, NFT_R(0), &door, sizeof(door));
	nft_redirect(t, NFT_R(0));
}

static void add_egress_door(struct nft *t, uint8_t proto, uint16_t port, bool dns_only,
			    const struct pods *pods)
{
	uint16_t door = htons(port);

	add_egress_lead(t, proto, port, dns_only, NULL);
	if (pods)
		add_egress_lead(t, proto, port, dns_only, pods);
	nft_rule(t, "input");
	if (pods) {
		nft_meta(t, NFT_META_IIFNAME, NFT_R(0));
		nft_cmp(t, false, NFT_R(0), pods->prefix, POD_PREFIX_LEN);
	}
	in_set(t, NFT_META_IIFNAME, "nat", true);
	nft_meta(t, NFT_META_L4PROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), proto);
	nft_payload(t, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_R(0));
	nft_cmp(t, true, NFT_R(0), &door, sizeof(door));
	nft_verdict(t, NF_DROP);
}

static void add_egress(struct nft *t, const struct network_host *h)
{
	const struct pods *pods = h->pods && ip_is(&h->pods->own4) ? h->pods : NULL;

	if (!h->egress_tcp || !h->egress_dns)
		return;
	nft_add_chain(t, &(struct nft_chain){.name = "input",
					     .base = true,
					     .type = "filter",
					     .hook = NF_INET_LOCAL_IN,
					     .priority = PRIORITY_FILTER});
	add_egress_door(t, IPPROTO_UDP, h->egress_dns, true, pods);
	add_egress_door(t, IPPROTO_TCP, h->egress_tcp, false, pods);
}

static void add_postrouting(struct nft *t)
{
	nft_rule(t, "postrouting");
	in_set(t, NFT_META_IIFNAME, "nat", false);
	in_set(t, NFT_META_OIFNAME, "bridges", true);
	nft_masquerade(t);
	for (int v4 = 0; v4 < 2; v4++) {
		nft_rule(t, "postrouting");
		nft_meta(t, NFT_META_NFPROTO, NFT_R(0));
		nft_cmp_u8(t, true, NFT_R(0), v4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
		nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 12 : 8, v4 ? 8 : 32, NFT_R(0));
		nft_in_set(t, NFT_R(0), v4 ? "self4" : "self6", false);
		nft_masquerade(t);
	}
	nft_rule(t, "postrouting");
	in_same(t);
	ct_has(t, NFT_CT_STATUS, IPS_DST_NAT);
	nft_masquerade(t);
}

/* ---- the elements ---- */

static void put_network(struct nft *t, const struct network *n, bool add)
{
	char key[NFT_NAME_LEN] = "", same[2 * NFT_NAME_LEN] = "";
	const struct {
		const char *set;
		bool in;
	} sets[] = {
		{"bridges", true},
		{"internal", n->spec.internal},
		{"nat", n->masquerade && !n->spec.internal},
	};

	assert(n->driver == DRIVER_BRIDGE && strlen(n->bridge) < sizeof(key));
	memcpy(key, n->bridge, strlen(n->bridge));
	memcpy(same, key, sizeof(key));
	memcpy(same + sizeof(key), key, sizeof(key));
	for (size_t i = 0; i < array_len(sets); i++) {
		if (!sets[i].in)
			continue;
		if (add)
			nft_add_element(t, sets[i].set, key, sizeof(key), NULL, 0);
		else
			nft_delete_element(t, sets[i].set, key, sizeof(key));
	}
	if (add)
		nft_add_element(t, "same", same, sizeof(same), NULL, 0);
	else
		nft_delete_element(t, "same", same, sizeof(same));
}

/* Is this port served by a rule at all? Loopback, and v6 to a container without v6, are relayed. */
static bool port_key(const struct network_endpoint *ep, const struct network_port *p, bool *ret_v4,
		     struct ip *ret_at)
{
	if (ip_parse(str_of(p->host_ip), "host address", ret_at, NULL) < 0)
		return false;
	*ret_v4 = ret_at->n == 4;
	if (ip_is_loopback(ret_at) || ep->network->spec.internal)
		return false;
	return *ret_v4 ? ip_is(&ep->ip4) : ip_is(&ep->ip6);
}

static bool is_any(const struct ip *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, a->n) == 0;
}

static void put_port(struct nft *t, const struct network_endpoint *ep, const struct network_port *p,
		     bool add)
{
	uint8_t key[24] = {0}, data[20] = {0};
	size_t key_n = 0, data_n;
	const struct ip *to;
	const char *map;
	struct ip at;
	bool v4;

	if (!port_key(ep, p, &v4, &at))
		return;
	to = v4 ? &ep->ip4 : &ep->ip6;
	if (is_any(&at)) {
		map = v4 ? "publish4" : "publish6";
	} else {
		map = v4 ? "publish4_at" : "publish6_at";
		memcpy(key, at.b, at.n);
		key_n = at.n;
	}
	key[key_n] = proto_number[p->proto];
	key[key_n + 4] = (uint8_t)(p->host_port >> 8);
	key[key_n + 5] = (uint8_t)p->host_port;
	key_n += 8;
	memcpy(data, to->b, to->n);
	data[to->n] = (uint8_t)(p->port >> 8);
	data[to->n + 1] = (uint8_t)p->port;
	data_n = to->n + 4U;
	assert(key_n <= sizeof(key) && data_n <= sizeof(data));
	if (add)
		nft_add_element(t, map, key, key_n, data, data_n);
	else
		nft_delete_element(t, map, key, key_n);
}

static void put_self(struct nft *t, const char *set, const struct ip *ip, bool add)
{
	uint8_t key[32];

	if (!ip_is(ip))
		return;
	memcpy(key, ip->b, ip->n);
	memcpy(key + ip->n, ip->b, ip->n);
	if (add)
		nft_add_element(t, set, key, ip->n * 2U, NULL, 0);
	else
		nft_delete_element(t, set, key, ip->n * 2U);
}

static void put_ports(struct nft *t, const struct network_endpoint *ep, bool add)
{
	if (ep->published_n == 0)
		return;
	put_self(t, "self4", &ep->ip4, add);
	put_self(t, "self6", &ep->ip6, add);
	for (size_t i = 0; i < ep->published_n; i++)
		put_port(t, ep, &ep->published[i].port, add);
}

/* ---- the verbs ---- */

static int commit(struct network_host *h, struct nft *t, struct err *e)
{
	return nft_commit(t, h->nft_fd, e);
}

int rules_lay(struct network_host *h, struct err *e)
{
	auto_nft struct nft *t = nft_new(NFPROTO_INET, h->table);
	int r;

	(void)rules_look_around(h);
	names_egress(h, h->foreign_drop);
	nft_add_table(t, NULL); /* so that there is one to delete: all in one transaction */
	nft_delete_table(t);
	nft_add_table(t, h->root);
	add_sets(t);
	add_chains(t);
	add_publishing(t);
	add_forward(t);
	add_egress(t, h);
	add_postrouting(t);
	list_each (&h->networks, struct network, link, n)
		if (n->driver == DRIVER_BRIDGE)
			put_network(t, n, true);
	if (!h->foreign_drop)
		list_each (&h->endpoints, struct network_endpoint, link, ep)
			put_ports(t, ep, true);
	r = commit(h, t, e);
	h->laid = r == 0;
	return r;
}

int rules_network(struct network *n, bool add, struct err *e)
{
	auto_nft struct nft *t = nft_new(NFPROTO_INET, n->host->table);
	int r;

	if (!n->host->laid)
		return rules_lay(n->host, e);
	put_network(t, n, add);
	r = commit(n->host, t, e);
	if (r < 0) { /* somebody took our table away: the whole of it says the same */
		err_clear(e);
		r = rules_lay(n->host, e);
	}
	return r;
}

int rules_ports(struct network_endpoint *ep, bool add, struct err *e)
{
	struct network_host *h = ep->network->host;
	auto_nft struct nft *t = nft_new(NFPROTO_INET, h->table);
	int r;

	if (ep->published_n == 0)
		return 0;
	if (add && rules_look_around(h))
		return rules_lay(h, e);
	if (h->foreign_drop)
		return 0;
	if (!h->laid)
		return rules_lay(h, e);
	put_ports(t, ep, add);
	r = commit(h, t, e);
	if (r < 0) {
		err_clear(e);
		r = rules_lay(h, e);
	}
	return r;
}

/* Inside a container: port 53 of 127.0.0.11 is where hull-net's sockets are bound. */
static int put_names_rule(struct nft *t, uint8_t proto, int fd, struct err *e)
{
	static const uint8_t resolver[4] = {127, 0, 0, 11};
	struct sockaddr_in at = {0};
	socklen_t n = sizeof(at);
	uint16_t dns = htons(53);

	if (getsockname(fd, (struct sockaddr *)&at, &n) < 0 || at.sin_family != AF_INET)
		return err_set(e, ERR_INVALID, "the container's resolver socket is not bound");
	nft_rule(t, "output");
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, 16, 4, NFT_R(0));
	nft_cmp(t, true, NFT_R(0), resolver, sizeof(resolver));
	nft_meta(t, NFT_META_L4PROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), proto);
	nft_payload(t, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_R(0));
	nft_cmp(t, true, NFT_R(0), &dns, sizeof(dns));
	nft_load(t, NFT_R(0), resolver, sizeof(resolver));
	nft_load(t, NFT_R(1), &at.sin_port, sizeof(at.sin_port));
	nft_dnat(t, NFPROTO_IPV4, NFT_R(0), NFT_R(1));
	return 0;
}

int rules_names(const struct network_ns *ns, struct err *e)
{
	auto_nft struct nft *t = nft_new(NFPROTO_IPV4, "hull");
	int r;

	nft_add_table(t, NULL);
	nft_delete_table(t);
	nft_add_table(t, NULL);
	nft_add_chain(t, &(struct nft_chain){.name = "output",
					     .base = true,
					     .type = "nat",
					     .hook = NF_INET_LOCAL_OUT,
					     .priority = PRIORITY_DSTNAT});
	r = put_names_rule(t, IPPROTO_UDP, ns->dns_udp, e);
	if (r == 0)
		r = put_names_rule(t, IPPROTO_TCP, ns->dns_tcp, e);
	return r < 0 ? r : nft_commit(t, ns->netfilter, e);
}

/* ---- the neighbours ---- */

struct look {
	const char *own, *pods;
	bool drops, own_seen, pods_seen;
	char table[64], chain[64];
};

static void see_chain(void *ctx, const struct nft_chain_info *c)
{
	struct look *l = ctx;

	if (strcmp(c->table, l->own) == 0) {
		l->own_seen = true;
		return;
	}
	if (l->pods && strcmp(c->table, l->pods) == 0) {
		l->pods_seen = true;
		return;
	}
	if (c->hook != NF_INET_FORWARD || !c->drops || c->family == NFPROTO_BRIDGE ||
	    c->family == NFPROTO_NETDEV || c->family == NFPROTO_ARP || c->family == NFPROTO_IPV6)
		return;
	l->drops = true;
	(void)snprintf(l->table, sizeof(l->table), "%s", c->table);
	(void)snprintf(l->chain, sizeof(l->chain), "%s", c->chain);
}

bool rules_look_around(struct network_host *h)
{
	struct look l = {.own = h->table, .pods = h->pods ? h->pods->table : NULL};
	bool before = h->foreign_drop;
	struct err e = {0};

	if (nft_each_base_chain(h->nft_fd, see_chain, &l, &e) < 0) {
		log_warn("%s", e.text);
		return false;
	}
	if (!l.own_seen)
		h->laid = false;
	if (h->pods && !l.pods_seen)
		h->pods->laid = false;
	h->foreign_drop = l.drops;
	if (l.drops && !before)
		log_warn(
			"chain '%s' of nftables table '%s' drops forwarded packets by policy: "
			"published ports, and TCP and DNS of containers to the world, are relayed; "
			"the rest gets out only where that chain accepts the bridges ('hl-%s-*')",
			l.chain, l.table, h->tag);
	return l.drops != before;
}

static void settled(void *arg)
{
	struct network_host *h = arg;
	bool was_laid = h->laid, pods_were = h->pods && h->pods->laid;
	struct err e = {0};

	if ((rules_look_around(h) || h->laid != was_laid) && rules_lay(h, &e) < 0)
		log_error("%s", e.text);
	if (pods_were && !h->pods->laid && pod_rules_lay(h, &e) < 0)
		log_error("%s", e.text);
}

static void heard(void *arg, unsigned int ready)
{
	struct network_host *h = arg;
	char discard[8192];

	(void)ready;
	while (recv(h->nft_events, discard, sizeof(discard), MSG_DONTWAIT) > 0)
		;
	loop_timer_set(h->nft_settle, SETTLE_MS, 0);
}

int rules_watch(struct network_host *h, struct err *e)
{
	/* bound: the kernel tells a socket without an address nothing */
	struct sockaddr_nl self = {.nl_family = AF_NETLINK};
	int group = NFNLGRP_NFTABLES, r;

	assert(h->loop && h->nft_events < 0);
	r = nft_socket_open(&h->nft_events, e);
	if (r < 0)
		return r;
	if (bind(h->nft_events, (struct sockaddr *)&self, sizeof(self)) < 0 ||
	    setsockopt(h->nft_events, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
		    0)
		return err_sys(e, "cannot listen to changes of nftables");
	h->nft_settle = loop_timer_new(h->loop, settled, h);
	return loop_watch_new(h->loop, h->nft_events, LOOP_READ, heard, h, &h->nft_watch, e);
}

void rules_unwatch(struct network_host *h)
{
	if (h->nft_watch)
		h->nft_watch = loop_watch_free(h->nft_watch);
	if (h->nft_settle)
		h->nft_settle = loop_timer_free(h->nft_settle);
	h->nft_events = fd_close(h->nft_events);
}
