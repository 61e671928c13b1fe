/*
 * IRET in every mode: back to the same or an outer level, to virtual-8086 mode, to another task,
 * out of 64-bit mode. See sys.h; SDM volume 2, IRET.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>

/* A frame as popped. */
struct popped {
	uint64_t rip, cs, flags, rsp, ss;
};

/* Flags that IRET and POPF may set at a privilege level; the rest keeps its value. */
uint64_t flags_writable(const struct cpu *c, unsigned cpl, unsigned bytes)
{
	uint64_t mask = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_TF | FLAG_DF |
			FLAG_OF | FLAG_NT | FLAG_AC | FLAG_ID;

	if (cpl == 0)
		mask |= FLAG_IOPL;
	if (cpl <= sys_iopl(c))
		mask |= FLAG_IF;
	return bytes == 2 ? mask & 0xffff : mask;
}

static void flags_replace(struct cpu *c, uint64_t flags, uint64_t mask)
{
	c->flags = ((c->flags & ~mask) | (flags & mask)) | 2;
}

static void done(struct cpu *c)
{
	c->sys.nmi_masked = false;
}

static bool iret_real(struct cpu *c, unsigned bytes)
{
	struct vcpu_segment cs = c->segment[VCPU_CS];
	struct stack s = stack_of(c);
	uint64_t rip, selector, flags, mask;

	if (sys_v86(c) && sys_iopl(c) < 3)
		return sys_fault(c, VECTOR_GP, 0);
	if (!stack_pop(c, &s, bytes, &rip) || !stack_pop(c, &s, bytes, &selector) ||
	    !stack_pop(c, &s, bytes, &flags))
		return false;
	cs.selector = (uint16_t)selector;
	cs.base = (uint64_t)cs.selector << 4;
	if (rip > cs.limit)
		return sys_fault(c, VECTOR_GP, 0);
	mask = flags_writable(c, sys_v86(c) ? 3 : 0, bytes) | (bytes == 4 ? FLAG_RF : 0);
	c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	c->rip = rip;
	flags_replace(c, flags, mask);
	segment_put(c, VCPU_CS, &cs);
	done(c);
	return true;
}

/* To virtual-8086 mode: six more words lie on the stack. */
static bool iret_v86(struct cpu *c, struct stack *s, const struct popped *p)
{
	static const uint8_t order[] = {VCPU_ES, VCPU_DS, VCPU_FS, VCPU_GS};
	uint64_t rsp, ss, selector[4];

	if (!stack_pop(c, s, 4, &rsp) || !stack_pop(c, s, 4, &ss))
		return false;
	for (size_t i = 0; i < 4; i++)
		if (!stack_pop(c, s, 4, &selector[i]))
			return false;
	if (p->rip > 0xffff)
		return sys_fault(c, VECTOR_GP, 0);
	c->flags =
		(p->flags & (FLAG_VM | FLAG_RF | FLAG_IOPL | FLAG_IF | flags_writable(c, 0, 4))) |
		2;
	c->rip = p->rip;
	c->gpr[VCPU_RSP] = rsp;
	for (size_t i = 0; i < 4; i++)
		segment_put_v86(c, order[i], (uint16_t)selector[i]);
	segment_put_v86(c, VCPU_SS, (uint16_t)ss);
	segment_put_v86(c, VCPU_CS, (uint16_t)p->cs);
	done(c);
	return true;
}

