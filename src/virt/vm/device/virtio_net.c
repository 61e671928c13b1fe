/*
 * The network device.
 *
 * Theory of operation: a frame to send is handed to the back as the guest's own segments, unless
 * its checksum is ours to fill in: then it is copied first, so that the guest cannot change what
 * was summed. A received frame is spread over as many buffers as it takes (num_buffers); when
 * there are too few, none is used, the back keeps the frame and is told to resume when the guest
 * adds some. One kick sends a bounded number of frames and rings again by itself, so that a guest
 * that never stops does not hold the loop.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "ground/base/mem.h"
#include "virt/vm/device/checksum.h"
#include "virt/vm/device/virtio.h"
#include "virt/vm/device/virtio_net.h"
#include "virt/vm/device/virtio_priv.h"

#define NET_MAGIC	0x564e4554u
#define QUEUE_SIZE	256
#define HEADER_BYTES	12u /* num_buffers is always there (5.1.6.1) */
#define FRAME_BYTES_MIN 14u
#define SEND_BUDGET	256
#define CONFIG_BYTES	8 /* mac, status */
#define NUM_BUFFERS_AT	offsetof(struct virtio_net_hdr_v1, num_buffers)

static_assert(sizeof(struct virtio_net_hdr_v1) == HEADER_BYTES, "the header of virtio 1");

enum { QUEUE_IN, QUEUE_OUT, QUEUES };

struct virtio_net {
	struct virtio virtio;
	unsigned magic;
	struct net_back *back;
	struct virtio_net_config config;
	bool starved; /* the back keeps a frame */
	struct virtqueue_chain chain;
	uint8_t frame[NET_FRAME_MAX]; /* one whose checksum is filled in */
};

static struct virtio_net *net_of(struct virtio *v)
{
	struct virtio_net *n = container_of(v, struct virtio_net, virtio);

	assert(n->magic == NET_MAGIC);
	return n;
}

/* ---- sending ---- */

/* Copies the frame and puts the checksum where the guest says; false where that lies outside. */
static bool send_summed(struct virtio_net *n, const struct virtio_net_hdr_v1 *h)
{
	size_t bytes = virtqueue_take(&n->chain.out, n->frame, sizeof(n->frame));
	size_t start = h->csum_start, at = start + h->csum_offset;
	const struct iovec v = {n->frame, bytes};

	if (start >= bytes || at + 2 > bytes)
		return false;
	checksum_fill(n->frame, bytes, start, at);
	n->back->ops->send(n->back, &v, 1);
	return true;
}

