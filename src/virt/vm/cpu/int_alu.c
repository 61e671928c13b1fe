/*
 * Arithmetic and logic with one and two operands, in every width, in registers and memory, by
 * macro: the host computes results and flags with the very instruction. LOCK forms are in
 * int_atomic.c.
 */
#include "virt/vm/cpu/alu.h"

/* ---- registers ---- */

#define REG(name, insn, cin, bits, from)                                        \
	OP(name)                                                                \
	{                                                                       \
		uint##bits##_t v = R##bits(o->dst), s = (uint##bits##_t)(from); \
		uint32_t f;                                                     \
                                                                                \
		ALU(cin, insn, "+r"(v), "r"(s));                                \
		SET##bits(o->dst, v);                                           \
		c->arith = (uint16_t)f;                                         \
		NEXT;                                                           \
	}                                                                       \
	OP(name##_q)                                                            \
	{                                                                       \
		uint##bits##_t v = R##bits(o->dst), s = (uint##bits##_t)(from); \
                                                                                \
		ALU_QUIET(cin, insn, "+r"(v), "r"(s));                          \
		SET##bits(o->dst, v);                                           \
		NEXT;                                                           \
	}

/* ---- a memory source ---- */

#define FROM_MEM(name, tail, ea, insn, cin, bits)      \
	OP(name##tail)                                 \
	{                                              \
		uint##bits##_t v = R##bits(o->dst);    \
		uint32_t f;                            \
		LOAD(bits, s, ea(c, o));               \
                                                       \
		ALU(cin, insn, "+r"(v), "r"(s));       \
		SET##bits(o->dst, v);                  \
		c->arith = (uint16_t)f;                \
		NEXT;                                  \
	}                                              \
	OP(name##tail##_q)                             \
	{                                              \
		uint##bits##_t v = R##bits(o->dst);    \
		LOAD(bits, s, ea(c, o));               \
                                                       \
		ALU_QUIET(cin, insn, "+r"(v), "r"(s)); \
		SET##bits(o->dst, v);                  \
		NEXT;                                  \
	}

/* ---- a memory destination ---- */

#define TO_MEM(name, tail, ea, insn, cin, bits, from)      \
	OP(name##tail)                                     \
	{                                                  \
		uint##bits##_t s = (uint##bits##_t)(from); \
		uint32_t f;                                \
		MODIFY(bits, p, ea(c, o), false);          \
                                                           \
		ALU(cin, insn, "+m"(*p), "r"(s));          \
		rmw_done(c);                               \
		c->arith = (uint16_t)f;                    \
		NEXT;                                      \
	}                                                  \
	OP(name##tail##_q)                                 \
	{                                                  \
		uint##bits##_t s = (uint##bits##_t)(from); \
		MODIFY(bits, p, ea(c, o), false);          \
                                                           \
		ALU_QUIET(cin, insn, "+m"(*p), "r"(s));    \
		rmw_done(c);                               \
		NEXT;                                      \
	}

#define TWO_OPERANDS(name, insn, cin, bits)                                      \
	REG(name##_rr_##bits, insn, cin, bits, R##bits(o->src))                  \
	REG(name##_ri_##bits, insn, cin, bits, o->imm)                           \
	FROM_MEM(name##_rm_##bits, , ea_of, insn, cin, bits)                     \
	FROM_MEM(name##_rm_##bits, _b, ea_plain, insn, cin, bits)                \
	TO_MEM(name##_mr_##bits, , ea_of, insn, cin, bits, R##bits(o->src))      \
	TO_MEM(name##_mr_##bits, _b, ea_plain, insn, cin, bits, R##bits(o->src)) \
	TO_MEM(name##_mi_##bits, , ea_of, insn, cin, bits, o->imm)               \
	TO_MEM(name##_mi_##bits, _b, ea_plain, insn, cin, bits, o->imm)

#define FORMS_OF(name)                                            \
	const struct form form_##name##_rr = FORM_REG(name##_rr); \
	const struct form form_##name##_ri = FORM_REG(name##_ri); \
	const struct form form_##name##_rm = FORM_MEM(name##_rm); \
	const struct form form_##name##_mr = FORM_MEM(name##_mr); \
	const struct form form_##name##_mi = FORM_MEM(name##_mi);

#define FAMILY(name, cin)                      \
	TWO_OPERANDS(name, #name "b", cin, 8)  \
	TWO_OPERANDS(name, #name "w", cin, 16) \
	TWO_OPERANDS(name, #name "l", cin, 32) \
	TWO_OPERANDS(name, #name "q", cin, 64) \
	FORMS_OF(name)

FAMILY(add, "")
FAMILY(or, "")
FAMILY(adc, CARRY_IN)
FAMILY(sbb, CARRY_IN)
FAMILY(and, "")
FAMILY(sub, "")
FAMILY(xor, "")

/* ---- CMP and TEST: flags only ---- */

#define LOOK(name, insn, bits, first, from)                           \
	OP(name)                                                      \
	{                                                             \
		uint##bits##_t v = first, s = (uint##bits##_t)(from); \
		uint32_t f;                                           \
                                                                      \
		__asm__(insn " %[src], %[dst]" FLAGS_OUT              \
			: "=a"(f)                                     \
			: [dst] "r"(v), [src] "r"(s)                  \
			: "cc");                                      \
		c->arith = (uint16_t)f;                               \
		NEXT;                                                 \
	}
#define LOOK_MEM(name, tail, ea, insn, bits, d, s_, from)  \
	OP(name##tail)                                     \
	{                                                  \
		uint##bits##_t r = (uint##bits##_t)(from); \
		uint32_t f;                                \
		LOAD(bits, m, ea(c, o));                   \
                                                           \
		__asm__(insn " %[src], %[dst]" FLAGS_OUT   \
			: "=a"(f)                          \
			: [dst] "r"(d), [src] "r"(s_)      \
			: "cc");                           \
		c->arith = (uint16_t)f;                    \
		NEXT;                                      \
	}

#define LOOKS(name, insn, bits)                                                     \
	LOOK(name##_rr_##bits, insn, bits, R##bits(o->dst), R##bits(o->src))        \
	LOOK(name##_ri_##bits, insn, bits, R##bits(o->dst), o->imm)                 \
	LOOK_MEM(name##_mr_##bits, , ea_of, insn, bits, m, r, R##bits(o->src))      \
	LOOK_MEM(name##_mr_##bits, _b, ea_plain, insn, bits, m, r, R##bits(o->src)) \
	LOOK_MEM(name##_mi_##bits, , ea_of, insn, bits, m, r, o->imm)               \
	LOOK_MEM(name##_mi_##bits, _b, ea_plain, insn, bits, m, r, o->imm)

#define LOOKS_BACK(insn, bits)                                              \
	LOOK_MEM(cmp_rm_##bits, , ea_of, insn, bits, r, m, R##bits(o->dst)) \
	LOOK_MEM(cmp_rm_##bits, _b, ea_plain, insn, bits, r, m, R##bits(o->dst))

LOOKS(cmp, "cmpb", 8)
LOOKS(cmp, "cmpw", 16)
LOOKS(cmp, "cmpl", 32)
LOOKS(cmp, "cmpq", 64)
LOOKS_BACK("cmpb", 8)
LOOKS_BACK("cmpw", 16)
LOOKS_BACK("cmpl", 32)
LOOKS_BACK("cmpq", 64)
LOOKS(test, "testb", 8)
LOOKS(test, "testw", 16)
LOOKS(test, "testl", 32)
LOOKS(test, "testq", 64)

const struct form form_cmp_rr = FORM_REG_LOUD(cmp_rr);
const struct form form_cmp_ri = FORM_REG_LOUD(cmp_ri);
const struct form form_cmp_rm = FORM_MEM_LOUD(cmp_rm);
const struct form form_cmp_mr = FORM_MEM_LOUD(cmp_mr);
const struct form form_cmp_mi = FORM_MEM_LOUD(cmp_mi);
const struct form form_test_rr = FORM_REG_LOUD(test_rr);
const struct form form_test_ri = FORM_REG_LOUD(test_ri);
const struct form form_test_mr = FORM_MEM_LOUD(test_mr);
const struct form form_test_mi = FORM_MEM_LOUD(test_mi);

/* ---- one operand ---- */

#define ONE_OPERAND(name, insn, cin, bits)              \
	OP(name##_r_##bits)                             \
	{                                               \
		uint##bits##_t v = R##bits(o->dst);     \
		uint32_t f;                             \
                                                        \
		ALU_ONE(cin, insn, "+r"(v));            \
		SET##bits(o->dst, v);                   \
		c->arith = (uint16_t)f;                 \
		NEXT;                                   \
	}                                               \
	OP(name##_r_##bits##_q)                         \
	{                                               \
		uint##bits##_t v = R##bits(o->dst);     \
                                                        \
		__asm__(insn " %0" : "+r"(v) : : "cc"); \
		SET##bits(o->dst, v);                   \
		NEXT;                                   \
	}                                               \
	OP(name##_m_##bits)                             \
	{                                               \
		uint32_t f;                             \
		MODIFY(bits, p, ea_of(c, o), false);    \
                                                        \
		ALU_ONE(cin, insn, "+m"(*p));           \
		rmw_done(c);                            \
		c->arith = (uint16_t)f;                 \
		NEXT;                                   \
	}

#define ONE(name, cin)                                          \
	ONE_OPERAND(name, #name "b", cin, 8)                    \
	ONE_OPERAND(name, #name "w", cin, 16)                   \
	ONE_OPERAND(name, #name "l", cin, 32)                   \
	ONE_OPERAND(name, #name "q", cin, 64)                   \
	const struct form form_##name##_r = FORM_REG(name##_r); \
	const struct form form_##name##_m = {.run = FORM_ROW(name##_m, )};

ONE(inc, CARRY_IN)
ONE(dec, CARRY_IN)
ONE(neg, "")

/* NOT has no flags. */
#define NOT(bits)                                    \
	OP(not_r_##bits)                             \
	{                                            \
		SET##bits(o->dst, ~R##bits(o->dst)); \
		NEXT;                                \
	}                                            \
	OP(not_m_##bits)                             \
	{                                            \
		MODIFY(bits, p, ea_of(c, o), false); \
                                                     \
		*p = (u##bits) ~*p;                  \
		rmw_done(c);                         \
		NEXT;                                \
	}
NOT(8)
NOT(16)
NOT(32)
NOT(64)
const struct form form_not_r = {.run = FORM_ROW(not_r, )};
const struct form form_not_m = {.run = FORM_ROW(not_m, )};
