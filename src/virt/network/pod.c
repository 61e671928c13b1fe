/*
 * Pods on this node; see pod.h. The host's part of all of them is one interface without a wire,
 * "hl-TAG-pods", that holds the node's own addresses, and the table of pod_rules.c; a pod's own
 * part is a veth pair, a route to its far end, and on either end the other's hardware address,
 * written down for good.
 *
 * A pod that goes takes nothing off the host but its route: removing an interface makes the caller
 * wait for a grace period of the kernel, and it goes with its namespace anyway.
 */
#include "virt/network/pod.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/network_priv.h"

#define ONE4 32 /* the prefix of a single address */
#define ONE6 128

/* The same in every pod: who the default gateway is. Its address is nobody's, its MAC our end's. */
static const struct ip gateway4 = {4, {169, 254, 1, 1}};
static const struct ip gateway6 = {16, {0xfe, 0x80, [15] = 1}};
static const uint8_t gateway_mac[6] = {0x02, 'H', 'U', 'L', 'L', 0x01};
static const uint8_t link_mac[6] = {0x02, 'H', 'U', 'L', 'L', 0x00};

/* ---- configuring ---- */

struct pods *pods_free(struct pods *p)
{
	if (!p)
		return NULL;
	network_free(p->network);
	free(p->cluster);
	free(p->services);
	free(p);
	return NULL;
}

static int read_nets(const char *const *texts, const char *what, struct ip_net **ret, size_t *ret_n,
		     struct err *e)
{
	size_t n = mem_count_texts((char *const *)texts);
	struct ip_net *nets;

	if (n > NETWORK_CLUSTER_NETS_MAX)
		return err_set(e, ERR_INVALID, "%zu nets of %s are more than %d", n, what,
			       NETWORK_CLUSTER_NETS_MAX);
	*ret = nets = mem_new_array(struct ip_net, n + 1);
	for (size_t i = 0; i < n; i++) {
		int r = ip_net_parse(str_of(texts[i]), what, &nets[i], e);

		if (r < 0)
			return r;
		nets[i].ip = ip_net_base(&nets[i]);
	}
	*ret_n = n;
	return 0;
}

static int check_range(struct network *n, const struct ip_net *net, struct err *e)
{
	bool v4 = net->ip.n == 4;

	list_each (&n->host->networks, struct network, link, other) {
		const struct ip_net *theirs = v4 ? &other->net4 : &other->net6;

		if (ip_is(&theirs->ip) && ip_nets_overlap(theirs, net))
			return err_set(e, ERR_CONFLICT,
				       "the range of pods '%s' overlaps '%s' of network '%s': "
				       "choose another range or remove that network",
				       ip_net_text(net).t, ip_net_text(theirs).t, other->spec.name);
	}
	return 0;
}

/* The first address of a range is the node's. */
static int read_range(struct network *n, const char *text, uint8_t family_n, struct ip *ret_own,
		      struct err *e)
{
	bool v4 = family_n == 4;
	struct ip_net net;
	int r;

	if (!text || !*text)
		return 0;
	r = ip_net_parse(str_of(text), "range of pods", &net, e);
	if (r < 0)
		return r;
	if (net.ip.n != family_n || net.bits == 0 || net.bits > (v4 ? 30 : 126))
		return err_set(e, ERR_INVALID, "'%s' is no IPv%d range of pods", text, v4 ? 4 : 6);
	net.ip = ip_net_base(&net);
	r = check_range(n, &net, e);
	if (r < 0)
		return r;
	*ret_own = ip_plus(net.ip, 1);
	*(v4 ? &n->net4 : &n->net6) = net;
	*(v4 ? &n->range4 : &n->range6) = net;
	*(v4 ? &n->gateway4 : &n->gateway6) = v4 ? gateway4 : gateway6;
	*(v4 ? &n->next4 : &n->next6) = *ret_own;
	(void)map_put(&n->taken, ip_text(ret_own).t, "this node");
	return 0;
}

static struct network *pods_network(struct network_host *h, uint32_t mtu)
{
	struct network *n = network_new(h);

	n->driver = DRIVER_PODS;
	n->loaded = true;
	n->mtu = mtu;
	n->spec.name = arena_dup_text(&n->arena, "pods");
	n->spec.id = arena_dup_text(&n->arena, "pods");
	n->spec.driver = arena_dup_text(&n->arena, "pods");
	(void)snprintf(n->iface_prefix, sizeof(n->iface_prefix), "eth");
	return n;
}

