/*
 * The software accelerator from inside: what its files (accel.c, loop.c, timer.c, save.c) share.
 * The door is accel_cpu in virt/vm/memory/vcpu.h.
 *
 * A vCPU's thread runs the core until the attention word is set, then settles what there is:
 * kicks, INIT, SIPI, NMI, interrupts, its timer; then it runs on, or sleeps on that same word until
 * its timer's deadline. One thread of the accelerator watches the timers of vCPUs that run.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "virt/vm/cpu/sys.h"

struct accel;
struct cpu_world;

struct vcpu {
	unsigned magic;
	struct accel *accel;
	unsigned index;
	_Atomic bool kicked, asleep;
	_Atomic uint64_t deadline_ns; /* what the timer thread watches; APIC_NEVER while asleep */
	struct cpu *cpu;
};

struct timer {
	pthread_t thread;
	bool started;
	_Atomic bool stop;
	_Atomic uint32_t changed;      /* the word it sleeps on */
	_Atomic uint64_t sleeps_until; /* it looks again no later than this */
};

struct accel {
	unsigned magic;
	struct accel_config config;
	struct apic_set *apics;
	struct cpu_world *world;
	struct vcpu *vcpu[VCPU_COUNT_MAX];
	uint64_t start_ns;
	_Atomic bool timer_wanted;
	struct timer timer;
};

/* The loop. */
int vcpu_run(struct vcpu *v, enum vcpu_exit *ret, struct err *e) must_use;
/* Something for this vCPU to look at; any thread. */
void vcpu_wake(struct vcpu *v);

/* The timer thread: started with the first vCPU, ended by timer_stop(). */
int timer_start(struct accel *a, struct err *e) must_use;
void timer_stop(struct accel *a);
/* A vCPU's deadline is another now; its own thread. */
void timer_watch(struct vcpu *v, uint64_t deadline_ns);

/* Architectural state in and out (save.c). */
void vcpu_save(struct vcpu *v, struct vcpu_state *ret);
int vcpu_restore(struct vcpu *v, const struct vcpu_state *s, struct err *e) must_use;
