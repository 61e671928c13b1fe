/*
 * Handlers of what is left of SSE: FXSAVE and FXRSTOR, MXCSR, string comparison, masked stores,
 * fences, cache hints.
 */
#include <string.h>

#include "virt/vm/cpu/sse_scalar.h"
#include "virt/vm/cpu/sys.h"
#include "virt/vm/cpu/vec_op.h"
#include "virt/vm/cpu/vector_ops.h"

#define FX_BYTES      512u
#define FX_WRITTEN_64 416u /* to the end of XMM15 */
#define FX_WRITTEN_32 288u /* to the end of XMM7 */

/* ---- the whole state ---- */

static void selectors_instead(uint8_t image[FX_BYTES])
{
	uint32_t zero = 0; /* FIP and FDP are 32 bits, a selector behind each, which is always 0 */

	memcpy(image + FPU_FIP + 4, &zero, 4);
	memcpy(image + FPU_FDP + 4, &zero, 4);
}

static unsigned fx_written(const struct cpu *c)
{
	if (!(c->cr4 & CR4_OSFXSR))
		return FPU_XMM;
	return c->mode & MODE_CODE64 ? FX_WRITTEN_64 : FX_WRITTEN_32;
}

/* False: faulted. The last byte is looked at first, but alignment before pages; of what width #AC
 * is told instead of #GP is the processor's choice (SDM volume 2, FXSAVE). */
static bool fx_probe(struct cpu *c, uint64_t at, bool write)
{
	bool canonical = (uint64_t)((int64_t)(at << 16) >> 16) == at;

	if ((at & 15) && (canonical || !(c->mode & MODE_CODE64)))
		return sys_fault(c, c->ac && (at & 3) ? VECTOR_AC : VECTOR_GP, 0);
	if (write)
		return mmu_probe_write(c, at + FX_BYTES - 1, 1) && mmu_probe_write(c, at, FX_BYTES);
	return mmu_load(c, at + FX_BYTES - 1, 1);
}

static void fxsave(struct cpu *c, const struct op *o, bool wide)
{
	uint8_t image[FX_BYTES];
	uint64_t at = ea_of(c, o);

	if (!fx_probe(c, at, true))
		FAULTED;
	vector_get(c, image);
	if (!wide)
		selectors_instead(image);
	if (!vec_store_bytes(c, at, image, fx_written(c)))
		FAULTED;
	NEXT;
}

VEC_OP(sse_fxsave)
{
	fxsave(c, o, false);
}

VEC_OP(sse_fxsave64)
{
	fxsave(c, o, true);
}

static void fxrstor(struct cpu *c, const struct op *o, bool wide)
{
	uint8_t image[FX_BYTES], now[FX_BYTES];
	uint64_t at = ea_of(c, o);
	uint32_t mxcsr;
	bool sse = (c->cr4 & CR4_OSFXSR) != 0;

	if (!fx_probe(c, at, false) || !vec_load_bytes(c, at, image, FX_BYTES))
		FAULTED;
	memcpy(&mxcsr, image + FPU_MXCSR, sizeof(mxcsr));
	if (sse && (mxcsr & ~MXCSR_VALID))
		FAULT(VEC_GP, 0);
	if (!wide)
		selectors_instead(image);
	if (fx_written(c) < FX_WRITTEN_64) { /* what this mode does not reach stays */
		vector_get(c, now);
		memcpy(image + fx_written(c), now + fx_written(c), FX_BYTES - fx_written(c));
		if (!sse)
			memcpy(image + FPU_MXCSR, now + FPU_MXCSR, 8);
	}
	if (vec_state_set(c, image)) {
		c->rip = op_next_rip(c, o);
		LEAVE(CPU_STOP_SYSTEM);
	}
	NEXT;
}

VEC_OP(sse_fxrstor)
{
	fxrstor(c, o, false);
}

VEC_OP(sse_fxrstor64)
{
	fxrstor(c, o, true);
}

/* ---- MXCSR ---- */

VEC_OP(sse_stmxcsr)
{
	STORE(32, ea_of(c, o), vector_mxcsr(c));
	NEXT;
}

VEC_OP(sse_ldmxcsr)
{
	LOAD(32, v, ea_of(c, o));
	uint32_t mode = c->mode;

	if (v & ~MXCSR_VALID)
		FAULT(VEC_GP, 0);
	vector_mxcsr_set(c, v);
	if (c->mode != mode) {
		c->rip = op_next_rip(c, o);
		LEAVE(CPU_STOP_SYSTEM);
	}
	NEXT;
}

/* ---- string comparison ---- */

/* A length register counts by its absolute value, saturated: 32 bits are sign-extended first. */
static void string(struct cpu *c, const struct op *o, enum sse_string_op op, vec b,
		   struct sse_string *io)
{
	bool wide = o->imm & VECTOR_IMM_WIDE;

	io->length_a = wide ? (int64_t)R64(VCPU_RAX) : (int32_t)R32(VCPU_RAX);
	io->length_b = wide ? (int64_t)R64(VCPU_RDX) : (int32_t)R32(VCPU_RDX);
	sse_string(op, XMM(o->dst), b, IMM8, io);
	c->arith = (uint16_t)(io->of_and_ah & 0xd501u) | 0x200u;
}

/* What lies on the stack has ended before NEXT: it stays a sibling call. */
#define STRING(name, op, result)                            \
	VEC_OP(sse_##name##_reg)                            \
	{                                                   \
		{                                           \
			struct sse_string io;               \
                                                            \
			string(c, o, op, XMM(o->src), &io); \
			result;                             \
		}                                           \
		NEXT;                                       \
	}                                                   \
	VEC_OP(sse_##name##_mem)                            \
	{                                                   \
		{                                           \
			struct sse_string io;               \
			vec s;                              \
                                                            \
			VEC_LOAD(s);                        \
			string(c, o, op, s, &io);           \
			result;                             \
		}                                           \
		NEXT;                                       \
	}

STRING(pcmpestrm, SSE_ESTRM, XMM(0) = io.mask)
STRING(pcmpestri, SSE_ESTRI, R64(VCPU_RCX) = (uint32_t)io.index)
STRING(pcmpistrm, SSE_ISTRM, XMM(0) = io.mask)
STRING(pcmpistri, SSE_ISTRI, R64(VCPU_RCX) = (uint32_t)io.index)

/* ---- masked store: bytes of dst whose byte of src has its top bit set, to (R)DI ---- */

VEC_OP(sse_maskmovdqu)
{
	unsigned mask = (unsigned)sse_k_pmovmskb(XMM(o->src));

	if (!vec_store_masked(c, ea_of(c, o), c->xmm[o->dst].u8, mask, 16))
		FAULTED;
	NEXT;
}

/* ---- hints and order ---- */

VEC_OP(sse_fence)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	NEXT;
}

/* Nothing is cached that the guest could see, but the address is one that must be readable. */
VEC_OP(sse_clflush)
{
	LOAD(8, v, ea_of(c, o));
	(void)v;
	NEXT;
}

VEC_OP(sse_off)
{
	FAULT((c->cr0 & CR0_EM) || !(c->cr4 & CR4_OSFXSR) ? VECTOR_UD : VECTOR_NM, -1);
}
