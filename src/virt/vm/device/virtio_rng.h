/*
 * A virtio entropy device (virtio 1.2, 5.4): fills what the driver offers with random bytes, at
 * most 64 KiB a request. Freed by the bus.
 */
#pragma once

#include "ground/base/world.h"
#include "virt/vm/device/pci.h"

int virtio_rng_new(struct pci *p, const struct world *w, struct err *e) must_use;
