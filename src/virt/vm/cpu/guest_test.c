/*
 * Guests without a kernel, run through the door of the accelerator as a machine would: they print
 * on a port what happened to them, and it must be what they print elsewhere (system.asm: Bochs)
 * or what the manual says (smp.asm). State is read and written between two runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/accel.h"
#include "virt/vm/cpu/guest_smp.h"
#include "virt/vm/cpu/guest_system.h"
#include "virt/vm/cpu/trace.h"
#include "virt/vm/memory/vcpu.h"

#define OUTPUT_MAX 65536
#define PORT_PRINT 0xe9

struct machine {
	struct ram *ram;
	struct bus *bus;
	struct accel *accel;
	unsigned cpus;
	struct vcpu *vcpu[VCPU_COUNT_MAX];
	pthread_t thread[VCPU_COUNT_MAX];
	enum vcpu_exit exit[VCPU_COUNT_MAX];
	char output[OUTPUT_MAX];
	size_t n;
};

static void print_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct machine *m = device;

	if (m->n < OUTPUT_MAX - 1)
		m->output[m->n++] = (char)value;
}

static uint64_t print_read(void *device, uint64_t offset, unsigned size)
{
	return 0xe9;
}

static const struct bus_ops print_ops = {"print", print_read, print_write};

/* With room for `code_bytes` of decoded code, 0: as much as ever. */
static struct machine *machine_make(unsigned cpus, size_t code_bytes)
{
	struct machine *m = mem_new(struct machine);
	struct err e = {0};

	m->cpus = cpus;
	assert_int_equal(ram_new(32 << 20, &m->ram, &e), 0);
	m->bus = bus_new();
	assert_int_equal(bus_add(m->bus,
				 &(struct bus_range){.space = BUS_PORT,
						     .base = PORT_PRINT,
						     .bytes = 1,
						     .ops = &print_ops,
						     .device = m},
				 &e),
			 0);
	assert_int_equal(accel_cpu.open(&(struct accel_config){.ram = m->ram,
							       .bus = m->bus,
							       .cpus = cpus,
							       .code_bytes = code_bytes},
					&m->accel, &e),
			 0);
	for (unsigned i = 0; i < cpus; i++)
		assert_int_equal(accel_cpu.vcpu(m->accel, i, &m->vcpu[i], &e), 0);
	return m;
}

static void machine_end(struct machine *m)
{
	m->accel = accel_cpu.close(m->accel);
	m->bus = bus_free(m->bus);
	m->ram = ram_free(m->ram);
	free(m);
}

static void load(struct machine *m, uint64_t at, const void *bytes, size_t n)
{
	assert_true(ram_write(m->ram, (struct gpa){at}, bytes, n));
}

/* In real mode at cs:ip, as a boot sector would be. */
static void start_at(struct machine *m, uint16_t cs, uint16_t ip)
{
	struct vcpu_state s;
	struct err e = {0};

	assert_int_equal(accel_cpu.get(m->vcpu[0], &s, &e), 0);
	s.segment[VCPU_CS].selector = cs;
	s.segment[VCPU_CS].base = (uint64_t)cs << 4;
	s.rip = ip;
	assert_int_equal(accel_cpu.set(m->vcpu[0], &s, &e), 0);
}

static void *run_other(void *arg)
{
	void **pair = arg;
	struct machine *m = pair[0];
	struct vcpu *v = pair[1];
	enum vcpu_exit why;
	struct err e = {0};

	(void)m;
	assert_int_equal(accel_cpu.run(v, &why, &e), 0);
	return (void *)(uintptr_t)why;
}

/* Until the first vCPU has shut down; the others are kicked out then. */
static void run_all(struct machine *m)
{
	void *pair[VCPU_COUNT_MAX][2];
	enum vcpu_exit why = VCPU_EXIT_FAILED;
	struct err e = {0};

	for (unsigned i = 1; i < m->cpus; i++) {
		pair[i][0] = m;
		pair[i][1] = m->vcpu[i];
		assert_int_equal(pthread_create(&m->thread[i], NULL, run_other, pair[i]), 0);
	}
	assert_int_equal(accel_cpu.run(m->vcpu[0], &why, &e), 0);
	assert_int_equal(why, VCPU_EXIT_SHUTDOWN);
	for (unsigned i = 1; i < m->cpus; i++) {
		void *other = NULL;

		accel_cpu.kick(m->vcpu[i]);
		assert_int_equal(pthread_join(m->thread[i], &other), 0);
		assert_int_equal((uintptr_t)other, VCPU_EXIT_KICKED);
	}
}

/* As assert_string_equal(), but says which line differs. */
static void same_lines(const char *got, const char *want)
{
	for (unsigned line = 1; *want != 0; line++) {
		size_t a = strcspn(got, "\n"), b = strcspn(want, "\n");

		if (a != b || memcmp(got, want, a) != 0)
			fail_msg("line %u is '%.*s', not '%.*s'", line, (int)a, got, (int)b, want);
		got += a + (got[a] != 0);
		want += b + (want[b] != 0);
	}
	assert_int_equal(*got, 0);
}

static uint64_t flushes(const struct machine *m)
{
	return code_stats(m->accel->world).flushes;
}

static void run_system(size_t code_bytes, uint64_t flushes_at_least)
{
	struct machine *m = machine_make(1, code_bytes);

	load(m, 0xf0000, guest_system, sizeof(guest_system));
	start_at(m, 0xf000, 0);
	run_all(m);
	if (getenv("GUEST_SHOW"))
		(void)fwrite(m->output, 1, m->n, stdout);
	same_lines(m->output, guest_system_says);
	assert_true(accel_cpu.instructions(m->vcpu[0]) > 10000);
	assert_true(flushes(m) >= flushes_at_least);
	machine_end(m);
}

