/*
 * The door of the software CPU: accel_cpu. Makes vCPUs, hands out their state, takes messages; the
 * life of a vCPU is loop.c, instructions are the core's. See virt/vm/memory/vcpu.h.
 */
#include "virt/vm/cpu/accel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/crypto.h"
#include "virt/vm/cpu/kvmclock.h"
#include "virt/vm/cpu/vector.h"
#include "virt/vm/cpu/world.h"

#define ACCEL_MAGIC 0x41434350u
#define VCPU_MAGIC  0x56435055u

static uint64_t host_now(void *ctx)
{
	return kvmclock_host_ns();
}

static void host_wake(void *ctx, unsigned index)
{
	struct accel *a = ctx;

	if (a->vcpu[index])
		vcpu_wake(a->vcpu[index]);
}

static void host_eoi(void *ctx, uint8_t vector)
{
	struct accel *a = ctx;

	if (a->config.eoi)
		a->config.eoi(a->config.eoi_ctx, vector);
}

static struct accel *accel_close(struct accel *a)
{
	if (a == NULL)
		return NULL;
	assert(a->magic == ACCEL_MAGIC);
	timer_stop(a);
	for (unsigned i = 0; i < a->config.cpus; i++) {
		if (a->vcpu[i] == NULL)
			continue;
		a->vcpu[i]->cpu = cpu_free(a->vcpu[i]->cpu);
		a->vcpu[i]->magic = 0;
		free(a->vcpu[i]);
	}
	a->world = world_free(a->world);
	a->apics = apic_set_free(a->apics);
	a->magic = 0;
	free(a);
	return NULL;
}

static int accel_open(const struct accel_config *config, struct accel **ret, struct err *e)
{
	struct accel *a;

	assert(config->ram && config->bus);
	assert(config->cpus > 0 && config->cpus <= VCPU_COUNT_MAX);
	crypto_choose();
	a = mem_new(struct accel);
	a->magic = ACCEL_MAGIC;
	a->config = *config;
	a->start_ns = kvmclock_host_ns();
	a->apics =
		apic_set_new(config->cpus, &(struct apic_host){host_now, host_wake, host_eoi, a});
	a->world = world_new(config->ram, config->code_bytes, e);
	if (a->world == NULL) {
		(void)accel_close(a);
		return -(int)(e ? e->kind : ERR_INTERNAL);
	}
	*ret = a;
	return 0;
}

static void power_on(struct vcpu *v)
{
	struct cpu *c = v->cpu;

	c->sys.start_ns = v->accel->start_ns;
	apic_reset(c->sys.apic, true);
	c->sys.apic->tsc_offset = 0 - c->sys.start_ns;
	sys_reset(c, true);
	vector_reset(c);
	c->sys.shutdown = false;
	atomic_store(&v->deadline_ns, APIC_NEVER);
	c->sys.activity = v->index == 0 ? VCPU_RUNS : VCPU_WAITS_FOR_INIT;
}

static int accel_vcpu(struct accel *a, unsigned index, struct vcpu **ret, struct err *e)
{
	struct vcpu *v;

	assert(a->magic == ACCEL_MAGIC);
	assert(index < a->config.cpus && a->vcpu[index] == NULL);
	v = mem_new(struct vcpu);
	v->magic = VCPU_MAGIC;
	v->accel = a;
	v->index = index;
	atomic_store(&v->deadline_ns, APIC_NEVER);
	v->cpu = cpu_new(a->world, a->config.ram, a->config.bus, index);
	v->cpu->sys.apic = &a->apics->apic[index];
	v->cpu->sys.index = index;
	v->cpu->sys.cpus = a->config.cpus;
	v->cpu->sys.vcpu = v;
	a->vcpu[index] = v;
	power_on(v);
	*ret = v;
	return 0;
}

static int accel_run(struct vcpu *v, enum vcpu_exit *ret, struct err *e)
{
	struct accel *a = v->accel;
	int r = 0;

	assert(v->magic == VCPU_MAGIC);
	/* Started late: a thread made before confinement would not be confined. */
	if (!atomic_exchange(&a->timer_wanted, true))
		r = timer_start(a, e);
	return r < 0 ? r : vcpu_run(v, ret, e);
}

static void accel_kick(struct vcpu *v)
{
	assert(v->magic == VCPU_MAGIC);
	atomic_store(&v->kicked, true);
	vcpu_wake(v);
}

static int accel_get(struct vcpu *v, struct vcpu_state *ret, struct err *e)
{
	assert(v->magic == VCPU_MAGIC);
	vcpu_save(v, ret);
	return 0;
}

static int accel_set(struct vcpu *v, const struct vcpu_state *s, struct err *e)
{
	assert(v->magic == VCPU_MAGIC);
	return vcpu_restore(v, s, e);
}

static int accel_prepare(struct accel *a, struct err *e)
{
	assert(a->magic == ACCEL_MAGIC);
	return atomic_exchange(&a->timer_wanted, true) ? 0 : timer_start(a, e);
}

static int accel_reset(struct vcpu *v, struct err *e)
{
	assert(v->magic == VCPU_MAGIC);
	power_on(v);
	return 0;
}

static void accel_msi(struct accel *a, struct msi m)
{
	assert(a->magic == ACCEL_MAGIC);
	(void)apic_msi(a->apics, m);
}

static uint64_t accel_instructions(struct vcpu *v)
{
	assert(v->magic == VCPU_MAGIC);
	return __atomic_load_n(&v->cpu->executed, __ATOMIC_RELAXED);
}

const struct accel_ops accel_cpu = {
	.name = "cpu",
	.open = accel_open,
	.close = accel_close,
	.vcpu = accel_vcpu,
	.prepare = accel_prepare,
	.run = accel_run,
	.kick = accel_kick,
	.get = accel_get,
	.set = accel_set,
	.reset = accel_reset,
	.msi = accel_msi,
	.instructions = accel_instructions,
};
