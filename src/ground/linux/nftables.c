/*
 * See nftables.h. libnftnl encodes objects; the batch is one growing buffer of ours. Neighbouring
 * changes of one set's elements share a message, so that a thousand ports are a handful of
 * messages.
 */
#include "ground/linux/nftables.h"

#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/mem.h"

#define SEND_BUFFER	     (8 << 20)
#define MESSAGE_ROOM	     65536 /* more than one message of ours can need */
#define ELEMENTS_PER_MESSAGE 200
#define ANSWER_BYTES	     32768
#define WANT_TEXT	     80
#define COMMENT_MAX	     120
#define MASK_MAX	     16
#define DYNAMIC_MAX	     (1 << 18) /* elements that packets may add to one map */
#define UDATA_COMMENT	     0	       /* nft's own: NFTNL_UDATA_TABLE_COMMENT */
#define UDATA_KEY_ORDER	     0	       /* NFTNL_UDATA_SET_KEYBYTEORDER */

struct nft {
	int family;
	char table[NFT_TABLE_MAXNAMELEN];
	uint8_t *bytes;
	size_t used, room;
	char (*wants)[WANT_TEXT];
	size_t wants_n, wants_room;
	struct nftnl_rule *rule; /* being built */
	char rule_chain[64];
	struct nftnl_set *elements; /* being gathered */
	uint16_t elements_op;
	size_t elements_n;
	uint32_t set_id;
};

int nft_socket_open(int *ret_fd, struct err *e)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0)
		return err_sys(e, "cannot open a netfilter netlink socket");
	*ret_fd = fd;
	return 0;
}

struct nft *nft_new(int family, const char *table)
{
	struct nft *t = mem_new(struct nft);

	assert(strlen(table) < sizeof(t->table));
	t->family = family;
	(void)snprintf(t->table, sizeof(t->table), "%s", table);
	return t;
}

struct nft *nft_free(struct nft *t)
{
	if (!t)
		return NULL;
	if (t->rule)
		nftnl_rule_free(t->rule);
	if (t->elements)
		nftnl_set_free(t->elements);
	free(t->bytes);
	free(t->wants);
	free(t);
	return NULL;
}

/* libnftnl answers NULL only when memory is out. */
#define must(p)                             \
	__extension__({                     \
		__auto_type must_got = (p); \
		assert(must_got);           \
		must_got;                   \
	})

/* ---- messages ---- */

/* Sequence numbers are 1 + the index of the sentence in wants[]; 0 is the batch's own. */
static struct nlmsghdr *message(struct nft *t, uint16_t type, uint16_t flags, const char *want,
				const char *name)
{
	mem_grow(t->bytes, t->used + MESSAGE_ROOM, t->room);
	mem_grow(t->wants, t->wants_n + 1, t->wants_room);
	(void)snprintf(t->wants[t->wants_n++], WANT_TEXT, "%s '%s'", want, name);
	return nftnl_nlmsg_build_hdr((char *)t->bytes + t->used, type, (uint16_t)t->family, flags,
				     (uint32_t)t->wants_n);
}

static void message_end(struct nft *t, const struct nlmsghdr *h)
{
	assert(h->nlmsg_len <= MESSAGE_ROOM);
	t->used += MNL_ALIGN(h->nlmsg_len);
}

static void flush_rule(struct nft *t)
{
	struct nlmsghdr *h;

	if (!t->rule)
		return;
	h = message(t, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, "add a rule to chain",
		    t->rule_chain);
	nftnl_rule_nlmsg_build_payload(h, t->rule);
	message_end(t, h);
	nftnl_rule_free(t->rule);
	t->rule = NULL;
}

static void flush_elements(struct nft *t)
{
	bool add = t->elements_op == NFT_MSG_NEWSETELEM;
	struct nlmsghdr *h;

	if (!t->elements)
		return;
	h = message(t, t->elements_op, add ? NLM_F_CREATE : 0,
		    add ? "add to set" : "remove from set",
		    nftnl_set_get_str(t->elements, NFTNL_SET_NAME));
	nftnl_set_elems_nlmsg_build_payload(h, t->elements);
	message_end(t, h);
	nftnl_set_free(t->elements);
	t->elements = NULL;
	t->elements_n = 0;
}

