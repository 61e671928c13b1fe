/*
 * A virtio block device. A request's descriptors become the segments of one block request; the
 * status byte is the last thing written before the chain is used.
 *
 * Theory of operation: a request lives from the queue to the back's callback and holds the device
 * meanwhile. The driver that did not take the flush feature is promised write-through (5.2.5.1):
 * then each write is followed by a flush before it is done. What does not fit the disk is that
 * request's error, what is not a request at all breaks the device.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include "ground/base/mem.h"
#include "virt/vm/device/virtio.h"
#include "virt/vm/device/virtio_block.h"

#define BLOCK_MAGIC	  0x56424c4bu
#define SECTOR_BYTES	  512u
#define QUEUE_SIZE	  256
#define SEGMENTS	  (VIRTQUEUE_SEGMENTS_MAX - 2) /* less the header and the status */
#define CONFIG_BYTES	  60	     /* up to write_zeroes_may_unmap and its padding */
#define RANGE_SECTORS_MAX (1u << 21) /* 1 GiB in a discard */
#define FREE_KEPT_MAX	  16

static_assert(SEGMENTS <= BLOCK_SEGMENTS_MAX, "a back takes what a chain holds");

struct virtio_block;

struct request {
	struct block_request back;
	struct virtio_block *device;
	uint8_t *status;
	uint32_t written;
	struct request *next; /* in the list of free ones */
	struct virtqueue_chain chain;
};

struct virtio_block {
	struct virtio virtio;
	unsigned magic;
	struct block_back *back;
	struct virtio_blk_config config;
	struct request *idle;
	unsigned idle_n;
};

static struct virtio_block *as_block(struct virtio *v)
{
	struct virtio_block *b = container_of(v, struct virtio_block, virtio);

	assert(b->magic == BLOCK_MAGIC);
	return b;
}

/* ---- requests ---- */

static struct request *request_new(struct virtio_block *b)
{
	struct request *r = b->idle;

	if (r) {
		b->idle = r->next;
		b->idle_n--;
	} else {
		r = mem_new(struct request);
	}
	r->device = b;
	r->next = NULL;
	r->written = 0;
	return r;
}

static void request_free(struct request *r)
{
	struct virtio_block *b = r->device;

	if (b->idle_n == FREE_KEPT_MAX) {
		free(r);
		return;
	}
	r->next = b->idle;
	b->idle = r;
	b->idle_n++;
}

static void request_finish(struct request *r, uint8_t status)
{
	struct virtio *v = &r->device->virtio;
	const struct iovec at = {r->status, 1};

	*r->status = status;
	virtqueue_wrote(v->pci.pci->host.ram, &at, 1, 1);
	virtio_used(v, 0, r->chain.head, r->written + 1);
	request_free(r);
}

