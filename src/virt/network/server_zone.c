/*
 * The zone that hull-net answers for: the cluster's names. What is told is kept by owner and found
 * by name; see zone.h for what it means. A name of the zone is answered with authority, also when
 * there is no such name; all else is the host's name servers'.
 *
 * An owner's records come in pieces of one message each and take effect together, with the last.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/server_priv.h"

#define FOLLOW_MAX 8 /* aliases of aliases */

struct zone_owner;

struct zone_record {
	const char *name;
	struct ip ip;	    /* an address, or */
	const char *target; /* a name */
	uint16_t type, port;
};

struct zone_owner {
	struct arena arena;
	struct zone_record *records; /* the arena's */
	size_t n;
	unsigned int told; /* by which control connection */
};

/* A name with records, or (below > 0) the end of names with records, or both. */
struct zone_name {
	const struct zone_record **items;
	size_t n, room, below;
};

struct zone {
	char *domain, *server, *contact;
	struct map names;  /* -> struct zone_name */
	struct map owners; /* -> struct zone_owner */
	struct zone_owner *arriving;
	size_t arriving_room;
	struct zone_record *arrived; /* grows; the arena of `arriving` has what it points to */
	uint32_t ttl_s, serial;
	unsigned int told;
};

/* ---- the table ---- */

static bool in_zone(const struct zone *z, const char *name)
{
	size_t n = strlen(name), tail = strlen(z->domain);

	if (n < tail || strcmp(name + n - tail, z->domain) != 0)
		return false;
	return n == tail || name[n - tail - 1] == '.';
}

static struct zone_name *name_of(struct zone *z, const char *name)
{
	struct zone_name *it = map_get(&z->names, name);

	if (!it) {
		it = mem_new(struct zone_name);
		(void)map_put(&z->names, name, it);
	}
	return it;
}

static void drop_unused(struct zone *z, const char *name, struct zone_name *it)
{
	if (it->n || it->below)
		return;
	(void)map_remove(&z->names, name);
	free(it->items);
	free(it);
}

/* Every end of a name exists, too, though nothing is said about it. */
static void count_ends(struct zone *z, const char *name, bool add)
{
	if (!in_zone(z, name))
		return;
	for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
		struct zone_name *it = name_of(z, dot + 1);

		assert(add || it->below > 0);
		it->below = add ? it->below + 1 : it->below - 1;
		drop_unused(z, dot + 1, it);
	}
}

static void hold(struct zone *z, const struct zone_record *r)
{
	struct zone_name *it = name_of(z, r->name);

	/* pointers are what is kept: NOLINTNEXTLINE(bugprone-sizeof-expression) */
	mem_grow(it->items, it->n + 1, it->room);
	it->items[it->n++] = r;
	count_ends(z, r->name, true);
}

static void let_go(struct zone *z, const struct zone_record *r)
{
	struct zone_name *it = map_get(&z->names, r->name);

	assert(it);
	for (size_t i = 0; i < it->n; i++) {
		if (it->items[i] != r)
			continue;
		memmove(&it->items[i], &it->items[i + 1],
			(it->n - i - 1) * sizeof(struct zone_record *));
		it->n--;
		break;
	}
	count_ends(z, r->name, false);
	drop_unused(z, r->name, it);
}

static void owner_free(struct zone_owner *o)
{
	if (!o)
		return;
	arena_done(&o->arena);
	free(o);
}

static void forget_owner(struct zone *z, const char *key)
{
	struct zone_owner *o = map_remove(&z->owners, key);

	for (size_t i = 0; o && i < o->n; i++)
		let_go(z, &o->records[i]);
	owner_free(o);
}

/* ---- being told ---- */

static struct zone *zone_of(struct server *s)
{
	if (!s->zone) {
		s->zone = mem_new(struct zone);
		s->zone->domain = mem_dup_text("cluster.local");
		s->zone->ttl_s = 5;
	}
	return s->zone;
}

void zone_free(struct server *s)
{
	struct zone *z = s->zone;

	if (!z)
		return;
	map_each (&z->owners, it)
		forget_owner(z, it->key);
	map_done(&z->owners);
	map_done(&z->names);
	owner_free(z->arriving);
	free(z->arrived);
	free(z->domain);
	free(z->server);
	free(z->contact);
	free(z);
	s->zone = NULL;
}

void zone_connected(struct server *s)
{
	if (s->zone)
		s->zone->told++;
}

