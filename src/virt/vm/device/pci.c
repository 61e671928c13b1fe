/*
 * Configuration space: what the guest reads and writes, how that moves base address registers, and
 * the host bridge in slot 0.
 *
 * Theory of operation: each function keeps its 256 bytes beside a mask of the bits that the guest
 * may change. After a write the BARs are looked at again: one that is enabled and lies in one of
 * the two windows for PCI (map.h) answers there, any other answers nowhere; so a guest can shadow
 * neither RAM nor a local APIC. Interrupts are in pci_msix.c.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/pci.h"
#include "virt/vm/device/pci_priv.h"
#include "virt/vm/memory/map.h"

#define PCI_MAGIC      0x50434942u
#define FUNCTION_MAGIC 0x50434946u

#define DRAIN_LOOK_MS	1
#define PORT_BYTES	8 /* 0xcf8 to 0xcff */
#define ECAM_SHIFT	12
#define COMMAND_BITS	(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE)
#define CAPABILITIES_AT 0x40
#define BAR_AT(i)	(PCI_BASE_ADDRESS_0 + 4 * (i))

static void check_function(const struct pci_function *f)
{
	assert(f->magic == FUNCTION_MAGIC);
	assert(f->capability_end >= CAPABILITIES_AT);
	assert(f->vectors <= PCI_VECTORS_MAX);
}

void pci_config_put(struct pci_function *f, unsigned at, unsigned size, uint32_t value)
{
	assert(size <= 4 && at + size <= PCI_CONFIG_BYTES);
	for (unsigned i = 0; i < size; i++)
		f->config[at + i] = (uint8_t)(value >> 8 * i);
}

uint32_t pci_config_get(const struct pci_function *f, unsigned at, unsigned size)
{
	uint32_t v = 0;

	assert(size <= 4 && at + size <= PCI_CONFIG_BYTES);
	for (unsigned i = 0; i < size; i++)
		v |= (uint32_t)f->config[at + i] << 8 * i;
	return v;
}

/* ---- a function's making ---- */

void pci_init(struct pci_function *f, const struct pci_function_ops *ops,
	      const struct pci_identity *id)
{
	assert(f->magic == 0);
	assert(ops->name && ops->free && ops->reset);
	f->magic = FUNCTION_MAGIC;
	f->ops = ops;
	f->capability_end = CAPABILITIES_AT;
	pci_config_put(f, PCI_VENDOR_ID, 2, id->vendor);
	pci_config_put(f, PCI_DEVICE_ID, 2, id->device);
	pci_config_put(f, PCI_CLASS_REVISION, 4, id->class << 8 | id->revision);
	pci_config_put(f, PCI_SUBSYSTEM_VENDOR_ID, 2, id->subsystem_vendor);
	pci_config_put(f, PCI_SUBSYSTEM_ID, 2, id->subsystem);
	f->writable[PCI_COMMAND] = COMMAND_BITS & 0xff;
	f->writable[PCI_COMMAND + 1] = COMMAND_BITS >> 8;
	f->writable[PCI_INTERRUPT_LINE] = 0xff;
	f->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	f->writable[PCI_LATENCY_TIMER] = 0xff;
}

void pci_bar(struct pci_function *f, unsigned index, uint64_t bytes, bool wide,
	     const struct bus_ops *ops, void *device)
{
	uint64_t mask = ~(bytes - 1);

	check_function(f);
	assert(bytes >= 4096 && (bytes & (bytes - 1)) == 0);
	assert(index < PCI_BARS && f->bar[index].bytes == 0);
	assert(!wide || index + 1 < PCI_BARS);
	f->bar[index] =
		(struct pci_bar){.bytes = bytes, .wide = wide, .ops = ops, .device = device};
	for (unsigned i = 0; i < (wide ? 8 : 4); i++)
		f->writable[BAR_AT(index) + i] = (uint8_t)(mask >> 8 * i);
	f->config[BAR_AT(index)] = wide ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0;
}

void pci_doorbell(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size, int fd)
{
	check_function(f);
	assert(f->doorbells < PCI_DOORBELLS_MAX);
	assert(offset < f->bar[bar].bytes && fd >= 0);
	f->doorbell[f->doorbells++] =
		(struct pci_doorbell){.bar = bar, .size = size, .offset = offset, .fd = fd};
}

