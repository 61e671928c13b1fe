/*
 * See netlink.h. Messages are built with libmnl into one buffer; each has a sentence of what it
 * wants, found again by its sequence number when the kernel says no.
 */
#include "ground/linux/netlink.h"

#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/mem.h"

#define WANT_TEXT    96
#define ANSWER_BYTES 32768
#define SEND_BUFFER  (1 << 20)
#define MESSAGE_ROOM 1024 /* no request of ours is longer */

struct want {
	char text[WANT_TEXT];
	int fine; /* an errno that is no failure here, 0: none */
};

struct netlink_batch {
	uint8_t *bytes;
	size_t used, room;
	struct want *wants;
	size_t wants_n, wants_room;
};

/* ---- the socket ---- */

static void prepare(int fd)
{
	int one = 1, size = SEND_BUFFER;

	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

int netlink_open(struct netlink *ret, struct err *e)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return err_sys(e, "cannot open a route netlink socket");
	prepare(fd);
	*ret = (struct netlink){.fd = fd, .owned = true, .seq = 1};
	return 0;
}

int netlink_adopt(int fd, struct netlink *ret, struct err *e)
{
	char stale[4096];

	if (fd < 0)
		return err_set(e, ERR_INVALID, "no netlink socket of the container was given");
	prepare(fd);
	for (ssize_t n = 1; n > 0;)
		n = recv(fd, stale, sizeof(stale), MSG_DONTWAIT);
	if (errno != EAGAIN && errno != EINTR)
		return err_sys(e, "the container's netlink socket does not work");
	*ret = (struct netlink){.fd = fd, .owned = false, .seq = 1};
	return 0;
}

void netlink_close(struct netlink *n)
{
	if (n->owned)
		(void)fd_close(n->fd);
	n->fd = -1;
}

static int send_all(struct netlink *n, const void *p, size_t len, struct err *e)
{
	static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	if (sendto(n->fd, p, len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) !=
	    (ssize_t)len)
		return err_sys(e, "cannot send %zu bytes of netlink requests", len);
	return 0;
}

/* ---- answers ---- */

/* The kernel's own sentence in an error message, or NULL. */
static const char *kernel_text(const struct nlmsghdr *h, const struct nlmsgerr *err)
{
	size_t skip = mnl_nlmsg_size(sizeof(*err));
	const struct nlattr *attr;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		skip += mnl_nlmsg_get_payload_len(&err->msg);
	mnl_attr_for_each(attr, h, MNL_ALIGN(skip - MNL_NLMSG_HDRLEN))
	{
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG)
			return mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0
				       ? NULL
				       : mnl_attr_get_str(attr);
	}
	return NULL;
}

static int fail(struct err *e, const char *want, int sys, const char *why)
{
	if (why)
		return err_set_at(e, __FILE__, __LINE__, err_kind_of_errno(sys), sys,
				  "cannot %s: %s (%s)", want, strerror(sys), why);
	errno = sys;
	return err_sys(e, "cannot %s", want);
}

struct answers {
	uint32_t first, count; /* sequence numbers awaited */
	uint32_t seen;
	struct netlink_batch *b;
	int result;
};

static void take_answer(struct answers *a, const struct nlmsghdr *h, struct err *e)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(h);
	uint32_t at = h->nlmsg_seq - a->first;

	if (h->nlmsg_type != NLMSG_ERROR || at >= a->count)
		return;
	a->seen++;
	if (err->error && -err->error != a->b->wants[at].fine && a->result == 0)
		a->result = fail(e, a->b->wants[at].text, -err->error, kernel_text(h, err));
}

