/*
 * Endpoints: one container on one network. Attaching reserves addresses and ports, makes the veth
 * pair with its far end in the container's namespace, configures that end over the namespace's own
 * netlink socket, then rules and names. What fails is taken back in reverse.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"
#include "virt/network/network_priv.h"
#include "virt/network/pod.h"

#define IFNAMES_MAX 1024 /* interfaces of one container */

/* ---- birth and death ---- */

struct network_endpoint *endpoint_new(struct network *n, const char *container)
{
	struct network_endpoint *ep = mem_new(struct network_endpoint);

	ep->network = n;
	list_init(&ep->link);
	(void)snprintf(ep->info.network, sizeof(ep->info.network), "%s", n->spec.id);
	(void)snprintf(ep->info.container, sizeof(ep->info.container), "%s", container);
	return ep;
}

void endpoint_enter(struct network_endpoint *ep)
{
	assert(list_empty(&ep->link));
	list_append(&ep->network->host->endpoints, &ep->link);
	ep->network->endpoints_n++;
}

void endpoint_free(struct network_endpoint *ep)
{
	if (!ep)
		return;
	if (!list_empty(&ep->link)) {
		assert(ep->network->endpoints_n > 0);
		list_remove(&ep->link);
		ep->network->endpoints_n--;
	}
	pool_give(ep->network, &ep->ip4);
	pool_give(ep->network, &ep->ip6);
	publish_release(ep);
	free(ep->ports);
	arena_done(&ep->arena);
	free(ep);
}

static bool has_link(const struct network *n)
{
	return n->driver == DRIVER_BRIDGE || n->driver == DRIVER_PODS;
}

/* ---- reading the request ---- */

static char **copy_texts(struct arena *a, char *const *list)
{
	size_t n = mem_count_texts(list);
	char **copy = arena_new_array(a, char *, n + 1);

	for (size_t i = 0; i < n; i++)
		copy[i] = arena_dup_text(a, list[i]);
	return copy;
}

static struct json_pair *copy_pairs(struct arena *a, const struct json_pair *list, size_t *ret_n)
{
	struct json_pair *copy;
	size_t n = 0;

	while (list && list[n].key)
		n++;
	copy = arena_new_array(a, struct json_pair, n + 1);
	for (size_t i = 0; i < n; i++) {
		copy[i].key = arena_dup_text(a, list[i].key);
		copy[i].value = arena_dup_text(a, list[i].value ? list[i].value : list[i].key);
	}
	*ret_n = n;
	return copy;
}

static int parse_mac(const char *text, uint8_t mac[6], struct err *e)
{
	struct str rest = str_of(text), part;
	size_t n = 0;

	while (str_cut(&rest, text && strchr(text, '-') ? '-' : ':', &part)) {
		uint32_t v = 0;

		if (n == 6 || part.n != 2 || parse_u32_base(part, 16, "MAC address", &v, NULL) < 0)
			break;
		mac[n++] = (uint8_t)v;
	}
	if (n != 6 || rest.p)
		return err_set(e, ERR_INVALID, "invalid MAC address '%.40s'", text);
	if (mac[0] & 1)
		return err_set(e, ERR_INVALID, "MAC address '%s' is a multicast address", text);
	return 0;
}

static int choose_mac(struct network_endpoint *ep, const char *wanted, struct err *e)
{
	int r = 0;

	if (wanted && *wanted) {
		r = parse_mac(wanted, ep->mac, e);
	} else {
		ep->mac[0] = 0x02;
		ep->mac[1] = 0x42;
		memcpy(ep->mac + 2, ep->ip4.b, 4);
	}
	(void)snprintf(ep->info.mac, sizeof(ep->info.mac), "%02x:%02x:%02x:%02x:%02x:%02x",
		       ep->mac[0], ep->mac[1], ep->mac[2], ep->mac[3], ep->mac[4], ep->mac[5]);
	return r;
}

static bool ifname_taken(struct network_host *h, const char *container, const char *name)
{
	list_each (&h->endpoints, struct network_endpoint, link, ep)
		if (strcmp(ep->info.container, container) == 0 &&
		    strcmp(ep->info.ifname, name) == 0)
			return true;
	return false;
}

