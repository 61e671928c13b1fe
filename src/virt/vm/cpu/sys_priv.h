/*
 * What the files of the system side share: questions about the mode, guarded accesses to memory by
 * linear address, descriptors and stacks. The core includes sys.h only.
 */
#pragma once

#include "virt/vm/cpu/mmu.h"
#include "virt/vm/cpu/sys.h"

static inline bool sys_real(const struct cpu *c)
{
	return (c->cr0 & CR0_PE) == 0;
}

static inline bool sys_v86(const struct cpu *c)
{
	return (c->flags & FLAG_VM) != 0;
}

/* Long mode, 64-bit code or compatibility. */
static inline bool sys_long(const struct cpu *c)
{
	return (c->efer & EFER_LMA) != 0;
}

static inline bool sys_in64(const struct cpu *c)
{
	return sys_long(c) && (c->segment[VCPU_CS].access & SEG_L) != 0;
}

/* The privilege level is SS's DPL: right in every mode, also between MOV CR0 and the far jump. */
static inline unsigned sys_cpl(const struct cpu *c)
{
	return c->segment[VCPU_SS].access >> 5 & 3;
}

static inline unsigned sys_iopl(const struct cpu *c)
{
	return c->flags >> 12 & 3;
}

static inline bool sys_canonical(uint64_t at)
{
	return (uint64_t)((int64_t)(at << 16) >> 16) == at;
}

/*
 * Memory by linear address (which is cut to 32 bits outside long mode); `user` accesses as
 * privilege level 3, else as a supervisor whatever the level is. False: #PF.
 */
static inline bool sys_load(struct cpu *c, uint64_t at, void *to, unsigned n, bool user)
{
	return mmu_copy(c, sys_long(c) ? at : (uint32_t)at, to, n, false, user);
}

static inline bool sys_store(struct cpu *c, uint64_t at, const void *from, unsigned n, bool user)
{
	uint8_t bytes[64];

	__builtin_memcpy(bytes, from, n);
	return mmu_copy(c, sys_long(c) ? at : (uint32_t)at, bytes, n, true, user);
}

/* ---- descriptors (segment.c) ---- */

struct descriptor {
	uint64_t raw, high; /* high: of a 16-byte descriptor */
	uint64_t at;	    /* linear */
	struct vcpu_segment s;
};

struct vcpu_segment segment_of(uint16_t selector, uint64_t descriptor);
bool descriptor_read(struct cpu *c, uint16_t selector, uint8_t vector,
		     struct descriptor *ret) must_use;
bool descriptor_widen(struct cpu *c, uint16_t selector, uint8_t vector,
		      struct descriptor *d) must_use;
bool descriptor_mark(struct cpu *c, struct descriptor *d, uint8_t bits) must_use;

bool segment_is_code(uint16_t access);
unsigned segment_dpl(uint16_t access);
struct vcpu_segment segment_null_stack(unsigned cpl);
bool segment_check_stack(struct cpu *c, const struct vcpu_segment *s, unsigned cpl,
			 uint8_t vector) must_use;
bool segment_check_code(struct cpu *c, const struct vcpu_segment *s, unsigned rpl,
			unsigned cpl) must_use;
bool segment_check_rip(struct cpu *c, const struct vcpu_segment *code, uint64_t rip) must_use;
void segment_drop_privileged(struct cpu *c, unsigned cpl);

/* What IRET and far RET go back to. */
bool segment_check_return(struct cpu *c, uint16_t selector, struct descriptor *d) must_use;
bool segment_check_outer_stack(struct cpu *c, uint16_t selector, unsigned cpl, bool to64,
			       struct vcpu_segment *ret) must_use;
void segment_put_v86(struct cpu *c, unsigned name, uint16_t selector);

bool segment_inside(const struct vcpu_segment *s, uint64_t offset, unsigned n) must_use;
/* The linear address of [offset, offset + n) in a segment, checked. */
bool segment_address(struct cpu *c, unsigned name, uint64_t offset, unsigned n, bool write,
		     uint64_t *ret) must_use;

/* Flags that may be written at a privilege level. */
uint64_t flags_writable(const struct cpu *c, unsigned cpl, unsigned bytes);

/* A timer's deadline may have moved. */
void sys_timer_changed(struct cpu *c);

/* Stores a segment register; for CS and SS the core learns that the mode may be another. */
void segment_put(struct cpu *c, unsigned name, const struct vcpu_segment *s);

/* ---- stacks (stack.c): a copy of where one is, so that a fault leaves nothing to undo ---- */

struct stack {
	const struct vcpu_segment *ss;
	uint64_t sp;
	uint64_t mask; /* of the stack pointer: 16, 32 or 64 bits */
	bool flat;     /* 64-bit mode: no base, no limit */
	bool user;
	uint16_t error; /* of #SS: 0, or the selector of a new stack */
};

struct stack stack_of(const struct cpu *c);
struct stack stack_new(const struct cpu *c, const struct vcpu_segment *ss, uint64_t sp,
		       unsigned cpl, bool in64);
bool stack_push(struct cpu *c, struct stack *s, unsigned bytes, uint64_t value) must_use;
bool stack_pop(struct cpu *c, struct stack *s, unsigned bytes, uint64_t *ret) must_use;
/* The stack pointer register with the stack's width of it replaced. */
uint64_t stack_rsp(const struct cpu *c, const struct stack *s);

/* Inner and outer levels' stacks: out of the TSS, out of a frame. */
bool stack_inner(struct cpu *c, unsigned cpl, struct vcpu_segment *ret_ss,
		 uint64_t *ret_sp) must_use;
uint64_t stack_outer_rsp(const struct cpu *c, const struct vcpu_segment *ss, bool to64,
			 uint64_t rsp);

/* ---- task state segments (task.c) ---- */

/* Stack for privilege level `cpl` (or IST slot `ist`, in long mode) out of the TSS. */
bool task_stack(struct cpu *c, unsigned cpl, unsigned ist, uint16_t *ret_ss,
		uint64_t *ret_sp) must_use;

enum task_how { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };

struct task_switch {
	enum task_how how;
	uint16_t selector;
	struct descriptor *tss;
	uint64_t next_rip; /* saved in the old task */
	bool has_error;
	uint32_t error;
};

bool task_switch(struct cpu *c, const struct task_switch *t) must_use;