static void flush(struct nft *t)
{
	flush_rule(t);
	flush_elements(t);
}

/* ---- commit ---- */

static int take_answers(struct nft *t, int fd, bool *ret_acked, struct err *e)
{
	uint8_t buf[ANSWER_BYTES] __attribute__((aligned(8)));
	int result = 0;

	for (;;) {
		ssize_t got = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		int left = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return result;
		for (struct nlmsghdr *h = (void *)buf; mnl_nlmsg_ok(h, left);
		     h = mnl_nlmsg_next(h, &left)) {
			const struct nlmsgerr *err = mnl_nlmsg_get_payload(h);
			bool ours = h->nlmsg_seq > 0 && h->nlmsg_seq <= t->wants_n;

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (!err->error) {
				*ret_acked = true;
			} else if (result == 0) {
				errno = -err->error;
				result = err_sys(e, "nftables table '%s': cannot %s", t->table,
						 ours ? t->wants[h->nlmsg_seq - 1] : "change it");
			}
		}
	}
}

static void discard_stale(int fd)
{
	char stale[4096];

	while (recv(fd, stale, sizeof(stale), MSG_DONTWAIT) > 0)
		;
}

int nft_commit(struct nft *t, int fd, struct err *e)
{
	static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	char first[256], last[256];
	struct iovec iov[3];
	struct msghdr msg = {.msg_name = (void *)&kernel,
			     .msg_namelen = sizeof(kernel),
			     .msg_iov = iov,
			     .msg_iovlen = array_len(iov)};
	int size = (int)t->used + SEND_BUFFER, r;
	bool acked = false;
	struct nlmsghdr *h;
	ssize_t sent;

	flush(t);
	if (t->wants_n == 0)
		return 0;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	discard_stale(fd);
	h = nftnl_batch_begin(first, 0);
	iov[0] = (struct iovec){first, h->nlmsg_len};
	for (size_t at = 0; at < t->used; at += MNL_ALIGN(h->nlmsg_len))
		h = (void *)(t->bytes + at);
	h->nlmsg_flags |= NLM_F_ACK; /* the last one: a batch without failure still answers once */
	iov[1] = (struct iovec){t->bytes, t->used};
	h = nftnl_batch_end(last, 0);
	iov[2] = (struct iovec){last, h->nlmsg_len};
	sent = sendmsg(fd, &msg, 0);
	r = sent < 0 ? err_sys(e, "nftables table '%s': cannot send %zu bytes", t->table, t->used)
		     : take_answers(t, fd, &acked, e);
	if (r == 0 && !acked)
		r = err_set(e, ERR_SYSTEM, "nftables table '%s': the kernel did not answer",
			    t->table);
	t->used = t->wants_n = 0;
	return r;
}

/* ---- tables, chains, sets ---- */

void nft_add_table(struct nft *t, const char *comment)
{
	struct nftnl_table *table = must(nftnl_table_alloc());
	struct nlmsghdr *h;

	flush(t);
	h = message(t, NFT_MSG_NEWTABLE, NLM_F_CREATE, "add table", t->table);
	nftnl_table_set_str(table, NFTNL_TABLE_NAME, t->table);
	if (comment) {
		uint8_t udata[COMMENT_MAX + 3];
		size_t n = strnlen(comment, COMMENT_MAX);

		udata[0] = UDATA_COMMENT;
		udata[1] = (uint8_t)(n + 1);
		memcpy(udata + 2, comment, n);
		udata[2 + n] = '\0';
		(void)nftnl_table_set_data(table, NFTNL_TABLE_USERDATA, udata, (uint32_t)n + 3);
	}
	nftnl_table_nlmsg_build_payload(h, table);
	message_end(t, h);
	nftnl_table_free(table);
}