int netlink_run(struct netlink *n, struct netlink_batch *b, struct err *e)
{
	struct answers a = {.first = n->seq, .count = (uint32_t)b->wants_n, .b = b};
	uint8_t buf[ANSWER_BYTES] __attribute__((aligned(8)));
	uint32_t seq = n->seq;

	if (b->wants_n == 0)
		return 0;
	for (size_t at = 0; at < b->used; seq++) {
		struct nlmsghdr *h = (void *)(b->bytes + at);

		h->nlmsg_seq = seq;
		at += MNL_ALIGN(h->nlmsg_len);
	}
	n->seq = seq;
	a.result = send_all(n, b->bytes, b->used, e);
	if (a.result < 0)
		a.count = 0;
	while (a.seen < a.count) {
		ssize_t got = recv(n->fd, buf, sizeof(buf), MSG_DONTWAIT);
		int left = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			if (a.result == 0)
				a.result =
					err_sys(e, "netlink did not answer '%s'", b->wants[0].text);
			break;
		}
		for (struct nlmsghdr *h = (void *)buf; mnl_nlmsg_ok(h, left);
		     h = mnl_nlmsg_next(h, &left))
			take_answer(&a, h, e);
	}
	b->used = b->wants_n = 0;
	return a.result;
}

/* Sends a dump (or a single get) and shows each message; stops at the end or an error. */
static int dump(struct netlink *n, struct nlmsghdr *h, void (*see)(void *, const struct nlmsghdr *),
		void *ctx, const char *want, struct err *e)
{
	uint8_t buf[ANSWER_BYTES] __attribute__((aligned(8)));
	int r;

	h->nlmsg_seq = n->seq++;
	r = send_all(n, h, h->nlmsg_len, e);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t got = recv(n->fd, buf, sizeof(buf), 0);
		int left = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, "cannot %s", want);
		for (struct nlmsghdr *m = (void *)buf; mnl_nlmsg_ok(m, left);
		     m = mnl_nlmsg_next(m, &left)) {
			const struct nlmsgerr *err = mnl_nlmsg_get_payload(m);

			if (m->nlmsg_seq != h->nlmsg_seq)
				continue;
			if (m->nlmsg_type == NLMSG_DONE)
				return 0;
			if (m->nlmsg_type == NLMSG_ERROR)
				return err->error ? fail(e, want, -err->error, kernel_text(m, err))
						  : 0;
			see(ctx, m);
		}
	}
}

static struct nlmsghdr *start(void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	return h;
}

/* ---- questions ---- */

static void read_link(const struct nlmsghdr *h, struct netlink_link *l)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(h);
	const struct nlattr *attr, *inner;

	*l = (struct netlink_link){.index = info->ifi_index, .flags = info->ifi_flags};
	mnl_attr_for_each(attr, h, sizeof(*info))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			(void)snprintf(l->name, sizeof(l->name), "%s", mnl_attr_get_str(attr));
			break;
		case IFLA_MASTER:
			l->master = (int)mnl_attr_get_u32(attr);
			break;
		case IFLA_MTU:
			l->mtu = mnl_attr_get_u32(attr);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == sizeof(l->mac))
				memcpy(l->mac, mnl_attr_get_payload(attr), sizeof(l->mac));
			break;
		case IFLA_LINKINFO:
			mnl_attr_for_each_nested(inner, attr) if (mnl_attr_get_type(inner) ==
								  IFLA_INFO_KIND)(void)
				snprintf(l->kind, sizeof(l->kind), "%s", mnl_attr_get_str(inner));
			break;
		default:
			break;
		}
	}
}

static void see_one_link(void *ctx, const struct nlmsghdr *h)
{
	if (h->nlmsg_type == RTM_NEWLINK)
		read_link(h, ctx);
}

int netlink_link(struct netlink *n, const char *name, struct netlink_link *ret, struct err *e)
{
	uint8_t buf[MESSAGE_ROOM] __attribute__((aligned(8)));
	struct nlmsghdr *h = start(buf, RTM_GETLINK, NLM_F_ACK);
	struct netlink_link l = {0};
	char want[WANT_TEXT];
	int r;

	(void)mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	(void)snprintf(want, sizeof(want), "find interface '%s'", name);
	r = dump(n, h, see_one_link, &l, want, e);
	if (r < 0)
		return err_kind_of_errno(ENODEV) == (enum err_kind) - r || (e && e->sys == ENODEV)
			       ? err_set(e, ERR_NOT_FOUND, "no interface '%s'", name)
			       : r;
	if (!l.index)
		return err_set(e, ERR_NOT_FOUND, "no interface '%s'", name);
	*ret = l;
	return 0;
}

