/*
 * Segment registers and descriptors: loads with their checks in every mode, LDTR and TR, and the
 * instructions that only look (LAR, LSL, VERR, VERW). See sys.h; SDM volume 3, chapters 3 and 5.
 *
 * A null data segment is kept as one with access 0: not present, so that a use outside 64-bit mode
 * faults.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>

struct vcpu_segment segment_of(uint16_t selector, uint64_t descriptor)
{
	uint32_t limit = (uint32_t)(descriptor & 0xffff) | (uint32_t)(descriptor >> 32 & 0xf0000);
	struct vcpu_segment s = {
		.selector = selector,
		.base = (descriptor >> 16 & 0xffffff) | (descriptor >> 32 & 0xff000000),
		.access = (uint16_t)(descriptor >> 40 & 0xf0ff),
	};

	s.limit = (s.access & SEG_G) != 0 ? limit << 12 | 0xfff : limit;
	return s;
}

/* Where the descriptor lies; false where its table ends before. */
static bool descriptor_at(const struct cpu *c, uint16_t selector, unsigned bytes, uint64_t *ret)
{
	const struct vcpu_segment *ldt = &c->segment[VCPU_LDTR];
	uint32_t offset = selector & 0xfff8u;

	assert(bytes == 8 || bytes == 16);
	if ((selector & 4) == 0) {
		if (offset + bytes - 1 > c->gdt_limit)
			return false;
		*ret = c->gdt_base + offset;
		return true;
	}
	if (ldt->unusable || offset + bytes - 1 > ldt->limit)
		return false;
	*ret = ldt->base + offset;
	return true;
}

bool descriptor_read(struct cpu *c, uint16_t selector, uint8_t vector, struct descriptor *ret)
{
	uint64_t at;

	if (!descriptor_at(c, selector, 8, &at))
		return sys_fault(c, vector, selector & 0xfffcu);
	if (!sys_load(c, at, &ret->raw, 8, false))
		return false;
	ret->at = at;
	ret->high = 0;
	ret->s = segment_of(selector, ret->raw);
	return true;
}

/* Long mode's system descriptors take two slots; the second holds the upper half of the base. */
bool descriptor_widen(struct cpu *c, uint16_t selector, uint8_t vector, struct descriptor *d)
{
	uint64_t at;

	if (!descriptor_at(c, selector, 16, &at))
		return sys_fault(c, vector, selector & 0xfffcu);
	if (!sys_load(c, at + 8, &d->high, 8, false))
		return false;
	if ((d->high >> 40 & 0x1f) != 0)
		return sys_fault(c, vector, selector & 0xfffcu);
	d->s.base |= d->high << 32;
	return true;
}

/* Sets bits of the type in memory: "accessed", or a TSS's "busy". */
bool descriptor_mark(struct cpu *c, struct descriptor *d, uint8_t bits)
{
	uint8_t type = (uint8_t)(d->raw >> 40);

	if ((type & bits) == bits)
		return true;
	type |= bits;
	if (!sys_store(c, d->at + 5, &type, 1, false))
		return false;
	d->raw |= (uint64_t)bits << 40;
	d->s.access |= bits;
	return true;
}

static bool null(uint16_t selector)
{
	return (selector & 0xfffc) == 0;
}

bool segment_is_code(uint16_t access)
{
	return (access & (SEG_S | 8)) == (SEG_S | 8);
}

static bool conforming(uint16_t access)
{
	return (access & 0xc) == 0xc;
}

static bool writable_data(uint16_t access)
{
	return (access & (SEG_S | 8 | 2)) == (SEG_S | 2);
}

unsigned segment_dpl(uint16_t access)
{
	return access >> 5 & 3;
}

