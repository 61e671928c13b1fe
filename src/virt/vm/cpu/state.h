/*
 * The state of one vCPU of the software CPU. Its hot part (registers, status flags, attention
 * word, TLB base and mask) lies within 256 bytes of the pointer that every handler has in a
 * register.
 *
 * Canonical form: between traces everything a guest can see is in here. Inside a trace `rip` is
 * not kept: it is gpr[REG_PAGE] plus the offset that the op carries. The arithmetic flags are
 * kept apart from the others, as LAHF and SETO leave them in AX, which saves merging at each
 * instruction; who wants EFLAGS whole asks flags_get(), who changes them says flags_set(). The
 * system side (sys.h) works on whole EFLAGS in `flags`: whoever calls it packs before and unpacks
 * after (flags_pack(), flags_unpack()).
 *
 * Thread: a vCPU's own. Others touch `attention` only (cpu_attention_set()).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/vm/cpu/fpu.h"
#include "virt/vm/cpu/sys_state.h"
#include "virt/vm/memory/vcpu.h"

#define CPU_MAGIC 0x43505531u

/* Slots behind the sixteen registers that make every address one expression (op.h). */
enum cpu_register {
	REG_ZERO = 16, /* always 0: no base, no index */
	REG_PAGE = 17, /* virtual address of the code page that runs: RIP-relative operands */
	REG_FAR = 18,  /* always CPU_FAR: keeps a displacement within 32 bits */
	REG_SLOTS = 19,
};
#define CPU_FAR 0x2000

/* What decoded code depends on, part of every trace's key. */
enum cpu_mode {
	MODE_CODE64 = 1 << 0,
	MODE_CODE32 = 1 << 1, /* CS.D; neither: 16 bits */
	MODE_STACK64 = 1 << 2,
	MODE_STACK32 = 1 << 3, /* SS.B */
	MODE_USER = 1 << 4,    /* privilege level 3 */
	MODE_RING0 = 1 << 5,   /* privilege level 0 (or real mode) */
	MODE_FLAT = 1 << 6,    /* CS, DS, ES, SS: base 0, limit 4 GiB, usable */
	MODE_REAL = 1 << 7,    /* real or virtual-8086 mode: no LOCK of system instructions … */
	MODE_ONE = 1 << 8,     /* one instruction, then back: TF, a shadow, breakpoints */
	MODE_FPU = 1 << 9,     /* x87 is usable: CR0.EM and CR0.TS are clear */
	MODE_SSE = 1 << 10,    /* SSE is usable: as above, and CR4.OSFXSR */
	MODE_MMX = 1 << 11,    /* as MODE_FPU; MMX registers */
	MODE_XM = 1 << 12,     /* an SSE exception is unmasked: slow handlers */
	MODE_V86 = 1 << 13,
};

/* Why attention is wanted (any thread may set; the vCPU's own clears). */
enum cpu_attention {
	ATTEND_EVENT = 1 << 0, /* the APIC or a timer has something */
	ATTEND_KICK = 1 << 1,  /* vcpu_kick() */
	ATTEND_WORLD = 1 << 2, /* somebody stops the world (world.h) */
	ATTEND_MODE = 1 << 3,  /* from an op: look again before the next trace */
	ATTEND_SLICE = 1 << 4, /* decoded code was flushed: jump caches are stale */
};

/* Why cpu_execute() returned. */
enum cpu_stop {
	CPU_STOP_ATTENTION, /* at an instruction boundary; attention is set */
	CPU_STOP_ONE,	    /* one instruction was executed in MODE_ONE */
	CPU_STOP_SYSTEM,    /* a system instruction ended a trace: look for events */
	CPU_STOP_FAULT,	    /* sys.fault describes it; rip is the instruction's */
	CPU_STOP_HALT,	    /* HLT was executed; rip is behind it */
	CPU_STOP_SHUTDOWN,  /* triple fault */
	/* Between the core and itself: */
	CPU_STOP_NONE,	/* go on at rip */
	CPU_STOP_RETRY, /* the op at rip is to run by itself */
};

union cpu_vector { /* sized for YMM; the translator will want them so */
	uint8_t u8[32];
	uint16_t u16[16];
	uint32_t u32[8];
	uint64_t u64[4];
	long long x __attribute__((vector_size(16), may_alias));
} __attribute__((aligned(32)));

struct trace;
struct lone;
struct cpu_world;

/* A translation: compare and add. A tag has bits below the page size when it is not to be used. */
struct tlb_entry {
	uint64_t read, write, execute; /* page | TLB_* bits */
	uint64_t addend;	       /* host pointer = address + addend */
};
#define TLB_INVALID UINT64_MAX
#define TLB_GLOBAL  1ull /* in `execute` of no page: kept apart, see mmu.c */

/* A virtual address that was jumped to. */
struct jump {
	uint64_t rip, tag; /* tag: generation of the TLB and mode */
	struct trace *trace;
};
#define CPU_JUMPS 4096u

