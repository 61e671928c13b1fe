/*
 * Both accelerators behind one contract: the same small guests, in real, protected and long mode,
 * run on each: ports, memory-mapped registers, doorbells, interrupts (edge, level with its EOI),
 * start of a second processor, kicks, triple faults, reset, and state that is written and read
 * back. KVM's are skipped where there is no /dev/kvm. Only instructions that a KVM emulates which
 * cannot run kernel code natively: no IRET in protected mode, for one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/memory/map.h"
#include "virt/vm/memory/vcpu.h"

#define CODE_AT	   0x1000u
#define IDT_AT	   0x4000u
#define COUNTER_AT 0x5000u
#define AP_AT	   0x8000u
#define TABLES_AT  0x9000u
#define DEVICE_AT  0xd0000000u
#define BELL_AT	   0xd0000100u
#define STACK_AT   0xf000u

enum { PORT_OUT = 0x10, PORT_IN = 0x11, PORT_READY = 0x12, PORT_AP = 0x14, PORT_END = 0x1f };

/* Each begins at CODE_AT (the application processor's at AP_AT). */
__asm__(".pushsection .rodata\n"
	".code16\n"
	"guest_real:\n"
	"	mov $0x55, %al\n"
	"	out %al, $0x10\n"
	"	in $0x11, %al\n"
	"	out %al, $0x10\n"
	"	mov $3, %cx\n"
	"1:	mov %cl, %al\n"
	"	out %al, $0x10\n"
	"	loop 1b\n"
	"	movw $0x1234, 0x5000\n"
	"	out %al, $0x1f\n"
	"2:	hlt\n"
	"	jmp 2b\n"
	"guest_real_end:\n"
	".code64\n"
	"guest_interrupts:\n"
	"	mov $0xfee00000, %ebx\n"
	"	movl $0x1ff, 0xf0(%rbx)\n"
	"	sti\n"
	"	out %al, $0x12\n"
	"1:	hlt\n"
	"	jmp 1b\n"
	"guest_interrupts_handler:\n"
	"	incl 0x5000\n"
	"	movl $0, 0xb0(%rbx)\n"
	"	mov $0x49, %al\n"
	"	out %al, $0x10\n"
	"	iretq\n"
	"guest_interrupts_end:\n"
	".code32\n"
	"guest_starter:\n"
	"	movl $0x1ff, 0xfee000f0\n"
	"	movl $0x01000000, 0xfee00310\n"
	"	movl $0x00004500, 0xfee00300\n"
	"	movl $0x01000000, 0xfee00310\n"
	"	movl $0x00004608, 0xfee00300\n"
	"1:	cmpl $1, 0x5000\n"
	"	pause\n"
	"	jne 1b\n"
	"	out %al, $0x1f\n"
	"2:	hlt\n"
	"	jmp 2b\n"
	"guest_starter_end:\n"
	".code16\n"
	"guest_started:\n"
	"	mov $0x41, %al\n"
	"	out %al, $0x14\n"
	"	xor %ax, %ax\n"
	"	mov %ax, %ds\n"
	"	movl $1, 0x5000\n"
	"1:	hlt\n"
	"	jmp 1b\n"
	"guest_started_end:\n"
	".code32\n"
	"guest_loop:\n"
	"1:	incl 0x5000\n"
	"	jmp 1b\n"
	"guest_loop_end:\n"
	"guest_fault:\n"
	"	ud2\n"
	"guest_fault_end:\n"
	".code64\n"
	"guest_long:\n"
	"	mov $0xd0000000, %ebx\n"
	"	mov $0x1122334455667788, %rax\n"
	"	mov %rax, (%rbx)\n"
	"	mov %eax, 0x10(%rbx)\n"
	"	mov %ax, 0x20(%rbx)\n"
	"	mov %al, 0x30(%rbx)\n"
	"	mov 8(%rbx), %rcx\n"
	"	movzwl 0x18(%rbx), %edx\n"
	"	movl $7, 0x100(%rbx)\n"
	"	mov %rcx, 0x5000\n"
	"	mov %edx, 0x5008\n"
	"	lea 0x5000, %rsi\n"
	"	mov $4, %ecx\n"
	"	mov $0x10, %edx\n"
	"	cld\n"
	"	rep outsb\n"
	"	out %al, $0x1f\n"
	"1:	hlt\n"
	"	jmp 1b\n"
	"guest_long_end:\n"
	".popsection\n");

