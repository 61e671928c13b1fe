/*
 * SSE instructions while an exception is unmasked (SDM volume 1, 11.5). The host never runs
 * unmasked: the instruction is executed with everything masked and the flags cleared, and from
 * the flags that it then sets follows what an unmasked one would have done.
 *
 * Three things differ from the masked response. Invalid, denormal and divide-by-zero are found
 * before anything is computed: when one of them is unmasked, the flags of the others, found
 * after, stay. An unmasked underflow needs only a tiny result, not an inexact one: the host is
 * run without flush-to-zero then, and denormal results are looked for. And when overflow or
 * underflow traps, inexact means: with exponents without limit. The x87 unit has such exponents,
 * for these formats, and rounds to their precision if it is told to, so it is asked.
 *
 * DPPS and DPPD are a multiplication and one or two additions, each with exceptions of its own.
 */
#include "virt/vm/cpu/sse_except.h"

#include <string.h>

#include "virt/vm/cpu/vec.h"

#define BEFORE 0x07u /* IE DE ZE */
#define OE     0x08u
#define UE     0x10u
#define PE     0x20u
#define UM     0x0800u

static bool tiny32(uint32_t v)
{
	return (v & 0x7f800000u) == 0 && (v & 0x007fffffu) != 0;
}

static bool tiny64(uint64_t v)
{
	return (v & 0x7ff0000000000000ull) == 0 && (v & 0x000fffffffffffffull) != 0;
}

static bool tiny(enum sse_result kind, vec r)
{
	uint64_t low = (uint64_t)r[0], high = (uint64_t)r[1];

	switch (kind) {
	case SSE_NUM:
		return false;
	case SSE_SS:
		return tiny32((uint32_t)low);
	case SSE_SD:
		return tiny64(low);
	case SSE_PS:
		return tiny32((uint32_t)low) || tiny32((uint32_t)(low >> 32)) ||
		       tiny32((uint32_t)high) || tiny32((uint32_t)(high >> 32));
	case SSE_PD:
		return tiny64(low) || tiny64(high);
	}
	__builtin_unreachable();
}

void sse_unmasked_begin(uint32_t mxcsr)
{
	uint32_t host = (mxcsr | MXCSR_MASKS) & ~MXCSR_FLAGS;

	if (!(mxcsr & UM))
		host &= ~MXCSR_FTZ;
	mxcsr_host_set(host);
}

/* ---- inexact, with exponents without limit ---- */

union elements {
	vec v;
	uint32_t single[4];
	uint64_t dual[2];
};

/* One operation in the x87 unit, rounded to the precision that its control word says. In one
 * piece, so that the compiler keeps nothing in the unit meanwhile. */
#define X87_STATUS(insn)                                                     \
	__asm__ volatile("fninit\n\tfldcw %1\n\tfldt %2\n\tfldt %3\n\t" insn \
			 "\n\tfnstsw %0\n\tfninit"                           \
			 : "=a"(status)                                      \
			 : "m"(control), "m"(a), "m"(b)                      \
			 : "memory")

static bool inexact_one(enum sse_arith op, uint16_t control, long double a, long double b)
{
	uint16_t status;

	if (op == SSE_SUB)
		X87_STATUS("fsubrp");
	else if (op == SSE_MUL)
		X87_STATUS("fmulp");
	else if (op == SSE_DIV)
		X87_STATUS("fdivrp"); /* the first by the second: AT&T's names are exchanged */
	else
		X87_STATUS("faddp");
	return (status & PE) != 0;
}

struct lane {
	enum sse_arith op;
	long double a, b;
};

static long double value(const struct sse_work *w, uint32_t mxcsr, vec from, unsigned i)
{
	union elements e = {.v = from};
	float f;
	double d;

	if (w->kind == SSE_PD || w->kind == SSE_SD || w->arith == SSE_NARROW) {
		if ((mxcsr & MXCSR_DAZ) && tiny64(e.dual[i]))
			e.dual[i] &= 1ull << 63;
		memcpy(&d, &e.dual[i], sizeof(d));
		return d;
	}
	if ((mxcsr & MXCSR_DAZ) && tiny32(e.single[i]))
		e.single[i] &= 1u << 31;
	memcpy(&f, &e.single[i], sizeof(f));
	return f;
}

