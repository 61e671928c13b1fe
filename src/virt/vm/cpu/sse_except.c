/*
 * SSE instructions while an exception is unmasked (SDM volume 1, 11.5). The host never runs
 * unmasked: the instruction is executed with everything masked and the flags cleared, and from
 * the flags that it then sets follows what an unmasked one would have done.
 *
 * Two things differ from the masked response. Invalid, denormal and divide-by-zero are found
 * before anything is computed: when one of them is unmasked, the flags of the others, found
 * after, stay. And an unmasked underflow needs only a tiny result, not an inexact one: the host
 * is run without flush-to-zero then, and denormal results are looked for.
 */
#include "virt/vm/cpu/sse_except.h"

#include "virt/vm/cpu/vec.h"

#define BEFORE 0x07u /* IE DE ZE */
#define UE     0x10u
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

bool sse_unmasked_end(uint32_t mxcsr, enum sse_result kind, vec r)
{
	uint32_t flags = mxcsr_host() & MXCSR_FLAGS;
	uint32_t unmasked = ~(mxcsr >> 7) & MXCSR_FLAGS;
	bool raise;

	if (flags & unmasked & BEFORE)
		flags &= BEFORE;
	else if ((unmasked & UE) && tiny(kind, r))
		flags |= UE;
	raise = (flags & unmasked) != 0;
	mxcsr_host_set(mxcsr | MXCSR_MASKS | flags);
	return !raise;
}