#define GUEST(name) extern const uint8_t guest_##name[], guest_##name##_end[]
GUEST(real);
GUEST(interrupts);
extern const uint8_t guest_interrupts_handler[];
GUEST(starter);
GUEST(started);
GUEST(loop);
GUEST(fault);
GUEST(long);

struct test {
	const struct accel_ops *ops;
	struct ram *ram;
	struct bus *bus;
	struct accel *accel;
	struct vcpu *cpu[2];
	struct vcpu_state *state, *other;
	uint8_t said[64];
	size_t said_n;
	unsigned eois, ap_said;
	uint64_t wrote[4]; /* to the device, by slot */
	atomic_int ended;
	void (*ready)(struct test *t);
};

static void told_eoi(void *ctx, uint8_t vector)
{
	((struct test *)ctx)->eois += vector == 0x31;
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	return offset == PORT_IN - PORT_OUT ? 0x77 : 0xff;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct test *t = device;

	switch (offset + PORT_OUT) {
	case PORT_OUT:
		assert_true(t->said_n < sizeof(t->said));
		t->said[t->said_n++] = (uint8_t)value;
		if (value == 0x49 && t->ready)
			t->ready(t);
		break;
	case PORT_READY:
		t->ready(t);
		break;
	case PORT_AP:
		t->ap_said++;
		break;
	case PORT_END:
		t->ended = 1;
		t->ops->kick(t->cpu[0]);
		break;
	}
}

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
	return 0xa0a1a2a3a4a5a6a7ull + offset;
}

static void device_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct test *t = device;

	assert_int_equal(size, 8u >> (offset / 16));
	t->wrote[offset / 16 & 3] = value;
}

static const struct bus_ops port_ops = {"ports", port_read, port_write};
static const struct bus_ops device_ops = {"device", device_read, device_write};

static int set_up(void **state, const struct accel_ops *ops)
{
	struct test *t = mem_new(struct test);
	struct err e = {0};
	struct accel_config c = {.cpus = 2, .eoi = told_eoi, .eoi_ctx = t};

	t->ops = ops;
	t->bus = bus_new();
	t->state = mem_new(struct vcpu_state);
	t->other = mem_new(struct vcpu_state);
	assert_int_equal(ram_new(2 << 20, &t->ram, &e), 0);
	c.ram = t->ram;
	c.bus = t->bus;
	if (ops->open(&c, &t->accel, &e) < 0)
		fail_msg("%s", e.text);
	for (unsigned i = 0; i < 2; i++)
		if (ops->vcpu(t->accel, i, &t->cpu[i], &e) < 0)
			fail_msg("%s", e.text);
	assert_int_equal(
		bus_add(t->bus, &(struct bus_range){BUS_PORT, PORT_OUT, 16, &port_ops, t}, &e), 0);
	assert_int_equal(bus_add(t->bus,
				 &(struct bus_range){BUS_MEMORY, DEVICE_AT, 0x200, &device_ops, t},
				 &e),
			 0);
	*state = t;
	return 0;
}

static int set_up_kvm(void **state)
{
	*state = NULL;
	return access("/dev/kvm", R_OK | W_OK) == 0 ? set_up(state, &accel_kvm) : 0;
}

static int set_up_cpu(void **state)
{
	return set_up(state, &accel_cpu);
}

static int tear_down(void **state)
{
	struct test *t = *state;

	if (!t)
		return 0;
	t->accel = t->ops->close(t->accel);
	t->bus = bus_free(t->bus);
	t->ram = ram_free(t->ram);
	free(t->state);
	free(t->other);
	free(t);
	return 0;
}

static void need_host(const struct test *t)
{
	if (!t)
		skip();
}

