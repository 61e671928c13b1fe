/*
 * Shifts and rotates, by 1, an immediate or CL, and the double shifts. The host executes them with
 * the guest's flags loaded first, since a count of zero leaves them alone and rotates leave most.
 */
#include "virt/vm/cpu/alu.h"

/* The flags of c->arith into the host's: OF out of AL (0x7f + 1 overflows), the rest by SAHF. */
#define FLAGS_IN "addb $0x7f, %%al\n\tsahf\n\t"

#define SHIFT(insn, d, n) \
	__asm__(FLAGS_IN insn " %%cl, %[dst]" FLAGS_OUT : [dst] d, "+&a"(f) : "c"(n) : "cc")
/* Shifts by a count that is not zero set all flags (AF is undefined). */
#define SHIFT_QUIET(insn, d, n) __asm__(insn " %%cl, %[dst]" : [dst] d : "c"(n) : "cc")

#define SHIFT_REG(name, insn, bits, count)                    \
	OP(name)                                              \
	{                                                     \
		uint##bits##_t v = R##bits(o->dst);           \
		uint32_t f = c->arith;                        \
                                                              \
		SHIFT(insn, "+r"(v), (uint8_t)(count));       \
		SET##bits(o->dst, v);                         \
		c->arith = (uint16_t)f;                       \
		NEXT;                                         \
	}                                                     \
	OP(name##_q)                                          \
	{                                                     \
		uint##bits##_t v = R##bits(o->dst);           \
                                                              \
		SHIFT_QUIET(insn, "+r"(v), (uint8_t)(count)); \
		SET##bits(o->dst, v);                         \
		NEXT;                                         \
	}
#define SHIFT_MEM(name, insn, bits, count)               \
	OP(name)                                         \
	{                                                \
		uint32_t f = c->arith;                   \
		MODIFY(bits, p, ea_of(c, o), false);     \
                                                         \
		SHIFT(insn, "+m"(*p), (uint8_t)(count)); \
		rmw_done(c);                             \
		c->arith = (uint16_t)f;                  \
		NEXT;                                    \
	}

#define SHIFTS(name, bits, sfx)                              \
	SHIFT_REG(name##_ri_##bits, #name sfx, bits, o->imm) \
	SHIFT_REG(name##_rc_##bits, #name sfx, bits, R8(8))  \
	SHIFT_MEM(name##_mi_##bits, #name sfx, bits, o->imm) \
	SHIFT_MEM(name##_mc_##bits, #name sfx, bits, R8(8))

#define SHIFT_FORMS(name, reg)                                               \
	SHIFTS(name, 8, "b")                                                 \
	SHIFTS(name, 16, "w")                                                \
	SHIFTS(name, 32, "l")                                                \
	SHIFTS(name, 64, "q")                                                \
	const struct form form_##name##_ri = reg(name##_ri);                 \
	const struct form form_##name##_rc = reg(name##_rc);                 \
	const struct form form_##name##_mi = {.run = FORM_ROW(name##_mi, )}; \
	const struct form form_##name##_mc = {.run = FORM_ROW(name##_mc, )};

SHIFT_FORMS(rol, FORM_REG)
SHIFT_FORMS(ror, FORM_REG)
SHIFT_FORMS(rcl, FORM_REG_LOUD) /* they read the carry */
SHIFT_FORMS(rcr, FORM_REG_LOUD)
SHIFT_FORMS(shl, FORM_REG)
SHIFT_FORMS(shr, FORM_REG)
SHIFT_FORMS(sar, FORM_REG)

/* ---- SHLD, SHRD: the register is shifted in ---- */

#define DOUBLE(insn, d, s, n)                                   \
	__asm__(FLAGS_IN insn " %%cl, %[src], %[dst]" FLAGS_OUT \
		: [dst] d, "+&a"(f)                             \
		: [src] "r"(s), "c"(n)                          \
		: "cc")

#define DOUBLES(name, insn, bits, how, count)                              \
	OP(name##_r##how##_##bits)                                         \
	{                                                                  \
		uint##bits##_t v = R##bits(o->dst);                        \
		uint32_t f = c->arith;                                     \
                                                                           \
		DOUBLE(insn, "+r"(v), R##bits(o->src), (uint8_t)(count));  \
		SET##bits(o->dst, v);                                      \
		c->arith = (uint16_t)f;                                    \
		NEXT;                                                      \
	}                                                                  \
	OP(name##_m##how##_##bits)                                         \
	{                                                                  \
		uint32_t f = c->arith;                                     \
		MODIFY(bits, p, ea_of(c, o), false);                       \
                                                                           \
		DOUBLE(insn, "+m"(*p), R##bits(o->src), (uint8_t)(count)); \
		rmw_done(c);                                               \
		c->arith = (uint16_t)f;                                    \
		NEXT;                                                      \
	}

#define DOUBLE_FORMS(name)                                                     \
	DOUBLES(name, #name "w", 16, i, o->imm)                                \
	DOUBLES(name, #name "l", 32, i, o->imm)                                \
	DOUBLES(name, #name "q", 64, i, o->imm)                                \
	DOUBLES(name, #name "w", 16, c, R8(8))                                 \
	DOUBLES(name, #name "l", 32, c, R8(8))                                 \
	DOUBLES(name, #name "q", 64, c, R8(8))                                 \
	const struct form form_##name##_ri = {.run = FORM_ROW_V(name##_ri, )}; \
	const struct form form_##name##_mi = {.run = FORM_ROW_V(name##_mi, )}; \
	const struct form form_##name##_rc = {.run = FORM_ROW_V(name##_rc, )}; \
	const struct form form_##name##_mc = {.run = FORM_ROW_V(name##_mc, )};

DOUBLE_FORMS(shld)
DOUBLE_FORMS(shrd)
