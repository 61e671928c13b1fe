/*
 * Model-specific registers: one row each, with what it holds after reset and which bits it keeps.
 * What is not in the table is #GP. See sys.h; SDM volume 4, and KVM's own from the kernel's
 * Documentation/virt/kvm/x86/msr.rst.
 *
 * A row without functions is a stored value; a write with other bits than `valid` is #GP.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>
#include <stddef.h>

#include "ground/base/mem.h"
#include "ground/base/world.h"
#include "virt/vm/cpu/cpuid.h"
#include "virt/vm/cpu/kvmclock.h"

#define IA32_TSC	       0x10u
#define IA32_PLATFORM_ID       0x17u
#define IA32_APIC_BASE	       0x1bu
#define IA32_SPEC_CTRL	       0x48u
#define IA32_PRED_CMD	       0x49u
#define IA32_BIOS_SIGN_ID      0x8bu
#define IA32_MTRRCAP	       0xfeu
#define IA32_ARCH_CAPABILITIES 0x10au
#define IA32_SYSENTER_CS       0x174u
#define IA32_SYSENTER_ESP      0x175u
#define IA32_SYSENTER_EIP      0x176u
#define IA32_MCG_CAP	       0x179u
#define IA32_MCG_STATUS	       0x17au
#define IA32_MISC_ENABLE       0x1a0u
#define IA32_DEBUGCTL	       0x1d9u
#define IA32_MTRR_PHYSBASE0    0x200u
#define IA32_MTRR_FIX64K       0x250u
#define IA32_MTRR_FIX16K       0x258u
#define IA32_MTRR_FIX4K	       0x268u
#define IA32_PAT	       0x277u
#define IA32_MTRR_DEF_TYPE     0x2ffu
#define IA32_TSC_DEADLINE      0x6e0u
#define IA32_X2APIC_FIRST      0x800u
#define IA32_X2APIC_LAST       0x83fu
#define IA32_EFER	       0xc0000080u
#define IA32_STAR	       0xc0000081u
#define IA32_LSTAR	       0xc0000082u
#define IA32_CSTAR	       0xc0000083u
#define IA32_FMASK	       0xc0000084u
#define IA32_FS_BASE	       0xc0000100u
#define IA32_GS_BASE	       0xc0000101u
#define IA32_KERNEL_GS_BASE    0xc0000102u
#define IA32_TSC_AUX	       0xc0000103u

#define MTRR_VARIABLE 8
#define PHYSICAL      ((1ull << 46) - 1)

typedef bool msr_read_fn(struct cpu *c, uint32_t index, uint64_t *ret);
typedef bool msr_write_fn(struct cpu *c, uint32_t index, uint64_t value);

enum msr_flag {
	READ_ONLY = 1,
	CANONICAL = 2, /* else #GP */
	VOLATILE = 4,  /* not part of a saved state */
	STORED = 8,    /* `slot` is where */
};

struct msr_row {
	uint32_t first, last;
	uint64_t valid, reset;
	uint16_t slot; /* offset in struct sys of the first one's value */
	uint8_t flags;
	msr_read_fn *read;
	msr_write_fn *write;
};

static bool gp(struct cpu *c)
{
	return sys_fault(c, VECTOR_GP, 0);
}

static bool tsc_read(struct cpu *c, uint32_t index, uint64_t *ret)
{
	*ret = sys_tsc(c);
	return true;
}

static bool system_time_update(struct cpu *c)
{
	uint64_t msr = c->sys.kvm_system;
	struct kvmclock_time t = {
		.system_ns = kvmclock_host_ns() - c->sys.start_ns,
		.stable = c->sys.apic->tsc_offset == 0 - c->sys.start_ns,
	};

	if ((msr & KVMCLOCK_ENABLED) == 0)
		return true;
	t.tsc = t.system_ns + c->sys.start_ns + c->sys.apic->tsc_offset;
	return kvmclock_system(c->ram, (struct gpa){msr & ~3ull}, &t);
}

