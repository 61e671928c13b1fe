/*
 * Many watchers of many pods: each has to see every change, once, in order, and soon.
 *
 * usage: watch ADDRESS PORT CERTIFICATE KEY SERVER_PID PODS WATCHERS RATE SECONDS
 *
 * Makes so many pods of 2 KB that nobody schedules, opens so many watches of all pods, each over a TLS
 * connection of its own, and then changes one pod after another, RATE times a second. A change carries its
 * number. Every watcher writes down the numbers it sees; in the end each list must be the order in which
 * the server's resourceVersions put the changes. A change's time runs from when it was due (not from when
 * it could be sent) to when a watcher has read the last byte of its event.
 *
 * Prints deliveries, the median, 99th percentile and maximum of their times in milliseconds, the processor
 * time of the server in percent of one processor, its resident memory in MB, and what a watch adds to it
 * in KB.
 */
#include "client.h"

#define SENDERS	   32
#define LATE_MS	   20000 /* after the last change: what did not come then is lost */
#define PAD_BYTES  1100	 /* makes a pod, defaults and status included, 2 KB */
#define MARK	   "\"change\":\""
#define NUMBER_MAX 1000000

struct watcher {
	struct client c;
	char *line;
	size_t line_n, chunk; /* bytes of the chunk that are still to come */
	bool began;	      /* the head of the answer is read */
	uint64_t revision;
	int seen;
	int *numbers;
};

static struct client senders[SENDERS];
static bool is_idle[SENDERS];
static struct watcher *watchers;
static int watchers_n, changes, pods, server, poller;
static uint64_t *revisions; /* of each change, as it was acknowledged */
static int64_t *due;
static int32_t *times_us;
static int64_t deliveries;
static int acknowledged;

/* -- the server's own figures ------------------------------------------------------------------ */

static long server_ticks(void)
{
	char path[64];
	unsigned long user = 0, system = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", server);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			 &user, &system) != 2)
		fail("cannot read '%s'", path);
	(void)fclose(f);
	return (long)(user + system);
}

static long server_kb(void)
{
	char path[64], line[256];
	long kb = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", server);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "VmRSS:", 6) == 0)
			kb = strtol(line + 6, NULL, 10);
	if (f)
		(void)fclose(f);
	return kb;
}

/* -- requests of the senders ------------------------------------------------------------------- */

static void request(struct client *c, const char *method, const char *path, const char *type,
		    const char *body)
{
	static char text[8192];
	int n = snprintf(text, sizeof(text),
			 "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"
			 "Content-Length: %zu\r\n\r\n%s",
			 method, path, type, strlen(body), body);

	c->have = 0;
	c->answer[0] = '\0';
	send_all(c, text, (size_t)n);
}

static void make_pod(struct client *c, long number)
{
	static char pad[PAD_BYTES + 1], body[4096];

	memset(pad, 'x', PAD_BYTES);
	(void)snprintf(body, sizeof(body),
		       "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p-%06ld\","
		       "\"annotations\":{\"pad\":\"%s\"}},\"spec\":{\"schedulerName\":\"nobody\","
		       "\"automountServiceAccountToken\":false,\"containers\":[{\"name\":\"c\","
		       "\"image\":\"none:1\"}]}}",
		       number, pad);
	request(c, "POST", "/api/v1/namespaces/default/pods", "application/json", body);
}

static void change_pod(struct client *c, long number)
{
	char path[128], body[128];

	(void)snprintf(path, sizeof(path), "/api/v1/namespaces/default/pods/p-%06ld",
		       number * 7919 % pods);
	(void)snprintf(body, sizeof(body),
		       "{\"metadata\":{\"annotations\":{\"change\":\"%06ld\"}}}", number);
	c->number = number;
	request(c, "PATCH", path, "application/merge-patch+json", body);
}

static uint64_t revision_in(const char *text)
{
	const char *at = strstr(text, "\"resourceVersion\":\"");

	if (!at)
		fail("no resourceVersion in: %.300s", text);
	return strtoull(at + 19, NULL, 10);
}

static int sender_of(const void *who)
{
	const struct client *c = who;

	return c >= senders && c < senders + SENDERS ? (int)(c - senders) : -1;
}

