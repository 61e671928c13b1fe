/*
 * Ops: instructions decoded once into 32 bytes, executed by a handler each. A trace is a row of
 * them; a handler ends with NEXT, which calls the following op's handler as a sibling call, so
 * that a trace runs without returning.
 *
 * How to add an instruction
 *	1. Write its handler in the file of its family: OP(name) { ... NEXT; }.
 *	2. Give the decoder its row: integer ones in opcodes.c, system ones in system_decode.c,
 *	   vector and x87 ones behind vector_decode() (decode.h).
 *	3. If it can fault in other ways than by its memory operand, raise: FAULT(vector, error).
 *	   A local whose address is taken lives in a block that ends before NEXT, or NEXT is no
 *	   sibling call any more and the stack grows with every op (tool/siblings looks).
 *	4. If it changes what modes follow from, where the guest goes on, or what interrupts may
 *	   do, it ends its trace: LEAVE(stop) with c->rip set.
 *
 * Operands. `dst` and `src` are register numbers; for 8-bit operands, byte offsets into the
 * register file (AH is 1). A memory operand's address is
 *	gpr[base] + (gpr[index] << scale) + disp
 * where no base or index is REG_ZERO, RIP is REG_PAGE, and `ea` says what else is to be done with
 * it (cut to 32 or 16 bits, a segment's base added, its limit checked), 0 being nothing.
 *
 * Memory. LOAD and STORE are a compare and an access where the TLB hits; else the slow path does
 * whatever is needed, and FALSE from it is a fault that is described in c->sys.fault: the macro
 * leaves the trace. Registers must not be changed before the last access that may fault.
 */
#pragma once

#include "virt/vm/cpu/state.h"

struct op;

typedef void op_fn(struct cpu *c, const struct op *o);

struct op {
	op_fn *run;
	uint64_t imm; /* immediate, sign-extended; a branch's target relative to its page */
	int32_t disp;
	uint16_t id; /* enum op_id: what it is, for the translator and for tests */
	uint8_t dst, src, base, index, scale;
	uint8_t ea;    /* enum op_ea */
	uint8_t shape; /* length in bytes | log2 of the operand's bytes << 4 */
	uint8_t live;  /* OPF_* flags that are needed behind it */
	uint16_t at;   /* of its first byte, in its page */
};
_Static_assert(sizeof(struct op) == 32, "an op is half a cache line");

enum op_ea {
	EA_SEGMENT = 7,	   /* 1 + enum vcpu_segment_name, 0: none */
	EA_32 = 1 << 3,	   /* cut to 32 bits */
	EA_16 = 1 << 4,	   /* cut to 16 bits */
	EA_CHECK = 1 << 5, /* the segment is not flat: rights and limit */
	EA_WRITE = 1 << 6, /* ... for writing */
	EA_BYTES = 1 << 7, /* with EA_CHECK: 16 bytes wide */
};

/* Flags, one bit each, for liveness. */
enum op_flag {
	OPF_C = 1,
	OPF_P = 2,
	OPF_A = 4,
	OPF_Z = 8,
	OPF_S = 16,
	OPF_O = 32,
	OPF_ALL = 63,
};

/* A trace's first op may be replaced just when it is to run: its trace was killed (trace.h). */
static inline op_fn *op_handler(const struct op *o)
{
	return __atomic_load_n(&o->run, __ATOMIC_RELAXED);
}

static inline unsigned op_length(const struct op *o)
{
	return o->shape & 15u;
}

static inline unsigned op_bytes(const struct op *o)
{
	return 1u << (o->shape >> 4);
}

static inline uint64_t op_rip(const struct cpu *c, const struct op *o)
{
	return c->gpr[REG_PAGE] + o->at;
}

static inline uint64_t op_next_rip(const struct cpu *c, const struct op *o)
{
	return c->gpr[REG_PAGE] + o->at + op_length(o);
}

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * Without optimisation, and under sanitizers, a sibling call is an ordinary one and a trace of 32
 * ops would be 32 frames deep, a loop without end: there NEXT returns to the loop in
 * cpu_execute().
 */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define OP_THREADED 1
#endif

#define OP(name)                                           \
	void op_##name(struct cpu *c, const struct op *o); \
	void op_##name(struct cpu *c, const struct op *o)

#ifdef OP_THREADED
#define GO(next) return (next)->run(c, (next))
#else
extern _Thread_local const struct op *op_pending;
#define GO(next)                     \
	do {                         \
		op_pending = (next); \
		return;              \
	} while (0)
