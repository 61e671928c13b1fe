/*
 * The packet rules of pods and services: the fixed part of the table "hull-TAG-pods". The maps in
 * it, and what they mean, stand in service.h.
 *
 *	raw          127.* is not for pods, though their interfaces may route it (NodePort on the
 *	             host's own loopback needs that)
 *	prerouting, output   to a service: DNAT. After rules.c, whose doors to the world come first
 *	postrouting  out of the cluster: masquerade; a pod to itself through a service, the host's
 *	             loopback to a pod, and the world to a pod of another node: too
 *	input, forward, output of type filter   new connections to services without endpoints, and
 *	             to addresses of the services' nets that are none, are refused
 *
 * The table is laid around what is in the maps: chains are emptied and filled in one transaction,
 * sets are made where they are missing. Only when that does not go (another release's sets) the
 * table is made from nothing. It is a table of its own so that rules.c, which lays its table anew
 * whenever networks demand it, never touches connections of services.
 */
#include <netinet/in.h> /* before linux/in.h, which defers to it */

#include <assert.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/service_priv.h"

#define PRIORITY_RAW	(-300)
#define PRIORITY_DSTNAT (-99) /* behind the doors of rules.c */
#define PRIORITY_SRCNAT 100
#define PRIORITY_FILTER 0
#define STATE_NEW	8 /* the bit of `ct state new` */

#define FRONT4 NFT_TYPES3(NFT_T_IPV4, NFT_T_PROTO, NFT_T_PORT)
#define FRONT6 NFT_TYPES3(NFT_T_IPV6, NFT_T_PROTO, NFT_T_PORT)
#define AT4    NFT_TYPES2(NFT_T_IPV4, NFT_T_PORT)
#define AT6    NFT_TYPES2(NFT_T_IPV6, NFT_T_PORT)
#define ENDS4  NFT_TYPES4(NFT_T_IPV4, NFT_T_PROTO, NFT_T_PORT, NFT_T_MARK)
#define ENDS6  NFT_TYPES4(NFT_T_IPV6, NFT_T_PROTO, NFT_T_PORT, NFT_T_MARK)
#define AFF4   NFT_TYPES4(NFT_T_MARK, NFT_T_IPV4, NFT_T_IPV4, NFT_T_PORT)
#define AFF6   NFT_TYPES4(NFT_T_MARK, NFT_T_IPV6, NFT_T_IPV6, NFT_T_PORT)

static const struct nft_set sets[] = {
	{"front4", FRONT4, 12, NFT_T_VERDICT_DATA, 0, false},
	{"front6", FRONT6, 24, NFT_T_VERDICT_DATA, 0, false},
	{"refuse4", FRONT4, 12, 0, 0, false},
	{"refuse6", FRONT6, 24, 0, 0, false},
	{"lose4", FRONT4, 12, 0, 0, false},
	{"lose6", FRONT6, 24, 0, 0, false},
	{"ends4", ENDS4, 16, AT4, 8, false},
	{"ends6", ENDS6, 28, AT6, 20, false},
	{"aff4", AFF4, 16, 0, 0, true},
	{"aff6", AFF6, 40, 0, 0, true},
	{"pairs4", NFT_TYPES2(NFT_T_IPV4, NFT_T_IPV4), 8, 0, 0, false},
	{"pairs6", NFT_TYPES2(NFT_T_IPV6, NFT_T_IPV6), 32, 0, 0, false},
	{"balanced4", NFT_T_IPV4, 4, 0, 0, false},
	{"balanced6", NFT_T_IPV6, 16, 0, 0, false},
};

static const struct nft_chain chains[] = {
	{.name = "services4"},
	{.name = "services6"},
	{.name = "nodes4"},
	{.name = "nodes6"},
	{.name = "refuse"},
	{.name = "unserved"},
	{.name = "leave"},
	{.name = "abroad"},
	{"raw", true, "filter", NF_INET_PRE_ROUTING, PRIORITY_RAW},
	{"prerouting", true, "nat", NF_INET_PRE_ROUTING, PRIORITY_DSTNAT},
	{"output", true, "nat", NF_INET_LOCAL_OUT, PRIORITY_DSTNAT},
	{"postrouting", true, "nat", NF_INET_POST_ROUTING, PRIORITY_SRCNAT},
	{"input_filter", true, "filter", NF_INET_LOCAL_IN, PRIORITY_FILTER},
	{"forward_filter", true, "filter", NF_INET_FORWARD, PRIORITY_FILTER},
	{"output_filter", true, "filter", NF_INET_LOCAL_OUT, PRIORITY_FILTER},
};