struct seeing {
	void (*link)(void *ctx, const struct netlink_link *l);
	void (*net)(void *ctx, const struct ip_net *net, int index);
	void (*address)(void *ctx, const struct ip_net *net);
	int index; /* of the only interface wanted, 0: any */
	void *ctx;
};

static void see_link(void *ctx, const struct nlmsghdr *h)
{
	struct seeing *s = ctx;
	struct netlink_link l;

	if (h->nlmsg_type != RTM_NEWLINK)
		return;
	read_link(h, &l);
	s->link(s->ctx, &l);
}

int netlink_each_link(struct netlink *n, void (*see)(void *ctx, const struct netlink_link *l),
		      void *ctx, struct err *e)
{
	uint8_t buf[MESSAGE_ROOM] __attribute__((aligned(8)));
	struct nlmsghdr *h = start(buf, RTM_GETLINK, NLM_F_DUMP);
	struct seeing s = {.link = see, .ctx = ctx};

	(void)mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	return dump(n, h, see_link, &s, "list the interfaces", e);
}

static bool attr_ip(const struct nlattr *attr, struct ip *ret)
{
	size_t n = mnl_attr_get_payload_len(attr);

	if (n != 4 && n != 16)
		return false;
	*ret = (struct ip){.n = (uint8_t)n};
	memcpy(ret->b, mnl_attr_get_payload(attr), n);
	return true;
}

static void see_address(void *ctx, const struct nlmsghdr *h)
{
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
	struct seeing *s = ctx;
	struct ip_net net = {.bits = m->ifa_prefixlen};
	const struct nlattr *attr;
	bool local = false;

	if (h->nlmsg_type != RTM_NEWADDR || (s->index && (int)m->ifa_index != s->index))
		return;
	mnl_attr_for_each(attr, h, sizeof(*m))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFA_LOCAL || (type == IFA_ADDRESS && !local))
			local |= attr_ip(attr, &net.ip) && type == IFA_LOCAL;
	}
	if (!ip_is(&net.ip))
		return;
	if (s->address)
		s->address(s->ctx, &net);
	else
		s->net(s->ctx, &net, (int)m->ifa_index);
}

static void see_route(void *ctx, const struct nlmsghdr *h)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct seeing *s = ctx;
	struct ip_net net = {.bits = m->rtm_dst_len};
	const struct nlattr *attr;
	int index = 0;

	if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_type != RTN_UNICAST || m->rtm_dst_len == 0)
		return;
	mnl_attr_for_each(attr, h, sizeof(*m))
	{
		if (mnl_attr_get_type(attr) == RTA_DST)
			(void)attr_ip(attr, &net.ip);
		else if (mnl_attr_get_type(attr) == RTA_OIF)
			index = (int)mnl_attr_get_u32(attr);
	}
	if (ip_is(&net.ip))
		s->net(s->ctx, &net, index);
}

int netlink_each_net(struct netlink *n, void (*see)(void *ctx, const struct ip_net *net, int index),
		     void *ctx, struct err *e)
{
	uint8_t buf[MESSAGE_ROOM] __attribute__((aligned(8)));
	struct seeing s = {.net = see, .ctx = ctx};
	struct nlmsghdr *h = start(buf, RTM_GETADDR, NLM_F_DUMP);
	int r;

	(void)mnl_nlmsg_put_extra_header(h, sizeof(struct ifaddrmsg));
	r = dump(n, h, see_address, &s, "list the host's addresses", e);
	if (r < 0)
		return r;
	h = start(buf, RTM_GETROUTE, NLM_F_DUMP);
	(void)mnl_nlmsg_put_extra_header(h, sizeof(struct rtmsg));
	return dump(n, h, see_route, &s, "list the host's routes", e);
}

