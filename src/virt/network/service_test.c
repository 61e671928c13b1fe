/*
 * Unit tests of services: what they compile to, and packets through them.
 */
#include "virt/network/network_fixture.h"

#include "virt/network/pod.h"
#include "virt/network/service_priv.h"

#define WEB                           \
	{                             \
		4,                    \
		{                     \
			10, 96, 0, 20 \
		}                     \
	}
#define WEB_ "10.96.0.20"

static const char *const cluster[] = {"10.244.0.0/16", "10.96.0.0/16", NULL};
static const char *const nets[] = {"10.96.0.0/16", NULL};

/* ---- a node with pods ---- */

struct node {
	struct network_host *h;
	struct box boxes[3];
	struct box world;
	struct network_endpoint *pods[3];
	pid_t servers[3];
};

static void node_open(struct node *n)
{
	static const char *const names[] = {"a", "b", "c"};
	struct err e = {0};

	*n = (struct node){.h = open_host()};
	ok(network_pods_configure(n->h,
				  &(struct network_pods_options){.range4 = "10.244.3.0/24",
								 .cluster = cluster,
								 .services = nets},
				  &e));
	world_open(&n->world);
	for (size_t i = 0; i < array_len(n->boxes); i++) {
		struct network_pod_join j = {.sandbox = n->boxes[i].id, .name = names[i]};
		struct network_ns ns;

		box_open(&n->boxes[i], names[i][0]);
		ns = ns_of(&n->boxes[i]);
		ok(network_pod_attach(n->h, &ns, &j, &n->pods[i], &e));
		n->servers[i] = serve_as(n->boxes[i].s.netns, "0.0.0.0", 8080, names[i]);
	}
}

static void node_close(struct node *n)
{
	struct err e = {0};

	for (size_t i = 0; i < array_len(n->boxes); i++)
		end(n->servers[i]);
	ok(network_host_clear(n->h, &e));
	n->h = network_host_free(n->h);
}

/* One service "default/web" on port 80 (node port 30080), with the endpoints of these pods. */
struct web {
	struct ip address;
	struct network_service_endpoint ends[FACT_SMALL_MAX + 1];
	struct network_service_port port;
	struct network_service s;
};

static void web_of(struct web *w, const char *pods)
{
	*w = (struct web){.address = WEB};
	for (const char *p = pods; *p; p++) {
		size_t i = w->port.endpoints_n++;

		w->ends[i].ip = (struct ip){4, {10, 244, 3, (uint8_t)(2 + *p - 'a')}};
		w->ends[i].port = 8080;
		w->ends[i].local = true;
	}
	w->port.port = 80;
	w->port.node_port = 30080;
	w->port.endpoints = w->ends;
	w->s = (struct network_service){.key = "default/web",
					.addresses = &w->address,
					.addresses_n = 1,
					.ports = &w->port,
					.ports_n = 1};
}

static void set_web(struct node *n, const char *pods)
{
	struct err e = {0};
	struct web w;

	web_of(&w, pods);
	ok(network_services_change(n->h, &w.s, 1, NULL, 0, &e));
}

/* Which servers answer, in twenty connections: "ab". */
static const char *who(int netns, const char *ip, uint16_t port)
{
	static char seen[4];
	bool is[3] = {false};
	size_t n = 0;

	for (int i = 0; i < 20; i++) {
		const char *text = ask(netns, ip, port);

		if (*text >= 'a' && *text <= 'c')
			is[*text - 'a'] = true;
	}
	for (size_t i = 0; i < array_len(is); i++)
		if (is[i])
			seen[n++] = (char)('a' + i);
	seen[n] = '\0';
	return seen;
}

/* ---- packets ---- */

static void connections_are_spread(void **state)
{
	struct node n;
	struct err e = {0};
	const char *gone = "default/web";

	(void)state;
	node_open(&n);
	set_web(&n, "ab");
	assert_string_equal(who(n.boxes[2].s.netns, WEB_, 80), "ab");
	assert_string_equal(who(host_ns, WEB_, 80), "ab");
	set_web(&n, "abc");
	assert_string_equal(who(host_ns, WEB_, 80), "abc");
	set_web(&n, "b");
	assert_string_equal(who(n.boxes[2].s.netns, WEB_, 80), "b");
	assert_string_equal(ask(n.boxes[2].s.netns, WEB_, 80), "b 10.244.3.4"); /* as itself */
	assert_string_equal(ask(host_ns, WEB_, 80), "b 10.244.3.1");
	ok(network_services_change(n.h, NULL, 0, &gone, 1, &e));
	assert_int_equal(network_services_count(n.h), 0);
	assert_string_equal(ask_for(host_ns, WEB_, 80, ANSWER_MS), "");
	node_close(&n);
}

