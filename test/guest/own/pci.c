/*
 * PCI by ECAM: finds functions, places their BARs anew in the 32-bit window, aims MSI-X at us.
 * PCI 3.0 §6; PCI Express 5.0 §7.7.2 (MSI-X).
 */
#include "guest.h"

#define CAPABILITY_MSIX 0x11

static uint64_t next_bar = WINDOW;

static volatile uint8_t *config(const struct pci_device *d, unsigned at)
{
	return (volatile uint8_t *)(ECAM + (uint64_t)d->slot * 8 * PAGE + at);
}

uint32_t pci_read(const struct pci_device *d, unsigned at, unsigned bytes)
{
	volatile uint8_t *p = config(d, at);

	return bytes == 1 ? *p : bytes == 2 ? *(volatile uint16_t *)p : *(volatile uint32_t *)p;
}

static void pci_write(const struct pci_device *d, unsigned at, uint32_t v)
{
	*(volatile uint32_t *)config(d, at) = v;
}

/* Sizes the BAR and gives it a place of ours, aligned to its size. */
static unsigned place_bar(struct pci_device *d, unsigned i)
{
	unsigned at = 0x10 + 4 * i;
	uint32_t kind = pci_read(d, at, 4) & 15, size;
	bool wide = (kind & 6) == 4;

	pci_write(d, at, ~0u);
	size = ~(pci_read(d, at, 4) & ~15u) + 1;
	if (kind & 1 || size == 0)
		return 1;
	next_bar = (next_bar + size - 1) & ~(uint64_t)(size - 1);
	pci_write(d, at, (uint32_t)next_bar);
	if (wide)
		pci_write(d, at + 4, 0);
	d->bar[i] = (volatile uint8_t *)next_bar;
	next_bar += size;
	return wide ? 2 : 1;
}

unsigned pci_scan(struct pci_device *list, unsigned most)
{
	unsigned n = 0;

	for (unsigned slot = 1; slot < 32 && n < most; slot++) {
		struct pci_device *d = &list[n];

		d->slot = slot;
		d->vendor = (uint16_t)pci_read(d, 0, 2);
		if (d->vendor == 0xffff)
			continue;
		d->id = (uint16_t)pci_read(d, 2, 2);
		d->class_code = pci_read(d, 8, 4) >> 8;
		pci_write(d, 4, 0);
		for (unsigned i = 0; i < 6;)
			i += place_bar(d, i);
		pci_write(d, 4, 6); /* memory, bus master */
		n++;
	}
	return n;
}

unsigned pci_capability(const struct pci_device *d, uint8_t id, unsigned after)
{
	unsigned at = pci_read(d, after ? after + 1 : 0x34, 1);

	while (at && pci_read(d, at, 1) != id)
		at = pci_read(d, at + 1, 1);
	return at;
}

void pci_msix(const struct pci_device *d, unsigned entry, unsigned number)
{
	unsigned at = pci_capability(d, CAPABILITY_MSIX, 0);
	uint32_t table = pci_read(d, at + 4, 4);
	volatile uint32_t *e = (volatile uint32_t *)(d->bar[table & 7] + (table & ~7u)) + 4 * entry;

	e[0] = MSI_BASE;
	e[1] = 0;
	e[2] = VECTOR_FIRST + number;
	e[3] = 0;
	pci_write(d, at, pci_read(d, at, 4) | 1u << 31);
}
