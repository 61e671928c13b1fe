/*
 * Clients that write, each over a connection of its own that it keeps: what a store answers in a
 * second, and how long one waits. Speaks to etcd (plain, its JSON gateway) and to the Kubernetes API
 * (TLS, a client certificate). One thread and epoll for all, so that the clients take as little as can
 * be of the processors that they share with the server.
 *
 * usage: writes etcd ADDRESS PORT CLIENTS REQUESTS BYTES
 *        writes kube ADDRESS PORT CLIENTS REQUESTS BYTES CERTIFICATE KEY
 *
 * Each request makes a new key with a value of so many bytes. Prints requests a second, and the
 * median and the 99th percentile of a request's time in microseconds. One that fails ends it.
 */
#include "client.h"

#define CLIENTS_MAX 1024

static long wanted;
static size_t value_bytes;
static long asked, answered;
static int64_t *times;
static char *request; /* room for one */

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

static void ask(struct client *c)
{
	if (asked == wanted)
		return;
	c->number = asked++;
	c->have = 0;
	c->answer[0] = '\0';
	c->from = now_ns();
	send_all(c, request, make_request(request, c->number));
}

/* All that came for one client. */
static void serve(struct client *c)
{
	while (receive(c))
		if (is_whole(c)) {
			times[c->number] = now_ns() - c->from;
			answered++;
			ask(c);
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
	static struct epoll_event ready[CLIENTS_MAX];
	int64_t from, took;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	times = calloc((size_t)wanted, sizeof(*times));
	for (int i = 0; i < clients; i++)
		join_client(&all[i], epoll);
	from = now_ns();
	for (int i = 0; i < clients; i++)
		ask(&all[i]);
	while (answered < wanted) {
		int n = epoll_wait(epoll, ready, CLIENTS_MAX, -1);

		for (int i = 0; i < n; i++)
			serve(ready[i].data.ptr);
	}
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
	set_target(argv[2], argv[3]);
	clients = (int)strtol(argv[4], NULL, 10);
	wanted = strtol(argv[5], NULL, 10);
	value_bytes = strtoul(argv[6], NULL, 10);
	if (clients < 1 || clients > CLIENTS_MAX || wanted < 1 || value_bytes > ANSWER_MAX / 2)
		return 2;
	if (argc == 9)
		set_certificate(argv[7], argv[8]);
	request = malloc(value_bytes * 2 + 1024);
	run(clients);
	return 0;
}
