/*
 * Handlers of the SSE instructions that compute on whole vectors: two for each row of sse.def,
 * with a register and with memory (vec_op.h has the macros). Nothing is written here by hand but
 * the shape.
 */
#include "virt/vm/cpu/vec_op.h"

/* How a memory operand becomes a vector: aligned to 16 bytes or #GP, or the low bytes of one. */
#define LOAD_A16(s) VEC_LOAD_ALIGNED(s)
#define LOAD_M8(s)  VEC_LOAD_LOW(s, 64)
#define LOAD_M4(s)  VEC_LOAD_LOW(s, 32)
#define LOAD_M2(s)  VEC_LOAD_LOW(s, 16)

/* INT computes; the others may raise #XM. */
#define DO_INT(r, expr) (r) = (expr)
#define DO_NUM(r, expr) VEC_FP(SSE_NUM, r, expr)
#define DO_PS(r, expr)	VEC_FP(SSE_PS, r, expr)
#define DO_PD(r, expr)	VEC_FP(SSE_PD, r, expr)
#define DO_SS(r, expr)	VEC_FP(SSE_SS, r, expr)
#define DO_SD(r, expr)	VEC_FP(SSE_SD, r, expr)

#define SSE_OP(name, prefix, map, opcode, mem, fp)                  \
	VEC_OP(sse_##name##_reg)                                    \
	{                                                           \
		vec r;                                              \
                                                                    \
		DO_##fp(r, sse_k_##name(XMM(o->dst), XMM(o->src))); \
		XMM(o->dst) = r;                                    \
		NEXT;                                               \
	}                                                           \
	VEC_OP(sse_##name##_mem)                                    \
	{                                                           \
		vec r, s;                                           \
                                                                    \
		LOAD_##mem(s);                                      \
		DO_##fp(r, sse_k_##name(XMM(o->dst), s));           \
		XMM(o->dst) = r;                                    \
		NEXT;                                               \
	}

#define SSE_IMM(name, prefix, map, opcode, mem, fp, count)                             \
	VEC_OP(sse_##name##_reg)                                                       \
	{                                                                              \
		vec_kernel k = sse_stub(sse_stub_##name, sse_stub_index(IMM8, count)); \
		vec r;                                                                 \
                                                                                       \
		DO_##fp(r, k(XMM(o->dst), XMM(o->src)));                               \
		XMM(o->dst) = r;                                                       \
		NEXT;                                                                  \
	}                                                                              \
	VEC_OP(sse_##name##_mem)                                                       \
	{                                                                              \
		vec_kernel k = sse_stub(sse_stub_##name, sse_stub_index(IMM8, count)); \
		vec r, s;                                                              \
                                                                                       \
		LOAD_##mem(s);                                                         \
		DO_##fp(r, k(XMM(o->dst), s));                                         \
		XMM(o->dst) = r;                                                       \
		NEXT;                                                                  \
	}

#include "virt/vm/cpu/sse.def"