static bool tsc_write(struct cpu *c, uint32_t index, uint64_t value)
{
	c->sys.apic->tsc_offset = value - kvmclock_host_ns();
	return system_time_update(c) || gp(c);
}

static bool apic_base_msr_read(struct cpu *c, uint32_t index, uint64_t *ret)
{
	*ret = apic_base(c->sys.apic);
	return true;
}

static bool apic_base_msr_write(struct cpu *c, uint32_t index, uint64_t value)
{
	return apic_base_write(c->sys.apic, value) || gp(c);
}

static bool deadline_read(struct cpu *c, uint32_t index, uint64_t *ret)
{
	*ret = apic_deadline_read(c->sys.apic);
	return true;
}

static bool deadline_write(struct cpu *c, uint32_t index, uint64_t value)
{
	apic_deadline_write(c->sys.apic, value);
	sys_timer_changed(c);
	return true;
}

static bool x2apic_read(struct cpu *c, uint32_t index, uint64_t *ret)
{
	return apic_msr_read(c->sys.apic, index, ret) || gp(c);
}

static bool x2apic_write(struct cpu *c, uint32_t index, uint64_t value)
{
	if (!apic_msr_write(c->sys.apic, index, value))
		return gp(c);
	sys_timer_changed(c);
	return true;
}

static bool efer_read(struct cpu *c, uint32_t index, uint64_t *ret)
{
	*ret = c->efer;
	return true;
}

static bool efer_write(struct cpu *c, uint32_t index, uint64_t value)
{
	return sys_efer_write(c, value);
}

static bool base_read(struct cpu *c, uint32_t index, uint64_t *ret)
{
	*ret = c->segment[index == IA32_FS_BASE ? VCPU_FS : VCPU_GS].base;
	return true;
}

static bool base_write(struct cpu *c, uint32_t index, uint64_t value)
{
	sys_base_set(c, index == IA32_FS_BASE ? VCPU_FS : VCPU_GS, value);
	return true;
}

/* Memory types that exist: 0, 1, 4, 5, 6; PAT knows 7 too. */
static bool types_valid(uint64_t value, unsigned mask)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t type = value >> (i * 8) & 0xff;

		if (type > 7 || (mask >> type & 1) == 0)
			return false;
	}
	return true;
}

static bool pat_write(struct cpu *c, uint32_t index, uint64_t value)
{
	if (!types_valid(value, 0xf3))
		return gp(c);
	c->sys.pat = value;
	return true;
}

static bool mtrr_fixed_write(struct cpu *c, uint32_t index, uint64_t value)
{
	if (!types_valid(value, 0x73))
		return gp(c);
	if (index == IA32_MTRR_FIX64K)
		c->sys.mtrr_fixed[0] = value;
	else if (index < IA32_MTRR_FIX4K)
		c->sys.mtrr_fixed[1 + index - IA32_MTRR_FIX16K] = value;
	else
		c->sys.mtrr_fixed[3 + index - IA32_MTRR_FIX4K] = value;
	return true;
}

/* A write of anything updates "the loaded microcode's revision": none is. */
static bool ignore_write(struct cpu *c, uint32_t index, uint64_t value)
{
	return true;
}

static bool zero_read(struct cpu *c, uint32_t index, uint64_t *ret)
{
	*ret = 0;
	return true;
}

static bool kvm_system_write(struct cpu *c, uint32_t index, uint64_t value)
{
	c->sys.kvm_system = value;
	return system_time_update(c) || gp(c);
}

static bool kvm_wall_write(struct cpu *c, uint32_t index, uint64_t value)
{
	uint64_t system_ns = kvmclock_host_ns() - c->sys.start_ns;
	uint64_t wall_ns = (uint64_t)world_now_ns(&world_real);

	c->sys.kvm_wall = value;
	if (value == 0)
		return true;
	return kvmclock_wall(c->ram, (struct gpa){value}, wall_ns, system_ns) || gp(c);
}

