/*
 * Stacks as far transfers and events use them: a copy of segment, pointer and width that pushes and
 * pops move along, so that a fault half-way leaves the registers alone. See sys_priv.h.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>

struct stack stack_new(const struct cpu *c, const struct vcpu_segment *ss, uint64_t sp,
		       unsigned cpl, bool in64)
{
	struct stack s = {.ss = ss, .sp = sp, .flat = in64, .user = cpl == 3};

	assert(cpl <= 3);
	s.mask = in64 ? UINT64_MAX : (ss->access & SEG_DB) != 0 ? 0xffffffff : 0xffff;
	return s;
}

struct stack stack_of(const struct cpu *c)
{
	return stack_new(c, &c->segment[VCPU_SS], c->gpr[VCPU_RSP], sys_cpl(c), sys_in64(c));
}

static bool linear(struct cpu *c, const struct stack *s, uint64_t offset, unsigned bytes,
		   uint64_t *ret)
{
	if (s->flat) {
		*ret = offset;
		return (sys_canonical(offset) && sys_canonical(offset + bytes - 1)) ||
		       sys_fault(c, VECTOR_SS, s->error);
	}
	if (s->ss->unusable || !segment_inside(s->ss, offset, bytes))
		return sys_fault(c, VECTOR_SS, s->error);
	*ret = (s->ss->base + offset) & 0xffffffff;
	return true;
}

bool stack_push(struct cpu *c, struct stack *s, unsigned bytes, uint64_t value)
{
	uint64_t sp = (s->sp - bytes) & s->mask, at;

	assert(bytes == 2 || bytes == 4 || bytes == 8);
	if (!linear(c, s, sp, bytes, &at) || (s->user && !mmu_aligned(c, at, bytes)) ||
	    !sys_store(c, at, &value, bytes, s->user))
		return false;
	s->sp = sp;
	return true;
}

bool stack_pop(struct cpu *c, struct stack *s, unsigned bytes, uint64_t *ret)
{
	uint64_t sp = s->sp & s->mask, at, value = 0;

	assert(bytes == 2 || bytes == 4 || bytes == 8);
	if (!linear(c, s, sp, bytes, &at) || (s->user && !mmu_aligned(c, at, bytes)) ||
	    !sys_load(c, at, &value, bytes, s->user))
		return false;
	*ret = value;
	s->sp = (sp + bytes) & s->mask;
	return true;
}

uint64_t stack_rsp(const struct cpu *c, const struct stack *s)
{
	if (s->mask == 0xffff)
		return (c->gpr[VCPU_RSP] & ~0xffffull) | (s->sp & 0xffff);
	return s->sp & s->mask;
}
