/*
 * String instructions: MOVS, STOS, LODS, CMPS, SCAS with their repeats.
 *
 * A repeated one goes page by page where both operands have fast translations, else element by
 * element; registers are right after every step, so that faults and events find it between two. It
 * is never a memmove: an overlap that a copy runs into repeats what it has just written.
 *
 * The op: `src` is 0, or how it repeats; `dst` is log2 of the address size; `imm` is the source's
 * segment.
 */
#include <string.h>

#include "virt/vm/cpu/alu.h"
#include "virt/vm/cpu/sys_priv.h"

enum repeat { REPEAT_NOT, REPEAT_EQUAL, REPEAT_UNEQUAL };
enum outcome { STRING_DONE, STRING_FAULT, STRING_AGAIN };

static uint64_t size_mask(const struct op *o)
{
	return o->dst == 3 ? UINT64_MAX : o->dst == 2 ? UINT32_MAX : UINT16_MAX;
}

static void advance(struct cpu *c, const struct op *o, unsigned reg, uint64_t by)
{
	uint64_t value = R64(reg) + by;

	if (o->dst == 1)
		R16(reg) = (uint16_t)value;
	else
		R64(reg) = o->dst == 2 ? (uint32_t)value : value;
}

/* The linear address of an operand; false: fault. */
static bool address(struct cpu *c, const struct op *o, unsigned name, unsigned reg, unsigned n,
		    bool write, uint64_t *ret)
{
	uint64_t offset = R64(reg) & size_mask(o);

	if ((c->mode & MODE_FLAT) != 0 && name < VCPU_FS) {
		*ret = offset;
		return true;
	}
	return segment_address(c, name, offset, n, write, ret);
}

/* How many elements of n bytes lie from `at` to the end of its page, going up. */
static uint64_t room(uint64_t at, unsigned n)
{
	return (0x1000 - (at & 0xfff)) / n;
}

/*
 * What a repeat does before its first turn, even if there is none: with addresses of 32 bits the
 * count loses its upper half, and in MOVS and STOS the indices do.
 */
static inline void begin(struct cpu *c, const struct op *o, bool source, bool target)
{
	if (o->src == REPEAT_NOT || o->dst != 2)
		return;
	R64(VCPU_RCX) = R32(VCPU_RCX);
	if (source)
		R64(VCPU_RSI) = R32(VCPU_RSI);
	if (target)
		R64(VCPU_RDI) = R32(VCPU_RDI);
}

static uint64_t count_of(const struct cpu *c, const struct op *o)
{
	return o->src == REPEAT_NOT ? 1 : R64(VCPU_RCX) & size_mask(o);
}

/* How many may be done at once: within both pages, and one only while each is watched. Steps are
 * cut so that a wrap of the index register is the slow path's, and going down is. */