static void send_frame(struct virtio_net *n)
{
	struct virtqueue_list *out = &n->chain.out;
	struct virtio_net_hdr_v1 h;

	if (virtqueue_take(out, &h, sizeof(h)) != sizeof(h)) {
		virtio_break(&n->virtio, "a frame without header");
		return;
	}
	if (out->bytes < FRAME_BYTES_MIN || out->bytes > NET_FRAME_MAX ||
	    h.gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return;
	n->back->sent_bytes += out->bytes;
	if (!(h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		n->back->ops->send(n->back, out->at, out->n);
	else if (!send_summed(n, &h))
		virtio_break(&n->virtio, "a checksum outside its frame");
}

static void send_all(struct virtio_net *n)
{
	struct virtio *v = &n->virtio;
	unsigned budget = SEND_BUDGET;

	while (budget && virtio_next(v, QUEUE_OUT, &n->chain)) {
		send_frame(n);
		virtio_used(v, QUEUE_OUT, n->chain.head, 0);
		budget--;
	}
	virtio_interrupt(v, QUEUE_OUT);
	if (!budget)
		virtio_ring(v, QUEUE_OUT);
}

/* ---- receiving ---- */

struct incoming {
	const uint8_t *frame;
	size_t bytes, done;
	uint16_t buffers;
	/* Where the header went, to be completed: twelve bytes lie in at most twelve segments. */
	struct iovec at[HEADER_BYTES];
	struct virtqueue_list header;
};

static void header_remember(struct incoming *in, const struct virtqueue_list *l)
{
	size_t n = l->n < HEADER_BYTES ? l->n : HEADER_BYTES;

	memcpy(in->at, l->at, n * sizeof(in->at[0]));
	in->header = (struct virtqueue_list){in->at, n, l->bytes};
}

/* The next buffer; false when there is none, or none that can be used. */
static bool receive_buffer(struct virtio_net *n, struct incoming *in)
{
	static const uint8_t zeroes[HEADER_BYTES];
	struct virtqueue *q = &n->virtio.queue[QUEUE_IN].ring;
	size_t was = 0;

	if (!virtio_next(&n->virtio, QUEUE_IN, &n->chain))
		return false;
	if (in->buffers == 0) {
		header_remember(in, &n->chain.in);
		was = virtqueue_put(q, &n->chain.in, zeroes, sizeof(zeroes));
	}
	was += virtqueue_put(q, &n->chain.in, in->frame + in->done, in->bytes - in->done);
	if (was == 0 || (in->buffers == 0 && was < HEADER_BYTES)) {
		virtio_break(&n->virtio, "a receive buffer without room");
		return false;
	}
	in->done += in->buffers == 0 ? was - HEADER_BYTES : was;
	virtqueue_fill(q, in->buffers++, n->chain.head, (uint32_t)was);
	return true;
}

static void receive_publish(struct virtio_net *n, struct incoming *in)
{
	struct virtqueue *q = &n->virtio.queue[QUEUE_IN].ring;
	struct virtio_net_hdr_v1 h = {.num_buffers = in->buffers};

	if (virtio_has(&n->virtio, VIRTIO_NET_F_GUEST_CSUM) && checksum_right(in->frame, in->bytes))
		h.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	(void)virtqueue_put(q, &in->header, &h, sizeof(h));
	virtqueue_publish(q, in->buffers);
	virtio_interrupt(&n->virtio, QUEUE_IN);
	n->back->received_bytes += in->bytes;
}

/* True: taken, or nobody will ever want it. */
static bool receive_locked(struct virtio_net *n, const uint8_t *frame, size_t bytes)
{
	bool merge = virtio_has(&n->virtio, VIRTIO_NET_F_MRG_RXBUF);
	struct incoming in = {.frame = frame, .bytes = bytes};

	if (!virtio_live(&n->virtio) || !n->virtio.queue[QUEUE_IN].ring.enabled)
		return true;
	do {
		if (receive_buffer(n, &in))
			continue;
		for (; in.buffers; in.buffers--)
			virtqueue_untake(&n->virtio.queue[QUEUE_IN].ring);
		return !virtio_live(&n->virtio);
	} while (merge && in.done < bytes && in.buffers < QUEUE_SIZE);
	if (in.done == bytes)
		receive_publish(n, &in);
	else /* too big for what the guest offers: dropped */
		for (; in.buffers; in.buffers--)
			virtqueue_untake(&n->virtio.queue[QUEUE_IN].ring);
	return true;
}

static bool net_receive(void *front, const uint8_t *frame, size_t bytes)
{
	struct virtio_net *n = front;
	bool taken;

	assert(n->magic == NET_MAGIC);
	if (bytes < FRAME_BYTES_MIN || bytes > NET_FRAME_MAX)
		return true;
	virtio_lock(&n->virtio);
	taken = receive_locked(n, frame, bytes);
	n->starved = !taken;
	virtio_unlock(&n->virtio);
	return taken;
}

/* ---- the device ---- */

static void net_kick(struct virtio *v, unsigned q)
{
	struct virtio_net *n = net_of(v);

	if (q == QUEUE_OUT) {
		send_all(n);
	} else if (n->starved) {
		n->starved = false;
		n->back->ops->resume(n->back);
	}
}

static void net_free(struct virtio *v)
{
	struct virtio_net *n = net_of(v);

	n->back->front = NULL;
	n->back->receive = NULL;
	virtio_done(v);
	n->magic = 0;
	free(n);
}

static const struct virtio_ops net_ops = {
	.name = "virtio-net",
	.type = VIRTIO_ID_NET,
	.class = 0x020000,
	.queues = QUEUES,
	.queue_size = QUEUE_SIZE,
	.kick = net_kick,
	.free = net_free,
};

int virtio_net_new(struct pci *p, struct net_back *back, const uint8_t mac[6], struct err *e)
{
	const uint64_t features = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
				  1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_CSUM |
				  1ull << VIRTIO_NET_F_GUEST_CSUM;
	struct virtio_net *n = mem_new(struct virtio_net);
	int failed;

	assert(back && back->ops && !back->front);
	n->magic = NET_MAGIC;
	n->back = back;
	memcpy(n->config.mac, mac, sizeof(n->config.mac));
	n->config.status = VIRTIO_NET_S_LINK_UP;
	failed = virtio_init(&n->virtio, &net_ops, p, features, &n->config, CONFIG_BYTES, 0, e);
	if (failed) {
		free(n);
		return failed;
	}
	back->front = n;
	back->receive = net_receive;
	return 0;
}