unsigned pci_capability(struct pci_function *f, uint8_t id, unsigned bytes)
{
	unsigned at = f->capability_end;

	check_function(f);
	assert(bytes >= 2 && at + bytes <= PCI_CONFIG_BYTES);
	f->config[at] = id;
	f->config[f->capability_last ? f->capability_last + 1u : PCI_CAPABILITY_LIST] = (uint8_t)at;
	pci_config_put(f, PCI_STATUS, 2, PCI_STATUS_CAP_LIST);
	f->capability_last = (uint8_t)at;
	f->capability_end = (uint8_t)(at + ((bytes + 3) & ~3u));
	return at;
}

/* ---- base address registers ---- */

static uint64_t bar_address(const struct pci_function *f, unsigned i)
{
	uint64_t at = pci_config_get(f, BAR_AT(i), 4) & ~0xfull;

	if (f->bar[i].wide)
		at |= (uint64_t)pci_config_get(f, BAR_AT(i) + 4, 4) << 32;
	return at;
}

static bool in_window(uint64_t at, uint64_t bytes, uint64_t base, uint64_t window)
{
	return at >= base && bytes <= window && at - base <= window - bytes;
}

/* Where BAR i should answer: 0 for nowhere. */
static uint64_t bar_wanted(const struct pci_function *f, unsigned i)
{
	uint64_t at = bar_address(f, i), bytes = f->bar[i].bytes;

	if (!(pci_config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY))
		return 0;
	if (in_window(at, bytes, MAP_PCI32_BASE, MAP_PCI32_BYTES) ||
	    in_window(at, bytes, MAP_PCI64_BASE, MAP_PCI64_BYTES))
		return at;
	return 0;
}

static struct bus_doorbell doorbell_of(const struct pci_function *f, const struct pci_doorbell *d)
{
	return (struct bus_doorbell){.space = BUS_MEMORY,
				     .address = f->bar[d->bar].base + d->offset,
				     .size = d->size,
				     .fd = d->fd};
}

static void bar_unmap(struct pci_function *f, unsigned i)
{
	if (!f->bar[i].base)
		return;
	for (size_t n = 0; n < f->doorbells; n++) {
		struct bus_doorbell d = doorbell_of(f, &f->doorbell[n]);

		if (f->doorbell[n].bar != i || !f->doorbell[n].set)
			continue;
		bus_doorbell_remove(f->pci->host.bus, &d);
		f->doorbell[n].set = false;
	}
	bus_remove(f->pci->host.bus, BUS_MEMORY, f->bar[i].base);
	f->bar[i].base = 0;
}

/* A doorbell that cannot be had is no loss: the write reaches the device's registers instead. */
static void bar_map(struct pci_function *f, unsigned i, uint64_t at)
{
	struct pci_bar *b = &f->bar[i];
	struct bus_range range = {BUS_MEMORY, at, b->bytes, b->ops, b->device};
	struct err e = {0};

	if (bus_add(f->pci->host.bus, &range, &e) < 0) {
		log_debug("%s: base address register %u stays off: %s", f->ops->name, i, e.text);
		return;
	}
	b->base = at;
	for (size_t n = 0; n < f->doorbells; n++) {
		struct bus_doorbell d = doorbell_of(f, &f->doorbell[n]);

		if (f->doorbell[n].bar == i)
			f->doorbell[n].set = bus_doorbell_add(f->pci->host.bus, &d, &e) == 0;
	}
}

/* All leave before any comes: two that change places do not meet. */
static void bars_look(struct pci_function *f)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (f->bar[i].bytes && f->bar[i].base != bar_wanted(f, i))
			bar_unmap(f, i);
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (f->bar[i].bytes && !f->bar[i].base && bar_wanted(f, i))
			bar_map(f, i, bar_wanted(f, i));
}

static void bars_place(struct pci *p, struct pci_function *f)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &f->bar[i];
		uint64_t *next = b->wide ? &p->next64 : &p->next32;

		if (!b->bytes)
			continue;
		b->home = (*next + b->bytes - 1) & ~(b->bytes - 1);
		*next = b->home + b->bytes;
		pci_config_put(f, BAR_AT(i), 4, (uint32_t)b->home | f->config[BAR_AT(i)]);
		if (b->wide)
			pci_config_put(f, BAR_AT(i) + 4, 4, (uint32_t)(b->home >> 32));
	}
	assert(p->next32 <= MAP_PCI32_BASE + MAP_PCI32_BYTES);
	assert(p->next64 <= MAP_PCI64_BASE + MAP_PCI64_BYTES);
}

