/*
 * See netns.h. Loopback goes up by ioctl, sysctls by writing /proc: no netlink library is linked
 * into static programs.
 */
#include "ground/linux/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/base/own.h"

#define DNS_ADDRESS 0x7f00000b /* 127.0.0.11, where container programs expect their resolver */
#define DNS_BACKLOG 64

int netns_loopback_up(struct err *e)
{
	struct ifreq request = {.ifr_name = "lo"};
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, "cannot open a socket to bring 'lo' up");
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return err_sys(e, "cannot bring the interface 'lo' up");
	return 0;
}

int netns_refuse_ra(struct err *e)
{
	static const char path[] = "/proc/sys/net/ipv6/conf/default/accept_ra";
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(e, "cannot open '%s'", path);
	if (write(fd, "0", 1) != 1)
		return err_sys(e, "cannot write '%s'", path);
	return 0;
}

static int open_dns(int type, int *ret, struct err *e)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(DNS_ADDRESS)};
	auto_close int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_sys(e, "cannot open a socket for the container's resolver");
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return err_sys(e, "cannot bind the container's resolver to 127.0.0.11");
	if (type == SOCK_STREAM && listen(fd, DNS_BACKLOG) < 0)
		return err_sys(e, "cannot listen for the container's resolver");
	*ret = take_fd(&fd);
	return 0;
}

static int open_netlink(int protocol, const char *what, int *ret, struct err *e)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return err_sys(e, "cannot open a %s socket in the container", what);
	*ret = fd;
	return 0;
}

int netns_sockets_open(bool names, struct netns_sockets *ret, struct err *e)
{
	struct netns_sockets s = NETNS_SOCKETS_NONE;
	int r = 0;

	s.netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (s.netns < 0)
		return err_sys(e, "cannot open the container's network namespace");
	r = open_netlink(NETLINK_ROUTE, "route netlink", &s.route, e);
	if (r == 0 && names)
		r = open_netlink(NETLINK_NETFILTER, "netfilter netlink", &s.netfilter, e);
	if (r == 0 && names)
		r = open_dns(SOCK_DGRAM, &s.dns_udp, e);
	if (r == 0 && names)
		r = open_dns(SOCK_STREAM, &s.dns_tcp, e);
	if (r < 0) {
		netns_sockets_close(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void netns_sockets_close(struct netns_sockets *s)
{
	s->netns = fd_close(s->netns);
	s->route = fd_close(s->route);
	s->netfilter = fd_close(s->netfilter);
	s->dns_udp = fd_close(s->dns_udp);
	s->dns_tcp = fd_close(s->dns_tcp);
}
