/*
 * The split virtqueue. Every value of the guest is loaded once, bounded, then used.
 *
 * Theory of operation: addresses are checked when the driver enables the queue, so that the rings
 * are plain host memory afterwards (RAM never moves). A chain may hold at most as many descriptors
 * as the queue, an indirect table likewise: a loop runs into that bound. What the chain's segments
 * hold may change at any time; who needs a stable value copies it out first (virtqueue_take).
 *
 * Notifications: with the event index the device leaves its wish in avail_event when it found the
 * queue empty, and looks once more after a full barrier; without, NO_NOTIFY is never set, since
 * the doorbell is an eventfd and costs little.
 */
#include <assert.h>
#include <string.h>

#include <linux/virtio_ring.h>

#include "virt/vm/device/virtqueue.h"

#define DESC_BYTES 16u
#define USED_BYTES 8u
#define RING_AT	   4u /* flags and index come first */

/* One descriptor, read once. */
struct desc {
	uint64_t at;
	uint32_t n;
	uint16_t flags, next;
};

static struct desc desc_load(const uint8_t *table, unsigned i)
{
	const uint8_t *p = table + (size_t)i * DESC_BYTES;

	return (struct desc){ram_load64(p), ram_load32(p + 8), ram_load16(p + 12),
			     ram_load16(p + 14)};
}

bool virtqueue_enable(struct virtqueue *q, struct ram *r)
{
	uint64_t n = q->size;

	if (n == 0 || n > VIRTQUEUE_SIZE_MAX || (n & (n - 1)))
		return false;
	if (q->desc_at % 16 || q->avail_at % 2 || q->used_at % 4)
		return false;
	q->ram = r;
	q->desc = ram_at(r, (struct gpa){q->desc_at}, n * DESC_BYTES);
	q->avail = ram_at(r, (struct gpa){q->avail_at}, RING_AT + n * 2 + 2);
	q->used = ram_at(r, (struct gpa){q->used_at}, RING_AT + n * USED_BYTES + 2);
	if (!q->desc || !q->avail || !q->used)
		return false;
	q->next = q->used_next = q->told = 0;
	q->broken = false;
	q->enabled = true;
	return true;
}

void virtqueue_reset(struct virtqueue *q)
{
	*q = (struct virtqueue){.ram = q->ram};
}

static uint16_t avail_index(const struct virtqueue *q)
{
	return __atomic_load_n((const uint16_t *)(const void *)(q->avail + 2), __ATOMIC_ACQUIRE);
}

bool virtqueue_empty(const struct virtqueue *q)
{
	assert(q->enabled);
	return avail_index(q) == q->next;
}

static enum virtqueue_result broken(struct virtqueue *q)
{
	q->broken = true;
	return VIRTQUEUE_BROKEN;
}

/* ---- chains ---- */

/* One descriptor's bytes into the chain. What the driver gives comes before what it wants. */
static bool segment_add(const struct virtqueue *q, struct virtqueue_chain *c, const struct desc *d)
{
	struct virtqueue_list *l = d->flags & VRING_DESC_F_WRITE ? &c->in : &c->out;
	size_t used = c->out.n + c->in.n;
	uint8_t *p;

	if (d->n == 0)
		return true;
	p = ram_at(q->ram, (struct gpa){d->at}, d->n);
	if (!p || used == VIRTQUEUE_SEGMENTS_MAX || (l == &c->out && c->in.n))
		return false;
	if (l->n == 0)
		l->at = &c->segment[used];
	c->segment[used] = (struct iovec){p, d->n};
	l->n++;
	l->bytes += d->n;
	return l->bytes <= UINT32_MAX;
}

/* Follows a table of `n` descriptors from `i`; an indirect one is told back and must be the
 * last. */
static bool chain_walk(const struct virtqueue *q, struct virtqueue_chain *c, const uint8_t *table,
		       unsigned n, unsigned i, struct desc *ret_indirect)
{
	for (unsigned steps = 0; steps < n; steps++) {
		struct desc d;

		if (i >= n)
			return false;
		d = desc_load(table, i);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			bool may = ret_indirect && !(d.flags & VRING_DESC_F_NEXT);

			if (may)
				*ret_indirect = d;
			return may;
		}
		if (!segment_add(q, c, &d))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		i = d.next;
	}
	return false;
}

static bool chain_read(const struct virtqueue *q, struct virtqueue_chain *c)
{
	struct desc indirect = {0};
	const uint8_t *table;

	if (!chain_walk(q, c, q->desc, q->size, c->head, &indirect))
		return false;
	if (!(indirect.flags & VRING_DESC_F_INDIRECT))
		return true;
	if (indirect.n == 0 || indirect.n % DESC_BYTES ||
	    indirect.n / DESC_BYTES > VIRTQUEUE_SIZE_MAX)
		return false;
	table = ram_at(q->ram, (struct gpa){indirect.at}, indirect.n);
	return table && chain_walk(q, c, table, indirect.n / DESC_BYTES, 0, NULL);
}

