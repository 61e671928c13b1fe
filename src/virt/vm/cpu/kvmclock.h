/*
 * Time for guests, KVM's way: the guest names a page and finds in it how to make nanoseconds from
 * its TSC; it names another and finds the wall clock at its start. Layouts and MSRs: the kernel's
 * Documentation/virt/kvm/x86/msr.rst and arch/x86/include/asm/pvclock-abi.h.
 *
 * Since the guest's TSC counts nanoseconds (cpuid.h), the page is written once, when it is named,
 * and again when a TSC is set.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/memory/ram.h"

#define KVMCLOCK_MSR_WALL   0x4b564d00u
#define KVMCLOCK_MSR_SYSTEM 0x4b564d01u
#define KVMCLOCK_ENABLED    1u

struct kvmclock_time {
	uint64_t system_ns; /* since the machine was switched on */
	uint64_t tsc;	    /* this vCPU's, at the same moment */
	bool stable;	    /* every vCPU's TSC is the same */
};

/* The host's monotonic clock: the one time base of the software CPU. */
uint64_t kvmclock_host_ns(void);

/* False, and nothing written, where the structure would not lie in RAM. */
bool kvmclock_system(struct ram *ram, struct gpa at, const struct kvmclock_time *t) must_use;
bool kvmclock_wall(struct ram *ram, struct gpa at, uint64_t wall_ns, uint64_t system_ns) must_use;
