/*
 * Unit tests of the cluster's names: the daemon's end and hull-net's on one loop, in a network
 * namespace of their own, asked by real datagrams and streams.
 */
#include "virt/network/network_fixture.h"

#include "ground/wire/unix.h"
#include "virt/network/pod.h"
#include "virt/network/server.h"
#include "virt/network/zone.h"

#define DNS  "10.96.0.10"
#define ZONE "cluster.local"

static struct loop *loop;
static struct server *server;
static struct network_host *host;
static int listener = -1;
static char sock[160], resolv[160];

static void start_server(void)
{
	struct err e = {0};

	ok(server_new(&(struct server_options){.loop = loop,
					       .world = &world_real,
					       .listener = listener,
					       .resolv_conf = resolv},
		      &server, &e));
}

static void start_host(void)
{
	static const char *const nets[] = {"10.96.0.0/16", NULL}, *const at[] = {DNS, NULL};
	struct err e = {0};

	ok(network_host_open(&(struct network_host_options){.root = root,
							    .run = root,
							    .loop = loop,
							    .net_program = "/nonexistent",
							    .world = &world_real},
			     &host, &e));
	ok(network_pods_configure(host,
				  &(struct network_pods_options){.range4 = "10.244.3.0/24",
								 .cluster = nets,
								 .services = nets},
				  &e));
	ok(network_reconcile(host, &e));
	ok(network_zone_open(host, &(struct network_zone_options){.domain = ZONE, .addresses = at},
			     &e));
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

static void turn_ms(int64_t ms)
{
	struct loop_timer *t = loop_timer_new(loop, stop_loop, loop);

	loop_timer_set(t, ms, 0);
	loop_run(loop);
	(void)loop_timer_free(t);
}

static int zone_setup(void **state)
{
	struct err e = {0};

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	ok(netns_loopback_up(&e));
	host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	(void)snprintf(sock, sizeof(sock), "%s/net", root);
	(void)mkdir(sock, 0700);
	(void)snprintf(sock, sizeof(sock), "%s/net/sock", root);
	(void)snprintf(resolv, sizeof(resolv), "%s/resolv.conf", root);
	ok(loop_new(&loop, &e));
	ok(unix_listen(sock, SOCK_SEQPACKET | SOCK_NONBLOCK, 0600, &listener, &e));
	start_server();
	start_host();
	turn_ms(50);
	return 0;
}

static int zone_teardown(void **state)
{
	struct err e = {0};

	(void)state;
	ok(network_host_clear(host, &e));
	host = network_host_free(host);
	server = server_free(server);
	loop = loop_free(loop);
	host_ns = fd_close(host_ns);
	listener = fd_close(listener);
	(void)unlink(sock);
	(void)unlink(resolv);
	return 0;
}

/* ---- asking ---- */

struct answer {
	uint8_t bytes[65536];
	ssize_t n;
	unsigned int rcode, answers, authorities;
	bool truncated, authoritative;
};

static void wake(void *arg, unsigned int ready)
{
	(void)arg;
	(void)ready;
	loop_stop(loop);
}

/* Lets the loop run until the socket has something. */
static void wait_for(int fd, unsigned int what)
{
	struct loop_timer *t = loop_timer_new(loop, stop_loop, loop);
	struct loop_watch *w = NULL;
	struct err e = {0};

	ok(loop_watch_new(loop, fd, what, wake, NULL, &w, &e));
	loop_timer_set(t, ANSWER_MS, 0);
	loop_run(loop);
	(void)loop_watch_free(w);
	(void)loop_timer_free(t);
}

static void read_head(struct answer *a)
{
	assert_true(a->n >= 12);
	a->rcode = a->bytes[3] & 15;
	a->truncated = a->bytes[2] & 2;
	a->authoritative = a->bytes[2] & 4;
	a->answers = (unsigned int)(a->bytes[6] << 8 | a->bytes[7]);
	a->authorities = (unsigned int)(a->bytes[8] << 8 | a->bytes[9]);
}

static const struct answer *ask_dns(bool tcp, const char *name, uint16_t type)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
	static struct answer a;
	auto_strbuf struct strbuf q = {0};
	auto_close int fd = socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
	struct err e = {0};

	(void)inet_pton(AF_INET, DNS, &at.sin_addr);
	if (tcp)
		strbuf_add(&q, "\0", 2);
	ok(dns_write_query(77, name, type, &q, &e));
	if (tcp)
		q.p[1] = (char)(q.n - 2);
	(void)connect(fd, (struct sockaddr *)&at, sizeof(at));
	if (tcp)
		wait_for(fd, LOOP_WRITE);
	assert_int_equal(send(fd, q.p, q.n, 0), q.n);
	wait_for(fd, LOOP_READ);
	a.n = 0;
	if (tcp) {
		turn_ms(20);
		assert_int_equal(recv(fd, a.bytes, 2, 0), 2);
	}
	a.n = recv(fd, a.bytes, sizeof(a.bytes), 0);
	read_head(&a);
	return &a;
}

