/*
 * Handlers of the MMX instructions: two for each row of mmx.def, the moves, and what has an
 * immediate. The registers are slots of the x87 image (fpu.h); they are computed with on the
 * host's first MMX register, which is free then.
 */
#include "virt/vm/cpu/sse_scalar.h"
#include "virt/vm/cpu/sys.h"
#include "virt/vm/cpu/vec_op.h"

#define MM(n)	      fpu_mmx_get(&c->fpu, (n))
#define MM_SET(n, v_) fpu_mmx_set(&c->fpu, (n), (v_))

/*
 * The unit becomes MMX registers, unless an exception of x87 waits. With a memory operand that is
 * asked first and done last: a fault in between leaves the unit as it was.
 */
#define MMX_ENTER           \
	do {                \
		MMX_ASK;    \
		MMX_BECOME; \
	} while (0)

#define MMX_ASK                                                          \
	do {                                                             \
		if (unlikely(c->fpu.home != FPU_MMX) && !vec_mmx_may(c)) \
			FAULT(VECTOR_MF, -1);                            \
	} while (0)

#define MMX_BECOME                                    \
	do {                                          \
		if (unlikely(c->fpu.home != FPU_MMX)) \
			fpu_to_mmx(&c->fpu);          \
	} while (0)

/* Before a store. One that faults has already reset the top of the stack, but not the tags. */
#define MMX_PROBE(bytes)                                                               \
	do {                                                                           \
		MMX_ASK;                                                               \
		if (unlikely(c->fpu.home != FPU_MMX) && !probe(c, ea_of(c, o), bytes)) \
			FAULTED;                                                       \
		MMX_BECOME;                                                            \
	} while (0)

static bool probe(struct cpu *c, uint64_t at, unsigned bytes)
{
	if (mmu_probe_write(c, at, bytes))
		return true;
	fpu_top_zero(&c->fpu);
	return false;
}

