/*
 * Power: the ACPI fixed hardware (PM1 event and control blocks, PM timer) and the small ports that
 * belong to it, reset control (0xcf9) and pvpanic. Writes of SLP_EN switch the machine off, the
 * host presses the power button, and the button's status raises SCI, a level interrupt.
 *
 * Threads: registers on vCPU threads under the bus lock, pm_press_button() from any thread.
 */
#pragma once

#include "ground/base/world.h"
#include "virt/vm/device/power.h"
#include "virt/vm/memory/bus.h"
#include "virt/vm/memory/irq.h"

#define PM_SLEEP_TYPE_OFF 5 /* what \_S5 in the DSDT says */

struct pm;

struct pm_config {
	struct bus *bus;
	const struct world *world;
	struct irq_line sci;
	struct power_sink power;
};

int pm_new(const struct pm_config *c, struct pm **ret, struct err *e) must_use;
struct pm *pm_free(struct pm *p);
void pm_reset(struct pm *p);
void pm_press_button(struct pm *p);

/* Port 0xcf9 as one byte; it lies inside PCI's range, which hands accesses on. `device` is the
 * pm. */
extern const struct bus_ops pm_reset_ops;
