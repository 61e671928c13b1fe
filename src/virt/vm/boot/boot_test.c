/*
 * Loading kernels that are made here: both file types, both protocols, what lies in memory and in
 * registers afterwards, initrds and command lines at their limits, and damaged files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/boot/boot.h"
#include "virt/vm/boot/kernel_fixture.h"
#include "virt/vm/memory/map.h"

#define RAM_BYTES (16ull << 20)

struct machine {
	struct ram *ram;
	struct strbuf kernel, initrd;
	struct boot_config c;
	struct vcpu_state state;
	struct boot_report report;
	struct err e;
};

static int file_of(const struct strbuf *b)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_true(fd >= 0);
	if (b->n)
		assert_int_equal(write(fd, b->p, b->n), b->n);
	return fd;
}

static int load(struct machine *m)
{
	auto_close int kernel = file_of(&m->kernel);
	auto_close int initrd = m->initrd.n ? file_of(&m->initrd) : -1;

	m->c.ram = m->ram;
	m->c.kernel = kernel;
	m->c.initrd = initrd;
	m->c.kernel_name = "k";
	m->c.initrd_name = "i";
	m->e = (struct err){0};
	memset(&m->state, 0, sizeof(m->state));
	return boot_load(&m->c, &m->state, &m->report, &m->e);
}

static void begin(struct machine *m)
{
	struct err e = {0};

	*m = (struct machine){0};
	assert_int_equal(ram_new(RAM_BYTES, &m->ram, &e), 0);
}

static void end(struct machine *m)
{
	m->ram = ram_free(m->ram);
	strbuf_done(&m->kernel);
	strbuf_done(&m->initrd);
}

static uint64_t at(const struct machine *m, uint64_t address, unsigned bytes)
{
	uint64_t v = 0;

	assert_true(ram_read(m->ram, (struct gpa){address}, &v, bytes));
	return v;
}

static void pvh(void **state)
{
	struct machine m;

	begin(&m);
	fixture_elf(&m.kernel, true);
	m.c.command_line = "hello kernel";
	for (unsigned i = 0; i < 5000; i++)
		strbuf_add_char(&m.initrd, (char)i);
	memset(ram_at(m.ram, (struct gpa){FIXTURE_LOAD_AT}, FIXTURE_MEMORY), 0xee, FIXTURE_MEMORY);
	assert_int_equal(load(&m), 0);
	assert_int_equal(m.state.rip, FIXTURE_PVH_ENTRY);
	assert_int_equal(m.state.cr0, 0x11);
	assert_int_equal(m.state.efer, 0);
	assert_int_equal(m.state.segment[VCPU_CS].access, 0xc09b);
	assert_int_equal(at(&m, FIXTURE_LOAD_AT, 1), 0xc0);
	assert_int_equal(at(&m, FIXTURE_LOAD_AT + 63, 1), 0xff);
	assert_int_equal(at(&m, FIXTURE_LOAD_AT + 64, 8), 0);
	assert_int_equal(at(&m, FIXTURE_LOAD_AT + FIXTURE_MEMORY - 8, 8), 0);
	assert_int_equal(at(&m, m.state.gpr[VCPU_RBX], 4), 0x336ec578);
	assert_int_equal(at(&m, m.state.gpr[VCPU_RBX] + 12, 4), 1);
	assert_int_equal(at(&m, at(&m, m.state.gpr[VCPU_RBX] + 16, 8), 8), m.report.initrd_at);
	assert_int_equal(at(&m, m.state.gpr[VCPU_RBX] + 32, 8), MAP_ACPI_BASE);
	assert_memory_equal(ram_at(m.ram, (struct gpa){MAP_COMMAND_LINE}, 13), "hello kernel", 13);
	assert_int_equal(m.report.initrd_at, RAM_BYTES - 8192);
	assert_int_equal(at(&m, m.report.initrd_at + 300, 1), 300 & 0xff);
	end(&m);
}

static void linux64(void **state)
{
	struct machine m;

	begin(&m);
	fixture_elf(&m.kernel, false);
	m.c.seed[5] = 77;
	assert_int_equal(load(&m), 0);
	assert_int_equal(m.report.protocol, BOOT_LINUX64);
	assert_int_equal(m.state.rip, FIXTURE_ENTRY);
	assert_int_equal(m.state.efer, 0x500);
	assert_int_equal(m.state.cr0, 0x80000011);
	assert_int_equal(m.state.gpr[VCPU_RSI], MAP_ZERO_PAGE);
	assert_int_equal(at(&m, MAP_ZERO_PAGE + 0x202, 4), 0x53726448);
	assert_int_equal(at(&m, MAP_ZERO_PAGE + 0x70, 8), MAP_ACPI_BASE);
	assert_int_equal(at(&m, at(&m, MAP_ZERO_PAGE + 0x250, 8) + 16 + 5, 1), 77);
	/* The page tables: 2 MiB pages, the last below 4 GiB. */
	assert_int_equal(at(&m, m.state.cr3, 8), 0xa003);
	assert_int_equal(at(&m, 0xb000 + 8 * (4 * 512 - 1), 8), 0xffe00083);
	end(&m);
}