/* The operands of result i; `n` results. */
static struct lane lane(const struct sse_work *w, uint32_t mxcsr, unsigned i, unsigned n)
{
	bool across = w->arith == SSE_HADD || w->arith == SSE_HSUB;
	vec from = across && i >= n / 2 ? w->s : w->d;
	unsigned first = across ? 2 * i % n : i;
	struct lane l = {.op = (enum sse_arith)w->arith};

	if (w->arith == SSE_NARROW)
		return (struct lane){SSE_ADD, value(w, mxcsr, w->s, i), 0};
	if (across)
		l.op = w->arith == SSE_HADD ? SSE_ADD : SSE_SUB;
	if (w->arith == SSE_ADDSUB)
		l.op = i & 1 ? SSE_ADD : SSE_SUB;
	l.a = value(w, mxcsr, from, first);
	l.b = across ? value(w, mxcsr, from, first + 1) : value(w, mxcsr, w->s, i);
	return l;
}

static bool inexact(const struct sse_work *w, uint32_t mxcsr)
{
	bool wide = w->kind == SSE_PD || w->kind == SSE_SD, scalar = w->kind >= SSE_SS;
	unsigned n = scalar ? 1 : wide || w->arith == SSE_NARROW ? 2 : 4;
	uint16_t control = (uint16_t)(0x7f | (wide ? 0x200 : 0) | (mxcsr >> 3 & 0xc00));
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		struct lane l = lane(w, mxcsr, i, n);

		any |= inexact_one(l.op, control, l.a, l.b);
	}
	return any;
}

/* ---- the end of an instruction ---- */

/* What the flags become; false: #XM. */
static bool settle(uint32_t mxcsr, uint32_t flags)
{
	mxcsr_host_set(mxcsr | MXCSR_MASKS | flags);
	return (flags & ~(mxcsr >> 7) & MXCSR_FLAGS) == 0;
}

bool sse_unmasked_end(uint32_t mxcsr)
{
	uint32_t flags = mxcsr_host() & MXCSR_FLAGS;

	if (flags & ~(mxcsr >> 7) & BEFORE)
		flags &= BEFORE;
	return settle(mxcsr, flags);
}

static bool step(uint32_t mxcsr, const struct sse_work *w, vec *ret)
{
	uint32_t unmasked = ~(mxcsr >> 7) & MXCSR_FLAGS, flags;
	vec r;

	sse_unmasked_begin(mxcsr);
	r = w->kernel(w->d, w->s);
	flags = mxcsr_host() & MXCSR_FLAGS;
	if (flags & unmasked & BEFORE) {
		flags &= BEFORE;
	} else {
		if ((unmasked & UE) && tiny(w->kind, r))
			flags |= UE;
		/* A masked overflow or underflow elsewhere in the vector is inexact by itself. */
		if ((flags & unmasked & (OE | UE)) && !(flags & ~unmasked & (OE | UE)))
			flags = (flags & ~PE) | (inexact(w, mxcsr) ? PE : 0);
	}
	*ret = r;
	return settle(mxcsr, flags);
}

/* ---- DPPS and DPPD ---- */

static vec select(vec v, unsigned imm, unsigned elements)
{
	union elements e = {.v = v};

	for (unsigned i = 0; i < elements; i++) {
		if (imm >> i & 1)
			continue;
		if (elements == 2)
			e.dual[i] = 0;
		else
			e.single[i] = 0;
	}
	return e.v;
}

static bool dot(uint32_t mxcsr, const struct sse_work *w, vec *ret)
{
	bool wide = w->kind == SSE_PD;
	unsigned elements = wide ? 2 : 4, chosen = w->imm >> 4;
	struct sse_work part = {.kind = w->kind, .arith = SSE_MUL};
	union elements r;

	part.kernel = wide ? sse_k_mulpd : sse_k_mulps;
	part.d = select(w->d, chosen, elements);
	part.s = select(w->s, chosen, elements);
	for (unsigned stage = 0; stage <= elements / 2; stage++) {
		if (!step(mxcsr, &part, &r.v))
			return false;
		mxcsr |= mxcsr_host() & MXCSR_FLAGS;
		part.kernel = wide ? sse_k_haddpd : sse_k_haddps;
		part.arith = SSE_HADD;
		part.d = part.s = r.v;
	}
	*ret = w->kernel(w->d, w->s); /* which of several NaNs it is, only the whole knows */
	return true;
}

bool sse_unmasked(uint32_t mxcsr, const struct sse_work *w, vec *ret)
{
	return w->arith == SSE_DOT ? dot(mxcsr, w, ret) : step(mxcsr, w, ret);
}
