/*
 * hull-net's control connection: who may tell (whoever started it, one at a time), and what is
 * told.
 */
#include "virt/network/server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/server_priv.h"

#define VERSION 1

/* ---- answers ---- */

static void answer_have(struct server *s)
{
	auto_json struct json *j = json_new_object();
	struct json *containers = json_new_array(), *relays = json_new_array();
	auto_strbuf struct strbuf b = {0};
	struct err e = {0};

	map_each (&s->containers, it) {
		const struct member *m = it->value;

		if (m->udp >= 0)
			json_append(containers, json_new_text(it->key));
	}
	map_each (&s->relays, it)
		json_append(relays, json_new_text(it->key));
	json_set_text(j, "op", "have");
	json_set_i64(j, "version", VERSION);
	json_set(j, "containers", containers);
	json_set(j, "relays", relays);
	json_write(j, &b);
	if (packet_send(s->control, b.p, b.n, NULL, 0, &e) < 0)
		log_error("cannot answer the daemon: %s", e.text);
}

/* ---- what is told ---- */

static int do_hello(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	(void)fds;
	(void)fds_n;
	if (json_get_i64(j, "version", 0) != VERSION)
		return err_set(e, ERR_UNSUPPORTED, "the daemon speaks version %lld, this is %d",
			       (long long)json_get_i64(j, "version", 0), VERSION);
	answer_have(s);
	return 0;
}

static int do_container(struct server *s, const struct json *j, int *fds, size_t fds_n,
			struct err *e)
{
	const char *id = json_get_text(j, "id");
	int none = -1;

	if (!id || (fds_n != 0 && fds_n != 2))
		return err_set(e, ERR_INVALID, "a container without id, or with %zu sockets",
			       fds_n);
	return member_tell(s, id, j, fds_n ? &fds[0] : &none, fds_n ? &fds[1] : &none, e);
}

static int do_forget(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	const char *id = json_get_text(j, "id");

	(void)fds;
	(void)fds_n;
	if (!id)
		return err_set(e, ERR_INVALID, "forget whom?");
	member_forget(s, id);
	return 0;
}

static int do_zone(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	int none = -1;

	if (fds_n != 0 && fds_n != 2)
		return err_set(e, ERR_INVALID, "a zone with %zu sockets", fds_n);
	return zone_tell(s, j, fds_n ? &fds[0] : &none, fds_n ? &fds[1] : &none, e);
}

static int do_records(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	(void)fds;
	(void)fds_n;
	return zone_records(s, j, e);
}

static int do_settled(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	(void)j;
	(void)fds;
	(void)fds_n;
	(void)e;
	zone_settled(s);
	return 0;
}

/* Says that all before was read: the daemon sends no more than that at once. */
static int do_read(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	static const char read[] = "{\"op\":\"read\"}";

	(void)j;
	(void)fds;
	(void)fds_n;
	return packet_send(s->control, read, sizeof(read) - 1, NULL, 0, e);
}

static int do_relay(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	int none = -1;

	return relay_tell(s, j, fds_n ? &fds[0] : &none, e);
}

static int do_unrelay(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	const char *key = json_get_text(j, "key");

	(void)fds;
	(void)fds_n;
	if (!key)
		return err_set(e, ERR_INVALID, "end which relay?");
	relay_forget(s, key);
	return 0;
}

static int do_stop(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e)
{
	(void)j;
	(void)fds;
	(void)fds_n;
	(void)e;
	loop_stop(s->loop);
	return 0;
}

static const struct {
	const char *op;
	int (*run)(struct server *s, const struct json *j, int *fds, size_t fds_n, struct err *e);
} table[] = {
	{"hello", do_hello}, {"container", do_container}, {"forget", do_forget},
	{"relay", do_relay}, {"unrelay", do_unrelay},	  {"stop", do_stop},
	{"zone", do_zone},   {"records", do_records},	  {"settled", do_settled},
	{"read", do_read},
};

static void received(void *arg, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	struct server *s = arg;
	auto_json struct json *j = NULL;
	struct err e = {0};
	const char *op;

	if (json_parse((struct str){bytes, n}, "the daemon", &j, &e) < 0) {
		log_error("%s", e.text);
		return;
	}
	op = json_get_text(j, "op");
	for (size_t i = 0; i < array_len(table); i++) {
		if (!text_eq(op, table[i].op))
			continue;
		if (table[i].run(s, j, fds, fds_n, &e) < 0)
			log_error("%s: %s", op, e.text);
		return;
	}
	log_error("the daemon says '%.40s', which means nothing here", op ? op : "");
}

static void closed(void *arg)
{
	struct server *s = arg;

	s->control = packet_free(s->control); /* what was told stays */
}

static const struct packet_ops ops = {.received = received, .closed = closed};

/* The newest connection is the daemon's: an older one is of a daemon that is no more. */
static void accept_control(void *arg, unsigned ready)
{
	struct server *s = arg;
	struct err e = {0};
	struct packet *fresh = NULL;
	struct unix_peer peer;
	int fd;

	(void)ready;
	fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (packet_open(s->loop, fd, &ops, s, &fresh, &e) < 0) {
		log_error("%s", e.text);
		return;
	}
	if (packet_peer(fresh, &peer, &e) < 0 || peer.uid != s->owner) {
		log_warn("a control connection of a stranger is refused");
		(void)packet_free(fresh);
		return;
	}
	s->control = packet_free(s->control);
	s->control = fresh;
	zone_connected(s);
}

/* ---- birth and death ---- */

int server_new(const struct server_options *o, struct server **ret, struct err *e)
{
	struct server *s = mem_new(struct server);
	int r;

	assert(o->loop && o->world && o->listener >= 0);
	s->loop = o->loop;
	s->world = o->world;
	s->listener = o->listener;
	s->owner = geteuid();
	s->resolv_conf = mem_dup_text(o->resolv_conf);
	list_init(&s->questions);
	r = loop_watch_new(s->loop, s->listener, LOOP_READ, accept_control, s, &s->watch, e);
	if (r < 0) {
		(void)server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct server *server_free(struct server *s)
{
	if (!s)
		return NULL;
	map_each (&s->relays, it)
		relay_forget(s, ((struct relay *)it->value)->key);
	map_each (&s->containers, it)
		member_forget(s, ((struct member *)it->value)->id);
	zone_free(s);
	s->control = packet_free(s->control);
	if (s->watch)
		s->watch = loop_watch_free(s->watch);
	map_done(&s->relays);
	map_done(&s->containers);
	map_done(&s->names);
	free(s->resolv_conf);
	free(s);
	return NULL;
}
