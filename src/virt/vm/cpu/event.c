/*
 * Exceptions and interrupts: from a vector to its handler, through the real-mode table or gates of
 * 16, 32 and 64 bits, with stack switches, double and triple faults. See sys.h; SDM volume 3,
 * chapter 6.
 *
 * A delivery that faults leaves the registers as they were; what follows (another exception, #DF,
 * shutdown) is decided in one place, event_deliver().
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>

struct gate {
	uint16_t selector;
	uint8_t type, dpl, ist;
	bool present;
	uint64_t offset;
};

/* What a frame needs to know once the checks are done. */
struct frame {
	struct vcpu_segment cs, ss;
	unsigned cpl;
	bool inner;	/* another stack than the current one */
	unsigned bytes; /* of a slot */
	struct stack stack;
};

/* Faults push RF set, so that an instruction breakpoint does not hit twice; SDM 18.3.1.1. */
static uint64_t flags_image(const struct cpu *c, const struct event *e)
{
	bool fault = e->kind == EVENT_EXCEPTION && e->vector != VECTOR_DB &&
		     e->vector != VECTOR_BP && e->vector != VECTOR_OF;

	return c->flags | (fault ? FLAG_RF : 0);
}

static bool deliver_real(struct cpu *c, const struct event *e)
{
	uint32_t at = e->vector * 4u, target;
	struct stack s = stack_of(c);
	struct vcpu_segment cs = c->segment[VCPU_CS];

	if (at + 3 > c->idt_limit)
		return sys_fault(c, VECTOR_GP, 0);
	if (!sys_load(c, c->idt_base + at, &target, 4, false) ||
	    !stack_push(c, &s, 2, c->flags & 0xffff) || !stack_push(c, &s, 2, cs.selector) ||
	    !stack_push(c, &s, 2, e->rip & 0xffff))
		return false;
	cs.selector = (uint16_t)(target >> 16);
	cs.base = (uint64_t)cs.selector << 4;
	c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	c->rip = target & 0xffff;
	c->flags &= ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
	segment_put(c, VCPU_CS, &cs);
	return true;
}

static bool gate_read(struct cpu *c, const struct event *e, struct gate *ret)
{
	unsigned bytes = sys_long(c) ? 16 : 8;
	uint32_t at = e->vector * bytes, error = e->vector * 8u + 2;
	const uint32_t valid = sys_long(c) ? 1u << SYS_INT | 1u << SYS_TRAP
					   : 1u << SYS_TASK | 1u << SYS_INT16 | 1u << SYS_TRAP16 |
						     1u << SYS_INT | 1u << SYS_TRAP;
	uint64_t raw[2] = {0};
	uint8_t access;

	if (at + bytes - 1 > c->idt_limit)
		return sys_fault(c, VECTOR_GP, error);
	if (!sys_load(c, c->idt_base + at, raw, bytes, false))
		return false;
	access = (uint8_t)(raw[0] >> 40);
	ret->selector = (uint16_t)(raw[0] >> 16);
	ret->type = access & SEG_TYPE;
	ret->dpl = access >> 5 & 3;
	ret->present = (access & SEG_P) != 0;
	ret->ist = sys_long(c) ? raw[0] >> 32 & 7 : 0;
	ret->offset = (raw[0] & 0xffff) | (raw[0] >> 32 & 0xffff0000) | raw[1] << 32;
	if ((access & SEG_S) != 0 || (valid >> ret->type & 1) == 0)
		return sys_fault(c, VECTOR_GP, error);
	if (ret->type == SYS_INT16 || ret->type == SYS_TRAP16)
		ret->offset &= 0xffff;
	if (e->kind == EVENT_SOFT && ret->dpl < sys_cpl(c))
		return sys_fault(c, VECTOR_GP, error);
	if (!ret->present)
		return sys_fault(c, VECTOR_NP, error);
	return true;
}

