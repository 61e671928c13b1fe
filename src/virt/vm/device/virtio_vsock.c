/*
 * The virtio socket device: packets in both directions, and which connection they belong to.
 *
 * Theory of operation: what is to be sent to the guest is never queued as packets. Each connection
 * remembers what it owes (a bit per kind) and whether its unix socket has bytes; vsock_progress()
 * turns that into packets while the guest offers buffers, one packet a connection in turn. Only
 * resets of connections that are not there (any more) are kept as a list, and while that is full
 * the guest's packets wait in their queue: nothing grows without bound.
 *
 * A reset of the device comes from a vCPU's thread, which may not touch the loop's watches: it
 * marks the connections dead, and the loop frees them.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/virtio_ids.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "ground/wire/unix.h"
#include "virt/vm/device/virtio_priv.h"
#include "virt/vm/device/vsock_priv.h"

#define VSOCK_MAGIC	 0x56534f43u
#define QUEUE_SIZE	 256
#define TYPE_STREAM	 1
#define RESETS_MAX	 64
#define PACKETS_MAX	 256 /* in one go */
#define PACKET_BYTES_MAX (64u << 10)
#define HOST_PORT_FIRST	 (1u << 30)
#define HEADER_BYTES	 sizeof(struct vsock_header)

enum { QUEUE_IN, QUEUE_OUT, QUEUE_EVENT, QUEUES };

struct vsock {
	struct virtio virtio;
	unsigned magic;
	struct loop *loop;
	char *path;
	int listener;
	struct loop_watch *watch;
	uint64_t cid; /* the configuration */
	struct list connections, dead;
	unsigned connections_n;
	uint32_t next_port;
	struct {
		uint32_t host_port, guest_port;
	} reset[RESETS_MAX];
	unsigned resets;
	struct virtqueue_chain chain;
};

static struct vsock *vsock_of(struct virtio *v)
{
	struct vsock *s = container_of(v, struct vsock, virtio);

	assert(s->magic == VSOCK_MAGIC);
	return s;
}

void vsock_lock(struct vsock *v)
{
	virtio_lock(&v->virtio);
}

void vsock_unlock(struct vsock *v)
{
	virtio_unlock(&v->virtio);
}

static struct vsock_connection *find(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	list_each (&v->connections, struct vsock_connection, link, c)
		if (c->host_port == host_port && c->guest_port == guest_port &&
		    c->state != VSOCK_GREETING)
			return c;
	return NULL;
}

static void connection_drop(struct vsock_connection *c)
{
	assert(c->vsock->connections_n > 0);
	c->vsock->connections_n--;
	vsock_connection_free(c);
}

static void reset_later(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	if (v->resets == RESETS_MAX)
		return; /* the guest's own time-out ends it */
	v->reset[v->resets].host_port = host_port;
	v->reset[v->resets++].guest_port = guest_port;
}

void vsock_end(struct vsock_connection *c)
{
	struct vsock *v = c->vsock;

	if (c->state != VSOCK_GREETING)
		reset_later(v, c->host_port, c->guest_port);
	connection_drop(c);
	vsock_progress(v);
}

/* ---- to the guest ---- */

/* The next buffer that has room for a header; a smaller one is no buffer. */
static bool buffer_next(struct vsock *v)
{
	if (!virtio_next(&v->virtio, QUEUE_IN, &v->chain))
		return false;
	if (v->chain.in.bytes >= HEADER_BYTES)
		return true;
	virtio_break(&v->virtio, "a socket buffer without room for a header");
	return false;
}

static struct vsock_header header_of(const struct vsock *v, struct vsock_connection *c,
				     enum vsock_op op)
{
	c->taken_told = c->taken;
	return (struct vsock_header){.from_cid = VSOCK_CID_HOST,
				     .to_cid = v->cid,
				     .from_port = c->host_port,
				     .to_port = c->guest_port,
				     .type = TYPE_STREAM,
				     .op = (uint16_t)op,
				     .room = VSOCK_BUFFER_BYTES,
				     .taken = c->taken};
}

static void packet_put(struct vsock *v, const struct vsock_header *h)
{
	struct virtqueue *q = &v->virtio.queue[QUEUE_IN].ring;

	(void)virtqueue_put(q, &v->chain.in, h, sizeof(*h));
	virtio_used(&v->virtio, QUEUE_IN, v->chain.head, (uint32_t)(sizeof(*h) + h->bytes));
}