static void many_endpoints_are_spread_by_verdict(void **state)
{
	struct node n;

	(void)state;
	node_open(&n);
	set_web(&n, "abcabcabc");
	assert_int_equal(shell("nft list ruleset | grep -q pick4-9"), 0);
	assert_string_equal(who(n.boxes[2].s.netns, WEB_, 80), "abc");
	assert_string_equal(who(n.world.s.netns, "192.0.2.1", 30080), "abc");
	set_web(&n, "ab");
	assert_string_equal(who(n.boxes[2].s.netns, WEB_, 80), "ab");
	set_web(&n, "");
	assert_int_equal(shell("nft list ruleset | grep -q 10.96.0.20"), 0); /* refused */
	node_close(&n);
}

static void a_pod_reaches_itself(void **state)
{
	struct node n;

	(void)state;
	node_open(&n);
	set_web(&n, "a");
	assert_string_equal(ask(n.boxes[0].s.netns, WEB_, 80), "a 10.244.3.1");
	node_close(&n);
}

static void node_ports_are_everywhere(void **state)
{
	struct node n;

	(void)state;
	node_open(&n);
	set_web(&n, "ac");
	assert_string_equal(who(n.world.s.netns, "192.0.2.1", 30080), "ac");
	assert_string_equal(who(host_ns, "192.0.2.1", 30080), "ac");
	assert_string_equal(who(host_ns, "127.0.0.1", 30080), "ac");
	assert_string_equal(who(n.boxes[1].s.netns, "192.0.2.1", 30080), "ac");
	set_web(&n, "a");
	assert_string_equal(ask(n.world.s.netns, "192.0.2.1", 30080), "a 192.0.2.2"); /* seen */
	node_close(&n);
}

/* 0: refused, 1: connected, -1: silence. */
static int try(int netns, const char *ip, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct pollfd p = {.events = POLLOUT};
	socklen_t n = sizeof(int);
	int sys = 0, r = -1;

	(void)inet_pton(AF_INET, ip, &at.sin_addr);
	assert_int_equal(setns(netns, CLONE_NEWNET), 0);
	p.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	back_to_host();
	if (connect(p.fd, (struct sockaddr *)&at, sizeof(at)) < 0 && errno != EINPROGRESS)
		r = errno == ECONNREFUSED ? 0 : -1;
	else if (poll(&p, 1, NO_ANSWER_MS) == 1) {
		(void)getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &sys, &n);
		r = sys == 0 ? 1 : sys == ECONNREFUSED ? 0 : -1;
	}
	close(p.fd);
	return r;
}

static void nobody_home_is_refused(void **state)
{
	struct node n;

	(void)state;
	node_open(&n);
	set_web(&n, "");
	assert_int_equal(try(n.boxes[0].s.netns, WEB_, 80), 0);
	assert_int_equal(try(host_ns, WEB_, 80), 0);
	assert_int_equal(try(n.world.s.netns, "192.0.2.1", 30080), 0);
	assert_int_equal(try(n.boxes[0].s.netns, "10.96.99.99", 80), 0); /* no service at all */
	assert_int_equal(try(host_ns, "10.96.99.99", 80), 0);
	set_web(&n, "a");
	assert_int_equal(try(n.boxes[1].s.netns, WEB_, 80), 1);
	assert_int_equal(try(n.boxes[1].s.netns, WEB_, 81), 0); /* not this port */
	node_close(&n);
}

static void outside_policies_and_addresses(void **state)
{
	static const struct ip balanced = {4, {203, 0, 113, 7}};
	struct node n;
	struct err e = {0};
	struct web w;

	(void)state;
	node_open(&n);
	web_of(&w, "b");
	w.s.balanced = &balanced;
	w.s.balanced_n = 1;
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	assert_string_equal(ask(n.world.s.netns, "203.0.113.7", 80), "b 192.0.2.2");
	assert_int_equal(try(n.world.s.netns, "203.0.113.7", 22), 0); /* not the host's own */
	w.ends[0].local = false;
	w.s.external_local = true;
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	assert_int_equal(try(n.world.s.netns, "192.0.2.1", 30080), -1); /* lost */
	assert_int_equal(try(n.world.s.netns, "203.0.113.7", 80), -1);
	assert_string_equal(who(n.boxes[0].s.netns, WEB_, 80), "b");
	node_close(&n);
}

