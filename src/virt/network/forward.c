/*
 * Questions about the world outside: each goes to the container's own DNS servers, or the host's,
 * from a socket of its own (a random port and a random id, so that a stranger cannot answer in
 * their place). A server that is silent for two seconds gives way to the next; at the end of the
 * second round the container hears SERVFAIL. A question that came by TCP goes on by TCP.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/server_priv.h"

#define ROUNDS		 2
#define PATIENCE_MS	 2000
#define LOOK_AGAIN_MS	 1000 /* resolv.conf is looked at no more often */
#define RESOLV_BYTES_MAX 65536

struct question {
	struct list link;
	struct asker who;
	struct dns_query query;
	uint8_t *bytes; /* as asked, with our id; two bytes of length before it */
	size_t n;
	uint16_t id;		   /* the client's */
	bool aliased;		   /* asked for another name than the client did, */
	char target[DNS_NAME_MAX]; /* this one */
	uint32_t ttl_s;
	struct upstreams servers;
	size_t tries;
	int fd;
	struct loop_watch *watch;
	struct loop_timer *timer;
	struct strbuf in; /* TCP */
	size_t sent;	  /* TCP */
};

/* ---- the host's servers ---- */

static void read_resolv_line(struct server *s, struct str line)
{
	struct str rest = str_trim(line);

	if (!str_starts(rest, "nameserver") || rest.n < 12 || s->host.n == UPSTREAMS_MAX)
		return;
	rest = str_trim((struct str){rest.p + 10, rest.n - 10});
	if (ip_parse(rest, "nameserver", &s->host.at[s->host.n], NULL) == 0)
		s->host.n++;
}

