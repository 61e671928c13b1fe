/*
 * Branches within a code segment. A direct one has its link behind it (op.h); an indirect one goes
 * by the jump cache.
 */
#include "virt/vm/cpu/alu.h"
#include "virt/vm/cpu/sys_priv.h"

/* ---- direct: the link is o + 1 ---- */

OP(jmp)
{
	TAKE;
}

#define JCC(n, cc)                     \
	OP(j##cc)                      \
	{                              \
		if (CC_##cc(c->arith)) \
			TAKE;          \
		GO(o + 2);             \
	}
CONDITIONS(JCC)

/* ---- the stack of a call: `bytes` on it, by the mode's width ---- */

static inline __attribute__((always_inline)) bool push(struct cpu *c, unsigned bytes,
						       uint64_t value)
{
	struct stack s;

	if (bytes == 8) {
		uint64_t at = R64(VCPU_RSP) - 8;
		u64 *p = tlb_write(c, at, 8);

		if (likely(p != NULL))
			*p = value;
		else if (!mmu_store(c, at, value, 8))
			return false;
		R64(VCPU_RSP) = at;
		return true;
	}
	s = stack_of(c);
	if (!stack_push(c, &s, bytes, value))
		return false;
	R64(VCPU_RSP) = stack_rsp(c, &s);
	return true;
}

static inline __attribute__((always_inline)) bool pop(struct cpu *c, unsigned bytes,
						      unsigned release, uint64_t *ret)
{
	struct stack s;

	if (bytes == 8) {
		uint64_t at = R64(VCPU_RSP);
		const u64 *p = tlb_read(c, at, 8);

		if (likely(p != NULL))
			*ret = *p;
		else if (mmu_load(c, at, 8))
			*ret = c->loaded;
		else
			return false;
		R64(VCPU_RSP) = at + 8 + release;
		return true;
	}
	s = stack_of(c);
	if (!stack_pop(c, &s, bytes, ret))
		return false;
	s.sp += release;
	R64(VCPU_RSP) = stack_rsp(c, &s);
	return true;
}

/* An instruction pointer of the operand's width; false: #GP is described. */
static inline bool target(struct cpu *c, unsigned bytes, uint64_t rip)
{
	if (bytes == 8)
		return likely(sys_canonical(rip)) || sys_fault(c, VECTOR_GP, 0);
	return rip <= c->segment[VCPU_CS].limit || sys_fault(c, VECTOR_GP, 0);
}

/* The return address is on the stack already when the target turns out to be wrong. */
static inline __attribute__((always_inline)) bool call(struct cpu *c, const struct op *o,
						       unsigned bytes, uint64_t rip)
{
	uint64_t rsp = R64(VCPU_RSP);

	if (unlikely(!push(c, bytes, op_next_rip(c, o))))
		return false;
	if (likely(target(c, bytes, rip)))
		return true;
	R64(VCPU_RSP) = rsp;
	return false;
}

#define BRANCHES(bits)                                                           \
	OP(call_##bits)                                                          \
	{                                                                        \
		if (unlikely(!push(c, bits / 8, op_next_rip(c, o))))             \
			FAULTED_STACK;                                           \
		TAKE;                                                            \
	}                                                                        \
	OP(jmp_r_##bits)                                                         \
	{                                                                        \
		uint64_t rip = R##bits(o->dst);                                  \
                                                                                 \
		if (unlikely(!target(c, bits / 8, rip)))                         \
			FAULTED;                                                 \
		c->rip = rip;                                                    \
		op_exit_jump(c);                                                 \
	}                                                                        \
	OP(jmp_m_##bits)                                                         \
	{                                                                        \
		LOAD(bits, rip, ea_of(c, o));                                    \
		if (unlikely(!target(c, bits / 8, rip)))                         \
			FAULTED;                                                 \
		c->rip = rip;                                                    \
		op_exit_jump(c);                                                 \
	}                                                                        \
	OP(call_r_##bits)                                                        \
	{                                                                        \
		uint64_t rip = R##bits(o->dst);                                  \
                                                                                 \
		if (unlikely(!call(c, o, bits / 8, rip)))                        \
			FAULTED_STACK;                                           \
		c->rip = rip;                                                    \
		op_exit_jump(c);                                                 \
	}                                                                        \
	OP(call_m_##bits)                                                        \
	{                                                                        \
		LOAD(bits, rip, ea_of(c, o));                                    \
		if (unlikely(!call(c, o, bits / 8, rip)))                        \
			FAULTED_STACK;                                           \
		c->rip = rip;                                                    \
		op_exit_jump(c);                                                 \
	}                                                                        \
	OP(ret_i_##bits)                                                         \
	{                                                                        \
		{                                                                \
			uint64_t rsp = R64(VCPU_RSP), rip;                       \
                                                                                 \
			if (unlikely(!pop(c, bits / 8, (unsigned)o->imm, &rip))) \
				FAULTED_STACK;                                   \
			if (unlikely(!target(c, bits / 8, rip))) {               \
				R64(VCPU_RSP) = rsp;                             \
				FAULTED;                                         \
			}                                                        \
			c->rip = rip;                                            \
		}                                                                \
		op_exit_jump(c);                                                 \
	}

BRANCHES(16)
BRANCHES(32)
BRANCHES(64)

/* RET without release is the same with none. */
#define JCC_FORM(n, cc) [n] = {.run = {op_j##cc, op_j##cc, op_j##cc, op_j##cc}},
/* clang-format off */
const struct form form_jcc[16] = {CONDITIONS(JCC_FORM)};
/* clang-format on */
const struct form form_jmp = {.run = {op_jmp, op_jmp, op_jmp, op_jmp}};
const struct form form_call = {.run = FORM_ROW_V(call, )};
const struct form form_jmp_r = {.run = FORM_ROW_V(jmp_r, )};
const struct form form_jmp_m = {.run = FORM_ROW_V(jmp_m, )};
const struct form form_call_r = {.run = FORM_ROW_V(call_r, )};
const struct form form_call_m = {.run = FORM_ROW_V(call_m, )};
const struct form form_ret_i = {.run = FORM_ROW_V(ret_i, )};

/* ---- LOOP and JCXZ count in the address size: `shape` has it ---- */

static inline uint64_t counter(struct cpu *c, const struct op *o, uint64_t by)
{
	uint64_t value = R64(VCPU_RCX) - by;

	switch (op_bytes(o)) {
	case 2:
		R16(VCPU_RCX) = (uint16_t)value;
		return (uint16_t)value;
	case 4:
		if (by != 0)
			R64(VCPU_RCX) = (uint32_t)value;
		return (uint32_t)value;
	}
	R64(VCPU_RCX) = value;
	return value;
}

#define LOOP(name, by, taken)                       \
	OP(name)                                    \
	{                                           \
		uint64_t count = counter(c, o, by); \
                                                    \
		if (taken)                          \
			TAKE;                       \
		GO(o + 2);                          \
	}                                           \
	const struct form form_##name = {.run = {op_##name, op_##name, op_##name, op_##name}};

LOOP(loop, 1, count != 0)
LOOP(loope, 1, count != 0 && CC_e(c->arith))
LOOP(loopne, 1, count != 0 && !CC_e(c->arith))
LOOP(jcxz, 0, count == 0)
