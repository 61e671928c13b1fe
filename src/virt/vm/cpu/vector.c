/*
 * Vector and floating-point state of a vCPU as a whole (vector.h), and the slow corners that
 * handlers share (vec_op.h).
 */
#include "virt/vm/cpu/vector.h"

#include <assert.h>
#include <string.h>

#include "virt/vm/cpu/sys.h"
#include "virt/vm/cpu/vec_op.h"

static_assert(FPU_XMM + 16 * 16 <= 512, "the XMM registers lie in the image");

/* ---- MXCSR ---- */

uint32_t vector_mxcsr(const struct cpu *c)
{
	return c->fpu.live ? c->mxcsr | (mxcsr_host() & MXCSR_FLAGS) : c->mxcsr;
}

static void mode_follows(struct cpu *c)
{
	bool unmasked = (c->mxcsr & MXCSR_MASKS) != MXCSR_MASKS;

	if (unmasked != ((c->mode & MODE_XM) != 0))
		cpu_mode_changed(c);
}

void vector_mxcsr_set(struct cpu *c, uint32_t v)
{
	assert((v & ~MXCSR_VALID) == 0);
	c->mxcsr = v;
	if (c->fpu.live)
		mxcsr_host_set(v | MXCSR_MASKS);
	mode_follows(c);
}

/* ---- around the run loop ---- */

void vector_enter(struct cpu *c)
{
	assert(!c->fpu.live);
	c->fpu.live = true;
	mxcsr_host_set(c->mxcsr | MXCSR_MASKS);
}

void vector_leave(struct cpu *c)
{
	assert(c->fpu.live);
	c->mxcsr = vector_mxcsr(c);
	c->fpu.live = false;
	mxcsr_host_set(MXCSR_INIT);
	fpu_to_memory(&c->fpu);
}

/* ---- states ---- */

void vector_reset(struct cpu *c)
{
	fpu_reset(&c->fpu);
	memset(c->xmm, 0, sizeof(c->xmm));
	vector_mxcsr_set(c, MXCSR_INIT);
}

void vector_get(struct cpu *c, uint8_t ret[512])
{
	uint32_t mxcsr = vector_mxcsr(c), mask = MXCSR_VALID;

	fpu_to_memory(&c->fpu);
	memcpy(ret, c->fpu.image, FPU_XMM);
	memset(ret + FPU_XMM, 0, 512 - FPU_XMM);
	memcpy(ret + FPU_FOP, &c->fpu.fop, sizeof(c->fpu.fop));
	memcpy(ret + FPU_FIP, &c->fpu.fip, sizeof(c->fpu.fip));
	memcpy(ret + FPU_FDP, &c->fpu.fdp, sizeof(c->fpu.fdp));
	memcpy(ret + FPU_MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy(ret + FPU_MXCSR_MASK, &mask, sizeof(mask));
	for (size_t i = 0; i < 16; i++)
		memcpy(ret + FPU_XMM + 16 * i, c->xmm[i].u8, 16);
}

void vector_set(struct cpu *c, const uint8_t from[512])
{
	uint32_t mxcsr;

	fpu_to_memory(&c->fpu);
	memcpy(&mxcsr, from + FPU_MXCSR, sizeof(mxcsr));
	memcpy(c->fpu.image, from, FPU_XMM);
	memcpy(&c->fpu.fop, from + FPU_FOP, sizeof(c->fpu.fop));
	memcpy(&c->fpu.fip, from + FPU_FIP, sizeof(c->fpu.fip));
	memcpy(&c->fpu.fdp, from + FPU_FDP, sizeof(c->fpu.fdp));
	for (size_t i = 0; i < 16; i++)
		memcpy(c->xmm[i].u8, from + FPU_XMM + 16 * i, 16);
	vector_mxcsr_set(c, mxcsr & MXCSR_VALID);
}

/* ---- what handlers share ---- */

void vec_misaligned(struct cpu *c, const struct op *o)
{
	FAULT(VECTOR_GP, 0);
}

void vec_unmasked_begin(struct cpu *c)
{
	c->mxcsr = vector_mxcsr(c);
	sse_unmasked_begin(c->mxcsr);
}

bool vec_unmasked_end(struct cpu *c)
{
	return sse_unmasked_end(c->mxcsr);
}

bool vec_unmasked(struct cpu *c, const struct sse_work *w, vec *ret)
{
	fpu_to_memory(&c->fpu);
	c->mxcsr = vector_mxcsr(c);
	return sse_unmasked(c->mxcsr, w, ret);
}

void vec_exception(struct cpu *c, const struct op *o)
{
	FAULT(c->cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD, -1);
}

bool vec_probe_ends(struct cpu *c, uint64_t at, unsigned n, bool write)
{
	unsigned first = n % 8 == 4 ? 4 : 2; /* the control word: of 28 and 108, or of 14 and 94 */

	assert(n == 28 || n == 108 || n == 14 || n == 94);
	if (write)
		return mmu_probe_write(c, at, first) && mmu_probe_write(c, at + n - 1, 1);
	return mmu_load(c, at, first) && mmu_load(c, at + n - 1, 1);
}

/* While alignment is checked, that of the first field is what counts of an x87 environment. */
static unsigned widest(const struct cpu *c, unsigned n)
{
	if (!c->ac || (n != 28 && n != 108 && n != 14 && n != 94))
		return 8;
	return n % 8 == 4 ? 4 : 2;
}

bool vec_load_bytes(struct cpu *c, uint64_t at, void *to, unsigned n)
{
	unsigned most = widest(c, n);
	uint8_t *p = to;

	assert(n > 0 && n % 2 == 0 && n <= 512);
	for (unsigned done = 0, step; done < n; done += step) {
		step = n - done >= 8 ? 8 : n - done >= 4 ? 4 : 2;
		step = step < most ? step : most;
		if (!mmu_load(c, at + done, step))
			return false;
		memcpy(p + done, &c->loaded, step);
	}
	return true;
}

bool vec_store_bytes(struct cpu *c, uint64_t at, const void *from, unsigned n)
{
	unsigned most = widest(c, n);
	const uint8_t *p = from;

	assert(n > 0 && n % 2 == 0 && n <= 512);
	for (unsigned done = 0, step; done < n; done += step) {
		uint64_t v = 0;

		step = n - done >= 8 ? 8 : n - done >= 4 ? 4 : 2;
		step = step < most ? step : most;
		memcpy(&v, p + done, step);
		if (!mmu_store(c, at + done, v, step))
			return false;
	}
	return true;
}

bool vec_store_masked(struct cpu *c, uint64_t at, const uint8_t *from, unsigned mask, unsigned n)
{
	assert(n == 8 || n == 16);
	assert(mask < 1u << n);
	for (unsigned half = n; half > 0; half -= 8)
		if (!mmu_probe_write(c, at + half - 8, 8))
			return false;
	for (unsigned i = 0; i < n; i++)
		if ((mask >> i & 1) && !mmu_store(c, at + i, from[i], 1))
			return false;
	return true;
}

bool vec_mmx_may(const struct cpu *c)
{
	return !fpu_waits(&c->fpu) || !(c->cr0 & CR0_NE);
}

bool vec_state_set(struct cpu *c, const uint8_t from[512])
{
	uint32_t mode = c->mode;

	vector_set(c, from);
	return c->mode != mode;
}