void nft_delete_table(struct nft *t)
{
	struct nftnl_table *table = must(nftnl_table_alloc());
	struct nlmsghdr *h;

	flush(t);
	h = message(t, NFT_MSG_DELTABLE, 0, "remove table", t->table);
	nftnl_table_set_str(table, NFTNL_TABLE_NAME, t->table);
	nftnl_table_nlmsg_build_payload(h, table);
	message_end(t, h);
	nftnl_table_free(table);
}

void nft_add_chain(struct nft *t, const struct nft_chain *c)
{
	struct nftnl_chain *chain = must(nftnl_chain_alloc());
	struct nlmsghdr *h;

	flush(t);
	h = message(t, NFT_MSG_NEWCHAIN, NLM_F_CREATE, "add chain", c->name);
	nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, t->table);
	nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, c->name);
	if (c->base) {
		nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, c->type);
		nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, c->hook);
		nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, c->priority);
		nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, NF_ACCEPT);
	}
	nftnl_chain_nlmsg_build_payload(h, chain);
	message_end(t, h);
	nftnl_chain_free(chain);
}

void nft_add_set(struct nft *t, const struct nft_set *s)
{
	struct nftnl_set *set = must(nftnl_set_alloc());
	struct nlmsghdr *h;

	flush(t);
	h = message(t, NFT_MSG_NEWSET, NLM_F_CREATE, "add set", s->name);
	nftnl_set_set_str(set, NFTNL_SET_TABLE, t->table);
	nftnl_set_set_str(set, NFTNL_SET_NAME, s->name);
	nftnl_set_set_u32(set, NFTNL_SET_ID, ++t->set_id);
	nftnl_set_set_u32(set, NFTNL_SET_FAMILY, (uint32_t)t->family);
	nftnl_set_set_u32(set, NFTNL_SET_KEY_TYPE, s->key_type);
	nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, s->key_len);
	if (s->dynamic)
		nftnl_set_set_u32(set, NFTNL_SET_DESC_SIZE, DYNAMIC_MAX);
	if (s->data_type || s->dynamic)
		nftnl_set_set_u32(set, NFTNL_SET_FLAGS,
				  (s->data_type ? NFT_SET_MAP : 0) |
					  (s->dynamic ? NFT_SET_EVAL | NFT_SET_TIMEOUT : 0));
	if (s->data_type) {
		nftnl_set_set_u32(set, NFTNL_SET_DATA_TYPE, s->data_type);
		nftnl_set_set_u32(set, NFTNL_SET_DATA_LEN, s->data_len);
	}
	if (s->key_type == NFT_T_IFNAME) { /* tells `nft list` how to show the key */
		static const uint8_t host_order[] = {UDATA_KEY_ORDER, 4, 1, 0, 0, 0};

		(void)nftnl_set_set_data(set, NFTNL_SET_USERDATA, host_order, sizeof(host_order));
	}
	nftnl_set_nlmsg_build_payload(h, set);
	message_end(t, h);
	nftnl_set_free(set);
}

static struct nftnl_set *name_set(struct nft *t, const char *name)
{
	struct nftnl_set *set = must(nftnl_set_alloc());

	nftnl_set_set_str(set, NFTNL_SET_TABLE, t->table);
	nftnl_set_set_str(set, NFTNL_SET_NAME, name);
	return set;
}

void nft_flush_set(struct nft *t, const char *name)
{
	struct nftnl_set *set;
	struct nlmsghdr *h;

	flush(t);
	set = name_set(t, name);
	h = message(t, NFT_MSG_DELSETELEM, 0, "empty set", name);
	nftnl_set_elems_nlmsg_build_payload(h, set);
	message_end(t, h);
	nftnl_set_free(set);
}

