/*
 * The platform devices, driven through the bus as a guest drives them: I/O APIC, power, clock,
 * keyboard controller, and the ACPI tables that tell of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "virt/vm/device/acpi.h"
#include "virt/vm/device/cmos.h"
#include "virt/vm/device/i8042.h"
#include "virt/vm/device/ioapic.h"
#include "virt/vm/device/pm.h"
#include "virt/vm/memory/map.h"

struct platform {
	struct bus *bus;
	struct loop *loop;
	struct ioapic *ioapic;
	struct pm *pm;
	struct cmos *cmos;
	struct i8042 *i8042;
	struct world world;
	int64_t now_ns;
	/* what was seen */
	struct msi msi;
	unsigned msis, routes, events[3];
	bool routed_masked;
};

static void saw_msi(void *ctx, struct msi m)
{
	struct platform *p = ctx;

	p->msi = m;
	p->msis++;
}

static void saw_route(void *ctx, unsigned pin, struct msi m, bool masked)
{
	struct platform *p = ctx;

	p->routes++;
	p->routed_masked = masked;
}

static void saw_power(void *ctx, enum power_event what)
{
	struct platform *p = ctx;

	p->events[what]++;
}

static int64_t told_ns(void *ctx)
{
	return ((struct platform *)ctx)->now_ns;
}

static int set_up(void **state)
{
	struct platform *p = mem_new(struct platform);
	struct err e = {0};
	struct power_sink power = {saw_power, p};

	p->world = (struct world){told_ns, told_ns, NULL, p};
	p->now_ns = 1700000000ll * 1000000000; /* 2023-11-14 22:13:20, a Tuesday */
	p->bus = bus_new();
	assert_int_equal(loop_new(&p->loop, &e), 0);
	assert_int_equal(ioapic_new(&(struct ioapic_config){.bus = p->bus,
							    .msi = {saw_msi, p},
							    .route = saw_route,
							    .route_ctx = p},
				    &p->ioapic, &e),
			 0);
	assert_int_equal(
		pm_new(&(struct pm_config){p->bus, &p->world, ioapic_line(p->ioapic, 9), power},
		       &p->pm, &e),
		0);
	assert_int_equal(cmos_new(&(struct cmos_config){p->bus, p->loop, &p->world,
							ioapic_line(p->ioapic, 8)},
				  &p->cmos, &e),
			 0);
	assert_int_equal(i8042_new(&(struct i8042_config){p->bus, ioapic_line(p->ioapic, 1), power},
				   &p->i8042, &e),
			 0);
	p->routes = 0;
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct platform *p = *state;

	(void)i8042_free(p->i8042);
	(void)cmos_free(p->cmos);
	(void)pm_free(p->pm);
	(void)ioapic_free(p->ioapic);
	(void)bus_free(p->bus);
	(void)loop_free(p->loop);
	free(p);
	return 0;
}

/* ---- I/O APIC ---- */

static void entry_set(struct platform *p, unsigned pin, uint64_t v)
{
	for (unsigned half = 0; half < 2; half++) {
		bus_write(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE, 4, 0x10 + 2 * pin + half);
		bus_write(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE + 0x10, 4, v >> (32 * half));
	}
}

static uint64_t entry_get(struct platform *p, unsigned pin)
{
	uint64_t v = 0;

	for (unsigned half = 0; half < 2; half++) {
		bus_write(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE, 4, 0x10 + 2 * pin + half);
		v |= bus_read(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE + 0x10, 4) << (32 * half);
	}
	return v;
}

static void ioapic_edge(void **state)
{
	struct platform *p = *state;
	struct irq_line line = ioapic_line(p->ioapic, 4);

	bus_write(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE, 4, 1);
	assert_int_equal(bus_read(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE + 0x10, 4), 0x170020);
	assert_int_equal(entry_get(p, 23), 0x10000);
	irq_pulse(&line); /* masked: lost */
	assert_int_equal(p->msis, 0);
	entry_set(p, 4, 3ull << 56 | 1 << 11 | 0x31);
	assert_true(p->routes > 0);
	assert_false(p->routed_masked);
	irq_set(&line, true);
	irq_set(&line, true); /* no edge */
	assert_int_equal(p->msis, 1);
	assert_int_equal(p->msi.address, 0xfee03004);
	assert_int_equal(p->msi.data, 0x31);
	irq_set(&line, false);
	irq_set(&line, true);
	assert_int_equal(p->msis, 2);
	bus_write(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE, 4, 0xff); /* no such register */
	bus_write(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE + 0x10, 4, UINT32_MAX);
	assert_int_equal(bus_read(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE + 0x10, 4), 0);
}

