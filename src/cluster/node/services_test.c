/*
 * Unit tests of a node's services: what objects are made into, and the way from the client to the
 * host's rules and back, in a network namespace of its own.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster/node/services_priv.h"
#include "cluster/objects/direct.h"
#include "ground/base/mem.h"
#include "ground/linux/netns.h"
#include "ground/store/keys.h"
#include "ground/wire/loop.h"
#include "virt/network/pod.h"

#define ok(call)                                \
	do {                                    \
		if ((call) < 0)                 \
			fail_msg("%s", e.text); \
	} while (0)

static struct json *read_json(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	ok(json_parse(str_of(text), "test", &j, &e));
	return j;
}

/* ---- what objects are made into ---- */

#define SLICE(endpoints)                                                                  \
	"{\"metadata\":{\"name\":\"web-1\",\"namespace\":\"default\",\"labels\":"         \
	"{\"kubernetes.io/service-name\":\"web\"}},\"addressType\":\"IPv4\",\"ports\":[{" \
	"\"name\":\"http\",\"port\":8080,\"protocol\":\"TCP\"}],\"endpoints\":[" endpoints "]}"
#define READY(ip, more) "{\"addresses\":[\"" ip "\"],\"conditions\":{\"ready\":true}" more "}"
#define ENDING(ip)                                                     \
	"{\"addresses\":[\"" ip "\"],\"conditions\":{\"ready\":false," \
	"\"serving\":true,\"terminating\":true}}"
#define SERVICE(spec)                                                                \
	"{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{" spec \
	"\"ports\":[{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\",\"nodePort\":30080}]}}"

struct read {
	struct arena arena;
	struct json *service, *slice;
	const struct json *slices[1];
	struct service_objects o;
};

static void read_objects(struct read *r, const char *service, const char *slice)
{
	*r = (struct read){.service = read_json(service), .slice = read_json(slice)};
	r->slices[0] = r->slice;
	r->o = (struct service_objects){"default/web", "default", "web", r->service, r->slices, 1};
}

static void read_done(struct read *r)
{
	arena_done(&r->arena);
	r->service = json_free(r->service);
	r->slice = json_free(r->slice);
}

static void ready_endpoints_serve(void **state)
{
	struct network_service s;
	struct read r;

	(void)state;
	read_objects(&r, SERVICE("\"clusterIP\":\"10.96.0.20\","),
		     SLICE(READY("10.244.0.5", ",\"nodeName\":\"here\"") "," ENDING(
			     "10.244.0.6") "," READY("10.244.0.7", "")));
	assert_true(service_rules(&r.o, "here", &r.arena, &s));
	assert_int_equal(s.addresses_n, 1);
	assert_int_equal(s.ports_n, 1);
	assert_int_equal(s.ports[0].port, 80);
	assert_int_equal(s.ports[0].node_port, 30080);
	assert_int_equal(s.ports[0].endpoints_n, 2);
	assert_int_equal(s.ports[0].endpoints[0].port, 8080);
	assert_true(s.ports[0].endpoints[0].local);
	assert_false(s.ports[0].endpoints[1].local);
	read_done(&r);
}

static void those_that_end_serve_when_nobody_else_does(void **state)
{
	struct network_service s;
	struct read r;

	(void)state;
	read_objects(&r,
		     SERVICE("\"clusterIP\":\"10.96.0.20\",\"sessionAffinity\":\"ClientIP\","
			     "\"externalTrafficPolicy\":\"Local\","),
		     SLICE(ENDING("10.244.0.6")));
	assert_true(service_rules(&r.o, "here", &r.arena, &s));
	assert_int_equal(s.ports[0].endpoints_n, 1);
	assert_int_equal(s.affinity_s, 10800);
	assert_true(s.external_local);
	assert_false(s.internal_local);
	read_done(&r);
}

static const struct network_record *find(const struct network_record *r, size_t n,
					 enum network_record_type type, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (r[i].type == type && strcmp(r[i].name, name) == 0)
			return &r[i];
	return NULL;
}

#define WEB "web.default.svc.cluster.local"