static bool resets_send(struct vsock *v)
{
	for (; v->resets; v->resets--) {
		struct vsock_header h = {.from_cid = VSOCK_CID_HOST,
					 .to_cid = v->cid,
					 .from_port = v->reset[v->resets - 1].host_port,
					 .to_port = v->reset[v->resets - 1].guest_port,
					 .type = TYPE_STREAM,
					 .op = VSOCK_RST};

		if (!buffer_next(v))
			return false;
		packet_put(v, &h);
	}
	return true;
}

/* Segments of the buffer behind its header, at most `bytes` of them. */
static size_t payload_room(const struct virtqueue_list *in, size_t bytes, struct iovec *ret)
{
	size_t skip = HEADER_BYTES, n = 0;

	for (size_t i = 0; i < in->n && bytes; i++) {
		struct iovec s = in->at[i];
		size_t jump = skip < s.iov_len ? skip : s.iov_len;

		skip -= jump;
		s.iov_base = (uint8_t *)s.iov_base + jump;
		s.iov_len -= jump;
		if (s.iov_len > bytes)
			s.iov_len = bytes;
		bytes -= s.iov_len;
		if (s.iov_len)
			ret[n++] = s;
	}
	return n;
}

/* Bytes of the host's program as one packet. False: no buffer for it. */
static bool data_send(struct vsock *v, struct vsock_connection *c)
{
	struct iovec room[VIRTQUEUE_SEGMENTS_MAX];
	uint32_t credit = vsock_connection_credit(c);
	struct vsock_header h;
	size_t n, bytes;

	if (!buffer_next(v))
		return false;
	n = payload_room(&v->chain.in, credit < PACKET_BYTES_MAX ? credit : PACKET_BYTES_MAX, room);
	bytes = n ? vsock_connection_read(c, room, n) : 0;
	if (bytes == 0) {
		virtqueue_untake(&v->virtio.queue[QUEUE_IN].ring);
		return n > 0;
	}
	virtqueue_wrote(v->virtio.pci.pci->host.ram, room, n, bytes);
	c->sent += (uint32_t)bytes;
	h = header_of(v, c, VSOCK_RW);
	h.bytes = (uint32_t)bytes;
	packet_put(v, &h);
	return true;
}

/* One owed packet. False: no buffer for it. */
static bool owed_send(struct vsock *v, struct vsock_connection *c)
{
	unsigned op = (unsigned)__builtin_ctz(c->owed);
	struct vsock_header h;

	if (!buffer_next(v))
		return false;
	h = header_of(v, c, (enum vsock_op)op);
	if (op == VSOCK_SHUTDOWN)
		h.flags = VSOCK_NO_SEND;
	packet_put(v, &h);
	c->owed &= ~(1u << op);
	return true;
}

static bool wants_to_send(struct vsock_connection *c)
{
	if (c->owed)
		return true;
	return c->state == VSOCK_OPEN && c->readable && vsock_connection_credit(c) > 0;
}

/* One packet of each connection that has one: how many, or -1 when buffers ran out. */
static int round_send(struct vsock *v)
{
	int sent = 0;

	list_each (&v->connections, struct vsock_connection, link, c) {
		if (!wants_to_send(c))
			continue;
		if (!(c->owed ? owed_send(v, c) : data_send(v, c)))
			return -1;
		sent++;
		vsock_connection_watch(c);
	}
	return sent;
}

void vsock_progress(struct vsock *v)
{
	unsigned budget = PACKETS_MAX;
	int sent = 0;

	if (!virtio_live(&v->virtio) || !resets_send(v)) {
		virtio_interrupt(&v->virtio, QUEUE_IN);
		return;
	}
	do {
		sent = round_send(v);
		budget -= sent > 0 && (unsigned)sent < budget ? (unsigned)sent : 0;
	} while (sent > 0 && budget > VSOCK_CONNECTIONS_MAX / 4);
	virtio_interrupt(&v->virtio, QUEUE_IN);
	if (sent > 0)
		virtio_ring(&v->virtio, QUEUE_IN);
}

/* ---- from the host ---- */

static struct vsock_connection *connection_add(struct vsock *v, int fd, enum vsock_state state)
{
	struct vsock_connection *c;

	if (v->connections_n == VSOCK_CONNECTIONS_MAX) {
		(void)fd_close(fd);
		return NULL;
	}
	c = vsock_connection_new(v, v->loop, fd, state);
	if (!c)
		return NULL;
	list_append(&v->connections, &c->link);
	v->connections_n++;
	return c;
}

