/*
 * The system side of the software CPU: everything about segments, modes, exceptions, interrupts,
 * control registers, MSRs and time that an instruction can reach. The core (decoder, traces, TLB,
 * integer and vector handlers) calls in through the functions below.
 *
 * Faults are values: a function that may fault returns false and has described the fault in
 * `sys->fault`; registers are unchanged then (memory may have been written in part, as on a real
 * processor). The caller delivers it with event_deliver_fault(). Nothing here jumps.
 *
 * Whoever calls packs the flags before (state.h) and sets sys.next_rip where control may be
 * transferred. The loop (loop.c) runs one instruction by itself after one that left sys.shadow set,
 * while TF is set, and while a breakpoint is enabled; then sys_debug_trap().
 *
 * References: Intel SDM volume 2 (instructions), volume 3 chapters 3, 5, 6, 7, 8 (segments,
 * protection, interrupts, tasks) of the 2023 numbering.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/cpu/apic.h"
#include "virt/vm/cpu/state.h"

enum vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_OF = 4,
	VECTOR_BR = 5,
	VECTOR_UD = 6,
	VECTOR_NM = 7,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_MF = 16,
	VECTOR_AC = 17,
	VECTOR_MC = 18,
	VECTOR_XM = 19,
};

/* Descriptor access word (vcpu_segment.access). */
#define SEG_TYPE 0x000fu
#define SEG_S	 0x0010u
#define SEG_DPL	 0x0060u
#define SEG_P	 0x0080u
#define SEG_AVL	 0x1000u
#define SEG_L	 0x2000u
#define SEG_DB	 0x4000u
#define SEG_G	 0x8000u

/* The types of system descriptors (S = 0). */
enum seg_system {
	SYS_TSS16 = 1,
	SYS_LDT = 2,
	SYS_TSS16_BUSY = 3,
	SYS_CALL16 = 4,
	SYS_TASK = 5,
	SYS_INT16 = 6,
	SYS_TRAP16 = 7,
	SYS_TSS = 9, /* 32 bits, and 64 in long mode */
	SYS_TSS_BUSY = 11,
	SYS_CALL = 12,
	SYS_INT = 14,
	SYS_TRAP = 15,
};

#define FLAG_CF	  (1ull << 0)
#define FLAG_PF	  (1ull << 2)
#define FLAG_AF	  (1ull << 4)
#define FLAG_ZF	  (1ull << 6)
#define FLAG_SF	  (1ull << 7)
#define FLAG_TF	  (1ull << 8)
#define FLAG_IF	  (1ull << 9)
#define FLAG_DF	  (1ull << 10)
#define FLAG_OF	  (1ull << 11)
#define FLAG_IOPL (3ull << 12)
#define FLAG_NT	  (1ull << 14)
#define FLAG_RF	  (1ull << 16)
#define FLAG_VM	  (1ull << 17)
#define FLAG_AC	  (1ull << 18)
#define FLAG_VIF  (1ull << 19)
#define FLAG_VIP  (1ull << 20)
#define FLAG_ID	  (1ull << 21)

#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_AM (1ull << 18)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)

#define CR4_TSD	       (1ull << 2)
#define CR4_DE	       (1ull << 3)
#define CR4_PSE	       (1ull << 4)
#define CR4_PAE	       (1ull << 5)
#define CR4_MCE	       (1ull << 6)
#define CR4_PGE	       (1ull << 7)
#define CR4_PCE	       (1ull << 8)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_FSGSBASE   (1ull << 16)

#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define DR6_FIXED 0xffff0ff0ull
#define DR6_BD	  (1ull << 13)
#define DR6_BS	  (1ull << 14)
#define DR6_BT	  (1ull << 15)
#define DR7_FIXED 0x400ull
#define DR7_GD	  (1ull << 13)

enum event_kind {
	EVENT_EXCEPTION,
	EVENT_INTERRUPT, /* from the APIC */
	EVENT_NMI,
	EVENT_SOFT, /* INT n, INT3, INTO: the gate's DPL is checked */
};

struct event {
	enum event_kind kind;
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t rip; /* what the frame holds; c->rip is where a fault on the way restarts */
};

/* ---- what instructions do; true: done (c->rip is theirs to set where they jump) ---- */

struct far {
	uint16_t selector;
	uint64_t offset;
	unsigned bytes; /* operand size */
	bool call;
};

bool sys_far(struct cpu *c, const struct far *f) must_use;
bool sys_far_return(struct cpu *c, unsigned bytes, unsigned release) must_use;
bool sys_iret(struct cpu *c, unsigned bytes) must_use;

