/*
 * Clients that write, each over a connection of its own that it keeps: what a store answers in a
 * second, and how long one waits. Speaks to etcd (plain, its JSON gateway) and to the Kubernetes API
 * (TLS, a client certificate). One thread per client, so that a client is a loop of send and receive.
 *
 * usage: writes etcd ADDRESS PORT CLIENTS REQUESTS BYTES
 *        writes kube ADDRESS PORT CLIENTS REQUESTS BYTES CERTIFICATE KEY
 *
 * Each request makes a new key with a value of so many bytes. Prints requests a second, and the
 * median and the 99th percentile of a request's time in microseconds. One that fails ends it.
 */
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 1024
#define ANSWER_MAX  (64 << 10)

struct client {
	int fd;
	gnutls_session_t tls; /* NULL: plain */
	char *request, *answer;
};

static struct sockaddr_in target;
static gnutls_certificate_credentials_t certificate; /* NULL: etcd, plain */
static long wanted;
static size_t value_bytes;
static atomic_long asked;
static int64_t *times;

static void fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void start_tls(struct client *c)
{
	int r;

	(void)gnutls_init(&c->tls, GNUTLS_CLIENT);
	(void)gnutls_set_default_priority(c->tls);
	(void)gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, certificate);
	gnutls_transport_set_int(c->tls, c->fd);
	do
		r = gnutls_handshake(c->tls);
	while (r < 0 && !gnutls_error_is_fatal(r));
	if (r < 0)
		fail("handshake: %s", gnutls_strerror(r));
}

static void open_client(struct client *c)
{
	int one = 1;

	c->request = malloc(value_bytes * 2 + 1024);
	c->answer = malloc(ANSWER_MAX + 1);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&target, sizeof(target)) < 0)
		fail("cannot connect");
	if (certificate)
		start_tls(c);
}

static void send_all(struct client *c, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent =
			c->tls ? gnutls_record_send(c->tls, p, n) : send(c->fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			fail("cannot send");
		p += sent;
		n -= (size_t)sent;
	}
}

static size_t receive(struct client *c, size_t have)
{
	ssize_t n;

	if (have == ANSWER_MAX)
		fail("an answer is longer than %d bytes", ANSWER_MAX);
	do
		n = c->tls ? gnutls_record_recv(c->tls, c->answer + have, ANSWER_MAX - have)
			   : recv(c->fd, c->answer + have, ANSWER_MAX - have, 0);
	while (c->tls && n < 0 && !gnutls_error_is_fatal((int)n));
	if (n <= 0)
		fail("the connection ended");
	c->answer[have + (size_t)n] = '\0';
	return have + (size_t)n;
}

static void receive_all(struct client *c)
{
	size_t have = 0;
	const char *body = NULL, *length;

	while (!body) {
		have = receive(c, have);
		body = strstr(c->answer, "\r\n\r\n");
	}
	if (strncmp(c->answer, "HTTP/1.1 20", 11) != 0)
		fail("refused: %.400s", c->answer);
	length = strcasestr(c->answer, "\r\nContent-Length:");
	if (!length || length > body)
		fail("an answer without a length: %.400s", c->answer);
	for (size_t all = (size_t)(body + 4 - c->answer) + strtoul(length + 17, NULL, 10);
	     have < all;)
		have = receive(c, have);
}

/* The value is a run of one letter; in base64 (etcd) a run of "eHh4", which is "xxx". */
static size_t make_request(char *to, long number)
{
	char *body = malloc(value_bytes * 2 + 512);
	size_t n = 0;

	if (certificate) {
		n = (size_t)sprintf(body,
				    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":"
				    "{\"name\":\"w-%d-%09ld\"},\"data\":{\"v\":\"",
				    getpid(), number);
		memset(body + n, 'x', value_bytes);
		n += value_bytes;
		n += (size_t)sprintf(body + n, "\"}}");
	} else {
		/* Twelve letters of base64 without padding: a key of nine bytes. */
		n = (size_t)sprintf(body, "{\"key\":\"%04x%08lx\",\"value\":\"",
				    (unsigned int)getpid() & 0xffff, (unsigned long)number);
		for (size_t i = 0; i < value_bytes / 3; i++, n += 4)
			memcpy(body + n, "eHh4", 4);
		n += (size_t)sprintf(body + n, "\"}");
	}
	n = (size_t)sprintf(
		to,
		"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		"Content-Length: %zu\r\n\r\n%.*s",
		certificate ? "/api/v1/namespaces/default/configmaps" : "/v3/kv/put", n, (int)n,
		body);
	free(body);
	return n;
}

static void *run_client(void *arg)
{
	struct client *c = arg;

	for (;;) {
		long number = atomic_fetch_add(&asked, 1);
		size_t n;
		int64_t from;

		if (number >= wanted)
			return NULL;
		n = make_request(c->request, number);
		from = now_ns();
		send_all(c, c->request, n);
		receive_all(c);
		times[number] = now_ns() - from;
	}
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void run(int clients)
{
	static struct client all[CLIENTS_MAX];
	static pthread_t threads[CLIENTS_MAX];
	int64_t from, took;

	times = calloc((size_t)wanted, sizeof(*times));
	for (int i = 0; i < clients; i++)
		open_client(&all[i]);
	from = now_ns();
	for (int i = 0; i < clients; i++)
		if (pthread_create(&threads[i], NULL, run_client, &all[i]) != 0)
			fail("cannot start a thread");
	for (int i = 0; i < clients; i++)
		(void)pthread_join(threads[i], NULL);
	took = now_ns() - from;
	qsort(times, (size_t)wanted, sizeof(*times), compare);
	printf("%.0f %.1f %.1f\n", (double)wanted * 1e9 / (double)took,
	       (double)times[wanted / 2] / 1000, (double)times[wanted * 99 / 100] / 1000);
}

int main(int argc, char **argv)
{
	int clients;

	if (argc != 7 && argc != 9)
		return 2;
	target.sin_family = AF_INET;
	(void)inet_pton(AF_INET, argv[2], &target.sin_addr);
	target.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
	clients = (int)strtol(argv[4], NULL, 10);
	wanted = strtol(argv[5], NULL, 10);
	value_bytes = strtoul(argv[6], NULL, 10);
	if (clients < 1 || clients > CLIENTS_MAX || wanted < 1 || value_bytes > ANSWER_MAX / 2)
		return 2;
	if (argc == 9) {
		(void)gnutls_certificate_allocate_credentials(&certificate);
		if (gnutls_certificate_set_x509_key_file(certificate, argv[7], argv[8],
							 GNUTLS_X509_FMT_PEM) < 0)
			fail("cannot read '%s' and '%s'", argv[7], argv[8]);
	}
	run(clients);
	return 0;
}