static void ioapic_level(void **state)
{
	struct platform *p = *state;
	struct irq_line line = ioapic_line(p->ioapic, 9);

	entry_set(p, 9, 1 << 15 | 0x52);
	irq_set(&line, true);
	assert_int_equal(p->msis, 1);
	assert_int_equal(p->msi.data, 0xc052);
	assert_int_equal(entry_get(p, 9), 1 << 15 | 1 << 14 | 0x52);
	irq_set(&line, false);
	irq_set(&line, true); /* not acknowledged yet */
	assert_int_equal(p->msis, 1);
	ioapic_eoi(p->ioapic, 0x51); /* another's */
	assert_int_equal(p->msis, 1);
	ioapic_eoi(p->ioapic, 0x52); /* still high: again */
	assert_int_equal(p->msis, 2);
	irq_set(&line, false);
	bus_write(p->bus, BUS_MEMORY, MAP_IOAPIC_BASE + 0x40, 4, 0x52);
	assert_int_equal(p->msis, 2);
	assert_int_equal(entry_get(p, 9), 1 << 15 | 0x52);
	/* High while masked, and then not masked. */
	entry_set(p, 9, 1 << 16 | 1 << 15 | 0x52);
	irq_set(&line, true);
	assert_int_equal(p->msis, 2);
	entry_set(p, 9, 1 << 15 | 0x52);
	assert_int_equal(p->msis, 3);
	/* Becoming edge and level again forgets what was outstanding. */
	entry_set(p, 9, 0x52);
	assert_int_equal(entry_get(p, 9), 0x52);
	irq_set(&line, false);
}

/* ---- power ---- */

static uint64_t in(struct platform *p, uint16_t port, unsigned size)
{
	return bus_read(p->bus, BUS_PORT, port, size);
}

static void out(struct platform *p, uint16_t port, unsigned size, uint64_t v)
{
	bus_write(p->bus, BUS_PORT, port, size, v);
}

static void power(void **state)
{
	struct platform *p = *state;

	assert_int_equal(in(p, MAP_PORT_PM1 + 4, 2), 1); /* ACPI is on */
	entry_set(p, 9, 1 << 15 | 0x60);
	out(p, MAP_PORT_PM1 + 2, 2, 1 << 8);
	assert_int_equal(in(p, MAP_PORT_PM1 + 2, 2), 1 << 8);
	pm_press_button(p->pm);
	assert_int_equal(p->msis, 1);
	assert_int_equal(in(p, MAP_PORT_PM1, 4), 1 << 24 | 1 << 8);
	out(p, MAP_PORT_PM1, 2, 1 << 8);
	assert_int_equal(in(p, MAP_PORT_PM1, 2), 0);
	ioapic_eoi(p->ioapic, 0x60);
	assert_int_equal(p->msis, 1);
	out(p, MAP_PORT_PM1 + 4, 2, 1 << 13 | 3 << 10); /* another sleep: none */
	assert_int_equal(p->events[POWER_OFF], 0);
	out(p, MAP_PORT_PM1 + 4, 2, 1 << 13 | PM_SLEEP_TYPE_OFF << 10);
	assert_int_equal(p->events[POWER_OFF], 1);
	out(p, MAP_PORT_PM1 + 5, 1, 1 << 5 | PM_SLEEP_TYPE_OFF << 2); /* by its upper byte */
	assert_int_equal(p->events[POWER_OFF], 2);
}

static void timer(void **state)
{
	struct platform *p = *state;
	uint32_t then = (uint32_t)in(p, MAP_PORT_PM1 + 8, 4);

	p->now_ns += 1000000000;
	assert_int_equal((uint32_t)in(p, MAP_PORT_PM1 + 8, 4) - then, 3579545);
}

