/*
 * What the files of services share: the element (a fact) that a service compiles to, and the
 * compiler. Facts are plain bytes with a total order, so that lists of them are compared and
 * subtracted; see service.h for what they mean.
 */
#pragma once

#include "virt/network/network_priv.h"
#include "virt/network/service.h"

enum fact_set {
	FACT_ENDS4,
	FACT_ENDS6,
	FACT_PAIRS4,
	FACT_PAIRS6,
	FACT_BALANCED4,
	FACT_BALANCED6,
	FACT_REFUSE4,
	FACT_REFUSE6,
	FACT_LOSE4,
	FACT_LOSE6,
	FACT_FRONT4,
	FACT_FRONT6,
};
#define FACT_SETS      12
#define FACT_SMALL_MAX 8 /* up to so many endpoints are found without a verdict */

#define FACT_KEY_MAX  32
#define FACT_DATA_MAX 20

/* Whom a verdict leads to: the data of a FRONT. */
struct fact_pick {
	uint32_t count, timeout_s;
	uint32_t node; /* no byte of padding: facts are compared as bytes */
};

struct fact {
	uint8_t set;   /* enum fact_set */
	uint8_t small; /* of ENDS: of so many endpoints of a front without verdict; else 0 */
	uint8_t key[FACT_KEY_MAX]; /* of ENDS: the front, then which of them */
	uint8_t data[FACT_DATA_MAX];
};

struct fact_list {
	struct fact *items; /* sorted, each once */
	size_t n, room;
};

#define FACT_SET_NAME_MAX 24
/* How the map of such elements is called. */
void fact_set_name(enum fact_set set, uint8_t small, char ret[FACT_SET_NAME_MAX]);
size_t fact_key_bytes(enum fact_set set);
size_t fact_data_bytes(enum fact_set set); /* 0: none, or a verdict */
bool fact_is_verdict(enum fact_set set);
struct fact_pick fact_pick(const struct fact *f);
int fact_cmp(const void *a, const void *b);
/* Does this element belong to several services at once? */
bool fact_is_shared(enum fact_set set);

/* Everything a service is, into an empty list. */
int fact_compile(const struct network_service *s, struct fact_list *ret, struct err *e) must_use;

/* Is `ip` . `port` among the endpoints of this front? */
bool fact_serves(const struct fact_list *l, const uint8_t *front, const struct ip *ip,
		 uint16_t port);

#define FACT_CHAIN_MAX 64
void fact_chain_name(const struct fact *f, char ret[FACT_CHAIN_MAX]);
/* Has this FRONT a chain of its own (affinity), or one shared by all of as many endpoints? */
bool fact_stays(const struct fact *f);
void fact_chain_lay(struct nft *t, const struct fact *front); /* the shared one */
/* The rule of a chain that finds fronts of n endpoints. */
void fact_small_lay(struct nft *t, const char *chain, bool v4, bool node, uint32_t n);
void fact_stay_lay(struct nft *t, const struct fact *front, const struct fact_list *all);