/* ---- configuration accesses ---- */

static uint64_t config_read(struct pci_function *f, unsigned at, unsigned size)
{
	uint32_t v;

	if (!f)
		return UINT64_MAX;
	check_function(f);
	if (size > 4 || at + size > PCI_CONFIG_BYTES)
		return 0;
	if (f->ops->config_read && f->ops->config_read(f, at, size, &v))
		return v;
	return pci_config_get(f, at, size);
}

static void config_write(struct pci_function *f, unsigned at, unsigned size, uint64_t value)
{
	if (!f || size > 4 || at + size > PCI_CONFIG_BYTES)
		return;
	check_function(f);
	for (unsigned i = 0; i < size; i++) {
		uint8_t may = f->writable[at + i], byte = (uint8_t)(value >> 8 * i);

		f->config[at + i] = (uint8_t)((f->config[at + i] & ~may) | (byte & may));
	}
	bars_look(f);
	pci_msix_look(f);
	if (f->ops->config_written)
		f->ops->config_written(f, at, size);
}

static uint64_t ecam_read(void *device, uint64_t offset, unsigned size)
{
	struct pci *p = device;
	uint64_t devfn = offset >> ECAM_SHIFT;

	assert(p->magic == PCI_MAGIC);
	if (devfn % 8 || devfn / 8 >= PCI_SLOTS)
		return UINT64_MAX;
	return config_read(p->slot[devfn / 8], (unsigned)offset & 0xfff, size);
}

static void ecam_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci *p = device;
	uint64_t devfn = offset >> ECAM_SHIFT;

	assert(p->magic == PCI_MAGIC);
	if (devfn % 8 == 0 && devfn / 8 < PCI_SLOTS)
		config_write(p->slot[devfn / 8], (unsigned)offset & 0xfff, size, value);
}

/* The function that port 0xcf8 names, or NULL: bit 31 enables, bus, device, function, register. */
static struct pci_function *addressed(const struct pci *p)
{
	if (!(p->address >> 31) || (p->address >> 8 & 7) || (p->address >> 16 & 0xff))
		return NULL;
	return p->slot[p->address >> 11 & 31];
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	struct pci *p = device;

	assert(p->magic == PCI_MAGIC);
	if (offset == MAP_PORT_RESET - MAP_PORT_PCI && size == 1 && p->host.reset_ops)
		return p->host.reset_ops->read(p->host.reset_device, 0, size);
	if (offset >= 4)
		return config_read(addressed(p), (p->address & 0xfc) + (unsigned)offset - 4, size);
	return size == 4 ? p->address : UINT64_MAX;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci *p = device;

	assert(p->magic == PCI_MAGIC);
	if (offset == MAP_PORT_RESET - MAP_PORT_PCI && size == 1 && p->host.reset_ops)
		p->host.reset_ops->write(p->host.reset_device, 0, size, value);
	else if (offset >= 4)
		config_write(addressed(p), (p->address & 0xfc) + (unsigned)offset - 4, size, value);
	else if (offset == 0 && size == 4)
		p->address = (uint32_t)value;
}

static const struct bus_ops ecam_ops = {"pci configuration", ecam_read, ecam_write};
static const struct bus_ops port_ops = {"pci configuration ports", port_read, port_write};

/* ---- the host bridge ---- */

static void bridge_reset(struct pci_function *f)
{
	check_function(f);
}

static void bridge_free(struct pci_function *f)
{
	check_function(f);
	f->magic = 0;
	free(f);
}

static const struct pci_function_ops bridge_ops = {
	.name = "host bridge", .reset = bridge_reset, .free = bridge_free};

/* ---- the bus ---- */

static const struct {
	enum bus_space space;
	uint64_t base, bytes;
	const struct bus_ops *ops;
} pci_ranges[] = {
	{BUS_MEMORY, MAP_ECAM_BASE, MAP_ECAM_BYTES, &ecam_ops},
	{BUS_PORT, MAP_PORT_PCI, PORT_BYTES, &port_ops},
};

static int ranges_add(struct pci *p, struct err *e)
{
	for (; p->ranges < array_len(pci_ranges); p->ranges++) {
		const struct bus_range r = {pci_ranges[p->ranges].space, pci_ranges[p->ranges].base,
					    pci_ranges[p->ranges].bytes, pci_ranges[p->ranges].ops,
					    p};

		if (bus_add(p->host.bus, &r, e) < 0)
			return err_wrap(e, "cannot add the pci bus");
	}
	return 0;
}

