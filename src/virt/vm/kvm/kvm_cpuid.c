/*
 * What CPUID says with KVM: all that this KVM can give, with the vCPU's own APIC id and count, the
 * hypervisor's signature, and without what this machine does not offer (performance counters,
 * nested virtualisation, memory and trace features that need state we do not keep).
 */
#include <assert.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/vm/kvm/kvm_priv.h"

/* Bits taken away: leaf, subleaf, and masks. SDM volume 2, CPUID. */
static const struct {
	uint32_t leaf, subleaf;
	uint32_t eax, ebx, ecx, edx;
} hidden[] = {
	{1, 0, 0, 0, 1u << 5 | 1u << 15, 0},			      /* VMX, PDCM */
	{7, 0, 0, 1u << 2 | 1u << 25, 1u << 16 | 1u << 22, 1u << 19}, /* SGX, PT; LA57; LBR */
	{0x80000001, 0, 0, 0, 1u << 2 | 1u << 23 | 1u << 24, 0},      /* SVM, AMD's counters */
};

/* Leaves that say "nothing": performance monitoring, resource control, SGX, trace. */
static const uint32_t emptied[] = {0x0a, 0x0f, 0x10, 0x12, 0x14, 0x18, 0x1c, 0x23};

static void hide(struct kvm_cpuid_entry2 *c)
{
	for (size_t i = 0; i < array_len(hidden); i++) {
		if (c->function != hidden[i].leaf || c->index != hidden[i].subleaf)
			continue;
		c->eax &= ~hidden[i].eax;
		c->ebx &= ~hidden[i].ebx;
		c->ecx &= ~hidden[i].ecx;
		c->edx &= ~hidden[i].edx;
	}
	for (size_t i = 0; i < array_len(emptied); i++)
		if (c->function == emptied[i])
			c->eax = c->ebx = c->ecx = c->edx = 0;
}

/* How many bits of the APIC id number the CPUs of the one package. */
static uint32_t id_bits(unsigned cpus)
{
	uint32_t bits = 0;

	while (1u << bits < cpus)
		bits++;
	return bits;
}

static void topology(struct kvm_cpuid_entry2 *c, const struct vcpu *v)
{
	unsigned cpus = v->a->c.cpus;

	switch (c->function) {
	case 1:
		c->ebx = (c->ebx & 0xffff) | v->index << 24 | (1u << id_bits(cpus)) << 16;
		c->ecx |= 1u << 31 | 1u << 24 | 1u << 21; /* hypervisor, deadline, x2APIC */
		c->edx = cpus > 1 ? c->edx | 1u << 28 : c->edx & ~(1u << 28);
		break;
	case 4: /* one core per vCPU, caches of their own */
		c->eax = (c->eax & 0x3fff) | ((1u << id_bits(cpus)) - 1) << 26;
		break;
	case 6:
		c->eax = 1u << 2; /* the APIC timer never stops */
		c->ebx = c->ecx = c->edx = 0;
		break;
	case 0x0b:
	case 0x1f:
		c->eax = c->index == 0 ? 0 : id_bits(cpus);
		c->ebx = c->index == 0 ? 1 : c->index == 1 ? cpus : 0;
		c->ecx = (c->index & 0xff) | (c->index < 2 ? (c->index + 1) << 8 : 0);
		c->edx = v->index;
		break;
	}
}

/* Leaf 0xb twice, whatever the host has: threads, then cores. */
static void complete_topology(struct kvm_cpuid2 *table)
{
	bool have[2] = {false, false};

	for (uint32_t i = 0; i < table->nent; i++)
		if (table->entries[i].function == 0x0b && table->entries[i].index < 2)
			have[table->entries[i].index] = true;
	for (uint32_t i = 0; i < 2; i++)
		if (!have[i] && table->nent < KVM_CPUID_MAX)
			table->entries[table->nent++] =
				(struct kvm_cpuid_entry2){.function = 0x0b,
							  .index = i,
							  .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
}

int kvm_cpuid_set(struct vcpu *v, struct err *e)
{
	auto_free struct kvm_cpuid2 *table =
		mem_new_bytes(1, sizeof(*table) + KVM_CPUID_MAX * sizeof(struct kvm_cpuid_entry2));

	assert(v->magic == KVM_VCPU_MAGIC);
	table->nent = KVM_CPUID_MAX;
	if (kvm_ioctl(v->a->kvm, KVM_GET_SUPPORTED_CPUID, table) < 0)
		return err_sys(e, "cannot ask KVM what its processors can do");
	complete_topology(table);
	for (uint32_t i = 0; i < table->nent; i++) {
		hide(&table->entries[i]);
		topology(&table->entries[i], v);
	}
	if (kvm_ioctl(v->fd, KVM_SET_CPUID2, table) < 0)
		return err_sys(e, "cannot tell KVM what vCPU %u can do", v->index);
	return 0;
}
