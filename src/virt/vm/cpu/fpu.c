/*
 * Moving a vCPU's x87 unit between memory and the host, and executing single instructions there
 * (fpu.h). The instructions are a table of stubs, one for each register form and each memory form
 * on [rdi], written by the assembler: eight opcodes by 64, and eight by eight.
 */
#include "virt/vm/cpu/fpu.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define STUB_BYTES 16

static_assert(FPU_ST + 8 * 16 == FPU_XMM, "registers follow each other in the image");
static_assert(FPU_SAVE_BYTES == FPU_ENV_BYTES + 8 * 10, "FNSAVE adds eight registers");
static_assert(offsetof(struct fpu, image) == 0, "FXSAVE wants it aligned");
static_assert(sizeof(struct fpu) % 64 == 0, "the image stays aligned in arrays");

extern const uint8_t x87_register_stub[], x87_memory_stub[];

/* FXRSTOR and FXSAVE touch the XMM registers and MXCSR: the one that is loaded is put into the
 * image first. */
static void host_load(struct fpu *f)
{
	__asm__ volatile("stmxcsr %1\n\t"
			 "fxrstor64 %0"
			 : "+m"(f->image), "=m"(f->image[FPU_MXCSR])
			 :
			 : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
			   "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* The host's unit is left as after FNINIT: no exception waits there for somebody else. */
static void host_store(struct fpu *f)
{
	__asm__ volatile("fxsave64 %0\n\t"
			 "fninit"
			 : "=m"(f->image)
			 :
			 : "memory");
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void put16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

void fpu_reset(struct fpu *f)
{
	if (f->home == FPU_HOST)
		__asm__ volatile("fninit");
	memset(f, 0, sizeof(*f));
	put16(f->image + FPU_FCW, FPU_FCW_INIT);
	f->home = FPU_MEMORY;
}

void fpu_to_memory(struct fpu *f)
{
	if (f->home == FPU_HOST)
		host_store(f);
	if (f->home == FPU_MMX)
		__asm__ volatile("emms");
	f->home = FPU_MEMORY;
}

void fpu_to_host_slow(struct fpu *f)
{
	assert(f->home != FPU_HOST);
	host_load(f);
	f->home = FPU_HOST;
	fpu_look(f);
}

void fpu_look(struct fpu *f)
{
	f->quiet = f->home == FPU_HOST && (fpu_control(f) & 0x3f) == 0x3f && !fpu_waits(f);
}

void fpu_to_mmx(struct fpu *f)
{
	if (f->home == FPU_MMX)
		return;
	fpu_top_zero(f);
	f->image[FPU_FTW] = 0xff;
	f->home = FPU_MMX;
}

/* Slots are numbered from the top of the stack, registers and tags are physical. */
void fpu_top_zero(struct fpu *f)
{
	uint8_t slots[8][16];
	uint16_t status;
	unsigned top;

	fpu_to_memory(f);
	status = get16(f->image + FPU_FSW);
	top = status >> 11 & 7;
	memcpy(slots, f->image + FPU_ST, sizeof(slots));
	for (unsigned i = 0; i < 8; i++)
		memcpy(f->image + FPU_ST + (size_t)16 * ((i + top) & 7), slots[i], 16);
	put16(f->image + FPU_FSW, status & 0xc7ff);
}

void fpu_emms(struct fpu *f)
{
	fpu_to_mmx(f);
	fpu_to_memory(f);
	f->image[FPU_FTW] = 0;
}

uint16_t fpu_status(const struct fpu *f)
{
	uint16_t v;

	if (f->home != FPU_HOST)
		return get16(f->image + FPU_FSW);
	__asm__ volatile("fnstsw %0" : "=am"(v));
	return v;
}

uint16_t fpu_control(const struct fpu *f)
{
	uint16_t v;

	if (f->home != FPU_HOST)
		return get16(f->image + FPU_FCW);
	__asm__ volatile("fnstcw %0" : "=m"(v));
	return v;
}

/* ---- environments ---- */

unsigned fpu_env_bytes(enum fpu_layout l)
{
	return l == FPU_PROTECTED_32 || l == FPU_REAL_32 ? 28 : 14;
}

/* What the host stored has its control, status and tag words; the pointers are the guest's. */
static void env_store_32(const struct fpu *f, bool real, uint8_t *to)
{
	uint32_t fop = f->fop & 0x7ff;

	if (real) {
		put32(to + 12, 0xffff0000u | (uint16_t)f->fip);
		put32(to + 16, ((uint32_t)f->fip & 0xffff0000u) >> 4 | fop);
		put32(to + 20, 0xffff0000u | (uint16_t)f->fdp);
		put32(to + 24, ((uint32_t)f->fdp & 0xffff0000u) >> 4);
		return;
	}
	put32(to + 12, (uint32_t)f->fip);
	put32(to + 16, fop << 16);
	put32(to + 20, (uint32_t)f->fdp);
	put32(to + 24, 0xffff0000u);
}

static void env_store_16(const struct fpu *f, bool real, const uint8_t *env, uint8_t *to)
{
	uint32_t fop = f->fop & 0x7ff;

	for (unsigned i = 0; i < 3; i++)
		put16(to + (size_t)2 * i, get16(env + (size_t)4 * i));
	put16(to + 6, (uint16_t)f->fip);
	put16(to + 8, real ? (uint16_t)((f->fip >> 4 & 0xf000) | fop) : 0);
	put16(to + 10, (uint16_t)f->fdp);
	put16(to + 12, real ? (uint16_t)(f->fdp >> 4 & 0xf000) : 0);
}

void fpu_env_store(struct fpu *f, enum fpu_layout l, bool save, uint8_t *ret)
{
	uint8_t host[FPU_SAVE_BYTES];

	fpu_to_host(f);
	assert(f->home == FPU_HOST);
	/* FNSAVE empties the unit and FNSTENV masks exceptions, as the guest's own would. */
	if (save)
		__asm__ volatile("fnsave %0" : "=m"(host));
	else
		__asm__ volatile("fnstenv %0" : "=m"(host));
	if (fpu_env_bytes(l) == FPU_ENV_BYTES) {
		memcpy(ret, host, 12);
		env_store_32(f, l == FPU_REAL_32, ret);
	} else {
		env_store_16(f, l == FPU_REAL_16, host, ret);
	}
	if (save) {
		memcpy(ret + fpu_env_bytes(l), host + FPU_ENV_BYTES,
		       FPU_SAVE_BYTES - FPU_ENV_BYTES);
		f->fip = f->fdp = 0;
		f->fop = 0;
	}
}

static void env_pointers(struct fpu *f, enum fpu_layout l, const uint8_t *from)
{
	switch (l) {
	case FPU_PROTECTED_32:
		f->fip = get32(from + 12);
		f->fop = get16(from + 18) & 0x7ff;
		f->fdp = get32(from + 20);
		break;
	case FPU_REAL_32:
		f->fip = get16(from + 12) | (get32(from + 16) & 0x0ffff000u) << 4;
		f->fop = get16(from + 16) & 0x7ff;
		f->fdp = get16(from + 20) | (get32(from + 24) & 0x0ffff000u) << 4;
		break;
	case FPU_PROTECTED_16:
		f->fip = get16(from + 6);
		f->fop = 0;
		f->fdp = get16(from + 10);
		break;
	case FPU_REAL_16:
		f->fip = get16(from + 6) | (uint32_t)(get16(from + 8) & 0xf000u) << 4;
		f->fop = get16(from + 8) & 0x7ff;
		f->fdp = get16(from + 10) | (uint32_t)(get16(from + 12) & 0xf000u) << 4;
		break;
	}
}

void fpu_env_load(struct fpu *f, enum fpu_layout l, bool save, const uint8_t *from)
{
	uint8_t host[FPU_SAVE_BYTES] = {0};
	bool wide = fpu_env_bytes(l) == FPU_ENV_BYTES;

	fpu_to_host(f);
	assert(f->home == FPU_HOST);
	for (unsigned i = 0; i < 3; i++)
		put16(host + (size_t)4 * i, get16(from + (size_t)(wide ? 4 : 2) * i));
	env_pointers(f, l, from);
	if (!save) {
		__asm__ volatile("fldenv %0" : : "m"(host));
		return;
	}
	memcpy(host + FPU_ENV_BYTES, from + fpu_env_bytes(l), FPU_SAVE_BYTES - FPU_ENV_BYTES);
	__asm__ volatile("frstor %0" : : "m"(host));
}

/* ---- execution ---- */

__asm__(".pushsection .text, \"ax\", @progbits\n"
	".p2align 4\n"
	"x87_register_stub:\n"
	".set x87_i, 0\n"
	".rept 512\n"
	".p2align 4\n"
	"	endbr64\n"
	"	.byte 0xd8 + x87_i / 64, 0xc0 + x87_i % 64\n"
	"	ret\n"
	".set x87_i, x87_i + 1\n"
	".endr\n"
	".p2align 4\n"
	"x87_memory_stub:\n"
	".set x87_i, 0\n"
	".rept 64\n"
	".p2align 4\n"
	"	endbr64\n"
	"	.byte 0xd8 + x87_i / 8, x87_i % 8 * 8 + 7\n"
	"	ret\n"
	".set x87_i, x87_i + 1\n"
	".endr\n"
	".popsection\n");

void x87_host_register(unsigned code)
{
	unsigned i = (code >> 8 & 7) * 64 + (code & 63);
	void (*run)(void) = (void (*)(void))(uintptr_t)(x87_register_stub + (size_t)i * STUB_BYTES);

	run();
}

void x87_host_memory(unsigned code, void *at)
{
	unsigned i = (code >> 8 & 7) * 8 + (code >> 3 & 7);
	void (*run)(void *) =
		(void (*)(void *))(uintptr_t)(x87_memory_stub + (size_t)i * STUB_BYTES);

	run(at);
}

/* FCMOVcc and FCOMI: SAHF and LAHF carry ZF, PF and CF in and out. A frame of its own is needed:
 * the call would write into the red zone. */
uint64_t x87_host_flags(unsigned code, uint64_t flags)
{
	unsigned i = (code >> 8 & 7) * 64 + (code & 63);
	uint64_t ah = flags << 8 & 0xff00;

	__asm__ volatile("sub $128, %%rsp\n\t"
			 "sahf\n\t"
			 "call *%1\n\t"
			 "lahf\n\t"
			 "lea 128(%%rsp), %%rsp"
			 : "+a"(ah)
			 : "r"(x87_register_stub + (size_t)i * STUB_BYTES)
			 : "cc", "memory");
	return (ah >> 8 & 0xd5) | (flags & ~0xd5ull);
}
