/*
 * Far JMP, CALL and RET: between code segments, through call gates (with their stack switch) and to
 * other tasks. See sys.h; SDM volume 3, 5.8, and volume 2, JMP, CALL, RET.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>

static void go(struct cpu *c, struct vcpu_segment *cs, unsigned cpl, uint64_t rip)
{
	cs->selector = (uint16_t)((cs->selector & 0xfffc) | cpl);
	c->rip = rip;
	segment_put(c, VCPU_CS, cs);
}

static bool push_return(struct cpu *c, struct stack *s, unsigned bytes)
{
	return stack_push(c, s, bytes, c->segment[VCPU_CS].selector) &&
	       stack_push(c, s, bytes, c->sys.next_rip);
}

static bool far_real(struct cpu *c, const struct far *f)
{
	struct vcpu_segment cs = c->segment[VCPU_CS];
	struct stack s = stack_of(c);

	cs.selector = f->selector;
	cs.base = (uint64_t)cs.selector << 4;
	if (f->offset > (sys_v86(c) ? 0xffff : cs.limit))
		return sys_fault(c, VECTOR_GP, 0);
	if (f->call) {
		if (!push_return(c, &s, f->bytes))
			return false;
		c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	}
	c->rip = f->offset;
	segment_put(c, VCPU_CS, &cs);
	return true;
}

static bool far_code(struct cpu *c, const struct far *f, struct descriptor *d)
{
	unsigned cpl = sys_cpl(c);
	struct stack s = stack_of(c);

	if (!segment_check_code(c, &d->s, f->selector & 3, cpl) || !descriptor_mark(c, d, 1))
		return false;
	if (f->call && !push_return(c, &s, f->bytes))
		return false;
	if (!segment_check_rip(c, &d->s, f->offset))
		return false;
	if (f->call)
		c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	go(c, &d->s, cpl, f->offset);
	return true;
}

struct call_gate {
	uint16_t selector;
	uint64_t offset;
	unsigned bytes, words;
};

static bool gate_read(struct cpu *c, uint16_t selector, struct descriptor *d, struct call_gate *ret)
{
	if (sys_long(c) && !descriptor_widen(c, selector, VECTOR_GP, d))
		return false;
	ret->selector = (uint16_t)(d->raw >> 16);
	ret->offset = (d->raw & 0xffff) | (d->raw >> 32 & 0xffff0000) | d->high << 32;
	ret->bytes = sys_long(c) ? 8 : 4;
	ret->words = sys_long(c) ? 0 : d->raw >> 32 & 0x1f;
	if ((d->s.access & SEG_TYPE) == SYS_CALL16) {
		ret->bytes = 2;
		ret->offset &= 0xffff;
	}
	return true;
}

/* To an inner level: its stack comes from the TSS and gets the caller's SS:RSP and parameters. */
static bool gate_inner(struct cpu *c, const struct call_gate *g, struct descriptor *code)
{
	unsigned cpl = segment_dpl(code->s.access);
	struct stack old = stack_of(c), s;
	struct vcpu_segment ss;
	uint64_t sp, word[32];
	uint16_t unused;

	if (sys_long(c)) {
		ss = segment_null_stack(cpl);
		if (!task_stack(c, cpl, 0, &unused, &sp))
			return false;
	} else if (!stack_inner(c, cpl, &ss, &sp)) {
		return false;
	}
	s = stack_new(c, &ss, sp, cpl, sys_long(c));
	s.error = ss.selector & 0xfffc;
	for (unsigned i = 0; i < g->words; i++)
		if (!stack_pop(c, &old, g->bytes, &word[i]))
			return false;
	if (!stack_push(c, &s, g->bytes, c->segment[VCPU_SS].selector) ||
	    !stack_push(c, &s, g->bytes, c->gpr[VCPU_RSP]))
		return false;
	for (unsigned i = g->words; i > 0; i--)
		if (!stack_push(c, &s, g->bytes, word[i - 1]))
			return false;
	if (!push_return(c, &s, g->bytes) || !segment_check_rip(c, &code->s, g->offset))
		return false;
	c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	segment_put(c, VCPU_SS, &ss);
	go(c, &code->s, cpl, g->offset);
	return true;
}

static bool gate_same(struct cpu *c, const struct far *f, const struct call_gate *g,
		      struct descriptor *code)
{
	struct stack s = stack_of(c);

	if (f->call && !push_return(c, &s, g->bytes))
		return false;
	if (!segment_check_rip(c, &code->s, g->offset))
		return false;
	if (f->call)
		c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	go(c, &code->s, sys_cpl(c), g->offset);
	return true;
}

