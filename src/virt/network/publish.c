/*
 * Published ports: each is reserved by a bound socket of the host, so that the kernel itself says
 * when a port is in use, and the socket is then hull-net's to relay what rules do not carry. A port
 * asked for on every address is two entries, v4 and v6, of the same number.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/mem.h"
#include "virt/network/network_priv.h"

#define LISTEN_BACKLOG 512
#define RANDOM_TRIES   64 /* the v6 twin of a free v4 port may be taken */

static const char *const proto_names[] = {"tcp", "udp", "sctp"};
static_assert(array_len(proto_names) == NETWORK_PROTOS, "a name for each protocol");

const char *network_proto_name(enum network_proto p)
{
	assert(p < NETWORK_PROTOS);
	return proto_names[p];
}

int network_proto_parse(struct str text, enum network_proto *ret, struct err *e)
{
	for (unsigned int i = 0; i < NETWORK_PROTOS; i++) {
		if (str_is(text, proto_names[i])) {
			*ret = (enum network_proto)i;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "invalid protocol '%.*s': use tcp, udp or sctp",
		       (int)(text.n > 32 ? 32 : text.n), text.p);
}

/* ---- sockets ---- */

static socklen_t fill_address(const struct ip *ip, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *four = (void *)ret;
	struct sockaddr_in6 *six = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	if (ip->n == 4) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		memcpy(&four->sin_addr, ip->b, 4);
		return sizeof(*four);
	}
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	memcpy(&six->sin6_addr, ip->b, 16);
	return sizeof(*six);
}

static uint16_t bound_port(int fd)
{
	struct sockaddr_storage at = {0};
	socklen_t n = sizeof(at);

	if (getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		return 0;
	return ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port
					     : ((struct sockaddr_in6 *)&at)->sin6_port);
}

/* A bound (and listening) socket; -errno. */
static int open_port(enum network_proto proto, const struct ip *ip, uint16_t port)
{
	int type = proto == NETWORK_UDP ? SOCK_DGRAM : SOCK_STREAM, one = 1;
	struct sockaddr_storage at;
	socklen_t n = fill_address(ip, port, &at);
	auto_close int fd = socket(at.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK,
				   proto == NETWORK_SCTP ? IPPROTO_SCTP : 0);

	if (fd < 0)
		return -errno;
	if (type == SOCK_STREAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ip->n == 16)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, n) < 0)
		return -errno;
	if (type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	return take_fd(&fd);
}

/* ---- whose port is it ---- */

static bool ports_clash(const struct network_port *a, const struct network_port *b)
{
	static const char *const any[] = {"0.0.0.0", "::"};
	bool same_family = !strchr(a->host_ip, ':') == !strchr(b->host_ip, ':');

	if (a->proto != b->proto || a->host_port != b->host_port || !same_family)
		return false;
	for (size_t i = 0; i < array_len(any); i++)
		if (strcmp(a->host_ip, any[i]) == 0 || strcmp(b->host_ip, any[i]) == 0)
			return true;
	return strcmp(a->host_ip, b->host_ip) == 0;
}

static struct network_endpoint *port_holder(struct network_host *h, const struct network_port *p,
					    const struct network_endpoint *but)
{
	list_each (&h->endpoints, struct network_endpoint, link, ep)
		for (size_t i = 0; ep != but && i < ep->published_n; i++)
			if (ports_clash(&ep->published[i].port, p))
				return ep;
	return NULL;
}

static int in_use(struct network_endpoint *ep, const struct network_port *p, int sys, struct err *e)
{
	struct network_endpoint *holder = port_holder(ep->network->host, p, ep);
	const char *proto = network_proto_name(p->proto);
	bool six = strchr(p->host_ip, ':');

	if (holder)
		return err_set(e, ERR_CONFLICT,
			       "port %s%s%s:%u/%s is in use: container '%s' publishes it already: "
			       "choose another host port",
			       six ? "[" : "", p->host_ip, six ? "]" : "", p->host_port, proto,
			       holder->name);
	if (sys == EADDRINUSE)
		return err_set(
			e, ERR_CONFLICT,
			"port %s%s%s:%u/%s is in use by another program of this host: stop it "
			"or choose another host port",
			six ? "[" : "", p->host_ip, six ? "]" : "", p->host_port, proto);
	errno = sys;
	if (sys == EADDRNOTAVAIL)
		return err_set(e, ERR_INVALID, "cannot publish on '%s': no address of this host",
			       p->host_ip);
	return err_sys(e, "cannot publish %s%s%s:%u/%s", six ? "[" : "", p->host_ip, six ? "]" : "",
		       p->host_port, proto);
}

/* ---- one request ---- */

/* Reserves *p with exactly p->host_port (0: the kernel's choice, then filled in). -errno on
 * failure. */
static int reserve_one(struct network_endpoint *ep, struct network_port *p, const struct ip *at,
		       int *ret_fd)
{
	int fd;

	(void)snprintf(p->host_ip, sizeof(p->host_ip), "%s", ip_text(at).t);
	if (p->host_port && port_holder(ep->network->host, p, NULL))
		return -EADDRINUSE;
	fd = open_port(p->proto, at, p->host_port);
	if (fd == -EPROTONOSUPPORT && p->proto == NETWORK_SCTP && p->host_port)
		fd = -1; /* no SCTP sockets in this kernel: rules carry it all the same */
	else if (fd < 0)
		return fd;
	if (fd >= 0)
		p->host_port = bound_port(fd);
	*ret_fd = fd;
	return 0;
}

