/*
 * Interrupts, from a device to a local APIC. All of them travel as messages (MSI): a PCI function
 * sends its own, an ISA device raises a line of the I/O APIC, which sends the message of its
 * redirection entry. Who delivers the message is the accelerator: KVM's in-kernel local APICs or
 * the software CPU's own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Address and data as on the bus, Intel SDM volume 3, 11.11 (address 0xfeexxxxx). */
struct msi {
	uint64_t address;
	uint32_t data;
};

/* Where messages go: the accelerator, from any thread. */
struct msi_sink {
	void (*send)(void *ctx, struct msi m);
	void *ctx;
};

/* One input of the I/O APIC (device/ioapic.h gives them away). */
struct irq_line {
	void (*set)(void *ctx, unsigned pin, bool level);
	void *ctx;
	unsigned pin;
};

static inline void msi_send(const struct msi_sink *s, struct msi m)
{
	s->send(s->ctx, m);
}

static inline void irq_set(const struct irq_line *l, bool level)
{
	l->set(l->ctx, l->pin, level);
}

/* An edge: up and down again. */
static inline void irq_pulse(const struct irq_line *l)
{
	irq_set(l, true);
	irq_set(l, false);
}