static void clients_stay_where_they_were(void **state)
{
	struct node n;
	struct err e = {0};
	char first[64];
	struct web w;

	(void)state;
	node_open(&n);
	web_of(&w, "abc");
	w.s.affinity_s = 10800;
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	(void)snprintf(first, sizeof(first), "%s", who(n.world.s.netns, "192.0.2.1", 30080));
	assert_int_equal(strlen(first), 1);
	assert_string_equal(who(n.world.s.netns, "192.0.2.1", 30080), first);
	web_of(&w, first[0] == 'a' ? "bc" : "ab"); /* perhaps the one, perhaps not */
	w.s.affinity_s = 10800;
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	(void)snprintf(first, sizeof(first), "%s", who(n.world.s.netns, "192.0.2.1", 30080));
	assert_int_equal(strlen(first), 1); /* whose endpoint went stays with a new one */
	node_close(&n);
}

/* A datagram to the service from one and the same socket; how many bytes come back. */
static ssize_t echo(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char text[8];

	assert_int_equal(send(fd, "x", 1, 0), 1);
	return poll(&p, 1, NO_ANSWER_MS) == 1 ? recv(fd, text, sizeof(text), 0) : -1;
}

static int udp_in(int netns, const char *ip, uint16_t port, bool bound)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd;

	assert_int_equal(setns(netns, CLONE_NEWNET), 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	back_to_host();
	(void)inet_pton(AF_INET, ip, &at.sin_addr);
	assert_int_equal(bound ? bind(fd, (void *)&at, sizeof(at))
			       : connect(fd, (void *)&at, sizeof(at)),
			 0);
	return fd;
}

static bool arrives(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char text[8];

	return poll(&p, 1, NO_ANSWER_MS) == 1 && recv(fd, text, sizeof(text), 0) == 1;
}

static void datagrams_leave_an_endpoint_that_went(void **state)
{
	struct node n;
	struct err e = {0};
	int client, a, b;
	struct web w;

	(void)state;
	node_open(&n);
	a = udp_in(n.boxes[0].s.netns, "10.244.3.2", 8080, true);
	b = udp_in(n.boxes[1].s.netns, "10.244.3.3", 8080, true);
	web_of(&w, "a");
	w.port.proto = NETWORK_UDP;
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	client = udp_in(n.boxes[2].s.netns, WEB_, 80, false);
	(void)echo(client);
	assert_true(arrives(a));
	web_of(&w, "b");
	w.port.proto = NETWORK_UDP;
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	(void)echo(client);
	assert_true(arrives(b));
	assert_false(arrives(a));
	close(client);
	close(a);
	close(b);
	node_close(&n);
}

static void a_restart_leaves_them(void **state)
{
	struct node n;
	struct err e = {0};
	struct web w;

	(void)state;
	node_open(&n);
	set_web(&n, "ab");
	n.h = network_host_free(n.h);
	assert_string_equal(who(host_ns, WEB_, 80), "ab");
	n.h = open_host();
	ok(network_pods_configure(n.h,
				  &(struct network_pods_options){.range4 = "10.244.3.0/24",
								 .cluster = cluster,
								 .services = nets},
				  &e));
	assert_string_equal(who(host_ns, WEB_, 80), "ab"); /* nothing is known, all works */
	web_of(&w, "b");
	ok(network_services_set(n.h, &w.s, 1, &e));
	assert_string_equal(who(host_ns, WEB_, 80), "b");
	assert_int_equal(shell("nft flush ruleset"), 0);
	n.h->laid = n.h->pods->laid = false; /* what rules_watch() would have heard */
	web_of(&w, "a");
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	assert_string_equal(who(host_ns, WEB_, 80), "a");
	node_close(&n);
}

static void others_can_list_the_rules(void **state)
{
	struct node n;
	struct err e = {0};
	struct web w;

	(void)state;
	node_open(&n);
	set_web(&n, "abc");
	assert_int_equal(shell("nft list ruleset >/dev/null"), 0);
	web_of(&w, "ab");
	w.s.affinity_s = 60;
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	assert_int_equal(shell("nft list ruleset >/dev/null"), 0);
	assert_int_equal(shell("nft -j list ruleset >/dev/null"), 0);
	node_close(&n);
}