static int read_options(struct network_host *h, const struct network_pods_options *o,
			struct pods *p, struct err *e)
{
	int r;

	p->network = pods_network(h, o->mtu);
	(void)snprintf(p->link, sizeof(p->link), "hl-%s-pods", h->tag);
	(void)snprintf(p->prefix, sizeof(p->prefix), "hp-%s-", h->tag);
	(void)snprintf(p->table, sizeof(p->table), "%s-pods", h->table);
	assert(strlen(p->prefix) == POD_PREFIX_LEN);
	r = read_range(p->network, o->range4, 4, &p->own4, e);
	if (r == 0)
		r = read_range(p->network, o->range6, 16, &p->own6, e);
	if (r == 0)
		r = read_nets(o->cluster, "the cluster", &p->cluster, &p->cluster_n, e);
	if (r == 0)
		r = read_nets(o->services, "services", &p->services, &p->services_n, e);
	if (r == 0 && !ip_is(&p->own4) && !ip_is(&p->own6))
		r = err_set(e, ERR_INVALID, "this node has no range of pods");
	return r;
}

int network_pods_configure(struct network_host *h, const struct network_pods_options *o,
			   struct err *e)
{
	struct pods *p, *before = h->pods;
	int r;

	if (before && before->network->endpoints_n)
		return err_set(e, ERR_CONFLICT,
			       "the range of pods cannot change while there are %zu pods",
			       before->network->endpoints_n);
	p = mem_new(struct pods);
	r = read_options(h, o, p, e);
	if (r < 0) {
		(void)pods_free(p);
		return r;
	}
	h->pods = p;
	(void)pods_free(before);
	return pods_lay(h, e);
}

bool network_pods_configured(const struct network_host *h)
{
	return h->pods;
}

const char *network_pods_gateway(const struct network_host *h, bool v6)
{
	static char text[2][IP_TEXT_MAX + 4];

	if (!h->pods)
		return "";
	(void)snprintf(text[v6], sizeof(text[v6]), "%s",
		       ip_text(v6 ? &h->pods->own6 : &h->pods->own4).t);
	return text[v6];
}

/* ---- the host's part ---- */

static void put_own(struct netlink_batch *b, const struct pods *p, const struct ip *own)
{
	const struct ip_net *range = own->n == 4 ? &p->network->net4 : &p->network->net6;
	struct ip_net one = {*own, own->n == 4 ? ONE4 : ONE6};

	if (!ip_is(own))
		return;
	netlink_add_address(b, p->index, &one);
	netlink_add_unreachable(b, range); /* an address that no pod has leads nowhere */
	for (size_t i = 0; i < p->services_n; i++)
		if (p->services[i].ip.n == own->n)
			netlink_add_route_from(b, p->index, &p->services[i], own);
}

static int lay_link(struct network_host *h, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct pods *p = h->pods;
	struct netlink_link l;
	int r;

	if (netlink_link(&h->netlink, p->link, &l, NULL) < 0) {
		netlink_add_bridge(b, p->link, link_mac, 0, false);
		r = netlink_run(&h->netlink, b, e);
		if (r == 0)
			r = netlink_link(&h->netlink, p->link, &l, e);
		if (r < 0)
			return r;
	}
	p->index = l.index;
	if (!(l.flags & IFF_UP))
		netlink_start(b, p->link, false);
	put_own(b, p, &p->own4);
	put_own(b, p, &p->own6);
	r = netlink_run(&h->netlink, b, e);
	if (r == 0 && ip_is(&p->own4))
		r = bridge_forwarding(h, false, e);
	if (r == 0 && ip_is(&p->own6))
		r = bridge_forwarding(h, true, e);
	return r;
}

int pods_lay(struct network_host *h, struct err *e)
{
	int r;

	assert(h->pods);
	r = lay_link(h, e);
	if (r == 0)
		r = pod_rules_lay(h, e);
	if (r == 0)
		r = zone_lay(h, e);
	return r < 0 ? err_wrap(e, "laying the network of pods") : 0;
}