#define MMX_OP(name, map, opcode, mem)                                          \
	static inline uint64_t mmx_k_##name(uint64_t d, uint64_t s)             \
	{                                                                       \
		__asm__ volatile("movq %0, %%mm0\n\t"                           \
				 "movq %1, %%mm1\n\t" #name " %%mm1, %%mm0\n\t" \
				 "movq %%mm0, %0"                               \
				 : "+r"(d)                                      \
				 : "r"(s)                                       \
				 : "mm0", "mm1");                               \
		return d;                                                       \
	}                                                                       \
	VEC_OP(mmx_##name##_reg)                                                \
	{                                                                       \
		MMX_ENTER;                                                      \
		MM_SET(o->dst, mmx_k_##name(MM(o->dst), MM(o->src)));           \
		NEXT;                                                           \
	}                                                                       \
	VEC_OP(mmx_##name##_mem)                                                \
	{                                                                       \
		MMX_ASK;                                                        \
		LOAD(mem, s, ea_of(c, o));                                      \
		MMX_BECOME;                                                     \
		MM_SET(o->dst, mmx_k_##name(MM(o->dst), s));                    \
		NEXT;                                                           \
	}
#include "virt/vm/cpu/mmx.def"

/* Shifts by an immediate. */
#define SHIFT(name)                                             \
	VEC_OP(mmx_##name##_imm)                                \
	{                                                       \
		MMX_ENTER;                                      \
		MM_SET(o->dst, mmx_k_##name(MM(o->dst), IMM8)); \
		NEXT;                                           \
	}

SHIFT(psrlw)
SHIFT(psrld)
SHIFT(psrlq)
SHIFT(psraw)
SHIFT(psrad)
SHIFT(psllw)
SHIFT(pslld)
SHIFT(psllq)

/* ---- moves ---- */

VEC_OP(mmx_emms)
{
	if (fpu_waits(&c->fpu) && (c->cr0 & CR0_NE))
		FAULT(VECTOR_MF, -1);
	fpu_emms(&c->fpu);
	NEXT;
}

VEC_OP(mmx_mov_reg) /* MOVQ mm, mm */
{
	MMX_ENTER;
	MM_SET(o->dst, MM(o->src));
	NEXT;
}

VEC_OP(mmx_mov4_load)
{
	MMX_ASK;
	LOAD(32, s, ea_of(c, o));
	MMX_BECOME;
	MM_SET(o->dst, s);
	NEXT;
}

VEC_OP(mmx_mov8_load)
{
	MMX_ASK;
	LOAD(64, s, ea_of(c, o));
	MMX_BECOME;
	MM_SET(o->dst, s);
	NEXT;
}

VEC_OP(mmx_mov4_store)
{
	MMX_PROBE(4);
	STORE(32, ea_of(c, o), (uint32_t)MM(o->src));
	NEXT;
}

VEC_OP(mmx_mov8_store) /* and MOVNTQ */
{
	MMX_PROBE(8);
	STORE(64, ea_of(c, o), MM(o->src));
	NEXT;
}

VEC_OP(mmx_movd_from_gpr)
{
	MMX_ENTER;
	MM_SET(o->dst, R32(o->src));
	NEXT;
}

VEC_OP(mmx_movq_from_gpr)
{
	MMX_ENTER;
	MM_SET(o->dst, R64(o->src));
	NEXT;
}

VEC_OP(mmx_movd_to_gpr)
{
	MMX_ENTER;
	R64(o->dst) = (uint32_t)MM(o->src);
	NEXT;
}

VEC_OP(mmx_movq_to_gpr)
{
	MMX_ENTER;
	R64(o->dst) = MM(o->src);
	NEXT;
}

VEC_OP(mmx_movq2dq)
{
	MMX_ENTER;
	XMM(o->dst) = vec_low64(MM(o->src));
	NEXT;
}

VEC_OP(mmx_movdq2q)
{
	MMX_ENTER;
	MM_SET(o->dst, (uint64_t)XMM(o->src)[0]);
	NEXT;
}

VEC_OP(mmx_pmovmskb)
{
	MMX_ENTER;
	R64(o->dst) = sse_k_pmovmskb(vec_low64(MM(o->src))) & 0xff;
	NEXT;
}

/* Bytes of mm whose mask has its top bit set, to (R)DI. */
VEC_OP(mmx_maskmovq)
{
	{
		uint64_t v;
		unsigned mask;

		MMX_ENTER;
		v = MM(o->dst);
		mask = (unsigned)sse_k_pmovmskb(vec_low64(MM(o->src)));
		if (!vec_store_masked(c, ea_of(c, o), (const uint8_t *)&v, mask, 8))
			FAULTED;
	}
	NEXT;
}

/* ---- immediates ---- */

static uint64_t shuffled(uint64_t s, unsigned imm)
{
	uint64_t r = 0;

	for (unsigned i = 0; i < 4; i++)
		r |= (s >> (16 * (imm >> (2 * i) & 3)) & 0xffff) << (16 * i);
	return r;
}

VEC_OP(mmx_pshufw_reg)
{
	MMX_ENTER;
	MM_SET(o->dst, shuffled(MM(o->src), IMM8));
	NEXT;
}

VEC_OP(mmx_pshufw_mem)
{
	MMX_ASK;
	LOAD(64, s, ea_of(c, o));
	MMX_BECOME;
	MM_SET(o->dst, shuffled(s, IMM8));
	NEXT;
}

static uint64_t inserted(uint64_t d, uint16_t word, unsigned imm)
{
	unsigned shift = 16 * (imm & 3);

	return (d & ~(0xffffull << shift)) | (uint64_t)word << shift;
}

VEC_OP(mmx_pinsrw_reg)
{
	MMX_ENTER;
	MM_SET(o->dst, inserted(MM(o->dst), R16(o->src), IMM8));
	NEXT;
}

VEC_OP(mmx_pinsrw_mem)
{
	MMX_ASK;
	LOAD(16, s, ea_of(c, o));
	MMX_BECOME;
	MM_SET(o->dst, inserted(MM(o->dst), s, IMM8));
	NEXT;
}

VEC_OP(mmx_pextrw)
{
	MMX_ENTER;
	R64(o->dst) = MM(o->src) >> (16 * (IMM8 & 3)) & 0xffff;
	NEXT;
}

/* 8 bytes out of destination and source side by side, from byte `imm` of the source on. */
static uint64_t aligned(uint64_t d, uint64_t s, unsigned imm)
{
	if (imm >= 16)
		return 0;
	if (imm >= 8)
		return d >> (8 * (imm - 8));
	return imm ? s >> (8 * imm) | d << (64 - 8 * imm) : s;
}

VEC_OP(mmx_palignr_reg)
{
	MMX_ENTER;
	MM_SET(o->dst, aligned(MM(o->dst), MM(o->src), IMM8));
	NEXT;
}

VEC_OP(mmx_palignr_mem)
{
	MMX_ASK;
	LOAD(64, s, ea_of(c, o));
	MMX_BECOME;
	MM_SET(o->dst, aligned(MM(o->dst), s, IMM8));
	NEXT;
}

/*
 * ---- conversions with XMM: those between XMM registers, on a low half whose upper one is zero,
 * so that it raises nothing ----
 */

#define LOW_8(s)     vec_low64((uint64_t)(s)[0])
#define WHOLE(s)     (s)
#define LOAD_LOW8(s) VEC_LOAD_LOW(s, 64)

#define TO_MMX(name, kernel, part, load)                                     \
	VEC_OP(mmx_##name##_reg)                                             \
	{                                                                    \
		vec r;                                                       \
                                                                             \
		MMX_ENTER;                                                   \
		VEC_FP(SSE_NUM, r, kernel(vec_low64(0), part(XMM(o->src)))); \
		MM_SET(o->dst, (uint64_t)r[0]);                              \
		NEXT;                                                        \
	}                                                                    \
	VEC_OP(mmx_##name##_mem)                                             \
	{                                                                    \
		vec r, s;                                                    \
                                                                             \
		MMX_ASK;                                                     \
		load(s);                                                     \
		MMX_BECOME;                                                  \
		VEC_FP(SSE_NUM, r, kernel(vec_low64(0), s));                 \
		MM_SET(o->dst, (uint64_t)r[0]);                              \
		NEXT;                                                        \
	}

TO_MMX(cvtps2pi, sse_k_cvtps2dq, LOW_8, LOAD_LOW8)
TO_MMX(cvttps2pi, sse_k_cvttps2dq, LOW_8, LOAD_LOW8)
TO_MMX(cvtpd2pi, sse_k_cvtpd2dq, WHOLE, VEC_LOAD_ALIGNED)
TO_MMX(cvttpd2pi, sse_k_cvttpd2dq, WHOLE, VEC_LOAD_ALIGNED)

VEC_OP(mmx_cvtpi2ps_reg)
{
	vec r;

	MMX_ENTER;
	VEC_FP(SSE_NUM, r, sse_k_cvtdq2ps(vec_low64(0), vec_low64(MM(o->src))));
	XMM(o->dst)[0] = r[0];
	NEXT;
}

VEC_OP(mmx_cvtpi2pd_reg)
{
	MMX_ENTER;
	XMM(o->dst) = sse_k_cvtdq2pd(vec_low64(0), vec_low64(MM(o->src)));
	NEXT;
}

/* From memory no MMX register is used, and the unit stays what it is. */
VEC_OP(mmx_cvtpi2ps_mem)
{
	vec r;

	LOAD(64, s, ea_of(c, o));
	VEC_FP(SSE_NUM, r, sse_k_cvtdq2ps(vec_low64(0), vec_low64(s)));
	XMM(o->dst)[0] = r[0];
	NEXT;
}

VEC_OP(mmx_cvtpi2pd_mem)
{
	LOAD(64, s, ea_of(c, o));
	XMM(o->dst) = sse_k_cvtdq2pd(vec_low64(0), vec_low64(s));
	NEXT;
}

/* ---- where the unit is switched off ---- */

VEC_OP(mmx_off)
{
	FAULT(c->cr0 & CR0_EM ? VECTOR_UD : VECTOR_NM, -1);
}
