/*
 * The keyboard controller, as little of it as Linux needs: reset of the machine (command 0xfe),
 * and a keyboard that presses Ctrl-Alt-Del when the host asks, which is how Firecracker's clients
 * stop a guest. It is not declared in ACPI: a guest that shall see it has `i8042.nopnp` on its
 * command line.
 *
 * Threads: registers on vCPU threads under the bus lock; i8042_ctrl_alt_del() from any thread.
 */
#pragma once

#include "virt/vm/device/power.h"
#include "virt/vm/memory/bus.h"
#include "virt/vm/memory/irq.h"

struct i8042;

struct i8042_config {
	struct bus *bus;
	struct irq_line irq; /* of the keyboard */
	struct power_sink power;
};

int i8042_new(const struct i8042_config *c, struct i8042 **ret, struct err *e) must_use;
struct i8042 *i8042_free(struct i8042 *k);
void i8042_reset(struct i8042 *k);

/* Presses and releases the three keys. ERR_CONFLICT: the guest drives no keyboard (yet). */
int i8042_ctrl_alt_del(struct i8042 *k, struct err *e) must_use;