static bool has(const struct answer *a, const void *bytes, size_t n)
{
	return memmem(a->bytes, (size_t)a->n, bytes, n);
}

static bool has_ip(const struct answer *a, const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(str_of(text), "ip", &ip, NULL), 0);
	return has(a, ip.b, ip.n);
}

static void set_ip(const char *owner, const char *name, const char *text)
{
	struct network_record r = {.type = NETWORK_RECORD_IP, .name = name};
	struct err e = {0};

	assert_int_equal(ip_parse(str_of(text), "ip", &r.ip, NULL), 0);
	ok(network_zone_set(host, owner, &r, 1, &e));
	turn_ms(5);
}

/* ---- tests ---- */

static void names_are_answered(void **state)
{
	const struct network_record r[] = {
		{NETWORK_RECORD_IP, "web.default.svc." ZONE, {4, {10, 96, 0, 20}}, NULL, 0},
		{NETWORK_RECORD_SRV,
		 "_http._tcp.web.default.svc." ZONE,
		 {0},
		 "web.default.svc." ZONE,
		 8443},
		{NETWORK_RECORD_PTR, "20.0.96.10.in-addr.arpa", {0}, "web.default.svc." ZONE, 0},
	};
	const struct answer *a;
	struct err e = {0};

	(void)state;
	ok(network_zone_set(host, "default/web", r, array_len(r), &e));
	turn_ms(5);
	a = ask_dns(false, "web.default.svc." ZONE, DNS_A);
	assert_int_equal(a->rcode, DNS_NOERROR);
	assert_int_equal(a->answers, 1);
	assert_true(a->authoritative);
	assert_true(has_ip(a, "10.96.0.20"));
	a = ask_dns(true, "WEB.default.svc." ZONE, DNS_A);
	assert_true(has_ip(a, "10.96.0.20"));
	a = ask_dns(false, "web.default.svc." ZONE, DNS_AAAA); /* there, but not so */
	assert_int_equal(a->rcode, DNS_NOERROR);
	assert_int_equal(a->answers, 0);
	assert_int_equal(a->authorities, 1);
	a = ask_dns(false, "_http._tcp.web.default.svc." ZONE, DNS_SRV);
	assert_int_equal(a->answers, 1);
	assert_true(has(a, "\0\0\0\x64\x20\xfb\3web", 10));
	a = ask_dns(false, "20.0.96.10.in-addr.arpa", DNS_PTR);
	assert_true(has(a, "\3web\7default\3svc\7cluster\5local", 29));
	a = ask_dns(false, "default.svc." ZONE, DNS_A); /* an end of names */
	assert_int_equal(a->rcode, DNS_NOERROR);
	a = ask_dns(false, "no.default.svc." ZONE, DNS_A);
	assert_int_equal(a->rcode, DNS_NXDOMAIN);
	assert_int_equal(a->authorities, 1);
	a = ask_dns(false, "10-244-3-9.default.pod." ZONE, DNS_A);
	assert_true(has_ip(a, "10.244.3.9"));
	a = ask_dns(false, "nonsense.default.pod." ZONE, DNS_A);
	assert_int_equal(a->rcode, DNS_NXDOMAIN);
}

static void changes_replace_what_was(void **state)
{
	struct err e = {0};

	(void)state;
	set_ip("default/web", "web.default.svc." ZONE, "10.96.0.20");
	set_ip("default/web", "web.default.svc." ZONE, "10.96.0.21");
	assert_true(has_ip(ask_dns(false, "web.default.svc." ZONE, DNS_A), "10.96.0.21"));
	set_ip("default/other", "web.default.svc." ZONE, "10.96.0.22"); /* two owners, one name */
	assert_int_equal(ask_dns(false, "web.default.svc." ZONE, DNS_A)->answers, 2);
	ok(network_zone_set(host, "default/web", NULL, 0, &e));
	ok(network_zone_set(host, "default/other", NULL, 0, &e));
	turn_ms(5);
	assert_int_equal(ask_dns(false, "web.default.svc." ZONE, DNS_A)->rcode, DNS_NXDOMAIN);
	assert_int_equal(ask_dns(false, "svc." ZONE, DNS_A)->rcode, DNS_NXDOMAIN);
	assert_int_equal(ask_dns(false, ZONE, DNS_A)->rcode, DNS_NOERROR);
}

