/*
 * A guest that writes anything to any register of the platform: no access, in any order and width,
 * may do more than its device's own work. Each step is six bytes: what, where, width, value.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/cmos.h"
#include "virt/vm/device/i8042.h"
#include "virt/vm/device/ioapic.h"
#include "virt/vm/device/pm.h"
#include "virt/vm/device/serial.h"
#include "virt/vm/memory/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEP_BYTES 6u

static const struct {
	enum bus_space space;
	uint64_t base;
	unsigned bytes;
} places[] = {
	{BUS_MEMORY, MAP_IOAPIC_BASE, 0x60}, {BUS_PORT, MAP_PORT_COM1 - 2, 12},
	{BUS_PORT, MAP_PORT_CMOS - 1, 4},    {BUS_PORT, MAP_PORT_I8042 - 1, 7},
	{BUS_PORT, MAP_PORT_PM1 - 2, 16},    {BUS_PORT, MAP_PORT_PVPANIC - 1, 3},
};

struct guest {
	struct bus *bus;
	struct loop *loop;
	struct ioapic *ioapic;
	struct pm *pm;
	struct cmos *cmos;
	struct i8042 *i8042;
	struct serial *serial;
	unsigned messages, events;
};

static void saw_msi(void *ctx, struct msi m)
{
	struct guest *g = ctx;

	assert((m.address & ~0xffffcull) == MAP_APIC_BASE);
	g->messages++;
}

static void saw_power(void *ctx, enum power_event what)
{
	assert(what <= POWER_PANICKED);
	((struct guest *)ctx)->events++;
}

static size_t takes_some(struct char_back *b, const uint8_t *bytes, size_t n)
{
	return n > 100 ? 100 : n;
}

static void resume(struct char_back *b)
{
}

static const struct char_ops back_ops = {"fuzz", takes_some, resume, NULL};

static int make(struct guest *g, struct char_back *back, struct err *e)
{
	struct power_sink power = {saw_power, g};
	int r = loop_new(&g->loop, e);

	g->bus = bus_new();
	if (r == 0)
		r = ioapic_new(&(struct ioapic_config){.bus = g->bus, .msi = {saw_msi, g}},
			       &g->ioapic, e);
	if (r == 0)
		r = pm_new(
			&(struct pm_config){g->bus, &world_real, ioapic_line(g->ioapic, 9), power},
			&g->pm, e);
	if (r == 0)
		r = cmos_new(&(struct cmos_config){g->bus, g->loop, &world_real,
						   ioapic_line(g->ioapic, 8)},
			     &g->cmos, e);
	if (r == 0)
		r = i8042_new(&(struct i8042_config){g->bus, ioapic_line(g->ioapic, 1), power},
			      &g->i8042, e);
	if (r == 0)
		r = serial_new(&(struct serial_config){.bus = g->bus,
						       .loop = g->loop,
						       .irq = ioapic_line(g->ioapic, 4),
						       .back = back,
						       .port = MAP_PORT_COM1},
			       &g->serial, e);
	return r;
}

static void host_acts(struct guest *g, struct char_back *back, uint8_t what)
{
	static const uint8_t text[20] = "typed by somebody\n";

	switch (what & 7) {
	case 0:
		ioapic_eoi(g->ioapic, what);
		break;
	case 1:
		pm_press_button(g->pm);
		break;
	case 2:
		(void)!i8042_ctrl_alt_del(g->i8042, NULL);
		break;
	case 3:
		assert(back->receive(g->serial, text, what % 20u) <= what % 20u);
		break;
	case 4:
		serial_flush(g->serial);
		break;
	case 5:
		cmos_reset(g->cmos);
		ioapic_reset(g->ioapic);
		break;
	case 6:
		serial_reset(g->serial);
		i8042_reset(g->i8042);
		break;
	case 7:
		pm_reset(g->pm);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct char_back back = {.ops = &back_ops};
	struct guest g = {0};
	struct err e = {0};

	assert(make(&g, &back, &e) == 0);
	for (size_t i = 0; i + STEP_BYTES <= size && i < 600; i += STEP_BYTES) {
		const uint8_t *s = data + i;
		unsigned place = s[0] % 7u, width = 1u << (s[2] & 3);
		uint64_t value = s[3] | (uint64_t)s[4] << 8 | (uint64_t)s[5] << 24;
		uint64_t at;

		if (place == 6) {
			host_acts(&g, &back, s[1]);
			continue;
		}
		at = places[place].base + s[1] % places[place].bytes;
		if (s[0] & 0x80)
			(void)bus_read(g.bus, places[place].space, at, width);
		else
			bus_write(g.bus, places[place].space, at, width, value);
	}
	(void)serial_free(g.serial);
	(void)i8042_free(g.i8042);
	(void)cmos_free(g.cmos);
	(void)pm_free(g.pm);
	(void)ioapic_free(g.ioapic);
	(void)bus_free(g.bus);
	(void)loop_free(g.loop);
	return 0;
}
