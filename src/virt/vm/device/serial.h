/*
 * A serial port, 16550A: the console of a guest before it has anything better. Registers are
 * answered on vCPU threads; bytes travel to and from a char back on the loop's thread, through a
 * ring each way. A back that takes nothing fills the ring, and then the port says that it is busy.
 *
 * What a guest writes is handed on within a millisecond, in one piece: a wake-up of the loop per
 * byte would cost more than the guest's own work. serial_flush() hands on at once.
 *
 * Owner: the machine; freed before its bus, loop and back. Line speed and parity are remembered
 * and mean nothing.
 */
#pragma once

#include <stdint.h>

#include "virt/vm/device/back.h"
#include "virt/vm/memory/bus.h"
#include "virt/vm/memory/irq.h"

struct loop;
struct serial;

struct serial_config {
	struct bus *bus;
	struct loop *loop;
	struct irq_line irq;
	struct char_back *back; /* NULL: output is dropped, no input */
	uint16_t port;
};

int serial_new(const struct serial_config *c, struct serial **ret, struct err *e) must_use;
struct serial *serial_free(struct serial *s);
void serial_reset(struct serial *s);
void serial_flush(struct serial *s); /* on the loop's thread */
