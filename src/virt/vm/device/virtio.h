/*
 * A virtio 1.2 device on the modern PCI transport: registers, feature negotiation, queues, reset.
 * What a device is for is its own file's affair; it embeds `struct virtio` and gives `virtio_ops`.
 *
 *	RESET --> (ACKNOWLEDGE, DRIVER, features) --> FEATURES_OK --> DRIVER_OK: live
 *	live --> RESET by writing 0, or a machine reset; by way of
 *	live --> DRAINING (requests under way) --> RESET, when the last one came back
 *	live --> NEEDS_RESET by virtio_break(): queues stand still until RESET
 *
 * Requests that go to a back hold the device (virtio_hold, virtio_release): a reset is seen as
 * done by the driver (status reads 0) only after the last one came back, so that none of them
 * writes to memory that the driver uses for something else by then.
 *
 * Threads: registers on vCPU threads, queues (`kick`) on the loop's, both with the bus lock held.
 * A back's callbacks arrive on the loop's thread without it: the device takes it (bus_lock).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/vm/device/pci.h"
#include "virt/vm/device/virtqueue.h"

#define VIRTIO_QUEUES_MAX 16

struct loop_watch;
struct virtio;

struct virtio_ops {
	const char *name; /* "virtio-block" */
	uint16_t type;	  /* 5: the device's number */
	uint32_t class;	  /* PCI class: 0x018000 */
	unsigned queues;
	uint16_t queue_size; /* the most, and what the driver finds */
	/* Queue `q` may have something; never before DRIVER_OK. */
	void (*kick)(struct virtio *v, unsigned q);
	/* Optional. The driver is ready: features are final. */
	void (*ready)(struct virtio *v);
	/* Optional. Back to birth; no request is held. */
	void (*reset)(struct virtio *v);
	/* Optional. The driver wrote to the device's configuration. */
	void (*configure)(struct virtio *v, unsigned at, unsigned size);
	void (*free)(struct virtio *v); /* after virtio_done() */
};

struct virtio_queue {
	struct virtqueue ring;
	struct virtio *device;
	int doorbell; /* an eventfd */
	struct loop_watch *watch;
};

struct virtio {
	struct pci_function pci;
	const struct virtio_ops *ops;
	uint64_t offered, accepted; /* features */
	uint32_t feature_select_device, feature_select_driver;
	uint8_t status, isr, generation;
	uint16_t queue_select, config_vector;
	bool draining;
	uint32_t later; /* queues whose interrupt is deferred, a bit each */
	unsigned held;	/* requests at backs */
	uint8_t *config;
	unsigned config_bytes;
	unsigned access; /* configuration offset of the PCI access capability */
	unsigned queues; /* of ops->queues, those in use */
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
};

/*
 * Registers, one doorbell per queue, into the next slot. `features` are the device's own (the
 * transport adds VERSION_1, ring features); `config` (little-endian, borrowed) is what the driver
 * reads. `queues` 0: all of ops->queues. On failure only memory is left, for the caller to free.
 */
int virtio_init(struct virtio *v, const struct virtio_ops *ops, struct pci *p, uint64_t features,
		void *config, unsigned config_bytes, unsigned queues, struct err *e) must_use;
/* To be called first in ops->free: ends watches and doorbells. */
void virtio_done(struct virtio *v);

bool virtio_has(const struct virtio *v, unsigned feature); /* negotiated? */
bool virtio_live(const struct virtio *v); /* DRIVER_OK, neither broken nor draining */

/* The next chain of a queue, or NULL; a broken queue breaks the device. `c` is the caller's
 * room. */
bool virtio_next(struct virtio *v, unsigned q, struct virtqueue_chain *c) must_use;
/* A chain is done; quiet when the device was reset meanwhile. */
void virtio_used(struct virtio *v, unsigned q, uint16_t head, uint32_t written);
/* Interrupts where the driver wants one for what became used. */
void virtio_interrupt(struct virtio *v, unsigned q);
/* The same at the end of the loop's turn, once for all that became used in it; the loop's
 * thread. */
void virtio_interrupt_later(struct virtio *v, unsigned q);
/* The configuration changed under the driver. */
void virtio_config_changed(struct virtio *v);
/* The driver is out of its mind: NEEDS_RESET. */
void virtio_break(struct virtio *v, const char *why);

void virtio_hold(struct virtio *v);
void virtio_release(struct virtio *v);

static inline void virtio_lock(struct virtio *v)
{
	bus_lock(v->pci.pci->host.bus);
}

static inline void virtio_unlock(struct virtio *v)
{
	bus_unlock(v->pci.pci->host.bus);
}