/* ---- matches ---- */

static void is_family(struct nft *t, bool v4)
{
	nft_meta(t, NFT_META_NFPROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), v4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
}

static void is_pod(struct nft *t, const struct pods *p, uint32_t meta, bool yes)
{
	nft_meta(t, meta, NFT_R(0));
	nft_cmp(t, yes, NFT_R(0), p->prefix, POD_PREFIX_LEN);
}

static void load_daddr(struct nft *t, bool v4, uint32_t reg)
{
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 16 : 24, v4 ? 4 : 16, reg);
}

static void daddr_in(struct nft *t, const struct ip_net *net)
{
	uint8_t mask[16] = {0};

	for (unsigned int i = 0; i < net->bits; i++)
		mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
	is_family(t, net->ip.n == 4);
	load_daddr(t, net->ip.n == 4, NFT_R(0));
	nft_mask(t, NFT_R(0), mask, net->ip.n);
	nft_cmp(t, true, NFT_R(0), net->ip.b, net->ip.n);
}

static void load_front(struct nft *t, bool v4, bool node)
{
	static const uint8_t any[16];
	uint32_t words = v4 ? 1 : 4;

	if (node)
		nft_load(t, NFT_R(0), any, words * 4);
	else
		load_daddr(t, v4, NFT_R(0));
	nft_meta(t, NFT_META_L4PROTO, NFT_R(words));
	nft_payload(t, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_R(words + 1));
}

/* ---- the chains ---- */

/* Fronts with a verdict, then those of one, two, ... endpoints. */
static void add_fronts(struct nft *t, const char *chain, bool v4, bool node)
{
	nft_rule(t, chain);
	load_front(t, v4, node);
	nft_verdict_map(t, NFT_R(0), v4 ? "front4" : "front6");
	for (uint32_t n = 1; n <= FACT_SMALL_MAX; n++)
		fact_small_lay(t, chain, v4, node, n);
}

static void add_services(struct nft *t)
{
	static const char *const hooks[] = {"prerouting", "output"};

	for (int v4 = 1; v4 >= 0; v4--) {
		const char *chain = v4 ? "services4" : "services6",
			   *nodes = v4 ? "nodes4" : "nodes6";

		add_fronts(t, chain, v4, false);
		nft_rule(t, chain);
		nft_daddr_is(t, RTN_LOCAL);
		nft_jump(t, nodes);
		add_fronts(t, nodes, v4, true);
		for (size_t i = 0; i < array_len(hooks); i++) {
			nft_rule(t, hooks[i]);
			is_family(t, v4);
			nft_jump(t, chain);
		}
	}
}

static void add_raw(struct nft *t, const struct pods *p)
{
	static const uint8_t loopback = 127;

	nft_rule(t, "raw");
	is_pod(t, p, NFT_META_IIFNAME, true);
	is_family(t, true);
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, 16, 1, NFT_R(0));
	nft_cmp(t, true, NFT_R(0), &loopback, 1);
	nft_verdict(t, NF_DROP);
}

/* Fronts without endpoints. */
static void add_nobody(struct nft *t, bool v4, bool node)
{
	static const struct {
		const char *four, *six;
		bool lose;
	} kinds[] = {{"refuse4", "refuse6", false}, {"lose4", "lose6", true}};

	for (size_t i = 0; i < array_len(kinds); i++) {
		nft_rule(t, "unserved");
		is_family(t, v4);
		if (node)
			nft_daddr_is(t, RTN_LOCAL);
		load_front(t, v4, node);
		nft_in_set(t, NFT_R(0), v4 ? kinds[i].four : kinds[i].six, false);
		if (kinds[i].lose)
			nft_verdict(t, NF_DROP);
		else
			nft_jump(t, "refuse");
	}
}

