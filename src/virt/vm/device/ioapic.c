/*
 * The I/O APIC's registers and its inputs: see ioapic.h. Delivery status is never pending here,
 * since a message is sent at once; arbitration does not exist on a bus of messages.
 */
#include <assert.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/device/ioapic.h"

#define IOAPIC_MAGIC 0x494f4131u
#define IOAPIC_BYTES 0x1000
#define VERSION	     0x20 /* with an EOI register */

/* Offsets in the page, and registers behind the window (datasheet 3.1, 3.2). */
enum { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40 };
enum { REG_ID = 0, REG_VERSION = 1, REG_ARBITRATION = 2, REG_TABLE = 0x10 };

/* A redirection entry. */
#define ENTRY_VECTOR	 0xffull
#define ENTRY_DELIVERY	 (7ull << 8)
#define ENTRY_LOGICAL	 (1ull << 11)
#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_LEVEL	 (1ull << 15)
#define ENTRY_MASKED	 (1ull << 16)
#define ENTRY_READ_ONLY	 (1ull << 12 | ENTRY_REMOTE_IRR)
#define ENTRY_WRITABLE	 (0xff0000000001efffull & ~ENTRY_READ_ONLY)

struct ioapic {
	unsigned magic;
	struct ioapic_config c;
	uint8_t select, id;
	uint64_t entry[MAP_IRQ_PINS];
	bool high[MAP_IRQ_PINS];
};

/* SDM volume 3, 11.11: an interrupt as a message. */
static struct msi message(uint64_t entry)
{
	uint32_t level = entry & ENTRY_LEVEL ? 1u << 15 | 1u << 14 : 0;
	uint64_t logical = entry & ENTRY_LOGICAL ? 1u << 2 : 0;

	return (struct msi){
		.address = MAP_APIC_BASE | (entry >> 56) << 12 | logical,
		.data = (uint32_t)(entry & (ENTRY_VECTOR | ENTRY_DELIVERY)) | level,
	};
}

static void fire(struct ioapic *a, unsigned pin)
{
	uint64_t *entry = &a->entry[pin];

	if (*entry & ENTRY_MASKED)
		return;
	if (*entry & ENTRY_LEVEL) {
		if (*entry & ENTRY_REMOTE_IRR)
			return;
		*entry |= ENTRY_REMOTE_IRR;
	}
	msi_send(&a->c.msi, message(*entry));
}

static void line_set(void *p, unsigned pin, bool level)
{
	struct ioapic *a = p;
	bool rose;

	assert(a->magic == IOAPIC_MAGIC);
	assert(pin < MAP_IRQ_PINS);
	bus_lock(a->c.bus);
	rose = level && !a->high[pin];
	a->high[pin] = level;
	if (rose)
		fire(a, pin);
	bus_unlock(a->c.bus);
}

struct irq_line ioapic_line(struct ioapic *a, unsigned pin)
{
	assert(pin < MAP_IRQ_PINS);
	return (struct irq_line){line_set, a, pin};
}

void ioapic_eoi(void *p, uint8_t vector)
{
	struct ioapic *a = p;

	assert(a->magic == IOAPIC_MAGIC);
	bus_lock(a->c.bus);
	for (unsigned pin = 0; pin < MAP_IRQ_PINS; pin++) {
		uint64_t *entry = &a->entry[pin];

		if ((*entry & ENTRY_VECTOR) != vector || !(*entry & ENTRY_REMOTE_IRR))
			continue;
		*entry &= ~ENTRY_REMOTE_IRR;
		if (a->high[pin])
			fire(a, pin);
	}
	bus_unlock(a->c.bus);
}

static void tell_route(struct ioapic *a, unsigned pin)
{
	uint64_t entry = a->entry[pin];

	if (a->c.route)
		a->c.route(a->c.route_ctx, pin, message(entry), entry & ENTRY_MASKED);
}