static uint8_t status_of(int error)
{
	if (error == 0)
		return VIRTIO_BLK_S_OK;
	return error == EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static void request_done(void *arg, int error)
{
	struct request *r = arg;
	struct virtio *v = &r->device->virtio;
	bool through = !virtio_has(v, VIRTIO_BLK_F_FLUSH) && r->back.op != BLOCK_READ &&
		       r->back.op != BLOCK_FLUSH;

	if (!error && through) {
		r->back.op = BLOCK_FLUSH;
		r->back.segments_n = 0;
		r->device->back->ops->submit(r->device->back, &r->back);
		return;
	}
	virtio_lock(v);
	if (!error && r->back.op == BLOCK_READ) {
		virtqueue_wrote(v->pci.pci->host.ram, r->back.segments, r->back.segments_n,
				r->back.bytes);
		r->written = (uint32_t)r->back.bytes;
	}
	request_finish(r, status_of(error));
	virtio_interrupt_later(v, 0);
	virtio_release(v);
	virtio_unlock(v);
}

static void submit(struct request *r, enum block_op op, uint64_t offset, uint64_t bytes,
		   const struct virtqueue_list *segments)
{
	r->back = (struct block_request){.op = op,
					 .offset = offset,
					 .bytes = bytes,
					 .segments = segments ? segments->at : NULL,
					 .segments_n = segments ? segments->n : 0,
					 .done = request_done,
					 .arg = r};
	virtio_hold(&r->device->virtio);
	r->device->back->ops->submit(r->device->back, &r->back);
}

/* Does [sector, + bytes) lie on the disk? */
static bool on_disk(const struct virtio_block *b, uint64_t sector, uint64_t bytes)
{
	uint64_t size = b->back->size_bytes;

	return sector <= size / SECTOR_BYTES && bytes <= size - sector * SECTOR_BYTES;
}

static void transfer(struct request *r, enum block_op op, uint64_t sector,
		     const struct virtqueue_list *data)
{
	struct virtio_block *b = r->device;

	if (data->bytes % SECTOR_BYTES || !on_disk(b, sector, data->bytes) ||
	    (op == BLOCK_WRITE && b->back->read_only))
		request_finish(r, VIRTIO_BLK_S_IOERR);
	else if (data->bytes == 0)
		request_finish(r, VIRTIO_BLK_S_OK);
	else
		submit(r, op, sector * SECTOR_BYTES, data->bytes, data);
}

static void get_id(struct request *r)
{
	char id[VIRTIO_BLK_ID_BYTES] = {0};

	memcpy(id, r->device->back->serial, strnlen(r->device->back->serial, sizeof(id)));
	r->written = (uint32_t)virtqueue_put(&r->device->virtio.queue[0].ring, &r->chain.in, id,
					     sizeof(id));
	request_finish(r, VIRTIO_BLK_S_OK);
}

/* One range, as max_discard_seg says. */
static void range(struct request *r, enum block_op op)
{
	struct virtio_blk_discard_write_zeroes d;
	struct virtio_block *b = r->device;
	uint32_t may = op == BLOCK_ZERO ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	uint64_t bytes;

	if (b->back->read_only || virtqueue_take(&r->chain.out, &d, sizeof(d)) != sizeof(d) ||
	    r->chain.out.bytes) {
		request_finish(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	bytes = (uint64_t)d.num_sectors * SECTOR_BYTES;
	if (d.flags & ~may)
		request_finish(r, VIRTIO_BLK_S_UNSUPP);
	else if (!on_disk(b, d.sector, bytes) || d.num_sectors > RANGE_SECTORS_MAX)
		request_finish(r, VIRTIO_BLK_S_IOERR);
	else
		submit(r, op, d.sector * SECTOR_BYTES, bytes, NULL);
}

static void request_start(struct request *r)
{
	struct virtio_blk_outhdr h;

	if (virtqueue_take(&r->chain.out, &h, sizeof(h)) != sizeof(h) ||
	    !(r->status = virtqueue_cut_last(&r->chain.in))) {
		virtio_break(&r->device->virtio, "a block request without header or status");
		request_free(r);
		return;
	}
	switch (h.type) {
	case VIRTIO_BLK_T_IN:
		transfer(r, BLOCK_READ, h.sector, &r->chain.in);
		break;
	case VIRTIO_BLK_T_OUT:
		transfer(r, BLOCK_WRITE, h.sector, &r->chain.out);
		break;
	case VIRTIO_BLK_T_FLUSH:
		submit(r, BLOCK_FLUSH, 0, 0, NULL);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(r);
		break;
	case VIRTIO_BLK_T_DISCARD:
		range(r, BLOCK_DISCARD);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		range(r, BLOCK_ZERO);
		break;
	default:
		request_finish(r, VIRTIO_BLK_S_UNSUPP);
		break;
	}
}

static void block_kick(struct virtio *v, unsigned q)
{
	struct virtio_block *b = as_block(v);
	struct request *r = request_new(b);

	assert(q == 0);
	while (virtio_next(v, q, &r->chain)) {
		request_start(r);
		r = request_new(b);
	}
	request_free(r);
	virtio_interrupt(v, q);
}

/* ---- birth and death ---- */

static void block_free(struct virtio *v)
{
	struct virtio_block *b = as_block(v);

	virtio_done(v);
	while (b->idle) {
		struct request *r = b->idle;

		b->idle = r->next;
		free(r);
	}
	b->magic = 0;
	free(b);
}

static const struct virtio_ops block_ops = {
	.name = "virtio-block",
	.type = VIRTIO_ID_BLOCK,
	.class = 0x018000,
	.queues = 1,
	.queue_size = QUEUE_SIZE,
	.kick = block_kick,
	.free = block_free,
};

static uint64_t configure(struct virtio_block *b)
{
	uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
			    1ull << VIRTIO_BLK_F_FLUSH;
	struct virtio_blk_config *c = &b->config;

	c->capacity = b->back->size_bytes / SECTOR_BYTES;
	c->seg_max = SEGMENTS;
	c->blk_size = SECTOR_BYTES;
	if (b->back->read_only)
		return features | 1ull << VIRTIO_BLK_F_RO;
	features |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	c->max_write_zeroes_sectors = RANGE_SECTORS_MAX;
	c->max_write_zeroes_seg = 1;
	c->write_zeroes_may_unmap = b->back->discards;
	if (!b->back->discards)
		return features;
	c->max_discard_sectors = RANGE_SECTORS_MAX;
	c->max_discard_seg = 1;
	c->discard_sector_alignment = 4096 / SECTOR_BYTES;
	return features | 1ull << VIRTIO_BLK_F_DISCARD;
}

int virtio_block_new(struct pci *p, struct block_back *back, struct err *e)
{
	struct virtio_block *b = mem_new(struct virtio_block);
	int failed;

	assert(back && back->ops);
	b->magic = BLOCK_MAGIC;
	b->back = back;
	failed = virtio_init(&b->virtio, &block_ops, p, configure(b), &b->config, CONFIG_BYTES, 0,
			     e);
	if (failed)
		free(b);
	return failed;
}
