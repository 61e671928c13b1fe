/*
 * A virtio block device (virtio 1.2, 5.2) over a block back: one queue, read, write, flush,
 * discard, write zeroes, serial number; read-only where the back is.
 *
 * The bus frees it; the back is borrowed and freed after it. Limits: 254 segments in a request,
 * one range in a discard.
 */
#pragma once

#include "virt/vm/device/back.h"
#include "virt/vm/device/pci.h"

int virtio_block_new(struct pci *p, struct block_back *back, struct err *e) must_use;
