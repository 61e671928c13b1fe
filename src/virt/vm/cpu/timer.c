/*
 * The timer thread: see accel.h. It sleeps until the earliest deadline of any vCPU that runs, and
 * sets that vCPU's attention word. A vCPU that sleeps waits for its deadline by itself.
 *
 * No deadline is missed: the thread announces "wake me for anything" before it looks, so that
 * whoever sets a deadline later sees that and wakes it. All accesses are sequentially consistent.
 */
#include <assert.h>

#include "ground/linux/futex.h"
#include "virt/vm/cpu/accel.h"
#include "virt/vm/cpu/kvmclock.h"
#include "virt/vm/cpu/sys_priv.h"

static_assert(APIC_NEVER == FUTEX_NEVER, "no deadline is the same for both");

/* Fires what is due; returns the earliest deadline of the rest. */
static uint64_t look(struct accel *a)
{
	uint64_t now = kvmclock_host_ns(), next = APIC_NEVER;

	for (unsigned i = 0; i < a->config.cpus; i++) {
		struct vcpu *v = a->vcpu[i];
		uint64_t at = atomic_load(&v->deadline_ns);

		if (at <= now && atomic_compare_exchange_strong(&v->deadline_ns, &at, APIC_NEVER))
			vcpu_wake(v);
		else if (at > now && at < next)
			next = at;
	}
	return next;
}

static void *timer_main(void *arg)
{
	struct accel *a = arg;
	struct timer *t = &a->timer;

	(void)pthread_setname_np(pthread_self(), "timer");
	while (!atomic_load(&t->stop)) {
		uint32_t seen = atomic_load(&t->changed);
		uint64_t next;

		atomic_store(&t->sleeps_until, APIC_NEVER);
		next = look(a);
		atomic_store(&t->sleeps_until, next);
		futex_wait(&t->changed, seen, next);
	}
	return NULL;
}

static void notify(struct timer *t)
{
	atomic_fetch_add(&t->changed, 1);
	futex_wake(&t->changed, 1);
}

void timer_watch(struct vcpu *v, uint64_t deadline_ns)
{
	struct timer *t = &v->accel->timer;

	atomic_store(&v->deadline_ns, deadline_ns);
	if (deadline_ns < atomic_load(&t->sleeps_until))
		notify(t);
}

int timer_start(struct accel *a, struct err *e)
{
	int bad;

	assert(!a->timer.started);
	bad = pthread_create(&a->timer.thread, NULL, timer_main, a);
	if (bad != 0)
		return err_set(e, ERR_EXHAUSTED, "cannot start the timer thread: error %d", bad);
	a->timer.started = true;
	return 0;
}

void timer_stop(struct accel *a)
{
	if (!a->timer.started)
		return;
	atomic_store(&a->timer.stop, true);
	notify(&a->timer);
	(void)pthread_join(a->timer.thread, NULL);
	a->timer.started = false;
}

void sys_timer_changed(struct cpu *c)
{
	struct vcpu *v = c->sys.vcpu;
	uint64_t at = apic_deadline(c->sys.apic);

	if (v && at != atomic_load_explicit(&v->deadline_ns, memory_order_relaxed))
		timer_watch(v, at);
}
