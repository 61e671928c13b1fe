/*
 * Between virtio.c (a device's life) and virtio_pci.c (its registers); nobody else's.
 */
#pragma once

#include "virt/vm/device/virtio.h"

#define VIRTIO_NO_VECTOR 0xffff

/* Capabilities, BARs, MSI-X and doorbells; the function is not on the bus yet. */
void virtio_pci_init(struct virtio *v);

/* From registers. */
void virtio_status_write(struct virtio *v, uint8_t status);
void virtio_queue_enable(struct virtio *v, unsigned q);
void virtio_reset(struct virtio *v);
/* As if the driver had rung; from any thread. */
void virtio_ring(struct virtio *v, unsigned q);
/* Lets the device look at a queue now; the loop's thread. */
void virtio_kick(struct virtio *v, unsigned q);
