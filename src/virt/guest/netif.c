/* Interfaces by ioctl, which a static program has at hand: see netif.h. netdevice(7), rtentry. */
#include "virt/guest/netif.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "ground/base/parse.h"

#define FIND_TRIES    100
#define FIND_PAUSE_NS 20000000L

static int parse_address(struct str text, uint32_t *ret, struct err *e)
{
	char plain[INET_ADDRSTRLEN] = {0};
	struct in_addr a;

	if (text.n == 0 || text.n >= sizeof(plain))
		return err_set(e, ERR_INVALID, "invalid address '%.*s'", (int)text.n, text.p);
	memcpy(plain, text.p, text.n);
	if (inet_pton(AF_INET, plain, &a) != 1)
		return err_set(e, ERR_INVALID, "invalid address '%s'", plain);
	*ret = a.s_addr;
	return 0;
}

int netif_parse(struct str text, struct netif_config *ret, struct err *e)
{
	struct netif_config c = {0};
	struct str address, gateway = {0}, dns = {0}, ip;
	uint32_t prefix = 32;

	(void)str_cut(&text, ',', &address);
	(void)str_cut(&text, ',', &gateway);
	(void)str_cut(&text, ',', &dns);
	(void)str_cut(&address, '/', &ip);
	if (parse_address(ip, &c.address, e) < 0)
		return -ERR_INVALID;
	if (address.n > 0 && parse_u32(address, "prefix length", &prefix, e) < 0)
		return -ERR_INVALID;
	if (prefix > 32)
		return err_set(e, ERR_INVALID, "invalid prefix length %u", prefix);
	c.netmask = prefix ? htonl(UINT32_MAX << (32 - prefix)) : 0;
	if ((gateway.n > 0 && parse_address(gateway, &c.gateway, e) < 0) ||
	    (dns.n > 0 && parse_address(dns, &c.dns, e) < 0))
		return -ERR_INVALID;
	*ret = c;
	return 0;
}

static bool find_once(char ret[NETIF_NAME_ROOM])
{
	auto_closedir DIR *d = opendir("/sys/class/net");
	struct dirent *x;

	while (d && (x = readdir(d)))
		if (x->d_name[0] != '.' && !text_eq(x->d_name, "lo") &&
		    !text_starts(x->d_name, "sit") && strlen(x->d_name) < NETIF_NAME_ROOM) {
			memcpy(ret, x->d_name, strlen(x->d_name) + 1);
			return true;
		}
	return false;
}

int netif_find(char ret[NETIF_NAME_ROOM], struct err *e)
{
	const struct timespec pause = {0, FIND_PAUSE_NS};

	for (int i = 0; i < FIND_TRIES; i++) {
		if (find_once(ret))
			return 0;
		(void)nanosleep(&pause, NULL);
	}
	return err_set(e, ERR_NOT_FOUND,
		       "the machine has no network interface, or the kernel no "
		       "driver for it");
}

static int set_flags(int fd, const char *name, struct err *e)
{
	struct ifreq r = {0};

	memcpy(r.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return err_sys(e, "no interface '%s'", name);
	r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
	return ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? err_sys(e, "cannot bring '%s' up", name) : 0;
}

int netif_up(const char *name, struct err *e)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert(strlen(name) < NETIF_NAME_ROOM);
	return fd < 0 ? err_sys(e, "cannot make a socket") : set_flags(fd, name, e);
}

static void put_address(struct sockaddr *to, uint32_t address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {address}};

	memcpy(to, &in, sizeof(in));
}

static int set_address(int fd, const char *name, unsigned long request, uint32_t address,
		       struct err *e)
{
	struct ifreq r = {0};

	memcpy(r.ifr_name, name, strlen(name) + 1);
	put_address(&r.ifr_addr, address);
	return ioctl(fd, request, &r) < 0 ? err_sys(e, "cannot give '%s' its address", name) : 0;
}

int netif_configure(const char *name, const struct netif_config *c, struct err *e)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};

	assert(strlen(name) < NETIF_NAME_ROOM);
	if (fd < 0)
		return err_sys(e, "cannot make a socket");
	if (set_address(fd, name, SIOCSIFADDR, c->address, e) < 0 ||
	    set_address(fd, name, SIOCSIFNETMASK, c->netmask, e) < 0 || set_flags(fd, name, e) < 0)
		return -ERR_SYSTEM;
	if (!c->gateway)
		return 0;
	put_address(&route.rt_dst, 0);
	put_address(&route.rt_genmask, 0);
	put_address(&route.rt_gateway, c->gateway);
	return ioctl(fd, SIOCADDRT, &route) < 0 ? err_sys(e, "cannot set the default route") : 0;
}