/* The handler's code segment, and at which level it runs. */
static bool code_read(struct cpu *c, const struct gate *g, struct frame *f)
{
	unsigned cpl = sys_cpl(c), dpl;
	struct descriptor d;
	uint16_t error = g->selector & 0xfffc;

	if (error == 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (!descriptor_read(c, g->selector, VECTOR_GP, &d))
		return false;
	dpl = segment_dpl(d.s.access);
	if (!segment_is_code(d.s.access) || dpl > cpl)
		return sys_fault(c, VECTOR_GP, error);
	if (sys_long(c) && (d.s.access & (SEG_L | SEG_DB)) != SEG_L)
		return sys_fault(c, VECTOR_GP, error);
	if ((d.s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	f->cpl = (d.s.access & 4) != 0 ? cpl : dpl;
	if (sys_v86(c) && f->cpl != 0)
		return sys_fault(c, VECTOR_GP, error);
	if (!descriptor_mark(c, &d, 1))
		return false;
	f->cs = d.s;
	f->cs.selector = (uint16_t)(error | f->cpl);
	return segment_check_rip(c, &f->cs, g->offset);
}

/* SDM 6.14.4: in long mode every frame is aligned, and a new SS is a null one. */
static bool stack_long(struct cpu *c, const struct gate *g, struct frame *f)
{
	uint64_t sp = c->gpr[VCPU_RSP];
	uint16_t unused;

	f->inner = f->cpl != sys_cpl(c);
	f->bytes = 8;
	f->ss = f->inner ? segment_null_stack(f->cpl) : c->segment[VCPU_SS];
	if ((f->inner || g->ist != 0) && !task_stack(c, f->cpl, g->ist, &unused, &sp))
		return false;
	f->stack = stack_new(c, &f->ss, sp & ~0xfull, f->cpl, true);
	return true;
}

bool stack_inner(struct cpu *c, unsigned cpl, struct vcpu_segment *ret_ss, uint64_t *ret_sp)
{
	struct descriptor d;
	uint16_t selector;

	if (!task_stack(c, cpl, 0, &selector, ret_sp))
		return false;
	if ((selector & 0xfffc) == 0)
		return sys_fault(c, VECTOR_TS, 0);
	if (!descriptor_read(c, selector, VECTOR_TS, &d) ||
	    !segment_check_stack(c, &d.s, cpl, VECTOR_TS) || !descriptor_mark(c, &d, 1))
		return false;
	*ret_ss = d.s;
	return true;
}

static bool stack_legacy(struct cpu *c, const struct gate *g, struct frame *f)
{
	uint64_t sp = c->gpr[VCPU_RSP];

	f->inner = f->cpl != sys_cpl(c);
	f->bytes = g->type == SYS_INT16 || g->type == SYS_TRAP16 ? 2 : 4;
	f->ss = c->segment[VCPU_SS];
	if (f->inner && !stack_inner(c, f->cpl, &f->ss, &sp))
		return false;
	f->stack = stack_new(c, &f->ss, sp, f->cpl, false);
	if (f->inner)
		f->stack.error = f->ss.selector & 0xfffc;
	return true;
}

static bool push_frame(struct cpu *c, const struct event *e, struct frame *f)
{
	static const uint8_t v86[] = {VCPU_GS, VCPU_FS, VCPU_DS, VCPU_ES};
	const uint64_t words[] = {c->segment[VCPU_SS].selector, c->gpr[VCPU_RSP], flags_image(c, e),
				  c->segment[VCPU_CS].selector, e->rip,		  e->error};
	size_t from = f->inner || sys_long(c) ? 0 : 2, to = e->has_error ? 6 : 5;

	for (size_t i = 0; sys_v86(c) && i < sizeof(v86); i++)
		if (!stack_push(c, &f->stack, f->bytes, c->segment[v86[i]].selector))
			return false;
	for (size_t i = from; i < to; i++)
		if (!stack_push(c, &f->stack, f->bytes, words[i]))
			return false;
	return true;
}

static void enter(struct cpu *c, const struct gate *g, const struct frame *f)
{
	static const uint8_t v86[] = {VCPU_GS, VCPU_FS, VCPU_DS, VCPU_ES};
	bool was_v86 = sys_v86(c);

	c->gpr[VCPU_RSP] = stack_rsp(c, &f->stack);
	c->rip = g->offset;
	c->flags &= ~(FLAG_TF | FLAG_NT | FLAG_VM | FLAG_RF);
	if (g->type == SYS_INT16 || g->type == SYS_INT)
		c->flags &= ~FLAG_IF;
	for (size_t i = 0; was_v86 && i < sizeof(v86); i++)
		segment_put(c, v86[i], &(struct vcpu_segment){.unusable = true});
	c->segment[VCPU_SS] = f->ss;
	segment_put(c, VCPU_CS, &f->cs);
}

static bool deliver_task(struct cpu *c, const struct event *e, const struct gate *g)
{
	struct descriptor d;
	uint16_t error = g->selector & 0xfffc;

	if (error == 0 || (g->selector & 4) != 0)
		return sys_fault(c, VECTOR_GP, error);
	if (!descriptor_read(c, g->selector, VECTOR_GP, &d))
		return false;
	if ((d.s.access & (SEG_S | SEG_TYPE)) != SYS_TSS &&
	    (d.s.access & (SEG_S | SEG_TYPE)) != SYS_TSS16)
		return sys_fault(c, VECTOR_GP, error);
	if ((d.s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	return task_switch(c, &(struct task_switch){.how = TASK_EVENT,
						    .selector = g->selector,
						    .tss = &d,
						    .next_rip = e->rip,
						    .has_error = e->has_error,
						    .error = e->error});
}

static bool deliver_protected(struct cpu *c, const struct event *e)
{
	struct frame f;
	struct gate g;

	if (!gate_read(c, e, &g))
		return false;
	if (g.type == SYS_TASK)
		return deliver_task(c, e, &g);
	if (!code_read(c, &g, &f))
		return false;
	if (!(sys_long(c) ? stack_long(c, &g, &f) : stack_legacy(c, &g, &f)))
		return false;
	if (!push_frame(c, e, &f))
		return false;
	enter(c, &g, &f);
	return true;
}

static bool deliver(struct cpu *c, const struct event *e)
{
	bool ok;

	c->sys.external = e->kind != EVENT_SOFT;
	c->lone_runs++; /* a stack in the page that runs is no reason to begin anew */
	ok = sys_real(c) ? deliver_real(c, e) : deliver_protected(c, e);
	c->lone_runs--;
	c->sys.external = false;
	return ok;
}

static bool contributory(uint8_t vector)
{
	return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

/* SDM table 6-5: what a second exception makes of the first; false: shutdown. */
static bool combine(struct event *e, const struct fault *second, uint64_t restart)
{
	bool exception = e->kind == EVENT_EXCEPTION;
	bool twice =
		exception && (e->vector == VECTOR_PF
				      ? contributory(second->vector) || second->vector == VECTOR_PF
				      : contributory(e->vector) && contributory(second->vector));

	if (exception && e->vector == VECTOR_DF)
		return false;
	*e = (struct event){
		.kind = EVENT_EXCEPTION,
		.vector = twice ? VECTOR_DF : second->vector,
		.has_error = twice || second->has_error,
		.error = twice ? 0 : second->error,
		.rip = restart,
	};
	return true;
}

bool event_deliver(struct cpu *c, const struct event *first)
{
	struct event e = *first;

	assert(e.kind == EVENT_EXCEPTION || !e.has_error);
	for (;;) {
		if (sys_real(c))
			e.has_error = false;
		if (e.kind == EVENT_EXCEPTION && e.vector == VECTOR_DB) {
			/* What MOV SS held back comes with it, not into its handler. */
			c->dr[6] |= c->sys.debug;
			c->sys.debug = 0;
			c->dr[7] &= ~DR7_GD;
		}
		if (deliver(c, &e)) {
			if (e.kind == EVENT_NMI)
				c->sys.nmi_masked = true;
			c->sys.shadow = 0;
			return true;
		}
		if (c->sys.fault.vector == VECTOR_PF)
			c->cr2 = c->sys.fault.address;
		if (!combine(&e, &c->sys.fault, c->rip))
			return false;
	}
}

bool event_fault(struct cpu *c)
{
	const struct fault *f = &c->sys.fault;
	const struct event e = {
		.kind = EVENT_EXCEPTION,
		.vector = f->vector,
		.has_error = f->has_error,
		.error = f->error,
		.rip = c->rip,
	};

	if (f->vector == VECTOR_PF)
		c->cr2 = f->address;
	return event_deliver(c, &e);
}
