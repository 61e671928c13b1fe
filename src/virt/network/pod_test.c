/*
 * Unit tests of pods: packets between pods, the host and the world, and what a restart finds.
 */
#include "virt/network/network_fixture.h"

#include "virt/network/pod.h"

static const char *const cluster[] = {"10.244.0.0/16", "10.96.0.0/16", "fd00:244::/48", NULL};
static const char *const services[] = {"10.96.0.0/16", NULL};

static struct network_host *open_pods(void)
{
	struct network_host *h = open_host();
	struct err e = {0};

	ok(network_pods_configure(h,
				  &(struct network_pods_options){.range4 = "10.244.3.0/24",
								 .range6 = "fd00:244:0:3::/64",
								 .cluster = cluster,
								 .services = services},
				  &e));
	return h;
}

static struct network_endpoint *plug(struct network_host *h, const struct box *b,
				     const struct network_pod_join *more)
{
	struct network_ns ns = ns_of(b);
	struct network_pod_join j = {.sandbox = b->id, .name = "default/pod"};
	struct network_endpoint *pod = NULL;
	struct err e = {0};

	if (more) {
		j = *more;
		j.sandbox = b->id;
	}
	ok(network_pod_attach(h, &ns, &j, &pod, &e));
	return pod;
}

static const char *ip_of(const struct network_endpoint *pod)
{
	return network_endpoint_info(pod)->ipv4;
}

static void close_pods(struct network_host *h)
{
	struct network_endpoint *pod;
	struct err e = {0};

	while ((pod = network_pod_next(h, NULL)) != NULL)
		ok(network_pod_detach(h, pod, &e));
	ok(network_host_clear(h, &e));
	(void)network_host_free(h);
}

/* ---- tests ---- */

static void pods_reach_each_other_and_the_world(void **state)
{
	struct network_host *h = open_pods();
	struct box a, b, w;
	struct network_endpoint *pa, *pb;
	pid_t s[4];

	(void)state;
	world_open(&w);
	box_open(&a, 'a');
	box_open(&b, 'b');
	pa = plug(h, &a, NULL);
	pb = plug(h, &b, NULL);
	assert_string_equal(ip_of(pa), "10.244.3.2");
	assert_string_equal(ip_of(pb), "10.244.3.3");
	assert_int_equal(network_endpoint_info(pa)->prefix4, 32);
	assert_string_equal(network_endpoint_info(pa)->ifname, "eth0");
	assert_string_equal(network_pods_gateway(h, false), "10.244.3.1");
	s[0] = serve(w.s.netns, "192.0.2.2", 80);
	s[1] = serve(b.s.netns, "0.0.0.0", 80);
	s[2] = serve(b.s.netns, network_endpoint_info(pb)->ipv6, 81);
	s[3] = serve(host_ns, "192.0.2.1", 82);
	assert_string_equal(ask(a.s.netns, "192.0.2.2", 80), "192.0.2.1"); /* masqueraded */
	assert_string_equal(ask(a.s.netns, ip_of(pb), 80), ip_of(pa));	   /* within: not */
	assert_string_equal(ask(host_ns, ip_of(pb), 80), "10.244.3.1");
	assert_string_equal(ask(a.s.netns, "192.0.2.1", 82), ip_of(pa));
	assert_string_equal(ask(a.s.netns, network_endpoint_info(pb)->ipv6, 81),
			    network_endpoint_info(pa)->ipv6);
	for (size_t i = 0; i < array_len(s); i++)
		end(s[i]);
	close_pods(h);
}

static void host_ports_lead_to_pods(void **state)
{
	const struct network_port port = {.host_port = 8080, .port = 80, .proto = NETWORK_TCP};
	struct network_pod_join j = {.name = "default/a", .ports = &port, .ports_n = 1};
	struct network_host *h = open_pods();
	struct network_endpoint *pa, *pb = NULL;
	struct box a, b, w;
	struct network_ns ns;
	struct err e = {0};
	pid_t s;

	(void)state;
	world_open(&w);
	box_open(&a, 'a');
	box_open(&b, 'b');
	pa = plug(h, &a, &j);
	s = serve(a.s.netns, "0.0.0.0", 80);
	assert_string_equal(ask(w.s.netns, "192.0.2.1", 8080), "192.0.2.2");
	j.name = "default/b";
	j.sandbox = b.id;
	ns = ns_of(&b);
	assert_int_equal(network_pod_attach(h, &ns, &j, &pb, &e), -ERR_CONFLICT);
	assert_non_null(strstr(e.text, "default/a"));
	ok(network_pod_detach(h, pa, &e));
	assert_string_equal(ask_for(w.s.netns, "192.0.2.1", 8080, NO_ANSWER_MS), "");
	end(s);
	close_pods(h);
}

