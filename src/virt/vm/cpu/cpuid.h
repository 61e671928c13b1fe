/*
 * What CPUID says: one table, the same on every host, so that a guest sees the same processor
 * wherever it runs. x86-64-v2 without XSAVE, with the KVM signature and the paravirtual features
 * that spare a guest work; "not affected" by what would make a kernel run slower (MACHINE.md).
 *
 * The table says only what is implemented.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CPUID_TSC_KHZ	  1000000u /* TSC and APIC bus, by definition: a tick is a nanosecond */
#define CPUID_KVM_BASE	  0x40000000u
#define CPUID_FAMILY	  6
#define CPUID_LEAF_BASIC  0x15u
#define CPUID_LEAF_EXTEND 0x80000008u

/* IA32_ARCH_CAPABILITIES: the bits that say "does not have this flaw", and IBRS_ALL. */
#define CPUID_ARCH_CAPABILITIES                                                              \
	(1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 | 1ull << 8 | \
	 1ull << 13 | 1ull << 14 | 1ull << 15 | 1ull << 20 | 1ull << 24 | 1ull << 26 |       \
	 1ull << 27 | 1ull << 62)

struct cpuid_query {
	uint32_t leaf, subleaf;
	unsigned index, cpus; /* this vCPU and how many there are */
	bool apic_enabled;    /* in IA32_APIC_BASE */
};

struct cpuid_result {
	uint32_t eax, ebx, ecx, edx;
};

struct cpuid_result cpuid_read(const struct cpuid_query *q);
