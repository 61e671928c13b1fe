/*
 * The loop that runs traces, how they leave, and a vCPU's core state from birth to death.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/mmu.h"
#include "virt/vm/cpu/sys_priv.h"
#include "virt/vm/cpu/trace.h"
#include "virt/vm/cpu/vec.h"
#include "virt/vm/cpu/world.h"

#ifndef OP_THREADED
_Thread_local const struct op *op_pending;
#endif

/* ---- leaving a trace ---- */

/* Does the op's memory operand lie on the stack? (An address that is not canonical is #SS then.) */
static bool on_stack(const struct op *o)
{
	return (o->base == VCPU_RSP || o->base == VCPU_RBP) && (o->ea & EA_SEGMENT) == 0;
}

void op_fault(struct cpu *c, const struct op *o)
{
	c->rip = op_rip(c, o);
	if (c->retry) {
		c->retry = false;
		LEAVE(CPU_STOP_RETRY);
	}
	if (c->not_canonical && c->sys.fault.vector == VECTOR_GP && on_stack(o))
		c->sys.fault.vector = VECTOR_SS;
	c->not_canonical = false;
	LEAVE(CPU_STOP_FAULT);
}

void op_fault_stack(struct cpu *c, const struct op *o)
{
	if (c->not_canonical && c->sys.fault.vector == VECTOR_GP)
		c->sys.fault.vector = VECTOR_SS;
	op_fault(c, o);
}

void op_raise(struct cpu *c, const struct op *o, unsigned vector, int code)
{
	(void)(code < 0 ? sys_fault_plain(c, (uint8_t)vector)
			: sys_fault(c, (uint8_t)vector, (uint32_t)code));
	c->rip = op_rip(c, o);
	LEAVE(CPU_STOP_FAULT);
}

/* ---- modes ---- */

static bool flat(const struct vcpu_segment *s)
{
	return s->base == 0 && s->limit == UINT32_MAX && !s->unusable &&
	       (s->access & (SEG_P | SEG_S)) == (SEG_P | SEG_S) &&
	       ((s->access & 8) != 0 || (s->access & 6) == 2);
}

static uint32_t mode_of_code(const struct cpu *c)
{
	const struct vcpu_segment *cs = &c->segment[VCPU_CS], *ss = &c->segment[VCPU_SS];
	uint32_t mode = 0;

	if (sys_in64(c))
		return MODE_CODE64 | MODE_STACK64 | MODE_FLAT;
	if ((cs->access & SEG_DB) != 0)
		mode |= MODE_CODE32;
	if ((ss->access & SEG_DB) != 0)
		mode |= MODE_STACK32;
	if (flat(cs) && flat(ss) && flat(&c->segment[VCPU_DS]) && flat(&c->segment[VCPU_ES]))
		mode |= MODE_FLAT;
	if (sys_real(c) || sys_v86(c))
		mode |= MODE_REAL;
	if (sys_v86(c))
		mode |= MODE_V86;
	return mode;
}

static uint32_t mode_of_units(const struct cpu *c)
{
	uint32_t mode = 0;

	if ((c->cr0 & (CR0_EM | CR0_TS)) == 0)
		mode |= MODE_FPU | MODE_MMX;
	if ((c->cr0 & (CR0_EM | CR0_TS)) == 0 && (c->cr4 & CR4_OSFXSR) != 0)
		mode |= MODE_SSE;
	if ((c->mxcsr & MXCSR_MASKS) != MXCSR_MASKS)
		mode |= MODE_XM;
	return mode;
}