int netlink_each_address(struct netlink *n, int index,
			 void (*see)(void *ctx, const struct ip_net *net), void *ctx, struct err *e)
{
	uint8_t buf[MESSAGE_ROOM] __attribute__((aligned(8)));
	struct seeing s = {.address = see, .index = index, .ctx = ctx};
	struct nlmsghdr *h = start(buf, RTM_GETADDR, NLM_F_DUMP);

	assert(index > 0);
	(void)mnl_nlmsg_put_extra_header(h, sizeof(struct ifaddrmsg));
	return dump(n, h, see_address, &s, "list an interface's addresses", e);
}

/* ---- changes ---- */

struct netlink_batch *netlink_batch_new(void)
{
	return mem_new(struct netlink_batch);
}

struct netlink_batch *netlink_batch_free(struct netlink_batch *b)
{
	if (b) {
		free(b->bytes);
		free(b->wants);
		free(b);
	}
	return NULL;
}

static struct nlmsghdr *request(struct netlink_batch *b, uint16_t type, uint16_t flags,
				const char *want, const char *name)
{
	assert(b->used < NETLINK_BATCH_BYTES);
	mem_grow(b->bytes, b->used + MESSAGE_ROOM, b->room);
	mem_grow(b->wants, b->wants_n + 1, b->wants_room);
	b->wants[b->wants_n].fine = 0;
	(void)snprintf(b->wants[b->wants_n++].text, WANT_TEXT, "%s '%s'", want, name);
	return start(b->bytes + b->used, type, (uint16_t)(flags | NLM_F_ACK));
}

static void request_end(struct netlink_batch *b, const struct nlmsghdr *h)
{
	assert(h->nlmsg_len <= MESSAGE_ROOM);
	b->used += MNL_ALIGN(h->nlmsg_len);
}

static struct ifinfomsg *put_info(struct nlmsghdr *h, int index, bool up)
{
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(h, sizeof(*info));

	info->ifi_family = AF_UNSPEC;
	info->ifi_index = index;
	info->ifi_flags = up ? IFF_UP : 0;
	info->ifi_change = up ? IFF_UP : 0;
	return info;
}

/* No link-local address is made for this interface: nothing to announce, nothing to wait for. */
static void put_no_ipv6(struct nlmsghdr *h)
{
	struct nlattr *spec = mnl_attr_nest_start(h, IFLA_AF_SPEC);
	struct nlattr *six = mnl_attr_nest_start(h, AF_INET6);

	mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(h, six);
	mnl_attr_nest_end(h, spec);
}

/* The kernel takes IFLA_AF_SPEC only once the interface exists: hence a request of its own. */
void netlink_start(struct netlink_batch *b, const char *name, bool ipv6)
{
	struct nlmsghdr *h = request(b, RTM_SETLINK, 0, "bring up", name);

	(void)put_info(h, 0, true);
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	if (!ipv6)
		put_no_ipv6(h);
	request_end(b, h);
}

void netlink_add_bridge(struct netlink_batch *b, const char *name, const uint8_t mac[6],
			uint32_t mtu, bool ipv6)
{
	struct nlmsghdr *h =
		request(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "make bridge", name);
	struct nlattr *linkinfo, *data;

	(void)put_info(h, 0, false);
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	mnl_attr_put(h, IFLA_ADDRESS, 6, mac);
	if (mtu)
		mnl_attr_put_u32(h, IFLA_MTU, mtu);
	linkinfo = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
	data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
	mnl_attr_put_u32(h, IFLA_BR_FORWARD_DELAY, 0);
	mnl_attr_put_u32(h, IFLA_BR_STP_STATE, 0);
	mnl_attr_put_u8(h, IFLA_BR_MCAST_SNOOPING, 0);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, linkinfo);
	request_end(b, h);
	netlink_start(b, name, ipv6);
}