static void entry_write(struct ioapic *a, unsigned pin, uint64_t value)
{
	uint64_t old = a->entry[pin], kept = old & ENTRY_READ_ONLY;

	/* Becoming an edge input forgets the acknowledgement that is outstanding: how Linux
	 * clears it on chips without an EOI register. */
	if (!(value & ENTRY_LEVEL))
		kept &= ~ENTRY_REMOTE_IRR;
	a->entry[pin] = (value & ENTRY_WRITABLE) | kept;
	if (a->entry[pin] != old)
		tell_route(a, pin);
	if ((a->entry[pin] & ENTRY_LEVEL) && a->high[pin])
		fire(a, pin);
}

static uint32_t register_read(const struct ioapic *a)
{
	unsigned pin = (a->select - REG_TABLE) / 2u;

	switch (a->select) {
	case REG_ID:
	case REG_ARBITRATION:
		return (uint32_t)a->id << 24;
	case REG_VERSION:
		return (MAP_IRQ_PINS - 1) << 16 | VERSION;
	}
	if (a->select < REG_TABLE || pin >= MAP_IRQ_PINS)
		return 0;
	return (uint32_t)(a->entry[pin] >> (a->select & 1 ? 32 : 0));
}

static void register_write(struct ioapic *a, uint32_t value)
{
	unsigned pin = (a->select - REG_TABLE) / 2u;
	uint64_t entry;

	if (a->select == REG_ID)
		a->id = value >> 24 & 0xf;
	if (a->select < REG_TABLE || pin >= MAP_IRQ_PINS)
		return;
	entry = a->entry[pin];
	if (a->select & 1)
		entry = (entry & UINT32_MAX) | (uint64_t)value << 32;
	else
		entry = (entry & ~(uint64_t)UINT32_MAX) | value;
	entry_write(a, pin, entry);
}

static uint64_t page_read(void *p, uint64_t offset, unsigned size)
{
	struct ioapic *a = p;

	assert(a->magic == IOAPIC_MAGIC);
	if (offset == IOREGSEL)
		return a->select;
	return offset == IOWIN ? register_read(a) : 0;
}

static void page_write(void *p, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *a = p;

	assert(a->magic == IOAPIC_MAGIC);
	if (offset == IOREGSEL)
		a->select = (uint8_t)value;
	else if (offset == IOWIN && size == 4)
		register_write(a, (uint32_t)value);
	else if (offset == IOEOI)
		ioapic_eoi(a, (uint8_t)value);
}

static const struct bus_ops page_ops = {"ioapic", page_read, page_write};

void ioapic_reset(struct ioapic *a)
{
	assert(a->magic == IOAPIC_MAGIC);
	bus_lock(a->c.bus);
	a->select = 0;
	a->id = 0;
	for (unsigned pin = 0; pin < MAP_IRQ_PINS; pin++) {
		a->entry[pin] = ENTRY_MASKED;
		tell_route(a, pin);
	}
	bus_unlock(a->c.bus);
}

int ioapic_new(const struct ioapic_config *c, struct ioapic **ret, struct err *e)
{
	struct ioapic *a = mem_new(struct ioapic);
	int r;

	assert(c->bus && c->msi.send);
	a->magic = IOAPIC_MAGIC;
	a->c = *c;
	r = bus_add(c->bus,
		    &(struct bus_range){BUS_MEMORY, MAP_IOAPIC_BASE, IOAPIC_BYTES, &page_ops, a},
		    e);
	if (r < 0) {
		free(a);
		return r;
	}
	ioapic_reset(a);
	*ret = a;
	return 0;
}

struct ioapic *ioapic_free(struct ioapic *a)
{
	if (!a)
		return NULL;
	assert(a->magic == IOAPIC_MAGIC);
	bus_remove(a->c.bus, BUS_MEMORY, MAP_IOAPIC_BASE);
	a->magic = 0;
	free(a);
	return NULL;
}
