/*
 * The I/O APIC (82093AA with the EOI register of later ones): 24 inputs, each of which sends the
 * message of its redirection entry. Edge inputs send on the way up; level inputs send while they
 * are high, again after each EOI.
 *
 * Whoever executes the guest may have to know the messages beforehand (KVM tells the EOI of those
 * vectors only that its routing table calls level-triggered): `route` hears every change.
 *
 * Threads: everything may be called from any thread; the bus lock is taken inside.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/memory/bus.h"
#include "virt/vm/memory/irq.h"
#include "virt/vm/memory/map.h"

struct ioapic;

struct ioapic_config {
	struct bus *bus;
	struct msi_sink msi;
	/* Input `pin` would send `m` from now on; nothing while `masked`. May be NULL. */
	void (*route)(void *ctx, unsigned pin, struct msi m, bool masked);
	void *route_ctx;
};

int ioapic_new(const struct ioapic_config *c, struct ioapic **ret, struct err *e) must_use;
struct ioapic *ioapic_free(struct ioapic *a);
void ioapic_reset(struct ioapic *a); /* registers as after power-on; lines keep their level */

struct irq_line ioapic_line(struct ioapic *a, unsigned pin);

/* A local APIC acknowledged a level interrupt; `a` is a struct ioapic. */
void ioapic_eoi(void *a, uint8_t vector);
