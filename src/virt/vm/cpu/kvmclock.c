/*
 * Writes KVM's two clock structures into guest memory: see kvmclock.h.
 *
 * A guest reads while we write: the version is odd for as long. Each word is stored by itself, in
 * order; x86 keeps that order for the reader.
 */
#include "virt/vm/cpu/kvmclock.h"

#include <assert.h>
#include <stdatomic.h>
#include <time.h>

#define NS_PER_S     1000000000ull
#define FLAG_STABLE  1u
#define SYSTEM_BYTES 32
#define WALL_BYTES   12

uint64_t kvmclock_host_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void version_next(uint8_t *p)
{
	uint32_t version = ram_load32(p);

	atomic_thread_fence(memory_order_seq_cst);
	ram_store32(p, version + 1);
	atomic_thread_fence(memory_order_seq_cst);
}

static void store64(uint8_t *p, uint64_t value)
{
	ram_store32(p, (uint32_t)value);
	ram_store32(p + 4, (uint32_t)(value >> 32));
}

bool kvmclock_system(struct ram *ram, struct gpa at, const struct kvmclock_time *t)
{
	uint8_t *p = ram_at(ram, at, SYSTEM_BYTES);

	assert(t);
	if (p == NULL)
		return false;
	if (ram_load32(p) % 2 != 0) /* whatever was there before is not ours */
		ram_store32(p, ram_load32(p) + 1);
	version_next(p);
	store64(p + 8, t->tsc);
	store64(p + 16, t->system_ns);
	/* (tsc << 1) * 2^31 >> 32: one to one. */
	ram_store32(p + 24, 1u << 31);
	ram_store32(p + 28, 1u | (t->stable ? FLAG_STABLE << 8 : 0));
	version_next(p);
	ram_wrote(ram, at, SYSTEM_BYTES);
	return true;
}

bool kvmclock_wall(struct ram *ram, struct gpa at, uint64_t wall_ns, uint64_t system_ns)
{
	uint8_t *p = ram_at(ram, at, WALL_BYTES);
	uint64_t start_ns = wall_ns - system_ns;

	assert(wall_ns >= system_ns);
	if (p == NULL)
		return false;
	if (ram_load32(p) % 2 != 0)
		ram_store32(p, ram_load32(p) + 1);
	version_next(p);
	ram_store32(p + 4, (uint32_t)(start_ns / NS_PER_S));
	ram_store32(p + 8, (uint32_t)(start_ns % NS_PER_S));
	version_next(p);
	ram_wrote(ram, at, WALL_BYTES);
	return true;
}