static void bzimage(void **state)
{
	struct machine m;

	for (unsigned with_pvh = 0; with_pvh < 2; with_pvh++) {
		begin(&m);
		fixture_bzimage(&m.kernel, with_pvh);
		assert_int_equal(load(&m), 0);
		assert_int_equal(m.state.rip, with_pvh ? FIXTURE_PVH_ENTRY : FIXTURE_ENTRY);
		assert_int_equal(at(&m, FIXTURE_LOAD_AT + 63, 1), 0xff);
		m.c.protocol = BOOT_LINUX64;
		assert_int_equal(load(&m), 0);
		/* Its own setup header is handed over. */
		assert_int_equal(at(&m, MAP_ZERO_PAGE + 0x206, 2), 0x20f);
		assert_int_equal(at(&m, MAP_ZERO_PAGE + 0x210, 1), 0xff);
		m.c.protocol = BOOT_PVH;
		assert_int_equal(load(&m), with_pvh ? 0 : -ERR_UNSUPPORTED);
		end(&m);
	}
}

static void limits(void **state)
{
	struct machine m;
	char line[MAP_COMMAND_BYTES + 1];

	begin(&m);
	fixture_elf(&m.kernel, true);
	memset(line, 'x', sizeof(line));
	line[MAP_COMMAND_BYTES] = 0;
	m.c.command_line = line;
	assert_int_equal(load(&m), -ERR_INVALID);
	assert_string_equal(m.e.text, "the kernel's command line has 2048 bytes, it may have 2047");
	line[MAP_COMMAND_BYTES - 1] = 0;
	assert_int_equal(load(&m), 0);
	m.c.command_line = NULL;
	/* The largest initrd that fits, then one byte more. */
	for (uint64_t n = RAM_BYTES - FIXTURE_LOAD_AT - FIXTURE_MEMORY; n > 0; n--)
		strbuf_add_char(&m.initrd, 1);
	assert_int_equal(load(&m), 0);
	assert_int_equal(m.report.initrd_at, FIXTURE_LOAD_AT + FIXTURE_MEMORY);
	strbuf_add_char(&m.initrd, 1);
	assert_int_equal(load(&m), -ERR_INVALID);
	assert_non_null(strstr(m.e.text, "give it more memory"));
	end(&m);
}

/* One changed field of the ELF file each, and what is said. */
static void damaged(void **state)
{
	static const struct {
		unsigned at;
		uint64_t value;
		unsigned bytes;
		const char *says;
	} rows[] = {
		{0, 0, 4, "'k' is no kernel"},
		{4, 1, 1, "not a 64-bit kernel"},
		{18, 183, 2, "for ARM64"},
		{18, 999, 2, "ELF machine 999"},
		{54, 32, 2, "program headers of 32 bytes"},
		{56, 0, 2, "0 program headers"},
		{56, 129, 2, "129 program headers"},
		{32, UINT64_MAX - 10, 8, "cut off"},
		{64, 0, 4, "loads nothing"},
		{64 + 8, 5000, 8, "does not lie in it"},
		{64 + 8, UINT64_MAX, 8, "does not lie in it"},
		{64 + 24, 0x1000, 8, "not above 1 MiB"},
		{64 + 24, UINT64_MAX - 0x100, 8, "not above 1 MiB"},
		{64 + 32, 0x6000, 8, "does not lie in it"},
		{64 + 40, 1ull << 40, 8, "give it more"},
		{64 + 24, 0x1000000, 8, "where it loads nothing"},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct machine m;

		begin(&m);
		fixture_elf(&m.kernel, true);
		memcpy(m.kernel.p + rows[i].at, &rows[i].value, rows[i].bytes);
		assert_true(load(&m) < 0);
		if (!strstr(m.e.text, rows[i].says))
			fail_msg("row %zu says: %s", i, m.e.text);
		end(&m);
	}
}

/* Every shorter file is an error, never a fault. */
static void cut_off(void **state)
{
	struct machine m;
	size_t whole;

	for (unsigned packed = 0; packed < 2; packed++) {
		begin(&m);
		if (packed)
			fixture_bzimage(&m.kernel, true);
		else
			fixture_elf(&m.kernel, true);
		whole = m.kernel.n;
		for (size_t n = 0; n < whole; n += 1 + (packed && n > 700) * 3) {
			m.kernel.n = n;
			assert_true(load(&m) < 0);
			assert_true(m.e.text[0]);
		}
		end(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pvh),	  cmocka_unit_test(linux64), cmocka_unit_test(bzimage),
		cmocka_unit_test(limits), cmocka_unit_test(damaged), cmocka_unit_test(cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
