/*
 * A split virtqueue (virtio 1.2, 2.7), seen from the device: a bounded cursor over guest memory.
 *
 * virtqueue_next() turns one chain of descriptors into two lists of host segments, what the driver
 * gives and what it wants filled; each descriptor is read once, checked against RAM and never
 * looked at again. Chains that loop, overrun, lie outside RAM, are too long or change their mind
 * give VIRTQUEUE_BROKEN: the device asks to be reset (virtio_break), the host does not care.
 *
 *	while (virtqueue_next(q, c) == VIRTQUEUE_CHAIN) {
 *		n = virtqueue_take(&c->out, &header, sizeof(header));
 *		...
 *		virtqueue_put(q, &c->in, answer, n);
 *		virtqueue_used(q, c->head, n);
 *	}
 *	virtio_interrupt(v, queue);
 *
 * Threads: as the device's; with the bus lock held.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virt/vm/memory/ram.h"

#define VIRTQUEUE_SIZE_MAX     256
#define VIRTQUEUE_SEGMENTS_MAX VIRTQUEUE_SIZE_MAX /* in one chain, both directions together */

struct virtqueue {
	struct ram *ram;
	/* As the driver set them, checked when it enables the queue. */
	uint64_t desc_at, avail_at, used_at;
	uint16_t size, vector;
	bool enabled, event_index;
	/* Host views, valid while enabled. */
	uint8_t *desc, *avail, *used;
	uint16_t next;	    /* of the available ring: the next to take */
	uint16_t used_next; /* of the used ring: the next to write */
	uint16_t told;	    /* used_next when the driver was last interrupted */
	bool broken;
};

/* Segments with a read position at the front: whole ones leave, the first one shrinks. */
struct virtqueue_list {
	struct iovec *at;
	size_t n;
	uint64_t bytes;
};

struct virtqueue_chain {
	uint16_t head;
	struct virtqueue_list out; /* the driver's bytes: read */
	struct virtqueue_list in;  /* to be filled: write */
	struct iovec segment[VIRTQUEUE_SEGMENTS_MAX];
};

enum virtqueue_result { VIRTQUEUE_EMPTY, VIRTQUEUE_CHAIN, VIRTQUEUE_BROKEN };

/* False where size, alignment or address cannot be: the queue stays disabled. */
bool virtqueue_enable(struct virtqueue *q, struct ram *r) must_use;
void virtqueue_reset(struct virtqueue *q); /* keeps `ram` only */

/* The next chain. EMPTY also asks the driver to ring when there is more. */
enum virtqueue_result virtqueue_next(struct virtqueue *q, struct virtqueue_chain *ret) must_use;
/* Gives back the chain that was taken last, to be met again. */
void virtqueue_untake(struct virtqueue *q);
bool virtqueue_empty(const struct virtqueue *q);

/* The chain is done and `written` bytes of it were filled. */
void virtqueue_used(struct virtqueue *q, uint16_t head, uint32_t written);
/* Several at once, seen together by the driver: fill i of a batch, then publish the count. */
void virtqueue_fill(struct virtqueue *q, uint16_t i, uint16_t head, uint32_t written);
void virtqueue_publish(struct virtqueue *q, uint16_t count);
/* Does the driver want an interrupt for what became used since it last had one? */
bool virtqueue_wants_interrupt(struct virtqueue *q) must_use;

/* Copies from the front and shortens; the count, less than n where the list is shorter. */
size_t virtqueue_take(struct virtqueue_list *l, void *to, size_t n);
size_t virtqueue_skip(struct virtqueue_list *l, size_t n);
/* Copies to the front, marks the pages written and shortens. */
size_t virtqueue_put(struct virtqueue *q, struct virtqueue_list *l, const void *from, size_t n);
/* Cuts the last byte off (a status); NULL where there is none. */
uint8_t *virtqueue_cut_last(struct virtqueue_list *l);
/* Marks what was written by others (a disk read) into the first n bytes of the segments. */
void virtqueue_wrote(struct ram *r, const struct iovec *segments, size_t n, uint64_t bytes);
