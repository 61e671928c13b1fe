/*
 * What the handlers of system instructions share: how an op hands over to sys.h and comes back.
 * The system side works on whole EFLAGS and on c->rip; both are made up before and taken apart
 * after.
 */
#pragma once

#include "virt/vm/cpu/op.h"
#include "virt/vm/cpu/sys.h"

#define SYSTEM_NO_REGISTER 0xff /* the operand is in memory */

/* Before a call: state as at the instruction's boundary. */
static inline void system_enter(struct cpu *c, const struct op *o)
{
	flags_pack(c);
	c->rip = op_rip(c, o);
	c->sys.next_rip = op_next_rip(c, o);
}

/*
 * A call that may fault; rip is where the fault is (a task switch may have moved it). What it
 * writes may lie in the page that runs (a descriptor's accessed bit): no reason to begin anew,
 * since the trace is left behind it.
 */
#define SYSTEM(call)                           \
	do {                                   \
		bool system_ok;                \
                                               \
		c->lone_runs++;                \
		system_ok = (call);            \
		c->lone_runs--;                \
		if (unlikely(!system_ok)) {    \
			flags_unpack(c);       \
			LEAVE(CPU_STOP_FAULT); \
		}                              \
	} while (0)

/* Ends the trace; the guest goes on at c->rip, at once if nothing else is to be done. */
#define GO_ON                    \
	do {                     \
		flags_unpack(c); \
		op_exit_jump(c); \
		return;          \
	} while (0)

/* As GO_ON, behind this instruction. */
#define GO_BEHIND                         \
	do {                              \
		c->rip = c->sys.next_rip; \
		GO_ON;                    \
	} while (0)

/* A word operand of ModRM: the register's, or what lies in memory. False: a fault. */
static inline bool system_word(struct cpu *c, const struct op *o, uint16_t *ret)
{
	if (o->dst != SYSTEM_NO_REGISTER) {
		*ret = R16(o->dst);
		return true;
	}
	if (!mmu_load(c, ea_of(c, o), 2))
		return false;
	*ret = (uint16_t)c->loaded;
	return true;
}

/* Writes a register by the operand's size: 32 bits clear the rest, 16 do not. */
static inline void system_put(struct cpu *c, unsigned reg, unsigned bytes, uint64_t value)
{
	if (bytes == 2)
		R16(reg) = (uint16_t)value;
	else
		R64(reg) = bytes == 4 ? (uint32_t)value : value;
}

static inline void system_zf(struct cpu *c, bool zero)
{
	c->arith = (uint16_t)((c->arith & ~0x4000u) | (zero ? 0x4000u : 0));
}

/* An interrupt may be deliverable now that was not: look at the next boundary. */
static inline void system_look(struct cpu *c)
{
	if ((c->flags & FLAG_IF) != 0 && apic_pending(c->sys.apic) >= 0)
		cpu_attention(c);
}

/* What the decoder needs of the handlers' files. */
/* clang-format off */
#define SYSTEM_OPS(X) \
	X(mov_to_sreg) X(mov_from_sreg) X(push_sreg) X(pop_sreg) X(load_far) X(far_direct) \
	X(far_indirect) X(far_return) X(iret) X(int) X(int3) X(into) X(int1) X(bound) \
	X(arpl) X(pushf) X(popf) X(cli) X(sti) X(hlt) X(in) X(out) X(ins) X(outs) X(group6) \
	X(store_desc) X(lar) X(lsl) X(store_table) X(load_table) X(smsw) X(lmsw) X(invlpg) \
	X(vmcall) X(swapgs) X(rdtscp) X(syscall) X(sysret) X(sysenter) X(sysexit) X(clts) \
	X(wbinvd) X(mov_from_cr) X(mov_to_cr) X(mov_from_dr) X(mov_to_dr) X(wrmsr) X(rdmsr) \
	X(rdtsc) X(rdpmc) X(cpuid) X(read_base) X(write_base)
/* clang-format on */

#define SYSTEM_DECLARE(name) void op_sys_##name(struct cpu *c, const struct op *o);
SYSTEM_OPS(SYSTEM_DECLARE)
