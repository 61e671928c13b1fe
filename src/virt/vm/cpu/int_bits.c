/*
 * Single bits (BT, BTS, BTR, BTC), searches (BSF, BSR), POPCNT and CRC32. A register bit number
 * with a memory operand reaches beyond it, by any signed distance: SDM volume 2, BT.
 */
#include "virt/vm/cpu/alu.h"

/* Only CF is defined; the others are left as they were, as processors do. */
#define CARRY(f) ((uint16_t)((c->arith & 0xfeffu) | ((f) ? 0x100u : 0)))
#define BIT(prefix, insn, d, n) \
	__asm__(prefix insn " %[n], %[dst]" : [dst] d, "=@ccc"(carry) : [n] "r"(n) : "cc")

#define BIT_REG(name, insn, bits, from)                                         \
	OP(name)                                                                \
	{                                                                       \
		uint##bits##_t v = R##bits(o->dst), n = (uint##bits##_t)(from); \
		bool carry;                                                     \
                                                                                \
		BIT("", insn, "+r"(v), n);                                      \
		SET##bits(o->dst, v);                                           \
		c->arith = CARRY(carry);                                        \
		NEXT;                                                           \
	}

/* Where the bit's word lies, relative to the operand. */
#define WORD_OF(bits) \
	((uint64_t)((int64_t)(int##bits##_t)R##bits(o->src) >> 3) & ~(uint64_t)(bits / 8 - 1))

/* `reach`: 1 for a register's bit number. The bit is within the word then. */
#define BIT_MEM(name, prefix, insn, bits, from, reach, locked)                \
	OP(name)                                                              \
	{                                                                     \
		uint##bits##_t n = (uint##bits##_t)((from) & (bits - 1));     \
		bool carry;                                                   \
		MODIFY(bits, p, bit_ea(c, o, (reach)*WORD_OF(bits)), locked); \
                                                                              \
		BIT(prefix, insn, "+m"(*p), n);                               \
		rmw_done(c);                                                  \
		c->arith = CARRY(carry);                                      \
		NEXT;                                                         \
	}
#define BIT_TEST_MEM(name, bits, from, reach)                       \
	OP(name)                                                    \
	{                                                           \
		LOAD(bits, v, bit_ea(c, o, (reach)*WORD_OF(bits))); \
                                                                    \
		c->arith = CARRY(v >> ((from) & (bits - 1)) & 1u);  \
		NEXT;                                               \
	}

/* The address with the word's distance, before it is cut or checked. */
static inline uint64_t bit_ea(struct cpu *c, const struct op *o, uint64_t reach)
{
	uint64_t at = c->gpr[o->base] + (c->gpr[o->index] << o->scale) +
		      (uint64_t)(int64_t)o->disp + reach;

	return likely(o->ea == 0) ? at : ea_slow(c, o, at);
}

#define BITS(name, bits, sfx)                                                                \
	BIT_REG(name##_rr_##bits, #name sfx, bits, R##bits(o->src))                          \
	BIT_REG(name##_ri_##bits, #name sfx, bits, o->imm)                                   \
	BIT_MEM(name##_mr_##bits, "", #name sfx, bits, R##bits(o->src), 1, false)            \
	BIT_MEM(name##_mi_##bits, "", #name sfx, bits, o->imm, 0, false)                     \
	BIT_MEM(lock_##name##_mr_##bits, "lock ", #name sfx, bits, R##bits(o->src), 1, true) \
	BIT_MEM(lock_##name##_mi_##bits, "lock ", #name sfx, bits, o->imm, 0, true)

#define BIT_FORMS(name)                                                                    \
	BITS(name, 16, "w")                                                                \
	BITS(name, 32, "l")                                                                \
	BITS(name, 64, "q")                                                                \
	const struct form form_##name##_rr = {.run = FORM_ROW_V(name##_rr, )};             \
	const struct form form_##name##_ri = {.run = FORM_ROW_V(name##_ri, )};             \
	const struct form form_##name##_mr = {.run = FORM_ROW_V(name##_mr, )};             \
	const struct form form_##name##_mi = {.run = FORM_ROW_V(name##_mi, )};             \
	const struct form form_lock_##name##_mr = {.run = FORM_ROW_V(lock_##name##_mr, )}; \
	const struct form form_lock_##name##_mi = {.run = FORM_ROW_V(lock_##name##_mi, )};

BIT_FORMS(bts)
BIT_FORMS(btr)
BIT_FORMS(btc)

#define TEST_BIT(bits)                                                                    \
	OP(bt_rr_##bits)                                                                  \
	{                                                                                 \
		c->arith = CARRY(R##bits(o->dst) >> (R##bits(o->src) & (bits - 1)) & 1u); \
		NEXT;                                                                     \
	}                                                                                 \
	OP(bt_ri_##bits)                                                                  \
	{                                                                                 \
		c->arith = CARRY(R##bits(o->dst) >> (o->imm & (bits - 1)) & 1u);          \
		NEXT;                                                                     \
	}                                                                                 \
	BIT_TEST_MEM(bt_mr_##bits, bits, R##bits(o->src), 1)                              \
	BIT_TEST_MEM(bt_mi_##bits, bits, o->imm, 0)
TEST_BIT(16)
TEST_BIT(32)
TEST_BIT(64)
const struct form form_bt_rr = {.run = FORM_ROW_V(bt_rr, )};
const struct form form_bt_ri = {.run = FORM_ROW_V(bt_ri, )};
const struct form form_bt_mr = {.run = FORM_ROW_V(bt_mr, )};
const struct form form_bt_mi = {.run = FORM_ROW_V(bt_mi, )};

/* ---- searches: a zero source leaves the destination as it is (documented by AMD, done by
 * Intel) */

#define SEARCH(insn, v, s) \
	__asm__(insn " %[src], %[dst]" FLAGS_OUT : [dst] "+r"(v), "=&a"(f) : [src] "r"(s) : "cc")
#define SEARCHES(name, bits, sfx, out)                                   \
	OP(name##_rr_##bits)                                             \
	{                                                                \
		uint##bits##_t v = R##bits(o->dst), s = R##bits(o->src); \
		uint32_t f;                                              \
                                                                         \
		SEARCH(#name sfx, v, s);                                 \
		out(bits, s);                                            \
		c->arith = (uint16_t)f;                                  \
		NEXT;                                                    \
	}                                                                \
	OP(name##_rm_##bits)                                             \
	{                                                                \
		uint##bits##_t v = R##bits(o->dst);                      \
		uint32_t f;                                              \
		LOAD(bits, s, ea_of(c, o));                              \
                                                                         \
		SEARCH(#name sfx, v, s);                                 \
		out(bits, s);                                            \
		c->arith = (uint16_t)f;                                  \
		NEXT;                                                    \
	}
#define SEARCH_FORMS(name, out)                                                \
	SEARCHES(name, 16, "w", out)                                           \
	SEARCHES(name, 32, "l", out)                                           \
	SEARCHES(name, 64, "q", out)                                           \
	const struct form form_##name##_rr = {.run = FORM_ROW_V(name##_rr, )}; \
	const struct form form_##name##_rm = {.run = FORM_ROW_V(name##_rm, )};

#define OUT(bits, s) SET##bits(o->dst, v)
/* All 64 bits stay where nothing was found. */
#define OUT_FOUND(bits, s)                    \
	do {                                  \
		if (s != 0)                   \
			SET##bits(o->dst, v); \
	} while (0)
SEARCH_FORMS(bsf, OUT_FOUND)
SEARCH_FORMS(bsr, OUT_FOUND)
SEARCH_FORMS(popcnt, OUT)

/* ---- CRC32: the form's width is the source's ---- */

#define CRC(bits, sfx, reg, type)                                                \
	OP(crc32_rr_##bits)                                                      \
	{                                                                        \
		type v = (type)R64(o->dst);                                      \
                                                                                 \
		__asm__("crc32" sfx " %1, %0" : "+r"(v) : "r"(R##bits(o->src))); \
		R64(o->dst) = (uint32_t)v;                                       \
		NEXT;                                                            \
	}                                                                        \
	OP(crc32_rm_##bits)                                                      \
	{                                                                        \
		type v = (type)R64(o->dst);                                      \
		LOAD(bits, s, ea_of(c, o));                                      \
                                                                                 \
		__asm__("crc32" sfx " %1, %0" : "+r"(v) : "r"(s));               \
		R64(o->dst) = (uint32_t)v;                                       \
		NEXT;                                                            \
	}
CRC(8, "b", R8, uint32_t)
CRC(16, "w", R16, uint32_t)
CRC(32, "l", R32, uint32_t)
CRC(64, "q", R64, uint64_t)
const struct form form_crc32_rr = {.run = FORM_ROW(crc32_rr, )};
const struct form form_crc32_rm = {.run = FORM_ROW(crc32_rm, )};