int zone_tell(struct server *s, const struct json *told, int *udp, int *tcp, struct err *e)
{
	const char *id = json_get_text(told, "id"), *domain = json_get_text(told, "domain");
	struct zone *z = zone_of(s);
	struct member *m;
	int r;

	if (!id || !domain || !*domain || strlen(domain) >= DNS_NAME_MAX)
		return err_set(e, ERR_INVALID, "a zone without id or domain");
	free(z->domain);
	free(z->server);
	free(z->contact);
	z->domain = mem_dup_text(domain);
	z->server = mem_printf("ns.dns.%s", domain);
	z->contact = mem_printf("hostmaster.%s", domain);
	z->ttl_s = (uint32_t)json_get_i64(told, "ttl", z->ttl_s);
	r = member_tell(s, id, told, udp, tcp, e);
	m = map_get(&s->containers, id);
	if (m)
		m->zone = z;
	return r;
}

/* [type, name, value, port] */
static bool read_record(struct zone_owner *o, const struct json *j, struct zone_record *r)
{
	static const struct {
		const char *text;
		uint16_t type;
	} types[] = {{"ip", DNS_A}, {"srv", DNS_SRV}, {"cname", DNS_CNAME}, {"ptr", DNS_PTR}};
	const char *type = json_text(json_at(j, 0)), *name = json_text(json_at(j, 1));
	const char *value = json_text(json_at(j, 2));

	if (!type || !name || !value || strlen(name) >= DNS_NAME_MAX ||
	    strlen(value) >= DNS_NAME_MAX)
		return false;
	for (size_t i = 0; i < array_len(types); i++)
		if (strcmp(type, types[i].text) == 0)
			r->type = types[i].type;
	r->name = arena_dup_text(&o->arena, name);
	r->port = (uint16_t)json_i64(json_at(j, 3), 0);
	if (r->type != DNS_A) {
		r->target = arena_dup_text(&o->arena, value);
		return r->type;
	}
	if (ip_parse(str_of(value), "address", &r->ip, NULL) < 0)
		return false;
	if (r->ip.n == 16)
		r->type = DNS_AAAA;
	return true;
}

static void take_piece(struct zone *z, const struct json *records)
{
	for (size_t i = 0; i < json_len(records); i++) {
		struct zone_record r = {.type = 0};

		if (!read_record(z->arriving, json_at(records, i), &r)) {
			log_warn("a record of a name is damaged");
			continue;
		}
		mem_grow(z->arrived, z->arriving->n + 1, z->arriving_room);
		z->arrived[z->arriving->n++] = r;
	}
}

static void take_owner(struct zone *z, const char *key)
{
	struct zone_owner *o = z->arriving;

	z->arriving = NULL;
	z->serial++;
	forget_owner(z, key);
	if (o->n == 0) {
		owner_free(o);
		return;
	}
	o->told = z->told;
	o->records = arena_new_array(&o->arena, struct zone_record, o->n);
	memcpy(o->records, z->arrived, o->n * sizeof(*o->records));
	for (size_t i = 0; i < o->n; i++)
		hold(z, &o->records[i]);
	(void)map_put(&z->owners, key, o);
}

int zone_records(struct server *s, const struct json *told, struct err *e)
{
	const char *key = json_get_text(told, "owner");
	struct zone *z = zone_of(s);

	if (!key)
		return err_set(e, ERR_INVALID, "whose records?");
	if (!z->arriving || json_get_bool(told, "first", true)) {
		owner_free(z->arriving);
		z->arriving = mem_new(struct zone_owner);
	}
	take_piece(z, json_get(told, "records"));
	if (json_get_bool(told, "last", true))
		take_owner(z, key);
	return 0;
}

void zone_settled(struct server *s)
{
	struct zone *z = s->zone;

	if (!z)
		return;
	map_each (&z->owners, it)
		if (((struct zone_owner *)it->value)->told != z->told)
			forget_owner(z, it->key);
}

/* ---- answering ---- */

struct found {
	struct dns_record *items;
	size_t n, room;
	bool known;
	const char *outside; /* where an alias leads out of the zone */
};

static struct dns_record *push(struct found *f, const struct zone *z, uint16_t type,
			       const char *owner)
{
	struct dns_record *r;

	mem_grow(f->items, f->n + 1, f->room);
	r = &f->items[f->n++];
	*r = (struct dns_record){.type = (enum dns_type)type, .ttl_s = z->ttl_s, .owner = owner};
	return r;
}

static void push_record(struct found *f, const struct zone *z, const struct zone_record *r)
{
	struct dns_record *d = push(f, z, r->type, r->name);

	d->ip = r->ip;
	d->weight = 100; /* of DNS_SRV */
	d->port = r->port;
	if (r->target)
		(void)snprintf(d->name, sizeof(d->name), "%s", r->target);
}

/* The label before ".NAMESPACE.pod.DOMAIN", or nothing. */
static struct str pod_label(const struct zone *z, const char *name)
{
	size_t n = strlen(name), tail = strlen(z->domain);
	struct str rest = {name, n > tail ? n - tail - 1 : 0}, label, namespace, pod;

