/*
 * The x87 unit and the MMX registers of a vCPU. The idea: the host's unit is one too. While a
 * guest computes, its registers, control, status and tags live in the host's x87 unit and each
 * instruction is executed there, so that results, condition codes and stack faults are the
 * host's, bit for bit.
 *
 *	MEMORY -- an x87 instruction --> HOST		fpu_to_host
 *	MEMORY -- an MMX instruction --> MMX		fpu_to_mmx
 *	any    -- FXSAVE, FXRSTOR, leaving the run loop, reading the state --> MEMORY
 *							fpu_to_memory
 *
 * MEMORY: `image` holds the unit as FXSAVE64 stores it. MMX: so too, with TOP 0 and all tags
 * valid, so that register n is slot n. HOST: the registers are in the host; `image` is stale.
 *
 * x87 exceptions are deferred by their nature: an unmasked one only sets a bit, and the next
 * waiting instruction traps. Guest handlers look at that bit first, so the host never traps
 * although the guest's own control word is loaded. Nothing else in a vCPU thread may use x87
 * between run loop entry and exit; at the exit the unit is left initialised.
 *
 * Pointers: as on processors with FDP_EXCPTN_ONLY and without FCS/FDS (CPUID leaf 7, EBX bits 6
 * and 13, which the guest is shown): FIP follows every instruction that is not a control one, FDP
 * and FOP only those that raise an unmasked exception, the selectors read as zero.
 *
 * XMM registers and MXCSR are not here: the parts of `image` that are theirs are scratch.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum fpu_home { FPU_MEMORY, FPU_MMX, FPU_HOST };

struct fpu {
	uint8_t image[512] __attribute__((aligned(64)));
	uint64_t fip, fdp; /* kept here, not in the image: the host's are the host's */
	uint16_t fop;
	uint8_t home; /* enum fpu_home */
	bool quiet;   /* in HOST home: nothing is unmasked and nothing waits */
	bool live;    /* the run loop executes: the host's MXCSR is this guest's (vector.h) */
};

/* Where the parts of an FXSAVE image lie (SDM volume 1, table 10-2). */
enum fpu_image {
	FPU_FCW = 0,
	FPU_FSW = 2,
	FPU_FTW = 4, /* one bit a register: 1 = not empty */
	FPU_FOP = 6,
	FPU_FIP = 8,
	FPU_FDP = 16,
	FPU_MXCSR = 24,
	FPU_MXCSR_MASK = 28,
	FPU_ST = 32, /* 16 bytes each, from the top of the stack */
	FPU_XMM = 160,
};

#define FPU_SW_SUMMARY 0x80u /* ES: an unmasked exception waits */
#define FPU_FCW_INIT   0x37fu

/* The state after FNINIT, or all of reset. */
void fpu_reset(struct fpu *f);

void fpu_to_memory(struct fpu *f);
void fpu_to_mmx(struct fpu *f);
/* What an MMX store that faults leaves: TOP is 0, the tags are as before. Into memory. */
void fpu_top_zero(struct fpu *f);
void fpu_to_host_slow(struct fpu *f);

static inline void fpu_to_host(struct fpu *f)
{
	if (f->home != FPU_HOST)
		fpu_to_host_slow(f);
}

/* The status and control words, wherever the unit is. */
uint16_t fpu_status(const struct fpu *f);
uint16_t fpu_control(const struct fpu *f);

/* To be said after whatever may change masks or set flags from outside: finds `quiet`. */
void fpu_look(struct fpu *f);

/* An unmasked exception waits. */
static inline bool fpu_waits(const struct fpu *f)
{
	return (fpu_status(f) & FPU_SW_SUMMARY) != 0;
}

/* Register n of MMX, in MMX home. A write also sets the upper 16 bits. */
static inline uint64_t fpu_mmx_get(const struct fpu *f, unsigned n)
{
	uint64_t v;

	__builtin_memcpy(&v, f->image + FPU_ST + 16 * n, 8);
	return v;
}

static inline void fpu_mmx_set(struct fpu *f, unsigned n, uint64_t v)
{
	uint16_t ones = 0xffff;

	__builtin_memcpy(f->image + FPU_ST + 16 * n, &v, 8);
	__builtin_memcpy(f->image + FPU_ST + 16 * n + 8, &ones, 2);
}

/* EMMS: all registers empty. */
void fpu_emms(struct fpu *f);

/* The environment's layouts: FNSTENV, FLDENV, and the head of FNSAVE, FRSTOR. */
enum fpu_layout { FPU_PROTECTED_32, FPU_PROTECTED_16, FPU_REAL_32, FPU_REAL_16 };

#define FPU_ENV_BYTES  28
#define FPU_SAVE_BYTES 108

unsigned fpu_env_bytes(enum fpu_layout l);

/* FNSTENV and FNSAVE without the masking and the initialising after them: `save` adds registers.
 * */
void fpu_env_store(struct fpu *f, enum fpu_layout l, bool save, uint8_t *ret);
void fpu_env_load(struct fpu *f, enum fpu_layout l, bool save, const uint8_t *from);

/*
 * Executes an instruction in the host. `code` is the low three bits of the opcode (D8 to DF) and
 * the ModRM byte; with a memory form the operand is `at`, at least 10 bytes. In HOST home.
 */
void x87_host_register(unsigned code);
void x87_host_memory(unsigned code, void *at);
/* The same for FCMOVcc, FCOMI and their kin, which read or write ZF, PF and CF. Returns them. */
uint64_t x87_host_flags(unsigned code, uint64_t flags);
