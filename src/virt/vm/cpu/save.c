/*
 * A vCPU's architectural state, out to struct vcpu_state and in again. See accel.h. Between two
 * runs the core's state is canonical, so this is copying, in an order that respects what depends on
 * what: mode registers first, then the APIC, then MSRs.
 */
#include <assert.h>
#include <string.h>

#include "virt/vm/cpu/accel.h"
#include "virt/vm/cpu/vector.h"

void vcpu_save(struct vcpu *v, struct vcpu_state *ret)
{
	struct cpu *c = v->cpu;
	uint32_t index[VCPU_MSRS_MAX];
	uint64_t value[VCPU_MSRS_MAX];

	memset(ret, 0, sizeof(*ret));
	memcpy(ret->gpr, c->gpr, sizeof(ret->gpr)); /* the slots behind are the core's */
	ret->rip = c->rip;
	ret->rflags = flags_get(c);
	memcpy(ret->segment, c->segment, sizeof(ret->segment));
	ret->gdt_base = c->gdt_base;
	ret->gdt_limit = c->gdt_limit;
	ret->idt_base = c->idt_base;
	ret->idt_limit = c->idt_limit;
	ret->cr0 = c->cr0;
	ret->cr2 = c->cr2;
	ret->cr3 = c->cr3;
	ret->cr4 = c->cr4;
	ret->cr8 = apic_cr8(c->sys.apic);
	ret->efer = c->efer;
	ret->apic_base = apic_base(c->sys.apic);
	ret->xcr0 = 1;
	memcpy(ret->dr, c->dr, sizeof(ret->dr));
	vector_get(c, ret->fxsave);
	ret->msrs = sys_msr_save(c, index, value, VCPU_MSRS_MAX);
	for (size_t i = 0; i < ret->msrs; i++) {
		ret->msr[i].index = index[i];
		ret->msr[i].value = value[i];
	}
	apic_get(c->sys.apic, ret->apic);
	ret->activity = c->sys.activity;
	ret->nmi_pending = (apic_events(c->sys.apic) & APIC_EVENT_NMI) != 0;
	ret->nmi_masked = c->sys.nmi_masked;
	ret->shadow_sti = (c->sys.shadow & SHADOW_STI) != 0 || c->rip == c->sys.sti_rip;
	ret->shadow_mov_ss = (c->sys.shadow & SHADOW_MOV_SS) != 0;
}

/* The APIC's base register knows no direct way from one mode to any other: by way of off. */
static int restore_apic(struct vcpu *v, const struct vcpu_state *s, struct err *e)
{
	struct apic *a = v->cpu->sys.apic;
	uint64_t mode = APIC_BASE_X2APIC | APIC_BASE_ENABLED;
	bool ok = apic_base_write(a, s->apic_base & ~mode);

	if (ok && (s->apic_base & APIC_BASE_ENABLED) != 0)
		ok = apic_base_write(a, s->apic_base & ~APIC_BASE_X2APIC);
	if (!ok || !apic_base_write(a, s->apic_base))
		return err_set(e, ERR_INVALID, "vCPU %u: no local APIC can lie at 0x%llx", v->index,
			       (unsigned long long)s->apic_base);
	apic_set_state(a, s->apic);
	apic_events_clear(a, UINT32_MAX);
	if (s->nmi_pending)
		apic_event_raise(a->set, v->index, APIC_EVENT_NMI);
	return 0;
}

static int restore_msrs(struct vcpu *v, const struct vcpu_state *s, struct err *e)
{
	for (size_t i = 0; i < s->msrs; i++)
		if (!sys_msr_restore(v->cpu, s->msr[i].index, s->msr[i].value))
			return err_set(e, ERR_INVALID, "vCPU %u: MSR 0x%x cannot hold 0x%llx",
				       v->index, s->msr[i].index,
				       (unsigned long long)s->msr[i].value);
	return 0;
}

/* What was begun before: an exception (below 32) or an interrupt is delivered now. */
static void restore_event(struct cpu *c, const struct vcpu_state *s)
{
	const struct event event = {
		.kind = s->event_vector < 32 ? EVENT_EXCEPTION : EVENT_INTERRUPT,
		.vector = s->event_vector,
		.has_error = s->event_has_error,
		.error = s->event_error,
		.rip = c->rip,
	};

	flags_pack(c);
	if (!event_deliver(c, &event))
		c->sys.shutdown = true;
	flags_unpack(c);
}

static void restore_registers(struct cpu *c, const struct vcpu_state *s)
{
	memcpy(c->gpr, s->gpr, sizeof(s->gpr));
	c->rip = s->rip;
	flags_set(c, s->rflags | 2);
	memcpy(c->segment, s->segment, sizeof(c->segment));
	c->gdt_base = s->gdt_base;
	c->gdt_limit = s->gdt_limit;
	c->idt_base = s->idt_base;
	c->idt_limit = s->idt_limit;
	c->cr0 = s->cr0 | CR0_ET;
	c->cr2 = s->cr2;
	c->cr4 = s->cr4;
	c->efer = s->efer;
	cpu_cr3_set(c, s->cr3);
	memcpy(c->dr, s->dr, sizeof(c->dr));
	c->sys.debug = 0;
	c->sys.sti_rip = 0;
	c->sys.activity = s->activity;
	c->sys.nmi_masked = s->nmi_masked;
	c->sys.shadow = (s->shadow_sti ? SHADOW_STI : 0) | (s->shadow_mov_ss ? SHADOW_MOV_SS : 0);
	vector_set(c, s->fxsave);
}

int vcpu_restore(struct vcpu *v, const struct vcpu_state *s, struct err *e)
{
	struct cpu *c = v->cpu;
	int r;

	if (s->msrs > VCPU_MSRS_MAX || s->cr8 > 15)
		return err_set(e, ERR_INVALID, "vCPU %u: a state with %zu MSRs and CR8 %llu",
			       v->index, s->msrs, (unsigned long long)s->cr8);
	restore_registers(c, s);
	r = restore_apic(v, s, e);
	if (r == 0)
		r = restore_msrs(v, s, e);
	if (r < 0)
		return r;
	cpu_tlb_flush(c, true);
	cpu_debug_changed(c);
	cpu_mode_changed(c);
	timer_watch(v, apic_deadline(c->sys.apic));
	if (s->event_pending && (!s->event_has_error || s->event_vector < 32))
		restore_event(c, s);
	vcpu_wake(v);
	return 0;
}