static void fill(void)
{
	static struct epoll_event ready[SENDERS];
	int asked = 0, answered = 0;

	for (int i = 0; i < SENDERS && asked < pods; i++)
		make_pod(&senders[i], asked++);
	while (answered < pods) {
		int n = epoll_wait(poller, ready, SENDERS, -1);

		for (int i = 0; i < n; i++) {
			struct client *c = ready[i].data.ptr;

			while (receive(c)) {
				if (!is_whole(c))
					continue;
				answered++;
				if (asked < pods)
					make_pod(c, asked++);
			}
		}
	}
}

static uint64_t now_revision(void)
{
	struct client *c = &senders[0];

	request(c, "GET", "/api/v1/namespaces/default/pods?limit=1", "application/json", "");
	do
		(void)poll(&(struct pollfd){.fd = c->fd, .events = POLLIN}, 1, -1);
	while (!receive(c) || !is_whole(c));
	return revision_in(c->answer);
}

/* -- the watchers ------------------------------------------------------------------------------ */

/* One whole event. */
static void take_event(struct watcher *w, int64_t now)
{
	const char *mark = memmem(w->line, w->line_n, MARK, sizeof(MARK) - 1);
	uint64_t revision;
	long number;

	w->line[w->line_n] = '\0';
	if (!mark || strncmp(w->line, "{\"type\":\"MODIFIED\"", 18) != 0)
		fail("an event that nobody made: %.300s", w->line);
	number = strtol(mark + sizeof(MARK) - 1, NULL, 10);
	revision = revision_in(w->line);
	if (number < 0 || number >= changes || w->seen == changes)
		fail("a change that nobody made: %ld", number);
	if (revision <= w->revision)
		fail("revision %llu after %llu", (unsigned long long)revision,
		     (unsigned long long)w->revision);
	w->revision = revision;
	w->numbers[w->seen++] = (int)number;
	times_us[deliveries++] = (int32_t)((now - due[number]) / 1000);
}

static void take_bytes(struct watcher *w, const char *p, size_t n, int64_t now)
{
	while (n > 0) {
		const char *end = memchr(p, '\n', n);
		size_t part = end ? (size_t)(end - p) : n;

		if (w->line_n + part >= ANSWER_MAX)
			fail("an event is longer than %d bytes", ANSWER_MAX);
		memcpy(w->line + w->line_n, p, part);
		w->line_n += part;
		if (!end)
			return;
		take_event(w, now);
		w->line_n = 0;
		p += part + 1;
		n -= part + 1;
	}
}

/* Chunks, as HTTP wraps them; returns what is used up. */
static size_t take_chunks(struct watcher *w, const char *p, size_t n, int64_t now)
{
	size_t used = 0;

	while (used < n) {
		size_t part = n - used < w->chunk ? n - used : w->chunk;
		const char *end;

		if (part > 0) {
			take_bytes(w, p + used, part, now);
			w->chunk -= part;
			used += part;
			continue;
		}
		if (used + 2 <= n && p[used] == '\r') /* the end of the chunk before */
			used += 2;
		end = memchr(p + used, '\n', n - used);
		if (!end)
			break;
		w->chunk = strtoul(p + used, NULL, 16);
		if (w->chunk == 0)
			fail("a watch ended");
		used = (size_t)(end + 1 - p);
	}
	return used;
}

static void serve_watcher(struct watcher *w)
{
	struct client *c = &w->c;

	while (receive(c)) {
		size_t used = 0;

		if (!w->began) {
			const char *body = strstr(c->answer, "\r\n\r\n");

			if (!body)
				continue;
			if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0)
				fail("refused: %.400s", c->answer);
			w->began = true;
			used = (size_t)(body + 4 - c->answer);
		}
		used += take_chunks(w, c->answer + used, c->have - used, now_ns());
		memmove(c->answer, c->answer + used, c->have - used);
		c->have -= used;
	}
}

static void open_watchers(uint64_t revision)
{
	char text[256];
	int n = snprintf(text, sizeof(text),
			 "GET /api/v1/pods?watch=1&resourceVersion=%llu HTTP/1.1\r\n"
			 "Host: localhost\r\n\r\n",
			 (unsigned long long)revision);

	for (int i = 0; i < watchers_n; i++) {
		struct watcher *w = &watchers[i];

		w->revision = revision;
		w->line = malloc(ANSWER_MAX);
		w->numbers = calloc((size_t)changes, sizeof(int));
		join_client(&w->c, poller);
		send_all(&w->c, text, (size_t)n);
		while (!w->began) {
			(void)poll(&(struct pollfd){.fd = w->c.fd, .events = POLLIN}, 1, -1);
			serve_watcher(w);
		}
	}
}