static struct nftnl_set_elem *element(struct nft *t, uint16_t op, const char *name, const void *key,
				      size_t key_n)
{
	struct nftnl_set_elem *elem;

	flush_rule(t);
	if (t->elements && (t->elements_op != op || t->elements_n == ELEMENTS_PER_MESSAGE ||
			    strcmp(nftnl_set_get_str(t->elements, NFTNL_SET_NAME), name) != 0))
		flush_elements(t);
	if (!t->elements) {
		t->elements = name_set(t, name);
		t->elements_op = op;
	}
	elem = must(nftnl_set_elem_alloc());
	(void)nftnl_set_elem_set(elem, NFTNL_SET_ELEM_KEY, key, (uint32_t)key_n);
	nftnl_set_elem_add(t->elements, elem);
	t->elements_n++;
	return elem;
}

void nft_add_element(struct nft *t, const char *set, const void *key, size_t key_n,
		     const void *data, size_t data_n)
{
	struct nftnl_set_elem *elem = element(t, NFT_MSG_NEWSETELEM, set, key, key_n);

	if (data)
		(void)nftnl_set_elem_set(elem, NFTNL_SET_ELEM_DATA, data, (uint32_t)data_n);
}

void nft_add_verdict(struct nft *t, const char *map, const void *key, size_t key_n,
		     const char *chain)
{
	struct nftnl_set_elem *elem = element(t, NFT_MSG_NEWSETELEM, map, key, key_n);

	(void)nftnl_set_elem_set_u32(elem, NFTNL_SET_ELEM_VERDICT, (uint32_t)NFT_GOTO);
	(void)nftnl_set_elem_set_str(elem, NFTNL_SET_ELEM_CHAIN, chain);
}

void nft_delete_element(struct nft *t, const char *set, const void *key, size_t key_n)
{
	(void)element(t, NFT_MSG_DELSETELEM, set, key, key_n);
}

/* ---- rules ---- */

void nft_flush_chain(struct nft *t, const char *chain)
{
	struct nftnl_rule *rule = must(nftnl_rule_alloc());
	struct nlmsghdr *h;

	flush(t);
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, t->table);
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
	h = message(t, NFT_MSG_DELRULE, 0, "empty chain", chain);
	nftnl_rule_nlmsg_build_payload(h, rule);
	message_end(t, h);
	nftnl_rule_free(rule);
}

void nft_rule(struct nft *t, const char *chain)
{
	flush(t);
	t->rule = must(nftnl_rule_alloc());
	(void)snprintf(t->rule_chain, sizeof(t->rule_chain), "%s", chain);
	nftnl_rule_set_str(t->rule, NFTNL_RULE_TABLE, t->table);
	nftnl_rule_set_str(t->rule, NFTNL_RULE_CHAIN, chain);
	nftnl_rule_set_u32(t->rule, NFTNL_RULE_FAMILY, (uint32_t)t->family);
}

void nft_delete_chain(struct nft *t, const char *chain)
{
	struct nftnl_chain *c = must(nftnl_chain_alloc());
	struct nlmsghdr *h;

	flush(t);
	nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, t->table);
	nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain);
	h = message(t, NFT_MSG_DELCHAIN, 0, "remove chain", chain);
	nftnl_chain_nlmsg_build_payload(h, c);
	message_end(t, h);
	nftnl_chain_free(c);
}

static struct nftnl_expr *expr(struct nft *t, const char *name)
{
	struct nftnl_expr *x = must(nftnl_expr_alloc(name));

	assert(t->rule);
	nftnl_rule_add_expr(t->rule, x);
	return x;
}

void nft_meta(struct nft *t, uint32_t key, uint32_t reg)
{
	struct nftnl_expr *x = expr(t, "meta");

	nftnl_expr_set_u32(x, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(x, NFTNL_EXPR_META_DREG, reg);
}

void nft_ct(struct nft *t, uint32_t key, uint32_t reg)
{
	struct nftnl_expr *x = expr(t, "ct");

	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_KEY, key);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_DREG, reg);
}

void nft_payload(struct nft *t, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
	struct nftnl_expr *x = expr(t, "payload");

	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_LEN, len);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_DREG, reg);
}

