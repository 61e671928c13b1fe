/*
 * Instructions with LOCK, and those that are made for it: XCHG, XADD, CMPXCHG, CMPXCHG8B and 16B.
 * The host's own locked instructions do the work; an operand that they cannot reach (a device, two
 * pages) is bounced with the world stopped (mmu_rmw()).
 */
#include "virt/vm/cpu/alu.h"
#include "virt/vm/cpu/sys.h"

#define LOCKED(name, insn, cin, bits, from)                \
	OP(name)                                           \
	{                                                  \
		uint##bits##_t s = (uint##bits##_t)(from); \
		uint32_t f;                                \
		MODIFY(bits, p, ea_of(c, o), true);        \
                                                           \
		ALU(cin, "lock " insn, "+m"(*p), "r"(s));  \
		rmw_done(c);                               \
		c->arith = (uint16_t)f;                    \
		NEXT;                                      \
	}
#define LOCKED_TWO(name, insn, cin, bits)                                 \
	LOCKED(lock_##name##_mr_##bits, insn, cin, bits, R##bits(o->src)) \
	LOCKED(lock_##name##_mi_##bits, insn, cin, bits, o->imm)
#define LOCKED_FAMILY(name, cin)                                                         \
	LOCKED_TWO(name, #name "b", cin, 8)                                              \
	LOCKED_TWO(name, #name "w", cin, 16)                                             \
	LOCKED_TWO(name, #name "l", cin, 32)                                             \
	LOCKED_TWO(name, #name "q", cin, 64)                                             \
	const struct form form_lock_##name##_mr = {.run = FORM_ROW(lock_##name##_mr, )}; \
	const struct form form_lock_##name##_mi = {.run = FORM_ROW(lock_##name##_mi, )};

LOCKED_FAMILY(add, "")
LOCKED_FAMILY(or, "")
LOCKED_FAMILY(adc, CARRY_IN)
LOCKED_FAMILY(sbb, CARRY_IN)
LOCKED_FAMILY(and, "")
LOCKED_FAMILY(sub, "")
LOCKED_FAMILY(xor, "")

#define LOCKED_ONE(name, insn, cin, bits)             \
	OP(lock_##name##_m_##bits)                    \
	{                                             \
		uint32_t f;                           \
		MODIFY(bits, p, ea_of(c, o), true);   \
                                                      \
		ALU_ONE(cin, "lock " insn, "+m"(*p)); \
		rmw_done(c);                          \
		c->arith = (uint16_t)f;               \
		NEXT;                                 \
	}
#define LOCKED_UNARY(name, cin)              \
	LOCKED_ONE(name, #name "b", cin, 8)  \
	LOCKED_ONE(name, #name "w", cin, 16) \
	LOCKED_ONE(name, #name "l", cin, 32) \
	LOCKED_ONE(name, #name "q", cin, 64) \
	const struct form form_lock_##name##_m = {.run = FORM_ROW(lock_##name##_m, )};

LOCKED_UNARY(inc, CARRY_IN)
LOCKED_UNARY(dec, CARRY_IN)
LOCKED_UNARY(neg, "")

#define LOCKED_NOT(bits)                                                  \
	OP(lock_not_m_##bits)                                             \
	{                                                                 \
		MODIFY(bits, p, ea_of(c, o), true);                       \
                                                                          \
		__atomic_fetch_xor(p, (u##bits) ~0ull, __ATOMIC_SEQ_CST); \
		rmw_done(c);                                              \
		NEXT;                                                     \
	}
LOCKED_NOT(8)
LOCKED_NOT(16)
LOCKED_NOT(32)
LOCKED_NOT(64)
const struct form form_lock_not_m = {.run = FORM_ROW(lock_not_m, )};

/* ---- XCHG: always locked with memory ---- */

#define XCHG(bits)                                                                            \
	OP(xchg_rr_##bits)                                                                    \
	{                                                                                     \
		uint##bits##_t v = R##bits(o->dst);                                           \
                                                                                              \
		SET##bits(o->dst, R##bits(o->src));                                           \
		SET##bits(o->src, v);                                                         \
		NEXT;                                                                         \
	}                                                                                     \
	OP(xchg_m_##bits)                                                                     \
	{                                                                                     \
		MODIFY(bits, p, ea_of(c, o), true);                                           \
		uint##bits##_t v = __atomic_exchange_n(p, R##bits(o->src), __ATOMIC_SEQ_CST); \
                                                                                              \
		rmw_done(c);                                                                  \
		SET##bits(o->src, v);                                                         \
		NEXT;                                                                         \
	}
XCHG(8)
XCHG(16)
XCHG(32)
XCHG(64)
const struct form form_xchg_rr = {.run = FORM_ROW(xchg_rr, )};
const struct form form_xchg_m = {.run = FORM_ROW(xchg_m, )};

/* ---- XADD ---- */

#define XADD_MEM(name, insn, bits, locked)                    \
	OP(name)                                              \
	{                                                     \
		uint##bits##_t v = R##bits(o->src);           \
		uint32_t f;                                   \
		MODIFY(bits, p, ea_of(c, o), locked);         \
                                                              \
		__asm__(insn " %[v], %[p]" FLAGS_OUT          \
			: [p] "+m"(*p), [v] "+r"(v), "=&a"(f) \
			:                                     \
			: "cc");                              \
		rmw_done(c);                                  \
		SET##bits(o->src, v);                         \
		c->arith = (uint16_t)f;                       \
		NEXT;                                         \
	}
#define XADD(bits, sfx)                                                           \
	OP(xadd_rr_##bits)                                                        \
	{                                                                         \
		uint##bits##_t d = R##bits(o->dst), v = R##bits(o->src), sum = v; \
		uint32_t f;                                                       \
                                                                                  \
		__asm__("add" sfx " %[d], %[sum]" FLAGS_OUT                       \
			: [sum] "+r"(sum), "=&a"(f)                               \
			: [d] "r"(d)                                              \
			: "cc");                                                  \
		SET##bits(o->src, d);                                             \
		SET##bits(o->dst, sum);                                           \
		c->arith = (uint16_t)f;                                           \
		NEXT;                                                             \
	}                                                                         \
	XADD_MEM(xadd_m_##bits, "xadd" sfx, bits, false)                          \
	XADD_MEM(lock_xadd_m_##bits, "lock xadd" sfx, bits, true)
XADD(8, "b")
XADD(16, "w")
XADD(32, "l")
XADD(64, "q")
const struct form form_xadd_rr = {.run = FORM_ROW(xadd_rr, )};
const struct form form_xadd_m = {.run = FORM_ROW(xadd_m, )};
const struct form form_lock_xadd_m = {.run = FORM_ROW(lock_xadd_m, )};

/* ---- CMPXCHG: with the accumulator; flags are CMP's ---- */

#define CMPXCHG_MEM(name, insn, bits, locked)                               \
	OP(name)                                                            \
	{                                                                   \
		uint##bits##_t v = R##bits(o->src), a = R##bits(0);         \
		uint64_t f = a;                                             \
		uint##bits##_t seen;                                        \
		MODIFY(bits, p, ea_of(c, o), locked);                       \
                                                                            \
		__asm__(insn " %[v], %[p]\n\tmov %%rax, %q[seen]" FLAGS_OUT \
			: [p] "+m"(*p), [seen] "=&r"(seen), "+&a"(f)        \
			: [v] "r"(v)                                        \
			: "cc");                                            \
		rmw_done(c);                                                \
		if ((f & 0x4000) == 0)                                      \
			SET##bits(0, seen);                                 \
		c->arith = (uint16_t)f;                                     \
		NEXT;                                                       \
	}
#define CMPXCHG(bits, sfx)                                          \
	OP(cmpxchg_rr_##bits)                                       \
	{                                                           \
		uint##bits##_t d = R##bits(o->dst), a = R##bits(0); \
		uint32_t f;                                         \
                                                                    \
		__asm__("cmp" sfx " %[d], %[a]" FLAGS_OUT           \
			: "=a"(f)                                   \
			: [d] "r"(d), [a] "r"(a)                    \
			: "cc");                                    \
		if (a == d)                                         \
			SET##bits(o->dst, R##bits(o->src));         \
		else                                                \
			SET##bits(0, d);                            \
		c->arith = (uint16_t)f;                             \
		NEXT;                                               \
	}                                                           \
	CMPXCHG_MEM(cmpxchg_m_##bits, "cmpxchg" sfx, bits, false)   \
	CMPXCHG_MEM(lock_cmpxchg_m_##bits, "lock cmpxchg" sfx, bits, true)
CMPXCHG(8, "b")
CMPXCHG(16, "w")
CMPXCHG(32, "l")
CMPXCHG(64, "q")
const struct form form_cmpxchg_rr = {.run = FORM_ROW(cmpxchg_rr, )};
const struct form form_cmpxchg_m = {.run = FORM_ROW(cmpxchg_m, )};
const struct form form_lock_cmpxchg_m = {.run = FORM_ROW(lock_cmpxchg_m, )};

/* ---- CMPXCHG8B (run[2]) and CMPXCHG16B (run[3]): locked whether said or not ---- */

static void zero_flag(struct cpu *c, bool equal)
{
	c->arith = (uint16_t)((c->arith & ~0x4000u) | (equal ? 0x4000u : 0));
}

OP(cmpxchg8b_32)
{
	uint64_t seen = (uint64_t)R32(VCPU_RDX) << 32 | R32(VCPU_RAX), new;
	bool equal;
	MODIFY(64, p, ea_of(c, o), true);

	new = (uint64_t)R32(VCPU_RCX) << 32 | R32(VCPU_RBX);
	equal = __atomic_compare_exchange_n(p, &seen, new, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	rmw_done(c);
	if (!equal) {
		SET32(VCPU_RAX, seen);
		SET32(VCPU_RDX, seen >> 32);
	}
	zero_flag(c, equal);
	NEXT;
}

OP(cmpxchg8b_64)
{
	uint64_t at = ea_of(c, o), low = R64(VCPU_RAX), high = R64(VCPU_RDX);
	bool equal;
	void *p;

	if ((at & 15) != 0)
		FAULT(VECTOR_GP, 0);
	p = tlb_write(c, at, 16);
	if (!p)
		p = mmu_rmw(c, at, 16, true);
	if (!p)
		FAULTED;
	__asm__ volatile("lock cmpxchg16b %[p]"
			 : [p] "+m"(*(char(*)[16])p), "+a"(low), "+d"(high), "=@ccz"(equal)
			 : "b"(R64(VCPU_RBX)), "c"(R64(VCPU_RCX))
			 : "cc", "memory");
	rmw_done(c);
	R64(VCPU_RAX) = low;
	R64(VCPU_RDX) = high;
	zero_flag(c, equal);
	NEXT;
}

const struct form form_cmpxchg8b = {
	.run = {NULL, op_cmpxchg8b_32, op_cmpxchg8b_32, op_cmpxchg8b_64}};