#define SLOT(member) offsetof(struct sys, member), STORED
#define ONE(index)   (index), (index)

static const struct msr_row rows[] = {
	{ONE(IA32_TSC), UINT64_MAX, 0, 0, 0, tsc_read, tsc_write},
	{ONE(IA32_PLATFORM_ID), 0, 0, 0, READ_ONLY | VOLATILE, zero_read, NULL},
	{ONE(IA32_APIC_BASE), UINT64_MAX, 0, 0, VOLATILE, apic_base_msr_read, apic_base_msr_write},
	{ONE(IA32_SPEC_CTRL), 7, 0, SLOT(spec_ctrl), NULL, NULL},
	{ONE(IA32_PRED_CMD), 1, 0, 0, VOLATILE, NULL, ignore_write},
	{ONE(IA32_BIOS_SIGN_ID), UINT64_MAX, 1ull << 32, SLOT(microcode), NULL, ignore_write},
	{ONE(IA32_MTRRCAP), 0, 0x508, SLOT(mtrr_cap), NULL, NULL},
	{ONE(IA32_ARCH_CAPABILITIES), 0, CPUID_ARCH_CAPABILITIES, SLOT(arch_capabilities), NULL,
	 NULL},
	{ONE(IA32_SYSENTER_CS), UINT32_MAX, 0, SLOT(sysenter_cs), NULL, NULL},
	{ONE(IA32_SYSENTER_ESP), UINT64_MAX, 0, SLOT(sysenter_esp) | CANONICAL, NULL, NULL},
	{ONE(IA32_SYSENTER_EIP), UINT64_MAX, 0, SLOT(sysenter_eip) | CANONICAL, NULL, NULL},
	{ONE(IA32_MCG_CAP), 0, 0, 0, READ_ONLY | VOLATILE, zero_read, NULL},
	{ONE(IA32_MCG_STATUS), 7, 0, SLOT(mcg_status), NULL, NULL},
	/* Fast strings on; no branch trace, no PEBS. */
	{ONE(IA32_MISC_ENABLE), UINT64_MAX, 0x1801, SLOT(misc_enable), NULL, NULL},
	{ONE(IA32_DEBUGCTL), 3, 0, SLOT(debugctl), NULL, NULL},
	{IA32_MTRR_PHYSBASE0, IA32_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE - 1, PHYSICAL, 0,
	 SLOT(mtrr_variable), NULL, NULL},
	{ONE(IA32_MTRR_FIX64K), UINT64_MAX, 0, SLOT(mtrr_fixed), NULL, mtrr_fixed_write},
	{IA32_MTRR_FIX16K, IA32_MTRR_FIX16K + 1, UINT64_MAX, 0, SLOT(mtrr_fixed[1]), NULL,
	 mtrr_fixed_write},
	{IA32_MTRR_FIX4K, IA32_MTRR_FIX4K + 7, UINT64_MAX, 0, SLOT(mtrr_fixed[3]), NULL,
	 mtrr_fixed_write},
	{ONE(IA32_PAT), UINT64_MAX, 0x0007040600070406, SLOT(pat), NULL, pat_write},
	/* On, write-back: as firmware leaves it, for there is none. */
	{ONE(IA32_MTRR_DEF_TYPE), 0xcff, 0xc06, SLOT(mtrr_def_type), NULL, NULL},
	{ONE(IA32_TSC_DEADLINE), UINT64_MAX, 0, 0, 0, deadline_read, deadline_write},
	{IA32_X2APIC_FIRST, IA32_X2APIC_LAST, UINT64_MAX, 0, 0, VOLATILE, x2apic_read,
	 x2apic_write},
	{ONE(IA32_EFER), UINT64_MAX, 0, 0, VOLATILE, efer_read, efer_write},
	{ONE(IA32_STAR), UINT64_MAX, 0, SLOT(star), NULL, NULL},
	{ONE(IA32_LSTAR), UINT64_MAX, 0, SLOT(lstar) | CANONICAL, NULL, NULL},
	{ONE(IA32_CSTAR), UINT64_MAX, 0, SLOT(cstar) | CANONICAL, NULL, NULL},
	{ONE(IA32_FMASK), UINT32_MAX, 0, SLOT(fmask), NULL, NULL},
	{IA32_FS_BASE, IA32_GS_BASE, UINT64_MAX, 0, 0, CANONICAL | VOLATILE, base_read, base_write},
	{ONE(IA32_KERNEL_GS_BASE), UINT64_MAX, 0, SLOT(kernel_gs) | CANONICAL, NULL, NULL},
	{ONE(IA32_TSC_AUX), UINT32_MAX, 0, SLOT(tsc_aux), NULL, NULL},
	{ONE(KVMCLOCK_MSR_WALL), UINT64_MAX, 0, SLOT(kvm_wall), NULL, kvm_wall_write},
	{ONE(KVMCLOCK_MSR_SYSTEM), ~2ull, 0, SLOT(kvm_system), NULL, kvm_system_write},
};