void vsock_request(struct vsock_connection *c, uint32_t port)
{
	struct vsock *v = c->vsock;

	if (!virtio_live(&v->virtio)) {
		vsock_end(c);
		return;
	}
	c->guest_port = port;
	do {
		v->next_port = v->next_port < HOST_PORT_FIRST ? HOST_PORT_FIRST : v->next_port + 1;
		c->host_port = v->next_port;
	} while (find(v, c->host_port, port));
	c->state = VSOCK_REQUESTED;
	c->owed |= 1u << VSOCK_REQUEST;
	vsock_connection_watch(c);
	vsock_progress(v);
}

static void accept_one(void *arg, unsigned ready)
{
	struct vsock *v = arg;
	int fd = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)ready;
	if (fd < 0)
		return;
	vsock_lock(v);
	(void)connection_add(v, fd, VSOCK_GREETING);
	vsock_unlock(v);
}

/* ---- from the guest ---- */

typedef void packet_fn(struct vsock *v, struct vsock_connection *c, const struct vsock_header *h);

static void got_request(struct vsock *v, struct vsock_connection *c, const struct vsock_header *h)
{
	auto_free char *path = mem_printf("%s_%u", v->path, h->to_port);
	int fd = -1;

	assert(!c);
	if (unix_connect(path, SOCK_STREAM | SOCK_NONBLOCK, &fd, NULL) == 0)
		c = connection_add(v, fd, VSOCK_OPEN);
	if (!c) {
		reset_later(v, h->to_port, h->from_port);
		return;
	}
	c->guest_port = h->from_port;
	c->host_port = h->to_port;
	c->peer_room = h->room;
	c->peer_taken = h->taken;
	c->owed |= 1u << VSOCK_RESPONSE;
}

static void got_response(struct vsock *v, struct vsock_connection *c, const struct vsock_header *h)
{
	char line[32];

	(void)v;
	(void)h;
	if (c->state != VSOCK_REQUESTED) {
		vsock_end(c);
		return;
	}
	(void)snprintf(line, sizeof(line), "OK %u\n", c->host_port);
	c->state = VSOCK_OPEN;
	if (vsock_connection_say(c, line))
		vsock_connection_watch(c);
	else
		vsock_end(c);
}

static void got_reset(struct vsock *v, struct vsock_connection *c, const struct vsock_header *h)
{
	(void)v;
	(void)h;
	connection_drop(c);
}

/* Both ways: the connection ends, once all that was sent is written. */
static void got_shutdown(struct vsock *v, struct vsock_connection *c, const struct vsock_header *h)
{
	bool both = (h->flags & VSOCK_NO_RECEIVE) && (h->flags & VSOCK_NO_SEND);

	(void)v;
	c->host_ended |= (h->flags & VSOCK_NO_RECEIVE) != 0;
	c->guest_ended |= (h->flags & VSOCK_NO_SEND) != 0;
	if (both && c->n == 0) {
		vsock_end(c);
		return;
	}
	if (both)
		c->state = VSOCK_CLOSING;
	else if (c->guest_ended && c->n == 0)
		(void)shutdown(c->fd, SHUT_WR);
	vsock_connection_watch(c);
}

static void got_bytes(struct vsock *v, struct vsock_connection *c, const struct vsock_header *h)
{
	if (c->state != VSOCK_OPEN || c->guest_ended ||
	    !vsock_connection_write(c, &v->chain.out, h->bytes))
		vsock_end(c);
	else
		vsock_connection_watch(c);
}

static void got_credit_update(struct vsock *v, struct vsock_connection *c,
			      const struct vsock_header *h)
{
	(void)v;
	(void)h;
	assert(c->state != VSOCK_GREETING); /* its counts are noted already */
}

static void got_credit_request(struct vsock *v, struct vsock_connection *c,
			       const struct vsock_header *h)
{
	(void)v;
	(void)h;
	c->owed |= 1u << VSOCK_CREDIT_UPDATE;
}

static packet_fn *const got[VSOCK_OPS] = {
	[VSOCK_REQUEST] = got_request,
	[VSOCK_RESPONSE] = got_response,
	[VSOCK_RST] = got_reset,
	[VSOCK_SHUTDOWN] = got_shutdown,
	[VSOCK_RW] = got_bytes,
	[VSOCK_CREDIT_UPDATE] = got_credit_update,
	[VSOCK_CREDIT_REQUEST] = got_credit_request,
};

/* False: not a packet, the device breaks. What is a packet but makes no sense is reset
 * (5.10.6.4). */
