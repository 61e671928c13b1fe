/*
 * Links on the host: the bridge of a network, and the sweep that removes links of ours which belong
 * to nobody any more. Laying a bridge converges from any state: what is there and right stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/network_priv.h"

/* ---- forwarding ---- */

/* Writes a sysctl unless it says so already; a kernel without the file is no error. */
static int set_sysctl(const char *path, char want, struct err *e)
{
	auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
	char now = 0;

	if (fd < 0 && (errno == ENOENT || errno == EROFS || errno == EACCES))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || pread(fd, &now, 1, 0) != 1)
		return err_sys(e, "cannot read '%s'", path);
	if (now == want || (want == '1' && now == '2'))
		return 0;
	if (pwrite(fd, &want, 1, 0) != 1)
		return err_sys(e, "cannot set '%s' to %c, which networks of containers need", path,
			       want);
	return 0;
}

static bool read_flag(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char now = 0;

	return fd >= 0 && pread(fd, &now, 1, 0) == 1 && now == '1';
}

/* An interface that learns its own routes must go on doing so once the host forwards. */
static void keep_learning(void *ctx, const struct netlink_link *l)
{
	char path[128], now = 0;
	int fd;

	(void)ctx;
	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", l->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && pread(fd, &now, 1, 0) == 1 && now == '1')
		(void)!pwrite(fd, "2", 1, 0);
	(void)fd_close(fd);
}

int bridge_forwarding(struct network_host *h, bool v6, struct err *e)
{
	bool *done = v6 ? &h->forwarding6 : &h->forwarding4;
	int r;

	if (*done)
		return 0;
	r = v6 ? netlink_each_link(&h->netlink, keep_learning, NULL, e) : 0;
	if (r < 0)
		return r;
	r = set_sysctl(v6 ? "/proc/sys/net/ipv6/conf/all/forwarding"
			  : "/proc/sys/net/ipv4/ip_forward",
		       '1', e);
	*done = r == 0;
	return r;
}

/* ---- one bridge ---- */

static void bridge_mac(const struct network *n, uint8_t mac[6])
{
	mac[0] = 0x02;
	mac[1] = 0x42;
	memcpy(mac + 2, n->gateway4.b, 4);
}

static int put_addresses(struct network *n, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct ip_net a4 = {n->gateway4, n->net4.bits}, a6 = {n->gateway6, n->net6.bits};

	netlink_add_address(b, n->index, &a4);
	if (ip_is(&a6.ip))
		netlink_add_address(b, n->index, &a6);
	return netlink_run(&n->host->netlink, b, e);
}

/* A neighbour on the bridge must not teach the host routes. */
static int refuse_ra(const struct network *n, struct err *e)
{
	char path[128];

	if (!ip_is(&n->net6.ip))
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", n->bridge);
	return set_sysctl(path, '0', e);
}

int bridge_lay(struct network *n, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct network_host *h = n->host;
	struct netlink_link l;
	uint8_t mac[6];
	int r;

	bridge_mac(n, mac);
	r = netlink_link(&h->netlink, n->bridge, &l, NULL);
	if (r == 0 && (strcmp(l.kind, "bridge") != 0 || !n->loaded))
		return err_set(e, ERR_CONFLICT,
			       "the host has an interface '%s' already, which network '%s' wants",
			       n->bridge, n->spec.name);
	if (r < 0) {
		netlink_add_bridge(b, n->bridge, mac, n->mtu, ip_is(&n->net6.ip));
		r = netlink_run(&h->netlink, b, e);
		if (r == 0)
			r = netlink_link(&h->netlink, n->bridge, &l, e);
	} else if (!(l.flags & IFF_UP)) {
		netlink_start(b, n->bridge, ip_is(&n->net6.ip));
		r = netlink_run(&h->netlink, b, e);
	}
	if (r < 0)
		return r;
	n->index = l.index;
	h->bridged_rules = read_flag("/proc/sys/net/bridge/bridge-nf-call-iptables");
	r = refuse_ra(n, e);
	if (r == 0)
		r = put_addresses(n, e);
	if (r == 0)
		r = bridge_forwarding(h, false, e);
	if (r == 0 && ip_is(&n->net6.ip))
		r = bridge_forwarding(h, true, e);
	return r;
}

int bridge_remove(struct network *n, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();

	if (!n->index)
		return 0;
	netlink_delete_link(b, n->index, n->bridge);
	n->index = 0;
	return netlink_run(&n->host->netlink, b, e);
}

/* ---- the sweep ---- */

struct sweep {
	struct network_host *h;
	struct netlink_batch *batch;
	char bridges[IFNAMSIZ], veths[IFNAMSIZ], pods[IFNAMSIZ]; /* prefixes of our names */
};

static bool is_known(struct network_host *h, const struct netlink_link *l)
{
	list_each (&h->networks, struct network, link, n)
		if (strcmp(n->bridge, l->name) == 0)
			return true;
	list_each (&h->endpoints, struct network_endpoint, link, ep)
		if (strcmp(ep->info.host_ifname, l->name) == 0)
			return true;
	return h->pods && strcmp(h->pods->link, l->name) == 0;
}

static void see_link(void *ctx, const struct netlink_link *l)
{
	struct sweep *s = ctx;
	bool ours = (text_starts(l->name, s->bridges) && strcmp(l->kind, "bridge") == 0) ||
		    ((text_starts(l->name, s->veths) || text_starts(l->name, s->pods)) &&
		     strcmp(l->kind, "veth") == 0);

	if (!ours || is_known(s->h, l))
		return;
	log_info("removing interface '%s', which belongs to nothing any more", l->name);
	netlink_delete_link(s->batch, l->index, l->name);
}

int bridge_sweep(struct network_host *h, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct sweep s = {.h = h, .batch = b};
	int r;

	(void)snprintf(s.bridges, sizeof(s.bridges), "hl-%s-", h->tag);
	(void)snprintf(s.veths, sizeof(s.veths), "hv-%s-", h->tag);
	(void)snprintf(s.pods, sizeof(s.pods), "hp-%s-", h->tag);
	r = netlink_each_link(&h->netlink, see_link, &s, e);
	return r < 0 ? r : netlink_run(&h->netlink, b, e);
}