static void keep(struct network_endpoint *ep, const struct network_port *p, int fd)
{
	mem_grow(ep->published, ep->published_n + 1, ep->published_room);
	ep->published[ep->published_n++] = (struct published){.port = *p, .fd = fd};
}

/* One number on every wanted address, or nothing of it. -errno. */
static int reserve_number(struct network_endpoint *ep, const struct network_port *p,
			  const struct ip *addresses, size_t n, bool second_may_fail)
{
	struct network_port made[2] = {*p, *p};
	int fds[2] = {-1, -1}, r;

	assert(n >= 1 && n <= 2);
	for (size_t i = 0; i < n; i++) {
		made[i].host_port_last = 0;
		if (i)
			made[i].host_port = made[0].host_port;
		r = reserve_one(ep, &made[i], &addresses[i], &fds[i]);
		if (i && second_may_fail && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
			n = 1; /* a host without IPv6 */
			break;
		}
		if (r < 0) {
			(void)fd_close(fds[0]);
			return r;
		}
	}
	for (size_t i = 0; i < n; i++)
		keep(ep, &made[i], fds[i]);
	return 0;
}

/* The first free number of the range, or any free one; p says in the end which was tried last. */
static int reserve_range(struct network_endpoint *ep, struct network_port *p,
			 const struct ip *addresses, bool any)
{
	uint32_t last = p->host_port_last > p->host_port ? p->host_port_last : p->host_port;
	int tries = p->host_port ? 1 : RANDOM_TRIES, r = -EADDRINUSE;

	for (uint32_t port = p->host_port; port <= last && r == -EADDRINUSE; port++) {
		p->host_port = (uint16_t)port;
		for (int i = 0; i < tries && r == -EADDRINUSE; i++)
			r = reserve_number(ep, p, addresses, any ? 2 : 1, any);
	}
	return r;
}

static int reserve(struct network_endpoint *ep, const struct network_port *p, struct err *e)
{
	struct ip addresses[2] = {{.n = 4}, {.n = 16}};
	bool any = !p->host_ip[0] && !ip_is(&ep->network->binding);
	struct network_port said = *p;
	int r = 0;

	if (!p->port)
		return err_set(e, ERR_INVALID, "cannot publish port 0 of a container");
	if (p->host_ip[0])
		r = ip_parse(str_of(p->host_ip), "host address of a published port", addresses, e);
	else if (!any)
		addresses[0] = ep->network->binding;
	if (r < 0)
		return r;
	(void)snprintf(said.host_ip, sizeof(said.host_ip), "%s", ip_text(addresses).t);
	r = reserve_range(ep, &said, addresses, any);
	return r < 0 ? in_use(ep, &said, -r, e) : 0;
}

static void show_ports(struct network_endpoint *ep)
{
	free(ep->ports);
	ep->ports = ep->published_n ? mem_new_array(struct network_port, ep->published_n) : NULL;
	for (size_t i = 0; i < ep->published_n; i++)
		ep->ports[i] = ep->published[i].port;
	ep->info.ports = ep->ports;
	ep->info.ports_n = ep->published_n;
}

int publish_reserve(struct network_endpoint *ep, const struct network_port *ports, size_t n,
		    struct err *e)
{
	int r = 0;

	if (n > NETWORK_PORTS_MAX)
		return err_set(e, ERR_INVALID, "%zu published ports are more than %d", n,
			       NETWORK_PORTS_MAX);
	for (size_t i = 0; i < n && r == 0; i++)
		r = reserve(ep, &ports[i], e);
	if (r < 0)
		publish_release(ep);
	show_ports(ep);
	return r;
}

int publish_door(enum network_proto proto, int *ret_fd, uint16_t *ret_port, struct err *e)
{
	static const struct ip any = {.n = 4};
	int fd = open_port(proto, &any, 0);

	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "cannot open a door for containers' traffic");
	}
	*ret_fd = fd;
	*ret_port = bound_port(fd);
	return 0;
}

int publish_bind(enum network_proto proto, const struct ip *at, uint16_t port, int *ret_fd,
		 struct err *e)
{
	int fd = open_port(proto, at, port);

	if (fd == -EADDRINUSE)
		return err_set(e, ERR_CONFLICT,
			       "%s:%u/%s is in use by another program of this host: stop it",
			       ip_text(at).t, port, network_proto_name(proto));
	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "cannot listen on %s:%u/%s", ip_text(at).t, port,
			       network_proto_name(proto));
	}
	*ret_fd = fd;
	return 0;
}

int publish_rebind(struct network_endpoint *ep, struct published *p, struct err *e)
{
	struct ip at;
	int fd, r;

	assert(p->fd < 0 && p->port.host_port);
	r = ip_parse(str_of(p->port.host_ip), "host address of a published port", &at, e);
	if (r < 0)
		return r;
	fd = open_port(p->port.proto, &at, p->port.host_port);
	if (fd < 0 && !(fd == -EPROTONOSUPPORT && p->port.proto == NETWORK_SCTP))
		return in_use(ep, &p->port, -fd, e);
	p->fd = fd < 0 ? -1 : fd;
	return 0;
}

void publish_release(struct network_endpoint *ep)
{
	for (size_t i = 0; i < ep->published_n; i++)
		ep->published[i].fd = fd_close(ep->published[i].fd);
	free(ep->published);
	ep->published = NULL;
	ep->published_n = ep->published_room = 0;
	show_ports(ep);
}
