/*
 * The local APIC's timer: one-shot, periodic and TSC deadline (SDM volume 3, 11.5.4). See apic.h.
 *
 * Nothing counts: `timer_ns` is the host time at which it fires, the current count is computed from
 * the distance. The bus clock is 1 GHz, so a tick of the undivided counter is a nanosecond.
 */
#include "virt/vm/cpu/apic_priv.h"

#include <assert.h>

enum mode { ONE_SHOT, PERIODIC, DEADLINE };

static enum mode mode_of(uint32_t entry)
{
	switch (entry >> 17 & 3) {
	case 1:
		return PERIODIC;
	case 2:
		return DEADLINE;
	}
	return ONE_SHOT;
}

/* Bits 0, 1 and 3: 2, 4, 8 … 128, and 1. */
static unsigned shift_of(uint32_t divide)
{
	return (((divide & 3) | (divide & 8) >> 1) + 1) & 7;
}

static uint64_t now(const struct apic *a)
{
	return a->set->host.now_ns(a->set->host.ctx);
}

static uint64_t period_ns(const struct apic *a)
{
	return (uint64_t)a->initial << shift_of(a->divide);
}

void apic_timer_mode(struct apic *a, uint32_t entry)
{
	enum mode from = mode_of(a->lvt[0]), to = mode_of(entry);

	if (from == to || (from != DEADLINE && to != DEADLINE))
		return;
	a->timer_ns = APIC_NEVER;
	a->deadline_tsc = 0;
	a->initial = 0;
}

void apic_timer_start(struct apic *a, uint32_t initial)
{
	if (mode_of(a->lvt[0]) == DEADLINE)
		return;
	a->initial = initial;
	a->timer_ns = initial == 0 ? APIC_NEVER : now(a) + period_ns(a);
}

void apic_timer_divide(struct apic *a, uint32_t divide)
{
	uint64_t left = apic_timer_current(a);

	a->divide = divide & 0xb;
	if (a->timer_ns != APIC_NEVER && mode_of(a->lvt[0]) != DEADLINE)
		a->timer_ns = now(a) + (left << shift_of(a->divide));
}

uint32_t apic_timer_current(const struct apic *a)
{
	uint64_t at = now(a), left;

	if (a->timer_ns == APIC_NEVER || mode_of(a->lvt[0]) == DEADLINE)
		return 0;
	if (at >= a->timer_ns)
		return 0;
	left = (a->timer_ns - at) >> shift_of(a->divide);
	return left > a->initial ? a->initial : (uint32_t)left;
}

void apic_timer_restore(struct apic *a, uint32_t initial, uint32_t current)
{
	if (mode_of(a->lvt[0]) == DEADLINE)
		return;
	a->initial = initial;
	a->timer_ns =
		current == 0 ? APIC_NEVER : now(a) + ((uint64_t)current << shift_of(a->divide));
}

uint64_t apic_deadline(const struct apic *a)
{
	return a->timer_ns;
}

bool apic_tick(struct apic *a, uint64_t now_ns)
{
	uint32_t entry = a->lvt[0];

	assert(a->magic == APIC_MAGIC);
	if (a->timer_ns == APIC_NEVER || now_ns < a->timer_ns)
		return false;
	if (mode_of(entry) == PERIODIC && a->initial != 0) {
		uint64_t period = period_ns(a), missed = (now_ns - a->timer_ns) / period;

		/* Ticks that nobody was there to take are one tick, as where IRR is a bit. */
		a->timer_ns += (missed + 1) * period;
	} else {
		a->timer_ns = APIC_NEVER;
		a->deadline_tsc = 0;
	}
	if ((entry & APIC_LVT_MASKED) == 0)
		apic_accept(a, (uint8_t)entry, false);
	return true;
}

uint64_t apic_deadline_read(struct apic *a)
{
	return mode_of(a->lvt[0]) == DEADLINE ? a->deadline_tsc : 0;
}

void apic_deadline_write(struct apic *a, uint64_t tsc)
{
	uint64_t at = now(a), guest_tsc = at + a->tsc_offset;

	if (mode_of(a->lvt[0]) != DEADLINE)
		return;
	a->deadline_tsc = tsc;
	if (tsc == 0)
		a->timer_ns = APIC_NEVER;
	else if (tsc <= guest_tsc)
		a->timer_ns = at;
	else if (__builtin_add_overflow(at, tsc - guest_tsc, &a->timer_ns))
		a->timer_ns = APIC_NEVER - 1;
}
