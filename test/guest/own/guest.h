/*
 * A kernel of ours, just large enough to drive the machine's devices and processors from inside:
 * no allocation, one thread for each processor. All but the walk stays in ring 0 and needs no
 * SYSCALL, so that a KVM which emulates ring 0 can run it, too. What it finds it prints as
 * `ok - ...` and `not ok - ...` on the serial port.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

#define ECAM	 0xe0000000ul
#define WINDOW	 0xc0000000ul /* where we place BARs: the 32-bit window */
#define PAGE	 4096u
#define PATIENCE 20000000000ul /* ticks of the TSC, of a nanosecond at most */
#define MSI_BASE 0xfee00000u
#define MSR_APIC 0x1bu
#define MSR_EOI	 0x80bu
#define MSR_SVR	 0x80fu
#define MSR_ICR	 0x830u

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

static inline void pause_a_bit(void)
{
	__asm__ volatile("pause" ::: "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

/* Waits until that holds, with patience; whether it does. */
#define wait_for(holds)                               \
	({                                            \
		uint64_t until_ = rdtsc() + PATIENCE; \
		while (!(holds) && rdtsc() < until_)  \
			pause_a_bit();                \
		(bool)(holds);                        \
	})

/* main.c */
extern volatile uint64_t interrupts[VECTORS]; /* counted by the stubs */

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
void say(const char *format, ...); /* %s %u %x, nothing else */
void check(bool good, const char *format, ...);
bool words_have(const char *word);	  /* in the command line */
uint64_t *map_page_table(unsigned index); /* of 2 MiB from MAPPED on, for ring 3 too */
void forget_all(void);
void gate_own_stack(unsigned vector); /* the task's first IST */
void *fresh_pages(size_t n);	      /* zeroed */
size_t pages_mark(void);
void pages_release(size_t mark); /* what was taken since is free */
unsigned processors(void);	 /* that the ACPI tables name */
/* Starts the others; each calls run(its number, from 1) once and halts then. */
void start_others(unsigned others, void (*run)(unsigned number));
__attribute__((noreturn)) void power_off(void);

/* start.S: what the last exception left */
struct fault {
	uint64_t vector, error, rip, cs, flags, rsp, ss, rcx, r11;
};

extern volatile struct fault fault;

bool attempt(void (*run)(void *), void *arg); /* whether an exception came of it */
bool attempt_user(uint64_t rip, uint64_t rdi, uint64_t flags, uint64_t rsp);

/* pci.c */
struct pci_device {
	unsigned slot;
	uint16_t vendor, id;
	uint32_t class_code;
	volatile uint8_t *bar[6];
};

unsigned pci_scan(struct pci_device *list, unsigned most);
uint32_t pci_read(const struct pci_device *d, unsigned at, unsigned bytes);
unsigned pci_capability(const struct pci_device *d, uint8_t id, unsigned after);
/* Vector `entry` of its MSI-X table raises our interrupt `number`. */
void pci_msix(const struct pci_device *d, unsigned entry, unsigned number);

/* virtio.c, nvme.c, hostile.c, litmus.c, walk.c */
void drive_virtio(const struct pci_device *d);
void drive_nvme(const struct pci_device *d);
void hostile_nvme(const struct pci_device *d);
void hostile(void);
void litmus(void);
void walk(void);
