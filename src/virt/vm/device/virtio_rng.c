/*
 * The entropy device. There is nothing to configure and nothing to wait for: the world's
 * randomness is copied into the driver's buffers while it is asked.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_ids.h>

#include "ground/base/mem.h"
#include "virt/vm/device/virtio.h"
#include "virt/vm/device/virtio_rng.h"

#define RNG_MAGIC	  0x56524e47u
#define REQUEST_BYTES_MAX (64u << 10)
#define STEP_BYTES	  256u

struct virtio_rng {
	struct virtio virtio;
	unsigned magic;
	const struct world *world;
	struct virtqueue_chain chain;
};

static struct virtio_rng *as_rng(struct virtio *v)
{
	struct virtio_rng *r = container_of(v, struct virtio_rng, virtio);

	assert(r->magic == RNG_MAGIC);
	return r;
}

static uint32_t fill(struct virtio_rng *r, struct virtqueue *q)
{
	uint8_t bytes[STEP_BYTES];
	uint32_t done = 0;

	while (done < REQUEST_BYTES_MAX && r->chain.in.bytes) {
		size_t n = r->chain.in.bytes < STEP_BYTES ? (size_t)r->chain.in.bytes : STEP_BYTES;

		r->world->random(r->world->ctx, bytes, n);
		done += (uint32_t)virtqueue_put(q, &r->chain.in, bytes, n);
	}
	explicit_bzero(bytes, sizeof(bytes));
	return done;
}

static void rng_kick(struct virtio *v, unsigned q)
{
	struct virtio_rng *r = as_rng(v);

	while (virtio_next(v, q, &r->chain))
		virtio_used(v, q, r->chain.head, fill(r, &v->queue[q].ring));
	virtio_interrupt(v, q);
}

static void rng_free(struct virtio *v)
{
	struct virtio_rng *r = as_rng(v);

	virtio_done(v);
	r->magic = 0;
	free(r);
}

static const struct virtio_ops rng_ops = {
	.name = "virtio-rng",
	.type = VIRTIO_ID_RNG,
	.class = 0x00ff00,
	.queues = 1,
	.queue_size = 8,
	.kick = rng_kick,
	.free = rng_free,
};

int virtio_rng_new(struct pci *p, const struct world *w, struct err *e)
{
	struct virtio_rng *r = mem_new(struct virtio_rng);
	int failed;

	assert(w && w->random);
	r->magic = RNG_MAGIC;
	r->world = w;
	failed = virtio_init(&r->virtio, &rng_ops, p, 0, NULL, 0, 0, e);
	if (failed)
		free(r);
	return failed;
}