static void resets(void **state)
{
	struct platform *p = *state;

	pm_reset_ops.write(p->pm, 0, 1, 2);
	assert_int_equal(p->events[POWER_RESET], 0);
	pm_reset_ops.write(p->pm, 0, 1, 6);
	assert_int_equal(p->events[POWER_RESET], 1);
	assert_int_equal(pm_reset_ops.read(p->pm, 0, 1), 2);
	out(p, 0x64, 1, 0xfe);
	assert_int_equal(p->events[POWER_RESET], 2);
	assert_int_equal(in(p, MAP_PORT_PVPANIC, 1), 3);
	out(p, MAP_PORT_PVPANIC, 1, 2);
	assert_int_equal(p->events[POWER_PANICKED], 0);
	out(p, MAP_PORT_PVPANIC, 1, 1);
	assert_int_equal(p->events[POWER_PANICKED], 1);
}

/* ---- clock ---- */

static uint8_t cmos(struct platform *p, uint8_t reg)
{
	out(p, MAP_PORT_CMOS, 1, reg);
	return (uint8_t)in(p, MAP_PORT_CMOS + 1, 1);
}

static void cmos_set(struct platform *p, uint8_t reg, uint8_t v)
{
	out(p, MAP_PORT_CMOS, 1, reg);
	out(p, MAP_PORT_CMOS + 1, 1, v);
}

static void clock_tells(void **state)
{
	struct platform *p = *state;
	static const uint8_t bcd[] = {0x20, 0, 0x13, 0, 0x22, 0, 3, 0x14, 0x11, 0x23};

	for (uint8_t i = 0; i < sizeof(bcd); i++)
		if (i != 1 && i != 3 && i != 5)
			assert_int_equal(cmos(p, i), bcd[i]);
	assert_int_equal(cmos(p, 0x32), 0x20);
	assert_int_equal(cmos(p, 13), 0x80);
	cmos_set(p, 11, 4); /* binary, 12 hours */
	assert_int_equal(cmos(p, 4), 10 | 0x80);
	assert_int_equal(cmos(p, 2), 13);
	p->now_ns += 60ll * 1000000000;
	assert_int_equal(cmos(p, 2), 14);
	cmos_set(p, 0x40, 0x77); /* memory */
	assert_int_equal(cmos(p, 0x40), 0x77);
}

static void clock_is_set(void **state)
{
	struct platform *p = *state;

	cmos_set(p, 11, 0x82); /* SET */
	cmos_set(p, 9, 0x30);
	cmos_set(p, 4, 0x05);
	p->now_ns += 7ll * 1000000000; /* does not move it meanwhile */
	assert_int_equal(cmos(p, 0), 0x20);
	cmos_set(p, 11, 0x02);
	assert_int_equal(cmos(p, 9), 0x30);
	assert_int_equal(cmos(p, 4), 0x05);
	assert_int_equal(cmos(p, 0), 0x20);
	p->now_ns += 5ll * 1000000000;
	assert_int_equal(cmos(p, 0), 0x25);
	cmos_reset(p->cmos);
	assert_int_equal(cmos(p, 9), 0x30);
	/* Nonsense is taken, and is not believed. */
	for (unsigned i = 0; i < 10; i++)
		cmos_set(p, (uint8_t)i, 0xff);
	(void)cmos(p, 7);
}

static void stop(void *loop)
{
	loop_stop(loop);
}

static void clock_interrupts(void **state)
{
	struct platform *p = *state;
	struct loop_timer *t = loop_timer_new(p->loop, stop, p->loop);

	entry_set(p, 8, 0x38);
	p->now_ns += 995000000; /* 5 ms before the next second */
	cmos_set(p, 11, 0x12);
	loop_timer_set(t, 50, 0);
	loop_run(p->loop);
	assert_true(p->msis >= 1);
	assert_int_equal(cmos(p, 12) & 0x90, 0x90);
	assert_int_equal(cmos(p, 12), 0);
	(void)loop_timer_free(t);
}

/* ---- keyboard ---- */