/* -- the run ----------------------------------------------------------------------------------- */

static int send_due(int next, int64_t now)
{
	for (int i = 0; i < SENDERS && next < changes && due[next] <= now; i++)
		if (is_idle[i]) {
			is_idle[i] = false;
			change_pod(&senders[i], next++);
		}
	return next;
}

static void serve_sender(int i)
{
	struct client *c = &senders[i];

	while (!is_idle[i] && receive(c))
		if (is_whole(c)) {
			revisions[c->number] = revision_in(c->answer);
			acknowledged++;
			is_idle[i] = true;
		}
}

static int until(int next, int64_t now)
{
	int64_t ms = next < changes ? (due[next] - now) / 1000000 : 1000;

	return ms < 0 ? 1 : (int)ms + 1;
}

static void run_changes(int rate)
{
	static struct epoll_event ready[256];
	int64_t begin = now_ns() + 100000000, all = (int64_t)watchers_n * changes;
	int next = 0;

	for (int i = 0; i < changes; i++)
		due[i] = begin + i * 1000000000LL / rate;
	while (acknowledged < changes || deliveries < all) {
		int n = epoll_wait(poller, ready, 256, until(next, now_ns()));

		for (int i = 0; i < n; i++) {
			int s = sender_of(ready[i].data.ptr);

			if (s >= 0)
				serve_sender(s);
			else
				serve_watcher(ready[i].data.ptr); /* c is its first */
		}
		next = send_due(next, now_ns());
		if (now_ns() > due[changes - 1] + LATE_MS * 1000000LL)
			fail("%lld of %lld events came", (long long)deliveries, (long long)all);
	}
}

static int by_revision(const void *a, const void *b)
{
	uint64_t x = revisions[*(const int *)a], y = revisions[*(const int *)b];

	return x < y ? -1 : x > y;
}

static void check_order(void)
{
	int *order = calloc((size_t)changes, sizeof(int));

	for (int i = 0; i < changes; i++)
		order[i] = i;
	qsort(order, (size_t)changes, sizeof(int), by_revision);
	for (int i = 0; i < watchers_n; i++)
		if (watchers[i].seen != changes ||
		    memcmp(watchers[i].numbers, order, (size_t)changes * sizeof(int)) != 0)
			fail("watcher %d saw another order than the revisions say", i);
	free(order);
}

static int by_time(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	long kb, ticks;
	int rate, seconds;

	if (argc != 10)
		return 2;
	set_target(argv[1], argv[2]);
	set_certificate(argv[3], argv[4]);
	server = (int)strtol(argv[5], NULL, 10);
	pods = (int)strtol(argv[6], NULL, 10);
	watchers_n = (int)strtol(argv[7], NULL, 10);
	rate = (int)strtol(argv[8], NULL, 10);
	seconds = (int)strtol(argv[9], NULL, 10);
	changes = rate * seconds;
	if (pods < 1 || watchers_n < 1 || changes < 1 || changes > NUMBER_MAX)
		return 2;
	watchers = calloc((size_t)watchers_n, sizeof(*watchers));
	revisions = calloc((size_t)changes, sizeof(*revisions));
	due = calloc((size_t)changes, sizeof(*due));
	times_us = calloc((size_t)watchers_n * (size_t)changes, sizeof(*times_us));
	poller = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < SENDERS; i++) {
		join_client(&senders[i], poller);
		is_idle[i] = true;
	}
	fill();
	kb = server_kb();
	open_watchers(now_revision());
	kb = server_kb() - kb;
	ticks = server_ticks();
	run_changes(rate);
	ticks = server_ticks() - ticks;
	check_order();
	qsort(times_us, (size_t)deliveries, sizeof(*times_us), by_time);
	printf("%lld %.1f %.1f %.1f %ld %ld %ld\n", (long long)deliveries,
	       times_us[deliveries / 2] / 1000.0, times_us[deliveries * 99 / 100] / 1000.0,
	       times_us[deliveries - 1] / 1000.0, ticks * 100 / sysconf(_SC_CLK_TCK) / seconds,
	       server_kb() / 1024, kb / watchers_n);
	return 0;
}
