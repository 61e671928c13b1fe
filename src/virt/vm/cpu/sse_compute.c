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

/* INT computes; NUM may raise #XM; the others may do so by overflow and underflow, too. */
#define DO_INT(name, r, k, d, s) (r) = (k)((d), (s))
#define DO_NUM(name, r, k, d, s) VEC_FP(SSE_NUM, r, (k)((d), (s)))
#define DO_PS(name, r, k, d, s)	 ARITHMETIC(name, SSE_PS, r, k, d, s)
#define DO_PD(name, r, k, d, s)	 ARITHMETIC(name, SSE_PD, r, k, d, s)
#define DO_SS(name, r, k, d, s)	 ARITHMETIC(name, SSE_SS, r, k, d, s)
#define DO_SD(name, r, k, d, s)	 ARITHMETIC(name, SSE_SD, r, k, d, s)

#define ARITHMETIC(name, kind_, r, k, d_, s_)       \
	do {                                        \
		if (likely(!(c->mode & MODE_XM))) { \
			(r) = (k)((d_), (s_));      \
			break;                      \
		}                                   \
		struct sse_work work = {            \
			.kernel = (k),              \
			.kind = kind_,              \
			.arith = SSE_ARITH_##name,  \
			.d = (d_),                  \
			.s = (s_),                  \
			.imm = IMM8,                \
		};                                  \
		if (!vec_unmasked(c, &work, &(r)))  \
			return vec_exception(c, o); \
	} while (0)

/* What each arithmetic row does with the elements. */
enum {
	SSE_ARITH_addps = SSE_ADD,
	SSE_ARITH_addpd = SSE_ADD,
	SSE_ARITH_addss = SSE_ADD,
	SSE_ARITH_addsd = SSE_ADD,
	SSE_ARITH_mulps = SSE_MUL,
	SSE_ARITH_mulpd = SSE_MUL,
	SSE_ARITH_mulss = SSE_MUL,
	SSE_ARITH_mulsd = SSE_MUL,
	SSE_ARITH_subps = SSE_SUB,
	SSE_ARITH_subpd = SSE_SUB,
	SSE_ARITH_subss = SSE_SUB,
	SSE_ARITH_subsd = SSE_SUB,
	SSE_ARITH_divps = SSE_DIV,
	SSE_ARITH_divpd = SSE_DIV,
	SSE_ARITH_divss = SSE_DIV,
	SSE_ARITH_divsd = SSE_DIV,
	SSE_ARITH_cvtpd2ps = SSE_NARROW,
	SSE_ARITH_cvtsd2ss = SSE_NARROW,
	SSE_ARITH_haddps = SSE_HADD,
	SSE_ARITH_haddpd = SSE_HADD,
	SSE_ARITH_hsubps = SSE_HSUB,
	SSE_ARITH_hsubpd = SSE_HSUB,
	SSE_ARITH_addsubps = SSE_ADDSUB,
	SSE_ARITH_addsubpd = SSE_ADDSUB,
	SSE_ARITH_dpps = SSE_DOT,
	SSE_ARITH_dppd = SSE_DOT,
};

#define SSE_OP(name, prefix, map, opcode, mem, fp)                        \
	VEC_OP(sse_##name##_reg)                                          \
	{                                                                 \
		vec r;                                                    \
                                                                          \
		DO_##fp(name, r, sse_k_##name, XMM(o->dst), XMM(o->src)); \
		XMM(o->dst) = r;                                          \
		NEXT;                                                     \
	}                                                                 \
	VEC_OP(sse_##name##_mem)                                          \
	{                                                                 \
		vec r, s;                                                 \
                                                                          \
		LOAD_##mem(s);                                            \
		DO_##fp(name, r, sse_k_##name, XMM(o->dst), s);           \
		XMM(o->dst) = r;                                          \
		NEXT;                                                     \
	}

#define SSE_IMM(name, prefix, map, opcode, mem, fp, count)                             \
	VEC_OP(sse_##name##_reg)                                                       \
	{                                                                              \
		vec_kernel k = sse_stub(sse_stub_##name, sse_stub_index(IMM8, count)); \
		vec r;                                                                 \
                                                                                       \
		DO_##fp(name, r, k, XMM(o->dst), XMM(o->src));                         \
		XMM(o->dst) = r;                                                       \
		NEXT;                                                                  \
	}                                                                              \
	VEC_OP(sse_##name##_mem)                                                       \
	{                                                                              \
		vec_kernel k = sse_stub(sse_stub_##name, sse_stub_index(IMM8, count)); \
		vec r, s;                                                              \
                                                                                       \
		LOAD_##mem(s);                                                         \
		DO_##fp(name, r, k, XMM(o->dst), s);                                   \
		XMM(o->dst) = r;                                                       \
		NEXT;                                                                  \
	}

#include "virt/vm/cpu/sse.def"