static int choose_ifname(struct network_endpoint *ep, const char *wanted, struct err *e)
{
	struct network *n = ep->network;
	char name[IFNAMSIZ + 8];

	if (wanted && *wanted) {
		if (strlen(wanted) >= IFNAMSIZ || strpbrk(wanted, "/ \t\n:%") ||
		    ifname_taken(n->host, ep->info.container, wanted))
			return err_set(
				e, ERR_INVALID,
				"interface name '%.40s' is invalid or taken in this container",
				wanted);
		(void)snprintf(ep->info.ifname, sizeof(ep->info.ifname), "%s", wanted);
		return 0;
	}
	for (int i = 0; i < IFNAMES_MAX; i++) {
		(void)snprintf(name, sizeof(name), "%s%d", n->iface_prefix, i);
		if (strlen(name) < IFNAMSIZ && !ifname_taken(n->host, ep->info.container, name)) {
			memcpy(ep->info.ifname, name, strlen(name) + 1);
			return 0;
		}
	}
	return err_set(e, ERR_EXHAUSTED, "a container has %d interfaces at most", IFNAMES_MAX);
}

static int read_wanted(const struct network *n, bool v4, const char *wanted, struct ip *ret,
		       struct err *e)
{
	int r;

	if (!wanted || !*wanted)
		return 0;
	r = ip_parse(str_of(wanted), v4 ? "IPv4 address" : "IPv6 address", ret, e);
	if (r < 0)
		return r;
	if (ret->n != (v4 ? 4 : 16))
		return err_set(e, ERR_INVALID, "'%s' is no %s address", wanted,
			       v4 ? "IPv4" : "IPv6");
	if (!ip_is(v4 ? &n->net4.ip : &n->net6.ip))
		return err_set(e, ERR_INVALID, "network '%s' has no IPv6 subnet for address '%s'",
			       n->spec.name, wanted);
	return 0;
}

static int choose_address(struct network_endpoint *ep, bool v4, const char *wanted, struct err *e)
{
	struct network *n = ep->network;
	struct ip ask = {0}, *slot = v4 ? &ep->ip4 : &ep->ip6;
	char *text = v4 ? ep->info.ipv4 : ep->info.ipv6;
	char *gateway = v4 ? ep->info.gateway4 : ep->info.gateway6;
	int r = read_wanted(n, v4, wanted, &ask, e);

	if (r < 0 || !ip_is(v4 ? &n->net4.ip : &n->net6.ip))
		return r;
	r = pool_take(n, v4 ? 4 : 16, &ask, arena_printf(&ep->arena, "container '%s'", ep->name),
		      slot, e);
	if (r < 0)
		return r;
	(void)snprintf(text, NETWORK_ADDR_LEN, "%s", ip_text(slot).t);
	*(v4 ? &ep->info.prefix4 : &ep->info.prefix6) = v4 ? n->net4.bits : n->net6.bits;
	if (!n->spec.internal)
		(void)snprintf(gateway, NETWORK_ADDR_LEN, "%s",
			       ip_text(v4 ? &n->gateway4 : &n->gateway6).t);
	return 0;
}

static int take_names(struct network_endpoint *ep, const struct network_join *join, struct err *e)
{
	size_t links;

	if (mem_count_texts(join->aliases) > NETWORK_ALIASES_MAX)
		return err_set(e, ERR_INVALID, "more than %d network aliases", NETWORK_ALIASES_MAX);
	ep->name = arena_dup_text(&ep->arena, join->name ? join->name : "");
	ep->aliases = copy_texts(&ep->arena, join->aliases);
	ep->info.aliases = ep->aliases;
	ep->links = copy_pairs(&ep->arena, join->links, &links);
	ep->dns = join->dns ? copy_texts(&ep->arena, join->dns) : NULL;
	if (links > NETWORK_ALIASES_MAX)
		return err_set(e, ERR_INVALID, "more than %d links", NETWORK_ALIASES_MAX);
	return 0;
}

int endpoint_fill(struct network_endpoint *ep, const struct network_join *join, struct err *e)
{
	struct network_host *h = ep->network->host;
	int r;

	world_random_hex(h->world, ep->info.id, 64);
	ep->info.gateway = join->gateway;
	r = take_names(ep, join, e);
	if (r < 0 || !has_link(ep->network))
		return r;
	(void)snprintf(ep->info.host_ifname, sizeof(ep->info.host_ifname), "%s-%s-%.7s",
		       ep->network->driver == DRIVER_PODS ? "hp" : "hv", h->tag, ep->info.id);
	r = choose_ifname(ep, join->ifname, e);
	if (r == 0)
		r = choose_address(ep, true, join->ipv4, e);
	if (r == 0)
		r = choose_address(ep, false, join->ipv6, e);
	if (r == 0)
		r = choose_mac(ep, join->mac, e);
	if (r == 0)
		r = publish_reserve(ep, join->ports, join->ports_n, e);
	return r;
}

