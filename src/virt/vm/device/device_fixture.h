/*
 * For tests and fuzzers of devices: a machine without a processor. The test plays the guest: it
 * finds devices in configuration space, sets up queues in guest memory, rings doorbells and reads
 * the used ring; interrupts are counted. The bus is a small one of its own, without threads.
 */
#pragma once

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "ground/base/mem.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/pci.h"
#include "virt/vm/memory/map.h"

#define unused_ok __attribute__((unused))

/* ---- a bus ---- */

#define FIXTURE_RANGES 64

struct bus {
	struct bus_range range[FIXTURE_RANGES];
	size_t ranges;
	struct bus_doorbell doorbell[FIXTURE_RANGES];
	size_t doorbells;
	int locked;
};

struct bus *bus_new(void)
{
	return mem_new(struct bus);
}

struct bus *bus_free(struct bus *b)
{
	assert(b->locked == 0 && b->ranges == 0 && b->doorbells == 0);
	free(b);
	return NULL;
}

int bus_add(struct bus *b, const struct bus_range *r, struct err *e)
{
	for (size_t i = 0; i < b->ranges; i++)
		if (b->range[i].space == r->space &&
		    r->base < b->range[i].base + b->range[i].bytes &&
		    b->range[i].base < r->base + r->bytes)
			return err_set(e, ERR_CONFLICT, "'%s' is in the way",
				       b->range[i].ops->name);
	assert(b->ranges < FIXTURE_RANGES);
	b->range[b->ranges++] = *r;
	return 0;
}

void bus_remove(struct bus *b, enum bus_space space, uint64_t base)
{
	for (size_t i = 0; i < b->ranges; i++)
		if (b->range[i].space == space && b->range[i].base == base)
			b->range[i] = b->range[--b->ranges];
}

int bus_doorbell_add(struct bus *b, const struct bus_doorbell *d, struct err *e)
{
	assert(b->doorbells < FIXTURE_RANGES);
	b->doorbell[b->doorbells++] = *d;
	return 0;
}

void bus_doorbell_remove(struct bus *b, const struct bus_doorbell *d)
{
	for (size_t i = 0; i < b->doorbells; i++)
		if (b->doorbell[i].address == d->address && b->doorbell[i].fd == d->fd)
			b->doorbell[i] = b->doorbell[--b->doorbells];
}

static const struct bus_range *fixture_range(const struct bus *b, enum bus_space s, uint64_t at,
					     unsigned size)
{
	for (size_t i = 0; i < b->ranges; i++)
		if (b->range[i].space == s && at >= b->range[i].base &&
		    at + size <= b->range[i].base + b->range[i].bytes)
			return &b->range[i];
	return NULL;
}

uint64_t bus_read(struct bus *b, enum bus_space s, uint64_t at, unsigned size)
{
	const struct bus_range *r = fixture_range(b, s, at, size);
	uint64_t v = UINT64_MAX;

	b->locked++;
	if (r)
		v = r->ops->read(r->device, at - r->base, size);
	b->locked--;
	return size < 8 ? v & ((1ull << 8 * size) - 1) : v;
}

void bus_write(struct bus *b, enum bus_space s, uint64_t at, unsigned size, uint64_t value)
{
	const struct bus_range *r = fixture_range(b, s, at, size);

	for (size_t i = 0; i < b->doorbells; i++)
		if (b->doorbell[i].address == at) {
			(void)eventfd_write(b->doorbell[i].fd, 1);
			return;
		}
	b->locked++;
	if (r)
		r->ops->write(r->device, at - r->base, size, value);
	b->locked--;
}

void bus_lock(struct bus *b)
{
	b->locked++;
}

void bus_unlock(struct bus *b)
{
	assert(b->locked > 0);
	b->locked--;
}

/* ---- a machine ---- */

#define FIXTURE_RAM_BYTES (4u << 20)
#define FIXTURE_MSI	  0xfee00000ull

struct fixture {
	struct ram *ram;
	struct bus *bus;
	struct loop *loop;
	struct pci *pci;
	unsigned messages[PCI_VECTORS_MAX]; /* by data: the vector's number */
	bool line[PCI_INTX_LINES];
	bool waiting;
	uint64_t next; /* free guest memory */
};

