/*
 * The stack: PUSH, POP, PUSHA, POPA, ENTER, LEAVE. Eight-byte forms are 64-bit mode's and go
 * straight to memory; the others respect the stack's segment and width.
 */
#include "virt/vm/cpu/alu.h"
#include "virt/vm/cpu/sys_priv.h"

static bool push_slow(struct cpu *c, unsigned bytes, uint64_t value)
{
	struct stack s = stack_of(c);

	if (!stack_push(c, &s, bytes, value))
		return false;
	R64(VCPU_RSP) = stack_rsp(c, &s);
	return true;
}

static bool pop_slow(struct cpu *c, unsigned bytes, uint64_t *ret)
{
	struct stack s = stack_of(c);

	if (!stack_pop(c, &s, bytes, ret))
		return false;
	R64(VCPU_RSP) = stack_rsp(c, &s);
	return true;
}

/* ---- 64 bits ---- */

#define PUSH64(value)                                       \
	do {                                                \
		uint64_t push_v = (value);                  \
		uint64_t push_at = R64(VCPU_RSP) - 8;       \
		u64 *push_p = tlb_write(c, push_at, 8);     \
		if (likely(push_p != NULL))                 \
			*push_p = push_v;                   \
		else if (!mmu_store(c, push_at, push_v, 8)) \
			FAULTED_STACK;                      \
		R64(VCPU_RSP) = push_at;                    \
	} while (0)

OP(push_r_64)
{
	PUSH64(R64(o->dst));
	NEXT;
}

OP(push_i_64)
{
	PUSH64(o->imm);
	NEXT;
}

OP(push_m_64)
{
	LOAD(64, v, ea_of(c, o));
	PUSH64(v);
	NEXT;
}

#define POP64(name, at_)                                   \
	uint64_t name;                                     \
	do {                                               \
		uint64_t pop_at = (at_);                   \
		const u64 *pop_p = tlb_read(c, pop_at, 8); \
		if (likely(pop_p != NULL))                 \
			name = *pop_p;                     \
		else if (mmu_load(c, pop_at, 8))           \
			name = c->loaded;                  \
		else                                       \
			FAULTED_STACK;                     \
	} while (0)

OP(pop_r_64)
{
	POP64(v, R64(VCPU_RSP));
	R64(VCPU_RSP) += 8;
	R64(o->dst) = v;
	NEXT;
}

/* The address is computed with the stack pointer already moved: SDM volume 2, POP. */
OP(pop_m_64)
{
	POP64(v, R64(VCPU_RSP));
	R64(VCPU_RSP) += 8;
	uint64_t at = ea_of(c, o);
	u64 *p = tlb_write(c, at, 8);

	if (likely(p != NULL)) {
		*p = v;
	} else if (!mmu_store(c, at, v, 8)) {
		R64(VCPU_RSP) -= 8;
		FAULTED;
	}
	NEXT;
}

OP(leave_64)
{
	POP64(v, R64(VCPU_RBP));
	R64(VCPU_RSP) = R64(VCPU_RBP) + 8;
	R64(VCPU_RBP) = v;
	NEXT;
}

/* ---- 16 and 32 bits ---- */