bool segment_load(struct cpu *c, unsigned name, uint16_t selector) must_use;
bool segment_load_ldt(struct cpu *c, uint16_t selector) must_use;
bool segment_load_tr(struct cpu *c, uint16_t selector) must_use;
bool segment_lar(struct cpu *c, uint16_t selector, uint32_t *ret, bool *ret_ok) must_use;
bool segment_lsl(struct cpu *c, uint16_t selector, uint32_t *ret, bool *ret_ok) must_use;
bool segment_verify(struct cpu *c, uint16_t selector, bool write, bool *ret_ok) must_use;

bool sys_syscall(struct cpu *c) must_use;
bool sys_sysret(struct cpu *c, bool wide) must_use;
bool sys_sysenter(struct cpu *c) must_use;
bool sys_sysexit(struct cpu *c, bool wide) must_use;
bool sys_swapgs(struct cpu *c) must_use;
bool sys_base_read(struct cpu *c, unsigned name, unsigned bytes, uint64_t *ret) must_use;
bool sys_base_write(struct cpu *c, unsigned name, unsigned bytes, uint64_t value) must_use;

bool sys_cr_read(struct cpu *c, unsigned n, uint64_t *ret) must_use;
bool sys_cr_write(struct cpu *c, unsigned n, uint64_t value) must_use;
bool sys_dr_read(struct cpu *c, unsigned n, uint64_t *ret) must_use;
bool sys_dr_write(struct cpu *c, unsigned n, uint64_t value) must_use;
bool sys_lmsw(struct cpu *c, uint16_t value) must_use;
bool sys_clts(struct cpu *c) must_use;
bool sys_table_load(struct cpu *c, bool idt, uint16_t limit, uint64_t base) must_use;
bool sys_invlpg(struct cpu *c, uint64_t at) must_use;
bool sys_cli(struct cpu *c) must_use;
bool sys_sti(struct cpu *c) must_use;
bool sys_popf(struct cpu *c, unsigned bytes) must_use;
bool sys_pushf(struct cpu *c, unsigned bytes) must_use;
bool sys_rdtsc(struct cpu *c, bool with_aux) must_use;
bool sys_rdmsr(struct cpu *c) must_use;
bool sys_wrmsr(struct cpu *c) must_use;
void sys_cpuid(struct cpu *c);
void sys_hypercall(struct cpu *c);
bool sys_io_allowed(struct cpu *c, uint16_t port, unsigned bytes) must_use;

/* ---- faults and events ---- */

/* Describes a fault and returns false. */
void sys_fault_note(struct cpu *c, const struct fault *f);

static inline bool sys_fault(struct cpu *c, uint8_t vector, uint32_t error)
{
	sys_fault_note(c, &(struct fault){.vector = vector, .has_error = true, .error = error});
	return false;
}

/* A vector without error code. */
static inline bool sys_fault_plain(struct cpu *c, uint8_t vector)
{
	sys_fault_note(c, &(struct fault){.vector = vector});
	return false;
}

/* Delivers; false: triple fault, the machine shuts down. event_fault(): what `sys->fault` says. */
bool event_deliver(struct cpu *c, const struct event *e) must_use;
bool event_fault(struct cpu *c) must_use; /* on whole EFLAGS, too */

/* A write to the local APIC's page: its timer may have moved, an interrupt may be let in. */
void sys_apic_write(struct cpu *c, unsigned offset, uint32_t value);

/* ---- debugging ---- */

/* An access of a page that sys_debug_watches(): notes what it hits. */
void sys_debug_data(struct cpu *c, uint64_t at, unsigned n, bool write);
void sys_debug_io(struct cpu *c, uint16_t port, unsigned n);
bool sys_debug_watches(const struct cpu *c, uint64_t page);
/* Before an instruction, and after one: false: deliver #DB. */
bool sys_debug_code(struct cpu *c, uint64_t at) must_use;
bool sys_debug_trap(struct cpu *c, bool step) must_use;

/* ---- registers by number ---- */

bool sys_msr_read(struct cpu *c, uint32_t index, uint64_t *ret) must_use;
bool sys_msr_write(struct cpu *c, uint32_t index, uint64_t value) must_use;
/* As a write, but also of what a guest cannot change. */
bool sys_msr_restore(struct cpu *c, uint32_t index, uint64_t value) must_use;
/* What a saved state holds; at most `max`, which is enough with VCPU_MSRS_MAX. */
size_t sys_msr_save(struct cpu *c, uint32_t *indices, uint64_t *values, size_t max);
void sys_msr_reset(struct cpu *c);
bool sys_efer_write(struct cpu *c, uint64_t value) must_use;
void sys_base_set(struct cpu *c, unsigned name, uint64_t base);
uint64_t sys_tsc(const struct cpu *c);

/* The reset state: power-on, or INIT. */
void sys_reset(struct cpu *c, bool power_on);
