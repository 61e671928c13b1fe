/*
 * The CPUID table: see cpuid.h. Facts: Intel SDM volume 2, CPUID; KVM's leaves from the kernel's
 * Documentation/virt/kvm/x86/cpuid.rst.
 *
 * Constant rows first; what depends on the machine (topology, the own APIC id) is put over them.
 */
#include "virt/vm/cpu/cpuid.h"

#include <assert.h>

#include "ground/base/mem.h"
#include "virt/vm/memory/map.h"
#include "virt/vm/memory/vcpu.h"

#define BIT(n) (1u << (n))

enum {
	/* Westmere's model number: the last that has what x86-64-v2, AES and PCLMUL need and
	 * nothing that XSAVE brings, and one for which kernels know no quirk that matters here. */
	SIGNATURE = 0x000206c1,

	LEAF1_ECX = BIT(0)     /* SSE3 */
		    | BIT(1)   /* PCLMULQDQ */
		    | BIT(9)   /* SSSE3 */
		    | BIT(13)  /* CMPXCHG16B */
		    | BIT(19)  /* SSE4.1 */
		    | BIT(20)  /* SSE4.2 */
		    | BIT(21)  /* x2APIC */
		    | BIT(23)  /* POPCNT */
		    | BIT(24)  /* TSC deadline */
		    | BIT(25), /* AES; bit 31, hypervisor, is added below */

	LEAF1_EDX = BIT(0)     /* FPU */
		    | BIT(2)   /* debugging extensions */
		    | BIT(3)   /* PSE */
		    | BIT(4)   /* TSC */
		    | BIT(5)   /* MSR */
		    | BIT(6)   /* PAE */
		    | BIT(7)   /* machine check exception */
		    | BIT(8)   /* CMPXCHG8B */
		    | BIT(9)   /* APIC */
		    | BIT(11)  /* SYSENTER */
		    | BIT(12)  /* MTRR */
		    | BIT(13)  /* PGE */
		    | BIT(14)  /* machine check architecture, no banks */
		    | BIT(15)  /* CMOV */
		    | BIT(16)  /* PAT */
		    | BIT(17)  /* PSE-36 */
		    | BIT(19)  /* CLFLUSH */
		    | BIT(23)  /* MMX */
		    | BIT(24)  /* FXSAVE */
		    | BIT(25)  /* SSE */
		    | BIT(26)  /* SSE2 */
		    | BIT(27), /* self-snoop */

	LEAF7_EBX = BIT(0)     /* FSGSBASE */
		    | BIT(6)   /* x87: the data pointer changes at exceptions only */
		    | BIT(9)   /* fast REP MOVSB and STOSB */
		    | BIT(13)  /* x87: no code and data selectors */
		    | BIT(29), /* SHA */

	LEAF7_EDX = BIT(4)     /* fast short REP MOVSB */
		    | BIT(26)  /* IBRS and IBPB */
		    | BIT(29), /* IA32_ARCH_CAPABILITIES */

	EXTENDED_EDX = BIT(11)	  /* SYSCALL */
		       | BIT(20)  /* NX */
		       | BIT(26)  /* 1 GiB pages */
		       | BIT(27)  /* RDTSCP */
		       | BIT(29), /* long mode */

	KVM_FEATURES = BIT(1)	  /* no delay after port accesses */
		       | BIT(3)	  /* kvmclock by the new MSRs */
		       | BIT(7)	  /* unhalt by hypercall: paravirtual spinlocks */
		       | BIT(24), /* kvmclock is the same on all vCPUs */
};

