/*
 * Unit tests of the network room, in network namespaces of their own: a "host" (the test's),
 * containers, and a "world" beyond the host's uplink. What is checked is packets: who reaches whom,
 * and as whom.
 */
#include "virt/network/network_fixture.h"

static struct network *make(struct network_host *h, const char *name)
{
	struct network_spec s = {.name = (char *)name,
				 .default_bridge = strcmp(name, "bridge") == 0};
	struct network *n = NULL;
	struct err e = {0};

	ok(network_create(h, &s, &n, &e));
	return n;
}

static struct network_endpoint *plug(struct network *n, const struct box *b, const char *name,
				     const struct network_port *ports, size_t ports_n)
{
	struct network_ns ns = ns_of(b);
	struct network_join j = {.container = b->id,
				 .name = name,
				 .gateway = true,
				 .ports = ports,
				 .ports_n = ports_n};
	struct network_endpoint *ep = NULL;
	struct err e = {0};

	ok(network_attach(n->host, n, &ns, &j, &ep, &e));
	return ep;
}

/* ---- tests ---- */

static void containers_reach_out_and_are_masqueraded(void **state)
{
	struct network_host *h = open_host();
	struct box a, b, w;
	struct network *n = make(h, "bridge");
	struct network_endpoint *ea, *eb;
	struct err e = {0};
	pid_t s1, s2;

	(void)state;
	world_open(&w);
	box_open(&a, 'a');
	box_open(&b, 'b');
	ea = plug(n, &a, "a", NULL, 0);
	eb = plug(n, &b, "b", NULL, 0);
	assert_string_equal(network_endpoint_info(ea)->ipv4, "172.17.0.2");
	assert_string_equal(network_endpoint_info(eb)->ipv4, "172.17.0.3");
	assert_string_equal(network_endpoint_info(ea)->mac, "02:42:ac:11:00:02");
	assert_string_equal(network_endpoint_info(ea)->ifname, "eth0");
	s1 = serve(w.s.netns, "192.0.2.2", 80);
	assert_string_equal(ask(a.s.netns, "192.0.2.2", 80), "192.0.2.1"); /* NAT */
	s2 = serve(b.s.netns, "0.0.0.0", 80);
	assert_string_equal(ask(a.s.netns, "172.17.0.3", 80), "172.17.0.2"); /* within: none */
	assert_string_equal(ask(host_ns, "172.17.0.3", 80), "172.17.0.1");
	assert_string_equal(ask_for(w.s.netns, "172.17.0.3", 80, NO_ANSWER_MS),
			    ""); /* not published */
	end(s1);
	end(s2);
	ok(network_detach(h, ea, NULL, &e));
	ok(network_detach(h, eb, NULL, &e));
	ok(network_host_clear(h, &e));
	h = network_host_free(h);
}

static void networks_are_isolated(void **state)
{
	struct network_host *h = open_host();
	struct network *n1 = make(h, "one"), *n2 = make(h, "two"), *n3 = NULL;
	struct network_spec inner = {.name = (char *)"inner", .internal = true};
	struct box a, b, c, w;
	struct err e = {0};
	pid_t s1, s2;

	(void)state;
	ok(network_create(h, &inner, &n3, &e));
	world_open(&w);
	box_open(&a, 'a');
	box_open(&b, 'b');
	box_open(&c, 'c');
	(void)plug(n1, &a, "a", NULL, 0);
	struct network_endpoint *eb = plug(n2, &b, "b", NULL, 0);
	struct network_endpoint *ec = plug(n3, &c, "c", NULL, 0);
	s1 = serve(b.s.netns, "0.0.0.0", 80);
	s2 = serve(w.s.netns, "192.0.2.2", 80);
	assert_string_equal(ask_for(a.s.netns, network_endpoint_info(eb)->ipv4, 80, NO_ANSWER_MS),
			    "");
	assert_string_not_equal(ask(a.s.netns, "192.0.2.2", 80), "");
	assert_string_equal(ask_for(c.s.netns, "192.0.2.2", 80, NO_ANSWER_MS), "");
	assert_string_equal(network_endpoint_info(ec)->gateway4, "");
	assert_int_equal(network_remove(h, n3, &e), -ERR_CONFLICT);
	ok(network_detach(h, ec, NULL, &e));
	ok(network_remove(h, n3, &e));
	end(s1);
	end(s2);
	ok(network_host_clear(h, &e));
	h = network_host_free(h);
}