static void services_have_names(void **state)
{
	const struct network_record *r;
	struct network_record *all = NULL;
	struct read o;
	size_t n;

	(void)state;
	read_objects(&o, SERVICE("\"clusterIP\":\"10.96.0.20\","), SLICE(""));
	n = service_names(&o.o, "cluster.local", &o.arena, &all);
	assert_int_equal(n, 3);
	assert_non_null(find(all, n, NETWORK_RECORD_IP, WEB));
	r = find(all, n, NETWORK_RECORD_SRV, "_http._tcp." WEB);
	assert_int_equal(r->port, 80);
	assert_string_equal(r->target, WEB);
	assert_string_equal(find(all, n, NETWORK_RECORD_PTR, "20.0.96.10.in-addr.arpa")->target,
			    WEB);
	read_done(&o);
}

static void pods_of_headless_services_have_names(void **state)
{
	struct network_record *all = NULL;
	struct network_service s;
	struct read o;
	size_t n;

	(void)state;
	read_objects(&o, SERVICE("\"clusterIP\":\"None\","),
		     SLICE(READY("10.244.0.5", ",\"hostname\":\"web-0\"") "," READY(
			     "10.244.0.7", "") "," ENDING("10.244.0.6")));
	assert_false(service_rules(&o.o, "here", &o.arena, &s));
	n = service_names(&o.o, "cluster.local", &o.arena, &all);
	assert_int_equal(n, 8);
	assert_non_null(find(all, n, NETWORK_RECORD_IP, WEB));
	assert_non_null(find(all, n, NETWORK_RECORD_IP, "web-0." WEB));
	assert_non_null(find(all, n, NETWORK_RECORD_IP, "10-244-0-7." WEB));
	assert_null(find(all, n, NETWORK_RECORD_IP, "10-244-0-6." WEB));
	assert_string_equal(find(all, n, NETWORK_RECORD_PTR, "5.0.244.10.in-addr.arpa")->target,
			    "web-0." WEB);
	assert_int_equal(find(all, n, NETWORK_RECORD_SRV, "_http._tcp." WEB)->port, 8080);
	read_done(&o);

	read_objects(&o, SERVICE("\"type\":\"ExternalName\",\"externalName\":\"example.org.\","),
		     SLICE(""));
	assert_false(service_rules(&o.o, "here", &o.arena, &s));
	n = service_names(&o.o, "cluster.local", &o.arena, &all);
	assert_int_equal(n, 1);
	assert_string_equal(all[0].target, "example.org");
	read_done(&o);
}

/* ---- from the client to the host ---- */

static char dir[] = "/tmp/hull-node-services-test-XXXXXX";

struct place {
	struct loop *loop;
	struct keys *keys;
	struct objects *objects;
	struct client client;
	struct network_host *net;
	struct node_services *services;
	struct err error;
	struct json *tree;
};

static void open_services(struct place *p)
{
	const char *nets[] = {"10.96.0.0/16", NULL}, *dns[] = {"10.96.0.10", NULL};
	struct err e = {0};

	ok(network_host_open(
		&(struct network_host_options){
			.root = dir, .run = dir, .loop = p->loop, .world = &world_real},
		&p->net, &e));
	ok(network_pods_configure(p->net,
				  &(struct network_pods_options){.range4 = "10.244.0.0/24",
								 .cluster = nets,
								 .services = nets},
				  &e));
	ok(node_services_new(&(struct node_services_options){.loop = p->loop,
							     .client = &p->client,
							     .net = p->net,
							     .node = "here",
							     .domain = "cluster.local",
							     .dns = dns,
							     .pool = "192.0.2.128/29"},
			     &p->services, &e));
}

