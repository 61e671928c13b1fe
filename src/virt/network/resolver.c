/*
 * Names of containers: the table of who is called what on which network, and the sockets inside the
 * containers on which they are asked for.
 *
 * A container is answered from the networks it is on, and from its links; "name" and "name.network"
 * are the same. What is not there is forwarded, unless all its networks are internal: then it does
 * not exist.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/server_priv.h"

#define TTL_S		  600
#define DATAGRAMS_TURN	  32 /* read of one socket before others have their turn */
#define STREAM_READ_BYTES 4096
#define STREAM_IDLE_MS	  10000

/* A TCP client: one message at a time, length before it. */
struct dns_stream {
	struct list link;
	struct member *member;
	int fd;
	struct loop_watch *watch;
	struct loop_timer *idle;
	struct strbuf in, out;
	bool asking;  /* a question is under way */
	bool pumping; /* stream_pump() is on the stack */
};

/* ---- the table ---- */

/* The key of a name on a network; false: too long to be one. */
static bool name_key(char *key, size_t room, const char *network, const char *name)
{
	int n = snprintf(key, room, "%s/%s", network, name);

	if (n < 0 || (size_t)n >= room)
		return false;
	for (char *at = strchr(key, '/'); *at; at++)
		*at = (char)tolower((unsigned char)*at);
	return true;
}

static void hold(struct server *s, struct place *p, const char *name, bool add)
{
	char key[64 + 1 + DNS_NAME_MAX];
	struct holders *h;

	if (!*name || !name_key(key, sizeof(key), p->network, name))
		return;
	h = map_get(&s->names, key);
	if (add) {
		if (!h) {
			h = mem_new(struct holders);
			(void)map_put(&s->names, key, h);
		}
		for (size_t i = 0; i < h->n; i++)
			if (h->items[i] == p)
				return;
		/* pointers are what is kept: NOLINTNEXTLINE(bugprone-sizeof-expression) */
		mem_grow(h->items, h->n + 1, h->room);
		h->items[h->n++] = p;
		return;
	}
	for (size_t i = 0; h && i < h->n; i++)
		if (h->items[i] == p)
			h->items[i--] = h->items[--h->n];
	if (h && h->n == 0) {
		(void)map_remove(&s->names, key);
		free(h->items);
		free(h);
	}
}

static void hold_place(struct server *s, struct place *p, bool add)
{
	for (char **name = p->names; *name; name++)
		hold(s, p, *name, add);
	if (ip_is(&p->ip4))
		hold(s, p, ip_text(&p->ip4).t, add);
	if (ip_is(&p->ip6))
		hold(s, p, ip_text(&p->ip6).t, add);
}

/* ---- being told ---- */

static void read_place(struct member *m, const struct json *j, struct place *p)
{
	const struct json *names = json_get(j, "names");
	const char *network = json_get_text(j, "network"),
		   *called = json_get_text(j, "network_name");
	const char *ip4 = json_get_text(j, "ip4"), *ip6 = json_get_text(j, "ip6");
	size_t n = json_len(names);

	p->network = arena_printf(&m->arena, "%.64s", network ? network : "");
	p->network_name = arena_dup_text(&m->arena, called ? called : "");
	p->names = arena_new_array(&m->arena, char *, n + 1);
	for (size_t i = 0; i < n; i++) {
		const char *name = json_text(json_at(names, i));

		p->names[i] = arena_dup_text(&m->arena, name ? name : "");
	}
	if (ip4 && *ip4 && ip_parse(str_of(ip4), "address", &p->ip4, NULL) < 0)
		log_warn("a container's address '%s' is none", ip4);
	if (ip6 && *ip6 && ip_parse(str_of(ip6), "address", &p->ip6, NULL) < 0)
		log_warn("a container's address '%s' is none", ip6);
}

static void read_links(struct member *m, const struct json *links)
{
	size_t n = json_len(links);

	m->links = arena_new_array(&m->arena, struct json_pair, n + 1);
	for (size_t i = 0; i < n; i++) {
		const char *target = json_text(json_at(json_at(links, i), 0));
		const char *alias = json_text(json_at(json_at(links, i), 1));

		m->links[i].key = arena_dup_text(&m->arena, alias ? alias : "");
		m->links[i].value = arena_dup_text(&m->arena, target ? target : "");
	}
}