static void fixture_msi(void *ctx, struct msi m)
{
	struct fixture *f = ctx;

	if (m.address == FIXTURE_MSI && m.data < PCI_VECTORS_MAX)
		f->messages[m.data]++;
	if (f->waiting)
		loop_stop(f->loop);
}

static void fixture_line(void *ctx, unsigned pin, bool level)
{
	struct fixture *f = ctx;

	assert(pin < PCI_INTX_LINES && f->line[pin] != level);
	f->line[pin] = level;
	if (f->waiting && level)
		loop_stop(f->loop);
}

static unused_ok void fixture_open(struct fixture *f)
{
	struct pci_config c = {0};
	struct err e = {0};

	*f = (struct fixture){.next = 1 << 20};
	if (ram_new(FIXTURE_RAM_BYTES, &f->ram, &e) < 0 || loop_new(&f->loop, &e) < 0)
		abort();
	f->bus = bus_new();
	c = (struct pci_config){
		.ram = f->ram, .bus = f->bus, .loop = f->loop, .msi = {fixture_msi, f}};
	for (unsigned i = 0; i < PCI_INTX_LINES; i++)
		c.intx[i] = (struct irq_line){fixture_line, f, i};
	if (pci_new(&c, &f->pci, &e) < 0)
		abort();
}

static unused_ok void fixture_close(struct fixture *f)
{
	f->pci = pci_free(f->pci);
	f->bus = bus_free(f->bus);
	f->loop = loop_free(f->loop);
	f->ram = ram_free(f->ram);
}

/* Until the next interrupt. */
static unused_ok void fixture_wait(struct fixture *f)
{
	f->waiting = true;
	loop_run(f->loop);
	f->waiting = false;
}

static void fixture_stop(void *arg)
{
	loop_stop(arg);
}

/* What is ready by now is done; jobs on the pool may not be. */
static unused_ok void fixture_turn(struct fixture *f)
{
	for (int i = 0; i < 3; i++) {
		loop_post(f->loop, fixture_stop, f->loop);
		loop_run(f->loop);
	}
}

static unused_ok uint64_t fixture_room(struct fixture *f, uint64_t bytes)
{
	uint64_t at = f->next;

	f->next += (bytes + 4095) & ~4095ull;
	assert(f->next <= FIXTURE_RAM_BYTES);
	return at;
}

static unused_ok uint8_t *fixture_mem(const struct fixture *f, uint64_t at)
{
	return ram_at(f->ram, (struct gpa){at}, 1);
}

/* ---- configuration space ---- */

static uint64_t fixture_config_at(unsigned slot, unsigned at)
{
	return MAP_ECAM_BASE + slot * 8 * 4096 + at;
}

static unused_ok uint32_t config_get(const struct fixture *f, unsigned slot, unsigned at,
				     unsigned size)
{
	return (uint32_t)bus_read(f->bus, BUS_MEMORY, fixture_config_at(slot, at), size);
}

static unused_ok void config_put(const struct fixture *f, unsigned slot, unsigned at, unsigned size,
				 uint32_t value)
{
	bus_write(f->bus, BUS_MEMORY, fixture_config_at(slot, at), size, value);
}

static unused_ok unsigned config_capability(const struct fixture *f, unsigned slot, uint8_t id,
					    int virtio_type)
{
	unsigned at = config_get(f, slot, PCI_CAPABILITY_LIST, 1);

	for (; at; at = config_get(f, slot, at + 1, 1))
		if (config_get(f, slot, at, 1) == id &&
		    (virtio_type < 0 || config_get(f, slot, at + 3, 1) == (unsigned)virtio_type))
			return at;
	return 0;
}

static unused_ok uint64_t config_bar(const struct fixture *f, unsigned slot, unsigned bar)
{
	uint64_t low = config_get(f, slot, PCI_BASE_ADDRESS_0 + 4 * bar, 4);

	if ((low & 6) == PCI_BASE_ADDRESS_MEM_TYPE_64)
		low |= (uint64_t)config_get(f, slot, PCI_BASE_ADDRESS_0 + 4 * bar + 4, 4) << 32;
	return low & ~0xfull;
}