#define NARROW(bits)                                                               \
	OP(push_r_##bits)                                                          \
	{                                                                          \
		if (!push_slow(c, bits / 8, R##bits(o->dst)))                      \
			FAULTED_STACK;                                             \
		NEXT;                                                              \
	}                                                                          \
	OP(push_i_##bits)                                                          \
	{                                                                          \
		if (!push_slow(c, bits / 8, (uint##bits##_t)o->imm))               \
			FAULTED_STACK;                                             \
		NEXT;                                                              \
	}                                                                          \
	OP(push_m_##bits)                                                          \
	{                                                                          \
		LOAD(bits, v, ea_of(c, o));                                        \
		if (!push_slow(c, bits / 8, v))                                    \
			FAULTED_STACK;                                             \
		NEXT;                                                              \
	}                                                                          \
	OP(pop_r_##bits)                                                           \
	{                                                                          \
		{                                                                  \
			uint64_t v;                                                \
                                                                                   \
			if (!pop_slow(c, bits / 8, &v))                            \
				FAULTED_STACK;                                     \
			SET##bits(o->dst, v);                                      \
		}                                                                  \
		NEXT;                                                              \
	}                                                                          \
	OP(pop_m_##bits)                                                           \
	{                                                                          \
		{                                                                  \
			uint64_t rsp = R64(VCPU_RSP), v;                           \
                                                                                   \
			if (!pop_slow(c, bits / 8, &v))                            \
				FAULTED_STACK;                                     \
			if (!mmu_store(c, ea_of(c, o), v, bits / 8)) {             \
				R64(VCPU_RSP) = rsp;                               \
				FAULTED;                                           \
			}                                                          \
		}                                                                  \
		NEXT;                                                              \
	}                                                                          \
	OP(leave_##bits)                                                           \
	{                                                                          \
		{                                                                  \
			struct stack s = stack_of(c);                              \
			uint64_t v;                                                \
                                                                                   \
			s.sp = R64(VCPU_RBP);                                      \
			if (!stack_pop(c, &s, bits / 8, &v))                       \
				FAULTED_STACK;                                     \
			R64(VCPU_RSP) = stack_rsp(c, &s);                          \
			SET##bits(VCPU_RBP, v);                                    \
		}                                                                  \
		NEXT;                                                              \
	}                                                                          \
	OP(pusha_##bits)                                                           \
	{                                                                          \
		{                                                                  \
			struct stack s = stack_of(c);                              \
                                                                                   \
			for (unsigned i = 0; i < 8; i++)                           \
				if (!stack_push(c, &s, bits / 8, R##bits(i)))      \
					FAULTED_STACK;                             \
			R64(VCPU_RSP) = stack_rsp(c, &s);                          \
		}                                                                  \
		NEXT;                                                              \
	}                                                                          \
	OP(popa_##bits)                                                            \
	{                                                                          \
		{                                                                  \
			struct stack s = stack_of(c);                              \
			uint64_t v;                                                \
                                                                                   \
			/* A fault keeps what was popped; rSP moves at the end. */ \
			for (unsigned i = 8; i > 0; i--) {                         \
				if (!stack_pop(c, &s, bits / 8, &v))               \
					FAULTED_STACK;                             \
				if (i - 1 != VCPU_RSP)                             \
					SET##bits(i - 1, v);                       \
			}                                                          \
			R64(VCPU_RSP) = stack_rsp(c, &s);                          \
		}                                                                  \
		NEXT;                                                              \
	}

NARROW(16)
NARROW(32)

/* ENTER: `imm` is the size, and the nesting level above 16 bits. */
static bool enter(struct cpu *c, unsigned bytes, uint64_t size, unsigned level)
{
	struct stack s = stack_of(c), frames = s;
	uint64_t frame, word, end;

	if (!stack_push(c, &s, bytes, R64(VCPU_RBP)))
		return false;
	frame = s.sp;
	frames.sp = R64(VCPU_RBP);
	for (unsigned i = 1; i < level; i++) {
		struct stack up;

		frames.sp -= bytes;
		up = frames;
		if (!stack_pop(c, &up, bytes, &word) || !stack_push(c, &s, bytes, word))
			return false;
	}
	if (level > 0 && !stack_push(c, &s, bytes, frame))
		return false;
	s.sp = (s.sp - size) & s.mask;
	end = s.flat ? s.sp : (s.ss->base + s.sp) & 0xffffffff;
	if (!mmu_aligned(c, end, bytes) || !mmu_probe_write(c, end, 1))
		return false;
	R64(VCPU_RSP) = stack_rsp(c, &s);
	if (bytes == 2)
		R16(VCPU_RBP) = (uint16_t)frame;
	else
		R64(VCPU_RBP) = bytes == 4 ? (uint32_t)frame : frame;
	return true;
}

#define ENTER(bits)                                                          \
	OP(enter_##bits)                                                     \
	{                                                                    \
		if (!enter(c, bits / 8, o->imm & 0xffff, o->imm >> 16 & 31)) \
			FAULTED_STACK;                                       \
		NEXT;                                                        \
	}
ENTER(16)
ENTER(32)
ENTER(64)

#define NARROW_ROW(name)                                   \
	{                                                  \
		NULL, op_##name##_16, op_##name##_32, NULL \
	}

const struct form form_push_r = {.run = FORM_ROW_V(push_r, )};
const struct form form_push_i = {.run = FORM_ROW_V(push_i, )};
const struct form form_push_m = {.run = FORM_ROW_V(push_m, )};
const struct form form_pop_r = {.run = FORM_ROW_V(pop_r, )};
const struct form form_pop_m = {.run = FORM_ROW_V(pop_m, )};
const struct form form_leave = {.run = FORM_ROW_V(leave, )};
const struct form form_enter = {.run = FORM_ROW_V(enter, )};
const struct form form_pusha = {.run = NARROW_ROW(pusha)};
const struct form form_popa = {.run = NARROW_ROW(popa)};
