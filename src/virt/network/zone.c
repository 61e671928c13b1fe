/*
 * The daemon's end of the zone: remembers what every owner's records are, and tells hull-net, no
 * more at once than it reads. See zone.h; the messages are
 *
 *	-> {"op":"zone","id":"zone ADDRESS","domain":D,"ttl":S}   with [udp, tcp] or nothing
 *	-> {"op":"records","owner":O,"first":B,"last":B,"records":[[type,name,value,port]...]}
 *	-> {"op":"settled"}	-> {"op":"read"}	<- {"op":"read"}
 */
#include "virt/network/zone.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/network_priv.h"

#define PIECE_RECORDS 256	 /* of one message, which has 128 kB of room */
#define AHEAD_BYTES   (1u << 20) /* told and perhaps not read yet */
#define ZONE_ID	      "zone "

struct owner {
	struct list link; /* among those to be told; alone: it was */
	char *key;
	struct strbuf *pieces; /* messages */
	size_t pieces_n;
};

struct zone_told {
	struct network_host *host;
	char *domain;
	struct ip addresses[NETWORK_ZONE_ADDRESSES_MAX];
	size_t addresses_n;
	bool given[NETWORK_ZONE_ADDRESSES_MAX]; /* this hull-net has the sockets */
	bool held_back;				/* until hull-net has read what it was told */
	bool settled, settled_told;
	struct map owners;
	struct list untold;
};

/* ---- owners ---- */

static void pieces_free(struct owner *o)
{
	for (size_t i = 0; i < o->pieces_n; i++)
		strbuf_done(&o->pieces[i]);
	free(o->pieces);
	o->pieces = NULL;
	o->pieces_n = 0;
}

static void owner_free(struct zone_told *z, struct owner *o)
{
	(void)map_remove(&z->owners, o->key);
	list_remove(&o->link);
	pieces_free(o);
	free(o->key);
	free(o);
}

struct zone_told *zone_told_free(struct zone_told *z)
{
	if (!z)
		return NULL;
	map_each (&z->owners, it)
		owner_free(z, it->value);
	map_done(&z->owners);
	free(z->domain);
	free(z);
	return NULL;
}

static struct json *record_json(const struct network_record *r)
{
	static const char *const types[] = {"ip", "srv", "cname", "ptr"};
	struct json *j = json_new_array();

	json_append(j, json_new_text(types[r->type]));
	json_append(j, json_new_text(r->name));
	json_append(j, json_new_text(r->type == NETWORK_RECORD_IP ? ip_text(&r->ip).t : r->target));
	if (r->type == NETWORK_RECORD_SRV)
		json_append(j, json_new_i64(r->port));
	return j;
}

static void write_piece(struct owner *o, size_t piece, const struct network_record *records,
			size_t n)
{
	auto_json struct json *j = json_new_object();
	struct json *list = json_new_array();

	for (size_t i = 0; i < n; i++)
		json_append(list, record_json(&records[i]));
	json_set_text(j, "op", "records");
	json_set_text(j, "owner", o->key);
	json_set_bool(j, "first", piece == 0);
	json_set_bool(j, "last", piece + 1 == o->pieces_n);
	json_set(j, "records", list);
	json_write(j, &o->pieces[piece]);
}

/* False: they are what they were. */
static bool write_pieces(struct owner *o, const struct network_record *records, size_t n)
{
	struct owner was = {.pieces = o->pieces, .pieces_n = o->pieces_n};
	bool same;

	o->pieces_n = n ? (n + PIECE_RECORDS - 1) / PIECE_RECORDS : 1;
	o->pieces = mem_new_array(struct strbuf, o->pieces_n);
	for (size_t i = 0; i < o->pieces_n; i++) {
		size_t from = i * PIECE_RECORDS;

		write_piece(o, i, n ? records + from : NULL,
			    n - from < PIECE_RECORDS ? n - from : PIECE_RECORDS);
	}
	same = was.pieces_n == o->pieces_n;
	for (size_t i = 0; i < o->pieces_n && same; i++)
		same = was.pieces[i].n == o->pieces[i].n &&
		       memcmp(was.pieces[i].p, o->pieces[i].p, o->pieces[i].n) == 0;
	pieces_free(&was);
	return !same;
}

/* ---- telling ---- */

static void say(struct network_host *h, const char *op)
{
	struct json *j = json_new_object();

	json_set_text(j, "op", op);
	(void)names_send(h, j, NULL, 0);
}

static bool tell_owner(struct zone_told *z, struct owner *o)
{
	for (size_t i = 0; i < o->pieces_n; i++)
		if (!names_send_bytes(z->host, o->pieces[i].p, o->pieces[i].n))
			return false;
	list_remove(&o->link);
	return true;
}

static bool was_given(const struct zone_told *z)
{
	for (size_t i = 0; i < z->addresses_n; i++)
		if (!z->given[i])
			return false;
	return true;
}

/* Tells until enough is under way; then hull-net is asked to say when it has read. */
static void pump(struct zone_told *z)
{
	size_t told = 0;

	if (z->held_back || !was_given(z))
		return;
	list_each (&z->untold, struct owner, link, o) {
		size_t bytes = 0;

		if (told >= AHEAD_BYTES) {
			z->held_back = true;
			say(z->host, "read");
			return;
		}
		for (size_t i = 0; i < o->pieces_n; i++)
			bytes += o->pieces[i].n;
		if (!tell_owner(z, o))
			return;
		told += bytes;
	}
	if (z->settled && !z->settled_told) {
		z->settled_told = true;
		say(z->host, "settled");
	}
}