void netlink_add_veth(struct netlink_batch *b, const struct netlink_veth *v)
{
	struct nlmsghdr *h =
		request(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "make veth pair", v->name);
	struct nlattr *linkinfo, *data, *peer;

	assert(v->name && v->peer_name);
	(void)put_info(h, 0, false);
	mnl_attr_put_strz(h, IFLA_IFNAME, v->name);
	if (v->master)
		mnl_attr_put_u32(h, IFLA_MASTER, (uint32_t)v->master);
	if (v->mac)
		mnl_attr_put(h, IFLA_ADDRESS, 6, v->mac);
	if (v->mtu)
		mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
	linkinfo = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(h, VETH_INFO_PEER);
	(void)put_info(h, 0, false);
	mnl_attr_put_strz(h, IFLA_IFNAME, v->peer_name);
	if (v->peer_mac)
		mnl_attr_put(h, IFLA_ADDRESS, 6, v->peer_mac);
	if (v->mtu)
		mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
	if (v->peer_netns >= 0)
		mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)v->peer_netns);
	mnl_attr_nest_end(h, peer);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, linkinfo);
	request_end(b, h);
	netlink_start(b, v->name, false);
}

void netlink_set_port(struct netlink_batch *b, const char *name, bool isolated, bool hairpin)
{
	struct nlmsghdr *h = request(b, RTM_NEWLINK, 0, "set up bridge port", name);
	struct nlattr *linkinfo, *data;

	(void)put_info(h, 0, false);
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	linkinfo = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_SLAVE_KIND, "bridge");
	data = mnl_attr_nest_start(h, IFLA_INFO_SLAVE_DATA);
	mnl_attr_put_u8(h, IFLA_BRPORT_ISOLATED, isolated);
	mnl_attr_put_u8(h, IFLA_BRPORT_MODE, hairpin);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, linkinfo);
	request_end(b, h);
}

void netlink_add_dummy(struct netlink_batch *b, const char *name)
{
	struct nlmsghdr *h =
		request(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "make interface", name);
	struct nlattr *linkinfo;

	(void)put_info(h, 0, true);
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	linkinfo = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_KIND, "dummy");
	mnl_attr_nest_end(h, linkinfo);
	request_end(b, h);
}

void netlink_delete_link(struct netlink_batch *b, int index, const char *name)
{
	struct nlmsghdr *h = request(b, RTM_DELLINK, 0, "remove interface", name);

	assert(index > 0);
	(void)put_info(h, index, false);
	b->wants[b->wants_n - 1].fine = ENODEV;
	request_end(b, h);
}

void netlink_set_up(struct netlink_batch *b, int index, const char *name, bool up)
{
	struct nlmsghdr *h = request(b, RTM_NEWLINK, 0, up ? "bring up" : "take down", name);
	struct ifinfomsg *info = put_info(h, index, up);

	info->ifi_change = IFF_UP;
	request_end(b, h);
}

void netlink_set_mtu(struct netlink_batch *b, int index, const char *name, uint32_t mtu)
{
	struct nlmsghdr *h = request(b, RTM_NEWLINK, 0, "set the MTU of", name);

	(void)put_info(h, index, false);
	mnl_attr_put_u32(h, IFLA_MTU, mtu);
	request_end(b, h);
}

static void address(struct netlink_batch *b, bool add, int index, const struct ip_net *a)
{
	struct nlmsghdr *h =
		request(b, add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
			add ? "set address" : "remove address", ip_net_text(a).t);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	assert(ip_is(&a->ip) && index > 0);
	m->ifa_family = a->ip.n == 4 ? AF_INET : AF_INET6;
	m->ifa_prefixlen = a->bits;
	m->ifa_index = (uint32_t)index;
	mnl_attr_put(h, IFA_LOCAL, a->ip.n, a->ip.b);
	mnl_attr_put(h, IFA_ADDRESS, a->ip.n, a->ip.b);
	if (a->ip.n == 16) {
		m->ifa_flags = IFA_F_NODAD;
	} else if (a->bits < 31) {
		struct ip last = ip_net_last(a);

		mnl_attr_put(h, IFA_BROADCAST, last.n, last.b);
	}
	request_end(b, h);
}

