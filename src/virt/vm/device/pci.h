/*
 * A PCI bus: one host bridge, up to 31 functions behind it, configuration through ECAM and through
 * ports 0xcf8 and 0xcfc, base address registers that are placed at birth and that the guest may
 * move, MSI-X, and INTA as the fallback.
 *
 * The bus hands its functions all they need of the machine: guest memory, the bus of addresses,
 * the loop. A function embeds `struct pci_function`, fills in `ops` and identity, declares its
 * BARs, capabilities and vectors and is added to a slot; the bus frees it then (a tree).
 *
 *	struct pci *p;
 *	pci_new(&(struct pci_config){.ram = r, .bus = b, .loop = l, .msi = sink, .intx = lines},
 * &p, e);
 *	virtio_block_new(p, disk, e); nvme_new(p, other, e);
 *	...
 *	p = pci_free(p);		(before bus, ram and backs)
 *
 * INTA of slot s is wired to intx[s % 4], which is what the machine's _PRT must say.
 *
 * Threads: registers are reached from vCPU threads under the bus lock. pci_interrupt() and
 * pci_intx() are called with the bus lock held; birth and death belong to the loop's thread.
 * Limits: function 0 only, one bus, 256 bytes of configuration space (no PCI Express capability).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "virt/vm/memory/bus.h"
#include "virt/vm/memory/irq.h"
#include "virt/vm/memory/ram.h"

#define PCI_SLOTS	  32
#define PCI_BARS	  6
#define PCI_CONFIG_BYTES  256
#define PCI_VECTORS_MAX	  64
#define PCI_DOORBELLS_MAX 16
#define PCI_INTX_LINES	  4

#define PCI_VENDOR_RED_HAT 0x1b36 /* gives device ids away for virtual machines */

struct loop;
struct pci_function;

struct pci_config {
	struct ram *ram;
	struct bus *bus;
	struct loop *loop;
	struct msi_sink msi;
	struct irq_line intx[PCI_INTX_LINES]; /* set NULL: the line goes nowhere */
	/* Port 0xcf9 (reset control) lies among ours: accesses of one byte are handed on, offset
	 * 0. NULL: nobody there. */
	const struct bus_ops *reset_ops;
	void *reset_device;
};

struct pci {
	unsigned magic;
	struct pci_config host;
	struct pci_function *slot[PCI_SLOTS];
	unsigned intx_users[PCI_INTX_LINES]; /* functions that hold the line up */
	uint32_t address;		     /* port 0xcf8 */
	uint64_t next32, next64;	     /* where the next BAR is placed */
	size_t ranges;			     /* of the bus's own that were added */
};

struct pci_function_ops {
	const char *name;
	/* The machine was reset: forget what the guest said. */
	void (*reset)(struct pci_function *f);
	/* Requests that may still write to guest memory are under way. NULL: never. */
	bool (*busy)(const struct pci_function *f);
	/* Last, frees `f` itself too. */
	void (*free)(struct pci_function *f);
	/* Optional: configuration bytes with a life of their own. True: answered. */
	bool (*config_read)(struct pci_function *f, unsigned at, unsigned size, uint32_t *ret);
	/* Optional: told after configuration bytes were stored. */
	void (*config_written)(struct pci_function *f, unsigned at, unsigned size);
};

struct pci_bar {
	uint64_t bytes; /* 0: none */
	bool wide;	/* 64 bits: takes two registers */
	uint64_t home;	/* where it lies after a reset */
	uint64_t base;	/* where it answers now; 0: nowhere */
	const struct bus_ops *ops;
	void *device;
};

struct pci_doorbell {
	unsigned bar, size;
	uint64_t offset;
	int fd;
	bool set; /* known to the bus */
};

struct pci_vector {
	uint64_t address;
	uint32_t data, control;
};

struct pci_function {
	unsigned magic;
	const struct pci_function_ops *ops;
	struct pci *pci; /* NULL until added */
	unsigned slot;
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t writable[PCI_CONFIG_BYTES]; /* a bit the guest may change */
	uint8_t initial[PCI_CONFIG_BYTES];  /* what a reset puts back */
	struct pci_bar bar[PCI_BARS];
	struct pci_doorbell doorbell[PCI_DOORBELLS_MAX];
	size_t doorbells;
	uint8_t capability_end, capability_last;
	/* MSI-X */
	uint8_t msix; /* offset of the capability; 0: none */
	unsigned vectors;
	struct pci_vector vector[PCI_VECTORS_MAX];
	uint64_t pending; /* a bit per vector */
	bool intx;
};

struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class; /* base class, sub-class, interface: 0x010802 */
	uint8_t revision;
};

/* ---- the bus ---- */

int pci_new(const struct pci_config *c, struct pci **ret, struct err *e) must_use;
/* Frees the functions; runs the loop while requests are at their backs, so not from within one of
 * its callbacks. NULL allowed; returns NULL. */
struct pci *pci_free(struct pci *p);
/* After a machine reset, once pci_busy() is false. */
void pci_reset(struct pci *p);
bool pci_busy(const struct pci *p);

/* ---- a function: init, then bar, capability and msix in any order, then add ---- */

void pci_init(struct pci_function *f, const struct pci_function_ops *ops,
	      const struct pci_identity *id);
/* `bytes` is a power of two, at least 4096. */
void pci_bar(struct pci_function *f, unsigned index, uint64_t bytes, bool wide,
	     const struct bus_ops *ops, void *device);
/* Writes to `offset` of a BAR signal `fd` wherever the guest puts it. `size` 0: of any size. */
void pci_doorbell(struct pci_function *f, unsigned bar, uint64_t offset, unsigned size, int fd);
/* Space for a capability of `bytes` (header included); the offset. The body is zero, read-only. */
unsigned pci_capability(struct pci_function *f, uint8_t id, unsigned bytes);
/* MSI-X in a BAR of its own (32 bits wide). */
void pci_msix(struct pci_function *f, unsigned bar, unsigned vectors);
/* Into the next free slot. On failure the function stays the caller's. */
int pci_add(struct pci *p, struct pci_function *f, struct err *e) must_use;
/* What pci_free() does to each function: off the bus, then ops->free. */
void pci_remove(struct pci_function *f);

void pci_config_put(struct pci_function *f, unsigned at, unsigned size, uint32_t value);
uint32_t pci_config_get(const struct pci_function *f, unsigned at, unsigned size);

/* ---- interrupts ---- */

bool pci_msix_on(const struct pci_function *f);
/* Vector v: sent, or remembered as pending while masked. Nothing while MSI-X is off. */
void pci_interrupt(struct pci_function *f, unsigned v);
/* INTA's level; stays down on the line while MSI-X is on or the guest disabled it. */
void pci_intx(struct pci_function *f, bool level);