#endif
#define NEXT GO(o + 1)

/* Leaves the trace: c->rip is set, c->stop says why. */
#define LEAVE(why)             \
	do {                   \
		c->stop = why; \
		return;        \
	} while (0)

/* The fault is described in c->sys.fault: back to the loop, with rip at this instruction. */
void op_fault(struct cpu *c, const struct op *o);
#define FAULTED return op_fault(c, o)
/* The same where the stack was accessed: an address that is not canonical is #SS. */
void op_fault_stack(struct cpu *c, const struct op *o);
#define FAULTED_STACK return op_fault_stack(c, o)

/* Raises an exception with an error code; `code` < 0: without one. */
void op_raise(struct cpu *c, const struct op *o, unsigned vector, int code);
#define FAULT(vector, code) return op_raise(c, o, (vector), (code))

/* ---- registers ---- */

#define R8(n)  (((uint8_t *)c->gpr)[n])
#define R16(n) (*(uint16_t *)&c->gpr[n])
#define R32(n) (*(uint32_t *)&c->gpr[n])
#define R64(n) (c->gpr[n])

/* Writes: 32 bits clear what is above, 8 and 16 keep it. */
#define SET8(n, v)  (R8(n) = (uint8_t)(v))
#define SET16(n, v) (R16(n) = (uint16_t)(v))
#define SET32(n, v) (R64(n) = (uint32_t)(v))
#define SET64(n, v) (R64(n) = (v))

/* ---- addresses ---- */

uint64_t ea_slow(struct cpu *c, const struct op *o, uint64_t at);

/* The linear address of the memory operand. A failed segment check shows in the access. */
static inline uint64_t ea_of(struct cpu *c, const struct op *o)
{
	uint64_t at = c->gpr[o->base] + (c->gpr[o->index] << o->scale) + (uint64_t)(int64_t)o->disp;

	return likely(o->ea == 0) ? at : ea_slow(c, o, at);
}

/* The same where the decoder saw that it is base and displacement only. */
static inline uint64_t ea_plain(const struct cpu *c, const struct op *o)
{
	return c->gpr[o->base] + (uint64_t)(int64_t)o->disp;
}

/* ---- memory by linear address ---- */

#define PAGE_TAG (~0xfffull)

static inline struct tlb_entry *tlb_at(const struct cpu *c, uint64_t at)
{
	return (struct tlb_entry *)(void *)((char *)c->tlb + (at >> 7 & c->tlb_mask));
}

/* A pointer to `n` bytes if they lie in one page that may be read (written) directly. */
static inline void *tlb_read(const struct cpu *c, uint64_t at, unsigned n)
{
	const struct tlb_entry *t = tlb_at(c, at);

	return likely(((at + n - 1) & PAGE_TAG) == t->read) ? (void *)(uintptr_t)(at + t->addend)
							    : NULL;
}

static inline void *tlb_write(const struct cpu *c, uint64_t at, unsigned n)
{
	const struct tlb_entry *t = tlb_at(c, at);

	return likely(((at + n - 1) & PAGE_TAG) == t->write) ? (void *)(uintptr_t)(at + t->addend)
							     : NULL;
}

/* Up to 8 bytes into c->loaded, up to 16 into c->wide. False: fault. */
bool mmu_load(struct cpu *c, uint64_t at, unsigned n) must_use;
bool mmu_load_wide(struct cpu *c, uint64_t at, unsigned n) must_use;
bool mmu_store(struct cpu *c, uint64_t at, uint64_t value, unsigned n) must_use;
bool mmu_store_wide(struct cpu *c, uint64_t at, unsigned n) must_use; /* from c->wide */
/*
 * A read-modify-write operand: its bytes are in what is returned, NULL is a fault. When it is
 * changed, rmw_done() brings it back (it cannot fail); nothing may fault between the two. With
 * `locked` no other vCPU sees a state in between, however the operand lies.
 */
void *mmu_rmw(struct cpu *c, uint64_t at, unsigned n, bool locked) must_use;
void mmu_rmw_done(struct cpu *c);
/* Checks that [at, at + n) may be written, before state is changed that cannot be undone. */
bool mmu_probe_write(struct cpu *c, uint64_t at, unsigned n) must_use;

static inline void rmw_done(struct cpu *c)
{
	if (unlikely(c->rmw.active))
		mmu_rmw_done(c);
}

