/*
 * The PCI bus as a guest sees it: finding functions, sizing and moving base address registers,
 * masking and pending vectors, INTA.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "virt/vm/device/device_fixture.h"

struct toy {
	struct pci_function pci;
	uint64_t last_offset, last_value;
	unsigned resets;
};

static uint64_t toy_read(void *device, uint64_t offset, unsigned size)
{
	return offset + 0x1000000;
}

static void toy_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct toy *t = device;

	t->last_offset = offset;
	t->last_value = value;
}

static void toy_reset(struct pci_function *f)
{
	container_of(f, struct toy, pci)->resets++;
}

static void toy_free(struct pci_function *f)
{
	free(container_of(f, struct toy, pci));
}

static const struct bus_ops toy_bus = {"toy", toy_read, toy_write};
static const struct pci_function_ops toy_ops = {
	.name = "toy", .reset = toy_reset, .free = toy_free};

static struct toy *toy_add(struct fixture *f, int bell)
{
	const struct pci_identity id = {0x1234, 0x5678, 0x9abc, 0xdef0, 0x010802, 3};
	struct toy *t = mem_new(struct toy);
	struct err e = {0};

	pci_init(&t->pci, &toy_ops, &id);
	pci_bar(&t->pci, 0, 0x4000, true, &toy_bus, t);
	pci_msix(&t->pci, 2, 5);
	if (bell >= 0)
		pci_doorbell(&t->pci, 0, 0x3000, 0, bell);
	assert_int_equal(pci_add(f->pci, &t->pci, &e), 0);
	return t;
}

static void finds_functions(void **state)
{
	struct fixture f;

	fixture_open(&f);
	(void)toy_add(&f, -1);
	assert_int_equal(config_get(&f, 0, 0, 2), PCI_VENDOR_RED_HAT);
	assert_int_equal(config_get(&f, 1, 0, 4), 0x56781234);
	assert_int_equal(config_get(&f, 1, PCI_CLASS_REVISION, 4), 0x01080203);
	assert_int_equal(config_get(&f, 2, 0, 4), 0xffffffff);
	assert_int_equal(config_get(&f, 1, 0x100, 4), 0);
	/* Function 1 of the slot is nobody. */
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, MAP_ECAM_BASE + (9 << 12), 4), 0xffffffff);
	/* The same by ports. */
	bus_write(f.bus, BUS_PORT, 0xcf8, 4, 0x80000000 | 1 << 11);
	assert_int_equal(bus_read(f.bus, BUS_PORT, 0xcfc, 4), 0x56781234);
	assert_int_equal(bus_read(f.bus, BUS_PORT, 0xcfe, 2), 0x5678);
	bus_write(f.bus, BUS_PORT, 0xcf8, 4, 1 << 11);
	assert_int_equal(bus_read(f.bus, BUS_PORT, 0xcfc, 4), 0xffffffff);
	fixture_close(&f);
}

static void moves_bars(void **state)
{
	struct fixture f;
	struct toy *t;
	uint64_t home, elsewhere = MAP_PCI64_BASE + 0x100000;
	int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	eventfd_t rings;

	fixture_open(&f);
	t = toy_add(&f, bell);
	home = config_bar(&f, 1, 0);
	assert_true(home >= MAP_PCI64_BASE);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, home, 4), 0xffffffff); /* not enabled */
	/* Sizing, as drivers do. */
	config_put(&f, 1, PCI_BASE_ADDRESS_0, 4, 0xffffffff);
	assert_int_equal(config_get(&f, 1, PCI_BASE_ADDRESS_0, 4), 0xffffc004);
	config_put(&f, 1, PCI_BASE_ADDRESS_0, 4, (uint32_t)home);
	config_put(&f, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, home + 8, 4), 0x1000008);
	bus_write(f.bus, BUS_MEMORY, home + 0x3000, 2, 7);
	assert_int_equal(eventfd_read(bell, &rings), 0);
	assert_int_equal(t->last_value, 0);
	/* Elsewhere, doorbells too. */
	config_put(&f, 1, PCI_BASE_ADDRESS_0, 4, (uint32_t)elsewhere);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, home, 4), 0xffffffff);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, elsewhere, 4), 0x1000000);
	bus_write(f.bus, BUS_MEMORY, elsewhere + 0x3000, 2, 7);
	assert_int_equal(eventfd_read(bell, &rings), 0);
	/* Over RAM or the local APICs: nowhere. */
	config_put(&f, 1, PCI_BASE_ADDRESS_0 + 4, 4, 0);
	config_put(&f, 1, PCI_BASE_ADDRESS_0, 4, 0x100000);
	assert_int_equal(t->pci.bar[0].base, 0);
	config_put(&f, 1, PCI_BASE_ADDRESS_0, 4, 0xfee00000);
	assert_int_equal(t->pci.bar[0].base, 0);
	/* Over the other BAR: conflicts, stays off, comes back when it is gone. */
	config_put(&f, 1, PCI_BASE_ADDRESS_0, 4, (uint32_t)config_bar(&f, 1, 2));
	assert_int_equal(t->pci.bar[0].base, 0);
	pci_reset(f.pci);
	assert_int_equal(t->resets, 1);
	assert_int_equal(config_bar(&f, 1, 0), home);
	assert_int_equal(config_get(&f, 1, PCI_COMMAND, 2), 0);
	fixture_close(&f);
	(void)close(bell);
}