static void put(struct test *t, uint64_t at, const void *p, size_t n)
{
	assert_true(ram_write(t->ram, (struct gpa){at}, p, n));
}

static uint64_t get(struct test *t, uint64_t at, unsigned n)
{
	uint64_t v = 0;

	assert_true(ram_read(t->ram, (struct gpa){at}, &v, n));
	return v;
}

/* ---- states to begin with ---- */

static void set(struct test *t)
{
	struct err e = {0};

	if (t->ops->set(t->cpu[0], t->state, &e) < 0)
		fail_msg("%s", e.text);
}

static void begin(struct test *t, const uint8_t *code, const uint8_t *end)
{
	struct err e = {0};

	put(t, CODE_AT, code, (size_t)(end - code));
	assert_int_equal(t->ops->get(t->cpu[0], t->state, &e), 0);
	t->state->rip = CODE_AT;
	t->state->rflags = 2;
	t->state->gpr[VCPU_RSP] = STACK_AT;
}

static void begin_real(struct test *t, const uint8_t *code, const uint8_t *end)
{
	begin(t, code, end);
	t->state->segment[VCPU_CS].base = 0;
	t->state->segment[VCPU_CS].selector = 0;
	set(t);
}

static void flat(struct test *t, uint16_t code_access)
{
	const uint64_t gdt[] = {0, 0, 0x000f00000000ffff | (uint64_t)code_access << 40,
				0x00cf93000000ffff};

	put(t, MAP_BOOT_GDT, gdt, sizeof(gdt));
	t->state->gdt_base = MAP_BOOT_GDT;
	t->state->gdt_limit = sizeof(gdt) - 1;
	for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
		t->state->segment[i] = (struct vcpu_segment){
			.limit = UINT32_MAX, .selector = 0x18, .access = 0xc093};
	t->state->segment[VCPU_CS].selector = 0x10;
	t->state->segment[VCPU_CS].access = code_access;
	t->state->segment[VCPU_TR] = (struct vcpu_segment){.limit = 0x67, .access = 0x8b};
}

static void begin_protected(struct test *t, const uint8_t *code, const uint8_t *end)
{
	begin(t, code, end);
	flat(t, 0xc09b);
	t->state->cr0 = 0x11;
	t->state->idt_limit = 0;
	set(t);
}

static void begin_long(struct test *t, const uint8_t *code, const uint8_t *end)
{
	const uint64_t top = (TABLES_AT + 0x1000) | 3, low = (TABLES_AT + 0x2000) | 3;
	const uint64_t high = (TABLES_AT + 0x3000) | 3;

	begin(t, code, end);
	flat(t, 0xa09b);
	put(t, TABLES_AT, &top, 8);
	put(t, TABLES_AT + 0x1000, &low, 8);
	put(t, TABLES_AT + 0x1018, &high, 8);
	for (uint64_t i = 0; i < 512; i++) {
		uint64_t a = i << 21 | 0x83, b = (3ull << 30) | i << 21 | 0x83;

		put(t, TABLES_AT + 0x2000 + 8 * i, &a, 8);
		put(t, TABLES_AT + 0x3000 + 8 * i, &b, 8);
	}
	t->state->cr0 = 0x80000011;
	t->state->cr3 = TABLES_AT;
	t->state->cr4 = 0x20;
	t->state->efer = 0x500;
	set(t);
}

static enum vcpu_exit run(struct test *t)
{
	enum vcpu_exit exit = VCPU_EXIT_FAILED;
	struct err e = {0};

	if (t->ops->run(t->cpu[0], &exit, &e) < 0)
		fail_msg("%s", e.text);
	return exit;
}

static void run_to_end(struct test *t)
{
	while (!t->ended)
		assert_int_equal(run(t), VCPU_EXIT_KICKED);
}

/* ---- the tests ---- */

static void real_mode(void **state)
{
	struct test *t = *state;
	static const uint8_t said[] = {0x55, 0x77, 3, 2, 1};

	need_host(t);
	begin_real(t, guest_real, guest_real_end);
	run_to_end(t);
	assert_int_equal(t->said_n, sizeof(said));
	assert_memory_equal(t->said, said, sizeof(said));
	assert_int_equal(get(t, COUNTER_AT, 2), 0x1234);
}