static const struct {
	uint32_t leaf, subleaf;
	struct cpuid_result r;
} rows[] = {
	{0x0, 0, {CPUID_LEAF_BASIC, 0x756e6547, 0x6c65746e, 0x49656e69}}, /* GenuineIntel */
	{0x1, 0, {SIGNATURE, 8 << 8 /* CLFLUSH: 64 bytes */, LEAF1_ECX | 1u << 31, LEAF1_EDX}},
	{0x2, 0, {0x00feff01, 0, 0, 0}}, /* caches: see leaf 4; TLBs: leaf 18h, which says none */
	/* Level 1 data and code: 32 KiB, 8 ways; 2: 1 MiB, 16 ways; 3: 16 MiB, shared. */
	{0x4, 0, {0x00000121, 7u << 22 | 63, 63, 0}},
	{0x4, 1, {0x00000122, 7u << 22 | 63, 63, 0}},
	{0x4, 2, {0x00000143, 15u << 22 | 63, 1023, 0}},
	{0x4, 3, {0x00000163, 15u << 22 | 63, 16383, 0}},
	{0x6, 0, {BIT(2) /* the APIC timer never stops */, 0, 0, 0}},
	{0x7, 0, {0, LEAF7_EBX, 0, LEAF7_EDX}},
	{0x15, 0, {1, 1, CPUID_TSC_KHZ * 1000, 0}},
	{0x40000000, 0, {0x40000010, 0x4b4d564b, 0x564b4d56, 0x0000004d}}, /* KVMKVMKVM */
	{0x40000001, 0, {KVM_FEATURES, 0, 0, 0}},
	{0x40000010, 0, {CPUID_TSC_KHZ, CPUID_TSC_KHZ, 0, 0}},
	{0x80000000, 0, {CPUID_LEAF_EXTEND, 0, 0, 0}},
	{0x80000001, 0, {0, 0, BIT(0) /* LAHF */ | BIT(8) /* PREFETCHW */, EXTENDED_EDX}},
	{0x80000002, 0, {0x6c6c7548, 0x666f7320, 0x72617774, 0x50432065}}, /* "Hull software CP" */
	{0x80000003, 0, {0x00000055, 0, 0, 0}},				   /* "U" */
	{0x80000004, 0, {0, 0, 0, 0}},
	{0x80000006, 0, {0, 0, 1024u << 16 | 8u << 12 | 64, 0}},
	{0x80000007, 0, {0, 0, 0, BIT(8) /* invariant TSC */}},
	{0x80000008, 0, {48u << 8 | MAP_PHYSICAL_BITS, 0, 0, 0}},
};

/* Bits that an APIC id needs for `cpus` of them. */
static unsigned id_bits(unsigned cpus)
{
	unsigned bits = 0;

	while ((1u << bits) < cpus)
		bits++;
	return bits;
}

/* Every vCPU is a core of its own, in one package. */
static struct cpuid_result topology(const struct cpuid_query *q)
{
	struct cpuid_result r = {.ecx = q->subleaf & 0xff, .edx = q->index};

	if (q->subleaf == 0) {
		r.ebx = 1;
		r.ecx |= 1u << 8; /* threads */
	} else if (q->subleaf == 1) {
		r.eax = id_bits(q->cpus);
		r.ebx = q->cpus;
		r.ecx |= 2u << 8; /* cores */
	}
	return r;
}

static struct cpuid_result row_find(uint32_t leaf, uint32_t subleaf)
{
	bool indexed = leaf == 4 || leaf == 7;

	for (size_t i = 0; i < array_len(rows); i++)
		if (rows[i].leaf == leaf && (!indexed || rows[i].subleaf == subleaf))
			return rows[i].r;
	return (struct cpuid_result){0};
}

struct cpuid_result cpuid_read(const struct cpuid_query *q)
{
	struct cpuid_result r;
	unsigned ids = 1u << id_bits(q->cpus);

	assert(q->cpus > 0 && q->cpus <= VCPU_COUNT_MAX);
	assert(q->index < q->cpus);
	if (q->leaf == 0xb)
		return topology(q);
	r = row_find(q->leaf, q->subleaf);
	switch (q->leaf) {
	case 1:
		r.ebx |= q->index << 24 | ids << 16;
		if (q->cpus > 1)
			r.edx |= BIT(28); /* the package has several */
		if (!q->apic_enabled)
			r.edx &= ~BIT(9);
		break;
	case 4:
		if (r.eax != 0)
			r.eax |= (ids - 1) << 26;
		if (q->subleaf == 3)
			r.eax |= (ids - 1) << 14;
		break;
	}
	return r;
}