static uint64_t chunk_of(const struct cpu *c, const struct op *o, uint64_t count)
{
	if (o->src == REPEAT_NOT || (c->mode & MODE_ONE) != 0 || (c->flags & FLAG_DF) != 0)
		return 0;
	return count;
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* An index must not wrap inside a chunk. */
static uint64_t no_wrap(const struct cpu *c, const struct op *o, unsigned reg, unsigned n)
{
	uint64_t left = size_mask(o) - (R64(reg) & size_mask(o));

	return o->dst == 3 ? UINT64_MAX : left / n;
}

static uint64_t step_of(const struct cpu *c, unsigned n)
{
	return (c->flags & FLAG_DF) != 0 ? 0 - (uint64_t)n : n;
}

/* Between two steps of a repeated instruction. */
static bool pause_here(const struct cpu *c)
{
	return (c->mode & MODE_ONE) != 0 || __atomic_load_n(&c->attention, __ATOMIC_RELAXED) != 0;
}

static void finish(struct cpu *c, const struct op *o, enum outcome how)
{
	switch (how) {
	case STRING_DONE:
		NEXT;
	case STRING_FAULT:
		FAULTED;
	case STRING_AGAIN:
		c->rip = op_rip(c, o);
		LEAVE(CPU_STOP_SYSTEM);
	}
}

/* ---- MOVS ---- */

static void copy(uint8_t *to, const uint8_t *from, uint64_t bytes, unsigned n)
{
	uint64_t ahead = (uint64_t)(uintptr_t)to - (uint64_t)(uintptr_t)from;

	if (ahead >= bytes) { /* no overlap, or the target lies below: going up is right */
		memmove(to, from, bytes);
		return;
	}
	for (uint64_t i = 0; i < bytes; i += n)
		memmove(to + i, from + i, n);
}

static inline __attribute__((always_inline)) enum outcome movs(struct cpu *c, const struct op *o,
							       unsigned n)
{
	begin(c, o, true, true);
	for (;;) {
		uint64_t count = count_of(c, o), from, to, chunk;
		const uint8_t *source;
		uint8_t *target;

		if (count == 0)
			return STRING_DONE;
		if (!address(c, o, (unsigned)o->imm, VCPU_RSI, n, false, &from) ||
		    !address(c, o, VCPU_ES, VCPU_RDI, n, true, &to))
			return STRING_FAULT;
		source = tlb_read(c, from, n);
		target = tlb_write(c, to, n);
		chunk = at_most(chunk_of(c, o, count), at_most(room(from, n), room(to, n)));
		chunk = at_most(chunk,
				at_most(no_wrap(c, o, VCPU_RSI, n), no_wrap(c, o, VCPU_RDI, n)));
		if (source && target && chunk > 0 && (c->mode & MODE_FLAT) != 0) {
			copy(target, source, chunk * n, n);
			advance(c, o, VCPU_RSI, chunk * n);
			advance(c, o, VCPU_RDI, chunk * n);
		} else {
			if (!mmu_load(c, from, n) || !mmu_store(c, to, c->loaded, n))
				return STRING_FAULT;
			chunk = 1;
			advance(c, o, VCPU_RSI, step_of(c, n));
			advance(c, o, VCPU_RDI, step_of(c, n));
		}
		if (o->src == REPEAT_NOT)
			return STRING_DONE;
		advance(c, o, VCPU_RCX, 0 - chunk);
		if (count > chunk && pause_here(c))
			return STRING_AGAIN;
	}
}

/* ---- STOS ---- */

static void fill(uint8_t *to, uint64_t count, unsigned n, uint64_t value)
{
	if (n == 1 || value == 0) {
		memset(to, (int)(uint8_t)value, count * n);
		return;
	}
	for (uint64_t i = 0; i < count; i++)
		memcpy(to + i * n, &value, n);
}

static inline __attribute__((always_inline)) enum outcome stos(struct cpu *c, const struct op *o,
							       unsigned n, uint64_t value)
{
	begin(c, o, false, true);
	for (;;) {
		uint64_t count = count_of(c, o), to, chunk;
		uint8_t *target;

		if (count == 0)
			return STRING_DONE;
		if (!address(c, o, VCPU_ES, VCPU_RDI, n, true, &to))
			return STRING_FAULT;
		target = tlb_write(c, to, n);
		chunk = at_most(chunk_of(c, o, count), room(to, n));
		chunk = at_most(chunk, no_wrap(c, o, VCPU_RDI, n));
		if (target && chunk > 0 && (c->mode & MODE_FLAT) != 0) {
			fill(target, chunk, n, value);
			advance(c, o, VCPU_RDI, chunk * n);
		} else {
			if (!mmu_store(c, to, value, n))
				return STRING_FAULT;
			chunk = 1;
			advance(c, o, VCPU_RDI, step_of(c, n));
		}
		if (o->src == REPEAT_NOT)
			return STRING_DONE;
		advance(c, o, VCPU_RCX, 0 - chunk);
		if (count > chunk && pause_here(c))
			return STRING_AGAIN;
	}
}

/* ---- LODS ---- */

static inline __attribute__((always_inline)) enum outcome lods(struct cpu *c, const struct op *o,
							       unsigned n)
{
	begin(c, o, false, false);
	for (;;) {
		uint64_t count = count_of(c, o), from;

		if (count == 0)
			return STRING_DONE;
		if (!address(c, o, (unsigned)o->imm, VCPU_RSI, n, false, &from) ||
		    !mmu_load(c, from, n))
			return STRING_FAULT;
		memcpy(&c->gpr[VCPU_RAX], &c->loaded, n);
		if (n == 4)
			c->gpr[VCPU_RAX] = (uint32_t)c->loaded;
		advance(c, o, VCPU_RSI, step_of(c, n));
		if (o->src == REPEAT_NOT)
			return STRING_DONE;
		advance(c, o, VCPU_RCX, UINT64_MAX);
		if (count > 1 && pause_here(c))
			return STRING_AGAIN;
	}
}

/* ---- CMPS and SCAS: flags of the last comparison ---- */

#define COMPARE(bits)                                                                \
	static inline uint16_t compare_##bits(struct cpu *c, uint64_t a, uint64_t b) \
	{                                                                            \
		uint##bits##_t d = (uint##bits##_t)a;                                \
		uint32_t f;                                                          \
                                                                                     \
		ALU("", "cmp", "+&r"(d), "r"((uint##bits##_t)b));                    \
		return (uint16_t)f;                                                  \
	}

COMPARE(8)
COMPARE(16)
COMPARE(32)
COMPARE(64)

static inline uint16_t compare(struct cpu *c, unsigned n, uint64_t a, uint64_t b)
{
	return n == 1	? compare_8(c, a, b)
	       : n == 2 ? compare_16(c, a, b)
	       : n == 4 ? compare_32(c, a, b)
			: compare_64(c, a, b);
}

/* How many elements are passed over before the one that ends it; at most `most`. */
static uint64_t same_run(const uint8_t *a, const uint8_t *b, uint64_t most, unsigned n, bool equal)
{
	uint64_t i = 0;

	while (i < most && (memcmp(a + i * n, b + i * n, n) == 0) == equal)
		i++;
	return i;
}

static enum outcome compare_fault(struct cpu *c, uint16_t before)
{
	c->arith = before;
	return STRING_FAULT;
}

/* ES:rDI's element first, as processors do; the other one is left in c->loaded. */
static bool load_two(struct cpu *c, uint64_t a, uint64_t b, unsigned n, uint64_t *ret_b)
{
	if (!mmu_load(c, b, n))
		return false;
	*ret_b = c->loaded;
	return mmu_load(c, a, n);
}

static inline __attribute__((always_inline)) enum outcome cmps(struct cpu *c, const struct op *o,
							       unsigned n)
{
	bool equal = o->src == REPEAT_EQUAL;
	uint16_t before = c->arith; /* what a fault finds, whatever was compared */

	begin(c, o, false, false);
	for (;;) {
		uint64_t count = count_of(c, o), a, b, vb, chunk;
		const uint8_t *pa, *pb;

		if (count == 0)
			return STRING_DONE;
		/* The destination faults first, as on processors. */
		if (!address(c, o, VCPU_ES, VCPU_RDI, n, false, &b))
			return compare_fault(c, before);
		if (!address(c, o, (unsigned)o->imm, VCPU_RSI, n, false, &a)) {
			if (mmu_load(c, b, n))
				(void)address(c, o, (unsigned)o->imm, VCPU_RSI, n, false, &a);
			return compare_fault(c, before);
		}
		pa = tlb_read(c, a, n);
		pb = tlb_read(c, b, n);
		chunk = at_most(chunk_of(c, o, count), at_most(room(a, n), room(b, n)));
		chunk = at_most(chunk,
				at_most(no_wrap(c, o, VCPU_RSI, n), no_wrap(c, o, VCPU_RDI, n)));
		/* All but the last of the chunk may be skipped: flags come from one that is
		 * looked at. */
		if (pa && pb && chunk > 1 && (c->mode & MODE_FLAT) != 0) {
			uint64_t skip = same_run(pa, pb, chunk - 1, n, equal);

			advance(c, o, VCPU_RSI, skip * n);
			advance(c, o, VCPU_RDI, skip * n);
			advance(c, o, VCPU_RCX, 0 - skip);
			a += skip * n;
			b += skip * n;
			count -= skip;
		}
		if (!load_two(c, a, b, n, &vb))
			return compare_fault(c, before);
		c->arith = compare(c, n, c->loaded, vb);
		advance(c, o, VCPU_RSI, step_of(c, n));
		advance(c, o, VCPU_RDI, step_of(c, n));
		if (o->src == REPEAT_NOT)
			return STRING_DONE;
		advance(c, o, VCPU_RCX, UINT64_MAX);
		if (count == 1 || CC_e(c->arith) != equal)
			return STRING_DONE;
		if (pause_here(c))
			return STRING_AGAIN;
	}
}

/* The same for one operand and a value. */
static uint64_t value_run(const uint8_t *p, uint64_t value, uint64_t most, unsigned n, bool equal)
{
	uint64_t i = 0;

	while (i < most && (memcmp(p + i * n, &value, n) == 0) == equal)
		i++;
	return i;
}

static inline __attribute__((always_inline)) enum outcome scas(struct cpu *c, const struct op *o,
							       unsigned n, uint64_t value)
{
	bool equal = o->src == REPEAT_EQUAL;
	uint16_t before = c->arith; /* what a fault finds, whatever was compared */

	begin(c, o, false, false);
	for (;;) {
		uint64_t count = count_of(c, o), at, chunk;
		const uint8_t *p;

		if (count == 0)
			return STRING_DONE;
		if (!address(c, o, VCPU_ES, VCPU_RDI, n, false, &at))
			return compare_fault(c, before);
		p = tlb_read(c, at, n);
		chunk = at_most(chunk_of(c, o, count), room(at, n));
		chunk = at_most(chunk, no_wrap(c, o, VCPU_RDI, n));
		if (p && chunk > 1 && (c->mode & MODE_FLAT) != 0) {
			uint64_t skip = value_run(p, value, chunk - 1, n, equal);

			advance(c, o, VCPU_RDI, skip * n);
			advance(c, o, VCPU_RCX, 0 - skip);
			at += skip * n;
			count -= skip;
		}
		if (!mmu_load(c, at, n))
			return compare_fault(c, before);
		c->arith = compare(c, n, value, c->loaded);
		advance(c, o, VCPU_RDI, step_of(c, n));
		if (o->src == REPEAT_NOT)
			return STRING_DONE;
		advance(c, o, VCPU_RCX, UINT64_MAX);
		if (count == 1 || CC_e(c->arith) != equal)
			return STRING_DONE;
		if (pause_here(c))
			return STRING_AGAIN;
	}
}

#define STRINGS(bits)                                                  \
	OP(movs_##bits)                                                \
	{                                                              \
		finish(c, o, movs(c, o, bits / 8));                    \
	}                                                              \
	OP(stos_##bits)                                                \
	{                                                              \
		finish(c, o, stos(c, o, bits / 8, R##bits(VCPU_RAX))); \
	}                                                              \
	OP(lods_##bits)                                                \
	{                                                              \
		finish(c, o, lods(c, o, bits / 8));                    \
	}                                                              \
	OP(cmps_##bits)                                                \
	{                                                              \
		finish(c, o, cmps(c, o, bits / 8));                    \
	}                                                              \
	OP(scas_##bits)                                                \
	{                                                              \
		finish(c, o, scas(c, o, bits / 8, R##bits(VCPU_RAX))); \
	}

STRINGS(8)
STRINGS(16)
STRINGS(32)
STRINGS(64)

const struct form form_movs = {.run = FORM_ROW(movs, )};
const struct form form_stos = {.run = FORM_ROW(stos, )};
const struct form form_lods = {.run = FORM_ROW(lods, )};
const struct form form_cmps = {.run = FORM_ROW(cmps, )};
const struct form form_scas = {.run = FORM_ROW(scas, )};
