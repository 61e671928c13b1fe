/*
 * Relays of published UDP ports: a session per client, with a socket of its own towards the
 * container, so that answers find back. The answer leaves from the very address the client wrote
 * to. A session that is silent for a minute and a half is forgotten.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/server_priv.h"

#define SILENT_MS      90000
#define SWEEP_MS       30000
#define DATAGRAMS_TURN 64
#define DATAGRAM_MAX   65535

/* What a client wrote to: kept as it came, given back as the source. */
union local {
	struct in_pktinfo four;
	struct in6_pktinfo six;
};

struct session {
	struct list link;
	struct relay *relay;
	char key[64]; /* in relay->sessions */
	int fd;
	struct loop_watch *watch;
	struct sockaddr_storage client;
	socklen_t client_n;
	union local local;
	bool six;
	int64_t last_ms;
};

static void session_free(struct session *n)
{
	struct relay *r = n->relay;

	assert(r->sessions_n > 0 && map_get(&r->sessions, n->key) == n);
	(void)map_remove(&r->sessions, n->key);
	list_remove(&n->link);
	r->sessions_n--;
	if (n->watch)
		(void)loop_watch_free(n->watch);
	(void)fd_close(n->fd);
	free(n);
}

/* ---- towards the client ---- */

static void send_back(struct session *n, const void *bytes, size_t len)
{
	char control[CMSG_SPACE(sizeof(union local))] __attribute__((aligned(8))) = {0};
	size_t info_n = n->six ? sizeof(n->local.six) : sizeof(n->local.four);
	struct iovec iov = {(void *)bytes, len};
	struct msghdr msg = {.msg_name = &n->client,
			     .msg_namelen = n->client_n,
			     .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = CMSG_SPACE(info_n)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = n->six ? IPPROTO_IPV6 : IPPROTO_IP;
	c->cmsg_type = n->six ? IPV6_PKTINFO : IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(info_n);
	memcpy(CMSG_DATA(c), &n->local, info_n);
	if (sendmsg(n->relay->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("a datagram could not be sent back: %s", strerror(errno));
}

static void answer_ready(void *arg, unsigned ready)
{
	static uint8_t buf[DATAGRAM_MAX]; /* one thread, used within the call only */
	struct session *n = arg;

	if (ready & LOOP_ERROR) {
		session_free(n);
		return;
	}
	for (int i = 0; i < DATAGRAMS_TURN; i++) {
		ssize_t len = recv(n->fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (len < 0)
			return; /* refused, too: the client finds out as it would anyway */
		n->last_ms = loop_now_ms(n->relay->server->loop);
		send_back(n, buf, (size_t)len);
	}
}

/* ---- towards the container ---- */

static void client_key(const struct sockaddr_storage *from, char key[64])
{
	const struct sockaddr_in *four = (const void *)from;
	const struct sockaddr_in6 *six = (const void *)from;
	struct ip ip = {.n = from->ss_family == AF_INET ? 4 : 16};

	if (ip.n == 4)
		memcpy(ip.b, &four->sin_addr, 4);
	else
		memcpy(ip.b, &six->sin6_addr, 16);
	(void)snprintf(key, 64, "%s %u", ip_text(&ip).t,
		       ntohs(ip.n == 4 ? four->sin_port : six->sin6_port));
}

static void oldest_out(struct relay *r)
{
	struct session *oldest = NULL;

	list_each (&r->links, struct session, link, n)
		if (!oldest || n->last_ms < oldest->last_ms)
			oldest = n;
	if (oldest)
		session_free(oldest);
}

static struct session *session_new(struct relay *r, const char *key, const struct msghdr *msg)
{
	struct session *n = mem_new(struct session);
	struct err e = {0};

	if (r->sessions_n >= SERVER_UDP_SESSIONS_EACH)
		oldest_out(r);
	n->relay = r;
	(void)snprintf(n->key, sizeof(n->key), "%s", key);
	memcpy(&n->client, msg->msg_name, msg->msg_namelen);
	n->client_n = msg->msg_namelen;
	list_append(&r->links, &n->link);
	(void)map_put(&r->sessions, n->key, n);
	r->sessions_n++;
	n->fd = socket(r->to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0 || connect(n->fd, (struct sockaddr *)&r->to, r->to_n) < 0 ||
	    loop_watch_new(r->server->loop, n->fd, LOOP_READ, answer_ready, n, &n->watch, &e) < 0) {
		session_free(n);
		return NULL;
	}
	if (r->sessions_n == 1)
		loop_timer_set(r->idle, SWEEP_MS, SWEEP_MS);
	return n;
}

static void note_local(struct session *n, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			memcpy(&n->local.four, CMSG_DATA(c), sizeof(n->local.four));
			n->local.four.ipi_ifindex = 0;
			n->six = false;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&n->local.six, CMSG_DATA(c), sizeof(n->local.six));
			n->six = true;
		}
	}
}

void relay_udp_ready(void *arg, unsigned ready)
{
	static uint8_t buf[DATAGRAM_MAX];
	char control[256] __attribute__((aligned(8))), key[64];
	struct relay *r = arg;

	(void)ready;
	for (int i = 0; i < DATAGRAMS_TURN; i++) {
		struct sockaddr_storage from;
		struct iovec iov = {buf, sizeof(buf)};
		struct msghdr msg = {.msg_name = &from,
				     .msg_namelen = sizeof(from),
				     .msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};
		ssize_t len = recvmsg(r->fd, &msg, MSG_DONTWAIT);
		struct session *n;

		if (len < 0)
			return;
		client_key(&from, key);
		n = map_get(&r->sessions, key);
		if (!n)
			n = session_new(r, key, &msg);
		if (!n)
			continue;
		note_local(n, &msg);
		n->last_ms = loop_now_ms(r->server->loop);
		if (send(n->fd, buf, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			log_debug("a datagram could not be relayed: %s", strerror(errno));
	}
}

static void sweep(void *arg)
{
	struct relay *r = arg;
	int64_t now = loop_now_ms(r->server->loop);

	list_each (&r->links, struct session, link, n)
		if (now - n->last_ms > SILENT_MS)
			session_free(n);
	if (r->sessions_n == 0)
		loop_timer_unset(r->idle); /* nothing to wake up for */
}

int relay_udp_start(struct relay *r, struct err *e)
{
	struct sockaddr_storage at = {0};
	socklen_t n = sizeof(at);
	int one = 1;

	if (getsockname(r->fd, (struct sockaddr *)&at, &n) < 0)
		return err_sys(e, "the socket of relay '%s' does not work", r->key);
	if (at.ss_family == AF_INET)
		(void)setsockopt(r->fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	else
		(void)setsockopt(r->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	r->idle = loop_timer_new(r->server->loop, sweep, r);
	return loop_watch_new(r->server->loop, r->fd, LOOP_READ, relay_udp_ready, r, &r->watch, e);
}

void relay_udp_done(struct relay *r)
{
	list_each (&r->links, struct session, link, n)
		session_free(n);
	map_done(&r->sessions);
}