void zone_read(struct network_host *h)
{
	if (!h->zone)
		return;
	h->zone->held_back = false;
	pump(h->zone);
}

/* ---- the sockets ---- */

static int bind_sockets(const struct ip *at, int fds[2], struct err *e)
{
	int r = publish_bind(NETWORK_UDP, at, DNS_PORT, &fds[0], e);

	if (r == 0)
		r = publish_bind(NETWORK_TCP, at, DNS_PORT, &fds[1], e);
	return r < 0 ? err_wrap(e, "names of the cluster") : 0;
}

static int give(struct zone_told *z, size_t i, struct err *e)
{
	auto_free char *id = mem_printf(ZONE_ID "%s", ip_text(&z->addresses[i]).t);
	struct json *j;
	int fds[2] = {-1, -1}, r = 0;
	bool has = names_has(z->host, id);

	if (!has)
		r = bind_sockets(&z->addresses[i], fds, e);
	if (r == 0) {
		j = json_new_object();
		json_set_text(j, "op", "zone");
		json_set_text(j, "id", id);
		json_set_text(j, "domain", z->domain);
		json_set_i64(j, "ttl", NETWORK_ZONE_TTL_S);
		json_set_bool(j, "upstream", true);
		z->given[i] = names_send(z->host, j, fds, has ? 0 : 2);
	}
	(void)fd_close(fds[0]);
	(void)fd_close(fds[1]);
	return r;
}

static int give_all(struct zone_told *z, struct err *e)
{
	for (size_t i = 0; i < z->addresses_n; i++) {
		int r = z->given[i] ? 0 : give(z, i, e);

		if (r < 0)
			return r;
	}
	pump(z);
	return 0;
}

void zone_catch_up(struct network_host *h)
{
	struct err e = {0};

	if (h->zone && give_all(h->zone, &e) < 0)
		log_error("%s", e.text);
}

void zone_lost(struct network_host *h)
{
	struct zone_told *z = h->zone;

	if (!z)
		return;
	memset(z->given, 0, sizeof(z->given));
	z->held_back = z->settled_told = false;
	map_each (&z->owners, it) {
		struct owner *o = it->value;

		list_remove(&o->link);
		list_append(&z->untold, &o->link);
	}
}

bool zone_is_id(const char *id)
{
	return text_starts(id, ZONE_ID);
}

/* ---- the host's part ---- */

int zone_lay(struct network_host *h, struct err *e)
{
	auto_netlink_batch struct netlink_batch *b = netlink_batch_new();

	for (size_t i = 0; h->zone && i < h->zone->addresses_n; i++) {
		const struct ip *ip = &h->zone->addresses[i];
		struct ip_net one = {*ip, (uint8_t)(ip->n * 8)};

		netlink_add_address(b, h->pods->index, &one);
	}
	return netlink_run(&h->netlink, b, e);
}

/* ---- the verbs ---- */

static int read_addresses(struct zone_told *z, const char *const *addresses, struct err *e)
{
	for (; addresses && *addresses; addresses++) {
		int r;

		if (z->addresses_n == NETWORK_ZONE_ADDRESSES_MAX)
			return err_set(e, ERR_INVALID,
				       "more than %d addresses for names of the cluster",
				       NETWORK_ZONE_ADDRESSES_MAX);
		r = ip_parse(str_of(*addresses), "address for names of the cluster",
			     &z->addresses[z->addresses_n++], e);
		if (r < 0)
			return r;
	}
	return z->addresses_n ? 0 : err_set(e, ERR_INVALID, "no address for names of the cluster");
}

int network_zone_open(struct network_host *h, const struct network_zone_options *o, struct err *e)
{
	struct zone_told *z;
	int r;

	assert(o->domain && !h->zone);
	if (!h->pods)
		return err_set(e, ERR_INVALID, "names of the cluster need a range of pods first");
	z = mem_new(struct zone_told);
	z->host = h;
	z->domain = mem_dup_text(o->domain);
	list_init(&z->untold);
	r = read_addresses(z, o->addresses, e);
	if (r < 0) {
		(void)zone_told_free(z);
		return r;
	}
	h->zone = z;
	r = zone_lay(h, e);
	if (r == 0 && names_ready(h))
		r = give_all(z, e);
	return r;
}

static struct owner *owner_of(struct zone_told *z, const char *key)
{
	struct owner *o = map_get(&z->owners, key);

	if (!o) {
		o = mem_new(struct owner);
		o->key = mem_dup_text(key);
		list_init(&o->link);
		(void)map_put(&z->owners, key, o);
	}
	return o;
}

int network_zone_set(struct network_host *h, const char *owner,
		     const struct network_record *records, size_t n, struct err *e)
{
	struct zone_told *z = h->zone;
	struct owner *o;

	if (!z)
		return err_set(e, ERR_INVALID, "no names of a cluster are served here");
	if (n > NETWORK_RECORDS_MAX)
		return err_set(e, ERR_EXHAUSTED, "'%s' has %zu names: more than %d", owner, n,
			       NETWORK_RECORDS_MAX);
	o = owner_of(z, owner);
	if (write_pieces(o, records, n)) {
		list_remove(&o->link);
		list_append(&z->untold, &o->link);
	}
	pump(z);
	if (n == 0 && list_empty(&o->link)) /* said: nothing is left to remember */
		owner_free(z, o);
	return 0;
}

void network_zone_settled(struct network_host *h)
{
	if (!h->zone)
		return;
	h->zone->settled = true;
	pump(h->zone);
}