static void send_next(struct test *t)
{
	uint32_t n = (uint32_t)get(t, COUNTER_AT, 4);

	/* Three by edge, two by level, one more so that the last EOI has been told by then. */
	if (n < 3 || n == 5)
		t->ops->msi(t->accel, (struct msi){MAP_APIC_BASE, 0x30});
	else if (n < 5)
		t->ops->msi(t->accel, (struct msi){MAP_APIC_BASE, 0xc031});
	else
		port_write(t, PORT_END - PORT_OUT, 1, 0);
}

static void interrupts(void **state)
{
	struct test *t = *state;
	uint32_t handler = CODE_AT + (uint32_t)(guest_interrupts_handler - guest_interrupts);
	uint64_t gate =
		(handler & 0xffff) | 0x10 << 16 | 0x8e00ull << 32 | (uint64_t)(handler >> 16) << 48;

	need_host(t);
	t->ready = send_next;
	begin_long(t, guest_interrupts, guest_interrupts_end);
	put(t, IDT_AT + 16 * 0x30, &gate, 8);
	put(t, IDT_AT + 16 * 0x31, &gate, 8);
	t->state->idt_base = IDT_AT;
	t->state->idt_limit = 0x7ff;
	set(t);
	if (t->ops->route)
		t->ops->route(t->accel, 9, (struct msi){MAP_APIC_BASE, 0xc031}, false);
	run_to_end(t);
	assert_int_equal(get(t, COUNTER_AT, 4), 6);
	assert_int_equal(t->eois, 2);
	assert_int_equal(t->said_n, 6);
}

static void long_mode(void **state)
{
	struct test *t = *state;
	auto_close int bell = eventfd(0, EFD_NONBLOCK);
	struct bus_doorbell d = {BUS_MEMORY, BELL_AT, 4, bell, false, 0};
	uint64_t n = 0;
	struct err e = {0};

	need_host(t);
	assert_int_equal(bus_doorbell_add(t->bus, &d, &e), 0);
	begin_long(t, guest_long, guest_long_end);
	run_to_end(t);
	assert_int_equal(t->wrote[0], 0x1122334455667788);
	assert_int_equal(t->wrote[1], 0x55667788);
	assert_int_equal(t->wrote[2], 0x7788);
	assert_int_equal(t->wrote[3], 0x88);
	assert_int_equal(get(t, COUNTER_AT, 8), 0xa0a1a2a3a4a5a6a7 + 8);
	assert_int_equal(get(t, COUNTER_AT + 8, 4), 0xa6a7 + 0x18);
	assert_int_equal(read(bell, &n, 8), 8);
	assert_int_equal(n, 1);
	assert_int_equal(t->said_n, 4);
	assert_int_equal(t->said[1], 0xa6);
	bus_doorbell_remove(t->bus, &d);
}

static void *run_other(void *arg)
{
	struct test *t = arg;
	enum vcpu_exit exit;
	struct err e = {0};

	while (!t->ended)
		if (t->ops->run(t->cpu[1], &exit, &e) < 0)
			return (void *)1;
	return NULL;
}

static void second_processor(void **state)
{
	struct test *t = *state;
	pthread_t thread;
	void *result;

	need_host(t);
	begin_protected(t, guest_starter, guest_starter_end);
	put(t, AP_AT, guest_started, (size_t)(guest_started_end - guest_started));
	assert_int_equal(pthread_create(&thread, NULL, run_other, t), 0);
	run_to_end(t);
	t->ops->kick(t->cpu[1]);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
	assert_int_equal(t->ap_said, 1);
}

static void *kick_it(void *arg)
{
	struct test *t = arg;

	while (get(t, COUNTER_AT, 4) < 100)
		sched_yield();
	t->ops->kick(t->cpu[0]);
	return NULL;
}