static bool packet_take(struct vsock *v)
{
	struct vsock_connection *c;
	struct vsock_header h;

	if (virtqueue_take(&v->chain.out, &h, sizeof(h)) != sizeof(h) ||
	    h.bytes > v->chain.out.bytes || h.bytes > PACKET_BYTES_MAX)
		return false;
	c = find(v, h.to_port, h.from_port);
	if (h.from_cid != v->cid || h.to_cid != VSOCK_CID_HOST)
		return true; /* to nobody, from nobody */
	if (h.type != TYPE_STREAM || h.op == 0 || h.op >= VSOCK_OPS ||
	    (h.op == VSOCK_REQUEST) == (c != NULL)) {
		if (h.op != VSOCK_RST)
			reset_later(v, h.to_port, h.from_port);
		return true;
	}
	if (c) {
		c->peer_room = h.room;
		c->peer_taken = h.taken;
	}
	got[h.op](v, c, &h);
	return true;
}

static void packets_take(struct vsock *v)
{
	struct virtio *d = &v->virtio;
	unsigned budget = PACKETS_MAX;

	while (budget && v->resets < RESETS_MAX && virtio_next(d, QUEUE_OUT, &v->chain)) {
		uint16_t head = v->chain.head;

		if (!packet_take(v)) {
			virtio_break(d, "a malformed socket packet");
			break;
		}
		virtio_used(d, QUEUE_OUT, head, 0);
		budget--;
	}
	virtio_interrupt(d, QUEUE_OUT);
	if (!budget)
		virtio_ring(d, QUEUE_OUT);
	vsock_progress(v);
}

static void vsock_kick(struct virtio *d, unsigned q)
{
	struct vsock *v = vsock_of(d);
	bool full = v->resets == RESETS_MAX;

	if (q == QUEUE_OUT) {
		packets_take(v);
	} else if (q == QUEUE_IN) {
		vsock_progress(v);
		if (full && v->resets < RESETS_MAX)
			packets_take(v);
	}
}

/* ---- the device ---- */

static void reap(void *arg)
{
	struct vsock *v = arg;

	vsock_lock(v);
	list_each (&v->dead, struct vsock_connection, link, c)
		vsock_connection_free(c);
	vsock_unlock(v);
}

static void vsock_reset(struct virtio *d)
{
	struct vsock *v = vsock_of(d);

	v->resets = 0;
	if (list_empty(&v->connections))
		return;
	list_each (&v->connections, struct vsock_connection, link, c) {
		c->dead = true;
		list_remove(&c->link);
		list_append(&v->dead, &c->link);
	}
	v->connections_n = 0;
	loop_post(v->loop, reap, v);
}

static void vsock_close(struct vsock *v)
{
	list_each (&v->connections, struct vsock_connection, link, c)
		vsock_connection_free(c);
	list_each (&v->dead, struct vsock_connection, link, d)
		vsock_connection_free(d);
	loop_post_cancel(v->loop, reap, v);
	v->watch = loop_watch_free(v->watch);
	if (v->listener >= 0)
		(void)unlink(v->path);
	v->listener = fd_close(v->listener);
	free(v->path);
	v->magic = 0;
	free(v);
}

static void vsock_free(struct virtio *d)
{
	struct vsock *v = vsock_of(d);

	virtio_done(d);
	vsock_close(v);
}

static const struct virtio_ops vsock_ops = {
	.name = "virtio-vsock",
	.type = VIRTIO_ID_VSOCK,
	.class = 0x028000,
	.queues = QUEUES,
	.queue_size = QUEUE_SIZE,
	.kick = vsock_kick,
	.reset = vsock_reset,
	.free = vsock_free,
};

int virtio_vsock_new(struct pci *p, uint32_t cid, const char *path, struct err *e)
{
	struct vsock *v;
	int failed;

	if (cid < VSOCK_CID_GUEST_MIN || cid == UINT32_MAX)
		return err_set(e, ERR_INVALID, "vsock cid %u is reserved: take one from 3 up", cid);
	v = mem_new(struct vsock);
	v->magic = VSOCK_MAGIC;
	v->loop = p->host.loop;
	v->path = mem_dup_text(path);
	v->cid = cid;
	v->listener = -1;
	list_init(&v->connections);
	list_init(&v->dead);
	failed = unix_listen(path, SOCK_STREAM | SOCK_NONBLOCK, 0600, &v->listener, e);
	if (!failed)
		failed = loop_watch_new(v->loop, v->listener, LOOP_READ, accept_one, v, &v->watch,
					e);
	if (!failed)
		failed = virtio_init(&v->virtio, &vsock_ops, p, 0, &v->cid, sizeof(v->cid), 0, e);
	if (failed)
		vsock_close(v);
	return failed;
}
