/*
 * nftables: tables, chains, rules, sets and maps as typed calls, one atomic transaction at a time.
 *
 * An `nft` gathers changes; nft_commit() sends them as one batch, which the kernel takes whole or
 * not at all, inside the system call. Rules are built from expressions in the order in which the
 * kernel runs them, over 4-byte registers that are addressed as offsets in 32-bit words (NFT_R(0)
 * ... NFT_R(15)), so that concatenated keys ("protocol . port") are written side by side.
 *
 *	struct nft *t = nft_new(NFPROTO_INET, "hull-1a2b");
 *	nft_add_table(t);
 *	nft_add_chain(t, &(struct nft_chain){.name = "forward", .type = "filter",
 *		      .hook = NF_INET_FORWARD, .base = true});
 *	nft_rule(t, "forward");
 *	nft_meta(t, NFT_META_IIFNAME, NFT_R(0));
 *	nft_in_set(t, NFT_R(0), "bridges", false);
 *	nft_verdict(t, NF_ACCEPT);
 *	r = nft_commit(t, fd, e);
 *	nft_free(t);
 *
 * Needs CAP_NET_ADMIN over the namespace of the socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/own.h"

struct nft;

#define NFT_R(word)  (8U + (word)) /* NFT_REG32_00 + word */
#define NFT_NAME_LEN 16		   /* an interface name as a key: zero-padded */

int nft_socket_open(int *ret_fd, struct err *e) must_use;

struct nft *nft_new(int family, const char *table);
struct nft *nft_free(struct nft *t);
own_define(nft, struct nft *, (void)nft_free);
#define auto_nft own_auto(nft)
/* Sends what was gathered and empties it. On failure nothing of it has happened. */
int nft_commit(struct nft *t, int fd, struct err *e) must_use;

/* ---- tables, chains, sets ---- */

void nft_add_table(struct nft *t, const char *comment);
void nft_delete_table(struct nft *t); /* add it first where it may be missing */

struct nft_chain {
	const char *name;
	bool base;
	const char *type; /* "filter", "nat", "route" */
	uint32_t hook;	  /* NF_INET_... */
	int32_t priority;
};
void nft_add_chain(struct nft *t, const struct nft_chain *c);

/* What set keys and data are, for `nft list`: concatenations are nft_types(a, b, 0). */
enum nft_type {
	NFT_T_VERDICT = 1,
	NFT_T_IPV4 = 7,
	NFT_T_IPV6 = 8,
	NFT_T_PROTO = 12,
	NFT_T_PORT = 13,
	NFT_T_MARK = 19, /* any number of 4 bytes, host order */
	NFT_T_IFNAME = 41,
};
#define NFT_TYPES2(a, b)       ((uint32_t)(a) << 6 | (uint32_t)(b))
#define NFT_TYPES3(a, b, c)    (NFT_TYPES2(a, b) << 6 | (uint32_t)(c))
#define NFT_TYPES4(a, b, c, d) (NFT_TYPES3(a, b, c) << 6 | (uint32_t)(d))
#define NFT_T_VERDICT_DATA     0xffffff00U /* data_type of a map from keys to verdicts */

struct nft_set {
	const char *name;
	uint32_t key_type, key_len;   /* bytes, each part of a concatenation padded to 4 */
	uint32_t data_type, data_len; /* 0: a set, not a map */
	bool dynamic;		      /* rules add to it, with a timeout: nft_remember() */
};
void nft_add_set(struct nft *t, const struct nft_set *s);
void nft_flush_set(struct nft *t, const char *set);
/* Adding what is there with the same data is no error; removing what is not there is one. */
void nft_add_element(struct nft *t, const char *set, const void *key, size_t key_n,
		     const void *data, size_t data_n);
void nft_delete_element(struct nft *t, const char *set, const void *key, size_t key_n);
/* In a map to verdicts: go on in this chain, for good. */
void nft_add_verdict(struct nft *t, const char *map, const void *key, size_t key_n,
		     const char *chain);
void nft_flush_chain(struct nft *t, const char *chain);	 /* of its rules */
void nft_delete_chain(struct nft *t, const char *chain); /* rules and all; nobody may lead there */

/* ---- rules: nft_rule() begins one, the calls after it append to it ---- */

void nft_rule(struct nft *t, const char *chain);
void nft_meta(struct nft *t, uint32_t key, uint32_t reg);
void nft_ct(struct nft *t, uint32_t key, uint32_t reg);
void nft_payload(struct nft *t, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg);
void nft_bits(struct nft *t, uint32_t reg, uint32_t mask); /* reg &= mask, 4 bytes */
void nft_mask(struct nft *t, uint32_t reg, const void *mask, size_t n);
void nft_cmp(struct nft *t, bool equal, uint32_t reg, const void *data, size_t n);
void nft_cmp_u8(struct nft *t, bool equal, uint32_t reg, uint8_t v);
void nft_cmp_u32(struct nft *t, bool equal, uint32_t reg, uint32_t v); /* host order */
void nft_load(struct nft *t, uint32_t reg, const void *data, size_t n);
/* Goes on when reg.. is (not) in the set. */
void nft_in_set(struct nft *t, uint32_t reg, const char *set, bool inverted);
/* Goes on when reg.. is in the map; its data is then in `to`. */
void nft_map(struct nft *t, uint32_t reg, const char *map, uint32_t to);
/* When reg.. is in this map to verdicts, what it says happens; else the rules go on. */
void nft_verdict_map(struct nft *t, uint32_t reg, const char *map);
void nft_random(struct nft *t, uint32_t modulus, uint32_t reg); /* 0 ... modulus - 1 */
/* Puts reg.. into a dynamic set, or begins its time anew. */
void nft_remember(struct nft *t, const char *set, uint32_t reg, uint32_t timeout_s);
void nft_reject(struct nft *t, bool tcp_reset); /* else: ICMP, port unreachable */
/* Goes on when the destination is of this kind: RTN_LOCAL (this host's), RTN_UNICAST... */
void nft_daddr_is(struct nft *t, uint32_t rtn);
/* The name of the interface that leads to the destination; only where routing is still to come. */
void nft_daddr_oifname(struct nft *t, uint32_t reg);
void nft_redirect(struct nft *t, uint32_t reg_port); /* to this host, to the port in a register */
/* Destination NAT to the address and port in registers. family: NFPROTO_IPV4 or _IPV6. */
void nft_dnat(struct nft *t, int family, uint32_t reg_ip, uint32_t reg_port);
void nft_masquerade(struct nft *t);
void nft_counter(struct nft *t);
void nft_jump(struct nft *t, const char *chain);
void nft_verdict(struct nft *t, int verdict); /* NF_ACCEPT, NF_DROP, NFT_RETURN */

/* ---- questions ---- */

/* A base chain of anybody's. */
struct nft_chain_info {
	const char *table, *chain, *type;
	int family;
	uint32_t hook;
	int32_t priority;
	bool drops; /* its policy */
};
int nft_each_base_chain(int fd, void (*see)(void *ctx, const struct nft_chain_info *c), void *ctx,
			struct err *e) must_use;
