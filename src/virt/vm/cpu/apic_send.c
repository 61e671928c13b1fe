/*
 * Messages between local APICs: who is meant, and what arrives. See apic.h; SDM volume 3, 11.6 and
 * 11.11. Runs on the sender's thread, whichever that is, and touches only a target's atomics.
 */
#include "virt/vm/cpu/apic_priv.h"

#include <assert.h>

#include "ground/base/mem.h"

static void wake(struct apic *a)
{
	a->set->host.wake(a->set->host.ctx, a->index);
}

void apic_accept(struct apic *a, uint8_t vector, bool level)
{
	uint32_t bit = 1u << (vector % 32), had;

	assert(a->magic == APIC_MAGIC);
	if (!apic_software_enabled(a))
		return;
	if (vector < 16) {
		atomic_fetch_or(&a->errors, APIC_ERROR_RECEIVED);
		return;
	}
	if (level)
		atomic_fetch_or(&a->tmr[vector / 32], bit);
	else
		atomic_fetch_and(&a->tmr[vector / 32], ~bit);
	had = atomic_fetch_or(&a->irr[vector / 32], bit);
	if ((had & bit) == 0)
		wake(a);
}

void apic_event_raise(struct apic_set *s, unsigned index, uint32_t events)
{
	assert(index < s->n);
	assert(events != 0);
	atomic_fetch_or(&s->apic[index].events, events);
	wake(&s->apic[index]);
}

uint32_t apic_events(const struct apic *a)
{
	return atomic_load_explicit(&a->events, memory_order_acquire);
}

void apic_events_clear(struct apic *a, uint32_t events)
{
	atomic_fetch_and(&a->events, ~events);
}

/* Does a logical destination name this APIC? SDM 11.6.2.2. */
static bool meant_logically(const struct apic *a, const struct apic_message *m)
{
	uint32_t ldr = atomic_load(&a->ldr);

	if (apic_x2(a))
		return m->destination >> 16 == ldr >> 16 && (m->destination & ldr & 0xffff) != 0;
	ldr >>= 24;
	if (atomic_load(&a->dfr) >> 28 == 0xf)
		return (ldr & m->destination & 0xff) != 0;
	return (ldr & 0xf0) == (m->destination & 0xf0) && (ldr & m->destination & 0xf) != 0;
}

static bool meant(const struct apic *a, const struct apic_message *m)
{
	if ((atomic_load(&a->base) & APIC_BASE_ENABLED) == 0)
		return false;
	if (m->destination == (m->wide ? UINT32_MAX : 0xff))
		return true;
	if (m->logical)
		return meant_logically(a, m);
	return m->destination == (apic_x2(a) ? a->index : atomic_load(&a->id));
}

static void deliver(struct apic *a, const struct apic_message *m)
{
	switch (m->delivery) {
	case APIC_FIXED:
	case APIC_LOWEST:
		apic_accept(a, m->vector, m->level);
		break;
	case APIC_NMI:
		apic_event_raise(a->set, a->index, APIC_EVENT_NMI);
		break;
	case APIC_INIT:
		if (m->assert)
			apic_event_raise(a->set, a->index, APIC_EVENT_INIT);
		break;
	case APIC_STARTUP:
		atomic_store(&a->startup_vector, m->vector);
		apic_event_raise(a->set, a->index, APIC_EVENT_STARTUP);
		break;
	case APIC_SMI:
	case APIC_REMOTE_READ:
	case APIC_EXTINT: /* nothing here has a PIC or SMM */
		break;
	}
}

/* Of those meant, the one with the lowest priority; equals take turns. */
static struct apic *lowest(struct apic_set *s, const struct apic_message *m)
{
	unsigned from = atomic_fetch_add(&s->turn, 1);
	struct apic *best = NULL;
	uint32_t best_ppr = UINT32_MAX;

	for (unsigned i = 0; i < s->n; i++) {
		struct apic *a = &s->apic[(from + i) % s->n];
		uint32_t p = atomic_load_explicit(&a->ppr_seen, memory_order_relaxed) & 0xf0;

		if (!meant(a, m) || !apic_software_enabled(a) || p >= best_ppr)
			continue;
		best = a;
		best_ppr = p;
	}
	return best;
}

unsigned apic_send(struct apic_set *s, const struct apic_message *m)
{
	unsigned taken = 0;

	assert(s && m);
	if (m->delivery == APIC_LOWEST) {
		struct apic *a = lowest(s, m);

		if (a)
			deliver(a, m);
		return a != NULL;
	}
	for (unsigned i = 0; i < s->n; i++) {
		if (!meant(&s->apic[i], m))
			continue;
		deliver(&s->apic[i], m);
		taken++;
	}
	return taken;
}

static void send_short(struct apic *self, const struct apic_message *m, enum apic_shorthand to)
{
	if (to == APIC_TO_DESTINATION) {
		(void)apic_send(self->set, m);
		return;
	}
	for (unsigned i = 0; i < self->set->n; i++) {
		struct apic *a = &self->set->apic[i];

		if (to == APIC_TO_SELF ? a == self : a != self || to == APIC_TO_ALL)
			deliver(a, m);
	}
}

void apic_ipi(struct apic *a)
{
	uint32_t low = a->icr_low;
	bool wide = apic_x2(a);
	struct apic_message m = {
		.destination = wide ? a->icr_high : a->icr_high >> 24,
		.vector = (uint8_t)low,
		.delivery = (enum apic_delivery)(low >> 8 & 7),
		.logical = (low >> 11 & 1) != 0,
		.wide = wide,
		.assert = (low >> 14 & 1) != 0 || (low >> 15 & 1) == 0,
	};

	if ((m.delivery == APIC_FIXED || m.delivery == APIC_LOWEST) && m.vector < 16) {
		apic_error(a, APIC_ERROR_SENT);
		return;
	}
	send_short(a, &m, (enum apic_shorthand)(low >> 18 & 3));
}

void apic_self_ipi(struct apic *a, uint8_t vector)
{
	if (vector < 16)
		apic_error(a, APIC_ERROR_SENT);
	else
		apic_accept(a, vector, false);
}

/* SDM volume 3, 11.11: address bits 19–12 destination, 2 logical; data as an ICR's low half. */
struct apic_message apic_message_of_msi(struct msi m)
{
	return (struct apic_message){
		.destination = (uint32_t)(m.address >> 12) & 0xff,
		.vector = (uint8_t)m.data,
		.delivery = (enum apic_delivery)(m.data >> 8 & 7),
		.logical = (m.address & 4) != 0,
		.level = (m.data >> 15 & 1) != 0,
		.assert = true,
	};
}

unsigned apic_msi(struct apic_set *s, struct msi m)
{
	struct apic_message message = apic_message_of_msi(m);

	if (m.address >> 20 != MAP_APIC_BASE >> 20)
		return 0;
	return apic_send(s, &message);
}
