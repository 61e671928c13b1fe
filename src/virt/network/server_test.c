/*
 * Unit tests of names and relays: the daemon's end and hull-net's server on one loop, containers as
 * namespaces, questions and connections from child processes inside them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/format/dns.h"
#include "ground/linux/netns.h"
#include "ground/wire/unix.h"
#include "virt/network/network_priv.h"
#include "virt/network/server_priv.h"

#define ok(call)                                \
	do {                                    \
		if ((call) < 0)                 \
			fail_msg("%s", e.text); \
	} while (0)

#define ANSWER_MS 3000
#define HOST_PORT 18080

struct box {
	struct netns_sockets s;
	char id[65];
	struct network_endpoint *ep;
};

static char root[] = "/tmp/hull-server-test-XXXXXX";
static char *sock, *resolv;
static int host_ns = -1;
static struct loop *loop;
static struct network_host *host;
static struct server *server;
static int listener = -1;
static char wanted[65]; /* whom the daemon was asked for new sockets of */

static void names_wanted(void *ctx, const char *container)
{
	(void)ctx;
	(void)snprintf(wanted, sizeof(wanted), "%s", container);
}

static void start_server(void)
{
	struct err e = {0};

	if (listener < 0)
		ok(unix_listen(sock, SOCK_SEQPACKET | SOCK_NONBLOCK, 0600, &listener, &e));
	ok(server_new(&(struct server_options){.loop = loop,
					       .world = &world_real,
					       .listener = listener,
					       .resolv_conf = resolv},
		      &server, &e));
}

