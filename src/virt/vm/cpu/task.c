/*
 * Task state segments: stacks of inner levels, the I/O permission bitmap, and the hardware task
 * switch of legacy modes. See sys.h; SDM volume 3, chapter 8.
 *
 * A switch stores the old task, then loads the new one; what faults while segments are loaded
 * already belongs to the new task, as the manual says (8.3). TSS bit T makes no trap.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"

#define TSS_BYTES   104 /* of 32 and 64 bits */
#define TSS16_BYTES 44
#define TSS_IOMAP   102

static bool tss_is_16(const struct vcpu_segment *s)
{
	return (s->access & SEG_TYPE & ~2u) == SYS_TSS16;
}

static bool tss_field(struct cpu *c, unsigned offset, void *to, unsigned n)
{
	const struct vcpu_segment *tr = &c->segment[VCPU_TR];

	if (offset + n - 1 > tr->limit)
		return sys_fault(c, VECTOR_TS, tr->selector & 0xfffc);
	return sys_load(c, tr->base + offset, to, n, false);
}

bool task_stack(struct cpu *c, unsigned cpl, unsigned ist, uint16_t *ret_ss, uint64_t *ret_sp)
{
	uint8_t pair[8];

	assert(cpl < 3 || ist != 0);
	*ret_ss = 0;
	if (sys_long(c))
		return tss_field(c, ist != 0 ? 36 + (ist - 1) * 8 : 4 + cpl * 8, ret_sp, 8);
	*ret_sp = 0;
	if (tss_is_16(&c->segment[VCPU_TR])) {
		if (!tss_field(c, 2 + cpl * 4, pair, 4))
			return false;
		memcpy(ret_sp, pair, 2);
		memcpy(ret_ss, pair + 2, 2);
		return true;
	}
	if (!tss_field(c, 4 + cpl * 8, pair, 8))
		return false;
	memcpy(ret_sp, pair, 4);
	memcpy(ret_ss, pair + 4, 2);
	return true;
}

