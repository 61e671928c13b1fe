/*
 * The battery-backed clock and its 128 bytes (MC146818 as on a PC): tells the host's time in UTC,
 * is set by moving away from it, and raises its alarm, update and periodic interrupts no oftener
 * than once a second.
 *
 * Threads: registers on vCPU threads under the bus lock, the second's tick on the loop's. The tick
 * runs only while an interrupt is enabled, so that an idle guest costs nothing.
 */
#pragma once

#include "ground/base/world.h"
#include "virt/vm/memory/bus.h"
#include "virt/vm/memory/irq.h"

struct cmos;
struct loop;

struct cmos_config {
	struct bus *bus;
	struct loop *loop;
	const struct world *world;
	struct irq_line irq;
};

int cmos_new(const struct cmos_config *c, struct cmos **ret, struct err *e) must_use;
struct cmos *cmos_free(struct cmos *m);
void cmos_reset(struct cmos *m); /* interrupts off; time and bytes stay */
