/*
 * The chains that verdicts lead to: one for all services with as many endpoints, which draws a
 * number; and one for each front with affinity, which knows its endpoints by name, since a client
 * must find its own again whatever their number.
 */
#include <netinet/in.h> /* before linux/in.h, which defers to it */

#include <assert.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/network/service_priv.h"

#define TARGET	  NFT_R(10) /* an address and a port, behind every key */
#define FNV_BASIS 0x811c9dc5U
#define FNV_PRIME 0x01000193U

static bool is_front(const struct fact *f)
{
	return f->set == FACT_FRONT4 || f->set == FACT_FRONT6;
}

bool fact_stays(const struct fact *f)
{
	return is_front(f) && fact_pick(f).timeout_s;
}

/* ---- names ---- */

static void stay_name(const struct fact *f, char ret[FACT_CHAIN_MAX])
{
	static const char digits[] = "0123456789abcdef";
	bool v4 = f->set == FACT_FRONT4;
	size_t n = v4 ? 4 : 16;
	char hex[33];

	for (size_t i = 0; i < n; i++) {
		hex[2 * i] = digits[f->key[i] >> 4];
		hex[2 * i + 1] = digits[f->key[i] & 15];
	}
	hex[2 * n] = '\0';
	(void)snprintf(ret, FACT_CHAIN_MAX, "stay%d-%s-%u-%u", v4 ? 4 : 6, hex, f->key[n],
		       (unsigned int)(f->key[n + 4] << 8 | f->key[n + 5]));
}

void fact_chain_name(const struct fact *f, char ret[FACT_CHAIN_MAX])
{
	struct fact_pick pick = fact_pick(f);

	if (pick.timeout_s)
		stay_name(f, ret);
	else
		(void)snprintf(ret, FACT_CHAIN_MAX, "%s%d-%u", pick.node ? "node" : "pick",
			       f->set == FACT_FRONT4 ? 4 : 6, pick.count);
}

static void begin(struct nft *t, const struct fact *front, char chain[FACT_CHAIN_MAX])
{
	fact_chain_name(front, chain);
	nft_add_chain(t, &(struct nft_chain){.name = chain});
	nft_flush_chain(t, chain); /* another daemon's, or of before, may be there */
}

static void send_to_target(struct nft *t, bool v4)
{
	nft_dnat(t, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6, TARGET, TARGET + (v4 ? 1 : 4));
}

/* ---- shared by many ---- */

/* One of n endpoints of what the packet is sent to, if that has as many. */
static void draw(struct nft *t, bool v4, bool node, uint32_t n, const char *ends)
{
	static const uint8_t any[16];
	uint32_t words = v4 ? 1 : 4;

	if (node)
		nft_load(t, NFT_R(0), any, words * 4);
	else
		nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 16 : 24, words * 4, NFT_R(0));
	nft_meta(t, NFT_META_L4PROTO, NFT_R(words));
	nft_payload(t, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_R(words + 1));
	nft_random(t, n, NFT_R(words + 2));
	nft_map(t, NFT_R(0), ends, TARGET);
	send_to_target(t, v4);
}

void fact_small_lay(struct nft *t, const char *chain, bool v4, bool node, uint32_t n)
{
	char ends[FACT_SET_NAME_MAX];

	assert(n > 0 && n <= FACT_SMALL_MAX);
	fact_set_name(v4 ? FACT_ENDS4 : FACT_ENDS6, (uint8_t)n, ends);
	nft_rule(t, chain);
	draw(t, v4, node, n, ends);
}

void fact_chain_lay(struct nft *t, const struct fact *f)
{
	struct fact_pick pick = fact_pick(f);
	bool v4 = f->set == FACT_FRONT4;
	char chain[FACT_CHAIN_MAX];

	assert(pick.count > 0 && is_front(f) && !pick.timeout_s);
	begin(t, f, chain);
	nft_rule(t, chain);
	draw(t, v4, pick.node, pick.count, v4 ? "ends4" : "ends6");
}

/* ---- one front's own ---- */

/* Made from the front, so that clients find theirs again whoever lays the chain. */
static uint32_t front_number(const struct fact *front)
{
	uint32_t h = FNV_BASIS;

	for (size_t i = 0; i < FACT_KEY_MAX; i++)
		h = (h ^ front->key[i]) * FNV_PRIME;
	return h;
}

/* number . client . address . port */
static void load_client(struct nft *t, bool v4, uint32_t number, const uint8_t *target)
{
	uint32_t words = v4 ? 1 : 4;

	nft_load(t, NFT_R(0), &number, sizeof(number));
	nft_payload(t, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 12 : 8, words * 4, NFT_R(1));
	nft_load(t, NFT_R(1 + words), target, words * 4);
	nft_load(t, NFT_R(1 + 2 * words), target + words * 4, 2);
}

static void send_and_remember(struct nft *t, bool v4, const struct fact *end, uint32_t timeout_s)
{
	uint32_t words = v4 ? 1 : 4;

	nft_remember(t, v4 ? "aff4" : "aff6", NFT_R(0), timeout_s);
	nft_load(t, TARGET, end->data, words * 4);
	nft_load(t, TARGET + words, end->data + words * 4, 2);
	send_to_target(t, v4);
}

static bool is_end(const struct fact *f, const struct fact *front)
{
	bool v4 = front->set == FACT_FRONT4;

	return f->set == (v4 ? FACT_ENDS4 : FACT_ENDS6) &&
	       memcmp(f->key, front->key, v4 ? 12 : 24) == 0;
}

void fact_stay_lay(struct nft *t, const struct fact *front, const struct fact_list *all)
{
	struct fact_pick pick = fact_pick(front);
	bool v4 = front->set == FACT_FRONT4;
	uint32_t number = front_number(front), left = pick.count;
	char chain[FACT_CHAIN_MAX];

	assert(fact_stays(front));
	begin(t, front, chain);
	for (size_t i = 0; i < all->n; i++) {
		if (!is_end(&all->items[i], front))
			continue;
		nft_rule(t, chain);
		load_client(t, v4, number, all->items[i].data);
		nft_in_set(t, NFT_R(0), v4 ? "aff4" : "aff6", false);
		send_and_remember(t, v4, &all->items[i], pick.timeout_s);
	}
	for (size_t i = 0; i < all->n; i++) {
		if (!is_end(&all->items[i], front))
			continue;
		assert(left > 0);
		nft_rule(t, chain);
		if (left > 1) {
			nft_random(t, left, NFT_R(0));
			nft_cmp_u32(t, true, NFT_R(0), 0);
		}
		load_client(t, v4, number, all->items[i].data);
		send_and_remember(t, v4, &all->items[i], pick.timeout_s);
		left--;
	}
}