/* What a stack segment must be for a given privilege level; SDM volume 2, MOV. */
bool segment_check_stack(struct cpu *c, const struct vcpu_segment *s, unsigned cpl, uint8_t vector)
{
	uint16_t error = s->selector & 0xfffc;

	if ((s->selector & 3) != cpl || !writable_data(s->access) || segment_dpl(s->access) != cpl)
		return sys_fault(c, vector, error);
	if ((s->access & SEG_P) == 0)
		return sys_fault(c, VECTOR_SS, error);
	return true;
}

/* A null SS: legal in 64-bit mode below privilege level 3. It carries the level as its DPL. */
struct vcpu_segment segment_null_stack(unsigned cpl)
{
	return (struct vcpu_segment){
		.selector = (uint16_t)cpl,
		.limit = UINT32_MAX,
		.access = (uint16_t)(SEG_P | SEG_S | SEG_DB | SEG_G | 3 | cpl << 5),
	};
}

static bool load_stack(struct cpu *c, uint16_t selector, struct vcpu_segment *ret)
{
	unsigned cpl = sys_cpl(c);
	struct descriptor d;

	if (null(selector)) {
		if (!sys_in64(c) || cpl == 3 || (selector & 3) != cpl)
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

static bool load_data(struct cpu *c, uint16_t selector, struct vcpu_segment *ret)
{
	uint16_t error = selector & 0xfffc;
	struct descriptor d;
	uint16_t access;

	if (null(selector)) {
		*ret = (struct vcpu_segment){.selector = selector, .unusable = true};
		return true;
	}
	if (!descriptor_read(c, selector, VECTOR_GP, &d))
		return false;
	access = d.s.access;
	if ((access & SEG_S) == 0 || (access & 0xa) == 8) /* system, or code that cannot be read */
		return sys_fault(c, VECTOR_GP, error);
	if (!(segment_is_code(access) && conforming(access)) &&
	    ((selector & 3u) > segment_dpl(access) || sys_cpl(c) > segment_dpl(access)))
		return sys_fault(c, VECTOR_GP, error);
	if ((access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	if (!descriptor_mark(c, &d, 1))
		return false;
	*ret = d.s;
	return true;
}

/* Real mode keeps limit and attributes ("unreal" depends on it); virtual-8086 mode sets its own. */
static struct vcpu_segment real_segment(const struct cpu *c, unsigned name, uint16_t selector)
{
	struct vcpu_segment s = c->segment[name];

	s.selector = selector;
	s.base = (uint64_t)selector << 4;
	s.unusable = false;
	if (sys_v86(c)) {
		s.limit = 0xffff;
		s.access = 0xf3;
	} else if ((s.access & SEG_P) == 0) {
		s.limit = 0xffff;
		s.access = 0x93;
	}
	return s;
}

bool segment_load(struct cpu *c, unsigned name, uint16_t selector)
{
	struct vcpu_segment s;

	assert(name < VCPU_LDTR && name != VCPU_CS);
	if (sys_real(c) || sys_v86(c))
		s = real_segment(c, name, selector);
	else if (name == VCPU_SS ? !load_stack(c, selector, &s) : !load_data(c, selector, &s))
		return false;
	segment_put(c, name, &s);
	return true;
}

void segment_put(struct cpu *c, unsigned name, const struct vcpu_segment *s)
{
	bool moved = name == VCPU_CS && c->segment[VCPU_CS].base != s->base;

	assert(name < VCPU_LDTR);
	c->segment[name] = *s;
	if (moved) /* what the core remembers of instruction pointers is worth nothing now */
		cpu_tlb_flush(c, false);
	if (name < VCPU_FS) /* the mode says whether all of them are flat */
		cpu_mode_changed(c);
}

/* SDM volume 3, 5.3: an expand-down segment is valid above its limit. */
bool segment_inside(const struct vcpu_segment *s, uint64_t offset, unsigned n)
{
	uint64_t last = offset + n - 1;

	if ((s->access & (SEG_S | 0xc)) == (SEG_S | 4)) {
		uint64_t top = (s->access & SEG_DB) != 0 ? 0xffffffff : 0xffff;

		return offset > s->limit && last <= top;
	}
	return last <= s->limit;
}

bool segment_address(struct cpu *c, unsigned name, uint64_t offset, unsigned n, bool write,
		     uint64_t *ret)
{
	const struct vcpu_segment *s = &c->segment[name];
	uint8_t vector = name == VCPU_SS ? VECTOR_SS : VECTOR_GP;
	uint64_t at;

	if (sys_in64(c)) {
		at = offset + (name >= VCPU_FS ? s->base : 0);
		*ret = at;
		return (sys_canonical(at) && sys_canonical(at + n - 1)) || sys_fault(c, vector, 0);
	}
	if (s->unusable || (s->access & SEG_P) == 0 || !segment_inside(s, offset, n))
		return sys_fault(c, vector, 0);
	if (write ? !writable_data(s->access) : (s->access & 0xa) == 8)
		return sys_fault(c, vector, 0);
	*ret = (uint32_t)(s->base + offset);
	return true;
}

/* On the way to an outer level: data segments the new level may not have become null. */
void segment_drop_privileged(struct cpu *c, unsigned cpl)
{
	static const uint8_t names[] = {VCPU_ES, VCPU_DS, VCPU_FS, VCPU_GS};

	for (size_t i = 0; i < sizeof(names); i++) {
		const struct vcpu_segment *s = &c->segment[names[i]];
		uint16_t access = s->access;

		/* A null one loses its RPL; in long mode it has a base, which stays. */
		if (null(s->selector)) {
			c->segment[names[i]].selector = 0;
			continue;
		}
		if (s->unusable || segment_dpl(access) >= cpl ||
		    (segment_is_code(access) && conforming(access)))
			continue;
		segment_put(c, names[i], &(struct vcpu_segment){.unusable = true});
	}
}

/*
 * A code segment for a transfer that stays at privilege level `cpl` (JMP, CALL, a gate's target at
 * the same level). `rpl` is 0 where a gate led here.
 */
bool segment_check_code(struct cpu *c, const struct vcpu_segment *s, unsigned rpl, unsigned cpl)
{
	uint16_t error = s->selector & 0xfffc;

	if (!segment_is_code(s->access))
		return sys_fault(c, VECTOR_GP, error);
	if (conforming(s->access) ? segment_dpl(s->access) > cpl
				  : rpl > cpl || segment_dpl(s->access) != cpl)
		return sys_fault(c, VECTOR_GP, error);
	if (sys_long(c) && (s->access & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		return sys_fault(c, VECTOR_GP, error);
	if ((s->access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	return true;
}

/* The instruction pointer's bounds in a code segment that is about to be loaded. */
bool segment_check_rip(struct cpu *c, const struct vcpu_segment *code, uint64_t rip)
{
	if (sys_long(c) && (code->access & SEG_L) != 0)
		return sys_canonical(rip) || sys_fault(c, VECTOR_GP, 0);
	return rip <= code->limit || sys_fault(c, VECTOR_GP, 0);
}

bool segment_load_ldt(struct cpu *c, uint16_t selector)
{
	uint16_t error = selector & 0xfffc;
	struct descriptor d;

	if (sys_real(c) || sys_v86(c))
		return sys_fault_plain(c, VECTOR_UD);
	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (null(selector)) {
		c->segment[VCPU_LDTR] =
			(struct vcpu_segment){.selector = selector, .unusable = true};
		return true;
	}
	if ((selector & 4) != 0)
		return sys_fault(c, VECTOR_GP, error);
	if (!descriptor_read(c, selector, VECTOR_GP, &d))
		return false;
	if ((d.s.access & (SEG_S | SEG_TYPE)) != SYS_LDT)
		return sys_fault(c, VECTOR_GP, error);
	if ((d.s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	if (sys_long(c) && !descriptor_widen(c, selector, VECTOR_GP, &d))
		return false;
	c->segment[VCPU_LDTR] = d.s;
	return true;
}

bool segment_load_tr(struct cpu *c, uint16_t selector)
{
	uint16_t error = selector & 0xfffc, type;
	struct descriptor d;

	if (sys_real(c) || sys_v86(c))
		return sys_fault_plain(c, VECTOR_UD);
	if (sys_cpl(c) != 0 || null(selector))
		return sys_fault(c, VECTOR_GP, 0);
	if ((selector & 4) != 0)
		return sys_fault(c, VECTOR_GP, error);
	if (!descriptor_read(c, selector, VECTOR_GP, &d))
		return false;
	type = d.s.access & (SEG_S | SEG_TYPE);
	if (type != SYS_TSS && (type != SYS_TSS16 || sys_long(c)))
		return sys_fault(c, VECTOR_GP, error);
	if ((d.s.access & SEG_P) == 0)
		return sys_fault(c, VECTOR_NP, error);
	if (sys_long(c) && !descriptor_widen(c, selector, VECTOR_GP, &d))
		return false;
	if (!descriptor_mark(c, &d, 2)) /* busy */
		return false;
	c->segment[VCPU_TR] = d.s;
	return true;
}

/* ---- LAR, LSL, VERR, VERW: *ret_ok is what ZF becomes; only a page fault is a fault ---- */

enum looks { LOOK_LAR, LOOK_LSL };

/* Which system descriptors LAR and LSL accept, by type: outside long mode and inside. */
static const uint16_t looks_valid[2][2] = {
	{1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12,
	 1 << 2 | 1 << 9 | 1 << 11 | 1 << 12},
	{1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11, 1 << 2 | 1 << 9 | 1 << 11},
};

static bool look(struct cpu *c, uint16_t selector, enum looks what, struct descriptor *d,
		 bool *ret_ok)
{
	uint64_t at;
	unsigned dpl;

	*ret_ok = false;
	if (sys_real(c) || sys_v86(c))
		return sys_fault_plain(c, VECTOR_UD);
	if (null(selector) || !descriptor_at(c, selector, 8, &at))
		return true;
	if (!descriptor_read(c, selector, VECTOR_GP, d))
		return false;
	dpl = segment_dpl(d->s.access);
	if ((d->s.access & SEG_S) == 0 &&
	    (looks_valid[what][sys_long(c)] >> (d->s.access & SEG_TYPE) & 1) == 0)
		return true;
	if (segment_is_code(d->s.access) && conforming(d->s.access)) {
		*ret_ok = true;
		return true;
	}
	*ret_ok = sys_cpl(c) <= dpl && (selector & 3u) <= dpl;
	return true;
}

bool segment_lar(struct cpu *c, uint16_t selector, uint32_t *ret, bool *ret_ok)
{
	struct descriptor d;

	if (!look(c, selector, LOOK_LAR, &d, ret_ok))
		return false;
	if (*ret_ok)
		*ret = (uint32_t)(d.raw >> 32) & 0x00ffff00;
	return true;
}

bool segment_lsl(struct cpu *c, uint16_t selector, uint32_t *ret, bool *ret_ok)
{
	struct descriptor d;

	if (!look(c, selector, LOOK_LSL, &d, ret_ok))
		return false;
	if (*ret_ok)
		*ret = d.s.limit;
	return true;
}

bool segment_verify(struct cpu *c, uint16_t selector, bool write, bool *ret_ok)
{
	struct descriptor d;
	uint16_t access;

	if (!look(c, selector, LOOK_LSL, &d, ret_ok))
		return false;
	if (!*ret_ok)
		return true;
	access = d.s.access;
	if ((access & SEG_S) == 0)
		*ret_ok = false;
	else if (write)
		*ret_ok = writable_data(access);
	else
		*ret_ok = (access & 0xa) != 8;
	return true;
}
