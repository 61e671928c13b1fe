/*
 * Kernels of the SSE instructions that do not fit a row of sse.def: between vectors and general
 * registers, comparisons into flags, inserts and extracts. Each is the host's instruction or a
 * plain move; the handlers in sse_*.c give them operands.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/cpu/vec.h"

/* ---- flags of a comparison ---- */

#define SSE_FLAG_CF 0x001u
#define SSE_FLAG_PF 0x004u
#define SSE_FLAG_ZF 0x040u
#define SSE_FLAGS   0x8d5u /* the six that comparisons set or clear */

#define SSE_COMPARE(name)                                                                     \
	static inline uint32_t sse_k_##name(vec a, vec b)                                     \
	{                                                                                     \
		bool z, p, c;                                                                 \
                                                                                              \
		__asm__ volatile(#name " %4, %3"                                              \
				 : "=@ccz"(z), "=@ccp"(p), "=@ccc"(c)                         \
				 : "x"(a), "x"(b));                                           \
		return (z ? SSE_FLAG_ZF : 0) | (p ? SSE_FLAG_PF : 0) | (c ? SSE_FLAG_CF : 0); \
	}

SSE_COMPARE(comiss)
SSE_COMPARE(comisd)
SSE_COMPARE(ucomiss)
SSE_COMPARE(ucomisd)

/* ZF: no bit of b is set in a; CF: every one is. */
static inline uint32_t sse_k_ptest(vec a, vec b)
{
	bool z, c;

	__asm__("ptest %3, %2" : "=@ccz"(z), "=@ccc"(c) : "x"(a), "x"(b));
	return (z ? SSE_FLAG_ZF : 0) | (c ? SSE_FLAG_CF : 0);
}

/* ---- to and from general registers ---- */

#define SSE_TO_INT(name, type, insn)                                 \
	static inline uint64_t sse_k_##name(vec s)                   \
	{                                                            \
		type r;                                              \
                                                                     \
		__asm__ volatile(insn " %1, %0" : "=r"(r) : "x"(s)); \
		return r;                                            \
	}

SSE_TO_INT(cvtss2si_32, uint32_t, "cvtss2si")
SSE_TO_INT(cvtss2si_64, uint64_t, "cvtss2si")
SSE_TO_INT(cvttss2si_32, uint32_t, "cvttss2si")
SSE_TO_INT(cvttss2si_64, uint64_t, "cvttss2si")
SSE_TO_INT(cvtsd2si_32, uint32_t, "cvtsd2si")
SSE_TO_INT(cvtsd2si_64, uint64_t, "cvtsd2si")
SSE_TO_INT(cvttsd2si_32, uint32_t, "cvttsd2si")
SSE_TO_INT(cvttsd2si_64, uint64_t, "cvttsd2si")
SSE_TO_INT(movmskps, uint32_t, "movmskps")
SSE_TO_INT(movmskpd, uint32_t, "movmskpd")
SSE_TO_INT(pmovmskb, uint32_t, "pmovmskb")

#define SSE_FROM_INT(name, type, insn)                               \
	static inline vec sse_k_##name(vec d, uint64_t from)         \
	{                                                            \
		type s = (type)from;                                 \
                                                                     \
		__asm__ volatile(insn " %1, %0" : "+x"(d) : "r"(s)); \
		return d;                                            \
	}

SSE_FROM_INT(cvtsi2ss_32, uint32_t, "cvtsi2ssl")
SSE_FROM_INT(cvtsi2ss_64, uint64_t, "cvtsi2ssq")
SSE_FROM_INT(cvtsi2sd_32, uint32_t, "cvtsi2sdl")
SSE_FROM_INT(cvtsi2sd_64, uint64_t, "cvtsi2sdq")

/* ---- parts ---- */

typedef uint8_t vec_u8 __attribute__((vector_size(16), may_alias));
typedef uint16_t vec_u16 __attribute__((vector_size(16), may_alias));
typedef uint32_t vec_u32 __attribute__((vector_size(16), may_alias));
typedef uint64_t vec_u64 __attribute__((vector_size(16), may_alias));

static inline vec vec_low64(uint64_t v)
{
	return (vec){(long long)v, 0};
}

static inline vec vec_low32(uint32_t v)
{
	return (vec){v, 0};
}

/* INSERTPS: imm 7:6 chooses in the source (a register), 5:4 in the destination, 3:0 zeroes. */
static inline vec sse_k_insertps(vec d, uint32_t element, unsigned imm)
{
	vec_u32 r = (vec_u32)d;

	r[imm >> 4 & 3] = element;
	for (unsigned i = 0; i < 4; i++)
		if (imm >> i & 1)
			r[i] = 0;
	return (vec)r;
}

/* The variable blends choose by the top bits of XMM0. */
#define SSE_BLEND(name)                                                 \
	static inline vec sse_k_##name(vec d, vec s, vec mask)          \
	{                                                               \
		register vec xmm0 __asm__("xmm0") = mask;               \
                                                                        \
		__asm__(#name " %1, %0" : "+x"(d) : "x"(s), "x"(xmm0)); \
		return d;                                               \
	}

SSE_BLEND(pblendvb)
SSE_BLEND(blendvps)
SSE_BLEND(blendvpd)
