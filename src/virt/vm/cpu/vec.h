/*
 * Vectors as C values, the computing parts ("kernels") of the SSE rows in sse.def, and the host's
 * MXCSR. A kernel is the host's own instruction on two values; those with an immediate go through
 * a table of stubs, one instruction each, because the immediate is part of its bytes.
 *
 * A vCPU thread runs with the guest's MXCSR loaded and all exceptions masked: the sticky flags
 * gather in the host's register, and the guest's masks are kept beside. Nothing else in a vCPU
 * thread may compute in floating point.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef long long vec __attribute__((vector_size(16), may_alias));
typedef vec (*vec_kernel)(vec d, vec s);

#define MXCSR_FLAGS 0x003fu
#define MXCSR_DAZ   0x0040u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_FTZ   0x8000u
#define MXCSR_VALID 0xffffu
#define MXCSR_INIT  0x1f80u

static inline uint32_t mxcsr_host(void)
{
	uint32_t v;

	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}

static inline void mxcsr_host_set(uint32_t v)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(v));
}

/* ---- kernels: sse_k_NAME ---- */

/* Volatile, since the flags of MXCSR are a result, too. */
#define SSE_OP(name, ...)                                             \
	static inline vec sse_k_##name(vec d, vec s)                  \
	{                                                             \
		__asm__ volatile(#name " %1, %0" : "+x"(d) : "x"(s)); \
		return d;                                             \
	}
#define SSE_IMM(name, ...) extern const uint8_t sse_stub_##name[];
#include "virt/vm/cpu/sse.def"
#undef SSE_OP
#undef SSE_IMM

#define SSE_STUB_BYTES 16

static inline vec_kernel sse_stub(const uint8_t *table, unsigned i)
{
	return (vec_kernel)(uintptr_t)(table + (size_t)i * SSE_STUB_BYTES);
}

/* Which stub: immediates of a power of two repeat; PALIGNR's, beyond both operands, give zero. */
static inline unsigned sse_stub_index(unsigned imm, unsigned count)
{
	if ((count & (count - 1)) == 0)
		return imm & (count - 1);
	return imm < count ? imm : count - 1;
}

/* PCMPESTRI and its kin: flags as LAHF and SETO give them. */
struct sse_string {
	int64_t length_a, length_b; /* in; the explicit forms read them */
	uint16_t of_and_ah;	    /* out: OF in the low byte, AH in the high one */
	uint64_t index;		    /* out */
	vec mask;		    /* out */
};
enum sse_string_op { SSE_ESTRM, SSE_ESTRI, SSE_ISTRM, SSE_ISTRI };
void sse_string(enum sse_string_op op, vec a, vec b, unsigned imm, struct sse_string *io);