static bool far_gate(struct cpu *c, const struct far *f, struct descriptor *d)
{
	unsigned cpl = sys_cpl(c), dpl;
	struct descriptor code;
	struct call_gate g;
	uint16_t error;
	bool inner;

	if (!gate_read(c, f->selector, d, &g))
		return false;
	error = g.selector & 0xfffc;
	if (error == 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (!descriptor_read(c, g.selector, VECTOR_GP, &code))
		return false;
	dpl = segment_dpl(code.s.access);
	if (!segment_is_code(code.s.access) || dpl > cpl)
		return sys_fault(c, VECTOR_GP, error);
	inner = (code.s.access & 4) == 0 && dpl < cpl;
	if (inner && !f->call) /* JMP changes no level */
		return sys_fault(c, VECTOR_GP, error);
	if (sys_long(c) && (code.s.access & (SEG_L | SEG_DB)) != SEG_L)
		return sys_fault(c, VECTOR_GP, error);
	if ((code.s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	if (!descriptor_mark(c, &code, 1))
		return false;
	return inner ? gate_inner(c, &g, &code) : gate_same(c, f, &g, &code);
}

static bool far_task(struct cpu *c, const struct far *f, struct descriptor *d)
{
	uint16_t selector = f->selector;
	uint16_t type = d->s.access & SEG_TYPE;

	if (type == SYS_TASK) {
		selector = (uint16_t)(d->raw >> 16);
		if ((selector & 4) != 0 || (selector & 0xfffc) == 0)
			return sys_fault(c, VECTOR_GP, selector & 0xfffc);
		if (!descriptor_read(c, selector, VECTOR_GP, d))
			return false;
		type = d->s.access & (SEG_S | SEG_TYPE);
		if (type != SYS_TSS && type != SYS_TSS16)
			return sys_fault(c, VECTOR_GP, selector & 0xfffc);
		if ((d->s.access & SEG_P) == 0)
			return sys_fault(c, VECTOR_NP, selector & 0xfffc);
	}
	return task_switch(c, &(struct task_switch){.how = f->call ? TASK_CALL : TASK_JMP,
						    .selector = selector,
						    .tss = d,
						    .next_rip = c->sys.next_rip});
}

static bool far_system(struct cpu *c, const struct far *f, struct descriptor *d)
{
	unsigned dpl = segment_dpl(d->s.access);
	uint16_t error = f->selector & 0xfffc, type = d->s.access & SEG_TYPE;
	const uint32_t valid = sys_long(c) ? 1u << SYS_CALL
					   : 1u << SYS_CALL | 1u << SYS_CALL16 | 1u << SYS_TASK |
						     1u << SYS_TSS | 1u << SYS_TSS16;

	if ((valid >> type & 1) == 0 || dpl < sys_cpl(c) || dpl < (f->selector & 3u))
		return sys_fault(c, VECTOR_GP, error);
	if ((d->s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	if (type == SYS_CALL || type == SYS_CALL16)
		return far_gate(c, f, d);
	return far_task(c, f, d);
}

bool sys_far(struct cpu *c, const struct far *f)
{
	struct descriptor d;

	assert(f->bytes == 2 || f->bytes == 4 || f->bytes == 8);
	if (sys_real(c) || sys_v86(c))
		return far_real(c, f);
	if ((f->selector & 0xfffc) == 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (!descriptor_read(c, f->selector, VECTOR_GP, &d))
		return false;
	return (d.s.access & SEG_S) != 0 ? far_code(c, f, &d) : far_system(c, f, &d);
}

static bool far_return_real(struct cpu *c, struct stack *s, uint64_t rip, uint16_t selector,
			    unsigned release)
{
	struct vcpu_segment cs = c->segment[VCPU_CS];

	cs.selector = selector;
	cs.base = (uint64_t)selector << 4;
	if (rip > (sys_v86(c) ? 0xffff : cs.limit))
		return sys_fault(c, VECTOR_GP, 0);
	s->sp += release;
	c->gpr[VCPU_RSP] = stack_rsp(c, s);
	c->rip = rip;
	segment_put(c, VCPU_CS, &cs);
	return true;
}

static bool far_return_protected(struct cpu *c, struct stack *s, const struct far *to,
				 unsigned release)
{
	struct vcpu_segment ss = c->segment[VCPU_SS];
	struct descriptor d;
	uint64_t rsp, selector;
	unsigned rpl = to->selector & 3;
	bool to64, outer = rpl != sys_cpl(c);

	if (!segment_check_return(c, to->selector, &d))
		return false;
	to64 = sys_long(c) && (d.s.access & SEG_L) != 0;
	s->sp += release;
	if (outer) {
		if (!stack_pop(c, s, to->bytes, &rsp) || !stack_pop(c, s, to->bytes, &selector) ||
		    !segment_check_outer_stack(c, (uint16_t)selector, rpl, to64, &ss))
			return false;
		rsp += release;
	}
	if (!segment_check_rip(c, &d.s, to->offset))
		return false;
	c->gpr[VCPU_RSP] = outer ? stack_outer_rsp(c, &ss, to64, rsp) : stack_rsp(c, s);
	segment_put(c, VCPU_SS, &ss);
	go(c, &d.s, rpl, to->offset);
	if (outer)
		segment_drop_privileged(c, rpl);
	return true;
}

bool sys_far_return(struct cpu *c, unsigned bytes, unsigned release)
{
	struct stack s = stack_of(c);
	uint64_t rip, cs;

	assert(bytes == 2 || bytes == 4 || bytes == 8);
	if (!stack_pop(c, &s, bytes, &rip) || !stack_pop(c, &s, bytes, &cs))
		return false;
	if (sys_real(c) || sys_v86(c))
		return far_return_real(c, &s, rip, (uint16_t)cs, release);
	return far_return_protected(
		c, &s, &(struct far){.selector = (uint16_t)cs, .offset = rip, .bytes = bytes},
		release);
}