/* Asks to be told of what comes from here on, and looks whether it came meanwhile. */
static bool nothing_more(struct virtqueue *q)
{
	if (q->event_index) {
		uint8_t *event = q->used + RING_AT + (size_t)q->size * USED_BYTES;

		ram_store16(event, q->next);
		ram_wrote(q->ram, (struct gpa){q->used_at + (uint64_t)(event - q->used)}, 2);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return avail_index(q) == q->next;
}

enum virtqueue_result virtqueue_next(struct virtqueue *q, struct virtqueue_chain *c)
{
	uint16_t available;

	assert(q->enabled);
	if (q->broken)
		return VIRTQUEUE_BROKEN;
	available = (uint16_t)(avail_index(q) - q->next);
	if (available == 0) {
		if (nothing_more(q))
			return VIRTQUEUE_EMPTY;
		available = (uint16_t)(avail_index(q) - q->next);
	}
	if (available > q->size)
		return broken(q);
	c->head = ram_load16(q->avail + RING_AT + (size_t)(q->next % q->size) * 2);
	c->out = (struct virtqueue_list){.at = c->segment};
	c->in = (struct virtqueue_list){.at = c->segment};
	if (c->head >= q->size || !chain_read(q, c))
		return broken(q);
	q->next++;
	return VIRTQUEUE_CHAIN;
}

void virtqueue_untake(struct virtqueue *q)
{
	assert(q->enabled);
	q->next--;
}

/* ---- the used ring ---- */

void virtqueue_fill(struct virtqueue *q, uint16_t i, uint16_t head, uint32_t written)
{
	uint16_t slot = (uint16_t)(q->used_next + i) % q->size;
	size_t at = RING_AT + (size_t)slot * USED_BYTES;

	assert(q->enabled && head < q->size);
	ram_store32(q->used + at, head);
	ram_store32(q->used + at + 4, written);
	ram_wrote(q->ram, (struct gpa){q->used_at + at}, USED_BYTES);
}

void virtqueue_publish(struct virtqueue *q, uint16_t count)
{
	assert(q->enabled && count <= q->size);
	q->used_next = (uint16_t)(q->used_next + count);
	__atomic_store_n((uint16_t *)(void *)(q->used + 2), q->used_next, __ATOMIC_RELEASE);
	ram_wrote(q->ram, (struct gpa){q->used_at}, RING_AT);
}

void virtqueue_used(struct virtqueue *q, uint16_t head, uint32_t written)
{
	virtqueue_fill(q, 0, head, written);
	virtqueue_publish(q, 1);
}

/* 2.7.10: without the event index a flag, with it whether the index that was asked for is
 * passed. */
bool virtqueue_wants_interrupt(struct virtqueue *q)
{
	uint16_t was = q->told, event;

	assert(q->enabled);
	if (q->used_next == was)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->told = q->used_next;
	if (!q->event_index)
		return !(ram_load16(q->avail) & VRING_AVAIL_F_NO_INTERRUPT);
	event = ram_load16(q->avail + RING_AT + (size_t)q->size * 2);
	return (uint16_t)(q->used_next - event - 1) < (uint16_t)(q->used_next - was);
}

/* ---- bytes of a chain ---- */

static void shorten(struct virtqueue_list *l, size_t n)
{
	assert(l->n && n <= l->at->iov_len);
	l->bytes -= n;
	l->at->iov_base = (uint8_t *)l->at->iov_base + n;
	l->at->iov_len -= n;
	if (l->at->iov_len == 0) {
		l->at++;
		l->n--;
	}
}

static size_t front(const struct virtqueue_list *l, size_t n)
{
	return l->at->iov_len < n ? l->at->iov_len : n;
}

size_t virtqueue_take(struct virtqueue_list *l, void *to, size_t n)
{
	size_t done = 0;

	while (done < n && l->n) {
		size_t now = front(l, n - done);

		memcpy((uint8_t *)to + done, l->at->iov_base, now);
		shorten(l, now);
		done += now;
	}
	return done;
}

size_t virtqueue_skip(struct virtqueue_list *l, size_t n)
{
	size_t done = 0;

	while (done < n && l->n) {
		size_t now = front(l, n - done);

		shorten(l, now);
		done += now;
	}
	return done;
}

void virtqueue_wrote(struct ram *r, const struct iovec *segments, size_t n, uint64_t bytes)
{
	for (size_t i = 0; i < n && bytes; i++) {
		uint64_t now = segments[i].iov_len < bytes ? segments[i].iov_len : bytes;
		uint64_t offset = (uint64_t)((const uint8_t *)segments[i].iov_base - r->host);

		assert(offset < r->size_bytes);
		ram_wrote(r, ram_address(r, offset), now);
		bytes -= now;
	}
}

size_t virtqueue_put(struct virtqueue *q, struct virtqueue_list *l, const void *from, size_t n)
{
	size_t done = 0;

	while (done < n && l->n) {
		size_t now = front(l, n - done);

		memcpy(l->at->iov_base, (const uint8_t *)from + done, now);
		virtqueue_wrote(q->ram, l->at, 1, now);
		shorten(l, now);
		done += now;
	}
	return done;
}

uint8_t *virtqueue_cut_last(struct virtqueue_list *l)
{
	struct iovec *last;

	if (!l->n)
		return NULL;
	last = &l->at[l->n - 1];
	assert(last->iov_len > 0);
	last->iov_len--;
	l->bytes--;
	if (last->iov_len == 0)
		l->n--;
	return (uint8_t *)last->iov_base + last->iov_len;
}