static void keyboard(void **state)
{
	struct platform *p = *state;
	struct err e = {0};
	static const uint8_t set1[] = {0x1d, 0x38, 0x53, 0x9d, 0xb8, 0xd3};

	assert_int_equal(i8042_ctrl_alt_del(p->i8042, &e), -ERR_CONFLICT);
	out(p, 0x64, 1, 0xaa);
	assert_int_equal(in(p, 0x64, 1) & 1, 1);
	assert_int_equal(in(p, 0x60, 1), 0x55);
	assert_int_equal(in(p, 0x64, 1) & 1, 0);
	out(p, 0x64, 1, 0x60);
	out(p, 0x60, 1, 0x45); /* interrupt, translation */
	out(p, 0x64, 1, 0x20);
	assert_int_equal(in(p, 0x60, 1), 0x45);
	entry_set(p, 1, 0x41);
	out(p, 0x60, 1, 0xed);
	out(p, 0x60, 1, 0xf4); /* LEDs, not a command */
	assert_int_equal(in(p, 0x60, 1), 0xfa);
	assert_int_equal(in(p, 0x60, 1), 0xfa);
	assert_int_equal(i8042_ctrl_alt_del(p->i8042, &e), -ERR_CONFLICT);
	out(p, 0x60, 1, 0xf4);
	assert_int_equal(in(p, 0x60, 1), 0xfa);
	p->msis = 0;
	assert_int_equal(i8042_ctrl_alt_del(p->i8042, &e), 0);
	for (unsigned i = 0; i < sizeof(set1); i++) {
		assert_int_equal(p->msis, i + 1);
		assert_int_equal(in(p, 0x60, 1), set1[i]);
	}
	for (unsigned i = 0; i < 100; i++) /* never longer than its queue */
		out(p, 0x60, 1, 0xff);
	for (unsigned i = 0; i < 100; i++)
		(void)in(p, 0x60, 1);
	assert_int_equal(in(p, 0x64, 1) & 1, 0);
}

/* ---- tables ---- */

static uint8_t sum(struct ram *ram, uint64_t at, uint64_t n)
{
	const uint8_t *b = ram_at(ram, (struct gpa){at}, n);
	unsigned total = 0;

	assert_non_null(b);
	for (uint64_t i = 0; i < n; i++)
		total += b[i];
	return (uint8_t)total;
}

static uint64_t field(struct ram *ram, uint64_t at, unsigned n)
{
	uint64_t v = 0;

	assert_true(ram_read(ram, (struct gpa){at}, &v, n));
	return v;
}

static void tables(void **state)
{
	static const char *const names[] = {"FACP", "APIC", "MCFG"};

	for (unsigned cpus = 1; cpus <= 32; cpus += 31) {
		struct ram *ram;
		struct err e = {0};
		uint64_t xsdt;

		assert_int_equal(ram_new(1 << 20, &ram, &e), 0);
		assert_int_equal(acpi_write(ram, cpus, &e), 0);
		assert_int_equal(sum(ram, MAP_ACPI_BASE, 20), 0);
		assert_int_equal(sum(ram, MAP_ACPI_BASE, 36), 0);
		xsdt = field(ram, MAP_ACPI_BASE + 24, 8);
		assert_int_equal(sum(ram, xsdt, field(ram, xsdt + 4, 4)), 0);
		for (unsigned i = 0; i < 3; i++) {
			uint64_t at = field(ram, xsdt + 36 + 8 * i, 8);

			assert_memory_equal(ram_at(ram, (struct gpa){at}, 4), names[i], 4);
			assert_int_equal(sum(ram, at, field(ram, at + 4, 4)), 0);
			if (i == 0)
				at = field(ram, at + 140, 8); /* X_DSDT */
			if (i == 0)
				assert_int_equal(sum(ram, at, field(ram, at + 4, 4)), 0);
			if (i == 1) /* header, eight bytes, then the processors */
				assert_int_equal(field(ram, at + 44 + 8 * (cpus - 1) + 3, 1),
						 cpus - 1);
		}
		ram = ram_free(ram);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(ioapic_edge),  TEST(ioapic_level),
		TEST(power),	    TEST(timer),
		TEST(resets),	    TEST(clock_tells),
		TEST(clock_is_set), TEST(clock_interrupts),
		TEST(keyboard),	    cmocka_unit_test(tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