/* ---- plugging ---- */

static void add_default_routes(struct network_endpoint *ep, struct netlink_batch *b, int index)
{
	struct network *n = ep->network;
	struct ip_net any4 = {.ip.n = 4}, any6 = {.ip.n = 16};

	if (!ep->info.gateway || n->spec.internal)
		return;
	netlink_add_route(b, index, &any4, &n->gateway4);
	if (ip_is(&ep->ip6))
		netlink_add_route(b, index, &any6, &n->gateway6);
}

static int configure_inside(struct network_endpoint *ep, const struct network_ns *ns, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct ip_net a4 = {ep->ip4, ep->info.prefix4}, a6 = {ep->ip6, ep->info.prefix6};
	struct netlink inside = NETLINK_NONE;
	struct netlink_link l = {0};
	int r;

	r = netlink_adopt(ns->route, &inside, e);
	if (r == 0)
		r = netlink_link(&inside, ep->info.ifname, &l, e);
	if (r < 0)
		return r;
	netlink_start(b, ep->info.ifname, ip_is(&ep->ip6));
	netlink_add_address(b, l.index, &a4);
	if (ip_is(&ep->ip6))
		netlink_add_address(b, l.index, &a6);
	add_default_routes(ep, b, l.index);
	r = netlink_run(&inside, b, e);
	/*
	 * A link comes up for good only when the kernel's link watch has run, some milliseconds
	 * later; what a quick container sends before is lost, and ARP tries again after a second.
	 * Asking for the link makes it run now (Linux 6.9), for each end.
	 */
	if (r == 0)
		r = netlink_link(&inside, ep->info.ifname, &l, e);
	if (r == 0)
		r = netlink_link(&ep->network->host->netlink, ep->info.host_ifname, &l, e);
	return r;
}

static void unplug_host(struct network_endpoint *ep)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct netlink *host = &ep->network->host->netlink;
	struct netlink_link l = {0};
	struct err e = {0};

	if (netlink_link(host, ep->info.host_ifname, &l, NULL) < 0)
		return;
	netlink_delete_link(b, l.index, ep->info.host_ifname);
	if (netlink_run(host, b, &e) < 0)
		log_warn("%s", e.text);
}

static int plug(struct network_endpoint *ep, const struct network_ns *ns, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct network *n = ep->network;
	int r;

	if (ns->netns < 0)
		return err_set(e, ERR_INVALID, "no network namespace of container '%s' was given",
			       ep->name);
	netlink_add_veth(b, &(struct netlink_veth){
				    .name = ep->info.host_ifname,
				    .master = n->index,
				    .mtu = n->mtu,
				    .peer_name = ep->info.ifname,
				    .peer_netns = ns->netns,
				    .peer_mac = ep->mac,
			    });
	if (!n->icc || n->host->bridged_rules)
		netlink_set_port(b, ep->info.host_ifname, !n->icc, n->host->bridged_rules);
	r = netlink_run(&n->host->netlink, b, e);
	if (r < 0)
		return r;
	r = configure_inside(ep, ns, e);
	if (r == 0)
		r = rules_ports(ep, true, e);
	if (r == 0 && network_has_names(n) && ns->dns_udp >= 0)
		r = rules_names(ns, e);
	if (r < 0)
		unplug_host(ep);
	return r;
}

int network_attach(struct network_host *h, struct network *n, const struct network_ns *ns,
		   const struct network_join *join, struct network_endpoint **ret, struct err *e)
{
	struct network_endpoint *ep;
	int r;

	assert(n->host == h && join->container);
	list_each (&h->endpoints, struct network_endpoint, link, other)
		if (other->network == n && strcmp(other->info.container, join->container) == 0)
			return err_set(e, ERR_EXISTS, "container '%s' is on network '%s' already",
				       other->name, n->spec.name);
	ep = endpoint_new(n, join->container);
	r = endpoint_fill(ep, join, e);
	if (r == 0) {
		endpoint_enter(ep);
		if (n->driver == DRIVER_BRIDGE && !n->index)
			r = bridge_lay(n, e);
	}
	if (r == 0 && n->driver == DRIVER_BRIDGE)
		r = plug(ep, ns, e);
	if (r < 0) {
		endpoint_free(ep);
		return r;
	}
	if (n->driver == DRIVER_BRIDGE) {
		for (size_t i = 0; i < ep->published_n; i++)
			names_tell_port(ep, &ep->published[i]);
		names_tell(h, ep->info.container, ns);
	}
	*ret = ep;
	return 0;
}

