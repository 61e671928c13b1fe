/*
 * The contract between a machine and what executes its guest: an accelerator, `kvm` or `cpu`. Both
 * offer the same vCPUs with the same local APICs and CPUID; the machine sees no difference.
 *
 * An accelerator reaches guest memory through `struct ram`, devices through `struct bus`, and is
 * the sink of every interrupt message. Port and memory accesses, HLT, APIC accesses and time are
 * its own affair: vcpu_run() returns only for what the machine decides.
 *
 * Threads: a vCPU is run, read and written by one thread, its own; vcpu_kick() and the message sink
 * may be called from any thread. A fresh vCPU 0 is runnable in the reset state, the others wait for
 * INIT and SIPI.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "virt/vm/memory/bus.h"
#include "virt/vm/memory/irq.h"
#include "virt/vm/memory/ram.h"

#define VCPU_COUNT_MAX 32
#define VCPU_MSRS_MAX  128

/* Why vcpu_run() returned. */
enum vcpu_exit {
	VCPU_EXIT_KICKED,   /* vcpu_kick(): state is canonical, run again at will */
	VCPU_EXIT_SHUTDOWN, /* triple fault: a PC resets */
	VCPU_EXIT_FAILED,   /* the accelerator cannot go on; the error says why */
};

struct vcpu_segment {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity applied */
	uint16_t selector;
	/* As in a descriptor: type, S, DPL, P in bits 0 to 7; AVL, L, D, G in 12 to 15. */
	uint16_t access;
	bool unusable;
};

enum vcpu_register {
	VCPU_RAX,
	VCPU_RCX,
	VCPU_RDX,
	VCPU_RBX,
	VCPU_RSP,
	VCPU_RBP,
	VCPU_RSI,
	VCPU_RDI,
	VCPU_R8,
	VCPU_R9,
	VCPU_R10,
	VCPU_R11,
	VCPU_R12,
	VCPU_R13,
	VCPU_R14,
	VCPU_R15,
	VCPU_REGISTERS
};

enum vcpu_segment_name { /* as encoded in instructions, then the system ones */
			 VCPU_ES,
			 VCPU_CS,
			 VCPU_SS,
			 VCPU_DS,
			 VCPU_FS,
			 VCPU_GS,
			 VCPU_LDTR,
			 VCPU_TR,
			 VCPU_SEGMENTS
};

enum vcpu_activity { VCPU_RUNS, VCPU_HALTED, VCPU_WAITS_FOR_INIT, VCPU_WAITS_FOR_SIPI };

/* The whole architectural state: boot writes it, snapshots and tests read it. */
struct vcpu_state {
	uint64_t gpr[VCPU_REGISTERS];
	uint64_t rip, rflags;
	struct vcpu_segment segment[VCPU_SEGMENTS];
	uint64_t gdt_base, idt_base;
	uint16_t gdt_limit, idt_limit;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base, xcr0;
	uint64_t dr[8];	     /* 4 and 5 unused */
	uint8_t fxsave[512]; /* x87, MXCSR, XMM: SDM volume 1, 10.5.1, 64-bit layout */
	struct {
		uint32_t index;
		uint64_t value;
	} msr[VCPU_MSRS_MAX];
	size_t msrs;
	uint8_t apic[1024]; /* the local APIC's registers as in its page */
	enum vcpu_activity activity;
	/* An event that was begun and not delivered, and what holds interrupts back. */
	bool event_pending, event_has_error, nmi_pending, nmi_masked, shadow_sti, shadow_mov_ss;
	uint8_t event_vector;
	uint32_t event_error;
};

struct accel;
struct vcpu;

struct accel_config {
	struct ram *ram;
	struct bus *bus;
	unsigned cpus; /* 1 .. VCPU_COUNT_MAX */
	/* A software CPU keeps that much of decoded code; 0: what it thinks right. */
	size_t code_bytes;
	/* A level interrupt's vector was acknowledged at a local APIC: the I/O APIC looks. */
	void (*eoi)(void *ctx, uint8_t vector);
	void *eoi_ctx;
};

struct accel_ops {
	const char *name; /* "kvm", "cpu" */
	int (*open)(const struct accel_config *c, struct accel **ret, struct err *e);
	struct accel *(*close)(struct accel *a);
	/* vCPU `index`, owned by the accelerator; made before any runs. */
	int (*vcpu)(struct accel *a, unsigned index, struct vcpu **ret, struct err *e);
	/* Optional: makes every thread it needs, once, before any vCPU runs: afterwards a process
	 * that confines itself may forbid new ones. */
	int (*prepare)(struct accel *a, struct err *e);
	int (*run)(struct vcpu *v, enum vcpu_exit *ret, struct err *e);
	void (*kick)(struct vcpu *v); /* any thread: run() returns KICKED soon, once per kick */
	int (*get)(struct vcpu *v, struct vcpu_state *ret, struct err *e);
	int (*set)(struct vcpu *v, const struct vcpu_state *s, struct err *e);
	/* Back to the reset state (machine reset); no vCPU runs meanwhile. */
	int (*reset)(struct vcpu *v, struct err *e);
	void (*msi)(struct accel *a, struct msi m);
	/* Optional: input `pin` of the I/O APIC would send `m` from now on, nothing while `masked`.
	 * KVM must know which vectors are level-triggered to tell their EOI. Any thread. */
	void (*route)(struct accel *a, unsigned pin, struct msi m, bool masked);
	/* Guest instructions executed so far, 0 where it is not known. Any thread. */
	uint64_t (*instructions)(struct vcpu *v);
	/* Optional: an eventfd whose signal sends `m` (KVM's irqfd). NULL: the loop sends it. */
	int (*msi_fd)(struct accel *a, int fd, struct msi m, bool add, struct err *e);
};

extern const struct accel_ops accel_kvm; /* virt/vm/kvm */
extern const struct accel_ops accel_cpu; /* virt/vm/cpu */
