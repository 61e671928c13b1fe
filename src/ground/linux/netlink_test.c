/* Unit tests of netlink.c, nftables.c and netns.c, in network namespaces of their own. */
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/str.h"
#include "ground/linux/netlink.h"
#include "ground/linux/netns.h"
#include "ground/linux/nftables.h"

/* Shows the sentence where a call that must succeed did not. */
#define ok(call)                                \
	do {                                    \
		if ((call) < 0)                 \
			fail_msg("%s", e.text); \
	} while (0)

static struct ip_net net_of(const char *text)
{
	struct ip_net n;

	assert_int_equal(ip_net_parse(str_of(text), "test net", &n, NULL), 0);
	return n;
}

/* Into a fresh namespace; a host that forbids it skips the test. */
static void enter(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		skip();
}

/* What a line of shell prints. */
static char *run(const char *line)
{
	auto_strbuf struct strbuf b = {0};
	char buf[4096];
	int out[2];
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (pid == 0) {
		(void)dup2(out[1], STDOUT_FILENO);
		(void)execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	while ((n = read(out[0], buf, sizeof(buf))) > 0)
		strbuf_add(&b, buf, (size_t)n);
	close(out[0]);
	(void)waitpid(pid, NULL, 0);
	return strbuf_take(&b);
}

struct seen {
	int nets;
	bool wanted;
	struct ip_net net;
};

static void see_net(void *ctx, const struct ip_net *net, int index)
{
	struct seen *s = ctx;

	(void)index;
	s->nets++;
	s->wanted |= ip_eq(&net->ip, &s->net.ip) && net->bits == s->net.bits;
}

static void links_addresses_and_routes_are_made(void **state)
{
	struct err e = {0};
	struct netlink host = NETLINK_NONE, in = NETLINK_NONE;
	struct netns_sockets ns = NETNS_SOCKETS_NONE;
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	static const uint8_t mac[6] = {2, 0x42, 10, 9, 0, 1};
	struct netlink_link l;
	struct ip_net a = net_of("10.9.0.1/24"), six = net_of("fd12::1/64"),
		      any = net_of("0.0.0.0/0");
	struct seen seen = {.net = net_of("10.9.0.0/24")};

	(void)state;
	enter(); /* the inner one */
	assert_int_equal(netns_loopback_up(&e), 0);
	ok(netns_sockets_open(true, &ns, &e));
	enter(); /* the "host" */
	ok(netlink_open(&host, &e));
	netlink_add_bridge(b, "hl-0", mac, 1450, false);
	ok(netlink_run(&host, b, &e));
	ok(netlink_link(&host, "hl-0", &l, &e));
	assert_string_equal(l.kind, "bridge");
	assert_int_equal(l.mtu, 1450);
	assert_memory_equal(l.mac, mac, 6);
	assert_true(l.flags & IFF_UP);
	netlink_add_address(b, l.index, &a);
	netlink_add_address(b, l.index, &a); /* twice is no error */
	netlink_add_address(b, l.index, &six);
	netlink_add_veth(b, &(struct netlink_veth){.name = "hv-0",
						   .master = l.index,
						   .mtu = 1450,
						   .peer_name = "eth0",
						   .peer_netns = ns.netns,
						   .peer_mac = mac});
	ok(netlink_run(&host, b, &e));
	ok(netlink_each_net(&host, see_net, &seen, &e));
	assert_true(seen.wanted);

	/* inside */
	ok(netlink_adopt(ns.route, &in, &e));
	ok(netlink_link(&in, "eth0", &l, &e));
	assert_memory_equal(l.mac, mac, 6);
	assert_int_equal(l.mtu, 1450);
	assert_false(l.flags & IFF_UP);
	netlink_start(b, "eth0", false);
	a = net_of("10.9.0.2/24");
	netlink_add_address(b, l.index, &a);
	a = net_of("10.9.0.1");
	netlink_add_route(b, l.index, &any, &a.ip);
	ok(netlink_run(&in, b, &e));
	assert_int_equal(netlink_link(&in, "nothing", &l, &e), -ERR_NOT_FOUND);
	netns_sockets_close(&ns);
	netlink_close(&host);
}

static void the_first_failure_is_told(void **state)
{
	struct err e = {0};
	struct netlink n = NETLINK_NONE;
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct netlink_link l;

	(void)state;
	enter();
	ok(netlink_open(&n, &e));
	netlink_add_bridge(b, "hl-1", mac, 0, true);
	netlink_add_bridge(b, "hl-1", mac, 0, true);
	netlink_add_bridge(b, "hl-2", mac, 0, true);
	assert_int_equal(netlink_run(&n, b, &e), -ERR_EXISTS);
	assert_non_null(strstr(e.text, "cannot make bridge 'hl-1': File exists"));
	ok(netlink_link(&n, "hl-2", &l, &e));
	netlink_delete_link(b, l.index, "hl-2");
	ok(netlink_run(&n, b, &e));
	assert_int_equal(netlink_link(&n, "hl-2", &l, &e), -ERR_NOT_FOUND);
	netlink_close(&n);
}

static void build_table(struct nft *t)
{
	nft_add_table(t, "a comment");
	nft_add_set(t, &(struct nft_set){"bridges", NFT_T_IFNAME, NFT_NAME_LEN, 0, 0});
	nft_add_set(t, &(struct nft_set){"ports", NFT_TYPES2(NFT_T_PROTO, NFT_T_PORT), 8,
					 NFT_TYPES2(NFT_T_IPV4, NFT_T_PORT), 8});
	nft_add_chain(t, &(struct nft_chain){"pre", true, "nat", NF_INET_PRE_ROUTING, -100});
	nft_rule(t, "pre");
	nft_daddr_is(t, RTN_LOCAL);
	nft_meta(t, NFT_META_L4PROTO, NFT_R(0));
	nft_payload(t, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_R(1));
	nft_map(t, NFT_R(0), "ports", NFT_R(0));
	nft_dnat(t, NFPROTO_IPV4, NFT_R(0), NFT_R(1));
}

static void see_chain(void *ctx, const struct nft_chain_info *c)
{
	int *count = ctx;

	if (c->hook == NF_INET_PRE_ROUTING && strcmp(c->chain, "pre") == 0 && !c->drops)
		++*count;
}

static void a_table_is_one_transaction(void **state)
{
	struct err e = {0};
	auto_nft struct nft *t = nft_new(NFPROTO_INET, "hull-test");
	auto_close int fd = -1;
	char name[NFT_NAME_LEN] = "hl-0";
	static const uint8_t key[8] = {6, 0, 0, 0, 0x1f, 0x90}, to[8] = {10, 0, 0, 2, 0, 80};
	int chains = 0;

	(void)state;
	enter();
	ok(nft_socket_open(&fd, &e));
	build_table(t);
	nft_add_element(t, "bridges", name, sizeof(name), NULL, 0);
	for (uint16_t port = 1000; port < 2000; port++) {
		uint8_t many[8] = {6, 0, 0, 0, (uint8_t)(port >> 8), (uint8_t)port};

		nft_add_element(t, "ports", many, sizeof(many), to, sizeof(to));
	}
	nft_add_element(t, "ports", key, sizeof(key), to, sizeof(to));
	ok(nft_commit(t, fd, &e));
	auto_free char *text = run("nft list table inet hull-test");
	if (!strstr(text, "hl-0"))
		fail_msg("%.2000s", text);
	assert_non_null(strstr(text, "tcp . 8080 : 10.0.0.2 . 80"));
	assert_non_null(strstr(text, "tcp . 1999 : 10.0.0.2 . 80"));
	assert_non_null(strstr(text, "fib daddr type local dnat"));
	ok(nft_each_base_chain(fd, see_chain, &chains, &e));
	assert_int_equal(chains, 1);

	/* One bad change takes the good ones down with it. */
	nft_delete_element(t, "ports", key, sizeof(key));
	nft_delete_element(t, "bridges", "absent\0\0\0\0\0\0\0\0\0", NFT_NAME_LEN);
	assert_int_equal(nft_commit(t, fd, &e), -ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "remove from set 'bridges'"));
	auto_free char *after = run("nft list table inet hull-test");
	assert_non_null(strstr(after, "tcp . 8080 : 10.0.0.2 . 80"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_addresses_and_routes_are_made),
		cmocka_unit_test(the_first_failure_is_told),
		cmocka_unit_test(a_table_is_one_transaction),
	};

	return cmocka_run_group_tests_name("ground/linux/netlink", tests, NULL, NULL);
}