/* A code segment to return to; its RPL is the level that is gone back to. */
bool segment_check_return(struct cpu *c, uint16_t selector, struct descriptor *d)
{
	unsigned rpl = selector & 3, dpl;
	uint16_t error = selector & 0xfffc;

	if (error == 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (!descriptor_read(c, selector, VECTOR_GP, d))
		return false;
	dpl = segment_dpl(d->s.access);
	if (!segment_is_code(d->s.access) || rpl < sys_cpl(c))
		return sys_fault(c, VECTOR_GP, error);
	if ((d->s.access & 4) != 0 ? dpl > rpl : dpl != rpl)
		return sys_fault(c, VECTOR_GP, error);
	if (sys_long(c) && (d->s.access & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		return sys_fault(c, VECTOR_GP, error);
	if ((d->s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	return descriptor_mark(c, d, 1);
}

/* The stack segment of the level that is gone back to. */
bool segment_check_outer_stack(struct cpu *c, uint16_t selector, unsigned cpl, bool to64,
			       struct vcpu_segment *ret)
{
	struct descriptor d;

	if ((selector & 0xfffc) == 0) {
		if (!to64 || cpl == 3 || (selector & 3) != cpl)
			return sys_fault(c, VECTOR_GP, 0);
		*ret = segment_null_stack(cpl);
		return true;
	}
	if (!descriptor_read(c, selector, VECTOR_GP, &d) ||
	    !segment_check_stack(c, &d.s, cpl, VECTOR_GP) || !descriptor_mark(c, &d, 1))
		return false;
	*ret = d.s;
	return true;
}

/* A stack of 16 bits takes SP only; the rest stays, which kernels know and work around. */
uint64_t stack_outer_rsp(const struct cpu *c, const struct vcpu_segment *ss, bool to64,
			 uint64_t rsp)
{
	if (to64)
		return rsp;
	if ((ss->access & SEG_DB) == 0)
		return (c->gpr[VCPU_RSP] & 0xffff0000) | (rsp & 0xffff);
	return rsp & 0xffffffff;
}

static bool iret_protected(struct cpu *c, unsigned bytes, struct stack *s, struct popped *p)
{
	unsigned cpl = sys_cpl(c), rpl = p->cs & 3;
	struct vcpu_segment ss = c->segment[VCPU_SS];
	struct descriptor d;
	bool to64, with_stack = rpl != cpl || sys_in64(c);
	uint64_t mask = flags_writable(c, cpl, bytes) | (bytes > 2 ? FLAG_RF : 0);

	if (!segment_check_return(c, (uint16_t)p->cs, &d))
		return false;
	to64 = sys_long(c) && (d.s.access & SEG_L) != 0;
	if (with_stack) {
		if (!stack_pop(c, s, bytes, &p->rsp) || !stack_pop(c, s, bytes, &p->ss) ||
		    !segment_check_outer_stack(c, (uint16_t)p->ss, rpl, to64, &ss))
			return false;
	}
	if (!segment_check_rip(c, &d.s, p->rip))
		return false;
	c->gpr[VCPU_RSP] = with_stack ? stack_outer_rsp(c, &ss, to64, p->rsp) : stack_rsp(c, s);
	c->rip = p->rip;
	flags_replace(c, p->flags, mask);
	d.s.selector = (uint16_t)p->cs;
	c->segment[VCPU_SS] = ss;
	segment_put(c, VCPU_CS, &d.s);
	if (rpl != cpl)
		segment_drop_privileged(c, rpl);
	done(c);
	return true;
}

static bool iret_task(struct cpu *c)
{
	struct vcpu_segment *tr = &c->segment[VCPU_TR];
	struct descriptor d;
	uint16_t selector, error;

	if (!sys_load(c, tr->base, &selector, 2, false))
		return false;
	error = selector & 0xfffc;
	if ((selector & 4) != 0 || error == 0)
		return sys_fault(c, VECTOR_TS, error);
	if (!descriptor_read(c, selector, VECTOR_TS, &d))
		return false;
	if ((d.s.access & (SEG_S | SEG_TYPE)) != SYS_TSS_BUSY &&
	    (d.s.access & (SEG_S | SEG_TYPE)) != SYS_TSS16_BUSY)
		return sys_fault(c, VECTOR_TS, error);
	if ((d.s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	done(c);
	return task_switch(c, &(struct task_switch){.how = TASK_IRET,
						    .selector = selector,
						    .tss = &d,
						    .next_rip = c->sys.next_rip});
}

bool sys_iret(struct cpu *c, unsigned bytes)
{
	struct stack s = stack_of(c);
	struct popped p;

	assert(bytes == 2 || bytes == 4 || bytes == 8);
	if (sys_real(c) || sys_v86(c))
		return iret_real(c, bytes);
	if ((c->flags & FLAG_NT) != 0)
		return sys_long(c) ? sys_fault(c, VECTOR_GP, 0) : iret_task(c);
	if (!stack_pop(c, &s, bytes, &p.rip) || !stack_pop(c, &s, bytes, &p.cs) ||
	    !stack_pop(c, &s, bytes, &p.flags))
		return false;
	if (bytes == 4 && (p.flags & FLAG_VM) != 0 && sys_cpl(c) == 0 && !sys_long(c))
		return iret_v86(c, &s, &p);
	return iret_protected(c, bytes, &s, &p);
}