int pods_clear(struct network_host *h, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	auto_free char *table = mem_printf("%s-pods", h->table);
	auto_nft struct nft *t = nft_new(NFPROTO_INET, table);
	struct pods *p = h->pods;

	nft_add_table(t, NULL);
	nft_delete_table(t);
	if (p && ip_is(&p->own4))
		netlink_delete_unreachable(b, &p->network->net4);
	if (p && ip_is(&p->own6))
		netlink_delete_unreachable(b, &p->network->net6);
	if (netlink_run(&h->netlink, b, NULL) < 0)
		log_debug("a range of pods was not closed");
	h->pods = pods_free(p);
	h->services = services_free(h->services);
	return nft_commit(t, h->nft_fd, e);
}

/* ---- one pod ---- */

static void put_inside(const struct network_endpoint *pod, const struct ip *ip, int index,
		       struct netlink_batch *b)
{
	bool v4 = ip->n == 4;
	struct ip_net one = {*ip, v4 ? ONE4 : ONE6}, any = {.ip.n = ip->n};
	struct ip_net door = {v4 ? gateway4 : gateway6, v4 ? ONE4 : ONE6};

	(void)pod;
	if (!ip_is(ip))
		return;
	netlink_add_address(b, index, &one);
	if (v4)
		netlink_add_route(b, index, &door, NULL);
	netlink_add_route(b, index, &any, &door.ip);
	netlink_add_neighbour(b, index, &door.ip, gateway_mac);
}

static int configure_inside(const struct network_endpoint *pod, const struct network_ns *ns,
			    struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct netlink inside = NETLINK_NONE;
	struct netlink_link l = {0};
	int r;

	r = netlink_adopt(ns->route, &inside, e);
	if (r == 0)
		r = netlink_link(&inside, pod->info.ifname, &l, e);
	if (r < 0)
		return r;
	netlink_start(b, pod->info.ifname, false);
	put_inside(pod, &pod->ip4, l.index, b);
	put_inside(pod, &pod->ip6, l.index, b);
	r = netlink_run(&inside, b, e);
	if (r == 0) /* the asking makes the link usable now: see endpoint.c */
		r = netlink_link(&inside, pod->info.ifname, &l, e);
	return r;
}

static void put_route(const struct network_endpoint *pod, const struct ip *ip, int index,
		      struct netlink_batch *b)
{
	const struct pods *p = pod->network->host->pods;
	struct ip_net one = {*ip, ip->n == 4 ? ONE4 : ONE6};

	if (!ip_is(ip))
		return;
	netlink_add_neighbour(b, index, ip, pod->mac);
	netlink_add_route_from(b, index, &one, ip->n == 4 ? &p->own4 : &p->own6);
}

/* The host's own 127.0.0.1:NODEPORT goes to pods; what they send to 127.* is dropped by rule. */
static void allow_loopback(const char *ifname)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/route_localnet", ifname);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		log_debug("cannot set '%s'", path);
	(void)fd_close(fd);
}

static int lead_to(const struct network_endpoint *pod, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct netlink *host = &pod->network->host->netlink;
	struct netlink_link l = {0};
	int r = netlink_link(host, pod->info.host_ifname, &l, e);

	if (r < 0)
		return r;
	put_route(pod, &pod->ip4, l.index, b);
	put_route(pod, &pod->ip6, l.index, b);
	allow_loopback(pod->info.host_ifname);
	return netlink_run(host, b, e);
}

static void unplug(const struct network_endpoint *pod)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct netlink *host = &pod->network->host->netlink;
	struct netlink_link l = {0};
	struct err e = {0};

	if (netlink_link(host, pod->info.host_ifname, &l, NULL) < 0)
		return;
	netlink_delete_link(b, l.index, pod->info.host_ifname);
	if (netlink_run(host, b, &e) < 0)
		log_warn("%s", e.text);
}

static int plug(struct network_endpoint *pod, const struct network_ns *ns, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct network *n = pod->network;
	int r;

	netlink_add_veth(b, &(struct netlink_veth){
				    .name = pod->info.host_ifname,
				    .mac = gateway_mac,
				    .mtu = n->mtu,
				    .peer_name = pod->info.ifname,
				    .peer_netns = ns->netns,
				    .peer_mac = pod->mac,
			    });
	r = netlink_run(&n->host->netlink, b, e);
	if (r < 0)
		return r;
	r = configure_inside(pod, ns, e);
	if (r == 0)
		r = lead_to(pod, e);
	if (r == 0)
		r = rules_ports(pod, true, e);
	if (r < 0)
		unplug(pod);
	return r;
}

