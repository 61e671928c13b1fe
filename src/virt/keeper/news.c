/*
 * The connection to hulld. Events wait in a list until somebody reads them, at most
 * KEEPER_NEWS_MAX; answers are for the connection they were asked on and die with it. A newer
 * connection replaces the older one and hears the whole state first.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/linux/fdpass.h"
#include "virt/keeper/message.h"
#include "virt/keeper/supervisor_priv.h"

#define PACKETS_PER_TURN 16

static void drop_item(struct supervisor *s, struct news_item *item)
{
	list_remove(&item->link);
	s->news.items_n--;
	free(item);
}

static void disconnect(struct supervisor *s)
{
	int fd = s->news.link.fd;

	if (fd < 0)
		return;
	turn_unwatch(&s->turn, &s->news.link);
	(void)fd_close(fd);
	list_each (&s->news.items, struct news_item, link, item)
		if (!item->event)
			drop_item(s, item);
	supervisor_leave_if_done(s);
}

/* Sends what waits. false: the connection is gone. */
static bool flush(struct supervisor *s)
{
	struct news_item *item;

	while ((item = list_first(&s->news.items, struct news_item, link))) {
		ssize_t n =
			send(s->news.link.fd, item->bytes, item->n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0)
			return false;
		drop_item(s, item);
	}
	turn_watch_want(&s->turn, &s->news.link,
			EPOLLIN | (list_empty(&s->news.items) ? 0 : EPOLLOUT));
	return true;
}

static void keep(struct supervisor *s, const struct strbuf *message, bool event)
{
	struct news_item *item = mem_new_bytes(1, sizeof(*item) + message->n);

	item->event = event;
	item->n = message->n;
	memcpy(item->bytes, message->p, message->n);
	list_append(&s->news.items, &item->link);
	if (++s->news.items_n > KEEPER_NEWS_MAX) {
		drop_item(s, list_first(&s->news.items, struct news_item, link));
		s->news.lost++;
	}
}

static void say(struct supervisor *s, enum keeper_type type, uint32_t serial, const void *in,
		bool event)
{
	auto_strbuf struct strbuf message = {0};

	if (!event && s->news.link.fd < 0)
		return;
	message_write(&message, type, serial, in);
	keep(s, &message, event);
	if (s->news.link.fd >= 0 && !flush(s))
		disconnect(s);
}

void news_event(struct supervisor *s, enum keeper_type type, const void *in)
{
	say(s, type, 0, in, true);
}

void news_answer(struct supervisor *s, enum keeper_type type, uint32_t serial, const void *in,
		 const int *fds, size_t fds_n)
{
	auto_strbuf struct strbuf message = {0};

	if (fds_n == 0) {
		say(s, type, serial, in, false);
		return;
	}
	if (s->news.link.fd < 0)
		return;
	/* Descriptors do not wait in the list: what goes out with them is small and comes early. */
	message_write(&message, type, serial, in);
	if (!flush(s) || fdpass_send(s->news.link.fd, message.p, message.n, fds, fds_n, NULL) < 0)
		disconnect(s);
}

void news_ok(struct supervisor *s, uint32_t serial)
{
	say(s, KEEPER_OK, serial, NULL, false);
}

void news_fault(struct supervisor *s, uint32_t serial, const struct err *e, int exit_code)
{
	char text[sizeof(e->text)];
	struct keeper_fault fault = {.kind = e->kind, .exit_code = (uint32_t)exit_code};

	memcpy(text, e->text, sizeof(text));
	fault.text = text;
	say(s, KEEPER_FAULT, serial, &fault, false);
}