static void ten_thousand_are_quick(void **state)
{
	enum { MANY = 10000 };
	static struct network_service all[MANY];
	static struct ip ips[MANY];
	static char keys[MANY][32];
	struct timespec t[4];
	struct err e = {0};
	struct node n;
	struct web w;

	(void)state;
	node_open(&n);
	web_of(&w, "abc");
	w.port.node_port = 0;
	for (size_t i = 0; i < MANY; i++) {
		(void)snprintf(keys[i], sizeof(keys[i]), "default/s%zu", i);
		ips[i] = (struct ip){4, {10, 96, (uint8_t)(10 + i / 250), (uint8_t)(1 + i % 250)}};
		all[i] = w.s;
		all[i].key = keys[i];
		all[i].addresses = &ips[i];
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &t[0]);
	ok(network_services_set(n.h, all, MANY, &e));
	(void)clock_gettime(CLOCK_MONOTONIC, &t[1]);
	web_of(&w, "ab");
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	(void)clock_gettime(CLOCK_MONOTONIC, &t[2]);
	web_of(&w, "bc");
	ok(network_services_change(n.h, &w.s, 1, NULL, 0, &e));
	(void)clock_gettime(CLOCK_MONOTONIC, &t[3]);
	for (int i = 0; i < 3; i++)
		print_message("%s: %.2f ms\n", i ? "one more change" : "10,000 services",
			      (double)(t[i + 1].tv_sec - t[i].tv_sec) * 1e3 +
				      (double)(t[i + 1].tv_nsec - t[i].tv_nsec) / 1e6);
	assert_string_equal(who(n.boxes[0].s.netns, WEB_, 80), "bc");
	assert_string_equal(who(n.boxes[0].s.netns, "10.96.49.250", 80), "abc");
	node_close(&n);
}

/* ---- what they compile to ---- */

static size_t count(const struct fact_list *l, enum fact_set set)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->items[i].set == set;
	return n;
}

static void a_service_is_a_list_of_elements(void **state)
{
	struct fact_list l = {.n = 0};
	struct err e = {0};
	struct web w;

	(void)state;
	web_of(&w, "abc");
	ok(fact_compile(&w.s, &l, &e));
	assert_int_equal(count(&l, FACT_FRONT4), 0); /* few endpoints need no verdict */
	assert_int_equal(count(&l, FACT_ENDS4), 6);
	assert_int_equal(count(&l, FACT_PAIRS4), 3);
	assert_int_equal(l.n, 9);
	assert_int_equal(l.items[0].small, 3);
	for (size_t i = 1; i < l.n; i++)
		assert_true(fact_cmp(&l.items[i - 1], &l.items[i]) < 0);
	free(l.items);

	l = (struct fact_list){.n = 0};
	w.s.affinity_s = 5;
	ok(fact_compile(&w.s, &l, &e));
	assert_int_equal(count(&l, FACT_FRONT4), 2);
	assert_int_equal(count(&l, FACT_ENDS4), 6);
	free(l.items);

	l = (struct fact_list){.n = 0};
	w.port.endpoints_n = 0;
	w.s.affinity_s = 5;
	ok(fact_compile(&w.s, &l, &e));
	assert_int_equal(count(&l, FACT_REFUSE4), 2);
	assert_int_equal(l.n, 2);
	free(l.items);

	l = (struct fact_list){.n = 0};
	w.port.port = 0;
	assert_int_equal(fact_compile(&w.s, &l, &e), -ERR_INVALID);
	free(l.items);
}

int main(void)
{
#define in_namespace(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_service_is_a_list_of_elements),
		in_namespace(connections_are_spread),
		in_namespace(many_endpoints_are_spread_by_verdict),
		in_namespace(a_pod_reaches_itself),
		in_namespace(node_ports_are_everywhere),
		in_namespace(nobody_home_is_refused),
		in_namespace(outside_policies_and_addresses),
		in_namespace(clients_stay_where_they_were),
		in_namespace(datagrams_leave_an_endpoint_that_went),
		in_namespace(a_restart_leaves_them),
		in_namespace(others_can_list_the_rules),
		in_namespace(ten_thousand_are_quick),
	};
	int r;

	if (!mkdtemp(root))
		return 1;
	r = cmocka_run_group_tests_name("virt/network services", tests, NULL, NULL);
	(void)rmdir(root);
	return r;
}