/* Memory decoding on; MSI-X on with vector v sending data v. */
static unused_ok void config_enable(const struct fixture *f, unsigned slot)
{
	unsigned msix = config_capability(f, slot, PCI_CAP_ID_MSIX, -1);
	uint64_t table;
	unsigned n;

	config_put(f, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert(msix);
	table = config_bar(f, slot, config_get(f, slot, msix + PCI_MSIX_TABLE, 4) & 7);
	n = (config_get(f, slot, msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
	for (unsigned v = 0; v < n; v++) {
		bus_write(f->bus, BUS_MEMORY, table + v * 16, 8, FIXTURE_MSI);
		bus_write(f->bus, BUS_MEMORY, table + v * 16 + 8, 4, v);
		bus_write(f->bus, BUS_MEMORY, table + v * 16 + 12, 4, 0);
	}
	config_put(f, slot, msix + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

/* ---- a virtio driver ---- */

struct driver_queue {
	uint16_t size, available, seen;
	uint16_t next_desc;
	uint64_t desc, avail, used, doorbell;
};

struct driver {
	struct fixture *f;
	unsigned slot;
	uint64_t common, isr, config, notify;
	uint64_t accepted;
	struct driver_queue q[16];
};

static uint64_t driver_region(const struct driver *d, uint8_t type)
{
	unsigned c = config_capability(d->f, d->slot, PCI_CAP_ID_VNDR, type);

	assert(c);
	return config_bar(d->f, d->slot, config_get(d->f, d->slot, c + VIRTIO_PCI_CAP_BAR, 1)) +
	       config_get(d->f, d->slot, c + VIRTIO_PCI_CAP_OFFSET, 4);
}

static unused_ok uint64_t common_get(const struct driver *d, unsigned at, unsigned size)
{
	return bus_read(d->f->bus, BUS_MEMORY, d->common + at, size);
}

static unused_ok void common_put(const struct driver *d, unsigned at, unsigned size, uint64_t v)
{
	bus_write(d->f->bus, BUS_MEMORY, d->common + at, size, v);
}

/* Up to FEATURES_OK with what is offered out of `wanted`. */
static unused_ok void driver_open(struct driver *d, struct fixture *f, unsigned slot,
				  uint64_t wanted)
{
	uint64_t offered = 0;

	*d = (struct driver){.f = f, .slot = slot};
	config_enable(f, slot);
	d->common = driver_region(d, VIRTIO_PCI_CAP_COMMON_CFG);
	d->isr = driver_region(d, VIRTIO_PCI_CAP_ISR_CFG);
	d->notify = driver_region(d, VIRTIO_PCI_CAP_NOTIFY_CFG);
	if (config_capability(f, slot, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_DEVICE_CFG))
		d->config = driver_region(d, VIRTIO_PCI_CAP_DEVICE_CFG);
	common_put(d, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	assert(common_get(d, VIRTIO_PCI_COMMON_STATUS, 1) == 0);
	common_put(d, VIRTIO_PCI_COMMON_STATUS, 1,
		   VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		common_put(d, VIRTIO_PCI_COMMON_DFSELECT, 4, i);
		offered |= common_get(d, VIRTIO_PCI_COMMON_DF, 4) << 32 * i;
	}
	d->accepted = offered & (wanted | 1ull << VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < 2; i++) {
		common_put(d, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		common_put(d, VIRTIO_PCI_COMMON_GF, 4, d->accepted >> 32 * i & 0xffffffff);
	}
	common_put(d, VIRTIO_PCI_COMMON_STATUS, 1,
		   VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			   VIRTIO_CONFIG_S_FEATURES_OK);
	assert(common_get(d, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_FEATURES_OK);
}

/* Queue i with `size` descriptors and vector i + 1. */
static unused_ok void driver_queue(struct driver *d, unsigned i, uint16_t size)
{
	struct driver_queue *q = &d->q[i];

	*q = (struct driver_queue){.size = size};
	q->desc = fixture_room(d->f, 16u * size);
	q->avail = fixture_room(d->f, 6u + 2u * size);
	q->used = fixture_room(d->f, 6u + 8u * size);
	memset(fixture_mem(d->f, q->avail), 0, 6u + 2u * size);
	memset(fixture_mem(d->f, q->used), 0, 6u + 8u * size);
	common_put(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
	common_put(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	common_put(d, VIRTIO_PCI_COMMON_Q_MSIX, 2, i + 1);
	common_put(d, VIRTIO_PCI_COMMON_Q_DESCLO, 8, q->desc);
	common_put(d, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, q->avail);
	common_put(d, VIRTIO_PCI_COMMON_Q_USEDLO, 8, q->used);
	q->doorbell = d->notify + common_get(d, VIRTIO_PCI_COMMON_Q_NOFF, 2) * 4;
	common_put(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static unused_ok void driver_ready(struct driver *d)
{
	common_put(d, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	common_put(d, VIRTIO_PCI_COMMON_STATUS, 1,
		   common_get(d, VIRTIO_PCI_COMMON_STATUS, 1) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static unused_ok bool driver_broken(const struct driver *d)
{
	return common_get(d, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

struct piece {
	uint64_t at;
	uint32_t bytes;
	bool write; /* by the device */
};

static unused_ok void desc_put(const struct fixture *f, uint64_t table, unsigned i, uint64_t at,
			       uint32_t bytes, uint16_t flags, uint16_t next)
{
	uint8_t *p = fixture_mem(f, table + 16 * i);

	memcpy(p, &at, 8);
	memcpy(p + 8, &bytes, 4);
	memcpy(p + 12, &flags, 2);
	memcpy(p + 14, &next, 2);
}

/* Makes head `head` available. */
static unused_ok void driver_offer(struct driver *d, unsigned qi, uint16_t head)
{
	struct driver_queue *q = &d->q[qi];
	uint8_t *avail = fixture_mem(d->f, q->avail);

	memcpy(avail + 4 + 2 * (q->available % q->size), &head, 2);
	q->available++;
	memcpy(avail + 2, &q->available, 2);
}

static unused_ok void driver_ring(struct driver *d, unsigned qi)
{
	bus_write(d->f->bus, BUS_MEMORY, d->q[qi].doorbell, 2, qi);
}

/* A chain of n pieces, offered; the head. The doorbell is the caller's. */
static unused_ok uint16_t driver_chain(struct driver *d, unsigned qi, const struct piece *p,
				       unsigned n)
{
	struct driver_queue *q = &d->q[qi];
	uint16_t head = (uint16_t)(q->next_desc % q->size);

	for (unsigned i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(q->next_desc++ % q->size);
		bool last = i + 1 == n;

		desc_put(d->f, q->desc, at, p[i].at, p[i].bytes,
			 (uint16_t)((p[i].write ? VRING_DESC_F_WRITE : 0) |
				    (last ? 0 : VRING_DESC_F_NEXT)),
			 last ? 0 : (uint16_t)(q->next_desc % q->size));
	}
	driver_offer(d, qi, head);
	return head;
}

/* The next used element; false where there is none. */
static unused_ok bool driver_used(struct driver *d, unsigned qi, uint32_t *ret_head,
				  uint32_t *ret_written)
{
	struct driver_queue *q = &d->q[qi];
	const uint8_t *used = fixture_mem(d->f, q->used);
	uint16_t index;

	memcpy(&index, used + 2, 2);
	if (index == q->seen)
		return false;
	memcpy(ret_head, used + 4 + 8 * (q->seen % q->size), 4);
	memcpy(ret_written, used + 8 + 8 * (q->seen % q->size), 4);
	q->seen++;
	return true;
}

/* Rings and waits for interrupts until one more chain is used; how much was written. */
static unused_ok uint32_t driver_do(struct driver *d, unsigned qi, const struct piece *p,
				    unsigned n)
{
	uint16_t head = driver_chain(d, qi, p, n);
	uint32_t used, written;

	memcpy(fixture_mem(d->f, d->q[qi].avail + 4 + 2 * d->q[qi].size), &d->q[qi].seen, 2);
	driver_ring(d, qi);
	while (!driver_used(d, qi, &used, &written))
		fixture_wait(d->f);
	assert(used == head);
	return written;
}
