/*
 * The start, the printing, the processors (guest.h). The command line chooses: `devices` drives
 * every device there is, `hostile` breaks them, `others` starts all processors, `litmus` lets them race, `walk` goes
 * through exceptions, `panic` tells pvpanic, `idle` halts.
 */
#include <stdarg.h>

#include "guest.h"

#define COM1	       0x3f8
#define COM1_IRQ       4
#define IOAPIC	       0xfec00000ul
#define PVPANIC	       0x505
#define PM1_CONTROL    0x604
#define SLEEP_S5       (5u << 10 | 1u << 13)
#define COMMAND_AT     0x228 /* in the zero page: boot.rst, cmd_line_ptr */
#define RSDP_AT	       0x70  /* acpi_rsdp_addr */
#define PVH_MAGIC      0x336ec578
#define PVH_COMMAND_AT 24 /* in hvm_start_info: PVH boot ABI */
#define PVH_RSDP_AT    32
#define DEVICES_MAX    32
#define EXCEPTIONS     32
#define INIT_TO_ALL    0xc4500u
#define SIPI_TO_ALL    (0xc4600u | TRAMPOLINE >> 12)
#define VECTOR_SERIAL  15

volatile uint64_t interrupts[VECTORS];

static struct gate {
	uint16_t low, selector, kind, middle;
	uint32_t high, zero;
} idt[VECTOR_USER + 1] __attribute__((aligned(16)));

struct {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed)) idt_pointer;

extern const char stubs[], exceptions[], page_fault_stub[], user_done[];
extern const char start_other[], start_other_end[];

static const char *command;
static uint64_t rsdp;
static uint8_t heap[512 * PAGE] __attribute__((aligned(PAGE)));
static size_t heap_used;

/* gcc calls these of itself. */
void *memcpy(void *to, const void *from, size_t n)
{
	void *begin = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
	return begin;
}

void *memset(void *to, int c, size_t n)
{
	void *begin = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return begin;
}

static void put(char c)
{
	while ((in8(COM1 + 5) & 0x20) == 0)
		pause_a_bit();
	out8(COM1, (uint8_t)c);
}

static void put_number(uint64_t v, unsigned base)
{
	char digits[24];
	unsigned n = 0;

	do
		digits[n++] = "0123456789abcdef"[v % base];
	while ((v /= base) != 0);
	while (n > 0)
		put(digits[--n]);
}

static void vsay(const char *f, va_list list)
{
	for (; *f; f++) {
		if (*f != '%') {
			put(*f);
			continue;
		}
		f++;
		if (*f == 's')
			for (const char *s = va_arg(list, const char *); *s; s++)
				put(*s);
		else
			put_number(va_arg(list, uint64_t), *f == 'x' ? 16 : 10);
	}
}

void say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsay(format, list);
	va_end(list);
}

void check(bool good, const char *format, ...)
{
	va_list list;

	say(good ? "ok - " : "not ok - ");
	va_start(list, format);
	vsay(format, list);
	va_end(list);
	say("\n");
}

bool words_have(const char *word)
{
	for (const char *s = command; *s; s++) {
		size_t n = 0;

		while (word[n] && s[n] == word[n])
			n++;
		if (!word[n])
			return true;
	}
	return false;
}

size_t pages_mark(void)
{
	return heap_used;
}

void pages_release(size_t mark)
{
	heap_used = mark;
}

void *fresh_pages(size_t n)
{
	void *p = heap + heap_used;

	heap_used += n * PAGE;
	if (heap_used > sizeof(heap)) {
		say("not ok - no memory is left\n");
		power_off();
	}
	return memset(p, 0, n * PAGE);
}

uint64_t *map_page_table(unsigned index)
{
	static uint64_t *level2;
	uint64_t cr3, *level3, *table = fresh_pages(1);

	__asm__("mov %%cr3, %0" : "=r"(cr3));
	level3 = (uint64_t *)(*(uint64_t *)(cr3 & ~0xfffull) & ~0xfffull);
	*(uint64_t *)(cr3 & ~0xfffull) |= 4;
	if (!level2)
		level2 = fresh_pages(1);
	level3[MAPPED >> 30] = (uint64_t)level2 | 7;
	level2[index] = (uint64_t)table | 7;
	return table;
}

void forget_all(void)
{
	uint64_t cr3;

	__asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3)::"memory");
}

void power_off(void)
{
	out16(PM1_CONTROL, SLEEP_S5);
	/* Another monitor's power button is elsewhere: a triple fault ends it, too. */
	idt_pointer.limit = 0;
	for (;;)
		__asm__ volatile("lidt %0; ud2" ::"m"(idt_pointer));
}

__attribute__((used)) void fatal(void)
{
	say("\nnot ok - exception %u, error code %x, at %x\n", fault.vector, fault.error,
	    fault.rip);
	power_off();
}

static void gate(unsigned vector, const char *to)
{
	uint64_t at = (uint64_t)to;
	uint16_t cs;

	__asm__("mov %%cs, %0" : "=r"(cs));
	idt[vector] = (struct gate){(uint16_t)at,	  cs, 0x8e00, (uint16_t)(at >> 16),
				    (uint32_t)(at >> 32), 0};
}

void gate_own_stack(unsigned vector)
{
	idt[vector].kind |= 1;
}

