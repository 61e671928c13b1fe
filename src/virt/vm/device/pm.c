/*
 * ACPI's fixed registers over one status word: see pm.h. ACPI 6.4, 4.8.3. Only the power button
 * can be an event; the PM timer counts and does not interrupt, since nobody enables that.
 */
#include <assert.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/device/pm.h"
#include "virt/vm/memory/map.h"

#define PM_MAGIC    0x504d5031u
#define PM_PORTS    12
#define PM_TIMER_HZ 3579545ull

enum { PM1_STATUS = 0, PM1_ENABLE = 2, PM1_CONTROL = 4, PM_TIMER = 8 };
enum {
	PM1_BUTTON = 1 << 8,
	PM1_GLOBAL = 1 << 5,
	PM1_TIMER = 1,
	PM1_CLOCK = 1 << 10,
	PM1_ENABLES = PM1_BUTTON | PM1_GLOBAL | PM1_TIMER | PM1_CLOCK
};
enum { CONTROL_SCI = 1, CONTROL_TYPE_SHIFT = 10, CONTROL_TYPE = 7, CONTROL_SLEEP = 1 << 13 };
enum { RESET_CPU = 4 };
enum { PVPANIC_PANICKED = 1, PVPANIC_CRASH_LOADED = 2 };

struct pm {
	unsigned magic;
	struct pm_config c;
	uint16_t status, enable, control;
	uint8_t reset_control;
};

static void update(struct pm *p)
{
	irq_set(&p->c.sci, p->status & p->enable & PM1_BUTTON);
}

static uint32_t timer(const struct pm *p)
{
	uint64_t ns = (uint64_t)world_monotonic_ns(p->c.world);

	return (uint32_t)((unsigned __int128)ns * PM_TIMER_HZ / 1000000000u);
}

/* All registers as one picture, so that any width at any offset reads right. */
static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	struct pm *p = device;
	uint64_t low, high;

	assert(p->magic == PM_MAGIC);
	low = p->status | (uint64_t)p->enable << 16 | (uint64_t)(p->control | CONTROL_SCI) << 32;
	high = offset + size > PM_TIMER ? timer(p) : 0;
	if (offset >= PM_TIMER)
		return high >> (8 * (offset - PM_TIMER));
	return low >> (8 * offset);
}

static void control_write(struct pm *p, uint16_t value)
{
	p->control = value & (uint16_t)~CONTROL_SLEEP;
	if ((value & CONTROL_SLEEP) &&
	    (value >> CONTROL_TYPE_SHIFT & CONTROL_TYPE) == PM_SLEEP_TYPE_OFF)
		power_tell(&p->c.power, POWER_OFF);
}

static void half_write(struct pm *p, uint64_t offset, uint16_t value)
{
	switch (offset) {
	case PM1_STATUS: /* written ones are cleared */
		p->status &= (uint16_t)~value;
		break;
	case PM1_ENABLE:
		p->enable = value & PM1_ENABLES;
		break;
	case PM1_CONTROL:
		control_write(p, value);
		break;
	}
}

/* A byte is written as the register with its other byte unchanged (status: not cleared). */
static void byte_write(struct pm *p, uint64_t offset, uint8_t value)
{
	const uint16_t now[] = {0, p->enable, p->control};
	uint64_t whole = offset & ~1ull;
	unsigned shift = (offset & 1) * 8;
	unsigned kept;

	if (whole > PM1_CONTROL)
		return;
	kept = now[whole / 2] & ~(0xffu << shift);
	half_write(p, whole, (uint16_t)(kept | (unsigned)value << shift));
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pm *p = device;

	assert(p->magic == PM_MAGIC);
	for (unsigned i = 0; i < size;) {
		if ((offset + i) % 2 == 0 && i + 2 <= size) {
			half_write(p, offset + i, (uint16_t)(value >> (8 * i)));
			i += 2;
		} else {
			byte_write(p, offset + i, (uint8_t)(value >> (8 * i)));
			i++;
		}
	}
	update(p);
}

static const struct bus_ops port_ops = {"acpi", port_read, port_write};

static uint64_t reset_read(void *device, uint64_t offset, unsigned size)
{
	return ((struct pm *)device)->reset_control;
}

static void reset_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pm *p = device;

	assert(p->magic == PM_MAGIC);
	p->reset_control = value & ~(uint64_t)RESET_CPU & 0xff;
	if (value & RESET_CPU)
		power_tell(&p->c.power, POWER_RESET);
}

const struct bus_ops pm_reset_ops = {"reset", reset_read, reset_write};

static uint64_t pvpanic_read(void *device, uint64_t offset, unsigned size)
{
	return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pm *p = device;

	assert(p->magic == PM_MAGIC);
	if (value & PVPANIC_PANICKED)
		power_tell(&p->c.power, POWER_PANICKED);
}

static const struct bus_ops pvpanic_ops = {"pvpanic", pvpanic_read, pvpanic_write};

void pm_press_button(struct pm *p)
{
	assert(p->magic == PM_MAGIC);
	bus_lock(p->c.bus);
	p->status |= PM1_BUTTON;
	update(p);
	bus_unlock(p->c.bus);
}

void pm_reset(struct pm *p)
{
	assert(p->magic == PM_MAGIC);
	bus_lock(p->c.bus);
	p->status = p->enable = p->control = 0;
	p->reset_control = 0;
	update(p);
	bus_unlock(p->c.bus);
}

int pm_new(const struct pm_config *c, struct pm **ret, struct err *e)
{
	struct pm *p = mem_new(struct pm);
	int r;

	assert(c->bus && c->world);
	assert(c->sci.set && c->power.tell);
	p->magic = PM_MAGIC;
	p->c = *c;
	r = bus_add(c->bus, &(struct bus_range){BUS_PORT, MAP_PORT_PM1, PM_PORTS, &port_ops, p}, e);
	if (r == 0)
		r = bus_add(c->bus,
			    &(struct bus_range){BUS_PORT, MAP_PORT_PVPANIC, 1, &pvpanic_ops, p}, e);
	if (r < 0)
		return (void)pm_free(p), r;
	pm_reset(p);
	*ret = p;
	return 0;
}

struct pm *pm_free(struct pm *p)
{
	if (!p)
		return NULL;
	assert(p->magic == PM_MAGIC);
	bus_remove(p->c.bus, BUS_PORT, MAP_PORT_PM1);
	bus_remove(p->c.bus, BUS_PORT, MAP_PORT_PVPANIC);
	p->magic = 0;
	free(p);
	return NULL;
}
