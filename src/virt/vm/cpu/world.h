/*
 * What the vCPUs of a machine share: the translated code, and the right to stop the others.
 *
 * A vCPU is inside the world while it runs guest code. It parks at a safepoint (no trace under way,
 * state canonical) when ATTEND_WORLD is set. Who stopped the world is alone: it may change every
 * TLB, throw away code, or do what must look atomic. Waiting to stop the world counts as parked, so
 * that two who want it do not wait for each other.
 *
 *	outside --enter--> running --park--> parked --> running --leave--> outside
 *	running --stop--> alone --go--> running
 */
#pragma once

#include <pthread.h>

#include "virt/vm/cpu/state.h"

struct code;

struct cpu_world {
	unsigned magic;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned running; /* inside and not parked */
	bool stopped;
	struct cpu *cpu[VCPU_COUNT_MAX];
	unsigned cpus;
	struct ram *ram;
	struct code *code; /* trace.h */
};

/* `code_bytes`: see trace.h. */
struct cpu_world *world_new(struct ram *ram, size_t code_bytes, struct err *e);
struct cpu_world *world_free(struct cpu_world *w); /* after its vCPUs */

/* Around a row of cpu_execute() calls; a vCPU that sleeps is outside. */
void world_enter(struct cpu *c);
void world_leave(struct cpu *c);
/* At a safepoint, when ATTEND_WORLD is set. */
void world_park(struct cpu *c);
/* From a running vCPU, at a safepoint or inside a handler that holds no translation. */
void world_stop(struct cpu *c);
void world_go(struct cpu *c);