static void masks_vectors(void **state)
{
	struct fixture f;
	struct toy *t;
	unsigned msix;
	uint64_t table;

	fixture_open(&f);
	t = toy_add(&f, -1);
	msix = config_capability(&f, 1, PCI_CAP_ID_MSIX, -1);
	pci_interrupt(&t->pci, 1);
	config_enable(&f, 1);
	assert_int_equal(f.messages[1], 0); /* off: not even pending */
	table = config_bar(&f, 1, 2);
	pci_interrupt(&t->pci, 1);
	assert_int_equal(f.messages[1], 1);
	bus_write(f.bus, BUS_MEMORY, table + 16 + 12, 4, 1);
	pci_interrupt(&t->pci, 1);
	pci_interrupt(&t->pci, 1);
	assert_int_equal(f.messages[1], 1);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, table + 2048, 8), 2);
	bus_write(f.bus, BUS_MEMORY, table + 16 + 12, 4, 0);
	assert_int_equal(f.messages[1], 2);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, table + 2048, 8), 0);
	/* The whole function masked. */
	config_put(&f, 1, msix + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_interrupt(&t->pci, 4);
	assert_int_equal(f.messages[4], 0);
	config_put(&f, 1, msix + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(f.messages[4], 1);
	pci_interrupt(&t->pci, 5); /* there is none */
	/* Beyond the table: nothing to read, nothing written. */
	bus_write(f.bus, BUS_MEMORY, table + 5 * 16, 8, 1);
	assert_int_equal(bus_read(f.bus, BUS_MEMORY, table + 5 * 16, 4), 0);
	fixture_close(&f);
}

static void shares_lines(void **state)
{
	struct fixture f;
	struct toy *t[5];

	fixture_open(&f);
	for (int i = 0; i < 5; i++)
		t[i] = toy_add(&f, -1);
	pci_intx(&t[0]->pci, true);
	pci_intx(&t[4]->pci, true); /* slots 1 and 5: the same line */
	assert_true(f.line[1]);
	assert_true(config_get(&f, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	pci_intx(&t[0]->pci, false);
	assert_true(f.line[1]);
	config_put(&f, 5, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_false(f.line[1]);
	config_put(&f, 5, PCI_COMMAND, 2, 0);
	assert_true(f.line[1]);
	config_enable(&f, 5); /* MSI-X takes over */
	assert_false(f.line[1]);
	fixture_close(&f);
}

static void is_full(void **state)
{
	struct fixture f;
	struct pci_identity id = {1, 2, 3, 4, 5, 6};
	struct toy *t = mem_new(struct toy);
	struct err e = {0};

	fixture_open(&f);
	for (int i = 1; i < PCI_SLOTS; i++) {
		struct toy *more = mem_new(struct toy);

		pci_init(&more->pci, &toy_ops, &id);
		assert_int_equal(pci_add(f.pci, &more->pci, &e), 0);
	}
	pci_init(&t->pci, &toy_ops, &id);
	assert_int_equal(pci_add(f.pci, &t->pci, &e), -ERR_EXHAUSTED);
	free(t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_functions), cmocka_unit_test(moves_bars),
		cmocka_unit_test(masks_vectors),   cmocka_unit_test(shares_lines),
		cmocka_unit_test(is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