static void read_told(struct member *m, const struct json *told)
{
	const struct json *places = json_get(told, "endpoints"), *dns = json_get(told, "dns");

	for (size_t i = 0; i < m->places_n; i++)
		hold_place(m->server, &m->places[i], false);
	arena_done(&m->arena);
	m->places_n = json_len(places);
	m->places = arena_new_array(&m->arena, struct place, m->places_n + 1);
	for (size_t i = 0; i < m->places_n; i++) {
		read_place(m, json_at(places, i), &m->places[i]);
		hold_place(m->server, &m->places[i], true);
	}
	read_links(m, json_get(told, "links"));
	m->upstream = json_get_bool(told, "upstream", false);
	m->dns.n = 0;
	for (size_t i = 0; i < json_len(dns) && m->dns.n < UPSTREAMS_MAX; i++) {
		const char *text = json_text(json_at(dns, i));

		if (text && ip_parse(str_of(text), "DNS server", &m->dns.at[m->dns.n], NULL) == 0)
			m->dns.n++;
	}
}

static void udp_ready(void *arg, unsigned ready);
static void tcp_ready(void *arg, unsigned ready);
static void stream_free(struct dns_stream *t);

static void drop_sockets(struct member *m)
{
	forward_forget(m, NULL);
	list_each (&m->streams, struct dns_stream, link, t)
		stream_free(t);
	if (m->udp_watch)
		m->udp_watch = loop_watch_free(m->udp_watch);
	if (m->tcp_watch)
		m->tcp_watch = loop_watch_free(m->tcp_watch);
	m->udp = fd_close(m->udp);
	m->tcp = fd_close(m->tcp);
}

static int take_sockets(struct member *m, int *udp, int *tcp, struct err *e)
{
	int r;

	assert(*udp >= 0 && *tcp >= 0);
	drop_sockets(m);
	m->udp = take_fd(udp);
	m->tcp = take_fd(tcp);
	r = loop_watch_new(m->server->loop, m->udp, LOOP_READ, udp_ready, m, &m->udp_watch, e);
	if (r == 0)
		r = loop_watch_new(m->server->loop, m->tcp, LOOP_READ, tcp_ready, m, &m->tcp_watch,
				   e);
	return r;
}

int member_tell(struct server *s, const char *id, const struct json *told, int *udp, int *tcp,
		struct err *e)
{
	struct member *m = map_get(&s->containers, id);

	if (!m) {
		m = mem_new(struct member);
		m->server = s;
		m->id = mem_dup_text(id);
		m->udp = m->tcp = -1;
		list_init(&m->streams);
		(void)map_put(&s->containers, id, m);
	}
	read_told(m, told);
	return *udp >= 0 && *tcp >= 0 ? take_sockets(m, udp, tcp, e) : 0;
}

void member_forget(struct server *s, const char *id)
{
	struct member *m = map_remove(&s->containers, id);

	if (!m)
		return;
	drop_sockets(m);
	for (size_t i = 0; i < m->places_n; i++)
		hold_place(s, &m->places[i], false);
	arena_done(&m->arena);
	free(m->id);
	free(m);
}

/* ---- answering ---- */

struct found {
	struct dns_record records[DNS_ANSWERS_MAX];
	size_t n;
	bool known; /* somebody is called that, with an address of this family or not */
};

static void add_ip(struct found *f, enum dns_type type, const struct ip *ip)
{
	if (!ip_is(ip) || f->n == DNS_ANSWERS_MAX)
		return;
	f->records[f->n++] = (struct dns_record){.type = type, .ip = *ip, .ttl_s = TTL_S};
}

static void find_on(struct server *s, const struct place *on, const char *name, uint16_t type,
		    struct found *f)
{
	char key[64 + 1 + DNS_NAME_MAX];
	const struct holders *h;

	if (!name_key(key, sizeof(key), on->network, name))
		return;
	h = map_get(&s->names, key);
	for (size_t i = 0; h && i < h->n; i++) {
		f->known = true;
		if (type == DNS_A || type == DNS_ANY)
			add_ip(f, DNS_A, &h->items[i]->ip4);
		if (type == DNS_AAAA || type == DNS_ANY)
			add_ip(f, DNS_AAAA, &h->items[i]->ip6);
	}
}