static void look_at_resolv(struct server *s)
{
	auto_close int fd = -1;
	auto_free char *text = NULL;
	struct str rest, line;
	struct stat st;
	int64_t mtime;
	ssize_t n;

	if (s->resolv_looked_ms && loop_now_ms(s->loop) - s->resolv_looked_ms < LOOK_AGAIN_MS)
		return;
	s->resolv_looked_ms = loop_now_ms(s->loop);
	fd = open(s->resolv_conf, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	if (mtime == s->resolv_mtime_ns)
		return;
	s->resolv_mtime_ns = mtime;
	text = mem_new_bytes(RESOLV_BYTES_MAX, 1);
	n = read(fd, text, RESOLV_BYTES_MAX);
	if (n < 0)
		return;
	s->host.n = 0;
	rest = (struct str){text, (size_t)n};
	while (str_cut(&rest, '\n', &line))
		read_resolv_line(s, line);
}

/* ---- one question ---- */

static void question_free(struct question *q)
{
	assert(q->who.member->questions_n > 0);
	list_remove(&q->link);
	q->who.member->server->questions_n--;
	q->who.member->questions_n--;
	if (q->watch)
		(void)loop_watch_free(q->watch);
	(void)loop_timer_free(q->timer);
	(void)fd_close(q->fd);
	strbuf_done(&q->in);
	free(q->bytes);
	free(q);
}

void forward_forget(struct member *m, const struct dns_stream *stream)
{
	list_each (&m->server->questions, struct question, link, q)
		if (q->who.member == m && (!stream || q->who.stream == stream))
			question_free(q);
}

static void try_next(struct question *q);

static void give_aliased(struct question *q, const void *bytes, size_t n)
{
	struct dns_record alias = {.type = DNS_CNAME, .ttl_s = q->ttl_s};
	size_t room = q->who.stream ? 0 : q->query.room_bytes;
	auto_strbuf struct strbuf out = {0};
	struct asker who = q->who;
	struct dns_query query = q->query;
	struct err e = {0};

	memcpy(alias.name, q->target, sizeof(alias.name));
	question_free(q);
	if (dns_write_alias(&query, &alias, bytes, n, room, &out, &e) == 0) {
		resolver_reply(&who, out.p, out.n);
	} else {
		log_debug("%s", e.text);
		resolver_refuse(&who, &query, DNS_SERVFAIL);
	}
}

static void give_answer(struct question *q, void *bytes, size_t n)
{
	struct asker who = q->who;
	uint16_t id = q->id;

	if (q->aliased) {
		give_aliased(q, bytes, n);
		return;
	}
	dns_set_id(bytes, id);
	question_free(q); /* before the reply, which may end the stream it goes to */
	resolver_reply(&who, bytes, n);
}

static void give_up(struct question *q)
{
	struct dns_query query = q->query;
	struct asker who = q->who;

	question_free(q);
	resolver_refuse(&who, &query, DNS_SERVFAIL);
}

static void udp_answer(struct question *q)
{
	uint8_t buf[DNS_EDNS_MAX * 4];
	ssize_t n = recv(q->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN) {
		try_next(q); /* refused: nobody listens there */
		return;
	}
	if (n > 0 && dns_answers(buf, (size_t)n, q->bytes + 2, q->n))
		give_answer(q, buf, (size_t)n);
}

/* Sends and receives as much as goes; false: this server is no good. */
static bool tcp_step(struct question *q)
{
	uint8_t buf[4096];
	ssize_t n;

	while (q->sent < q->n + 2) {
		n = send(q->fd, q->bytes + q->sent, q->n + 2 - q->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == ENOTCONN;
		q->sent += (size_t)n;
		if (q->sent == q->n + 2)
			loop_watch_want(q->watch, LOOP_READ);
	}
	n = recv(q->fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n > 0)
		strbuf_add(&q->in, buf, (size_t)n);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void tcp_answer(struct question *q)
{
	uint8_t *p;
	size_t n;

	if (!tcp_step(q)) {
		try_next(q);
		return;
	}
	p = (uint8_t *)q->in.p;
	n = q->in.n < 2 ? 0 : (size_t)(p[0] << 8 | p[1]);
	if (q->in.n < 2 || q->in.n < n + 2)
		return;
	if (!dns_answers(p + 2, n, q->bytes + 2, q->n)) {
		try_next(q);
		return;
	}
	auto_free uint8_t *copy = mem_dup_bytes(p + 2, n + 1);

	give_answer(q, copy, n);
}

static void server_ready(void *arg, unsigned ready)
{
	struct question *q = arg;

	if (ready & LOOP_ERROR)
		try_next(q);
	else if (q->who.stream)
		tcp_answer(q);
	else
		udp_answer(q);
}

static int ask_server(struct question *q, const struct ip *server)
{
	bool tcp = q->who.stream;
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
	struct server *s = q->who.member->server;
	int r;

	memcpy(&four.sin_addr, server->b, 4);
	memcpy(&six.sin6_addr, server->b, 16);
	q->fd = socket(server->n == 4 ? AF_INET : AF_INET6,
		       (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (q->fd < 0)
		return -errno;
	r = connect(q->fd, server->n == 4 ? (void *)&four : (void *)&six,
		    server->n == 4 ? sizeof(four) : sizeof(six));
	if (r < 0 && errno != EINPROGRESS)
		return -errno;
	if (!tcp && send(q->fd, q->bytes + 2, q->n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	q->sent = 0;
	strbuf_clear(&q->in);
	return loop_watch_new(s->loop, q->fd, tcp ? LOOP_READ | LOOP_WRITE : LOOP_READ,
			      server_ready, q, &q->watch, NULL);
}

static void try_next(struct question *q)
{
	assert(q->servers.n > 0 && q->servers.n <= UPSTREAMS_MAX);
	while (q->tries < q->servers.n * ROUNDS) {
		const struct ip *server = &q->servers.at[q->tries++ % q->servers.n];

		if (q->watch)
			q->watch = loop_watch_free(q->watch);
		q->fd = fd_close(q->fd);
		if (ask_server(q, server) == 0) {
			loop_timer_set(q->timer, PATIENCE_MS, 0);
			return;
		}
	}
	give_up(q);
}

static void no_answer(void *arg)
{
	try_next(arg);
}

/* A question that may be asked, not yet on its way; NULL: the client was refused. */
static struct question *question_new(const struct asker *who, const struct dns_query *query,
				     const void *bytes, size_t n)
{
	struct member *m = who->member;
	struct server *s = m->server;
	struct question *q;
	uint16_t id;

	look_at_resolv(s);
	if (s->questions_n >= SERVER_QUESTIONS_MAX ||
	    (!m->zone && m->questions_n >= SERVER_QUESTIONS_EACH) ||
	    (m->dns.n == 0 && s->host.n == 0)) {
		resolver_refuse(who, query, DNS_SERVFAIL);
		return NULL;
	}
	q = mem_new(struct question);
	q->who = *who;
	q->query = *query;
	q->servers = m->dns.n ? m->dns : s->host;
	q->id = query->id;
	q->n = n;
	q->bytes = mem_new_bytes(n + 2, 1);
	q->bytes[0] = (uint8_t)(n >> 8);
	q->bytes[1] = (uint8_t)n;
	memcpy(q->bytes + 2, bytes, n);
	s->world->random(s->world->ctx, &id, sizeof(id));
	dns_set_id(q->bytes + 2, id);
	q->fd = -1;
	q->timer = loop_timer_new(s->loop, no_answer, q);
	list_append(&s->questions, &q->link);
	s->questions_n++;
	m->questions_n++;
	return q;
}

void forward_question(const struct asker *who, const struct dns_query *query, const void *bytes,
		      size_t n)
{
	struct question *q = question_new(who, query, bytes, n);

	if (q)
		try_next(q);
}

void forward_alias(const struct asker *who, const struct dns_query *query, const char *target,
		   uint32_t ttl_s)
{
	auto_strbuf struct strbuf asked = {0};
	struct question *q;
	struct err e = {0};

	if (dns_write_query(0, target, query->type, &asked, &e) < 0) {
		log_debug("%s", e.text);
		resolver_refuse(who, query, DNS_SERVFAIL);
		return;
	}
	q = question_new(who, query, asked.p, asked.n);
	if (!q)
		return;
	q->aliased = true;
	q->ttl_s = ttl_s;
	(void)snprintf(q->target, sizeof(q->target), "%s", target);
	try_next(q);
}