void nft_mask(struct nft *t, uint32_t reg, const void *mask, size_t n)
{
	static const uint8_t zero[MASK_MAX];
	struct nftnl_expr *x = expr(t, "bitwise");

	assert(n <= MASK_MAX);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_SREG, reg);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_DREG, reg);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_LEN, (uint32_t)n);
	(void)nftnl_expr_set(x, NFTNL_EXPR_BITWISE_MASK, mask, (uint32_t)n);
	(void)nftnl_expr_set(x, NFTNL_EXPR_BITWISE_XOR, zero, (uint32_t)n);
}

void nft_bits(struct nft *t, uint32_t reg, uint32_t mask)
{
	nft_mask(t, reg, &mask, sizeof(mask));
}

void nft_cmp(struct nft *t, bool equal, uint32_t reg, const void *data, size_t n)
{
	struct nftnl_expr *x = expr(t, "cmp");

	nftnl_expr_set_u32(x, NFTNL_EXPR_CMP_SREG, reg);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CMP_OP, equal ? NFT_CMP_EQ : NFT_CMP_NEQ);
	(void)nftnl_expr_set(x, NFTNL_EXPR_CMP_DATA, data, (uint32_t)n);
}

void nft_cmp_u8(struct nft *t, bool equal, uint32_t reg, uint8_t v)
{
	nft_cmp(t, equal, reg, &v, sizeof(v));
}

void nft_cmp_u32(struct nft *t, bool equal, uint32_t reg, uint32_t v)
{
	nft_cmp(t, equal, reg, &v, sizeof(v));
}

void nft_load(struct nft *t, uint32_t reg, const void *data, size_t n)
{
	struct nftnl_expr *x = expr(t, "immediate");

	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_DREG, reg);
	(void)nftnl_expr_set(x, NFTNL_EXPR_IMM_DATA, data, (uint32_t)n);
}

void nft_in_set(struct nft *t, uint32_t reg, const char *set, bool inverted)
{
	struct nftnl_expr *x = expr(t, "lookup");

	nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_SREG, reg);
	nftnl_expr_set_str(x, NFTNL_EXPR_LOOKUP_SET, set);
	if (inverted)
		nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
}

void nft_map(struct nft *t, uint32_t reg, const char *map, uint32_t to)
{
	struct nftnl_expr *x = expr(t, "lookup");

	nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_SREG, reg);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_DREG, to);
	nftnl_expr_set_str(x, NFTNL_EXPR_LOOKUP_SET, map);
}

void nft_verdict_map(struct nft *t, uint32_t reg, const char *map)
{
	nft_map(t, reg, map, NFT_REG_VERDICT);
}

void nft_random(struct nft *t, uint32_t modulus, uint32_t reg)
{
	struct nftnl_expr *x = expr(t, "numgen");

	assert(modulus > 0);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NG_DREG, reg);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NG_MODULUS, modulus);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NG_TYPE, NFT_NG_RANDOM);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NG_OFFSET, 0);
}