static void add_unserved(struct nft *t, const struct pods *p)
{
	static const char *const hooks[] = {"input_filter", "forward_filter", "output_filter"};

	for (int v4 = 1; v4 >= 0; v4--) {
		add_nobody(t, v4, false);
		add_nobody(t, v4, true);
		nft_rule(t, "unserved");
		is_family(t, v4);
		load_daddr(t, v4, NFT_R(0));
		nft_in_set(t, NFT_R(0), v4 ? "balanced4" : "balanced6", false);
		nft_jump(t, "refuse");
	}
	for (size_t i = 0; i < p->services_n; i++) {
		nft_rule(t, "unserved");
		daddr_in(t, &p->services[i]);
		nft_daddr_is(t, RTN_UNICAST); /* not what this host itself listens on */
		nft_jump(t, "refuse");
	}
	for (size_t i = 0; i < array_len(hooks); i++) {
		nft_rule(t, hooks[i]);
		nft_ct(t, NFT_CT_STATE, NFT_R(0));
		nft_bits(t, NFT_R(0), STATE_NEW);
		nft_cmp_u32(t, false, NFT_R(0), 0);
		nft_jump(t, "unserved");
	}
	nft_rule(t, "refuse");
	nft_meta(t, NFT_META_L4PROTO, NFT_R(0));
	nft_cmp_u8(t, true, NFT_R(0), IPPROTO_TCP);
	nft_reject(t, true);
	nft_rule(t, "refuse");
	nft_reject(t, false);
}

static void add_hairpin(struct nft *t, bool v4)
{
	nft_rule(t, "postrouting");
	is_family(t, v4);
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 12 : 8, v4 ? 8 : 32, NFT_R(0));
	nft_in_set(t, NFT_R(0), v4 ? "pairs4" : "pairs6", false);
	nft_masquerade(t);
}

static void add_postrouting(struct nft *t, const struct pods *p)
{
	static const uint8_t loopback = 127;

	add_hairpin(t, true);
	add_hairpin(t, false);
	nft_rule(t, "postrouting");
	is_pod(t, p, NFT_META_OIFNAME, true);
	is_family(t, true);
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, 12, 1, NFT_R(0));
	nft_cmp(t, true, NFT_R(0), &loopback, 1);
	nft_masquerade(t);
	nft_rule(t, "postrouting");
	is_pod(t, p, NFT_META_OIFNAME, true);
	nft_verdict(t, NFT_RETURN);
	nft_rule(t, "postrouting");
	is_pod(t, p, NFT_META_IIFNAME, true);
	nft_jump(t, "leave");
	nft_rule(t, "postrouting");
	is_pod(t, p, NFT_META_IIFNAME, false);
	nft_ct(t, NFT_CT_STATUS, NFT_R(0));
	nft_bits(t, NFT_R(0), IPS_DST_NAT);
	nft_cmp_u32(t, false, NFT_R(0), 0);
	nft_jump(t, "abroad");
	for (size_t i = 0; i < p->cluster_n; i++) {
		nft_rule(t, "leave");
		daddr_in(t, &p->cluster[i]);
		nft_verdict(t, NFT_RETURN);
		nft_rule(t, "abroad");
		daddr_in(t, &p->cluster[i]);
		nft_masquerade(t);
	}
	nft_rule(t, "leave");
	nft_masquerade(t);
}

/* ---- laying ---- */

static void add_small_sets(struct nft *t)
{
	char name[FACT_SET_NAME_MAX];

	for (uint8_t n = 1; n <= FACT_SMALL_MAX; n++) {
		fact_set_name(FACT_ENDS4, n, name);
		nft_add_set(t, &(struct nft_set){name, ENDS4, 16, AT4, 8, false});
		fact_set_name(FACT_ENDS6, n, name);
		nft_add_set(t, &(struct nft_set){name, ENDS6, 28, AT6, 20, false});
	}
}

static int lay(struct network_host *h, bool anew, struct err *e)
{
	auto_nft struct nft *t = nft_new(NFPROTO_INET, h->pods->table);

	nft_add_table(t, h->root);
	if (anew) {
		nft_delete_table(t);
		nft_add_table(t, h->root);
	}
	for (size_t i = 0; i < array_len(sets); i++)
		nft_add_set(t, &sets[i]);
	add_small_sets(t);
	for (size_t i = 0; i < array_len(chains); i++)
		nft_add_chain(t, &chains[i]);
	for (size_t i = 0; i < array_len(chains); i++)
		nft_flush_chain(t, chains[i].name);
	add_raw(t, h->pods);
	add_services(t);
	add_unserved(t, h->pods);
	add_postrouting(t, h->pods);
	return nft_commit(t, h->nft_fd, e);
}

int pod_rules_lay(struct network_host *h, struct err *e)
{
	struct err why = {0};
	int r;

	assert(h->pods);
	r = lay(h, false, &why);
	if (r < 0) {
		log_info("table '%s' is laid from nothing: %s", h->pods->table, why.text);
		h->pods->laid = false;
		r = lay(h, true, e);
	}
	if (r == 0 && !h->pods->laid && h->services)
		r = services_lay(h, e);
	h->pods->laid = r == 0;
	return r;
}
