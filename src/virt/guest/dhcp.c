/*
 * A DHCP client of four messages: see netif.h. RFC 2131 for the exchange, RFC 2132 for options. It
 * asks for replies by broadcast, so that a plain UDP socket hears them before it has an address.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "ground/base/cursor.h"
#include "ground/base/own.h"
#include "virt/guest/netif.h"

#define PORT_SERVER 67
#define PORT_CLIENT 68
#define MAGIC	    0x63825363u
#define TRIES	    8
#define ANSWER_MS   1000

enum option {
	OPTION_PAD = 0,
	OPTION_NETMASK = 1,
	OPTION_ROUTER = 3,
	OPTION_DNS = 6,
	OPTION_ADDRESS = 50,
	OPTION_TYPE = 53,
	OPTION_SERVER = 54,
	OPTION_WANTED = 55,
	OPTION_END = 255,
};

static void add_be(struct strbuf *b, uint32_t value, unsigned bytes)
{
	while (bytes-- > 0)
		strbuf_add_char(b, (char)(value >> (8 * bytes)));
}

static void add_zeroes(struct strbuf *b, size_t n)
{
	static const char zeroes[192];

	strbuf_add(b, zeroes, n);
}

static void add_address(struct strbuf *b, enum option o, uint32_t address)
{
	if (!address)
		return;
	add_be(b, o, 1);
	add_be(b, 4, 1);
	strbuf_add(b, &address, 4);
}

void dhcp_write(struct strbuf *out, uint8_t type, uint32_t xid, const uint8_t mac[6],
		uint32_t address, uint32_t server)
{
	add_be(out, 0x01010600, 4); /* a request, over Ethernet, 6 bytes of address */
	add_be(out, xid, 4);
	add_be(out, 0x8000, 4); /* no time passed; answer by broadcast */
	add_zeroes(out, 16);
	strbuf_add(out, mac, 6);
	add_zeroes(out, 10);
	add_zeroes(out, 192);
	add_be(out, MAGIC, 4);
	add_be(out, OPTION_TYPE, 1);
	add_be(out, 1, 1);
	add_be(out, type, 1);
	add_address(out, OPTION_ADDRESS, address);
	add_address(out, OPTION_SERVER, server);
	add_be(out, OPTION_WANTED, 1);
	add_be(out, 3, 1);
	add_be(out, OPTION_NETMASK, 1);
	add_be(out, OPTION_ROUTER, 1);
	add_be(out, OPTION_DNS, 1);
	add_be(out, OPTION_END, 1);
}

static void take_option(struct dhcp_reply *r, uint8_t option, const unsigned char *p, size_t n)
{
	uint32_t address = 0;

	if (option == OPTION_TYPE && n == 1)
		r->type = p[0];
	if (n < 4)
		return;
	memcpy(&address, p, 4);
	if (option == OPTION_NETMASK)
		r->config.netmask = address;
	else if (option == OPTION_ROUTER)
		r->config.gateway = address;
	else if (option == OPTION_DNS)
		r->config.dns = address;
	else if (option == OPTION_SERVER)
		r->server = address;
}

int dhcp_read(struct str bytes, uint32_t xid, struct dhcp_reply *ret, struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	struct dhcp_reply r = {0};
	const unsigned char *p;

	if (cursor_u8(&c) != 2 || !cursor_bytes(&c, 3) || cursor_be32(&c) != xid)
		return err_set(e, ERR_INVALID, "not an answer to us");
	(void)cursor_bytes(&c, 8);
	p = cursor_bytes(&c, 4);
	if (p)
		memcpy(&r.config.address, p, 4);
	(void)cursor_bytes(&c, 216); /* server, relay, hardware address, names */
	if (cursor_be32(&c) != MAGIC || c.bad)
		return err_set(e, ERR_INVALID, "not a DHCP message");
	while (c.n > 0 && !c.bad) {
		uint8_t option = cursor_u8(&c), n;

		if (option == OPTION_PAD)
			continue;
		if (option == OPTION_END)
			break;
		n = cursor_u8(&c);
		p = cursor_bytes(&c, n);
		if (p)
			take_option(&r, option, p, n);
	}
	if (c.bad)
		return err_set(e, ERR_INVALID, "a DHCP option is cut short");
	*ret = r;
	return 0;
}

static int open_socket(const char *name, uint8_t mac[6], int *ret_fd, struct err *e)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT_CLIENT)};
	struct ifreq r = {0};
	int on = 1;

	memcpy(r.ifr_name, name, strlen(name) + 1);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &r) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name)) < 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		return err_sys(e, "cannot speak DHCP on '%s'", name);
	memcpy(mac, r.ifr_hwaddr.sa_data, 6);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Sends one message and waits for the answer of that type. */
static int ask(int fd, const struct strbuf *message, uint32_t xid, uint8_t want,
	       struct dhcp_reply *ret)
{
	struct sockaddr_in all = {.sin_family = AF_INET,
				  .sin_port = htons(PORT_SERVER),
				  .sin_addr = {INADDR_BROADCAST}};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char bytes[DHCP_BYTES_MAX];

	(void)!sendto(fd, message->p, message->n, 0, (struct sockaddr *)&all, sizeof(all));
	while (poll(&p, 1, ANSWER_MS) > 0) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

		if (n > 0 && dhcp_read((struct str){bytes, (size_t)n}, xid, ret, NULL) == 0 &&
		    ret->type == want)
			return 0;
	}
	return -ERR_TIMEOUT;
}

int netif_dhcp(const char *name, struct netif_config *ret, struct err *e)
{
	auto_close int fd = -1;
	uint8_t mac[6];
	uint32_t xid;

	if (open_socket(name, mac, &fd, e) < 0)
		return -ERR_SYSTEM;
	if (getrandom(&xid, sizeof(xid), GRND_NONBLOCK) != (ssize_t)sizeof(xid))
		memcpy(&xid, mac + 2, sizeof(xid));
	for (int i = 0; i < TRIES; i++) {
		auto_strbuf struct strbuf discover = {0}, request = {0};
		struct dhcp_reply offer, ack;

		dhcp_write(&discover, 1, xid, mac, 0, 0);
		if (ask(fd, &discover, xid, 2, &offer) < 0)
			continue;
		dhcp_write(&request, 3, xid, mac, offer.config.address, offer.server);
		if (ask(fd, &request, xid, 5, &ack) == 0) {
			*ret = ack.config;
			return 0;
		}
	}
	return err_set(e, ERR_TIMEOUT, "no DHCP server answers on '%s'", name);
}
