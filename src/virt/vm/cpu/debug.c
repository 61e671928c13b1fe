/*
 * Debug registers and what they catch: instruction, data and I/O breakpoints, single step, general
 * detect. See sys.h; SDM volume 3, chapter 18.
 *
 * Instruction breakpoints are faults, before the instruction; everything else gathers DR6 bits in
 * `sys->debug`, and one trap follows the instruction.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>

enum breakpoint { ON_EXECUTE, ON_WRITE, ON_IO, ON_ACCESS };

static bool enabled(const struct cpu *c, unsigned n)
{
	return (c->dr[7] >> (n * 2) & 3) != 0;
}

static enum breakpoint kind_of(const struct cpu *c, unsigned n)
{
	return (enum breakpoint)(c->dr[7] >> (16 + n * 4) & 3);
}

/* Length field: 1, 2, 8, 4 bytes. */
static uint64_t bytes_of(const struct cpu *c, unsigned n)
{
	static const uint8_t bytes[] = {1, 2, 8, 4};

	return bytes[c->dr[7] >> (18 + n * 4) & 3];
}

/* Does [at, at + n) touch what breakpoint i watches? Its address is aligned to its length. */
static bool touches(const struct cpu *c, unsigned i, uint64_t at, uint64_t n)
{
	uint64_t bytes = bytes_of(c, i), from = c->dr[i] & ~(bytes - 1);

	return at < from + bytes && from < at + n;
}

/* DR6 bits of the breakpoints of the kinds in `kinds` that an access touches. */
static uint64_t hits(const struct cpu *c, uint64_t at, uint64_t n, unsigned kinds)
{
	uint64_t found = 0;
	bool any = false;

	for (unsigned i = 0; i < 4; i++) {
		if ((kinds >> kind_of(c, i) & 1) == 0 || !touches(c, i, at, n))
			continue;
		found |= 1ull << i; /* DR6 may show also those that are not enabled */
		any |= enabled(c, i);
	}
	return any ? found : 0;
}

void sys_debug_data(struct cpu *c, uint64_t at, unsigned n, bool write)
{
	if ((c->dr[7] & 0xff) == 0)
		return;
	c->sys.debug |= hits(c, at, n, write ? 1u << ON_WRITE | 1u << ON_ACCESS : 1u << ON_ACCESS);
}

void sys_debug_io(struct cpu *c, uint16_t port, unsigned n)
{
	if ((c->dr[7] & 0xff) == 0 || (c->cr4 & CR4_DE) == 0)
		return;
	c->sys.debug |= hits(c, port, n, 1u << ON_IO);
}

bool sys_debug_watches(const struct cpu *c, uint64_t page)
{
	for (unsigned i = 0; i < 4; i++)
		if (enabled(c, i) && kind_of(c, i) != ON_IO && c->dr[i] >> 12 == page >> 12)
			return true;
	return false;
}

bool sys_debug_code(struct cpu *c, uint64_t at)
{
	uint64_t found;

	if ((c->dr[7] & 0xff) == 0 || (c->flags & FLAG_RF) != 0)
		return true;
	found = hits(c, at, 1, 1u << ON_EXECUTE);
	if (found == 0)
		return true;
	c->dr[6] = (c->dr[6] & ~0xfull) | found;
	return sys_fault_plain(c, VECTOR_DB);
}

/* After an instruction: the trap that it and TF earned, if any. True: nothing to deliver. */
bool sys_debug_trap(struct cpu *c, bool step)
{
	uint64_t found = c->sys.debug | (step ? DR6_BS : 0);

	c->sys.debug = 0;
	if (found == 0)
		return true;
	c->dr[6] = (c->dr[6] & ~0xfull) | found;
	return sys_fault_plain(c, VECTOR_DB);
}

/* DR4 and DR5 are 6 and 7 unless debugging extensions say that they are not there. */
static bool name(struct cpu *c, unsigned *n)
{
	assert(*n < 8);
	if (*n == 4 || *n == 5) {
		if ((c->cr4 & CR4_DE) != 0)
			return sys_fault_plain(c, VECTOR_UD);
		*n += 2;
	}
	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	if ((c->dr[7] & DR7_GD) != 0) {
		c->dr[6] |= DR6_BD;
		return sys_fault_plain(c, VECTOR_DB);
	}
	return true;
}

bool sys_dr_read(struct cpu *c, unsigned n, uint64_t *ret)
{
	if (!name(c, &n))
		return false;
	*ret = c->dr[n];
	return true;
}

bool sys_dr_write(struct cpu *c, unsigned n, uint64_t value)
{
	if (!name(c, &n))
		return false;
	if (!sys_in64(c))
		value = (uint32_t)value;
	if (n >= 6 && value >> 32 != 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (n == 6)
		value = (value & 0xe00f) | DR6_FIXED;
	if (n == 7)
		value = (value & 0xffff23ff) | DR7_FIXED;
	c->dr[n] = value;
	cpu_debug_changed(c);
	return true;
}
