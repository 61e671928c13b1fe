/*
 * Moves: between registers and memory, widened, conditional, swapped; addresses; and the few
 * instructions that only touch flags.
 */
#include "virt/vm/cpu/alu.h"

#define MOVES(bits)                                                  \
	OP(mov_rr_##bits)                                            \
	{                                                            \
		SET##bits(o->dst, R##bits(o->src));                  \
		NEXT;                                                \
	}                                                            \
	OP(mov_ri_##bits)                                            \
	{                                                            \
		SET##bits(o->dst, o->imm);                           \
		NEXT;                                                \
	}                                                            \
	OP(mov_rm_##bits)                                            \
	{                                                            \
		LOAD(bits, v, ea_of(c, o));                          \
		SET##bits(o->dst, v);                                \
		NEXT;                                                \
	}                                                            \
	OP(mov_rm_##bits##_b)                                        \
	{                                                            \
		LOAD(bits, v, ea_plain(c, o));                       \
		SET##bits(o->dst, v);                                \
		NEXT;                                                \
	}                                                            \
	OP(mov_mr_##bits)                                            \
	{                                                            \
		STORE(bits, ea_of(c, o), R##bits(o->src));           \
		NEXT;                                                \
	}                                                            \
	OP(mov_mr_##bits##_b)                                        \
	{                                                            \
		STORE(bits, ea_plain(c, o), R##bits(o->src));        \
		NEXT;                                                \
	}                                                            \
	OP(mov_mi_##bits)                                            \
	{                                                            \
		STORE(bits, ea_of(c, o), (uint##bits##_t)o->imm);    \
		NEXT;                                                \
	}                                                            \
	OP(mov_mi_##bits##_b)                                        \
	{                                                            \
		STORE(bits, ea_plain(c, o), (uint##bits##_t)o->imm); \
		NEXT;                                                \
	}

MOVES(8)
MOVES(16)
MOVES(32)
MOVES(64)

const struct form form_mov_rr = FORM_REG_LOUD(mov_rr);
const struct form form_mov_ri = FORM_REG_LOUD(mov_ri);
const struct form form_mov_rm = FORM_MEM_LOUD(mov_rm);
const struct form form_mov_mr = FORM_MEM_LOUD(mov_mr);
const struct form form_mov_mi = FORM_MEM_LOUD(mov_mi);

/* ---- widening: the form's width is the destination's ---- */

#define WIDEN(name, from, bits, type)                     \
	OP(name##_rr_##bits)                              \
	{                                                 \
		SET##bits(o->dst, type(R##from(o->src))); \
		NEXT;                                     \
	}                                                 \
	OP(name##_rm_##bits)                              \
	{                                                 \
		LOAD(from, v, ea_of(c, o));               \
		SET##bits(o->dst, type(v));               \
		NEXT;                                     \
	}                                                 \
	OP(name##_rm_##bits##_b)                          \
	{                                                 \
		LOAD(from, v, ea_plain(c, o));            \
		SET##bits(o->dst, type(v));               \
		NEXT;                                     \
	}

#define WIDENS(name, from, type)                                               \
	WIDEN(name, from, 16, type)                                            \
	WIDEN(name, from, 32, type)                                            \
	WIDEN(name, from, 64, type)                                            \
	const struct form form_##name##_rr = {.run = FORM_ROW_V(name##_rr, )}; \
	const struct form form_##name##_rm = {.run = FORM_ROW_V(name##_rm, ),  \
					      .plain = FORM_ROW_V(name##_rm, _b)};

#define UNSIGNED8(v)  ((uint8_t)(v))
#define UNSIGNED16(v) ((uint16_t)(v))
#define SIGNED8(v)    ((uint64_t)(int64_t)(int8_t)(v))
#define SIGNED16(v)   ((uint64_t)(int64_t)(int16_t)(v))
#define SIGNED32(v)   ((uint64_t)(int64_t)(int32_t)(v))

WIDENS(movzx8, 8, UNSIGNED8)
WIDENS(movzx16, 16, UNSIGNED16)
WIDENS(movsx8, 8, SIGNED8)
WIDENS(movsx16, 16, SIGNED16)
WIDENS(movsx32, 32, SIGNED32)

/* ---- addresses ---- */

/* LEA's address is the offset in the segment: the decoder leaves the segment out. */
#define LEA(bits)                                  \
	OP(lea_##bits)                             \
	{                                          \
		SET##bits(o->dst, ea_of(c, o));    \
		NEXT;                              \
	}                                          \
	OP(lea_##bits##_b)                         \
	{                                          \
		SET##bits(o->dst, ea_plain(c, o)); \
		NEXT;                              \
	}
LEA(16)
LEA(32)
LEA(64)
const struct form form_lea = {.run = FORM_ROW_V(lea, ), .plain = FORM_ROW_V(lea, _b)};

/* ---- conditional ---- */

/* A 32-bit CMOV clears the upper half in any case; memory is read in any case. */
#define CMOV(cc, bits)                                                                    \
	OP(cmov##cc##_rr_##bits)                                                          \
	{                                                                                 \
		uint##bits##_t v = CC_##cc(c->arith) ? R##bits(o->src) : R##bits(o->dst); \
                                                                                          \
		SET##bits(o->dst, v);                                                     \
		NEXT;                                                                     \
	}                                                                                 \
	OP(cmov##cc##_rm_##bits)                                                          \
	{                                                                                 \
		LOAD(bits, m, ea_of(c, o));                                               \
		uint##bits##_t v = CC_##cc(c->arith) ? m : R##bits(o->dst);               \
                                                                                          \
		SET##bits(o->dst, v);                                                     \
		NEXT;                                                                     \
	}
#define CONDITIONAL(n, cc)                                \
	CMOV(cc, 16)                                      \
	CMOV(cc, 32)                                      \
	CMOV(cc, 64)                                      \
	OP(set##cc##_r)                                   \
	{                                                 \
		R8(o->dst) = CC_##cc(c->arith);           \
		NEXT;                                     \
	}                                                 \
	OP(set##cc##_m)                                   \
	{                                                 \
		STORE(8, ea_of(c, o), CC_##cc(c->arith)); \
		NEXT;                                     \
	}
CONDITIONS(CONDITIONAL)

#define CMOV_RR(n, cc) [n] = {.run = FORM_ROW_V(cmov##cc##_rr, )},
#define CMOV_RM(n, cc) [n] = {.run = FORM_ROW_V(cmov##cc##_rm, )},
#define SET_R(n, cc)   [n] = {.run = {op_set##cc##_r}},
#define SET_M(n, cc)   [n] = {.run = {op_set##cc##_m}},
/* clang-format off */
const struct form form_cmov_rr[16] = {CONDITIONS(CMOV_RR)};
const struct form form_cmov_rm[16] = {CONDITIONS(CMOV_RM)};
const struct form form_setcc_r[16] = {CONDITIONS(SET_R)};
const struct form form_setcc_m[16] = {CONDITIONS(SET_M)};
/* clang-format on */

#define PAIR(reads) (reads), (reads)
const uint8_t condition_reads[16] = {
	PAIR(OPF_O), PAIR(OPF_C), PAIR(OPF_Z),	       PAIR(OPF_C | OPF_Z),
	PAIR(OPF_S), PAIR(OPF_P), PAIR(OPF_S | OPF_O), PAIR(OPF_Z | OPF_S | OPF_O),
};

/* ---- the rest ---- */

/* BSWAP of 16 bits is undefined; processors clear the register's low half. */
OP(bswap_16)
{
	SET16(o->dst, 0);
	NEXT;
}
OP(bswap_32)
{
	SET32(o->dst, __builtin_bswap32(R32(o->dst)));
	NEXT;
}
OP(bswap_64)
{
	SET64(o->dst, __builtin_bswap64(R64(o->dst)));
	NEXT;
}
const struct form form_bswap = {.run = FORM_ROW_V(bswap, )};

/* CBW, CWDE, CDQE and CWD, CDQ, CQO. */
OP(widen_acc_16)
{
	SET16(VCPU_RAX, (int8_t)R8(0));
	NEXT;
}
OP(widen_acc_32)
{
	SET32(VCPU_RAX, (int16_t)R16(VCPU_RAX));
	NEXT;
}
OP(widen_acc_64)
{
	SET64(VCPU_RAX, (uint64_t)(int64_t)(int32_t)R32(VCPU_RAX));
	NEXT;
}
const struct form form_widen_acc = {.run = FORM_ROW_V(widen_acc, )};

OP(widen_dx_16)
{
	SET16(VCPU_RDX, (int16_t)R16(VCPU_RAX) >> 15);
	NEXT;
}
OP(widen_dx_32)
{
	SET32(VCPU_RDX, (int32_t)R32(VCPU_RAX) >> 31);
	NEXT;
}
OP(widen_dx_64)
{
	SET64(VCPU_RDX, (uint64_t)((int64_t)R64(VCPU_RAX) >> 63));
	NEXT;
}
const struct form form_widen_dx = {.run = FORM_ROW_V(widen_dx, )};

OP(nop)
{
	NEXT;
}
const struct form form_nop = {.run = {op_nop, op_nop, op_nop, op_nop}};

/* AL := [rBX + AL]; the base is the op's, AL comes in here, before the address is cut. */
OP(xlat)
{
	uint64_t at = R64(o->base) + R8(0);

	if (o->ea != 0)
		at = ea_slow(c, o, at);
	LOAD(8, v, at);
	R8(0) = v;
	NEXT;
}
const struct form form_xlat = {.run = {op_xlat}};

/* AH is the low byte of EFLAGS, and so is the upper byte of c->arith. */
OP(lahf)
{
	R8(1) = (uint8_t)(c->arith >> 8);
	NEXT;
}
const struct form form_lahf = {.run = {op_lahf}};

OP(sahf)
{
	c->arith = (uint16_t)((c->arith & 1u) | (R8(1) & 0xd5u) << 8 | 0x200u);
	NEXT;
}
const struct form form_sahf = {.run = {op_sahf}};

OP(cmc)
{
	c->arith ^= 0x100;
	NEXT;
}
const struct form form_cmc = {.run = {op_cmc}};

OP(clc)
{
	c->arith &= 0xfeff;
	NEXT;
}
const struct form form_clc = {.run = {op_clc}};

OP(stc)
{
	c->arith |= 0x100;
	NEXT;
}
const struct form form_stc = {.run = {op_stc}};

OP(cld)
{
	c->flags &= ~(1ull << 10);
	NEXT;
}
const struct form form_cld = {.run = {op_cld}};

OP(std)
{
	c->flags |= 1ull << 10;
	NEXT;
}
const struct form form_std = {.run = {op_std}};