static void close_services(struct place *p)
{
	p->services = node_services_free(p->services);
	p->net = network_host_free(p->net);
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

static void turn_ms(struct place *p, int64_t ms)
{
	struct loop_timer *t = loop_timer_new(p->loop, stop_loop, p->loop);

	loop_timer_set(t, ms, 0);
	loop_run(p->loop);
	(void)loop_timer_free(t);
}

static int setup(void **state)
{
	struct place *p = mem_new(struct place);
	auto_free char *path = mem_printf("%s/keys.db", dir);
	struct keys_options o = {
		.path = path, .index = objects_index, .index_free = objects_index_free};
	struct err e = {0};

	*state = p;
	if (unshare(CLONE_NEWNET) < 0)
		return 0;
	ok(netns_loopback_up(&e));
	ok(loop_new(&p->loop, &e));
	o.loop = p->loop;
	ok(keys_open(&o, &p->keys, &e));
	ok(objects_new(&(struct objects_options){.loop = p->loop,
						 .keys = p->keys,
						 .service_cidr = "10.96.0.0/16"},
		       &p->objects, &e));
	p->client = objects_client(p->objects, (struct identity){.user = "tester"});
	open_services(p);
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	auto_free char *line = mem_printf("%s/keys.db", dir);
	struct err e = {0};

	if (p->loop) {
		if (p->net && network_host_clear(p->net, &e) < 0)
			fail_msg("%s", e.text);
		close_services(p);
		p->objects = objects_free(p->objects);
		p->keys = keys_close(p->keys);
		p->loop = loop_free(p->loop);
		(void)unlink(line);
	}
	p->tree = json_free(p->tree);
	free(p);
	return 0;
}

static void ended(void *ctx, const struct outcome *o)
{
	struct place *p = ctx;

	p->error = o->error ? *o->error : (struct err){0};
	p->tree = json_free(p->tree);
	if (o->object)
		p->tree = object_copy(o->object);
	loop_stop(p->loop);
}

static void create(struct place *p, const char *group, const char *plural, const char *text)
{
	struct client_target t = {.kind = kind_of_resource(group, "v1", plural)};

	t.namespace = strcmp(plural, "namespaces") == 0 ? NULL : "default";
	client_create(&p->client, &t, read_json(text), NULL, ended, p);
	loop_run(p->loop);
	if (p->error.text[0])
		fail_msg("%s", p->error.text);
}

static const struct json *get(struct place *p, const char *name)
{
	struct client_target t = {.kind = kind_of_resource("", "v1", "services"),
				  .namespace = "default",
				  .name = name};

	client_get(&p->client, &t, NULL, ended, p);
	loop_run(p->loop);
	return p->tree;
}

static void services_reach_the_host(void **state)
{
	struct place *p = *state;
	const struct json *ingress;
	const char *address;

	if (!p->loop)
		skip();
	turn_ms(p, 50);
	create(p, "", "namespaces",
	       "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"default\"}"
	       "}");
	create(p, "", "services",
	       "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\"},"
	       "\"spec\":{\"type\":\"LoadBalancer\",\"ports\":[{\"name\":\"http\",\"port\":80}]}}");
	create(p, "discovery.k8s.io", "endpointslices",
	       "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{"
	       "\"name\":\"web-1\",\"labels\":{\"kubernetes.io/service-name\":\"web\"}},"
	       "\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"http\",\"port\":8080}],"
	       "\"endpoints\":[{\"addresses\":[\"10.244.0.5\"],\"conditions\":{\"ready\":true}}]}");
	turn_ms(p, 100);
	assert_int_equal(network_services_count(p->net), 1);
	ingress = json_get(json_get(json_get(get(p, "web"), "status"), "loadBalancer"), "ingress");
	address = json_get_text(json_at(ingress, 0), "ip");
	assert_string_equal(address, "192.0.2.129");

	close_services(p); /* another daemon */
	open_services(p);
	turn_ms(p, 100);
	assert_int_equal(network_services_count(p->net), 1);
	create(p, "", "services",
	       "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"two\"},"
	       "\"spec\":{\"type\":\"LoadBalancer\",\"ports\":[{\"port\":80}]}}");
	turn_ms(p, 100);
	ingress = json_get(json_get(json_get(get(p, "two"), "status"), "loadBalancer"), "ingress");
	assert_string_equal(json_get_text(json_at(ingress, 0), "ip"), "192.0.2.130");
	assert_int_equal(network_services_count(p->net), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ready_endpoints_serve),
		cmocka_unit_test(those_that_end_serve_when_nobody_else_does),
		cmocka_unit_test(services_have_names),
		cmocka_unit_test(pods_of_headless_services_have_names),
		cmocka_unit_test_setup_teardown(services_reach_the_host, setup, teardown),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests_name("cluster/node services", tests, NULL, NULL);
	(void)rmdir(dir);
	return r;
}