static void a_restart_adopts_pods(void **state)
{
	struct network_host *h = open_pods();
	struct network_endpoint *pa, *pb, *pc;
	auto_json struct json *record = NULL;
	struct box a, b, c;
	struct err e = {0};
	pid_t s;

	(void)state;
	box_open(&a, 'a');
	box_open(&b, 'b');
	box_open(&c, 'c');
	pa = plug(h, &a, NULL);
	pb = plug(h, &b, NULL);
	s = serve(a.s.netns, "0.0.0.0", 80);
	record = network_endpoint_encode(pa);
	(void)pb;
	h = network_host_free(h);
	assert_string_equal(ask(b.s.netns, "10.244.3.2", 80), "10.244.3.3"); /* nobody is home */

	h = open_pods();
	ok(network_pod_load(h, record, &pa, &e));
	ok(network_reconcile(h, &e));
	assert_string_equal(ip_of(pa), "10.244.3.2");
	assert_ptr_equal(network_pod_next(h, NULL), pa);
	assert_string_equal(ask(host_ns, "10.244.3.2", 80), "10.244.3.1");
	assert_string_equal(ask_for(b.s.netns, "10.244.3.2", 80, NO_ANSWER_MS), ""); /* swept */
	assert_int_equal(network_pods_configure(
				 h, &(struct network_pods_options){.range4 = "10.245.0.0/24"}, &e),
			 -ERR_CONFLICT);
	pc = plug(h, &c, NULL);
	assert_string_equal(ip_of(pc), "10.244.3.3");
	end(s);
	close_pods(h);
}

static void addresses_rest_before_they_are_taken_again(void **state)
{
	struct network_pod_join wanted = {.name = "default/w", .ipv4 = "10.244.3.77"};
	struct network_host *h = open_pods();
	struct network_endpoint *pod;
	struct box a, b, c;
	struct err e = {0};

	(void)state;
	box_open(&a, 'a');
	box_open(&b, 'b');
	box_open(&c, 'c');
	pod = plug(h, &a, NULL);
	assert_string_equal(ip_of(pod), "10.244.3.2");
	ok(network_pod_detach(h, pod, &e));
	assert_string_equal(ip_of(plug(h, &b, NULL)), "10.244.3.3");
	assert_string_equal(ip_of(plug(h, &c, &wanted)), "10.244.3.77");
	close_pods(h);
}

static void ranges_are_checked(void **state)
{
	struct network_host *h = open_host();
	struct network_pods_options o = {.range4 = "10.244.0.0/33"};
	struct err e = {0};

	(void)state;
	assert_int_equal(network_pods_configure(h, &o, &e), -ERR_INVALID);
	o.range4 = "fd00::/64";
	assert_int_equal(network_pods_configure(h, &o, &e), -ERR_INVALID);
	o.range4 = NULL;
	assert_int_equal(network_pods_configure(h, &o, &e), -ERR_INVALID);
	assert_null(network_pod_next(h, NULL));
	assert_string_equal(network_pods_gateway(h, false), "");
	(void)network_host_free(h);
}

static void a_hundred_are_quick(void **state)
{
	struct network_host *h = open_pods();
	static struct box boxes[100];
	struct timespec from, to;
	char id[65];

	(void)state;
	for (size_t i = 0; i < array_len(boxes); i++) {
		(void)snprintf(id, sizeof(id), "%064zu", i);
		box_open(&boxes[i], 'a');
		memcpy(boxes[i].id, id, sizeof(id));
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	for (size_t i = 0; i < array_len(boxes); i++)
		(void)plug(h, &boxes[i], NULL);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	print_message("100 pods: %.1f ms\n", (double)(to.tv_sec - from.tv_sec) * 1e3 +
						     (double)(to.tv_nsec - from.tv_nsec) / 1e6);
	close_pods(h);
	for (size_t i = 0; i < array_len(boxes); i++)
		netns_sockets_close(&boxes[i].s);
}

int main(void)
{
#define in_namespace(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		in_namespace(pods_reach_each_other_and_the_world),
		in_namespace(host_ports_lead_to_pods),
		in_namespace(a_restart_adopts_pods),
		in_namespace(addresses_rest_before_they_are_taken_again),
		in_namespace(ranges_are_checked),
		in_namespace(a_hundred_are_quick),
	};
	int r;

	if (!mkdtemp(root))
		return 1;
	r = cmocka_run_group_tests_name("virt/network pods", tests, NULL, NULL);
	(void)rmdir(root);
	return r;
}