static void test_system(void **state)
{
	(void)state;
	run_system(0, 0);
}

/* With room for a few traces only, all of them are thrown away again and again. */
static void test_system_flushes(void **state)
{
	(void)state;
	run_system(CODE_BYTES_MIN, 100);
}

static void smp(unsigned cpus, size_t code_bytes, uint64_t flushes_at_least, const char *want)
{
	struct machine *m = machine_make(cpus, code_bytes);
	uint8_t n = (uint8_t)cpus;

	load(m, 0x8000, guest_smp, sizeof(guest_smp));
	load(m, 0x7000, &n, 1);
	start_at(m, 0, 0x8000);
	run_all(m);
	if (getenv("GUEST_SHOW"))
		(void)fwrite(m->output, 1, m->n, stdout);
	same_lines(m->output, want);
	assert_true(flushes(m) >= flushes_at_least);
	machine_end(m);
}

static const char smp_2[] =
	"2 9c40 1d4c0 \n1 1 2 2 \n2 0 1 0 5746 \n1 1 0 1 \n800 800 5 1 0 1 2 0 1 \nZ\n";
static const char smp_4[] =
	"4 13880 3a980 \n3 3 4 2 \n2 0 1 0 5746 \n1 1 0 1 \n800 1800 5 3 0 1 2 0 3 \nZ\n";

static void test_smp_1(void **state)
{
	(void)state;
	smp(1, 0, 0, "1 4e20 ea60 \n0 0 1 2 \n1 0 1 0 5746 \n1 1 0 1 \n800 0 5 0 0 1 2 0 0 \nZ\n");
}

static void test_smp_2(void **state)
{
	(void)state;
	smp(2, 0, 0, smp_2);
}

static void test_smp_4(void **state)
{
	(void)state;
	smp(4, 0, 0, smp_4);
}

/* Links, jumps and interrupts while the others throw everything away. */
static void test_smp_flushes(void **state)
{
	(void)state;
	smp(2, CODE_BYTES_MIN, 100, smp_2);
	smp(4, CODE_BYTES_MIN, 100, smp_4);
}

/* A message from a device wakes a vCPU that halts; its handler says so and halts for good. */
static void test_msi(void **state)
{
	/* push vector's table entry; sti; hlt; then: mov al,'x'; out 0xe9,al; lidt [none]; ud2 */
	static const uint8_t code[] = {
		0xfb,			      /* sti */
		0xf4,			      /* hlt */
		0xeb, 0xfd,		      /* jmp to the hlt */
		0xb0, 'x',  0xe6, 0xe9,	      /* handler: print x */
		0x0f, 0x01, 0x1e, 0x00, 0x20, /* lidt [0x2000]: limit 0 */
		0x0f, 0x0b,		      /* ud2 */
	};
	const uint16_t entry[2] = {4, 0x100};
	struct machine *m = machine_make(1, 0);
	struct vcpu_state s;
	uint32_t svr = 0x1ff;

	(void)state;
	load(m, 0x1000, code, sizeof(code));
	load(m, 0x41 * 4, entry, sizeof(entry));
	start_at(m, 0x100, 0);
	assert_int_equal(accel_cpu.get(m->vcpu[0], &s, NULL), 0);
	memcpy(s.apic + 0xf0, &svr, 4);
	s.gpr[VCPU_RSP] = 0x800;
	assert_int_equal(accel_cpu.set(m->vcpu[0], &s, NULL), 0);
	accel_cpu.msi(m->accel, (struct msi){.address = 0xfee00000, .data = 0x41});
	run_all(m);
	assert_string_equal(m->output, "x");
	machine_end(m);
}

/* What is set is what is read, but for clocks that go on. */
static void test_state(void **state)
{
	struct machine *m = machine_make(2, 0);
	struct vcpu_state *a = mem_new(struct vcpu_state), *b = mem_new(struct vcpu_state);

	(void)state;
	load(m, 0x8000, guest_smp, sizeof(guest_smp));
	load(m, 0x7000, (const uint8_t[]){2}, 1);
	start_at(m, 0, 0x8000);
	run_all(m);
	assert_int_equal(accel_cpu.get(m->vcpu[0], a, NULL), 0);
	for (unsigned i = 0; i < sizeof(a->fxsave) - 96; i++)
		if (i >= 160 && i < 416)
			a->fxsave[i] = (uint8_t)(i * 7);
	a->dr[0] = 0x1234;
	a->cr2 = 0xdeadbeef000;
	a->nmi_masked = true;
	a->event_pending = false;
	for (size_t i = 0; i < a->msrs; i++)
		if (a->msr[i].index == 0xc0000102)
			a->msr[i].value = 0x11223344;
	assert_int_equal(accel_cpu.set(m->vcpu[0], a, NULL), 0);
	assert_int_equal(accel_cpu.get(m->vcpu[0], b, NULL), 0);
	for (size_t i = 0; i < b->msrs; i++)
		if (b->msr[i].index == 0x10) { /* TSC */
			assert_true(b->msr[i].value >= a->msr[i].value);
			b->msr[i].value = a->msr[i].value;
		}
	assert_memory_equal(a, b, sizeof(*a));
	a->apic_base |= 0x1000;
	assert_true(accel_cpu.set(m->vcpu[1], a, NULL) < 0);
	free(a);
	free(b);
	machine_end(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_msi),
		cmocka_unit_test(test_system),
		cmocka_unit_test(test_smp_1),
		cmocka_unit_test(test_smp_2),
		cmocka_unit_test(test_smp_4),
		cmocka_unit_test(test_smp_flushes),
		cmocka_unit_test(test_system_flushes),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests_name("guest", tests, NULL, NULL);
}
