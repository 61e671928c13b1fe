/*
 * Packet channels. Each readable event takes a bounded number of messages, so that a chatty peer
 * cannot hold the loop; what the socket refused waits in a list and goes out on writable events, in
 * order.
 */
#include "ground/wire/packet.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "ground/base/list.h"
#include "ground/base/own.h"

#define PACKET_MAGIC	0x5061636bu
#define MESSAGES_A_TURN 32
#define ACCEPTS_A_TURN	32

struct message {
	struct list link;
	size_t n, fds_n;
	int fds[UNIX_FDS_MAX];
	char bytes[];
};

struct packet {
	unsigned magic;
	struct loop *loop;
	struct loop_watch *watch;
	const struct packet_ops *ops;
	void *arg;
	int fd;
	struct list queue;
	size_t queued;
	bool closed; /* told, or about to be */
	bool *freed; /* set while callbacks run, to notice packet_free() in them */
};

struct packet_listener {
	struct loop_watch *watch;
	int fd;
	char *path;
	void (*accepted)(void *arg, int fd);
	void *arg;
};

static void close_fds(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fds[i] = fd_close(fds[i]);
}

static void message_free(struct message *m)
{
	list_remove(&m->link);
	close_fds(m->fds, m->fds_n);
	free(m);
}

static void drop_queue(struct packet *p)
{
	list_each (&p->queue, struct message, link, m)
		message_free(m);
	p->queued = 0;
}

static void tell_closed(void *arg)
{
	struct packet *p = arg;

	assert(p->magic == PACKET_MAGIC);
	p->ops->closed(p->arg);
}

/* The socket is of no use any more; the owner hears of it at the end of this turn. */
static void packet_break(struct packet *p)
{
	if (p->closed)
		return;
	p->closed = true;
	drop_queue(p);
	loop_watch_want(p->watch, 0);
	loop_defer(p->loop, tell_closed, p);
}

static void want(struct packet *p)
{
	unsigned events = LOOP_READ;

	if (p->closed)
		return;
	if (!list_empty(&p->queue))
		events |= LOOP_WRITE;
	loop_watch_want(p->watch, events);
}

static void flush(struct packet *p)
{
	list_each (&p->queue, struct message, link, m) {
		int r = unix_send(p->fd, m->bytes, m->n, m->fds, m->fds_n, NULL);

		if (r == 1)
			return;
		if (r < 0) {
			packet_break(p);
			return;
		}
		p->queued -= m->n;
		message_free(m);
	}
	want(p);
}

/* One message; false when there is no other to take now. */
static bool take_message(struct packet *p, char *bytes)
{
	int fds[UNIX_FDS_MAX];
	size_t fds_n = UNIX_FDS_MAX;
	size_t n = 0;
	int r = unix_receive(p->fd, bytes, PACKET_BYTES_MAX, &n, fds, &fds_n, NULL);
	bool freed = false;

	if (r == 1)
		return false;
	if (r < 0) {
		packet_break(p);
		return false;
	}
	p->freed = &freed;
	p->ops->received(p->arg, bytes, n, fds, fds_n);
	close_fds(fds, fds_n);
	if (freed)
		return false;
	p->freed = NULL;
	return !p->closed;
}

static void packet_ready(void *arg, unsigned ready)
{
	struct packet *p = arg;
	auto_free char *bytes = NULL;

	assert(p->magic == PACKET_MAGIC);
	if (ready & LOOP_WRITE)
		flush(p);
	if (p->closed || !(ready & (LOOP_READ | LOOP_HUP | LOOP_ERROR)))
		return;
	bytes = malloc(PACKET_BYTES_MAX);
	for (int i = 0; bytes && i < MESSAGES_A_TURN; i++)
		if (!take_message(p, bytes))
			return;
	if (!bytes || (ready & LOOP_ERROR))
		packet_break(p);
}

int packet_open(struct loop *l, int fd, const struct packet_ops *ops, void *arg,
		struct packet **ret, struct err *e)
{
	struct packet *p = mem_new(struct packet);
	int r;