int network_detach(struct network_host *h, struct network_endpoint *ep, const struct network_ns *ns,
		   struct err *e)
{
	char container[sizeof(ep->info.container)];
	int r = 0;

	assert(ep->network->host == h);
	if (ep->network->driver == DRIVER_PODS)
		return network_pod_detach(h, ep, e);
	memcpy(container, ep->info.container, sizeof(container));
	if (ep->network->driver == DRIVER_BRIDGE) {
		r = rules_ports(ep, false, e);
		for (size_t i = 0; i < ep->published_n; i++)
			names_forget_port(ep, &ep->published[i]);
		if (ns)
			unplug_host(ep);
	}
	endpoint_free(ep);
	names_tell(h, container, NULL);
	return r;
}

int network_endpoint_make_gateway(struct network_host *h, struct network_endpoint *ep,
				  const struct network_ns *ns, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	struct netlink inside = NETLINK_NONE;
	struct netlink_link l = {0};
	int r;

	list_each (&h->endpoints, struct network_endpoint, link, other)
		if (strcmp(other->info.container, ep->info.container) == 0)
			other->info.gateway = other == ep;
	if (ep->network->driver != DRIVER_BRIDGE)
		return 0;
	r = netlink_adopt(ns->route, &inside, e);
	if (r == 0)
		r = netlink_link(&inside, ep->info.ifname, &l, e);
	if (r < 0)
		return r;
	add_default_routes(ep, b, l.index);
	return netlink_run(&inside, b, e);
}

/* ---- records ---- */

static struct json *pairs_json(const struct json_pair *list)
{
	struct json *array = json_new_array();

	for (const struct json_pair *p = list; p && p->key; p++) {
		struct json *pair = json_new_array();

		json_append(pair, json_new_text(p->key));
		json_append(pair, json_new_text(p->value));
		json_append(array, pair);
	}
	return array;
}

static struct json *port_json(const struct network_port *p)
{
	struct json *j = json_new_object();

	json_set_text(j, "host_ip", p->host_ip);
	json_set_i64(j, "host_port", p->host_port);
	json_set_i64(j, "port", p->port);
	json_set_text(j, "proto", network_proto_name(p->proto));
	return j;
}

struct json *network_endpoint_encode(const struct network_endpoint *ep)
{
	struct json *j = json_new_object(), *ports = json_new_array();

	json_set_text(j, "id", ep->info.id);
	json_set_text(j, "network", ep->info.network);
	json_set_text(j, "container", ep->info.container);
	json_set_text(j, "name", ep->name);
	json_set_text(j, "ifname", ep->info.ifname);
	json_set_text(j, "host_ifname", ep->info.host_ifname);
	json_set_text(j, "mac", ep->info.mac);
	json_set_text(j, "ipv4", ep->info.ipv4);
	json_set_text(j, "ipv6", ep->info.ipv6);
	json_set_bool(j, "gateway", ep->info.gateway);
	json_set(j, "aliases", json_new_texts(ep->aliases));
	json_set(j, "links", pairs_json(ep->links));
	if (ep->dns)
		json_set(j, "dns", json_new_texts(ep->dns));
	for (size_t i = 0; i < ep->published_n; i++)
		json_append(ports, port_json(&ep->published[i].port));
	json_set(j, "ports", ports);
	return j;
}

static char **texts_of(struct arena *a, const struct json *array)
{
	size_t n = json_len(array);
	char **list = arena_new_array(a, char *, n + 1);

	for (size_t i = 0; i < n; i++) {
		const char *text = json_text(json_at(array, i));

		list[i] = arena_dup_text(a, text ? text : "");
	}
	return list;
}

static struct json_pair *pairs_of(struct arena *a, const struct json *array)
{
	size_t n = json_len(array);
	struct json_pair *list = arena_new_array(a, struct json_pair, n + 1);

	for (size_t i = 0; i < n; i++) {
		const char *key = json_text(json_at(json_at(array, i), 0));
		const char *value = json_text(json_at(json_at(array, i), 1));

		list[i].key = arena_dup_text(a, key ? key : "");
		list[i].value = arena_dup_text(a, value ? value : "");
	}
	return list;
}

