/*
 * Handlers of the SSE instructions that are neither rows of sse.def nor moves: conversions to and
 * from integers, comparisons into flags, inserts and extracts, shifts by an immediate, variable
 * blends, string comparison, masked stores, and AES, PCLMULQDQ, SHA.
 */
#include "virt/vm/cpu/crypto.h"
#include "virt/vm/cpu/sse_scalar.h"
#include "virt/vm/cpu/vec_op.h"

/* ---- conversions ---- */

#define TO_INT(name, load)                                \
	VEC_OP(sse_##name##_reg)                          \
	{                                                 \
		uint64_t r;                               \
                                                          \
		VEC_FP_INT(r, sse_k_##name(XMM(o->src))); \
		R64(o->dst) = r;                          \
		NEXT;                                     \
	}                                                 \
	VEC_OP(sse_##name##_mem)                          \
	{                                                 \
		uint64_t r;                               \
		vec s;                                    \
                                                          \
		VEC_LOAD_LOW(s, load);                    \
		VEC_FP_INT(r, sse_k_##name(s));           \
		R64(o->dst) = r;                          \
		NEXT;                                     \
	}

TO_INT(cvtss2si_32, 32)
TO_INT(cvtss2si_64, 32)
TO_INT(cvttss2si_32, 32)
TO_INT(cvttss2si_64, 32)
TO_INT(cvtsd2si_32, 64)
TO_INT(cvtsd2si_64, 64)
TO_INT(cvttsd2si_32, 64)
TO_INT(cvttsd2si_64, 64)

#define FROM_INT(name, load)                                                \
	VEC_OP(sse_##name##_reg)                                            \
	{                                                                   \
		vec r;                                                      \
                                                                            \
		VEC_FP(SSE_NUM, r, sse_k_##name(XMM(o->dst), R64(o->src))); \
		XMM(o->dst) = r;                                            \
		NEXT;                                                       \
	}                                                                   \
	VEC_OP(sse_##name##_mem)                                            \
	{                                                                   \
		vec r;                                                      \
		LOAD(load, s, ea_of(c, o));                                 \
		VEC_FP(SSE_NUM, r, sse_k_##name(XMM(o->dst), s));           \
		XMM(o->dst) = r;                                            \
		NEXT;                                                       \
	}

FROM_INT(cvtsi2ss_32, 32)
FROM_INT(cvtsi2ss_64, 64)
FROM_INT(cvtsi2sd_32, 32)
FROM_INT(cvtsi2sd_64, 64)

/* ---- comparisons into flags ---- */

#define COMPARE(name, load)                                            \
	VEC_OP(sse_##name##_reg)                                       \
	{                                                              \
		uint64_t f;                                            \
                                                                       \
		VEC_FP_INT(f, sse_k_##name(XMM(o->dst), XMM(o->src))); \
		SET_ARITH(f);                                          \
		NEXT;                                                  \
	}                                                              \
	VEC_OP(sse_##name##_mem)                                       \
	{                                                              \
		uint64_t f;                                            \
		vec s;                                                 \
                                                                       \
		VEC_LOAD_LOW(s, load);                                 \
		VEC_FP_INT(f, sse_k_##name(XMM(o->dst), s));           \
		SET_ARITH(f);                                          \
		NEXT;                                                  \
	}

COMPARE(comiss, 32)
COMPARE(comisd, 64)
COMPARE(ucomiss, 32)
COMPARE(ucomisd, 64)

VEC_OP(sse_ptest_reg)
{
	SET_ARITH(sse_k_ptest(XMM(o->dst), XMM(o->src)));
	NEXT;
}

VEC_OP(sse_ptest_mem)
{
	vec s;

	VEC_LOAD_ALIGNED(s);
	SET_ARITH(sse_k_ptest(XMM(o->dst), s));
	NEXT;
}

/* ---- inserts and extracts ---- */

VEC_OP(sse_pinsrb_reg)
{
	vec_u8 d = (vec_u8)XMM(o->dst);

	d[IMM8 & 15] = (uint8_t)R64(o->src);
	XMM(o->dst) = (vec)d;
	NEXT;
}

VEC_OP(sse_pinsrb_mem)
{
	vec_u8 d = (vec_u8)XMM(o->dst);
	LOAD(8, s, ea_of(c, o));
	d[IMM8 & 15] = s;
	XMM(o->dst) = (vec)d;
	NEXT;
}

VEC_OP(sse_pinsrw_reg)
{
	vec_u16 d = (vec_u16)XMM(o->dst);

	d[IMM8 & 7] = (uint16_t)R64(o->src);
	XMM(o->dst) = (vec)d;
	NEXT;
}

VEC_OP(sse_pinsrw_mem)
{
	vec_u16 d = (vec_u16)XMM(o->dst);
	LOAD(16, s, ea_of(c, o));
	d[IMM8 & 7] = s;
	XMM(o->dst) = (vec)d;
	NEXT;
}

VEC_OP(sse_pinsrd_reg)
{
	vec_u32 d = (vec_u32)XMM(o->dst);

	d[IMM8 & 3] = (uint32_t)R64(o->src);
	XMM(o->dst) = (vec)d;
	NEXT;
}

VEC_OP(sse_pinsrd_mem)
{
	vec_u32 d = (vec_u32)XMM(o->dst);
	LOAD(32, s, ea_of(c, o));
	d[IMM8 & 3] = s;
	XMM(o->dst) = (vec)d;
	NEXT;
}

VEC_OP(sse_pinsrq_reg)
{
	XMM(o->dst)[IMM8 & 1] = (long long)R64(o->src);
	NEXT;
}

VEC_OP(sse_pinsrq_mem)
{
	LOAD(64, s, ea_of(c, o));
	XMM(o->dst)[IMM8 & 1] = (long long)s;
	NEXT;
}

VEC_OP(sse_insertps_reg)
{
	uint32_t element = ((vec_u32)XMM(o->src))[IMM8 >> 6 & 3];

	XMM(o->dst) = sse_k_insertps(XMM(o->dst), element, IMM8);
	NEXT;
}

VEC_OP(sse_insertps_mem)
{
	LOAD(32, element, ea_of(c, o));
	XMM(o->dst) = sse_k_insertps(XMM(o->dst), element, IMM8);
	NEXT;
}

VEC_OP(sse_pextrb_reg)
{
	R64(o->dst) = ((vec_u8)XMM(o->src))[IMM8 & 15];
	NEXT;
}

VEC_OP(sse_pextrb_mem)
{
	STORE(8, ea_of(c, o), ((vec_u8)XMM(o->src))[IMM8 & 15]);
	NEXT;
}

VEC_OP(sse_pextrw_reg)
{
	R64(o->dst) = ((vec_u16)XMM(o->src))[IMM8 & 7];
	NEXT;
}

VEC_OP(sse_pextrw_mem)
{
	STORE(16, ea_of(c, o), ((vec_u16)XMM(o->src))[IMM8 & 7]);
	NEXT;
}

VEC_OP(sse_pextrd_reg) /* and EXTRACTPS */
{
	R64(o->dst) = ((vec_u32)XMM(o->src))[IMM8 & 3];
	NEXT;
}

VEC_OP(sse_pextrd_mem)
{
	STORE(32, ea_of(c, o), ((vec_u32)XMM(o->src))[IMM8 & 3]);
	NEXT;
}

VEC_OP(sse_pextrq_reg)
{
	R64(o->dst) = (uint64_t)XMM(o->src)[IMM8 & 1];
	NEXT;
}

VEC_OP(sse_pextrq_mem)
{
	STORE(64, ea_of(c, o), (uint64_t)XMM(o->src)[IMM8 & 1]);
	NEXT;
}

/* ---- shifts by an immediate: the same kernels with the count as a vector ---- */

#define SHIFT(name)                                                       \
	VEC_OP(sse_##name##_imm)                                          \
	{                                                                 \
		XMM(o->dst) = sse_k_##name(XMM(o->dst), vec_low64(IMM8)); \
		NEXT;                                                     \
	}

SHIFT(psrlw)
SHIFT(psrld)
SHIFT(psrlq)
SHIFT(psraw)
SHIFT(psrad)
SHIFT(psllw)
SHIFT(pslld)
SHIFT(psllq)

/* Bytes: an alignment with zero on the other side. */
VEC_OP(sse_psrldq_imm)
{
	unsigned n = IMM8 < 16 ? IMM8 : 16;

	XMM(o->dst) = sse_stub(sse_stub_palignr, n)((vec){0, 0}, XMM(o->dst));
	NEXT;
}

VEC_OP(sse_pslldq_imm)
{
	unsigned n = IMM8 < 16 ? IMM8 : 16;

	XMM(o->dst) = sse_stub(sse_stub_palignr, 16 - n)(XMM(o->dst), (vec){0, 0});
	NEXT;
}

/* ---- by XMM0 ---- */

#define BLEND(name)                                                           \
	VEC_OP(sse_##name##_reg)                                              \
	{                                                                     \
		XMM(o->dst) = sse_k_##name(XMM(o->dst), XMM(o->src), XMM(0)); \
		NEXT;                                                         \
	}                                                                     \
	VEC_OP(sse_##name##_mem)                                              \
	{                                                                     \
		vec s;                                                        \
                                                                              \
		VEC_LOAD_ALIGNED(s);                                          \
		XMM(o->dst) = sse_k_##name(XMM(o->dst), s, XMM(0));           \
		NEXT;                                                         \
	}

BLEND(pblendvb)
BLEND(blendvps)
BLEND(blendvpd)

/* ---- AES, PCLMULQDQ, SHA ---- */

#define CRYPTO(name, ...)                                                           \
	VEC_OP(sse_##name##_reg)                                                    \
	{                                                                           \
		XMM(o->dst) = crypto.name(XMM(o->dst), XMM(o->src), ##__VA_ARGS__); \
		NEXT;                                                               \
	}                                                                           \
	VEC_OP(sse_##name##_mem)                                                    \
	{                                                                           \
		vec s;                                                              \
                                                                                    \
		VEC_LOAD_ALIGNED(s);                                                \
		XMM(o->dst) = crypto.name(XMM(o->dst), s, ##__VA_ARGS__);           \
		NEXT;                                                               \
	}

CRYPTO(aesenc)
CRYPTO(aesenclast)
CRYPTO(aesdec)
CRYPTO(aesdeclast)
CRYPTO(aesimc)
CRYPTO(aeskeygenassist, IMM8)
CRYPTO(pclmulqdq, IMM8)
CRYPTO(sha1rnds4, IMM8)
CRYPTO(sha1nexte)
CRYPTO(sha1msg1)
CRYPTO(sha1msg2)
CRYPTO(sha256rnds2, XMM(0))
CRYPTO(sha256msg1)
CRYPTO(sha256msg2)
