/*
 * A virtio network device (virtio 1.2, 5.1) over a net back: one queue pair, mergeable receive
 * buffers. The guest may leave transport checksums to the device, which computes them in the
 * host's own speed; received ones are checked there as well, where the guest lets it.
 *
 * The bus frees it; the back is borrowed and freed after it.
 */
#pragma once

#include "virt/vm/device/back.h"
#include "virt/vm/device/pci.h"

int virtio_net_new(struct pci *p, struct net_back *back, const uint8_t mac[6],
		   struct err *e) must_use;
