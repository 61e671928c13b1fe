/*
 * See conntrack.h. One dump, narrowed to UDP by ourselves (the kernel's own filter is younger than
 * the kernels we run on), then one deletion per stale flow, by its original tuple.
 */
#include "ground/linux/conntrack.h"

#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

#define ANSWER_BYTES  32768
#define REQUEST_BYTES 512
#define RECEIVE_BYTES (4 << 20)

struct tuple {
	struct ip from, to;
	uint16_t from_port, to_port;
	uint8_t proto;
};

struct forgetting {
	bool (*stale)(void *ctx, const struct conntrack_flow *f);
	void *ctx;
	struct tuple *found;
	size_t n, room;
};

/* ---- reading ---- */

static void read_address(const struct nlattr *attr, struct ip *ret)
{
	size_t n = mnl_attr_get_payload_len(attr);

	if (n != 4 && n != 16)
		return;
	ret->n = (uint8_t)n;
	memcpy(ret->b, mnl_attr_get_payload(attr), n);
}

static void read_addresses(const struct nlattr *nest, struct tuple *t)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC)
			read_address(attr, &t->from);
		else if (type == CTA_IP_V4_DST || type == CTA_IP_V6_DST)
			read_address(attr, &t->to);
	}
}

static void read_proto(const struct nlattr *nest, struct tuple *t)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == CTA_PROTO_NUM && mnl_attr_get_payload_len(attr) >= 1)
			t->proto = mnl_attr_get_u8(attr);
		else if (type == CTA_PROTO_SRC_PORT && mnl_attr_get_payload_len(attr) >= 2)
			t->from_port = ntohs(mnl_attr_get_u16(attr));
		else if (type == CTA_PROTO_DST_PORT && mnl_attr_get_payload_len(attr) >= 2)
			t->to_port = ntohs(mnl_attr_get_u16(attr));
	}
}

static void read_tuple(const struct nlattr *nest, struct tuple *t)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		if (mnl_attr_get_type(attr) == CTA_TUPLE_IP)
			read_addresses(attr, t);
		else if (mnl_attr_get_type(attr) == CTA_TUPLE_PROTO)
			read_proto(attr, t);
	}
}

static void see_flow(struct forgetting *f, const struct nlmsghdr *h)
{
	struct tuple orig = {.proto = 0}, reply = {.proto = 0};
	struct conntrack_flow flow;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, h, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) == CTA_TUPLE_ORIG)
			read_tuple(attr, &orig);
		else if (mnl_attr_get_type(attr) == CTA_TUPLE_REPLY)
			read_tuple(attr, &reply);
	}
	if (orig.proto != IPPROTO_UDP || !ip_is(&orig.to) || !ip_is(&reply.from))
		return;
	flow = (struct conntrack_flow){orig.from,    orig.to,	 orig.from_port,
				       orig.to_port, reply.from, reply.from_port};
	if (!f->stale(f->ctx, &flow))
		return;
	mem_grow(f->found, f->n + 1, f->room);
	f->found[f->n++] = orig;
}

static struct nlmsghdr *start(void *buf, uint8_t family, uint16_t op, uint16_t flags)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *m;

	h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | op);
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = 1;
	m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->nfgen_family = family;
	m->version = NFNETLINK_V0;
	return h;
}

/* 0: goes on, 1: the end, < 0: an error. */
static int take_answers(struct forgetting *f, const uint8_t *buf, int left, struct err *e)
{
	for (const struct nlmsghdr *h = (const void *)buf; mnl_nlmsg_ok(h, left);
	     h = mnl_nlmsg_next(h, &left)) {
		const struct nlmsgerr *err = mnl_nlmsg_get_payload(h);

		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR) {
			errno = -err->error;
			return errno ? err_sys(e, "cannot list the tracked flows") : 1;
		}
		see_flow(f, h);
	}
	return 0;
}

static int dump(int fd, struct forgetting *f, struct err *e)
{
	uint8_t buf[ANSWER_BYTES] __attribute__((aligned(8)));
	struct nlmsghdr *h = start(buf, AF_UNSPEC, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
	int r = 0;

	if (send(fd, h, h->nlmsg_len, 0) < 0)
		return err_sys(e, "cannot ask for the tracked flows");
	while (r == 0) {
		ssize_t got = recv(fd, buf, sizeof(buf), 0);

		if (got < 0 && errno != EINTR)
			return err_sys(e, "cannot list the tracked flows");
		if (got > 0)
			r = take_answers(f, buf, (int)got, e);
	}
	return r < 0 ? r : 0;
}

/* ---- forgetting ---- */

static void put_tuple(struct nlmsghdr *h, const struct tuple *t)
{
	bool v4 = t->to.n == 4;
	struct nlattr *tuple = mnl_attr_nest_start(h, CTA_TUPLE_ORIG);
	struct nlattr *nest = mnl_attr_nest_start(h, CTA_TUPLE_IP);

	mnl_attr_put(h, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, t->from.n, t->from.b);
	mnl_attr_put(h, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, t->to.n, t->to.b);
	mnl_attr_nest_end(h, nest);
	nest = mnl_attr_nest_start(h, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(h, CTA_PROTO_NUM, t->proto);
	mnl_attr_put_u16(h, CTA_PROTO_SRC_PORT, htons(t->from_port));
	mnl_attr_put_u16(h, CTA_PROTO_DST_PORT, htons(t->to_port));
	mnl_attr_nest_end(h, nest);
	mnl_attr_nest_end(h, tuple);
}

/* One that went by itself meanwhile is as good; the kernel does not answer without NLM_F_ACK. */
static int forget(int fd, const struct tuple *t, struct err *e)
{
	uint8_t buf[REQUEST_BYTES] __attribute__((aligned(8)));
	struct nlmsghdr *h = start(buf, t->to.n == 4 ? AF_INET : AF_INET6, IPCTNL_MSG_CT_DELETE, 0);

	put_tuple(h, t);
	assert(h->nlmsg_len <= sizeof(buf));
	if (send(fd, h, h->nlmsg_len, 0) < 0)
		return err_sys(e, "cannot forget a tracked flow");
	return 0;
}

int conntrack_forget_udp(bool (*stale)(void *ctx, const struct conntrack_flow *f), void *ctx,
			 struct err *e)
{
	auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct forgetting f = {.stale = stale, .ctx = ctx};
	auto_free struct tuple *found = NULL;
	int size = RECEIVE_BYTES, r;
	struct err why = {0};

	if (fd < 0)
		return err_sys(e, "cannot open a netfilter netlink socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	r = dump(fd, &f, &why);
	found = f.found;
	if (r < 0 && (why.sys == EINVAL || why.sys == EOPNOTSUPP))
		return 0; /* the kernel has no such subsystem */
	if (r < 0) {
		if (e)
			*e = why;
		return r;
	}
	for (size_t i = 0; i < f.n && r == 0; i++)
		r = forget(fd, &f.found[i], e);
	return r;
}