static void aliases_are_followed(void **state)
{
	const struct network_record r[] = {
		{NETWORK_RECORD_CNAME, "db.default.svc." ZONE, {0}, "web.default.svc." ZONE, 0},
	};
	const struct network_record far[] = {
		{NETWORK_RECORD_CNAME, "ext.default.svc." ZONE, {0}, "example.org", 0},
	};
	const struct answer *a;
	struct err e = {0};

	(void)state;
	set_ip("default/web", "web.default.svc." ZONE, "10.96.0.20");
	ok(network_zone_set(host, "default/db", r, 1, &e));
	ok(network_zone_set(host, "default/ext", far, 1, &e));
	turn_ms(5);
	a = ask_dns(false, "db.default.svc." ZONE, DNS_A);
	assert_int_equal(a->answers, 2);
	assert_true(has_ip(a, "10.96.0.20"));
	a = ask_dns(false, "ext.default.svc." ZONE, DNS_CNAME);
	assert_int_equal(a->answers, 1);
	a = ask_dns(false, "ext.default.svc." ZONE, DNS_A); /* nobody is there to ask */
	assert_int_equal(a->rcode, DNS_SERVFAIL);
}

static void many_are_asked_for_by_stream(void **state)
{
	enum { MANY = 600 };
	static struct network_record r[MANY];
	const struct answer *a;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		r[i] = (struct network_record){
			.type = NETWORK_RECORD_IP,
			.name = "all.default.svc." ZONE,
			.ip = {4, {10, 244, (uint8_t)(i / 250), (uint8_t)(1 + i % 250)}}};
	ok(network_zone_set(host, "default/all", r, MANY, &e));
	turn_ms(20);
	a = ask_dns(false, "all.default.svc." ZONE, DNS_A);
	assert_true(a->truncated);
	assert_int_equal(a->answers, 0);
	a = ask_dns(true, "all.default.svc." ZONE, DNS_A);
	assert_int_equal(a->answers, MANY);
}

static void either_end_may_go(void **state)
{
	(void)state;
	set_ip("default/web", "web.default.svc." ZONE, "10.96.0.20");
	set_ip("default/old", "old.default.svc." ZONE, "10.96.0.21");
	host = network_host_free(host); /* the daemon */
	turn_ms(5);
	assert_true(has_ip(ask_dns(false, "web.default.svc." ZONE, DNS_A), "10.96.0.20"));
	start_host();
	turn_ms(50);
	set_ip("default/web", "web.default.svc." ZONE, "10.96.0.22");
	assert_true(has_ip(ask_dns(false, "old.default.svc." ZONE, DNS_A), "10.96.0.21"));
	network_zone_settled(host);
	turn_ms(5);
	assert_int_equal(ask_dns(false, "old.default.svc." ZONE, DNS_A)->rcode, DNS_NXDOMAIN);
	assert_true(has_ip(ask_dns(false, "web.default.svc." ZONE, DNS_A), "10.96.0.22"));
	server = server_free(server); /* hull-net */
	start_server();
	turn_ms(900);
	assert_true(has_ip(ask_dns(false, "web.default.svc." ZONE, DNS_A), "10.96.0.22"));
}

static void ten_thousand_are_told(void **state)
{
	struct err e = {0};
	char owner[64], name[96];

	(void)state;
	for (int i = 0; i < 10000; i++) {
		struct network_record r[2] = {
			{.type = NETWORK_RECORD_IP,
			 .name = name,
			 .ip = {4, {10, 97, (uint8_t)(i / 250), (uint8_t)(1 + i % 250)}}},
			{.type = NETWORK_RECORD_SRV, .name = name, .target = name, .port = 80},
		};

		(void)snprintf(owner, sizeof(owner), "default/s%d", i);
		(void)snprintf(name, sizeof(name), "s%d.default.svc." ZONE, i);
		ok(network_zone_set(host, owner, r, array_len(r), &e));
	}
	turn_ms(1000);
	assert_true(has_ip(ask_dns(false, "s0.default.svc." ZONE, DNS_A), "10.97.0.1"));
	assert_true(has_ip(ask_dns(false, "s9999.default.svc." ZONE, DNS_A), "10.97.39.250"));
}

int main(void)
{
#define with_zone(t) cmocka_unit_test_setup_teardown(t, zone_setup, zone_teardown)
	const struct CMUnitTest tests[] = {
		with_zone(names_are_answered),	 with_zone(changes_replace_what_was),
		with_zone(aliases_are_followed), with_zone(many_are_asked_for_by_stream),
		with_zone(either_end_may_go),	 with_zone(ten_thousand_are_told),
	};
	char line[64];
	int r;

	if (!mkdtemp(root))
		return 1;
	r = cmocka_run_group_tests_name("virt/network zone", tests, NULL, NULL);
	(void)snprintf(line, sizeof(line), "%s/net", root);
	(void)rmdir(line);
	(void)rmdir(root);
	return r;
}