static void make_single(struct network_endpoint *pod)
{
	pod->info.gateway = true;
	pod->info.prefix4 = ip_is(&pod->ip4) ? ONE4 : 0;
	pod->info.prefix6 = ip_is(&pod->ip6) ? ONE6 : 0;
}

int network_pod_attach(struct network_host *h, const struct network_ns *ns,
		       const struct network_pod_join *join, struct network_endpoint **ret,
		       struct err *e)
{
	struct network_join as = {.container = join->sandbox,
				  .name = join->name,
				  .ipv4 = join->ipv4,
				  .ipv6 = join->ipv6,
				  .gateway = true,
				  .ports = join->ports,
				  .ports_n = join->ports_n};
	struct network_endpoint *pod;
	int r;

	assert(join->sandbox && join->name);
	if (!h->pods)
		return err_set(e, ERR_INVALID, "this node has no range of pods yet");
	if (ns->netns < 0 || ns->route < 0)
		return err_set(e, ERR_INVALID, "no network namespace of pod '%s' was given",
			       join->name);
	pod = endpoint_new(h->pods->network, join->sandbox);
	r = endpoint_fill(pod, &as, e);
	if (r == 0) {
		make_single(pod);
		endpoint_enter(pod);
		r = plug(pod, ns, e);
	}
	if (r < 0) {
		endpoint_free(pod);
		return err_wrap(e, "network of pod '%s'", join->name);
	}
	for (size_t i = 0; i < pod->published_n; i++)
		names_tell_port(pod, &pod->published[i]);
	*ret = pod;
	return 0;
}

static void forget_route(const struct network_endpoint *pod)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct netlink *host = &pod->network->host->netlink;
	const struct ip *const ips[] = {&pod->ip4, &pod->ip6};
	struct netlink_link l = {0};

	if (netlink_link(host, pod->info.host_ifname, &l, NULL) < 0)
		return;
	for (size_t i = 0; i < array_len(ips); i++) {
		struct ip_net one = {*ips[i], ips[i]->n == 4 ? ONE4 : ONE6};

		if (ip_is(ips[i]))
			netlink_delete_route(b, l.index, &one);
	}
	if (netlink_run(host, b, NULL) < 0)
		log_debug("interface '%s' is gone already", pod->info.host_ifname);
}

int network_pod_detach(struct network_host *h, struct network_endpoint *pod, struct err *e)
{
	int r;

	assert(pod->network->host == h && pod->network->driver == DRIVER_PODS);
	r = rules_ports(pod, false, e);
	for (size_t i = 0; i < pod->published_n; i++)
		names_forget_port(pod, &pod->published[i]);
	forget_route(pod);
	endpoint_free(pod);
	return r;
}

/* ---- records ---- */

/* The search for a free address goes on behind those that are known. */
static void go_past(struct ip *next, const struct ip *ip)
{
	if (ip_is(ip) && ip_cmp(ip, next) >= 0)
		*next = ip_plus(*ip, 1);
}

int network_pod_load(struct network_host *h, const struct json *record,
		     struct network_endpoint **ret, struct err *e)
{
	const char *sandbox = json_get_text(record, "container");
	struct network_endpoint *pod;
	int r;

	if (!h->pods)
		return err_set(e, ERR_INVALID, "this node has no range of pods yet");
	if (!sandbox || !text_eq(json_get_text(record, "network"), h->pods->network->spec.id))
		return err_set(e, ERR_INVALID, "the record of a pod's network is damaged");
	pod = endpoint_new(h->pods->network, sandbox);
	r = endpoint_load_fields(pod, record, e);
	if (r < 0) {
		endpoint_free(pod);
		return err_wrap(e, "network of sandbox '%.12s'", sandbox);
	}
	make_single(pod);
	go_past(&pod->network->next4, &pod->ip4);
	go_past(&pod->network->next6, &pod->ip6);
	endpoint_enter(pod);
	*ret = pod;
	return 0;
}

struct network_endpoint *network_pod_next(struct network_host *h,
					  const struct network_endpoint *pod)
{
	return h->pods ? network_endpoint_next(h, h->pods->network, pod) : NULL;
}