static const struct msr_row *row_find(uint32_t index)
{
	for (size_t i = 0; i < array_len(rows); i++)
		if (index >= rows[i].first && index <= rows[i].last)
			return &rows[i];
	return NULL;
}

static uint64_t *slot_of(struct cpu *c, const struct msr_row *r, uint32_t index)
{
	assert((r->flags & STORED) != 0);
	return (uint64_t *)(void *)((char *)&c->sys + r->slot) + (index - r->first);
}

bool sys_msr_read(struct cpu *c, uint32_t index, uint64_t *ret)
{
	const struct msr_row *r = row_find(index);

	if (r == NULL || (r->read == NULL && (r->flags & STORED) == 0))
		return gp(c);
	if (r->read)
		return r->read(c, index, ret);
	*ret = *slot_of(c, r, index);
	return true;
}

bool sys_msr_write(struct cpu *c, uint32_t index, uint64_t value)
{
	const struct msr_row *r = row_find(index);

	if (r == NULL || (r->flags & READ_ONLY) != 0 || r->valid == 0 || (value & ~r->valid) != 0)
		return gp(c);
	if ((r->flags & CANONICAL) != 0 && !sys_canonical(value))
		return gp(c);
	if (r->write)
		return r->write(c, index, value);
	*slot_of(c, r, index) = value;
	return true;
}

bool sys_msr_restore(struct cpu *c, uint32_t index, uint64_t value)
{
	const struct msr_row *r = row_find(index);

	if (r != NULL && (r->flags & STORED) != 0 && r->write == ignore_write)
		*slot_of(c, r, index) = value;
	/* A time that is past already is this machine's own, read a moment ago: to set it back on
	 * one vCPU would take its TSC apart from the others'. */
	if (index == IA32_TSC && value <= sys_tsc(c))
		return true;
	return sys_msr_write(c, index, value);
}

void sys_msr_reset(struct cpu *c)
{
	for (size_t i = 0; i < array_len(rows); i++)
		for (uint32_t n = rows[i].first; n <= rows[i].last; n++)
			if ((rows[i].flags & STORED) != 0)
				*slot_of(c, &rows[i], n) = rows[i].reset;
}

size_t sys_msr_save(struct cpu *c, uint32_t *indices, uint64_t *values, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < array_len(rows); i++) {
		for (uint32_t at = rows[i].first; at <= rows[i].last; at++) {
			if ((rows[i].flags & VOLATILE) != 0 || rows[i].valid == 0)
				continue;
			assert(n < max);
			indices[n] = at;
			if (!sys_msr_read(c, at, &values[n]))
				assert(!"a row that is saved can be read");
			n++;
		}
	}
	return n;
}