void netlink_add_address(struct netlink_batch *b, int index, const struct ip_net *a)
{
	address(b, true, index, a);
}

void netlink_delete_address(struct netlink_batch *b, int index, const struct ip_net *a)
{
	address(b, false, index, a);
}

static void route(struct netlink_batch *b, bool add, int index, const struct ip_net *to,
		  const struct ip *gateway, const struct ip *from)
{
	struct nlmsghdr *h = request(
		b, add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
		add ? "set route to" : "remove route to", to->bits ? ip_net_text(to).t : "default");
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	assert(to->ip.n && index > 0);
	m->rtm_family = to->ip.n == 4 ? AF_INET : AF_INET6;
	m->rtm_dst_len = to->bits;
	m->rtm_table = RT_TABLE_MAIN;
	if (add) {
		m->rtm_protocol = RTPROT_STATIC;
		m->rtm_type = RTN_UNICAST;
		m->rtm_scope = gateway && ip_is(gateway) ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	} else {
		m->rtm_scope = RT_SCOPE_NOWHERE;
	}
	if (to->bits)
		mnl_attr_put(h, RTA_DST, to->ip.n, to->ip.b);
	if (gateway && ip_is(gateway))
		mnl_attr_put(h, RTA_GATEWAY, gateway->n, gateway->b);
	if (from && ip_is(from))
		mnl_attr_put(h, RTA_PREFSRC, from->n, from->b);
	mnl_attr_put_u32(h, RTA_OIF, (uint32_t)index);
	request_end(b, h);
}

void netlink_add_route(struct netlink_batch *b, int index, const struct ip_net *to,
		       const struct ip *gateway)
{
	route(b, true, index, to, gateway, NULL);
}

void netlink_add_route_from(struct netlink_batch *b, int index, const struct ip_net *to,
			    const struct ip *from)
{
	route(b, true, index, to, NULL, from);
}

static void unreachable(struct netlink_batch *b, bool add, const struct ip_net *to)
{
	struct nlmsghdr *h = request(b, add ? RTM_NEWROUTE : RTM_DELROUTE,
				     add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
				     add ? "close the net" : "open the net", ip_net_text(to).t);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	assert(to->ip.n && to->bits);
	m->rtm_family = to->ip.n == 4 ? AF_INET : AF_INET6;
	m->rtm_dst_len = to->bits;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_type = RTN_UNREACHABLE;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = add ? RT_SCOPE_UNIVERSE : RT_SCOPE_NOWHERE;
	mnl_attr_put(h, RTA_DST, to->ip.n, to->ip.b);
	request_end(b, h);
}

void netlink_add_unreachable(struct netlink_batch *b, const struct ip_net *to)
{
	unreachable(b, true, to);
}

void netlink_delete_unreachable(struct netlink_batch *b, const struct ip_net *to)
{
	unreachable(b, false, to);
}

void netlink_add_neighbour(struct netlink_batch *b, int index, const struct ip *ip,
			   const uint8_t mac[6])
{
	struct nlmsghdr *h = request(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, "set neighbour",
				     ip_text(ip).t);
	struct ndmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	assert(ip_is(ip) && index > 0);
	m->ndm_family = ip->n == 4 ? AF_INET : AF_INET6;
	m->ndm_ifindex = index;
	m->ndm_state = NUD_PERMANENT;
	mnl_attr_put(h, NDA_DST, ip->n, ip->b);
	mnl_attr_put(h, NDA_LLADDR, 6, mac);
	request_end(b, h);
}

void netlink_delete_route(struct netlink_batch *b, int index, const struct ip_net *to)
{
	route(b, false, index, to, NULL, NULL);
}