static void send_state(struct supervisor *s)
{
	auto_strbuf struct strbuf message = {0};
	char **ids = NULL;
	struct keeper_state state = {
		.id = s->orders.id,
		.phase = s->phase,
		.started = {.pid = s->init_pid,
			    .start_time = (int64_t)s->init_start_time,
			    .started_at_ns = s->started_at_ns,
			    .restart_count = s->restart.count,
			    .cgroup_dirs = s->cgroup_text},
		.has_died = s->has_died,
		.died = s->died,
		.has_fault = s->has_fault,
		.fault = s->fault,
		.health = s->health.status,
		.health_streak = s->health.streak,
		.restart = s->restart.policy,
		.restart_max = s->restart.max,
		.news_lost = s->news.lost,
	};

	list_each (&s->execs, struct exec, link, x)
		if (!x->probe && !x->ended)
			mem_append_text(&ids, x->order.id);
	state.exec_ids = ids;
	state.exec_ends = s->exec_ends;
	message_write(&message, KEEPER_STATE, 0, &state);
	/* Nothing was sent on this connection yet: the state goes before what waits. */
	if (fdpass_send(s->news.link.fd, message.p, message.n, NULL, 0, NULL) < 0 || !flush(s))
		disconnect(s);
	ids = mem_free_texts(ids);
}

/* One packet: false when the connection is gone. */
static bool receive(struct supervisor *s, bool *ret_more)
{
	/* Static: pages that no packet reaches are never touched. */
	static char packet[KEEPER_PACKET_MAX];
	int fds[KEEPER_FDS_MAX];
	size_t n = 0, fds_n = 0;
	struct err e = {0};
	int link = s->news.link.fd;
	int r = fdpass_recv(link, packet, KEEPER_PACKET_MAX, fds, KEEPER_FDS_MAX, &n, &fds_n, &e);

	*ret_more = false;
	if (r == -ERR_BUSY)
		return true;
	if (r < 0 || n == 0)
		return false;
	request_handle(s, (struct str){packet, n}, fds, fds_n);
	for (size_t i = 0; i < fds_n; i++)
		(void)fd_close(fds[i]);
	/* Handling may have lost the connection, or ended everything. */
	*ret_more = s->news.link.fd == link && !s->turn.stop;
	return true;
}

static void on_link(void *ctx, uint32_t events)
{
	struct supervisor *s = as_supervisor(ctx);
	bool more = true, good = true;

	if (events & EPOLLOUT)
		good = flush(s);
	for (int i = 0; good && more && i < PACKETS_PER_TURN && (events & EPOLLIN); i++)
		good = receive(s, &more);
	if (!good || ((events & (EPOLLHUP | EPOLLERR)) && !(events & EPOLLIN)))
		disconnect(s);
}

static int use_link(struct supervisor *s, int sock, struct err *e)
{
	int r;

	disconnect(s);
	if (fcntl(sock, F_SETFL, O_NONBLOCK) < 0) {
		(void)fd_close(sock);
		return err_sys(e, "cannot make the connection non-blocking");
	}
	s->news.link = (struct turn_watch){.fd = -1, .fn = on_link, .ctx = s};
	r = turn_watch(&s->turn, &s->news.link, sock, EPOLLIN, e);
	if (r < 0)
		(void)fd_close(sock);
	return r;
}

static void on_listen(void *ctx, uint32_t events)
{
	struct supervisor *s = as_supervisor(ctx);
	int sock = accept4(s->news.listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t n = sizeof(peer);

	(void)events;
	if (sock < 0)
		return;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 ||
	    (peer.uid != 0 && peer.uid != geteuid())) {
		(void)fd_close(sock);
		return;
	}
	if (use_link(s, sock, NULL) == 0)
		send_state(s);
}

int news_open(struct supervisor *s, int sock, struct err *e)
{
	auto_free char *path = mem_printf("%s/sock", s->orders.run_dir);
	int fd = -1, r;

	s->news.listen = (struct turn_watch){.fd = -1, .fn = on_listen, .ctx = s};
	(void)unlink(path);
	r = fdpass_listen(AT_FDCWD, path, SOCK_SEQPACKET, &fd, e);
	if (r < 0)
		return r;
	r = turn_watch(&s->turn, &s->news.listen, fd, EPOLLIN, e);
	if (r < 0) {
		(void)fd_close(fd);
		return r;
	}
	return use_link(s, sock, e);
}

void news_close(struct supervisor *s)
{
	int fd = s->news.listen.fd;

	turn_unwatch(&s->turn, &s->news.listen);
	(void)fd_close(fd);
	fd = s->news.link.fd;
	turn_unwatch(&s->turn, &s->news.link);
	(void)fd_close(fd);
	list_each (&s->news.items, struct news_item, link, item)
		drop_item(s, item);
}