void cpu_mode_changed(struct cpu *c)
{
	unsigned cpl = sys_real(c) ? 0 : sys_v86(c) ? 3 : sys_cpl(c);
	uint32_t mode = mode_of_code(c) | mode_of_units(c);
	unsigned user = cpl == 3;

	mode |= cpl == 3 ? MODE_USER : cpl == 0 ? MODE_RING0 : 0;
	mode |= c->one ? MODE_ONE : 0;
	c->ac = cpl == 3 && (c->cr0 & CR0_AM) != 0 && (c->flags & FLAG_AC) != 0;
	c->mode = mode;
	c->stack_mask = (mode & MODE_STACK64) != 0   ? UINT64_MAX
			: (mode & MODE_STACK32) != 0 ? UINT32_MAX
						     : UINT16_MAX;
	c->tlb = c->ac ? &c->mmu->never : c->mmu->set[user].entry;
	c->tlb_mask = c->ac ? 0 : (uint64_t)(TLB_ENTRIES - 1) << 5;
	c->jump_tag = (uint64_t)c->mmu->generation << 32 | mode;
}

/* ---- the loop ---- */

static void enter(struct cpu *c, const struct trace *t)
{
	c->stop = CPU_STOP_NONE;
#ifdef OP_THREADED
	op_handler(t->op)(c, t->op);
#else
	for (op_pending = t->op; op_pending;) {
		const struct op *o = op_pending;

		op_pending = NULL;
		op_handler(o)(c, o);
	}
#endif
}

/* Runs the op at rip by itself; it may write its own page then. */
static void run_lone(struct cpu *c, const struct trace *t)
{
	if (!t) {
		c->stop = CPU_STOP_FAULT;
		return;
	}
	c->lone_runs = 1;
	enter(c, t);
	c->lone_runs = 0;
}

void cpu_execute(struct cpu *c)
{
	assert(c->magic == CPU_MAGIC);
	if (c->one != ((c->mode & MODE_ONE) != 0))
		cpu_mode_changed(c);
	c->stop = CPU_STOP_NONE;
	while (c->stop == CPU_STOP_NONE) {
		struct trace *t;

		if (__atomic_load_n(&c->attention, __ATOMIC_RELAXED) & ATTEND_WORLD)
			world_park(c);
		if (__atomic_load_n(&c->attention, __ATOMIC_RELAXED) != 0) {
			c->stop = CPU_STOP_ATTENTION;
			return;
		}
		t = trace_find(c);
		if (!t)
			c->stop = CPU_STOP_FAULT;
		else if (t == c->lone)
			run_lone(c, t);
		else
			enter(c, t);
		if (c->stop == CPU_STOP_RETRY)
			run_lone(c, trace_lone(c));
		if (c->stop == CPU_STOP_NONE && (c->mode & MODE_ONE) != 0)
			c->stop = CPU_STOP_ONE;
	}
}

/* ---- birth and death ---- */

struct cpu *cpu_new(struct cpu_world *w, struct ram *ram, struct bus *bus, unsigned index)
{
	struct cpu *c = NULL;

	assert(index < VCPU_COUNT_MAX && w->cpu[index] == NULL && index == w->cpus);
	if (posix_memalign((void **)&c, 64, sizeof(*c)) != 0)
		abort();
	memset(c, 0, sizeof(*c));
	c->magic = CPU_MAGIC;
	c->gpr[REG_FAR] = CPU_FAR;
	c->world = w;
	c->ram = ram;
	c->bus = bus;
	c->mmu = mmu_new();
	c->jumps = mem_new_array(struct jump, CPU_JUMPS);
	memset(c->jumps, 0xff, CPU_JUMPS * sizeof(*c->jumps));
	c->lones = lone_new();
	c->mxcsr = MXCSR_INIT;
	c->arith = arith_of(2);
	w->cpu[w->cpus++] = c;
	return c;
}

struct cpu *cpu_free(struct cpu *c)
{
	if (!c)
		return NULL;
	assert(c->magic == CPU_MAGIC);
	c->world->cpu[c->sys.index] = NULL;
	c->lones = lone_free(c->lones);
	free(c->jumps);
	free(c->mmu);
	c->magic = 0;
	free(c);
	return NULL;
}
