/*
 * The rest of the system side: faults as values, guarded memory, reset, CPUID, time stamps and
 * hypercalls. See sys.h.
 */
#include "virt/vm/cpu/sys_priv.h"

#include <assert.h>
#include <string.h>

#include "virt/vm/cpu/cpuid.h"
#include "virt/vm/cpu/kvmclock.h"

#define HYPERCALL_KICK 5
#define KVM_EPERM      1
#define KVM_ENOSYS     1000

void sys_fault_note(struct cpu *c, const struct fault *f)
{
	bool with_selector = f->vector >= VECTOR_TS && f->vector <= VECTOR_GP;

	assert(f->vector < 32);
	c->sys.fault = *f;
	if (with_selector && c->sys.external)
		c->sys.fault.error |= 1;
}

uint64_t sys_tsc(const struct cpu *c)
{
	return kvmclock_host_ns() + c->sys.apic->tsc_offset;
}

bool sys_rdtsc(struct cpu *c, bool with_aux)
{
	uint64_t tsc;

	if ((c->cr4 & CR4_TSD) != 0 && !sys_real(c) && sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	tsc = sys_tsc(c);
	c->gpr[VCPU_RAX] = (uint32_t)tsc;
	c->gpr[VCPU_RDX] = tsc >> 32;
	if (with_aux)
		c->gpr[VCPU_RCX] = (uint32_t)c->sys.tsc_aux;
	return true;
}

void sys_cpuid(struct cpu *c)
{
	const struct cpuid_query q = {
		.leaf = (uint32_t)c->gpr[VCPU_RAX],
		.subleaf = (uint32_t)c->gpr[VCPU_RCX],
		.index = c->sys.index,
		.cpus = c->sys.cpus,
		.apic_enabled = (apic_base(c->sys.apic) & APIC_BASE_ENABLED) != 0,
	};
	struct cpuid_result r = cpuid_read(&q);

	c->gpr[VCPU_RAX] = r.eax;
	c->gpr[VCPU_RBX] = r.ebx;
	c->gpr[VCPU_RCX] = r.ecx;
	c->gpr[VCPU_RDX] = r.edx;
}

bool sys_rdmsr(struct cpu *c)
{
	uint64_t value;

	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	if (!sys_msr_read(c, (uint32_t)c->gpr[VCPU_RCX], &value))
		return false;
	c->gpr[VCPU_RAX] = (uint32_t)value;
	c->gpr[VCPU_RDX] = value >> 32;
	return true;
}

bool sys_wrmsr(struct cpu *c)
{
	uint64_t value = (uint32_t)c->gpr[VCPU_RAX] | c->gpr[VCPU_RDX] << 32;

	if (sys_cpl(c) != 0)
		return sys_fault(c, VECTOR_GP, 0);
	return sys_msr_write(c, (uint32_t)c->gpr[VCPU_RCX], value);
}

void sys_apic_write(struct cpu *c, unsigned offset, uint32_t value)
{
	apic_write(c->sys.apic, offset, value);
	sys_timer_changed(c);
	if ((c->flags & FLAG_IF) != 0 && apic_pending(c->sys.apic) >= 0)
		cpu_attention(c);
}

/* KVM's calls: rax is the number and the result. Only one is announced: wake a halted vCPU. */
void sys_hypercall(struct cpu *c)
{
	uint64_t id = c->gpr[VCPU_RCX];

	if (sys_cpl(c) != 0) {
		c->gpr[VCPU_RAX] = (uint64_t)-KVM_EPERM;
		return;
	}
	if (c->gpr[VCPU_RAX] != HYPERCALL_KICK) {
		c->gpr[VCPU_RAX] = (uint64_t)-KVM_ENOSYS;
		return;
	}
	if (id < c->sys.cpus)
		apic_event_raise(c->sys.apic->set, (unsigned)id, APIC_EVENT_KICK);
	c->gpr[VCPU_RAX] = 0;
}

void sys_base_set(struct cpu *c, unsigned name, uint64_t base)
{
	assert(name == VCPU_FS || name == VCPU_GS);
	c->segment[name].base = base;
}

void segment_put_v86(struct cpu *c, unsigned name, uint16_t selector)
{
	const struct vcpu_segment s = {.selector = selector,
				       .base = (uint64_t)selector << 4,
				       .limit = 0xffff,
				       .access = 0xf3};

	segment_put(c, name, &s);
}

/* SDM table 10-1. INIT keeps CR0's cache bits, MSRs and the FPU. */
void sys_reset(struct cpu *c, bool power_on)
{
	uint64_t cache = power_on ? CR0_CD | CR0_NW : c->cr0 & (CR0_CD | CR0_NW);
	struct vcpu_segment s = {.limit = 0xffff, .access = 0x93};

	for (unsigned i = 0; i < VCPU_REGISTERS; i++)
		c->gpr[i] = 0;
	c->gpr[VCPU_RDX] = 0x206c1;
	c->rip = 0xfff0;
	c->flags = 2;
	for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
		c->segment[i] = s;
	c->segment[VCPU_CS] = (struct vcpu_segment){
		.base = 0xffff0000, .limit = 0xffff, .selector = 0xf000, .access = 0x9b};
	c->segment[VCPU_LDTR] = (struct vcpu_segment){.limit = 0xffff, .access = 0x82};
	c->segment[VCPU_TR] = (struct vcpu_segment){.limit = 0xffff, .access = 0x8b};
	c->gdt_base = c->idt_base = 0;
	c->gdt_limit = c->idt_limit = 0xffff;
	c->cr0 = CR0_ET | cache;
	c->cr2 = c->cr3 = c->cr4 = c->efer = 0;
	memset(c->dr, 0, sizeof(c->dr));
	c->dr[6] = DR6_FIXED;
	c->dr[7] = DR7_FIXED;
	c->sys.fault = (struct fault){0};
	c->sys.nmi_masked = false;
	c->sys.shadow = 0;
	c->sys.sti_rip = 0;
	c->sys.debug = 0;
	flags_unpack(c);
	if (power_on)
		sys_msr_reset(c);
	cpu_tlb_flush(c, true);
	cpu_debug_changed(c);
	cpu_mode_changed(c);
}
