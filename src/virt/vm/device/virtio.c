/*
 * The life of a virtio device: its queues, features, interrupts and resets. Registers are in
 * virtio_pci.c, rings in virtqueue.c, what a device does in its own file.
 *
 * Theory of operation: each queue has an eventfd as its doorbell. Whoever executes the guest
 * signals it without a lock; the loop's thread wakes, takes the bus lock and lets the device drain
 * the queue. Completions come to the loop as well, so that a device's queue code runs on one
 * thread and the lock guards only against registers.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "ground/base/log.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/virtio_priv.h"

#define TRANSPORT_FEATURES                                                  \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | \
	 1ull << VIRTIO_RING_F_EVENT_IDX)
#define ISR_QUEUE  1
#define ISR_CONFIG 2

bool virtio_has(const struct virtio *v, unsigned feature)
{
	assert(feature < 64);
	return v->accepted >> feature & 1;
}

bool virtio_live(const struct virtio *v)
{
	return (v->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       !(v->status & VIRTIO_CONFIG_S_NEEDS_RESET) && !v->draining;
}

/* ---- interrupts ---- */

static void interrupt(struct virtio *v, uint16_t vector, uint8_t isr)
{
	if (pci_msix_on(&v->pci)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_interrupt(&v->pci, vector);
		return;
	}
	v->isr |= isr;
	pci_intx(&v->pci, true);
}

void virtio_interrupt(struct virtio *v, unsigned q)
{
	struct virtqueue *ring = &v->queue[q].ring;

	assert(q < v->queues);
	if (virtio_live(v) && ring->enabled && virtqueue_wants_interrupt(ring))
		interrupt(v, ring->vector, ISR_QUEUE);
}

static void interrupt_now(void *arg)
{
	struct virtio *v = arg;

	virtio_lock(v);
	for (unsigned q = 0; v->later; q++) {
		if (v->later >> q & 1)
			virtio_interrupt(v, q);
		v->later &= ~(1u << q);
	}
	virtio_unlock(v);
}

void virtio_interrupt_later(struct virtio *v, unsigned q)
{
	assert(q < v->queues);
	if (!v->later)
		loop_defer(v->pci.pci->host.loop, interrupt_now, v);
	v->later |= 1u << q;
}