static void published_ports_are_reached_from_everywhere(void **state)
{
	struct network_host *h = open_host();
	struct network *n = make(h, "one"), *n2 = make(h, "two");
	struct network_port port = {.host_port = 8080, .port = 80, .proto = NETWORK_TCP};
	struct network_port again = port;
	struct network_endpoint *ep, *bad;
	struct box a, b, c, w;
	struct err e = {0};
	pid_t s;

	(void)state;
	world_open(&w);
	box_open(&a, 'a');
	box_open(&b, 'b');
	box_open(&c, 'c');
	ep = plug(n, &a, "web", &port, 1);
	(void)plug(n, &b, "neighbour", NULL, 0);
	assert_int_equal(network_endpoint_info(ep)->ports_n, 2);
	assert_string_equal(network_endpoint_info(ep)->ports[0].host_ip, "0.0.0.0");
	assert_string_equal(network_endpoint_info(ep)->ports[1].host_ip, "::");
	s = serve(a.s.netns, "0.0.0.0", 80);
	assert_string_equal(ask(w.s.netns, "192.0.2.1", 8080), "192.0.2.2"); /* source kept */
	assert_string_not_equal(ask(host_ns, "192.0.2.1", 8080), "");
	assert_string_not_equal(ask(b.s.netns, "192.0.2.1", 8080), ""); /* hairpin */
	assert_string_not_equal(ask(a.s.netns, "192.0.2.1", 8080), ""); /* to itself */

	/* The second to ask for it learns who has it. */
	struct network_ns ns = ns_of(&c);
	struct network_join j = {
		.container = c.id, .name = "late", .gateway = true, .ports = &again, .ports_n = 1};

	assert_int_equal(network_attach(h, n2, &ns, &j, &bad, &e), -ERR_CONFLICT);
	assert_non_null(strstr(e.text, "port 0.0.0.0:8080/tcp is in use"));
	assert_non_null(strstr(e.text, "container 'web'"));
	assert_int_equal(n2->endpoints_n, 0);
	again.host_port_last = 8090;
	ok(network_attach(h, n2, &ns, &j, &bad, &e));
	assert_int_equal(network_endpoint_info(bad)->ports[0].host_port, 8081);
	assert_string_not_equal(ask(c.s.netns, "192.0.2.1", 8080), ""); /* across networks */
	ok(network_detach(h, ep, NULL, &e));
	assert_string_equal(ask_for(w.s.netns, "192.0.2.1", 8080, NO_ANSWER_MS), "");
	end(s);
	ok(network_host_clear(h, &e));
	h = network_host_free(h);
}

static void a_restart_finds_and_mends(void **state)
{
	struct network_host *h = open_host();
	struct network_port port = {.host_port = 8080, .port = 80, .proto = NETWORK_TCP};
	struct network *n = make(h, "one");
	struct network_endpoint *ep;
	struct box a, w;
	struct err e = {0};
	auto_json struct json *net_record = NULL, *ep_record = NULL;
	struct netlink_link l;
	pid_t s;

	(void)state;
	world_open(&w);
	box_open(&a, 'a');
	ep = plug(n, &a, "web", &port, 1);
	net_record = network_encode(n);
	ep_record = network_endpoint_encode(ep);
	s = serve(a.s.netns, "0.0.0.0", 80);
	(void)make(h, "forgotten");
	h = network_host_free(h);
	assert_int_equal(shell("nft flush ruleset"), 0);

	h = open_host();
	ok(network_load(h, net_record, &n, &e));
	ok(network_endpoint_load(h, ep_record, &ep, &e));
	ok(network_reconcile(h, &e));
	assert_string_equal(ask(w.s.netns, "192.0.2.1", 8080), "192.0.2.2");
	assert_string_equal(network_endpoint_info(ep)->ipv4, "172.17.0.2");
	int bridges = 0;
	for (struct network *it = NULL; (it = network_next(h, it));)
		bridges++;
	assert_int_equal(bridges, 1);
	assert_int_equal(netlink_link(&h->netlink, n->bridge, &l, &e), 0);
	auto_free char *gone = mem_printf("ip -o link | grep -c ': hl-%s-' | grep -qx 1", h->tag);
	assert_int_equal(shell(gone), 0);
	end(s);
	ok(network_host_clear(h, &e));
	auto_free char *left = mem_printf("ip -o link | grep 'h[lv]-%s-'", h->tag);
	assert_int_not_equal(shell(left), 0);
	h = network_host_free(h);
}

