/*
 * CPUID and the paravirtual clocks: what a kernel's own checks look at, and the arithmetic by which
 * a guest turns a TSC into time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "virt/vm/cpu/cpuid.h"
#include "virt/vm/cpu/kvmclock.h"

static struct cpuid_result ask(uint32_t leaf, uint32_t subleaf, unsigned index, unsigned cpus)
{
	struct cpuid_query q = {leaf, subleaf, index, cpus, true};

	return cpuid_read(&q);
}

static void test_identity(void **state)
{
	struct cpuid_result r = ask(0, 0, 0, 1);
	char text[49] = {0};

	(void)state;
	memcpy(text, &r.ebx, 4);
	memcpy(text + 4, &r.edx, 4);
	memcpy(text + 8, &r.ecx, 4);
	assert_string_equal(text, "GenuineIntel");
	assert_true(r.eax >= 0xb);
	r = ask(CPUID_KVM_BASE, 0, 0, 1);
	memset(text, 0, sizeof(text));
	memcpy(text, &r.ebx, 4);
	memcpy(text + 4, &r.ecx, 4);
	memcpy(text + 8, &r.edx, 4);
	assert_string_equal(text, "KVMKVMKVM");
	memset(text, 0, sizeof(text));
	for (unsigned i = 0; i < 3; i++) {
		r = ask(0x80000002 + i, 0, 0, 1);
		memcpy(text + i * 16, &r, 16);
	}
	assert_string_equal(text, "Hull software CPU");
	assert_int_equal(ask(1, 0, 0, 1).eax >> 8 & 15, CPUID_FAMILY);
	assert_int_equal(ask(0x55, 0, 0, 1).eax, 0);
	assert_int_equal(ask(0x80000008, 0, 0, 1).eax & 0xff, 46);
}

/* What Linux's verify_cpu and glibc's x86-64-v2 demand, and what must not be there. */
static void test_features(void **state)
{
	struct cpuid_result one = ask(1, 0, 0, 1), seven = ask(7, 0, 0, 1),
			    extended = ask(0x80000001, 0, 0, 1);
	const uint32_t required_edx = 1u << 0 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 13 | 1u << 15 |
				      1u << 24 | 1u << 25 | 1u << 26;
	const uint32_t v2_ecx = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23;

	(void)state;
	assert_int_equal(one.edx & required_edx, required_edx);
	assert_int_equal(one.ecx & v2_ecx, v2_ecx);
	assert_true(one.ecx >> 31);
	assert_false(one.ecx >> 26 & 3); /* XSAVE */
	assert_false(one.ecx >> 30 & 1); /* RDRAND */
	assert_false(one.ecx >> 17 & 1); /* PCID */
	assert_true(extended.edx >> 29 & 1);
	assert_true(extended.ecx & 1);
	assert_false(seven.ebx >> 20 & 1); /* SMAP */
	assert_false(seven.ecx >> 16 & 1); /* LA57 */
	assert_true(seven.edx >> 29 & 1);
	assert_true((CPUID_ARCH_CAPABILITIES & 2) != 0);
	assert_int_equal(ask(7, 1, 0, 1).eax, 0);
}

static void test_topology(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0, 2, 3).ebx >> 24, 2);
	assert_int_equal(ask(1, 0, 2, 3).ebx >> 16 & 0xff, 4);
	assert_true(ask(1, 0, 0, 2).edx >> 28 & 1);
	assert_false(ask(1, 0, 0, 1).edx >> 28 & 1);
	assert_int_equal(ask(0xb, 0, 5, 6).ebx, 1);
	assert_int_equal(ask(0xb, 0, 5, 6).ecx, 0x100);
	assert_int_equal(ask(0xb, 1, 5, 6).eax, 3);
	assert_int_equal(ask(0xb, 1, 5, 6).ebx, 6);
	assert_int_equal(ask(0xb, 1, 5, 6).ecx, 0x201);
	assert_int_equal(ask(0xb, 1, 5, 6).edx, 5);
	assert_int_equal(ask(0xb, 2, 5, 6).ebx, 0);
	assert_int_equal(ask(0xb, 0, 0, 1).ebx, 1);
	assert_int_equal(ask(4, 3, 0, 4).eax >> 14 & 0xfff, 3);
	assert_int_equal(ask(4, 4, 0, 4).eax, 0);
	assert_false(cpuid_read(&(struct cpuid_query){1, 0, 0, 1, false}).edx >> 9 & 1);
}

/* As a guest computes it: pvclock_scale_delta() and pvclock_tsc_khz(). */
static void test_clock_arithmetic(void **state)
{
	struct ram *ram = NULL;
	struct kvmclock_time t = {.system_ns = 5000, .tsc = 123456789, .stable = true};
	struct gpa at = {0x2040};
	const uint8_t *p;
	uint64_t tsc_then, system_then, delta = 777777777;

	(void)state;
	assert_int_equal(ram_new(1 << 20, &ram, NULL), 0);
	ram_store32(ram_at(ram, at, 4), 7); /* rubbish of whoever had the page before */
	assert_true(kvmclock_system(ram, at, &t));
	p = ram_at(ram, at, 32);
	assert_int_equal(ram_load32(p) % 2, 0);
	memcpy(&tsc_then, p + 8, 8);
	memcpy(&system_then, p + 16, 8);
	assert_int_equal(tsc_then, t.tsc);
	assert_int_equal(system_then, t.system_ns);
	assert_int_equal(p[28], 1);
	assert_int_equal((unsigned __int128)(delta << p[28]) * ram_load32(p + 24) >> 32, delta);
	assert_int_equal((1000000ull << 32) / ram_load32(p + 24) >> p[28], CPUID_TSC_KHZ);
	assert_int_equal(p[29], 1);
	assert_false(kvmclock_system(ram, (struct gpa){(1 << 20) - 16}, &t));

	assert_true(kvmclock_wall(ram, at, 1700000000123456789ull, 23456789ull));
	assert_int_equal(ram_load32(p + 4), 1700000000);
	assert_int_equal(ram_load32(p + 8), 100000000);
	assert_int_equal(ram_load32(p) % 2, 0);
	assert_true(kvmclock_host_ns() <= kvmclock_host_ns());
	ram = ram_free(ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_topology),
		cmocka_unit_test(test_clock_arithmetic),
	};

	return cmocka_run_group_tests_name("cpuid", tests, NULL, NULL);
}