	if (!in_zone(z, name) || !str_cut(&rest, '.', &label) || !str_cut(&rest, '.', &namespace) ||
	    !str_cut(&rest, '.', &pod) || rest.p || !str_is(pod, "pod") || namespace.n == 0)
		return (struct str){NULL, 0};
	return label;
}

/* "10-244-0-5" or "fd00--5" */
static bool read_dashed(struct str label, char sign, struct ip *ret)
{
	char text[IP_TEXT_MAX];

	if (label.n == 0 || label.n >= sizeof(text))
		return false;
	memcpy(text, label.p, label.n);
	text[label.n] = '\0';
	for (size_t i = 0; i < label.n; i++)
		if (text[i] == '-')
			text[i] = sign;
	return ip_parse(str_of(text), "address", ret, NULL) == 0;
}

/* "10-244-0-5.default.pod.DOMAIN" says its address itself. */
static void find_pod(const struct zone *z, const struct dns_query *q, struct found *f)
{
	struct str label = pod_label(z, q->name);
	struct ip ip;
	uint16_t type;

	if (!read_dashed(label, '.', &ip) && !read_dashed(label, ':', &ip))
		return;
	f->known = true;
	type = ip.n == 4 ? DNS_A : DNS_AAAA;
	if (q->type == type || q->type == DNS_ANY)
		push(f, z, type, q->name)->ip = ip;
}

/* The records of one name; the target of an alias, if that is what it is. */
static const char *find_name(const struct zone *z, const char *name, uint16_t type, struct found *f)
{
	const struct zone_name *it = map_get(&z->names, name);
	const char *alias = NULL;

	if (!it)
		return NULL;
	f->known = true;
	for (size_t i = 0; i < it->n; i++) {
		const struct zone_record *r = it->items[i];

		if (r->type == type || type == DNS_ANY)
			push_record(f, z, r);
		else if (r->type == DNS_CNAME)
			alias = r->target;
	}
	return alias;
}

static void find(const struct zone *z, const struct dns_query *q, struct found *f)
{
	const char *name = q->name, *alias = find_name(z, name, q->type, f);

	for (int i = 0; alias && i < FOLLOW_MAX; i++) {
		if (!in_zone(z, alias)) {
			f->outside = alias;
			return;
		}
		(void)snprintf(push(f, z, DNS_CNAME, name)->name, DNS_NAME_MAX, "%s", alias);
		name = alias;
		alias = find_name(z, name, q->type, f);
	}
	if (!f->known)
		find_pod(z, q, f);
}

/* Those who take the first answer are spread, too. */
static void rotate(struct server *s, struct found *f)
{
	uint16_t by;

	if (f->n < 2 || f->items[0].type == DNS_CNAME)
		return;
	s->world->random(s->world->ctx, &by, sizeof(by));
	by = (uint16_t)(by % f->n);
	if (by == 0)
		return;

	auto_free struct dns_record *first = mem_dup_bytes(f->items, by * sizeof(*first));

	memmove(f->items, f->items + by, (f->n - by) * sizeof(*first));
	memcpy(f->items + f->n - by, first, by * sizeof(*first));
}

static void answer(const struct asker *who, const struct dns_query *q, const struct found *f)
{
	const struct zone *z = who->member->zone;
	const struct dns_soa soa = {z->domain, z->server, z->contact, z->serial, z->ttl_s};
	struct dns_reply reply = {
		.rcode = f->known || strcmp(q->name, z->domain) == 0 ? DNS_NOERROR : DNS_NXDOMAIN,
		.authoritative = true,
		.records = f->items,
		.n = f->n,
		.soa = f->n ? NULL : &soa};
	auto_strbuf struct strbuf out = {0};
	struct err e = {0};

	if (dns_write_reply(q, &reply, who->stream ? 0 : q->room_bytes, &out, &e) < 0) {
		log_warn("%s", e.text);
		strbuf_clear(&out);
		reply = (struct dns_reply){.rcode = DNS_SERVFAIL};
		if (dns_write_reply(q, &reply, 0, &out, &e) < 0)
			return;
	}
	resolver_reply(who, out.p, out.n);
}

void zone_question(const struct asker *who, const struct dns_query *q, const void *bytes, size_t n)
{
	const struct zone *z = who->member->zone;
	struct found f = {.n = 0};

	assert(z);
	if (q->klass != 1) {
		resolver_refuse(who, q, DNS_REFUSED);
		return;
	}
	find(z, q, &f);
	rotate(who->member->server, &f);
	if (f.outside)
		forward_alias(who, q, f.outside, z->ttl_s);
	else if (f.known || in_zone(z, q->name))
		answer(who, q, &f);
	else
		forward_question(who, q, bytes, n);
	free(f.items);
}