typedef uint8_t u8 __attribute__((may_alias));
typedef uint16_t u16 __attribute__((may_alias, aligned(1)));
typedef uint32_t u32 __attribute__((may_alias, aligned(1)));
typedef uint64_t u64 __attribute__((may_alias, aligned(1)));

/* Declares `name` and loads it from the linear address `at`. */
#define LOAD(bits, name, at_)                                                           \
	u##bits name;                                                                   \
	do {                                                                            \
		uint64_t load_at = (at_);                                               \
		const struct tlb_entry *load_t = tlb_at(c, load_at);                    \
		if (likely(((load_at + bits / 8 - 1) & PAGE_TAG) == load_t->read))      \
			name = *(const u##bits *)(uintptr_t)(load_at + load_t->addend); \
		else if (mmu_load(c, load_at, bits / 8))                                \
			name = (u##bits)c->loaded;                                      \
		else                                                                    \
			FAULTED;                                                        \
	} while (0)

#define STORE(bits, at_, value)                                                        \
	do {                                                                           \
		uint64_t store_at = (at_);                                             \
		const struct tlb_entry *store_t = tlb_at(c, store_at);                 \
		if (likely(((store_at + bits / 8 - 1) & PAGE_TAG) == store_t->write))  \
			*(u##bits *)(uintptr_t)(store_at + store_t->addend) = (value); \
		else if (!mmu_store(c, store_at, (uint64_t)(value), bits / 8))         \
			FAULTED;                                                       \
	} while (0)

/* Declares `name`, a pointer to the operand of a read-modify-write. */
#define MODIFY(bits, name, at_, locked)                                             \
	u##bits *name;                                                              \
	do {                                                                        \
		uint64_t rmw_at = (at_);                                            \
		const struct tlb_entry *rmw_t = tlb_at(c, rmw_at);                  \
		if (likely(((rmw_at + bits / 8 - 1) & PAGE_TAG) == rmw_t->write))   \
			name = (u##bits *)(uintptr_t)(rmw_at + rmw_t->addend);      \
		else if (!(name = (u##bits *)mmu_rmw(c, rmw_at, bits / 8, locked))) \
			FAULTED;                                                    \
	} while (0)

/* ---- where a trace goes on ---- */

/*
 * A trace begins with op_enter (run.c): it adds `imm` instructions to c->executed and leaves with
 * CPU_STOP_ATTENTION where attention is wanted.
 *
 * Behind each direct branch lies its link, an op of its own that the decoder makes (decode.h):
 *	imm	the op to go on with. At first the link itself, so the builder sets it when ops
 *		have found their place; op_link, its handler, looks the target trace up (or makes
 *		it), stores its op_enter here, and goes there. A target on another page is not
 *		stored.
 *	disp	the target, relative to REG_PAGE (it may lie on another page)
 *	src	the instructions of the trace that follow the branch, filled by the builder: a
 *		branch that leaves in the middle takes them off c->executed
 *	dst	LINK_FAR or LINK_16 or 0
 *	id	OPI_LINK
 * A conditional branch that is not taken goes on at o + 2, in the same trace; an unconditional
 * one, and one that is the last of its trace, is followed by another link only if the builder
 * adds one (op_link with the fall-through as target), which is how every trace that is cut ends.
 */
enum { OPI_NONE, OPI_LINK, OPI_FIRST };
enum { LINK_FAR = 1 /* 4 GiB beyond `disp` */, LINK_16 = 2 /* cut to 16 bits */ };

void op_link(struct cpu *c, const struct op *o);
void op_enter(struct cpu *c, const struct op *o);

/* Where a link leads: another vCPU may have built that trace a moment ago. */
static inline const struct op *op_linked(const struct op *link)
{
	return (const struct op *)(uintptr_t)__atomic_load_n(&link->imm, __ATOMIC_ACQUIRE);
}

#define TAKE                             \
	do {                             \
		c->executed -= o[1].src; \
		GO(op_linked(o + 1));    \
	} while (0)

/* To c->rip, which is set: by the jump cache or back to the loop. */
void op_exit_jump(struct cpu *c);

/* A system instruction is done, in the middle of nothing: c->rip is set, c->flags are whole. */
#define SYSTEM_END                      \
	do {                            \
		flags_unpack(c);        \
		LEAVE(CPU_STOP_SYSTEM); \
	} while (0)