static void find_name(struct member *m, const char *name, uint16_t type, struct found *f)
{
	for (size_t i = 0; i < m->places_n; i++) {
		const struct place *p = &m->places[i];
		size_t n = strlen(name), tail = strlen(p->network_name);
		char head[DNS_NAME_MAX];

		find_on(m->server, p, name, type, f);
		if (f->known || !tail || n <= tail + 1 || name[n - tail - 1] != '.' ||
		    strcasecmp(name + n - tail, p->network_name) != 0)
			continue;
		(void)snprintf(head, sizeof(head), "%.*s", (int)(n - tail - 1), name);
		find_on(m->server, p, head, type, f);
	}
}

static void find_reverse(struct member *m, const struct ip *ip, struct found *f)
{
	char key[64 + 1 + DNS_NAME_MAX];

	for (size_t i = 0; i < m->places_n && !f->known; i++) {
		const struct place *on = &m->places[i];
		const struct holders *h;
		struct dns_record *r = &f->records[f->n];

		if (!name_key(key, sizeof(key), on->network, ip_text(ip).t))
			continue;
		h = map_get(&m->server->names, key);
		if (!h)
			continue;
		f->known = true;
		*r = (struct dns_record){.type = DNS_PTR, .ttl_s = TTL_S};
		if (snprintf(r->name, sizeof(r->name), "%s.%s", h->items[0]->names[0],
			     on->network_name) < (int)sizeof(r->name))
			f->n++;
	}
}

/* Several containers under one alias share the load: each answer begins with another one. */
static void rotate(struct server *s, struct found *f)
{
	uint8_t by;

	if (f->n < 2)
		return;
	s->world->random(s->world->ctx, &by, sizeof(by));
	for (size_t k = by % f->n; k > 0; k--) {
		struct dns_record first = f->records[0];

		memmove(&f->records[0], &f->records[1], (f->n - 1) * sizeof(first));
		f->records[f->n - 1] = first;
	}
}

static void find(struct member *m, const struct dns_query *q, struct found *f)
{
	struct ip ip;

	if (q->type == DNS_PTR && dns_reverse(q->name, &ip)) {
		find_reverse(m, &ip, f);
		return;
	}
	for (const struct json_pair *l = m->links; l->key && !f->known; l++)
		if (strcasecmp(l->key, q->name) == 0)
			find_name(m, l->value, q->type, f);
	if (!f->known)
		find_name(m, q->name, q->type, f);
	rotate(m->server, f);
}

static void answer(const struct asker *who, const struct dns_query *q, enum dns_rcode rcode,
		   const struct found *f)
{
	auto_strbuf struct strbuf out = {0};
	struct err e = {0};

	if (dns_write_answer(q, rcode, f ? f->records : NULL, f ? f->n : 0,
			     who->stream ? 0 : q->room_bytes, &out, &e) < 0) {
		log_debug("%s", e.text);
		return;
	}
	resolver_reply(who, out.p, out.n);
}

void resolver_refuse(const struct asker *who, const struct dns_query *q, enum dns_rcode rcode)
{
	answer(who, q, rcode, NULL);
}

static void question(const struct asker *who, const void *bytes, size_t n)
{
	struct found f = {.n = 0};
	struct dns_query q;
	struct err e = {0};

	if (dns_read_query(bytes, n, &q, &e) < 0) {
		log_debug("%s",
			  e.text); /* no answer: what cannot be read may have a false sender */
		if (who->stream)
			who->stream->asking = false;
		return;
	}
	if (who->member->zone) {
		zone_question(who, &q, bytes, n);
		return;
	}
	if (q.klass == 1)
		find(who->member, &q, &f);
	if (f.known)
		answer(who, &q, DNS_NOERROR, &f);
	else if (who->member->upstream)
		forward_question(who, &q, bytes, n);
	else
		answer(who, &q, DNS_NXDOMAIN, NULL);
}

/* ---- datagrams ---- */

static void udp_ready(void *arg, unsigned ready)
{
	uint8_t buf[DNS_EDNS_MAX * 4];
	struct member *m = arg;

	(void)ready;
	for (int i = 0; i < DATAGRAMS_TURN; i++) {
		struct asker who = {.member = m, .from_n = sizeof(who.from)};
		ssize_t n = recvfrom(m->udp, buf, sizeof(buf), MSG_DONTWAIT,
				     (struct sockaddr *)&who.from, &who.from_n);

		if (n < 0)
			return;
		question(&who, buf, (size_t)n);
	}
}