static bool has_x2apic(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c >> 21 & 1;
}

static void take_interrupts(void)
{
	for (unsigned i = 0; i < EXCEPTIONS; i++)
		gate(i, exceptions + 16 * (size_t)i);
	gate(14, page_fault_stub);
	for (unsigned i = 0; i < VECTORS; i++)
		gate(VECTOR_FIRST + i, stubs + 16 * (size_t)i);
	gate(VECTOR_USER, user_done);
	idt[VECTOR_USER].kind |= 0x6000; /* for ring 3 */
	idt_pointer.limit = sizeof(idt) - 1;
	idt_pointer.base = (uint64_t)idt;
	__asm__ volatile("lidt %0" ::"m"(idt_pointer));
	if (!has_x2apic()) /* QEMU's translator: no device is driven there */
		return;
	wrmsr(MSR_APIC, rdmsr(MSR_APIC) | 0xc00);
	wrmsr(MSR_SVR, 0x1ff);
	__asm__ volatile("sti");
}

/* ACPI 6.4 §5.2.5 to §5.2.12: RSDP, XSDT, MADT; local APICs that are enabled. */
unsigned processors(void)
{
	const uint8_t *xsdt = (const uint8_t *)*(const uint64_t *)(rsdp + 24);
	unsigned n = 0;
	uint32_t bytes;

	if (*(const uint8_t *)(rsdp + 15) < 2) /* ACPI 1.0 has no XSDT: another monitor */
		return 1;
	bytes = *(const uint32_t *)(xsdt + 4);
	for (uint32_t i = 36; i + 8 <= bytes; i += 8) {
		uint64_t at;

		memcpy(&at, xsdt + i, 8);
		if (*(const uint32_t *)at != 0x43495041) /* APIC */
			continue;
		for (uint32_t k = 44; k < *(const uint32_t *)(at + 4);
		     k += ((const uint8_t *)at)[k + 1])
			n += *(const uint8_t *)(at + k) == 0 || *(const uint8_t *)(at + k) == 9;
	}
	return n;
}

static volatile unsigned arrived;
static void (*other_run)(unsigned);

static void other_main(void)
{
	unsigned number;

	wrmsr(MSR_APIC, rdmsr(MSR_APIC) | 0xc00);
	wrmsr(MSR_SVR, 0x1ff);
	number = __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	other_run(number);
}

void start_others(unsigned others, void (*run)(unsigned))
{
	uint64_t *handover = (uint64_t *)HANDOVER;

	other_run = run;
	memcpy((void *)TRAMPOLINE, start_other, (size_t)(start_other_end - start_other));
	__asm__("mov %%cr3, %0" : "=r"(handover[0]));
	handover[1] = (uint64_t)fresh_pages(others + 1) + PAGE;
	handover[2] = (uint64_t)other_main;
	wrmsr(MSR_ICR, INIT_TO_ALL);
	wrmsr(MSR_ICR, SIPI_TO_ALL);
	check(wait_for(arrived == others), "%u other processors came up", (uint64_t)others);
}

/* The transmitter's interrupt by the I/O APIC: 82093AA §3.2; 16550: IER bit 1. */
static void drive_serial(void)
{
	volatile uint32_t *ioapic = (volatile uint32_t *)IOAPIC;

	ioapic[0] = 0x10 + 2 * COM1_IRQ + 1;
	ioapic[4] = 0;
	ioapic[0] = 0x10 + 2 * COM1_IRQ;
	ioapic[4] = VECTOR_FIRST + VECTOR_SERIAL;
	out8(COM1 + 4, 8); /* OUT2 lets the interrupt through */
	out8(COM1 + 1, 2);
	check(wait_for(interrupts[VECTOR_SERIAL] > 0),
	      "serial port: its interrupt by the I/O APIC");
	out8(COM1 + 1, 0);
}

static void devices(void)
{
	static struct pci_device list[DEVICES_MAX];
	unsigned n = pci_scan(list, DEVICES_MAX);

	drive_serial();
	for (unsigned i = 0; i < n; i++) {
		if (list[i].vendor == 0x1af4)
			drive_virtio(&list[i]);
		else if (list[i].class_code == 0x010802)
			drive_nvme(&list[i]);
	}
}

static void do_nothing(unsigned number)
{
	(void)number;
}

__attribute__((used)) void guest_main(const uint8_t *zero)
{
	uint32_t magic, at;

	memcpy(&magic, zero, 4);
	memcpy(&at, zero + (magic == PVH_MAGIC ? PVH_COMMAND_AT : COMMAND_AT), 4);
	memcpy(&rsdp, zero + (magic == PVH_MAGIC ? PVH_RSDP_AT : RSDP_AT), 8);
	command = at ? (const char *)(uint64_t)at : "";
	take_interrupts();
	say("our kernel, %u processors: %s\n", (uint64_t)processors(), command);
	if (words_have("others"))
		start_others(processors() - 1, do_nothing);
	if (words_have("devices"))
		devices();
	if (words_have("hostile"))
		hostile();
	if (words_have("litmus"))
		litmus();
	if (words_have("walk"))
		walk();
	if (words_have("panic"))
		out8(PVPANIC, 1);
	if (words_have("idle"))
		for (;;)
			__asm__ volatile("hlt");
	say("our kernel is done\n");
	power_off();
}