static void kicks(void **state)
{
	struct test *t = *state;
	pthread_t thread;
	struct err e = {0};

	need_host(t);
	begin_protected(t, guest_loop, guest_loop_end);
	t->ops->kick(t->cpu[0]); /* before it runs: at once */
	assert_int_equal(run(t), VCPU_EXIT_KICKED);
	assert_int_equal(pthread_create(&thread, NULL, kick_it, t), 0);
	assert_int_equal(run(t), VCPU_EXIT_KICKED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(t->ops->get(t->cpu[0], t->state, &e), 0);
	assert_true(t->state->rip >= CODE_AT && t->state->rip < CODE_AT + 16);
	assert_true(get(t, COUNTER_AT, 4) >= 100);
}

static void triple_fault_and_reset(void **state)
{
	struct test *t = *state;
	struct err e = {0};

	need_host(t);
	begin_protected(t, guest_fault, guest_fault_end);
	assert_int_equal(run(t), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(t->ops->reset(t->cpu[0], &e), 0);
	assert_int_equal(t->ops->get(t->cpu[0], t->state, &e), 0);
	assert_int_equal(t->state->rip, 0xfff0);
	assert_int_equal(t->state->segment[VCPU_CS].base, 0xffff0000);
	assert_int_equal(t->state->cr0 & 0x80000001, 0);
	assert_int_equal(t->state->activity, VCPU_RUNS);
	/* And it runs again. */
	begin_real(t, guest_real, guest_real_end);
	run_to_end(t);
	assert_int_equal(t->said_n, 5);
}

static void keeps_state(void **state)
{
	struct test *t = *state;
	struct err e = {0};
	struct vcpu_state *a, *b;

	need_host(t);
	a = t->state;
	b = t->other;
	begin_long(t, guest_long, guest_long_end);
	for (unsigned i = 0; i < VCPU_REGISTERS; i++)
		a->gpr[i] = 0x0101010101010101ull * (i + 1);
	a->rflags = 0x246;
	a->cr2 = 0x123456;
	a->cr8 = 5;
	a->dr[0] = 0x1111;
	a->dr[3] = 0x3333;
	a->segment[VCPU_FS].base = 0x7fff12345678;
	for (unsigned i = 0; i < 16 * 16; i++)
		a->fxsave[160 + i] = (uint8_t)(i * 7);
	a->fxsave[0] = 0x7f;
	a->fxsave[1] = 0x02;
	a->apic[0x80] = 0x50; /* task priority, what CR8 says too */
	for (size_t i = 0; i < a->msrs; i++)
		if (a->msr[i].index == 0xc0000082)
			a->msr[i].value = 0xffffffff81234567;
	set(t);
	assert_int_equal(t->ops->get(t->cpu[0], b, &e), 0);
	assert_memory_equal(a->gpr, b->gpr, sizeof(a->gpr));
	assert_int_equal(a->rip, b->rip);
	assert_int_equal(a->rflags, b->rflags);
	assert_int_equal(a->cr2, b->cr2);
	assert_int_equal(a->cr8, b->cr8);
	assert_int_equal(a->cr3, b->cr3);
	assert_int_equal(a->efer, b->efer);
	assert_int_equal(a->dr[0], b->dr[0]);
	assert_int_equal(a->dr[3], b->dr[3]);
	assert_int_equal(a->segment[VCPU_FS].base, b->segment[VCPU_FS].base);
	assert_int_equal(a->segment[VCPU_CS].access, b->segment[VCPU_CS].access);
	assert_memory_equal(a->fxsave + 160, b->fxsave + 160, 256);
	assert_int_equal(b->fxsave[0], 0x7f);
	for (size_t i = 0; i < b->msrs; i++)
		if (b->msr[i].index == 0xc0000082)
			assert_int_equal(b->msr[i].value, 0xffffffff81234567);
}

#define BOTH(f)                                            \
	{"kvm: " #f, f, set_up_kvm, tear_down, NULL},      \
	{                                                  \
		"cpu: " #f, f, set_up_cpu, tear_down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(real_mode),	BOTH(interrupts), BOTH(long_mode),
		BOTH(second_processor), BOTH(kicks),	  BOTH(triple_fault_and_reset),
		BOTH(keeps_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