/* ---- streams ---- */

static void stream_free(struct dns_stream *t)
{
	forward_forget(t->member, t);
	list_remove(&t->link);
	t->member->streams_n--;
	if (t->watch)
		(void)loop_watch_free(t->watch);
	(void)loop_timer_free(t->idle);
	(void)fd_close(t->fd);
	strbuf_done(&t->in);
	strbuf_done(&t->out);
	free(t);
}

static void stream_idle(void *arg)
{
	stream_free(arg);
}

/* Writes what there is. A broken stream is freed from the loop, not under its callers' feet. */
static void stream_flush(struct dns_stream *t)
{
	while (t->out.n) {
		ssize_t n = send(t->fd, t->out.p, t->out.n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			loop_timer_set(t->idle, 0, 0);
			return;
		}
		strbuf_drop_front(&t->out, (size_t)n);
	}
	loop_watch_want(t->watch, (t->asking ? 0 : LOOP_READ) | (t->out.n ? LOOP_WRITE : 0));
}

/* Asks one whole message; false: there is none. */
static bool stream_next(struct dns_stream *t)
{
	struct asker who = {.member = t->member, .stream = t};
	const uint8_t *p = (const uint8_t *)t->in.p;
	size_t n = t->in.n < 2 ? 0 : (size_t)(p[0] << 8 | p[1]);
	auto_free uint8_t *copy = NULL;

	if (t->in.n < 2 || t->in.n < n + 2)
		return false;
	copy = mem_dup_bytes(p + 2, n + 1);
	strbuf_drop_front(&t->in, n + 2);
	t->asking = true;
	question(&who, copy, n);
	return true;
}

/* One question after the other; answers that come at once do not stack up. */
static void stream_pump(struct dns_stream *t)
{
	assert(t->in.n <= DNS_MESSAGE_MAX + 2 + STREAM_READ_BYTES);
	if (t->pumping)
		return;
	t->pumping = true;
	while (!t->asking && stream_next(t))
		;
	t->pumping = false;
	loop_watch_want(t->watch, (t->asking ? 0 : LOOP_READ) | (t->out.n ? LOOP_WRITE : 0));
}

static void stream_ready(void *arg, unsigned ready)
{
	struct dns_stream *t = arg;
	char buf[STREAM_READ_BYTES];
	ssize_t n;

	if (ready & LOOP_ERROR) {
		stream_free(t);
		return;
	}
	if (ready & LOOP_READ) {
		n = recv(t->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			stream_free(t);
			return;
		}
		loop_timer_set(t->idle, STREAM_IDLE_MS, 0);
		if (n > 0)
			strbuf_add(&t->in, buf, (size_t)n);
		stream_pump(t);
		return;
	}
	stream_flush(t);
}

void resolver_reply(const struct asker *who, const void *bytes, size_t n)
{
	struct dns_stream *t = who->stream;
	uint8_t head[2] = {(uint8_t)(n >> 8), (uint8_t)n};

	assert(n <= DNS_MESSAGE_MAX);
	if (!t) {
		if (sendto(who->member->udp, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL,
			   (const struct sockaddr *)&who->from, who->from_n) < 0)
			log_debug("an answer could not be sent: %s", strerror(errno));
		return;
	}
	t->asking = false;
	strbuf_add(&t->out, head, sizeof(head));
	strbuf_add(&t->out, bytes, n);
	stream_flush(t);
	stream_pump(t);
}

static void tcp_ready(void *arg, unsigned ready)
{
	struct member *m = arg;
	struct err e = {0};
	struct dns_stream *t;
	int fd = accept4(m->tcp, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)ready;
	if (fd < 0)
		return;
	if (m->streams_n >= (m->zone ? SERVER_DNS_STREAMS_ZONE : SERVER_DNS_STREAMS_EACH)) {
		(void)fd_close(fd);
		return;
	}
	t = mem_new(struct dns_stream);
	t->member = m;
	t->fd = fd;
	t->idle = loop_timer_new(m->server->loop, stream_idle, t);
	loop_timer_set(t->idle, STREAM_IDLE_MS, 0);
	list_append(&m->streams, &t->link);
	m->streams_n++;
	if (loop_watch_new(m->server->loop, fd, LOOP_READ, stream_ready, t, &t->watch, &e) < 0) {
		log_warn("%s", e.text);
		stream_free(t);
	}
}
