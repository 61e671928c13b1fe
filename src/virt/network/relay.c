/*
 * Relays of published TCP ports: what rules do not carry (the host's 127.0.0.1, hosts whose
 * firewall drops forwarded packets, IPv6 to a container without it) is accepted here and moved on.
 *
 * A stream is two flows, each a pipe that the kernel splices through: no byte is copied by us. A
 * flow ends when its sender has closed and its pipe is empty; then the receiver's side is shut
 * down, and the other flow goes on: half-closed connections stay half-closed.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

/* after netinet/in.h, which linux/in.h defers to */
#include <linux/netfilter_ipv4.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/server_priv.h"

#define SPLICE_BYTES (1 << 20)
#define PAUSE_MS     100 /* of accepting, when descriptors are out */
#define ACCEPTS_TURN 16

struct flow {
	int from, to;
	int pipe[2];
	size_t held; /* bytes in the pipe */
	bool full;   /* the pipe takes no more until some went on */
	bool ended;  /* the sender closed */
	bool shut;   /* and the receiver knows */
};

struct stream {
	struct list link;
	struct relay *relay;
	int client, server;
	bool connected;
	struct loop_watch *client_watch, *server_watch;
	struct flow up, down; /* client to server, server to client */
};

/* ---- relays ---- */

static int read_target(struct relay *r, const struct json *told, struct err *e)
{
	const char *to = json_get_text(told, "to");
	int64_t port = json_get_i64(told, "port", 0);
	struct sockaddr_in *four = (void *)&r->to;
	struct sockaddr_in6 *six = (void *)&r->to;
	struct ip ip;
	int bad = ip_parse(str_of(to ? to : ""), "relay target", &ip, e);

	if (bad < 0)
		return bad;
	if (port < 1 || port > 65535)
		return err_set(e, ERR_INVALID, "a relay to port %lld", (long long)port);
	memset(&r->to, 0, sizeof(r->to));
	if (ip.n == 4) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
		memcpy(&four->sin_addr, ip.b, 4);
		r->to_n = sizeof(*four);
	} else {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)port);
		memcpy(&six->sin6_addr, ip.b, 16);
		r->to_n = sizeof(*six);
	}
	return 0;
}

static void accept_again(void *arg)
{
	struct relay *r = arg;

	loop_watch_want(r->watch, LOOP_READ);
}

static void relay_close(struct relay *r)
{
	if (r->udp)
		relay_udp_done(r);
	else
		relay_tcp_done(r);
	if (r->watch)
		r->watch = loop_watch_free(r->watch);
	if (r->idle)
		r->idle = loop_timer_free(r->idle);
	r->fd = fd_close(r->fd);
}

void relay_forget(struct server *s, const char *key)
{
	struct relay *r = map_remove(&s->relays, key);

	if (!r)
		return;
	relay_close(r);
	free(r->key);
	free(r);
}

static int relay_open(struct relay *r, int *fd, struct err *e)
{
	relay_close(r);
	r->fd = take_fd(fd);
	if (r->udp)
		return relay_udp_start(r, e);
	r->idle = loop_timer_new(r->server->loop, accept_again, r);
	return loop_watch_new(r->server->loop, r->fd, LOOP_READ, relay_tcp_ready, r, &r->watch, e);
}

int relay_tell(struct server *s, const struct json *told, int *fd, struct err *e)
{
	const char *key = json_get_text(told, "key");
	struct relay *r = key ? map_get(&s->relays, key) : NULL;
	int bad;

	if (!key || (!r && *fd < 0))
		return err_set(e, ERR_INVALID, "a relay without a key or a socket");
	if (!r) {
		r = mem_new(struct relay);
		r->server = s;
		r->key = mem_dup_text(key);
		r->udp = text_eq(json_get_text(told, "proto"), "udp");
		r->egress = text_eq(json_get_text(told, "proto"), "egress");
		r->fd = -1;
		list_init(&r->links);
		(void)map_put(&s->relays, key, r);
	}
	bad = r->egress ? 0 : read_target(r, told, e);
	if (bad == 0 && *fd >= 0)
		bad = relay_open(r, fd, e);
	if (bad < 0) {
		auto_free char *copy = mem_dup_text(key);

		relay_forget(s, copy);
	}
	return bad;
}

/* ---- flows ---- */

static void flow_close(struct flow *f)
{
	f->pipe[0] = fd_close(f->pipe[0]);
	f->pipe[1] = fd_close(f->pipe[1]);
}