struct cpu {
	uint64_t gpr[REG_SLOTS];
	uint64_t rip;
	uint16_t arith; /* AL: 1 if OF; AH: SF ZF 0 AF 0 PF 1 CF */
	uint16_t stop;	/* enum cpu_stop */
	uint32_t attention;
	uint64_t flags; /* the rest of EFLAGS */
	struct tlb_entry *tlb;
	uint64_t tlb_mask; /* of (address >> 7): selects an entry by its byte offset */
	uint64_t jump_tag; /* generation << 32 | mode */
	struct jump *jumps;
	uint64_t loaded; /* what a slow load brought */

	/* ---- colder ---- */
	uint32_t mode, magic;
	uint64_t executed; /* instructions, at trace granularity */
	uint64_t stack_mask;
	bool ea_bad; /* a segment check failed while an address was made: mmu.c raises it */
	uint8_t ea_vector;
	bool not_canonical; /* the fault is of an address: #SS where the stack was meant */
	bool retry;	    /* no fault: the op is to run by itself, it writes its own page */
	uint8_t lone_runs;  /* above 0: it does */
	bool one;	    /* the outer loop wants one instruction */
	bool ac;	    /* alignment is checked: every access takes the slow path */

	union cpu_vector xmm[16];
	union cpu_vector wide;	 /* what a slow 16-byte load brought, or a slow store takes */
	union cpu_vector bounce; /* a read-modify-write without a plain host pointer */
	struct {
		uint64_t at; /* linear, of the operand */
		unsigned bytes;
		bool active, stopped;	/* to be brought back; and the world let go */
		struct tlb_entry *code; /* in place, only what was decoded is to be looked at */
	} rmw;
	uint32_t mxcsr; /* the guest's, masks included */
	struct fpu fpu;

	struct vcpu_segment segment[VCPU_SEGMENTS];
	uint64_t cr0, cr2, cr3, cr4, efer;
	uint64_t gdt_base, idt_base;
	uint16_t gdt_limit, idt_limit;
	uint64_t dr[8];
	struct sys sys;

	struct ram *ram;
	struct bus *bus;
	struct cpu_world *world;
	struct mmu *mmu;
	struct trace *lone; /* of straddling or uncached code: trace_lone()'s last */
	struct lone *lones;
};

/* The hot part is reached with an 8-bit displacement from the middle of it. */
_Static_assert(offsetof(struct cpu, loaded) + 8 <= 256, "hot state within 256 bytes");

/* ---- flags ---- */

#define ARITH_MASK 0x8d5u /* CF PF AF ZF SF OF */

static inline uint64_t flags_get(const struct cpu *c)
{
	return (c->flags & ~(uint64_t)ARITH_MASK) | (c->arith >> 8 & 0xd5u) |
	       (uint64_t)(c->arith & 1u) << 11;
}

static inline uint16_t arith_of(uint64_t flags)
{
	return (uint16_t)((flags & 0xd5u) << 8 | 0x200u | (flags >> 11 & 1u));
}

static inline void flags_set(struct cpu *c, uint64_t flags)
{
	c->flags = flags;
	c->arith = arith_of(flags);
}

static inline void flags_pack(struct cpu *c)
{
	c->flags = flags_get(c);
}

static inline void flags_unpack(struct cpu *c)
{
	c->arith = arith_of(c->flags);
}

/* ---- the core's verbs for the system side ---- */

/*
 * Runs the guest until something else is to be done: c->stop says what. At the return the state is
 * canonical with flags unpacked. Clears nothing of `attention`.
 */
void cpu_execute(struct cpu *c);

/* Something that modes follow from has changed: segments, CR0, CR4, EFER, flags VM, AC. */
void cpu_mode_changed(struct cpu *c);
void cpu_cr3_set(struct cpu *c, uint64_t v); /* with the flush that belongs to it */
void cpu_tlb_flush(struct cpu *c, bool global);
void cpu_tlb_flush_page(struct cpu *c, uint64_t at);
void cpu_debug_changed(struct cpu *c); /* which pages are watched */

/* From any thread. */
static inline void cpu_attention_set(struct cpu *c, uint32_t why)
{
	__atomic_fetch_or(&c->attention, why, __ATOMIC_SEQ_CST);
}

static inline void cpu_attention_clear(struct cpu *c, uint32_t why)
{
	__atomic_fetch_and(&c->attention, ~why, __ATOMIC_SEQ_CST);
}

static inline bool cpu_attention_wanted(const struct cpu *c)
{
	return __atomic_load_n(&c->attention, __ATOMIC_RELAXED) != 0;
}

/* Kept for the system side: an event may be deliverable now. */
static inline void cpu_attention(struct cpu *c)
{
	cpu_attention_set(c, ATTEND_EVENT);
}

/*
 * The parts of a vCPU that the core owns. `w` is shared by the vCPUs of a machine; `apic` and the
 * rest of `sys` are the caller's to fill. Reset is sys_reset()'s.
 */
struct cpu *cpu_new(struct cpu_world *w, struct ram *ram, struct bus *bus, unsigned index);
struct cpu *cpu_free(struct cpu *c);