static void ipv6_works_and_refuses_advertisements(void **state)
{
	struct network_host *h = open_host();
	struct network_spec s = {.name = (char *)"six", .ipv6 = true};
	struct network *n = NULL;
	struct box a, b;
	struct err e = {0};
	pid_t server;

	(void)state;
	ok(network_create(h, &s, &n, &e));
	box_open(&a, 'a');
	box_open(&b, 'b');
	struct network_endpoint *ea = plug(n, &a, "a", NULL, 0);
	struct network_endpoint *eb = plug(n, &b, "b", NULL, 0);
	assert_true(text_starts(network_endpoint_info(eb)->ipv6, "fd"));
	assert_int_equal(network_endpoint_info(eb)->prefix6, 64);
	server = serve(b.s.netns, "::", 80);
	assert_string_equal(ask(a.s.netns, network_endpoint_info(eb)->ipv6, 80),
			    network_endpoint_info(ea)->ipv6);
	assert_int_equal(setns(a.s.netns, CLONE_NEWNET), 0);
	assert_int_equal(shell("grep -qx 0 /proc/sys/net/ipv6/conf/eth0/accept_ra"), 0);
	back_to_host();
	end(server);
	ok(network_host_clear(h, &e));
	h = network_host_free(h);
}

static void addresses_are_checked_and_go_round(void **state)
{
	struct network_host *h = open_host();
	struct network_subnet sub = {.subnet = (char *)"10.77.0.0/29"}, bad = sub;
	struct network_spec s = {.name = (char *)"small", .subnets = &sub, .subnets_n = 1};
	struct network *n = NULL, *other = NULL;
	struct err e = {0};
	struct ip got, first, want;

	(void)state;
	ok(network_create(h, &s, &n, &e));
	ok(pool_take(n, 4, NULL, "x", &first, &e));
	assert_string_equal(ip_text(&first).t, "10.77.0.2");
	pool_give(n, &first);
	ok(pool_take(n, 4, NULL, "x", &got, &e));
	assert_string_equal(ip_text(&got).t, "10.77.0.3"); /* not the one just given back */
	for (int i = 0; i < 4; i++)
		ok(pool_take(n, 4, NULL, "x", &got, &e));
	assert_int_equal(pool_take(n, 4, NULL, "x", &got, &e), -ERR_EXHAUSTED);
	ok(ip_parse(STR("10.77.0.1"), "x", &want, &e));
	assert_int_equal(pool_take(n, 4, &want, "x", &got, &e), -ERR_CONFLICT);
	assert_non_null(strstr(e.text, "in use by the gateway"));
	ok(ip_parse(STR("10.78.0.1"), "x", &want, &e));
	assert_int_equal(pool_take(n, 4, &want, "x", &got, &e), -ERR_INVALID);

	s.name = (char *)"second";
	assert_int_equal(network_create(h, &s, &other, &e), -ERR_CONFLICT);
	assert_non_null(strstr(e.text, "network 'small'"));
	bad.gateway = (char *)"10.99.0.1";
	bad.subnet = (char *)"10.98.0.0/24";
	s.subnets = &bad;
	assert_int_equal(network_create(h, &s, &other, &e), -ERR_INVALID);
	s.name = (char *)"small";
	assert_int_equal(network_create(h, &s, &other, &e), -ERR_EXISTS);
	s.name = (char *)"a/b";
	assert_int_equal(network_create(h, &s, &other, &e), -ERR_INVALID);
	ok(network_host_clear(h, &e));
	h = network_host_free(h);
}

static void a_foreign_drop_is_seen(void **state)
{
	struct network_host *h = open_host();
	struct err e = {0};

	(void)state;
	(void)make(h, "one");
	assert_false(h->foreign_drop);
	assert_int_equal(shell("nft add table ip filter; nft 'add chain ip filter FORWARD { type "
			       "filter hook forward priority 0; policy drop; }'"),
			 0);
	assert_true(rules_look_around(h));
	assert_true(h->foreign_drop);
	ok(network_host_clear(h, &e));
	assert_int_equal(shell("nft list chain ip filter FORWARD | grep -q 'policy drop'"), 0);
	h = network_host_free(h);
}

