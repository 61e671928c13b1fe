/*
 * Handlers of the SSE instructions that only move: between XMM registers and memory, their halves,
 * general registers and MMX; non-temporal forms are plain ones here.
 */
#include "virt/vm/cpu/sse_scalar.h"
#include "virt/vm/cpu/vec_op.h"

/* ---- whole registers ---- */

VEC_OP(sse_mov_reg)
{
	XMM(o->dst) = XMM(o->src);
	NEXT;
}

VEC_OP(sse_mova_load)
{
	vec s;

	VEC_LOAD_ALIGNED(s);
	XMM(o->dst) = s;
	NEXT;
}

VEC_OP(sse_movu_load)
{
	vec s;

	VEC_LOAD(s);
	XMM(o->dst) = s;
	NEXT;
}

VEC_OP(sse_mova_store)
{
	VEC_STORE_ALIGNED(XMM(o->src));
	NEXT;
}

VEC_OP(sse_movu_store)
{
	VEC_STORE(XMM(o->src));
	NEXT;
}

/* ---- scalars: a load zeroes what is above, a register move keeps it ---- */

VEC_OP(sse_mov4_load) /* MOVSS, MOVD */
{
	vec s;

	VEC_LOAD_LOW(s, 32);
	XMM(o->dst) = s;
	NEXT;
}

VEC_OP(sse_mov8_load) /* MOVSD, MOVQ */
{
	vec s;

	VEC_LOAD_LOW(s, 64);
	XMM(o->dst) = s;
	NEXT;
}

VEC_OP(sse_mov4_store)
{
	STORE(32, ea_of(c, o), (uint32_t)XMM(o->src)[0]);
	NEXT;
}

VEC_OP(sse_mov8_store)
{
	STORE(64, ea_of(c, o), (uint64_t)XMM(o->src)[0]);
	NEXT;
}

VEC_OP(sse_movss_reg)
{
	vec_u32 d = (vec_u32)XMM(o->dst);

	d[0] = ((vec_u32)XMM(o->src))[0];
	XMM(o->dst) = (vec)d;
	NEXT;
}

VEC_OP(sse_movsd_reg)
{
	XMM(o->dst)[0] = XMM(o->src)[0];
	NEXT;
}

VEC_OP(sse_movq_reg) /* zeroes the upper half */
{
	XMM(o->dst) = vec_low64((uint64_t)XMM(o->src)[0]);
	NEXT;
}

/* ---- halves ---- */

VEC_OP(sse_movl_load) /* MOVLPS, MOVLPD */
{
	LOAD(64, s, ea_of(c, o));
	XMM(o->dst)[0] = (long long)s;
	NEXT;
}

VEC_OP(sse_movh_load) /* MOVHPS, MOVHPD */
{
	LOAD(64, s, ea_of(c, o));
	XMM(o->dst)[1] = (long long)s;
	NEXT;
}

VEC_OP(sse_movh_store)
{
	STORE(64, ea_of(c, o), (uint64_t)XMM(o->src)[1]);
	NEXT;
}

VEC_OP(sse_movhlps)
{
	XMM(o->dst)[0] = XMM(o->src)[1];
	NEXT;
}

VEC_OP(sse_movlhps)
{
	XMM(o->dst)[1] = XMM(o->src)[0];
	NEXT;
}

/* ---- general registers ---- */

VEC_OP(sse_movd_from_gpr)
{
	XMM(o->dst) = vec_low32((uint32_t)R64(o->src));
	NEXT;
}

VEC_OP(sse_movq_from_gpr)
{
	XMM(o->dst) = vec_low64(R64(o->src));
	NEXT;
}

VEC_OP(sse_movd_to_gpr)
{
	R64(o->dst) = (uint32_t)XMM(o->src)[0];
	NEXT;
}

VEC_OP(sse_movq_to_gpr)
{
	R64(o->dst) = (uint64_t)XMM(o->src)[0];
	NEXT;
}

#define MASK(name)                                       \
	VEC_OP(sse_##name)                               \
	{                                                \
		R64(o->dst) = sse_k_##name(XMM(o->src)); \
		NEXT;                                    \
	}

MASK(movmskps)
MASK(movmskpd)
MASK(pmovmskb)

VEC_OP(sse_movnti32)
{
	STORE(32, ea_of(c, o), (uint32_t)R64(o->src));
	NEXT;
}

VEC_OP(sse_movnti64)
{
	STORE(64, ea_of(c, o), R64(o->src));
	NEXT;
}