void virtio_config_changed(struct virtio *v)
{
	v->generation++;
	if (v->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(v, v->config_vector, ISR_CONFIG);
}

void virtio_break(struct virtio *v, const char *why)
{
	if (v->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	log_debug("%s: needs a reset: %s", v->ops->name, why);
	v->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_config_changed(v);
}

/* ---- queues ---- */

bool virtio_next(struct virtio *v, unsigned q, struct virtqueue_chain *c)
{
	assert(q < v->queues);
	if (!virtio_live(v) || !v->queue[q].ring.enabled)
		return false;
	switch (virtqueue_next(&v->queue[q].ring, c)) {
	case VIRTQUEUE_CHAIN:
		return true;
	case VIRTQUEUE_EMPTY:
		return false;
	case VIRTQUEUE_BROKEN:
		virtio_break(v, "malformed descriptors");
		return false;
	}
	__builtin_unreachable();
}

void virtio_used(struct virtio *v, unsigned q, uint16_t head, uint32_t written)
{
	assert(q < v->queues);
	if (virtio_live(v) && v->queue[q].ring.enabled)
		virtqueue_used(&v->queue[q].ring, head, written);
}

static void rung(void *arg, unsigned ready)
{
	struct virtio_queue *q = arg;
	struct virtio *v = q->device;
	eventfd_t rings;

	(void)ready;
	(void)eventfd_read(q->doorbell, &rings);
	virtio_lock(v);
	virtio_kick(v, (unsigned)(q - v->queue));
	virtio_unlock(v);
}

void virtio_kick(struct virtio *v, unsigned q)
{
	assert(q < v->queues);
	if (virtio_live(v) && v->queue[q].ring.enabled)
		v->ops->kick(v, q);
}

void virtio_ring(struct virtio *v, unsigned q)
{
	assert(q < v->queues);
	(void)eventfd_write(v->queue[q].doorbell, 1);
}

/* ---- status ---- */

void virtio_reset(struct virtio *v)
{
	if (v->held) {
		v->draining = true;
		return;
	}
	v->draining = false;
	v->status = v->isr = 0;
	v->accepted = 0;
	v->feature_select_device = v->feature_select_driver = 0;
	v->queue_select = 0;
	v->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < v->queues; i++) {
		virtqueue_reset(&v->queue[i].ring);
		v->queue[i].ring.size = v->ops->queue_size;
		v->queue[i].ring.vector = VIRTIO_NO_VECTOR;
	}
	pci_intx(&v->pci, false);
	if (v->ops->reset)
		v->ops->reset(v);
}

/* 3.1.1: FEATURES_OK stays off where the driver took what was not offered, or no VERSION_1. */
static bool features_fit(const struct virtio *v)
{
	return !(v->accepted & ~v->offered) && virtio_has(v, VIRTIO_F_VERSION_1);
}

void virtio_status_write(struct virtio *v, uint8_t status)
{
	uint8_t now = status & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET, came;

	if (v->draining)
		return;
	if (status == 0) {
		virtio_reset(v);
		return;
	}
	if ((now & ~v->status & VIRTIO_CONFIG_S_FEATURES_OK) && !features_fit(v))
		now &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(now & VIRTIO_CONFIG_S_FEATURES_OK))
		now &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	came = (uint8_t)(now & ~v->status);
	v->status |= now;
	if (!(came & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	if (v->ops->ready)
		v->ops->ready(v);
	for (unsigned i = 0; i < v->queues; i++)
		virtio_ring(v, i);
}

void virtio_queue_enable(struct virtio *v, unsigned q)
{
	struct virtqueue *ring = &v->queue[q].ring;

	assert(q < v->queues);
	if (ring->enabled || v->draining)
		return;
	ring->event_index = virtio_has(v, VIRTIO_RING_F_EVENT_IDX);
	if (!virtqueue_enable(ring, v->pci.pci->host.ram))
		virtio_break(v, "a queue's rings lie outside memory");
	else
		virtio_ring(v, q);
}

void virtio_hold(struct virtio *v)
{
	v->held++;
	assert(v->held != 0);
}

void virtio_release(struct virtio *v)
{
	assert(v->held > 0);
	if (--v->held == 0 && v->draining)
		virtio_reset(v);
}

/* ---- birth and death ---- */

static int doorbells_open(struct virtio *v, struct err *e)
{
	for (unsigned i = 0; i < v->queues; i++) {
		struct virtio_queue *q = &v->queue[i];

		q->device = v;
		q->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (q->doorbell < 0)
			return err_sys(e, "cannot make an eventfd for %s", v->ops->name);
	}
	return 0;
}

static int watches_open(struct virtio *v, struct err *e)
{
	for (unsigned i = 0; i < v->queues; i++) {
		struct virtio_queue *q = &v->queue[i];

		if (loop_watch_new(v->pci.pci->host.loop, q->doorbell, LOOP_READ, rung, q,
				   &q->watch, e) < 0)
			return err_wrap(e, "cannot watch the queues of %s", v->ops->name);
	}
	return 0;
}

static void queues_close(struct virtio *v)
{
	for (unsigned i = 0; i < v->queues; i++) {
		v->queue[i].watch = loop_watch_free(v->queue[i].watch);
		v->queue[i].doorbell = fd_close(v->queue[i].doorbell);
	}
}

int virtio_init(struct virtio *v, const struct virtio_ops *ops, struct pci *p, uint64_t features,
		void *config, unsigned config_bytes, unsigned queues, struct err *e)
{
	int failed;

	assert(ops->kick && ops->free && ops->queues <= VIRTIO_QUEUES_MAX);
	assert(queues <= ops->queues && ops->queue_size <= VIRTQUEUE_SIZE_MAX);
	v->ops = ops;
	v->offered = features | TRANSPORT_FEATURES;
	v->config = config;
	v->config_bytes = config_bytes;
	v->queues = queues ? queues : ops->queues;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		v->queue[i].doorbell = -1;
	failed = doorbells_open(v, e);
	if (!failed) {
		virtio_pci_init(v);
		failed = pci_add(p, &v->pci, e);
	}
	if (!failed) {
		virtio_reset(v);
		failed = watches_open(v, e);
		if (failed)
			p->slot[v->pci.slot] = NULL;
	}
	if (failed)
		queues_close(v);
	return failed;
}

void virtio_done(struct virtio *v)
{
	assert(v->held == 0);
	loop_defer_cancel(v->pci.pci->host.loop, interrupt_now, v);
	queues_close(v);
}