void nft_remember(struct nft *t, const char *set, uint32_t reg, uint32_t timeout_s)
{
	struct nftnl_expr *x = expr(t, "dynset");

	nftnl_expr_set_u32(x, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
	nftnl_expr_set_str(x, NFTNL_EXPR_DYNSET_SET_NAME, set);
	nftnl_expr_set_u32(x, NFTNL_EXPR_DYNSET_SREG_KEY, reg);
	nftnl_expr_set_u64(x, NFTNL_EXPR_DYNSET_TIMEOUT, (uint64_t)timeout_s * 1000);
}

void nft_reject(struct nft *t, bool tcp_reset)
{
	struct nftnl_expr *x = expr(t, "reject");

	nftnl_expr_set_u32(x, NFTNL_EXPR_REJECT_TYPE,
			   tcp_reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMPX_UNREACH);
	nftnl_expr_set_u8(x, NFTNL_EXPR_REJECT_CODE, tcp_reset ? 0 : NFT_REJECT_ICMPX_PORT_UNREACH);
}

static void fib(struct nft *t, uint32_t result, uint32_t reg)
{
	struct nftnl_expr *x = expr(t, "fib");

	nftnl_expr_set_u32(x, NFTNL_EXPR_FIB_RESULT, result);
	nftnl_expr_set_u32(x, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR);
	nftnl_expr_set_u32(x, NFTNL_EXPR_FIB_DREG, reg);
}

void nft_daddr_is(struct nft *t, uint32_t rtn)
{
	fib(t, NFT_FIB_RESULT_ADDRTYPE, NFT_R(0));
	nft_cmp_u32(t, true, NFT_R(0), rtn);
}

void nft_daddr_oifname(struct nft *t, uint32_t reg)
{
	fib(t, NFT_FIB_RESULT_OIFNAME, reg);
}

void nft_redirect(struct nft *t, uint32_t reg_port)
{
	struct nftnl_expr *x = expr(t, "redir");

	nftnl_expr_set_u32(x, NFTNL_EXPR_REDIR_REG_PROTO_MIN, reg_port);
}

void nft_dnat(struct nft *t, int family, uint32_t reg_ip, uint32_t reg_port)
{
	struct nftnl_expr *x = expr(t, "nat");

	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_FAMILY, (uint32_t)family);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_REG_ADDR_MIN, reg_ip);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_REG_PROTO_MIN, reg_port);
}

void nft_masquerade(struct nft *t)
{
	(void)expr(t, "masq");
}

void nft_counter(struct nft *t)
{
	(void)expr(t, "counter");
}

void nft_verdict(struct nft *t, int verdict)
{
	struct nftnl_expr *x = expr(t, "immediate");

	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_VERDICT, (uint32_t)verdict);
}

void nft_jump(struct nft *t, const char *chain)
{
	struct nftnl_expr *x = expr(t, "immediate");

	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_VERDICT, (uint32_t)NFT_JUMP);
	nftnl_expr_set_str(x, NFTNL_EXPR_IMM_CHAIN, chain);
}

/* ---- questions ---- */

static void show_chain(const struct nlmsghdr *h,
		       void (*see)(void *ctx, const struct nft_chain_info *c), void *ctx)
{
	struct nftnl_chain *c = must(nftnl_chain_alloc());

	if (nftnl_chain_nlmsg_parse(h, c) == 0 && nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
	    nftnl_chain_is_set(c, NFTNL_CHAIN_TYPE))
		see(ctx, &(struct nft_chain_info){
				 .table = nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE),
				 .chain = nftnl_chain_get_str(c, NFTNL_CHAIN_NAME),
				 .type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE),
				 .family = (int)nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY),
				 .hook = nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM),
				 .priority = nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO),
				 .drops = nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP,
			 });
	nftnl_chain_free(c);
}

int nft_each_base_chain(int fd, void (*see)(void *ctx, const struct nft_chain_info *c), void *ctx,
			struct err *e)
{
	uint8_t buf[ANSWER_BYTES] __attribute__((aligned(8)));
	struct nlmsghdr *h =
		nftnl_nlmsg_build_hdr((char *)buf, NFT_MSG_GETCHAIN, NFPROTO_UNSPEC, NLM_F_DUMP, 1);

	discard_stale(fd);
	if (send(fd, h, h->nlmsg_len, 0) < 0)
		return err_sys(e, "cannot ask for the nftables chains");
	for (;;) {
		ssize_t got = recv(fd, buf, sizeof(buf), 0);
		int left = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, "cannot list the nftables chains");
		for (struct nlmsghdr *m = (void *)buf; mnl_nlmsg_ok(m, left);
		     m = mnl_nlmsg_next(m, &left)) {
			const struct nlmsgerr *err = mnl_nlmsg_get_payload(m);

			if (m->nlmsg_type == NLMSG_DONE)
				return 0;
			if (m->nlmsg_type == NLMSG_ERROR) {
				errno = -err->error;
				return err->error ? err_sys(e, "cannot list the nftables chains")
						  : 0;
			}
			show_chain(m, see, ctx);
		}
	}
}
