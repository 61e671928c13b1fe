/*
 * An NVMe controller (NVM Express 1.4) with one namespace over a block back: what Linux's driver,
 * built into every distribution's kernel, needs to boot without an initrd. Admin queue, identify,
 * up to 32 pairs of I/O queues with a vector each, read, write, flush, write zeroes, deallocate.
 *
 * The bus frees it; the back is borrowed and freed after it. Limits: 512 KiB in a command, 1024
 * entries in a queue, pages of 4 KiB, PRPs only.
 */
#pragma once

#include "virt/vm/device/back.h"
#include "virt/vm/device/pci.h"

int nvme_new(struct pci *p, struct block_back *back, struct err *e) must_use;