static int load_ports(struct network_endpoint *ep, const struct json *ports, struct err *e)
{
	size_t n = json_len(ports);

	if (n == 0)
		return 0;
	ep->published = mem_new_array(struct published, n);
	ep->ports = mem_new_array(struct network_port, n);
	for (size_t i = 0; i < n; i++) {
		const struct json *j = json_at(ports, i);
		struct network_port *p = &ep->published[i].port;
		const char *ip = json_get_text(j, "host_ip");
		int r;

		r = network_proto_parse(str_of(json_get_text(j, "proto")), &p->proto, e);
		if (r < 0)
			return r;
		(void)snprintf(p->host_ip, sizeof(p->host_ip), "%s", ip ? ip : "");
		p->host_port = (uint16_t)json_get_i64(j, "host_port", 0);
		p->port = (uint16_t)json_get_i64(j, "port", 0);
		ep->published[i].fd = -1;
		ep->ports[i] = *p;
	}
	ep->published_n = ep->info.ports_n = n;
	ep->info.ports = ep->ports;
	return 0;
}

static void take_text(char *to, size_t room, const struct json *record, const char *key)
{
	const char *text = json_get_text(record, key);

	(void)snprintf(to, room, "%s", text ? text : "");
}

int endpoint_load_fields(struct network_endpoint *ep, const struct json *record, struct err *e)
{
	const char *name = json_get_text(record, "name");
	const struct json *dns = json_get(record, "dns");
	int r;

	ep->name = arena_dup_text(&ep->arena, name ? name : "");
	ep->aliases = texts_of(&ep->arena, json_get(record, "aliases"));
	ep->info.aliases = ep->aliases;
	ep->links = pairs_of(&ep->arena, json_get(record, "links"));
	ep->dns = dns ? texts_of(&ep->arena, dns) : NULL;
	take_text(ep->info.id, sizeof(ep->info.id), record, "id");
	take_text(ep->info.ifname, sizeof(ep->info.ifname), record, "ifname");
	take_text(ep->info.host_ifname, sizeof(ep->info.host_ifname), record, "host_ifname");
	ep->info.gateway = json_get_bool(record, "gateway", false);
	if (!has_link(ep->network))
		return 0;
	r = choose_address(ep, true, json_get_text(record, "ipv4"), e);
	if (r == 0)
		r = choose_address(ep, false, json_get_text(record, "ipv6"), e);
	if (r == 0)
		r = choose_mac(ep, json_get_text(record, "mac"), e);
	if (r == 0)
		r = load_ports(ep, json_get(record, "ports"), e);
	return r;
}

int network_endpoint_load(struct network_host *h, const struct json *record,
			  struct network_endpoint **ret, struct err *e)
{
	const char *container = json_get_text(record, "container");
	const char *id = json_get_text(record, "network");
	struct network_endpoint *ep;
	struct network *n;
	int r;

	if (!container || !id)
		return err_set(e, ERR_INVALID, "the record of an endpoint is damaged");
	if (h->pods && strcmp(id, h->pods->network->spec.id) == 0)
		return network_pod_load(h, record, ret, e);
	r = network_find(h, id, &n, e);
	if (r < 0)
		return r;
	ep = endpoint_new(n, container);
	r = endpoint_load_fields(ep, record, e);
	if (r < 0) {
		endpoint_free(ep);
		return err_wrap(e, "endpoint of container '%.12s' on network '%s'", container,
				n->spec.name);
	}
	endpoint_enter(ep);
	*ret = ep;
	return 0;
}

/* ---- questions ---- */

const struct network_endpoint_info *network_endpoint_info(const struct network_endpoint *ep)
{
	return &ep->info;
}

struct network *network_endpoint_network(const struct network_endpoint *ep)
{
	return ep->network;
}

struct network_endpoint *network_endpoint_next(struct network_host *h, const struct network *n,
					       const struct network_endpoint *ep)
{
	const struct list *at = ep ? ep->link.next : h->endpoints.next;

	for (; at != &h->endpoints; at = at->next) {
		struct network_endpoint *it = container_of(at, struct network_endpoint, link);

		if (!n || it->network == n)
			return it;
	}
	return NULL;
}

void network_rename(struct network_host *h, const char *container, const char *name)
{
	list_each (&h->endpoints, struct network_endpoint, link, ep)
		if (strcmp(ep->info.container, container) == 0)
			ep->name = arena_dup_text(&ep->arena, name);
	names_tell(h, container, NULL);
}

bool network_has_names(const struct network *n)
{
	return n->driver == DRIVER_BRIDGE && !n->spec.default_bridge;
}

int network_names_serve(struct network_host *h, const char *container, const struct network_ns *ns,
			struct err *e)
{
	int r;

	if (ns->dns_udp < 0 || ns->dns_tcp < 0 || ns->netfilter < 0)
		return err_set(e, ERR_INVALID,
			       "no resolver sockets of container '%.12s' were given", container);
	r = rules_names(ns, e);
	if (r == 0)
		names_tell(h, container, ns);
	return r;
}
