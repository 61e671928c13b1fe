/*
 * Control registers: what may be written, and what a write does to mode and translations. Also
 * LMSW, CLTS and the tables' registers. See sys.h; SDM volume 3, 2.5, and volume 2, MOV.
 *
 * The core is told through cpu_mode_changed(), cpu_cr3_set() and cpu_tlb_flush().
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>

#include "virt/vm/memory/map.h"

#define CR0_VALID                                                                                  \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR4_VALID                                                                          \
	(CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR | \
	 CR4_OSXMMEXCPT | CR4_FSGSBASE)
#define EFER_VALID (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

/* Paging goes on or off: long mode with it. False: #GP. */
static bool paging_switch(struct cpu *c, uint64_t cr0)
{
	bool on = (cr0 & CR0_PG) != 0;

	if (on == ((c->cr0 & CR0_PG) != 0))
		return true;
	if (!on) {
		if (sys_in64(c))
			return false;
		c->efer &= ~EFER_LMA;
		return true;
	}
	if ((c->efer & EFER_LME) == 0)
		return true;
	if ((c->cr4 & CR4_PAE) == 0 || (c->segment[VCPU_CS].access & SEG_L) != 0)
		return false;
	c->efer |= EFER_LMA;
	return true;
}

static bool cr0_write(struct cpu *c, uint64_t value)
{
	uint64_t old = c->cr0;

	if (!sys_in64(c))
		value = (uint32_t)value;
	if (value >> 32 != 0)
		return sys_fault(c, VECTOR_GP, 0);
	value = (value & CR0_VALID) | CR0_ET;
	if (((value & CR0_PG) != 0 && (value & CR0_PE) == 0) ||
	    ((value & CR0_NW) != 0 && (value & CR0_CD) == 0) || !paging_switch(c, value))
		return sys_fault(c, VECTOR_GP, 0);
	c->cr0 = value;
	if (((old ^ value) & (CR0_PG | CR0_WP | CR0_PE)) != 0)
		cpu_tlb_flush(c, true);
	cpu_mode_changed(c);
	return true;
}

static bool cr3_write(struct cpu *c, uint64_t value)
{
	if (!sys_in64(c))
		value = (uint32_t)value;
	if (sys_long(c) && value >> MAP_PHYSICAL_BITS != 0)
		return sys_fault(c, VECTOR_GP, 0);
	cpu_cr3_set(c, value);
	return true;
}

static bool cr4_write(struct cpu *c, uint64_t value)
{
	uint64_t old = c->cr4;

	if ((value & ~(uint64_t)CR4_VALID) != 0 || (sys_long(c) && (value & CR4_PAE) == 0))
		return sys_fault(c, VECTOR_GP, 0);
	c->cr4 = value;
	if (((old ^ value) & (CR4_PAE | CR4_PSE | CR4_PGE)) != 0)
		cpu_tlb_flush(c, true);
	cpu_mode_changed(c);
	return true;
}

/* Those that do not are #UD before privilege is asked. */
static bool cr_exists(unsigned n)
{
	return n == 0 || n == 2 || n == 3 || n == 4 || n == 8;
}

bool sys_cr_write(struct cpu *c, unsigned n, uint64_t value)
{
	if (!cr_exists(n))
		return sys_fault_plain(c, VECTOR_UD);
	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	switch (n) {
	case 0:
		return cr0_write(c, value);
	case 2:
		c->cr2 = value;
		return true;
	case 3:
		return cr3_write(c, value);
	case 4:
		return cr4_write(c, value);
	case 8:
		if (value > 15)
			return sys_fault(c, VECTOR_GP, 0);
		apic_cr8_write(c->sys.apic, value);
		return true;
	}
	return sys_fault_plain(c, VECTOR_UD);
}

bool sys_cr_read(struct cpu *c, unsigned n, uint64_t *ret)
{
	if (!cr_exists(n))
		return sys_fault_plain(c, VECTOR_UD);
	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	switch (n) {
	case 0:
		*ret = c->cr0;
		return true;
	case 2:
		*ret = c->cr2;
		return true;
	case 3:
		*ret = c->cr3;
		return true;
	case 4:
		*ret = c->cr4;
		return true;
	case 8:
		*ret = apic_cr8(c->sys.apic);
		return true;
	}
	return sys_fault_plain(c, VECTOR_UD);
}

bool sys_lmsw(struct cpu *c, uint16_t value)
{
	uint64_t low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	/* PE can be set and not cleared. */
	return cr0_write(c, (c->cr0 & ~(low & ~CR0_PE)) | (value & low));
}

bool sys_clts(struct cpu *c)
{
	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	c->cr0 &= ~CR0_TS;
	cpu_mode_changed(c);
	return true;
}

bool sys_efer_write(struct cpu *c, uint64_t value)
{
	uint64_t old = c->efer;

	if ((value & ~(uint64_t)EFER_VALID) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	if ((c->cr0 & CR0_PG) != 0 && ((old ^ value) & EFER_LME) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	c->efer = (value & ~EFER_LMA) | (old & EFER_LMA);
	if (((old ^ value) & EFER_NXE) != 0)
		cpu_tlb_flush(c, true);
	cpu_mode_changed(c);
	return true;
}

bool sys_table_load(struct cpu *c, bool idt, uint16_t limit, uint64_t base)
{
	if (sys_cpl(c) != 0 || (sys_in64(c) && !sys_canonical(base)))
		return sys_fault(c, VECTOR_GP, 0);
	if (idt) {
		c->idt_limit = limit;
		c->idt_base = base;
	} else {
		c->gdt_limit = limit;
		c->gdt_base = base;
	}
	return true;
}

bool sys_invlpg(struct cpu *c, uint64_t at)
{
	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (!sys_in64(c) || sys_canonical(at))
		cpu_tlb_flush_page(c, at);
	return true;
}

/* ---- flags ---- */

bool sys_cli(struct cpu *c)
{
	if (!sys_real(c) && sys_cpl(c) > sys_iopl(c)) /* virtual-8086 mode is level 3 */
		return sys_fault(c, VECTOR_GP, 0);
	c->flags &= ~FLAG_IF;
	return true;
}

bool sys_sti(struct cpu *c)
{
	if (!sys_real(c) && sys_cpl(c) > sys_iopl(c))
		return sys_fault(c, VECTOR_GP, 0);
	c->flags |= FLAG_IF;
	return true;
}

bool sys_popf(struct cpu *c, unsigned bytes)
{
	struct stack s = stack_of(c);
	uint64_t flags, mask;

	if (sys_v86(c) && sys_iopl(c) < 3)
		return sys_fault(c, VECTOR_GP, 0);
	if (!stack_pop(c, &s, bytes, &flags))
		return false;
	mask = flags_writable(c, sys_v86(c) ? 3 : sys_cpl(c), bytes);
	c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	c->flags = (c->flags & ~(mask | FLAG_RF)) | (flags & mask) | 2;
	return true;
}

bool sys_pushf(struct cpu *c, unsigned bytes)
{
	struct stack s = stack_of(c);

	if (sys_v86(c) && sys_iopl(c) < 3)
		return sys_fault(c, VECTOR_GP, 0);
	if (!stack_push(c, &s, bytes, c->flags & ~(FLAG_RF | FLAG_VM)))
		return false;
	c->gpr[VCPU_RSP] = stack_rsp(c, &s);
	return true;
}
