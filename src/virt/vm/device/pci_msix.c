/*
 * Interrupts of a PCI function: the MSI-X table and pending bits in a BAR of their own, and INTA.
 *
 * Theory of operation: a vector fires as one message, or, while it or the whole function is
 * masked, leaves its pending bit, which fires when the mask goes (PCI Local Bus 3.0, 6.8.2.9).
 * INTA is a level that the function asserts; it reaches the shared line only while MSI-X is off
 * and the command register lets it. A line is up while any of its functions holds it.
 */
#include <assert.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "ground/base/mem.h"
#include "virt/vm/device/pci.h"
#include "virt/vm/device/pci_priv.h"

#define MSIX_BAR_BYTES 4096u
#define PENDING_AT     2048u
#define MASKED	       PCI_MSIX_ENTRY_CTRL_MASKBIT

static_assert(PCI_VECTORS_MAX * PCI_MSIX_ENTRY_SIZE <= PENDING_AT, "the table ends before the PBA");
static_assert(PCI_VECTORS_MAX <= 64, "pending bits are one word");

static uint32_t msix_control(const struct pci_function *f)
{
	return f->msix ? pci_config_get(f, f->msix + PCI_MSIX_FLAGS, 2) : 0;
}

bool pci_msix_on(const struct pci_function *f)
{
	return msix_control(f) & PCI_MSIX_FLAGS_ENABLE;
}

static void fire(struct pci_function *f, unsigned v)
{
	const struct msi m = {f->vector[v].address, f->vector[v].data};

	assert(v < f->vectors);
	f->pending &= ~(1ull << v);
	if (f->pci->host.msi.send)
		msi_send(&f->pci->host.msi, m);
}

static bool masked(const struct pci_function *f, unsigned v)
{
	return (msix_control(f) & PCI_MSIX_FLAGS_MASKALL) || (f->vector[v].control & MASKED);
}

void pci_interrupt(struct pci_function *f, unsigned v)
{
	if (!pci_msix_on(f) || v >= f->vectors)
		return;
	if (masked(f, v))
		f->pending |= 1ull << v;
	else
		fire(f, v);
}

/* ---- INTA ---- */

static bool intx_allowed(const struct pci_function *f)
{
	return !pci_msix_on(f) && !(pci_config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
}

/* The status bit says what the function wants; the line what it may. */
static void line_set(struct pci_function *f, bool up)
{
	struct pci *p = f->pci;
	unsigned line = f->slot % PCI_INTX_LINES;

	if (up == f->intx)
		return;
	f->intx = up;
	p->intx_users[line] += up ? 1u : -1u;
	assert(p->intx_users[line] <= PCI_SLOTS);
	if (p->intx_users[line] == (up ? 1 : 0) && p->host.intx[line].set)
		irq_set(&p->host.intx[line], up);
}

void pci_intx(struct pci_function *f, bool level)
{
	uint32_t status = pci_config_get(f, PCI_STATUS, 2) & ~(uint32_t)PCI_STATUS_INTERRUPT;

	pci_config_put(f, PCI_STATUS, 2, status | (level ? PCI_STATUS_INTERRUPT : 0));
	line_set(f, level && intx_allowed(f));
}

/* ---- the table ---- */

static void fire_unmasked(struct pci_function *f)
{
	for (unsigned v = 0; v < f->vectors; v++)
		if ((f->pending >> v & 1) && !masked(f, v))
			fire(f, v);
}

void pci_msix_look(struct pci_function *f)
{
	if (pci_msix_on(f))
		fire_unmasked(f);
	line_set(f, (pci_config_get(f, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT) && intx_allowed(f));
}

void pci_msix_reset(struct pci_function *f)
{
	assert(!f->intx);
	f->pending = 0;
	memset(f->vector, 0, sizeof(f->vector));
	for (unsigned v = 0; v < f->vectors; v++)
		f->vector[v].control = MASKED;
}

static uint32_t *table_word(struct pci_function *f, uint64_t offset)
{
	struct pci_vector *e = &f->vector[offset / PCI_MSIX_ENTRY_SIZE];
	unsigned word = (unsigned)(offset % PCI_MSIX_ENTRY_SIZE / 4);

	assert(offset / PCI_MSIX_ENTRY_SIZE < f->vectors);
	switch (word) {
	case 2:
		return &e->data;
	case 3:
		return &e->control;
	default:
		return (uint32_t *)(void *)&e->address + word;
	}
}

static uint64_t msix_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_function *f = device;
	uint64_t table = (uint64_t)f->vectors * PCI_MSIX_ENTRY_SIZE, v = 0;

	if (size < 4 || offset % size)
		return 0;
	for (unsigned i = 0; i < size; i += 4) {
		uint64_t at = offset + i, word = 0;

		if (at < table)
			word = *table_word(f, at);
		else if (at - PENDING_AT < 8)
			word = (uint32_t)(f->pending >> (at - PENDING_AT) * 8);
		v |= word << 8 * i;
	}
	return v;
}

/* Only whole dwords and qwords are defined (6.8.2). */
static void msix_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_function *f = device;
	uint64_t table = (uint64_t)f->vectors * PCI_MSIX_ENTRY_SIZE;

	if (size < 4 || offset % size)
		return;
	for (unsigned i = 0; i < size; i += 4)
		if (offset + i < table)
			*table_word(f, offset + i) = (uint32_t)(value >> 8 * i);
	if (pci_msix_on(f))
		fire_unmasked(f);
}

static const struct bus_ops msix_ops = {"msi-x table", msix_read, msix_write};

void pci_msix(struct pci_function *f, unsigned bar, unsigned vectors)
{
	unsigned at = pci_capability(f, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);

	assert(vectors >= 1 && vectors <= PCI_VECTORS_MAX && !f->msix);
	f->msix = (uint8_t)at;
	f->vectors = vectors;
	pci_config_put(f, at + PCI_MSIX_FLAGS, 2, vectors - 1);
	pci_config_put(f, at + PCI_MSIX_TABLE, 4, bar);
	pci_config_put(f, at + PCI_MSIX_PBA, 4, PENDING_AT | bar);
	f->writable[at + PCI_MSIX_FLAGS + 1] =
		(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	pci_bar(f, bar, MSIX_BAR_BYTES, false, &msix_ops, f);
	pci_msix_reset(f);
}