int pci_new(const struct pci_config *c, struct pci **ret, struct err *e)
{
	const struct pci_identity bridge = {.vendor = PCI_VENDOR_RED_HAT,
					    .device = 0x0008, /* a PCIe host bridge of no maker */
					    .subsystem_vendor = PCI_VENDOR_RED_HAT,
					    .class = 0x060000};
	struct pci *p = mem_new(struct pci);
	int failed;

	assert(c->ram && c->bus);
	p->magic = PCI_MAGIC;
	p->host = *c;
	p->next32 = MAP_PCI32_BASE;
	p->next64 = MAP_PCI64_BASE;
	p->slot[0] = mem_new(struct pci_function);
	pci_init(p->slot[0], &bridge_ops, &bridge);
	p->slot[0]->pci = p;
	failed = ranges_add(p, e);
	if (failed) {
		pci_free(p);
		return failed;
	}
	*ret = p;
	return 0;
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

/* Requests that are at a back when the machine ends come back first: memory and backs outlive
 * them. */
static void drain(struct pci *p)
{
	struct loop_timer *t;

	pci_reset(p);
	if (!pci_busy(p))
		return;
	t = loop_timer_new(p->host.loop, stop_loop, p->host.loop);
	loop_timer_set(t, DRAIN_LOOK_MS, DRAIN_LOOK_MS);
	while (pci_busy(p))
		loop_run(p->host.loop);
	(void)loop_timer_free(t);
}

struct pci *pci_free(struct pci *p)
{
	if (!p)
		return NULL;
	assert(p->magic == PCI_MAGIC);
	drain(p);
	for (unsigned i = PCI_SLOTS; i-- > 0;)
		if (p->slot[i])
			pci_remove(p->slot[i]);
	while (p->ranges-- > 0)
		bus_remove(p->host.bus, pci_ranges[p->ranges].space, pci_ranges[p->ranges].base);
	p->magic = 0;
	free(p);
	return NULL;
}

int pci_add(struct pci *p, struct pci_function *f, struct err *e)
{
	unsigned s = 1;

	assert(p->magic == PCI_MAGIC && !f->pci);
	check_function(f);
	while (s < PCI_SLOTS && p->slot[s])
		s++;
	if (s == PCI_SLOTS)
		return err_set(e, ERR_EXHAUSTED, "a machine has room for %d pci devices",
			       PCI_SLOTS - 1);
	f->pci = p;
	f->slot = s;
	p->slot[s] = f;
	pci_config_put(f, PCI_INTERRUPT_PIN, 1, 1);
	pci_config_put(f, PCI_INTERRUPT_LINE, 1, MAP_IRQ_PCI + s % PCI_INTX_LINES);
	bars_place(p, f);
	memcpy(f->initial, f->config, sizeof(f->initial));
	return 0;
}

void pci_remove(struct pci_function *f)
{
	check_function(f);
	if (f->pci) {
		pci_intx(f, false);
		for (unsigned i = 0; i < PCI_BARS; i++)
			bar_unmap(f, i);
		f->pci->slot[f->slot] = NULL;
	}
	f->ops->free(f);
}

static void function_reset(struct pci_function *f)
{
	check_function(f);
	for (unsigned i = 0; i < PCI_BARS; i++)
		bar_unmap(f, i);
	f->ops->reset(f);
	pci_intx(f, false);
	memcpy(f->config, f->initial, sizeof(f->config));
	pci_msix_reset(f);
}

void pci_reset(struct pci *p)
{
	assert(p->magic == PCI_MAGIC);
	bus_lock(p->host.bus);
	p->address = 0;
	for (unsigned i = 1; i < PCI_SLOTS; i++)
		if (p->slot[i])
			function_reset(p->slot[i]);
	bus_unlock(p->host.bus);
}

bool pci_busy(const struct pci *p)
{
	bool busy = false;

	assert(p->magic == PCI_MAGIC);
	bus_lock(p->host.bus);
	for (unsigned i = 1; i < PCI_SLOTS; i++)
		if (p->slot[i] && p->slot[i]->ops->busy)
			busy |= p->slot[i]->ops->busy(p->slot[i]);
	bus_unlock(p->host.bus);
	return busy;
}
