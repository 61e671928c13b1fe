/*
 * The fast ways between user and kernel: SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, and the
 * instructions on FS's and GS's bases. As on Intel: SYSCALL exists in 64-bit mode only. See sys.h;
 * SDM volume 2.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>

enum { CODE = 11, DATA = 3 }; /* types with "accessed" set */

/* Without a look at the descriptor tables; the mode follows with CS, which comes second. */
static void flat(struct cpu *c, unsigned name, uint16_t selector, unsigned dpl, uint16_t size)
{
	uint16_t type = name == VCPU_CS ? CODE : DATA;
	const struct vcpu_segment s = {
		.selector = selector,
		.limit = UINT32_MAX,
		.access = (uint16_t)(type | SEG_S | dpl << 5 | SEG_P | size | SEG_G),
	};

	if (name == VCPU_CS)
		segment_put(c, name, &s);
	else
		c->segment[name] = s;
}

bool sys_syscall(struct cpu *c)
{
	uint16_t cs = (uint16_t)(c->sys.star >> 32) & 0xfffc;

	if (!sys_in64(c) || (c->efer & EFER_SCE) == 0)
		return sys_fault_plain(c, VECTOR_UD);
	c->gpr[VCPU_RCX] = c->sys.next_rip;
	c->gpr[VCPU_R11] = c->flags & ~FLAG_RF;
	c->rip = c->sys.lstar;
	c->flags = (c->flags & ~(c->sys.fmask | FLAG_RF)) | 2;
	flat(c, VCPU_SS, (uint16_t)(cs + 8), 0, SEG_DB);
	flat(c, VCPU_CS, cs, 0, SEG_L);
	return true;
}

bool sys_sysret(struct cpu *c, bool wide)
{
	uint16_t base = (uint16_t)(c->sys.star >> 48);

	if (!sys_in64(c) || (c->efer & EFER_SCE) == 0)
		return sys_fault_plain(c, VECTOR_UD);
	if (sys_cpl(c) != 0 || (wide && !sys_canonical(c->gpr[VCPU_RCX])))
		return sys_fault(c, VECTOR_GP, 0);
	c->rip = wide ? c->gpr[VCPU_RCX] : (uint32_t)c->gpr[VCPU_RCX];
	c->flags = (c->gpr[VCPU_R11] & 0x3c7fd7) | 2;
	flat(c, VCPU_SS, (uint16_t)(base + 8) | 3, 3, SEG_DB);
	flat(c, VCPU_CS, (uint16_t)(wide ? base + 16 : base) | 3, 3, wide ? SEG_L : SEG_DB);
	return true;
}

bool sys_sysenter(struct cpu *c)
{
	uint16_t cs = (uint16_t)c->sys.sysenter_cs & 0xfffc;
	bool wide = sys_long(c);

	if (sys_real(c) || cs == 0)
		return sys_fault(c, VECTOR_GP, 0);
	c->flags &= ~(FLAG_VM | FLAG_IF | FLAG_RF);
	c->gpr[VCPU_RSP] = wide ? c->sys.sysenter_esp : (uint32_t)c->sys.sysenter_esp;
	c->rip = wide ? c->sys.sysenter_eip : (uint32_t)c->sys.sysenter_eip;
	flat(c, VCPU_SS, (uint16_t)(cs + 8), 0, SEG_DB);
	flat(c, VCPU_CS, cs, 0, wide ? SEG_L : SEG_DB);
	return true;
}

bool sys_sysexit(struct cpu *c, bool wide)
{
	uint16_t cs = (uint16_t)c->sys.sysenter_cs & 0xfffc;
	uint64_t rip = c->gpr[VCPU_RDX], rsp = c->gpr[VCPU_RCX];

	if (sys_real(c) || sys_cpl(c) != 0 || cs == 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (wide && (!sys_canonical(rip) || !sys_canonical(rsp)))
		return sys_fault(c, VECTOR_GP, 0);
	c->rip = wide ? rip : (uint32_t)rip;
	c->gpr[VCPU_RSP] = wide ? rsp : (uint32_t)rsp;
	flat(c, VCPU_SS, (uint16_t)(cs + (wide ? 40 : 24)) | 3, 3, SEG_DB);
	flat(c, VCPU_CS, (uint16_t)(cs + (wide ? 32 : 16)) | 3, 3, wide ? SEG_L : SEG_DB);
	return true;
}

bool sys_swapgs(struct cpu *c)
{
	uint64_t base = c->segment[VCPU_GS].base;

	if (!sys_in64(c))
		return sys_fault_plain(c, VECTOR_UD);
	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	sys_base_set(c, VCPU_GS, c->sys.kernel_gs);
	c->sys.kernel_gs = base;
	return true;
}

static bool bases_allowed(struct cpu *c)
{
	return (sys_in64(c) && (c->cr4 & CR4_FSGSBASE) != 0) || sys_fault_plain(c, VECTOR_UD);
}

bool sys_base_read(struct cpu *c, unsigned name, unsigned bytes, uint64_t *ret)
{
	assert(name == VCPU_FS || name == VCPU_GS);
	if (!bases_allowed(c))
		return false;
	*ret = bytes == 8 ? c->segment[name].base : (uint32_t)c->segment[name].base;
	return true;
}

bool sys_base_write(struct cpu *c, unsigned name, unsigned bytes, uint64_t value)
{
	assert(name == VCPU_FS || name == VCPU_GS);
	if (!bases_allowed(c))
		return false;
	if (bytes == 4)
		value = (uint32_t)value;
	if (!sys_canonical(value))
		return sys_fault(c, VECTOR_GP, 0);
	sys_base_set(c, name, value);
	return true;
}