	assert(ops->received);
	assert(ops->closed);
	*p = (struct packet){.magic = PACKET_MAGIC, .loop = l, .ops = ops, .arg = arg, .fd = fd};
	list_init(&p->queue);
	r = loop_watch_new(l, fd, LOOP_READ, packet_ready, p, &p->watch, e);
	if (r < 0) {
		(void)fd_close(fd);
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int packet_connect(struct loop *l, const char *path, const struct packet_ops *ops, void *arg,
		   struct packet **ret, struct err *e)
{
	int fd = -1;
	int r = unix_connect(path, SOCK_SEQPACKET | SOCK_NONBLOCK, &fd, e);

	return r < 0 ? r : packet_open(l, fd, ops, arg, ret, e);
}

struct packet *packet_free(struct packet *p)
{
	if (!p)
		return NULL;
	assert(p->magic == PACKET_MAGIC);
	if (p->freed)
		*p->freed = true;
	loop_defer_cancel(p->loop, tell_closed, p);
	p->watch = loop_watch_free(p->watch);
	p->fd = fd_close(p->fd);
	drop_queue(p);
	p->magic = 0;
	free(p);
	return NULL;
}

/* Keeps a message for later, with descriptors of its own. */
static int keep(struct packet *p, const void *bytes, size_t n, const int *fds, size_t fds_n,
		struct err *e)
{
	struct message *m;

	if (p->queued + n > PACKET_QUEUE_MAX)
		return err_set(e, ERR_EXHAUSTED, "cannot send a message: the peer does not read");
	m = mem_new_bytes(1, sizeof(*m) + n);
	list_init(&m->link);
	m->n = n;
	memcpy(m->bytes, bytes, n);
	for (; m->fds_n < fds_n; m->fds_n++) {
		m->fds[m->fds_n] = fcntl(fds[m->fds_n], F_DUPFD_CLOEXEC, 3);
		if (m->fds[m->fds_n] < 0) {
			int r = err_sys(e, "cannot copy descriptor %d", fds[m->fds_n]);

			message_free(m);
			return r;
		}
	}
	list_append(&p->queue, &m->link);
	p->queued += n;
	want(p);
	return 0;
}

int packet_send(struct packet *p, const void *bytes, size_t n, const int *fds, size_t fds_n,
		struct err *e)
{
	int r = 1;

	assert(p->magic == PACKET_MAGIC);
	assert(n <= PACKET_BYTES_MAX);
	if (p->closed)
		return err_set(e, ERR_GONE, "cannot send a message: the peer has gone");
	if (list_empty(&p->queue))
		r = unix_send(p->fd, bytes, n, fds, fds_n, e);
	if (r == -ERR_GONE)
		packet_break(p);
	return r == 1 ? keep(p, bytes, n, fds, fds_n, e) : r;
}

size_t packet_queued(const struct packet *p)
{
	return p->queued;
}

int packet_peer(const struct packet *p, struct unix_peer *ret, struct err *e)
{
	return unix_peer(p->fd, ret, e);
}

static void listener_ready(void *arg, unsigned ready)
{
	struct packet_listener *pl = arg;

	(void)ready;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(pl->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		pl->accepted(pl->arg, fd);
	}
}

int packet_listen(struct loop *l, const char *path, mode_t mode,
		  void (*accepted)(void *arg, int fd), void *arg, struct packet_listener **ret,
		  struct err *e)
{
	struct packet_listener *pl = mem_new(struct packet_listener);
	int r;

	*pl = (struct packet_listener){.fd = -1, .accepted = accepted, .arg = arg};
	r = unix_listen(path, SOCK_SEQPACKET | SOCK_NONBLOCK, mode, &pl->fd, e);
	if (r == 0)
		r = loop_watch_new(l, pl->fd, LOOP_READ, listener_ready, pl, &pl->watch, e);
	if (r < 0) {
		(void)fd_close(pl->fd);
		free(pl);
		return r;
	}
	pl->path = mem_dup_text(path);
	*ret = pl;
	return 0;
}

struct packet_listener *packet_listener_free(struct packet_listener *pl)
{
	if (!pl)
		return NULL;
	pl->watch = loop_watch_free(pl->watch);
	pl->fd = fd_close(pl->fd);
	(void)unlink(pl->path);
	free(pl->path);
	free(pl);
	return NULL;
}
