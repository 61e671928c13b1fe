/*
 * The integer opcode maps: see opcodes.h. SDM volume 2, appendix A.
 */
#include "virt/vm/cpu/opcodes.h"

#define ARITH	OPF_ALL
#define NOT_C	(OPF_ALL & ~OPF_C)
#define ROTATES (OPF_C | OPF_O)

#define RM(name)    .reg = &form_##name##_rr, .mem = &form_##name##_rm
#define MR(name)    .reg = &form_##name##_rr, .mem = &form_##name##_mr
#define MI(name)    .reg = &form_##name##_ri, .mem = &form_##name##_mi
#define UNARY(name) .reg = &form_##name##_r, .mem = &form_##name##_m

/* ---- the eight of 00–3F, and group 1 ---- */

#define ALU_ROWS(base, name, in, out, locked_mr)                                   \
	[base] = {ENC_E_G, SIZE_B, in, ARITH, 0, MR(name), .lock = locked_mr},     \
	[base + 1] = {ENC_E_G, SIZE_V, in, ARITH, 0, MR(name), .lock = locked_mr}, \
	[base + 2] = {ENC_G_E, SIZE_B, in, ARITH, 0, RM(name)},                    \
	[base + 3] = {ENC_G_E, SIZE_V, in, ARITH, 0, RM(name)},                    \
	[base + 4] = {ENC_A_I, SIZE_B, in, ARITH, 0, .reg = &form_##name##_ri},    \
	[base + 5] = {ENC_A_I, SIZE_V, in, ARITH, 0, .reg = &form_##name##_ri}

#define GROUP1(enc, size)                                                                 \
	{                                                                                 \
		{enc, size, 0, ARITH, 0, MI(add), .lock = &form_lock_add_mi},             \
			{enc, size, 0, ARITH, 0, MI(or), .lock = &form_lock_or_mi},       \
			{enc, size, OPF_C, ARITH, 0, MI(adc), .lock = &form_lock_adc_mi}, \
			{enc, size, OPF_C, ARITH, 0, MI(sbb), .lock = &form_lock_sbb_mi}, \
			{enc, size, 0, ARITH, 0, MI(and), .lock = &form_lock_and_mi},     \
			{enc, size, 0, ARITH, 0, MI(sub), .lock = &form_lock_sub_mi},     \
			{enc, size, 0, ARITH, 0, MI(xor), .lock = &form_lock_xor_mi},     \
			{enc, size, 0, ARITH, 0, MI(cmp)},                                \
	}

static const struct row group_80[8] = GROUP1(ENC_E_I, SIZE_B);
static const struct row group_81[8] = GROUP1(ENC_E_I, SIZE_V);
static const struct row group_83[8] = GROUP1(ENC_E_I8, SIZE_V);

/* ---- shifts ---- */

#define SHIFT(enc, size, name, how, in, out)                                 \
	{                                                                    \
		enc, size, in, out, ROW_KEEPS, .reg = &form_##name##_r##how, \
					       .mem = &form_##name##_m##how  \
	}
#define SHIFTS(enc, size, how)                                      \
	{                                                           \
		SHIFT(enc, size, rol, how, ARITH, ROTATES),         \
			SHIFT(enc, size, ror, how, ARITH, ROTATES), \
			SHIFT(enc, size, rcl, how, ARITH, ROTATES), \
			SHIFT(enc, size, rcr, how, ARITH, ROTATES), \
			SHIFT(enc, size, shl, how, 0, ARITH),       \
			SHIFT(enc, size, shr, how, 0, ARITH),       \
			SHIFT(enc, size, shl, how, 0, ARITH),       \
			SHIFT(enc, size, sar, how, 0, ARITH),       \
	}

static const struct row group_c0[8] = SHIFTS(ENC_E_I8, SIZE_B, i);
static const struct row group_c1[8] = SHIFTS(ENC_E_I8, SIZE_V, i);
static const struct row group_d0[8] = SHIFTS(ENC_E_1, SIZE_B, i);
static const struct row group_d1[8] = SHIFTS(ENC_E_1, SIZE_V, i);
static const struct row group_d2[8] = SHIFTS(ENC_E, SIZE_B, c);
static const struct row group_d3[8] = SHIFTS(ENC_E, SIZE_V, c);

/* ---- the other groups ---- */

#define GROUP3(size)                                                                            \
	{                                                                                       \
		{ENC_E_I, size, 0, ARITH, 0, MI(test)}, {ENC_E_I, size, 0, ARITH, 0, MI(test)}, \
			{ENC_E, size, 0, 0, 0, UNARY(not ), .lock = &form_lock_not_m},          \
			{ENC_E, size, 0, ARITH, 0, UNARY(neg), .lock = &form_lock_neg_m},       \
			{ENC_E, size, 0, ARITH, 0, UNARY(mul)},                                 \
			{ENC_E, size, 0, ARITH, 0, UNARY(imul)},                                \
			{ENC_E, size, 0, 0, ROW_FAULTS, UNARY(div)},                            \
			{ENC_E, size, 0, 0, ROW_FAULTS, UNARY(idiv)},                           \
	}

static const struct row group_f6[8] = GROUP3(SIZE_B);
static const struct row group_f7[8] = GROUP3(SIZE_V);

static const struct row group_8f[8] = {
	{ENC_E, SIZE_V64, 0, 0, ROW_FAULTS, .reg = &form_pop_r, .mem = &form_pop_m},
};
static const struct row group_c6[8] = {{ENC_E_I, SIZE_B, 0, 0, 0, MI(mov)},
				       [1 ... 7] = {ENC_E_I, SIZE_B}}; /* #UD, once fetched */
static const struct row group_c7[8] = {{ENC_E_I, SIZE_V, 0, 0, 0, MI(mov)},
				       [1 ... 7] = {ENC_E_I, SIZE_V}};
static const struct row group_fe[8] = {
	{ENC_E, SIZE_B, OPF_C, NOT_C, 0, UNARY(inc), .lock = &form_lock_inc_m},
	{ENC_E, SIZE_B, OPF_C, NOT_C, 0, UNARY(dec), .lock = &form_lock_dec_m},
};
static const struct row group_ff[8] = {
	{ENC_E, SIZE_V, OPF_C, NOT_C, 0, UNARY(inc), .lock = &form_lock_inc_m},
	{ENC_E, SIZE_V, OPF_C, NOT_C, 0, UNARY(dec), .lock = &form_lock_dec_m},
	{ENC_E, SIZE_NEAR, 0, 0, ROW_ENDS | ROW_FAULTS, UNARY(call)},
	{ENC_SYSTEM},
	{ENC_E, SIZE_NEAR, 0, 0, ROW_ENDS | ROW_FAULTS, UNARY(jmp)},
	{ENC_SYSTEM},
	{ENC_E, SIZE_V64, 0, 0, ROW_FAULTS, UNARY(push)},
};

#define BIT_IMM(name, locked)                                               \
	{                                                                   \
		ENC_E_I8, SIZE_V, ARITH, OPF_C, 0, MI(name), .lock = locked \
	}
static const struct row group_ba[8] = {
	[0 ... 3] = {ENC_E_I8, SIZE_V}, /* #UD, once fetched */
	[4] = BIT_IMM(bt, NULL),
	[5] = BIT_IMM(bts, &form_lock_bts_mi),
	[6] = BIT_IMM(btr, &form_lock_btr_mi),
	[7] = BIT_IMM(btc, &form_lock_btc_mi),
};
static const struct row group_c7_0f[8] = {
	[1] = {ENC_E, SIZE_V, ARITH, OPF_Z, ROW_MEMORY | ROW_FAULTS, .mem = &form_cmpxchg8b,
	       .lock = &form_cmpxchg8b},
};

/* ---- rows by eights and sixteens ---- */

#define EIGHT(base, ...)                                                              \
	[base] = __VA_ARGS__, [base + 1] = __VA_ARGS__, [base + 2] = __VA_ARGS__,     \
	[base + 3] = __VA_ARGS__, [base + 4] = __VA_ARGS__, [base + 5] = __VA_ARGS__, \
	[base + 6] = __VA_ARGS__, [base + 7] = __VA_ARGS__

#define INC_O                                                              \
	{                                                                  \
		ENC_O, SIZE_V, OPF_C, NOT_C, ROW_NOT64, .reg = &form_inc_r \
	}
#define DEC_O                                                              \
	{                                                                  \
		ENC_O, SIZE_V, OPF_C, NOT_C, ROW_NOT64, .reg = &form_dec_r \
	}
#define PUSH_O                                                         \
	{                                                              \
		ENC_O, SIZE_V64, 0, 0, ROW_FAULTS, .reg = &form_push_r \
	}
#define POP_O                                                         \
	{                                                             \
		ENC_O, SIZE_V64, 0, 0, ROW_FAULTS, .reg = &form_pop_r \
	}
#define XCHG_O                                                 \
	{                                                      \
		ENC_A_O, SIZE_V, 0, 0, 0, .reg = &form_xchg_rr \
	}
#define MOV_OB                                                \
	{                                                     \
		ENC_O_I, SIZE_B, 0, 0, 0, .reg = &form_mov_ri \
	}
#define MOV_OV                                                \
	{                                                     \
		ENC_O_I, SIZE_V, 0, 0, 0, .reg = &form_mov_ri \
	}
#define BSWAP                                              \
	{                                                  \
		ENC_O, SIZE_V, 0, 0, 0, .reg = &form_bswap \
	}
#define X87                \
	{                  \
		ENC_VECTOR \
	}
#define HINT                                                               \
	{                                                                  \
		ENC_E, SIZE_V, 0, 0, 0, .reg = &form_nop, .mem = &form_nop \
	}

#define READS(n)                    \
	((n) < 2    ? OPF_O         \
	 : (n) < 4  ? OPF_C         \
	 : (n) < 6  ? OPF_Z         \
	 : (n) < 8  ? OPF_C | OPF_Z \
	 : (n) < 10 ? OPF_S         \
	 : (n) < 12 ? OPF_P         \
	 : (n) < 14 ? OPF_S | OPF_O \
		    : OPF_Z | OPF_S | OPF_O)
#define JCC8(n, cc)  [0x70 + n] = {ENC_J8, SIZE_NEAR, READS(n), 0, ROW_LINK, .reg = &form_jcc[n]},
#define JCC32(n, cc) [0x80 + n] = {ENC_J, SIZE_NEAR, READS(n), 0, ROW_LINK, .reg = &form_jcc[n]},
#define CMOV(n, cc)                            \
	[0x40 + n] = {ENC_G_E,                 \
		      SIZE_V,                  \
		      READS(n),                \
		      0,                       \
		      0,                       \
		      .reg = &form_cmov_rr[n], \
		      .mem = &form_cmov_rm[n]},
#define SETCC(n, cc)   \
	[0x90 + n] = { \
		ENC_E, SIZE_B, READS(n), 0, 0, .reg = &form_setcc_r[n], .mem = &form_setcc_m[n]},

#define SYSTEM             \
	{                  \
		ENC_SYSTEM \
	}
#define STRING(name, size, in, out)                                                    \
	{                                                                              \
		ENC_STRING, size, in, out, ROW_FAULTS | ROW_KEEPS, .reg = &form_##name \
	}
#define PLAIN(name, size, in, out)                               \
	{                                                        \
		ENC_PLAIN, size, in, out, 0, .reg = &form_##name \
	}
#define BCD(name, enc, in)                                                          \
	{                                                                           \
		enc, SIZE_B, in, ARITH, ROW_NOT64 | ROW_FAULTS, .reg = &form_##name \
	}
#define LOOPS(name, in)                                                 \
	{                                                               \
		ENC_J8, SIZE_ADDR, in, 0, ROW_LINK, .reg = &form_##name \
	}

/* clang-format off */
static const struct row one[256] = {
	ALU_ROWS(0x00, add, 0, ARITH, &form_lock_add_mr),
	ALU_ROWS(0x08, or, 0, ARITH, &form_lock_or_mr),
	ALU_ROWS(0x10, adc, OPF_C, ARITH, &form_lock_adc_mr),
	ALU_ROWS(0x18, sbb, OPF_C, ARITH, &form_lock_sbb_mr),
	ALU_ROWS(0x20, and, 0, ARITH, &form_lock_and_mr),
	ALU_ROWS(0x28, sub, 0, ARITH, &form_lock_sub_mr),
	ALU_ROWS(0x30, xor, 0, ARITH, &form_lock_xor_mr),
	ALU_ROWS(0x38, cmp, 0, ARITH, NULL),
	[0x06] = SYSTEM, [0x07] = SYSTEM, [0x0e] = SYSTEM, [0x16] = SYSTEM, [0x17] = SYSTEM,
	[0x1e] = SYSTEM, [0x1f] = SYSTEM,
	[0x27] = BCD(daa, ENC_PLAIN, OPF_C | OPF_A), [0x2f] = BCD(das, ENC_PLAIN, OPF_C | OPF_A),
	[0x37] = BCD(aaa, ENC_PLAIN, OPF_A), [0x3f] = BCD(aas, ENC_PLAIN, OPF_A),
	EIGHT(0x40, INC_O), EIGHT(0x48, DEC_O), EIGHT(0x50, PUSH_O), EIGHT(0x58, POP_O),
	[0x60] = {ENC_PLAIN, SIZE_V, 0, 0, ROW_NOT64 | ROW_FAULTS, .reg = &form_pusha},
	[0x61] = {ENC_PLAIN, SIZE_V, 0, 0, ROW_NOT64 | ROW_FAULTS, .reg = &form_popa},
	[0x62] = SYSTEM, [0x63] = SYSTEM, /* MOVSXD in 64-bit mode: opcode_row() */
	[0x68] = {ENC_I, SIZE_V64, 0, 0, ROW_FAULTS, .reg = &form_push_i},
	[0x69] = {ENC_G_E_I, SIZE_V, 0, ARITH, 0, .reg = &form_imul_rri, .mem = &form_imul_rmi},
	[0x6a] = {ENC_I8, SIZE_V64, 0, 0, ROW_FAULTS, .reg = &form_push_i},
	[0x6b] = {ENC_G_E_I, SIZE_V, 0, ARITH, 0, .reg = &form_imul_rri, .mem = &form_imul_rmi},
	[0x6c] = SYSTEM, [0x6d] = SYSTEM, [0x6e] = SYSTEM, [0x6f] = SYSTEM,
	CONDITIONS(JCC8)
	[0x80] = {ENC_GROUP, .group = group_80}, [0x81] = {ENC_GROUP, .group = group_81},
	[0x82] = {ENC_GROUP, .flags = ROW_NOT64, .group = group_80},
	[0x83] = {ENC_GROUP, .group = group_83},
	[0x84] = {ENC_E_G, SIZE_B, 0, ARITH, 0, MR(test)},
	[0x85] = {ENC_E_G, SIZE_V, 0, ARITH, 0, MR(test)},
	[0x86] = {ENC_E_G, SIZE_B, 0, 0, 0, .reg = &form_xchg_rr, .mem = &form_xchg_m,
		  .lock = &form_xchg_m},
	[0x87] = {ENC_E_G, SIZE_V, 0, 0, 0, .reg = &form_xchg_rr, .mem = &form_xchg_m,
		  .lock = &form_xchg_m},
	[0x88] = {ENC_E_G, SIZE_B, 0, 0, 0, MR(mov)}, [0x89] = {ENC_E_G, SIZE_V, 0, 0, 0, MR(mov)},
	[0x8a] = {ENC_G_E, SIZE_B, 0, 0, 0, RM(mov)}, [0x8b] = {ENC_G_E, SIZE_V, 0, 0, 0, RM(mov)},
	[0x8c] = SYSTEM, [0x8e] = SYSTEM,
	[0x8d] = {ENC_G_M, SIZE_V, 0, 0, ROW_MEMORY, .mem = &form_lea},
	[0x8f] = {ENC_GROUP, .group = group_8f},
	EIGHT(0x90, XCHG_O), /* 90 is NOP or PAUSE: opcode_row() */
	[0x98] = PLAIN(widen_acc, SIZE_V, 0, 0), [0x99] = PLAIN(widen_dx, SIZE_V, 0, 0),
	[0x9a] = SYSTEM, [0x9b] = X87, [0x9c] = SYSTEM, [0x9d] = SYSTEM,
	[0x9e] = PLAIN(sahf, SIZE_B, OPF_O, ARITH & ~OPF_O),
	[0x9f] = PLAIN(lahf, SIZE_B, ARITH, 0),
	[0xa0] = {ENC_MOFFS, SIZE_B, 0, 0, ROW_FAULTS, .reg = &form_mov_abs_load},
	[0xa1] = {ENC_MOFFS, SIZE_V, 0, 0, ROW_FAULTS, .reg = &form_mov_abs_load},
	[0xa2] = {ENC_MOFFS, SIZE_B, 0, 0, ROW_FAULTS, .reg = &form_mov_abs_store},
	[0xa3] = {ENC_MOFFS, SIZE_V, 0, 0, ROW_FAULTS, .reg = &form_mov_abs_store},
	[0xa4] = STRING(movs, SIZE_B, 0, 0), [0xa5] = STRING(movs, SIZE_V, 0, 0),
	[0xa6] = STRING(cmps, SIZE_B, ARITH, ARITH), [0xa7] = STRING(cmps, SIZE_V, ARITH, ARITH),
	[0xa8] = {ENC_A_I, SIZE_B, 0, ARITH, 0, .reg = &form_test_ri},
	[0xa9] = {ENC_A_I, SIZE_V, 0, ARITH, 0, .reg = &form_test_ri},
	[0xaa] = STRING(stos, SIZE_B, 0, 0), [0xab] = STRING(stos, SIZE_V, 0, 0),
	[0xac] = STRING(lods, SIZE_B, 0, 0), [0xad] = STRING(lods, SIZE_V, 0, 0),
	[0xae] = STRING(scas, SIZE_B, ARITH, ARITH), [0xaf] = STRING(scas, SIZE_V, ARITH, ARITH),
	EIGHT(0xb0, MOV_OB), EIGHT(0xb8, MOV_OV),
	[0xc0] = {ENC_GROUP, .group = group_c0}, [0xc1] = {ENC_GROUP, .group = group_c1},
	[0xc2] = {ENC_I16, SIZE_NEAR, 0, 0, ROW_ENDS | ROW_FAULTS, .reg = &form_ret_i},
	[0xc3] = {ENC_PLAIN, SIZE_NEAR, 0, 0, ROW_ENDS | ROW_FAULTS, .reg = &form_ret_i},
	[0xc4] = SYSTEM, [0xc5] = SYSTEM,
	[0xc6] = {ENC_GROUP, .group = group_c6}, [0xc7] = {ENC_GROUP, .group = group_c7},
	[0xc8] = {ENC_ENTER, SIZE_V64, 0, 0, ROW_FAULTS, .reg = &form_enter},
	[0xc9] = {ENC_PLAIN, SIZE_V64, 0, 0, ROW_FAULTS, .reg = &form_leave},
	[0xca ... 0xcf] = SYSTEM,
	[0xd0] = {ENC_GROUP, .group = group_d0}, [0xd1] = {ENC_GROUP, .group = group_d1},
	[0xd2] = {ENC_GROUP, .group = group_d2}, [0xd3] = {ENC_GROUP, .group = group_d3},
	[0xd4] = BCD(aam, ENC_I8, 0), [0xd5] = BCD(aad, ENC_I8, 0),
	[0xd6] = {ENC_PLAIN, SIZE_B, OPF_C, 0, ROW_NOT64, .reg = &form_salc},
	[0xd7] = {ENC_XLAT, SIZE_B, 0, 0, ROW_FAULTS, .reg = &form_xlat},
	EIGHT(0xd8, X87),
	[0xe0] = LOOPS(loopne, OPF_Z), [0xe1] = LOOPS(loope, OPF_Z), [0xe2] = LOOPS(loop, 0),
	[0xe3] = LOOPS(jcxz, 0),
	[0xe4] = SYSTEM, [0xe5] = SYSTEM, [0xe6] = SYSTEM, [0xe7] = SYSTEM,
	[0xe8] = {ENC_J, SIZE_NEAR, 0, 0, ROW_ENDS | ROW_LINK | ROW_FAULTS, .reg = &form_call},
	[0xe9] = {ENC_J, SIZE_NEAR, 0, 0, ROW_ENDS | ROW_LINK, .reg = &form_jmp},
	[0xea] = SYSTEM,
	[0xeb] = {ENC_J8, SIZE_NEAR, 0, 0, ROW_ENDS | ROW_LINK, .reg = &form_jmp},
	[0xec] = SYSTEM, [0xed] = SYSTEM, [0xee] = SYSTEM, [0xef] = SYSTEM,
	[0xf1] = SYSTEM, [0xf4] = SYSTEM,
	[0xf5] = PLAIN(cmc, SIZE_B, OPF_C, OPF_C),
	[0xf6] = {ENC_GROUP, .group = group_f6}, [0xf7] = {ENC_GROUP, .group = group_f7},
	[0xf8] = PLAIN(clc, SIZE_B, ARITH & ~OPF_C, OPF_C),
	[0xf9] = PLAIN(stc, SIZE_B, ARITH & ~OPF_C, OPF_C),
	[0xfa] = SYSTEM, [0xfb] = SYSTEM,
	[0xfc] = PLAIN(cld, SIZE_B, 0, 0), [0xfd] = PLAIN(std, SIZE_B, 0, 0),
	[0xfe] = {ENC_GROUP, .group = group_fe}, [0xff] = {ENC_GROUP, .group = group_ff},
};

#define BITS(name, locked) {ENC_E_G, SIZE_V, ARITH, OPF_C, 0, MR(name), .lock = locked}
#define DOUBLE(name, enc, how)                                                                \
	{enc, SIZE_V, ARITH, ARITH, 0, .reg = &form_##name##_r##how, .mem = &form_##name##_m##how}
#define EXTEND(name, from) {ENC_G_E, SIZE_V, 0, 0, from, RM(name)}
#define SWAPPED(name, size)                                                                   \
	{ENC_E_G, size, 0, ARITH, 0, .reg = &form_##name##_rr, .mem = &form_##name##_m,       \
	 .lock = &form_lock_##name##_m}

static const struct row two[256] = {
	[0x00 ... 0x03] = SYSTEM, [0x05 ... 0x09] = SYSTEM,
	[0x0d] = HINT, [0x10 ... 0x17] = {ENC_VECTOR}, EIGHT(0x18, HINT),
	[0x20 ... 0x23] = SYSTEM, [0x28 ... 0x2f] = {ENC_VECTOR}, [0x30 ... 0x35] = SYSTEM,
	CONDITIONS(CMOV)
	[0x50 ... 0x7f] = {ENC_VECTOR},
	CONDITIONS(JCC32)
	CONDITIONS(SETCC)
	[0xa0 ... 0xa2] = SYSTEM, [0xa8 ... 0xa9] = SYSTEM,
	[0xa3] = BITS(bt, NULL), [0xab] = BITS(bts, &form_lock_bts_mr),
	[0xb3] = BITS(btr, &form_lock_btr_mr), [0xbb] = BITS(btc, &form_lock_btc_mr),
	[0xa4] = DOUBLE(shld, ENC_E_G_I8, i), [0xa5] = DOUBLE(shld, ENC_E_G, c),
	[0xac] = DOUBLE(shrd, ENC_E_G_I8, i), [0xad] = DOUBLE(shrd, ENC_E_G, c),
	[0xa6 ... 0xa7] = {ENC_E, SIZE_V}, /* #UD, once fetched */
	[0xae] = {ENC_VECTOR}, /* and the bases of FS and GS: opcode_row() */
	[0xaf] = {ENC_G_E, SIZE_V, 0, ARITH, 0, RM(imul)},
	[0xb0] = SWAPPED(cmpxchg, SIZE_B), [0xb1] = SWAPPED(cmpxchg, SIZE_V),
	[0xb2] = SYSTEM, [0xb4] = SYSTEM, [0xb5] = SYSTEM,
	[0xb6] = EXTEND(movzx8, ROW_SRC_B), [0xb7] = EXTEND(movzx16, ROW_SRC_W),
	[0xba] = {ENC_GROUP, .group = group_ba},
	[0xbc] = {ENC_G_E, SIZE_V, 0, ARITH, 0, RM(bsf)},
	[0xbd] = {ENC_G_E, SIZE_V, 0, ARITH, 0, RM(bsr)},
	[0xbe] = EXTEND(movsx8, ROW_SRC_B), [0xbf] = EXTEND(movsx16, ROW_SRC_W),
	[0xc0] = SWAPPED(xadd, SIZE_B), [0xc1] = SWAPPED(xadd, SIZE_V),
	[0xc2 ... 0xc6] = {ENC_VECTOR},
	[0xc7] = {ENC_GROUP, .group = group_c7_0f},
	EIGHT(0xc8, BSWAP),
	[0xd0 ... 0xfe] = {ENC_VECTOR},
};
/* clang-format on */

static const struct row vector = {ENC_VECTOR};
static const struct row system_row = {ENC_SYSTEM};
static const struct row none = {ENC_NONE};
static const struct row unknown = {ENC_E, SIZE_V}; /* #UD, once ModRM is fetched */
static const struct row nop = {ENC_PLAIN, SIZE_V, 0, 0, 0, .reg = &form_nop};
static const struct row relax = {ENC_PLAIN, SIZE_V, 0, 0, 0, .reg = &form_pause};
static const struct row movsxd = EXTEND(movsx32, 0);
static const struct row popcnt = {ENC_G_E, SIZE_V, 0, ARITH, 0, RM(popcnt)};
static const struct row crc_b = {ENC_G_E, SIZE_B, 0, 0, 0, RM(crc32)};
static const struct row crc_v = {ENC_G_E, SIZE_V, 0, 0, 0, RM(crc32)};

static const struct row *one_row(const struct decoder *d)
{
	if (d->opcode == 0x63 && decode_is64(d))
		return d->log2 == 1 ? &one[0x8b] : &movsxd; /* of 16 bits it is a MOV */
	if (d->opcode == 0x90 && (d->rep || (d->rex & 1) == 0)) /* REX.B makes no XCHG of PAUSE */
		return d->rep ? &relax : &nop;
	return &one[d->opcode];
}

static const struct row *two_row(const struct decoder *d)
{
	if (d->opcode == 0xb8)
		return d->rep ? &popcnt : &unknown;
	if (d->opcode == 0xae && d->rep && d->at < d->n && d->bytes[d->at] >= 0xc0 &&
	    d->bytes[d->at] < 0xe0)
		return &system_row;
	return &two[d->opcode];
}

const struct row *opcode_row(const struct decoder *d)
{
	switch ((enum decode_map)d->map) {
	case MAP_ONE:
		return one_row(d);
	case MAP_0F:
		return two_row(d);
	case MAP_0F38:
		if ((d->opcode & 0xfe) == 0xf0)
			return !d->repne ? &unknown : d->opcode == 0xf0 ? &crc_b : &crc_v;
		return &vector;
	case MAP_0F3A:
		return &vector;
	case MAP_COUNT:
		break;
	}
	return &none;
}