static void start_host(void)
{
	struct err e = {0};

	/* the listener is there already: hull-net itself is not started, only spoken to */
	ok(network_host_open(&(struct network_host_options){.root = root,
							    .run = root,
							    .loop = loop,
							    .net_program = "/nonexistent",
							    .world = &world_real,
							    .names_wanted = names_wanted},
			     &host, &e));
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

static int setup(void **state)
{
	struct err e = {0};

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	ok(netns_loopback_up(&e));
	host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ok(loop_new(&loop, &e));
	start_server();
	start_host();
	ok(network_reconcile(host, &e));
	turn_ms(50);
	return 0;
}

static int teardown(void **state)
{
	struct err e = {0};

	(void)state;
	if (network_host_clear(host, &e) < 0)
		fail_msg("%s", e.text);
	host = network_host_free(host);
	server = server_free(server);
	loop = loop_free(loop);
	host_ns = fd_close(host_ns);
	listener = fd_close(listener);
	return 0;
}

static void box_open(struct box *b, char id)
{
	struct err e = {0};

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	ok(netns_loopback_up(&e));
	ok(netns_sockets_open(true, &b->s, &e));
	memset(b->id, id, 64);
	b->id[64] = '\0';
	assert_int_equal(setns(host_ns, CLONE_NEWNET), 0);
}

static struct network_ns ns_of(const struct box *b)
{
	return (struct network_ns){b->s.netns, b->s.route, b->s.netfilter, b->s.dns_udp,
				   b->s.dns_tcp};
}

static void plug(struct network *n, struct box *b, const struct network_join *asked)
{
	struct network_ns ns = ns_of(b);
	struct network_join j = *asked;
	struct err e = {0};

	j.container = b->id;
	j.gateway = true;
	ok(network_attach(host, n, &ns, &j, &b->ep, &e));
}

static struct network *make(const char *name, bool internal)
{
	struct network_spec s = {.name = (char *)name, .internal = internal};
	struct network *n = NULL;
	struct err e = {0};

	ok(network_create(host, &s, &n, &e));
	return n;
}

/* ---- children ---- */

static void child_gone(void *arg, unsigned ready)
{
	(void)ready;
	loop_stop(arg);
}

/* Runs the loop while `work` runs in a child inside `netns`; what it writes is the result. */
static const char *in_child(int netns, void (*work)(void *arg, int out), void *arg)
{
	static char text[256];
	struct loop_watch *w = NULL;
	struct err e = {0};
	int out[2], pidfd;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (pid == 0) {
		(void)setns(netns, CLONE_NEWNET);
		work(arg, out[1]);
		_exit(0);
	}
	close(out[1]);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	ok(loop_watch_new(loop, pidfd, LOOP_READ, child_gone, loop, &w, &e));
	loop_run(loop);
	(void)loop_watch_free(w);
	close(pidfd);
	(void)waitpid(pid, NULL, 0);
	n = read(out[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(out[0]);
	return text;
}

struct look_up {
	const char *name;
	uint8_t type;
	bool tcp;
};

static size_t put_query(uint8_t *q, const struct look_up *l)
{
	static const uint8_t head[12] = {0x5a, 0xa5, 1, 0, 0, 1};
	struct str rest = str_of(l->name), label;
	size_t n = sizeof(head);

	memcpy(q, head, sizeof(head));
	while (str_cut(&rest, '.', &label)) {
		q[n++] = (uint8_t)label.n;
		memcpy(q + n, label.p, label.n);
		n += label.n;
	}
	q[n++] = 0;
	q[n++] = 0;
	q[n++] = l->type;
	q[n++] = 0;
	q[n++] = 1;
	return n;
}

/* "RCODE ANSWERS LAST-BYTES" of what 127.0.0.11 says. */
static void ask_dns(void *arg, int out)
{
	const struct look_up *l = arg;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
	uint8_t q[300], reply[600];
	size_t n = put_query(q + 2, l);
	int fd = socket(AF_INET, l->tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t skip = l->tcp ? 0 : 2;
	ssize_t got;
	char text[128];

	q[0] = (uint8_t)(n >> 8);
	q[1] = (uint8_t)n;
	(void)inet_pton(AF_INET, "127.0.0.11", &at.sin_addr);
	if (connect(fd, (void *)&at, sizeof(at)) < 0 || send(fd, q + skip, n + 2 - skip, 0) < 0 ||
	    poll(&p, 1, ANSWER_MS) != 1) {
		(void)!write(out, "silence", 7);
		return;
	}
	got = recv(fd, reply + skip, sizeof(reply) - skip, 0);
	if (got < 12 || reply[2] != 0x5a) {
		(void)!write(out, "nonsense", 8);
		return;
	}
	got += (ssize_t)skip;
	(void)snprintf(text, sizeof(text), "%d %d %d.%d.%d.%d", reply[5] & 15, reply[9],
		       reply[got - 4], reply[got - 3], reply[got - 2], reply[got - 1]);
	(void)!write(out, text, strlen(text));
}

static const char *dns(const struct box *b, const char *name, uint8_t type, bool tcp)
{
	struct look_up l = {name, type, tcp};

	return in_child(b->s.netns, ask_dns, &l);
}

/* ---- servers in containers ---- */

/* Reads until the end, then answers with how much it was: shows that half a connection stays open.
 */
static void serve_count(int fd)
{
	for (;;) {
		char buf[65536], text[32];
		size_t total = 0;
		int c = accept(fd, NULL, NULL);

		for (ssize_t n = 1; n > 0; total += (size_t)(n > 0 ? n : 0))
			n = read(c, buf, sizeof(buf));
		(void)snprintf(text, sizeof(text), "%zu", total);
		(void)!write(c, text, strlen(text));
		close(c);
	}
}

static void serve_echo(int fd)
{
	for (;;) {
		struct sockaddr_storage from;
		socklen_t n = sizeof(from);
		char buf[2048];
		ssize_t got = recvfrom(fd, buf, sizeof(buf), 0, (void *)&from, &n);

		if (got > 0)
			(void)sendto(fd, buf, (size_t)got, 0, (void *)&from, n);
	}
}

static pid_t serve(int netns, int type, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int ready[2], fd;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid > 0) {
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		close(ready[0]);
		return pid;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setns(netns, CLONE_NEWNET);
	fd = socket(AF_INET, type, 0);
	if (bind(fd, (void *)&at, sizeof(at)) < 0 || (type == SOCK_STREAM && listen(fd, 8) < 0))
		_exit(1);
	(void)!write(ready[1], "r", 1);
	if (type == SOCK_STREAM)
		serve_count(fd);
	serve_echo(fd);
	return 0;
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static void send_a_lot(void *arg, int out)
{
	static char block[100000];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(HOST_PORT)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char text[64];
	ssize_t n;

	(void)inet_pton(AF_INET, arg, &at.sin_addr);
	if (connect(fd, (void *)&at, sizeof(at)) < 0)
		return;
	for (int i = 0; i < 50; i++)
		for (size_t sent = 0; sent < sizeof(block);) {
			n = write(fd, block + sent, sizeof(block) - sent);
			if (n < 0)
				return;
			sent += (size_t)n;
		}
	(void)shutdown(fd, SHUT_WR);
	n = read(fd, text, sizeof(text));
	(void)!write(out, text, n > 0 ? (size_t)n : 0);
}

static void send_datagram(void *arg, int out)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(HOST_PORT)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char text[64];

	(void)inet_pton(AF_INET, arg, &at.sin_addr);
	(void)connect(fd, (void *)&at, sizeof(at)); /* only answers from there are heard */
	(void)send(fd, "ping", 4, 0);
	if (poll(&p, 1, ANSWER_MS) == 1)
		(void)!write(out, text, (size_t)recv(fd, text, sizeof(text), 0));
}

/* ---- tests ---- */

static void names_are_resolved(void **state)
{
	static char *const aliases[] = {(char *)"Shop", NULL};
	static const struct json_pair links[] = {{(char *)"web", (char *)"www"}, {0}};
	struct network *n = make("front", false), *other = make("back", false);
	struct box a, b, c;
	struct err e = {0};

	(void)state;
	box_open(&a, 'a');
	box_open(&b, 'b');
	box_open(&c, 'c');
	plug(n, &a, &(struct network_join){.name = "web", .aliases = aliases});
	plug(n, &b, &(struct network_join){.name = "db", .links = links});
	plug(other, &c, &(struct network_join){.name = "lonely"});
	assert_string_equal(dns(&b, "web", DNS_A, false), "0 1 172.17.0.2");
	assert_string_equal(dns(&b, "WEB", DNS_A, true), "0 1 172.17.0.2");
	assert_string_equal(dns(&b, "shop", DNS_A, false), "0 1 172.17.0.2");
	assert_string_equal(dns(&b, "web.front", DNS_A, false), "0 1 172.17.0.2");
	assert_string_equal(dns(&b, "aaaaaaaaaaaa", DNS_A, false), "0 1 172.17.0.2");
	assert_string_equal(dns(&b, "www", DNS_A, false), "0 1 172.17.0.2"); /* a link */
	assert_true(text_starts(dns(&a, "www", DNS_A, false), "2 0"));	     /* only b's */
	assert_true(text_starts(dns(&b, "web", DNS_AAAA, false), "0 0"));
	assert_true(text_starts(dns(&b, "2.0.17.172.in-addr.arpa", DNS_PTR, false), "0 1"));
	assert_true(text_starts(dns(&c, "web", DNS_A, false), "2 0")); /* another network */
	network_rename(host, a.id, "site");
	assert_string_equal(dns(&b, "site", DNS_A, false), "0 1 172.17.0.2");
	assert_true(text_starts(dns(&b, "web", DNS_A, false), "2 0"));
	ok(network_detach(host, a.ep, NULL, &e));
	assert_true(text_starts(dns(&b, "shop", DNS_A, false), "2 0"));
}

static void internal_networks_ask_nobody(void **state)
{
	struct network *n = make("inner", true);
	struct box a;

	(void)state;
	box_open(&a, 'a');
	plug(n, &a, &(struct network_join){.name = "web"});
	assert_true(text_starts(dns(&a, "example.org", DNS_A, false), "3 0"));
	assert_int_equal(server->questions_n, 0);
}

/* A DNS server of the "host": answers every question with 9.9.9.9, at port 53 of 127.0.0.1. */
static pid_t serve_world(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	pid_t pid;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (void *)&at, sizeof(at)), 0); /* it is there before it is asked */
	pid = fork();
	if (pid) {
		close(fd);
		return pid;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct dns_record r = {.type = DNS_A, .ip = {4, {9, 9, 9, 9}}, .ttl_s = 1};
		struct strbuf out = {0};
		struct sockaddr_in from;
		socklen_t n = sizeof(from);
		struct dns_query q;
		uint8_t buf[600];
		ssize_t got = recvfrom(fd, buf, sizeof(buf), 0, (void *)&from, &n);

		if (got > 0 && dns_read_query(buf, (size_t)got, &q, NULL) == 0 &&
		    dns_write_answer(&q, DNS_NOERROR, &r, 1, 512, &out, NULL) == 0)
			(void)sendto(fd, out.p, out.n, 0, (void *)&from, n);
		strbuf_done(&out);
	}
}

static void the_rest_is_forwarded(void **state)
{
	struct network *n = make("front", false);
	struct box a;
	pid_t world = serve_world();

	(void)state;
	box_open(&a, 'a');
	plug(n, &a, &(struct network_join){.name = "web"});
	assert_string_equal(dns(&a, "example.org", DNS_A, false), "0 1 9.9.9.9");
	assert_int_equal(server->questions_n, 0);
	end(world);
	/* nobody there any more: refused at once, not a long silence */
	assert_true(text_starts(dns(&a, "example.org", DNS_A, false), "2 0"));
	assert_true(text_starts(dns(&a, "example.org", DNS_A, true), "2 0"));
	assert_int_equal(server->questions_n, 0);
}

static void loopback_reaches_published_ports(void **state)
{
	struct network_port ports[] = {
		{.host_port = HOST_PORT, .port = 80, .proto = NETWORK_TCP},
		{.host_port = HOST_PORT, .port = 81, .proto = NETWORK_UDP},
	};
	struct network *n = make("front", false);
	struct box a;
	struct err e = {0};
	pid_t tcp, udp;

	(void)state;
	box_open(&a, 'a');
	plug(n, &a, &(struct network_join){.name = "web", .ports = ports, .ports_n = 2});
	tcp = serve(a.s.netns, SOCK_STREAM, 80);
	udp = serve(a.s.netns, SOCK_DGRAM, 81);
	assert_string_equal(in_child(host_ns, send_a_lot, (void *)"127.0.0.1"), "5000000");
	assert_string_equal(in_child(host_ns, send_datagram, (void *)"127.0.0.1"), "ping");
	assert_string_equal(in_child(host_ns, send_datagram, (void *)"127.0.0.2"), "ping");
	turn_ms(50);
	assert_int_equal(server->connections_n, 0);
	end(tcp);
	assert_string_equal(in_child(host_ns, send_a_lot, (void *)"127.0.0.1"), "");
	ok(network_detach(host, a.ep, NULL, &e));
	turn_ms(20);
	assert_int_equal(server->relays.count, 0);
	end(udp);
}

static void the_daemon_goes_and_comes(void **state)
{
	struct network_port port = {.host_port = HOST_PORT, .port = 80, .proto = NETWORK_TCP};
	struct network *n = make("front", false);
	auto_json struct json *net = network_encode(n), *one = NULL, *two = NULL;
	struct network_endpoint *ep;
	struct box a, b;
	struct err e = {0};
	pid_t tcp;

	(void)state;
	box_open(&a, 'a');
	box_open(&b, 'b');
	plug(n, &a, &(struct network_join){.name = "web", .ports = &port, .ports_n = 1});
	plug(n, &b, &(struct network_join){.name = "db"});
	one = network_endpoint_encode(a.ep);
	two = network_endpoint_encode(b.ep);
	tcp = serve(a.s.netns, SOCK_STREAM, 80);
	turn_ms(20);
	host = network_host_free(host); /* killed */
	turn_ms(20);
	assert_string_equal(dns(&b, "web", DNS_A, false), "0 1 172.17.0.2");
	assert_string_equal(in_child(host_ns, send_a_lot, (void *)"127.0.0.1"), "5000000");
	start_host();
	ok(network_load(host, net, &n, &e));
	ok(network_endpoint_load(host, one, &ep, &e));
	ok(network_reconcile(host, &e)); /* b went meanwhile */
	turn_ms(100);
	assert_string_equal(wanted, "");
	assert_int_equal(server->containers.count, 1);
	assert_string_equal(in_child(host_ns, send_a_lot, (void *)"127.0.0.1"), "5000000");

	/* hull-net goes and comes: the port is bound again, the sockets are asked for. */
	server = server_free(server);
	turn_ms(20);
	start_server();
	turn_ms(900);
	assert_string_equal(wanted, a.id);
	struct network_ns ns = ns_of(&a);

	ok(network_names_serve(host, a.id, &ns, &e));
	assert_string_equal(dns(&a, "web", DNS_A, false), "0 1 172.17.0.2");
	assert_string_equal(in_child(host_ns, send_a_lot, (void *)"127.0.0.1"), "5000000");
	end(tcp);
}

int main(void)
{
#define in_namespace(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		in_namespace(names_are_resolved),
		in_namespace(internal_networks_ask_nobody),
		in_namespace(the_rest_is_forwarded),
		in_namespace(loopback_reaches_published_ports),
		in_namespace(the_daemon_goes_and_comes),
	};
	auto_free char *dir = NULL;
	FILE *f;
	int r;

	if (unshare(CLONE_NEWNET) < 0)
		return 77; /* needs root: skipped */
	if (!mkdtemp(root))
		return 1;
	dir = mem_printf("%s/net", root);
	sock = mem_printf("%s/sock", dir);
	resolv = mem_printf("%s/resolv.conf", root);
	f = fopen(resolv, "we");
	if (!f || mkdir(dir, 0700) < 0)
		return 1;
	(void)fprintf(f, "# the host's\nnameserver 127.0.0.1\n");
	(void)fclose(f);
	r = cmocka_run_group_tests_name("virt/network/server", tests, NULL, NULL);
	(void)unlink(sock);
	(void)unlink(resolv);
	(void)rmdir(dir);
	(void)rmdir(root);
	free(sock);
	free(resolv);
	return r;
}