static double now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Attaches many to one network and takes them off again; bounds far above what it takes. */
static void measure(struct network_host *h, struct network *n, bool publish)
{
	enum { COUNT = 50 };
	static struct box boxes[COUNT];
	static struct network_endpoint *eps[COUNT];
	struct err e = {0};
	double attach, detach;

	for (int i = 0; i < COUNT; i++) {
		box_open(&boxes[i], 'a');
		(void)snprintf(boxes[i].id, sizeof(boxes[i].id), "%064d", i);
	}
	attach = now_us();
	for (int i = 0; i < COUNT; i++) {
		struct network_port port = {.host_port = (uint16_t)(9000 + i), .port = 80};

		eps[i] = plug(n, &boxes[i], "x", &port, publish);
	}
	detach = now_us();
	attach = detach - attach;
	for (int i = 0; i < COUNT; i++) {
		ok(network_detach(h, eps[i], NULL, &e));
		netns_sockets_close(&boxes[i].s);
	}
	detach = now_us() - detach;
	print_message("%s: attach %.0f us, detach %.0f us each\n", n->spec.name, attach / COUNT,
		      detach / COUNT);
	assert_true(attach / COUNT < 20000 && detach / COUNT < 20000);
}

static void many_are_quick(void **state)
{
	struct network_host *h = open_host();
	struct err e = {0};

	(void)state;
	measure(h, make(h, "bridge"), false);
	measure(h, make(h, "names-and-a-port"), true);
	ok(network_host_clear(h, &e));
	h = network_host_free(h);
}

static void files_say_what_was_asked(void **state)
{
	static char *const dns[] = {(char *)"9.9.9.9", NULL}, *const none[] = {(char *)".", NULL};
	static char *const extra[] = {(char *)"db:10.0.0.9", (char *)"gw:host-gateway",
				      (char *)"six:[fd00::1]", NULL};
	static const char *const ips[] = {"10.0.0.2", NULL};
	auto_strbuf struct strbuf b = {0};
	struct network_files f = {0};
	struct err e = {0};

	(void)state;
	ok(network_resolv_text(&f, STR("nameserver 127.0.0.53\nnameserver 8.8.8.8\nsearch x\n"), &b,
			       &e));
	assert_string_equal(strbuf_text(&b), "nameserver 8.8.8.8\nsearch x\n");
	strbuf_clear(&b);
	f.embedded_dns = true;
	ok(network_resolv_text(&f, STR("nameserver 8.8.8.8\n"), &b, &e));
	assert_string_equal(strbuf_text(&b), "nameserver 127.0.0.11\noptions ndots:0\n");
	strbuf_clear(&b);
	f = (struct network_files){.dns = dns, .dns_search = none};
	ok(network_resolv_text(&f, STR("nameserver 8.8.8.8\nsearch x\n"), &b, &e));
	assert_string_equal(strbuf_text(&b), "nameserver 9.9.9.9\n");
	strbuf_clear(&b);
	f = (struct network_files){
		.extra_hosts = extra, .host_gateway = "10.0.0.1", .ips = ips, .hostname = "web"};
	ok(network_hosts_text(&f, &b, &e));
	assert_non_null(strstr(strbuf_text(&b), "10.0.0.9\tdb\n10.0.0.1\tgw\nfd00::1\tsix\n"));
	assert_non_null(strstr(strbuf_text(&b), "10.0.0.2\tweb\n"));
	f.extra_hosts = dns;
	assert_int_equal(network_hosts_text(&f, &b, &e), -ERR_INVALID);
}

int main(void)
{
#define in_namespace(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		in_namespace(containers_reach_out_and_are_masqueraded),
		in_namespace(networks_are_isolated),
		in_namespace(published_ports_are_reached_from_everywhere),
		in_namespace(a_restart_finds_and_mends),
		in_namespace(ipv6_works_and_refuses_advertisements),
		in_namespace(addresses_are_checked_and_go_round),
		in_namespace(a_foreign_drop_is_seen),
		in_namespace(many_are_quick),
		cmocka_unit_test(files_say_what_was_asked),
	};
	int r;

	if (!mkdtemp(root))
		return 1;
	r = cmocka_run_group_tests_name("virt/network", tests, NULL, NULL);
	(void)rmdir(root);
	return r;
}
