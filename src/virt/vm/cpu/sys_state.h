/*
 * The part of a vCPU's state that belongs to the system side (sys.h): MSRs, the fault that was
 * described last, what holds interrupts back, its local APIC. It lies inside struct cpu as `sys`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/cpu/apic.h"
#include "virt/vm/memory/vcpu.h"

struct fault {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t address; /* #PF: becomes CR2 */
};

enum shadow { SHADOW_STI = 1, SHADOW_MOV_SS = 2 };

struct vcpu;

/* The system side's part of a vCPU's state. */
struct sys {
	struct apic *apic;
	unsigned index, cpus;
	unsigned pauses;   /* PAUSEs executed: some of them yield */
	uint64_t start_ns; /* the host's clock when the machine was switched on */

	struct fault fault; /* of the last function that returned false */
	uint64_t next_rip;  /* of the instruction being executed; the core sets it */
	bool external;	    /* an event is being delivered: error codes get bit EXT */
	bool nmi_masked;
	uint8_t shadow;	  /* enum shadow: interrupts wait one instruction */
	uint64_t debug;	  /* DR6 bits that trap after this instruction */
	uint64_t sti_rip; /* behind the last STI that let interrupts in; 0: none */
	bool no_step;	  /* this instruction's single-step trap is lost: INT n, SYSCALL */
	bool shutdown;	  /* a triple fault outside of the loop */
	enum vcpu_activity activity;
	struct vcpu *vcpu; /* its owner, for wake-ups; NULL in tests of the parts */

	/* MSRs; msr.c's table says which is which. */
	uint64_t star, lstar, cstar, fmask, kernel_gs, tsc_aux;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t spec_ctrl, microcode, arch_capabilities, mcg_status, misc_enable, debugctl;
	uint64_t pat, mtrr_cap, mtrr_def_type, mtrr_variable[16], mtrr_fixed[11];
	uint64_t kvm_wall, kvm_system;
};