static int flow_open(struct flow *f, int from, int to, struct err *e)
{
	f->from = from;
	f->to = to;
	if (pipe2(f->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(e, "cannot make a pipe for a relay");
	return 0;
}

enum step { STEP_STOOD, STEP_MOVED, STEP_BROKE };

/* From the sender into the pipe. */
static enum step flow_take(struct flow *f)
{
	ssize_t n;

	if (f->ended || f->full)
		return STEP_STOOD;
	n = splice(f->from, NULL, f->pipe[1], NULL, SPLICE_BYTES,
		   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n > 0) {
		f->held += (size_t)n;
		return STEP_MOVED;
	}
	if (n < 0 && errno != EAGAIN)
		return STEP_BROKE;
	if (n == 0)
		f->ended = true;
	else
		f->full =
			f->held > 0; /* or the sender is empty: looked at again once some went on */
	return STEP_STOOD;
}

/* From the pipe to the receiver. */
static enum step flow_give(struct flow *f)
{
	ssize_t n;

	assert(!f->shut || !f->held);
	if (!f->held)
		return STEP_STOOD;
	n = splice(f->pipe[0], NULL, f->to, NULL, f->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? STEP_STOOD : STEP_BROKE;
	assert((size_t)n <= f->held);
	f->held -= (size_t)n;
	f->full = false;
	return STEP_MOVED;
}

/* Moves what can be moved; false: the connection is broken. */
static bool flow_pump(struct flow *f)
{
	enum step taken, given;

	do {
		taken = flow_take(f);
		given = taken == STEP_BROKE ? STEP_BROKE : flow_give(f);
		if (given == STEP_BROKE)
			return false;
	} while (taken == STEP_MOVED || given == STEP_MOVED);
	if (f->ended && f->held == 0 && !f->shut) {
		f->shut = true;
		(void)shutdown(f->to, SHUT_WR);
	}
	return true;
}

/* ---- streams ---- */

static void stream_free(struct stream *t)
{
	assert(t->relay->server->connections_n > 0);
	list_remove(&t->link);
	t->relay->server->connections_n--;
	if (t->client_watch)
		(void)loop_watch_free(t->client_watch);
	if (t->server_watch)
		(void)loop_watch_free(t->server_watch);
	(void)fd_close(t->client);
	(void)fd_close(t->server);
	flow_close(&t->up);
	flow_close(&t->down);
	free(t);
}

static unsigned wanted(const struct flow *in, const struct flow *out)
{
	return (in->ended || in->full ? 0U : LOOP_READ) | (out->held ? LOOP_WRITE : 0U);
}

static void pump(struct stream *t)
{
	if (!flow_pump(&t->up) || !flow_pump(&t->down) || (t->up.shut && t->down.shut)) {
		stream_free(t);
		return;
	}
	loop_watch_want(t->client_watch, wanted(&t->up, &t->down));
	loop_watch_want(t->server_watch, wanted(&t->down, &t->up));
}

static void client_ready(void *arg, unsigned ready)
{
	struct stream *t = arg;

	if (ready & LOOP_ERROR)
		stream_free(t);
	else
		pump(t);
}

static void server_ready(void *arg, unsigned ready)
{
	struct stream *t = arg;
	int sys = 0;
	socklen_t n = sizeof(sys);

	if (!t->connected &&
	    (getsockopt(t->server, SOL_SOCKET, SO_ERROR, &sys, &n) < 0 || sys != 0)) {
		static const struct linger hard = {.l_onoff = 1};

		/* what the client would see of the container itself: refused, a reset */
		(void)setsockopt(t->client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		stream_free(t);
		return;
	}
	if (ready & LOOP_ERROR) {
		stream_free(t);
		return;
	}
	t->connected = true;
	pump(t);
}

/*
 * Where a redirected connection was meant to go. One that was not redirected would lead to
 * ourselves, and the host's loopback is nobody's way out.
 */
static int find_meant(struct relay *r, int client, struct err *e)
{
	struct sockaddr_in meant = {0}, here = {0};
	socklen_t n = sizeof(meant), here_n = sizeof(here);

	if (getsockopt(client, SOL_IP, SO_ORIGINAL_DST, &meant, &n) < 0 ||
	    getsockname(client, (struct sockaddr *)&here, &here_n) < 0)
		return err_sys(e, "a connection to the world was not redirected");
	if (meant.sin_family != AF_INET || (ntohl(meant.sin_addr.s_addr) >> 24) == 127 ||
	    (meant.sin_addr.s_addr == here.sin_addr.s_addr && meant.sin_port == here.sin_port))
		return err_set(e, ERR_FORBIDDEN, "a connection to the world that leads back here");
	memcpy(&r->to, &meant, sizeof(meant));
	r->to_n = sizeof(meant);
	return 0;
}

static int stream_start(struct stream *t, struct err *e)
{
	struct relay *r = t->relay;
	int one = 1, bad;

	bad = r->egress ? find_meant(r, t->client, e) : 0;
	if (bad < 0)
		return bad;
	t->server = socket(r->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (t->server < 0)
		return err_sys(e, "cannot open a socket for a relay");
	(void)setsockopt(t->server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(t->client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	bad = flow_open(&t->up, t->client, t->server, e);
	if (bad == 0)
		bad = flow_open(&t->down, t->server, t->client, e);
	if (bad < 0)
		return bad;
	if (connect(t->server, (struct sockaddr *)&r->to, r->to_n) < 0 && errno != EINPROGRESS)
		return err_sys(e, "cannot connect a relay");
	bad = loop_watch_new(r->server->loop, t->server, LOOP_WRITE, server_ready, t,
			     &t->server_watch, e);
	if (bad == 0) /* rests until the other side is connected */
		bad = loop_watch_new(r->server->loop, t->client, 0, client_ready, t,
				     &t->client_watch, e);
	return bad;
}

static bool accept_one(struct relay *r)
{
	int fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct err e = {0};
	struct stream *t;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
			loop_watch_want(r->watch, 0);
			loop_timer_set(r->idle, PAUSE_MS, 0);
		}
		return false;
	}
	t = mem_new(struct stream);
	t->relay = r;
	t->client = fd;
	t->server = t->up.pipe[0] = t->up.pipe[1] = t->down.pipe[0] = t->down.pipe[1] = -1;
	list_append(&r->links, &t->link);
	r->server->connections_n++;
	if (stream_start(t, &e) < 0) {
		log_debug("%s", e.text);
		stream_free(t);
	}
	return true;
}

void relay_tcp_ready(void *arg, unsigned ready)
{
	struct relay *r = arg;

	(void)ready;
	for (int i = 0; i < ACCEPTS_TURN; i++) {
		if (r->server->connections_n >= SERVER_CONNECTIONS_MAX) {
			loop_watch_want(r->watch, 0);
			loop_timer_set(r->idle, PAUSE_MS, 0);
			return;
		}
		if (!accept_one(r))
			return;
	}
}

void relay_tcp_done(struct relay *r)
{
	list_each (&r->links, struct stream, link, t)
		stream_free(t);
}