/* SDM volume 1, 19.5.2. Two bytes are read always, so the bitmap ends with one of ones. */
bool sys_io_allowed(struct cpu *c, uint16_t port, unsigned bytes)
{
	const struct vcpu_segment *tr = &c->segment[VCPU_TR];
	uint16_t map, bits;
	uint32_t at;

	assert(bytes == 1 || bytes == 2 || bytes == 4);
	if (sys_real(c) || (!sys_v86(c) && sys_cpl(c) <= sys_iopl(c)))
		return true;
	if (tss_is_16(tr) || tr->unusable || tr->limit < TSS_BYTES - 1)
		return sys_fault(c, VECTOR_GP, 0);
	if (!sys_load(c, tr->base + TSS_IOMAP, &map, 2, false))
		return false;
	at = map + port / 8u;
	if (at + 1 > tr->limit)
		return sys_fault(c, VECTOR_GP, 0);
	if (!sys_load(c, tr->base + at, &bits, 2, false))
		return false;
	if ((bits >> port % 8 & ((1u << bytes) - 1)) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	return true;
}

/* ---- the switch ---- */

/* A task as its TSS holds it. Segments in the order ES, CS, SS, DS, FS, GS. */
struct task {
	uint32_t cr3, eip, flags, gpr[8];
	uint16_t segment[6], ldt;
};

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint16_t load16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool task_load(struct cpu *c, const struct vcpu_segment *tss, struct task *ret)
{
	uint8_t b[TSS_BYTES];

	memset(ret, 0, sizeof(*ret));
	if (!sys_load(c, tss->base, b, tss_is_16(tss) ? TSS16_BYTES : TSS_BYTES, false))
		return false;
	if (tss_is_16(tss)) {
		ret->eip = load16(b + 14);
		ret->flags = load16(b + 16);
		for (unsigned i = 0; i < 8; i++)
			ret->gpr[i] = load16(b + 18 + i * 2) | 0xffff0000;
		for (unsigned i = 0; i < 4; i++)
			ret->segment[i] = load16(b + 34 + i * 2);
		ret->ldt = load16(b + 42);
		return true;
	}
	ret->cr3 = load32(b + 28);
	ret->eip = load32(b + 32);
	ret->flags = load32(b + 36);
	for (unsigned i = 0; i < 8; i++)
		ret->gpr[i] = load32(b + 40 + i * 4);
	for (unsigned i = 0; i < 6; i++)
		ret->segment[i] = load16(b + 72 + i * 4);
	ret->ldt = load16(b + 96);
	return true;
}

static bool task_store(struct cpu *c, const struct vcpu_segment *tss, uint64_t rip, uint64_t flags)
{
	uint8_t b[64] = {0};

	if (tss_is_16(tss)) {
		memcpy(b, &rip, 2);
		memcpy(b + 2, &flags, 2);
		for (unsigned i = 0; i < 8; i++)
			memcpy(b + 4 + i * 2, &c->gpr[i], 2);
		for (unsigned i = 0; i < 4; i++)
			memcpy(b + 20 + i * 2, &c->segment[i].selector, 2);
		return sys_store(c, tss->base + 14, b, 28, false);
	}
	memcpy(b, &rip, 4);
	memcpy(b + 4, &flags, 4);
	for (unsigned i = 0; i < 8; i++)
		memcpy(b + 8 + i * 4, &c->gpr[i], 4);
	for (unsigned i = 0; i < 6; i++)
		memcpy(b + 40 + i * 4, &c->segment[i].selector, 2);
	return sys_store(c, tss->base + 32, b, 64, false);
}

static bool busy_clear(struct cpu *c, uint16_t selector)
{
	struct descriptor d;
	uint8_t type;

	if (!descriptor_read(c, selector, VECTOR_TS, &d))
		return false;
	type = (uint8_t)(d.raw >> 40 & ~2ull);
	return sys_store(c, d.at + 5, &type, 1, false);
}

static bool task_load_ldt(struct cpu *c, uint16_t selector)
{
	struct descriptor d;

	c->segment[VCPU_LDTR] = (struct vcpu_segment){.selector = selector, .unusable = true};
	if ((selector & 0xfffc) == 0)
		return true;
	if ((selector & 4) != 0)
		return sys_fault(c, VECTOR_TS, selector & 0xfffc);
	if (!descriptor_read(c, selector, VECTOR_TS, &d))
		return false;
	if ((d.s.access & (SEG_S | SEG_TYPE | SEG_P)) != (SYS_LDT | SEG_P))
		return sys_fault(c, VECTOR_TS, selector & 0xfffc);
	c->segment[VCPU_LDTR] = d.s;
	return true;
}

static bool task_load_code(struct cpu *c, uint16_t selector)
{
	unsigned rpl = selector & 3, dpl;
	uint16_t error = selector & 0xfffc;
	struct descriptor d;

	if (error == 0)
		return sys_fault(c, VECTOR_TS, 0);
	if (!descriptor_read(c, selector, VECTOR_TS, &d))
		return false;
	dpl = segment_dpl(d.s.access);
	if (!segment_is_code(d.s.access) || ((d.s.access & 4) != 0 ? dpl > rpl : dpl != rpl))
		return sys_fault(c, VECTOR_TS, error);
	if ((d.s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	if (!descriptor_mark(c, &d, 1))
		return false;
	segment_put(c, VCPU_CS, &d.s);
	return true;
}

static bool task_load_stack(struct cpu *c, uint16_t selector, unsigned cpl)
{
	struct descriptor d;

	if ((selector & 0xfffc) == 0)
		return sys_fault(c, VECTOR_TS, 0);
	if (!descriptor_read(c, selector, VECTOR_TS, &d) ||
	    !segment_check_stack(c, &d.s, cpl, VECTOR_TS) || !descriptor_mark(c, &d, 1))
		return false;
	segment_put(c, VCPU_SS, &d.s);
	return true;
}

static bool task_load_segments(struct cpu *c, const struct task *t)
{
	static const uint8_t data[] = {VCPU_ES, VCPU_DS, VCPU_FS, VCPU_GS};

	if (sys_v86(c)) {
		for (unsigned i = 0; i < 6; i++)
			segment_put_v86(c, i, t->segment[i]);
		return true;
	}
	/* The level is the new CS's: SS carries it until the real one is loaded. */
	segment_put(c, VCPU_SS,
		    &(struct vcpu_segment){.access = (uint16_t)((t->segment[VCPU_CS] & 3) << 5),
					   .unusable = true});
	if (!task_load_code(c, t->segment[VCPU_CS]) ||
	    !task_load_stack(c, t->segment[VCPU_SS], t->segment[VCPU_CS] & 3))
		return false;
	for (size_t i = 0; i < array_len(data); i++) {
		if (segment_load(c, data[i], t->segment[data[i]]))
			continue;
		if (c->sys.fault.vector == VECTOR_GP)
			c->sys.fault.vector = VECTOR_TS;
		return false;
	}
	return segment_check_rip(c, &c->segment[VCPU_CS], c->rip);
}

static void task_enter(struct cpu *c, const struct task_switch *t, const struct task *new)
{
	bool nested = t->how == TASK_CALL || t->how == TASK_EVENT;

	c->segment[VCPU_TR] = t->tss->s;
	c->segment[VCPU_TR].selector = t->selector;
	c->cr0 |= CR0_TS;
	if ((c->cr0 & CR0_PG) != 0 && !tss_is_16(&t->tss->s))
		cpu_cr3_set(c, new->cr3);
	c->rip = new->eip;
	c->flags = (new->flags & 0x3f7fd5) | 2 | (nested ? FLAG_NT : 0);
	for (unsigned i = 0; i < 8; i++)
		c->gpr[i] = new->gpr[i];
	for (unsigned i = 0; i < 6; i++)
		segment_put(c, i,
			    &(struct vcpu_segment){.selector = new->segment[i], .unusable = true});
	c->dr[7] &= ~0x55ull; /* local breakpoints */
}

/* The old task is written down, the descriptors say who is busy, the new one knows who called. */
static bool task_leave(struct cpu *c, const struct task_switch *t)
{
	const struct vcpu_segment *old = &c->segment[VCPU_TR];
	bool nested = t->how == TASK_CALL || t->how == TASK_EVENT;
	uint64_t flags = t->how == TASK_IRET ? c->flags & ~FLAG_NT : c->flags;

	if (!task_store(c, old, t->next_rip, flags))
		return false;
	if (!nested && !busy_clear(c, old->selector))
		return false;
	if (t->how != TASK_IRET && !descriptor_mark(c, t->tss, 2))
		return false;
	return !nested || sys_store(c, t->tss->s.base, &old->selector, 2, false);
}

bool task_switch(struct cpu *c, const struct task_switch *t)
{
	struct stack s;
	struct task new;

	if (t->tss->s.limit < (tss_is_16(&t->tss->s) ? TSS16_BYTES : TSS_BYTES) - 1u)
		return sys_fault(c, VECTOR_TS, t->selector & 0xfffc);
	if (!task_load(c, &t->tss->s, &new) || !task_leave(c, t))
		return false;
	task_enter(c, t, &new);
	if (!task_load_ldt(c, new.ldt) || !task_load_segments(c, &new))
		return false;
	if (!t->has_error)
		return true;
	s = stack_of(c);
	if (!stack_push(c, &s, tss_is_16(&t->tss->s) ? 2 : 4, t->error))
		return false;
	c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	return true;
}
