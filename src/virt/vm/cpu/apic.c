/*
 * The local APIC's registers, priorities and interrupts in service: see apic.h. The timer is
 * apic_timer.c, messages are apic_send.c.
 *
 * One table says which registers there are and who may touch them in which view; the rest of the
 * file is what reads and writes do beside storing.
 */
#include "virt/vm/cpu/apic_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"

enum access {
	X_READ = 1,   /* xAPIC page */
	X_WRITE = 2,  /* */
	X2_READ = 4,  /* x2APIC MSR */
	X2_WRITE = 8, /* */
	ALL = 15,
};

/* SDM volume 3, table 11-1 and table 11-6. */
static const struct {
	uint16_t first, last;
	uint8_t access;
} registers[] = {
	{APIC_ID, APIC_ID, X_READ | X2_READ},
	{APIC_VERSION, APIC_VERSION, X_READ | X2_READ},
	{APIC_TPR, APIC_TPR, ALL},
	{APIC_APR, APIC_APR, X_READ},
	{APIC_PPR, APIC_PPR, X_READ | X2_READ},
	{APIC_EOI, APIC_EOI, X_READ | X_WRITE | X2_WRITE},
	{APIC_RRD, APIC_RRD, X_READ},
	{APIC_LDR, APIC_LDR, X_READ | X_WRITE | X2_READ},
	{APIC_DFR, APIC_DFR, X_READ | X_WRITE},
	{APIC_SVR, APIC_SVR, ALL},
	{APIC_ISR, APIC_ISR + 0x70, X_READ | X2_READ},
	{APIC_TMR, APIC_TMR + 0x70, X_READ | X2_READ},
	{APIC_IRR, APIC_IRR + 0x70, X_READ | X2_READ},
	{APIC_ESR, APIC_ESR, ALL},
	{APIC_ICR, APIC_ICR, ALL},
	{APIC_ICR_HIGH, APIC_ICR_HIGH, X_READ | X_WRITE},
	{APIC_LVT_TIMER, APIC_LVT_ERROR, ALL},
	{APIC_TIMER_INITIAL, APIC_TIMER_INITIAL, ALL},
	{APIC_TIMER_CURRENT, APIC_TIMER_CURRENT, X_READ | X2_READ},
	{APIC_TIMER_DIVIDE, APIC_TIMER_DIVIDE, ALL},
	{APIC_SELF_IPI, APIC_SELF_IPI, X2_WRITE},
};

/* Bits of each LVT entry that keep what is written. */
static const uint32_t lvt_valid[APIC_LVTS] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

static bool allowed(unsigned offset, uint8_t access)
{
	for (size_t i = 0; i < array_len(registers); i++)
		if (offset >= registers[i].first && offset <= registers[i].last)
			return (registers[i].access & access) != 0;
	return false;
}

/* The highest bit that is set, or -1. */
static int highest(const uint32_t bits[8])
{
	for (int i = 7; i >= 0; i--)
		if (bits[i] != 0)
			return i * 32 + 31 - __builtin_clz(bits[i]);
	return -1;
}

static uint32_t ppr(const struct apic *a)
{
	int serviced = highest(a->isr);
	uint32_t vector = serviced < 0 ? 0 : (uint32_t)serviced;

	assert(a->tpr <= 0xff);
	return (a->tpr & 0xf0) >= (vector & 0xf0) ? a->tpr : vector & 0xf0;
}

static void ppr_publish(struct apic *a)
{
	atomic_store_explicit(&a->ppr_seen, ppr(a), memory_order_relaxed);
}

int apic_pending(const struct apic *a)
{
	assert(a->magic == APIC_MAGIC);
	for (int i = 7; i >= 0; i--) {
		uint32_t bits = atomic_load_explicit(&a->irr[i], memory_order_acquire);

		if (bits != 0) {
			int vector = i * 32 + 31 - __builtin_clz(bits);

			return (uint32_t)(vector & 0xf0) > (ppr(a) & 0xf0) ? vector : -1;
		}
	}
	return -1;
}

int apic_take(struct apic *a)
{
	int vector = apic_pending(a);

	if (vector < 0)
		return -1;
	atomic_fetch_and(&a->irr[vector / 32], ~(1u << (vector % 32)));
	a->isr[vector / 32] |= 1u << (vector % 32);
	ppr_publish(a);
	return vector;
}

/* SDM 11.8.5: the highest in service is done; a level interrupt's source is told. */
static void eoi(struct apic *a)
{
	int vector = highest(a->isr);
	uint32_t bit;

	if (vector < 0)
		return;
	bit = 1u << (vector % 32);
	a->isr[vector / 32] &= ~bit;
	ppr_publish(a);
	if ((atomic_load(&a->tmr[vector / 32]) & bit) != 0)
		a->set->host.eoi(a->set->host.ctx, (uint8_t)vector);
}

void apic_error(struct apic *a, uint32_t error)
{
	uint32_t entry = a->lvt[APIC_LVTS - 1];

	assert(error != 0);
	atomic_fetch_or(&a->errors, error);
	if ((entry & APIC_LVT_MASKED) == 0)
		apic_accept(a, (uint8_t)entry, false);
}

static void svr_write(struct apic *a, uint32_t value)
{
	atomic_store(&a->svr, value & 0x1ff);
	if ((value & APIC_SVR_ENABLED) == 0)
		for (size_t i = 0; i < APIC_LVTS; i++)
			a->lvt[i] |= APIC_LVT_MASKED;
}

static void lvt_write(struct apic *a, unsigned offset, uint32_t value)
{
	size_t i = (offset - APIC_LVT_TIMER) / 16;

	assert(i < APIC_LVTS);
	value &= lvt_valid[i];
	if (!apic_software_enabled(a))
		value |= APIC_LVT_MASKED;
	if (i == 0)
		apic_timer_mode(a, value);
	a->lvt[i] = value;
}

static uint32_t bank(const _Atomic uint32_t *words, unsigned offset)
{
	return atomic_load(&words[(offset & 0x70) / 16]);
}

/* Registers that read as the word that was stored. */
static const struct {
	uint16_t offset, member;
} plain[] = {
	{APIC_TPR, offsetof(struct apic, tpr)},
	{APIC_LDR, offsetof(struct apic, ldr)},
	{APIC_DFR, offsetof(struct apic, dfr)},
	{APIC_SVR, offsetof(struct apic, svr)},
	{APIC_ESR, offsetof(struct apic, esr)},
	{APIC_ICR, offsetof(struct apic, icr_low)},
	{APIC_ICR_HIGH, offsetof(struct apic, icr_high)},
	{APIC_TIMER_INITIAL, offsetof(struct apic, initial)},
	{APIC_TIMER_DIVIDE, offsetof(struct apic, divide)},
};

static uint32_t plain_load(const struct apic *a, size_t member)
{
	uint32_t value;

	memcpy(&value, (const char *)a + member, sizeof(value));
	return value;
}

/* A register by its offset, readable in either view. */
static uint32_t register_read(struct apic *a, unsigned offset)
{
	switch (offset & ~0x70u) {
	case APIC_ISR:
		return a->isr[(offset & 0x70) / 16];
	case APIC_TMR:
		return bank(a->tmr, offset);
	case APIC_IRR:
		return bank(a->irr, offset);
	}
	if (offset >= APIC_LVT_TIMER && offset <= APIC_LVT_ERROR)
		return a->lvt[(offset - APIC_LVT_TIMER) / 16];
	for (size_t i = 0; i < array_len(plain); i++)
		if (plain[i].offset == offset)
			return plain_load(a, plain[i].member);
	switch (offset) {
	case APIC_ID:
		return apic_x2(a) ? a->index : atomic_load(&a->id) << 24;
	case APIC_VERSION:
		return (APIC_LVTS - 1) << 16 | 0x14;
	case APIC_PPR:
		return ppr(a);
	case APIC_TIMER_CURRENT:
		return apic_timer_current(a);
	}
	return 0; /* EOI, APR and RRD read as 0 */
}

static void register_write(struct apic *a, unsigned offset, uint32_t value)
{
	if (offset >= APIC_LVT_TIMER && offset <= APIC_LVT_ERROR) {
		lvt_write(a, offset, value);
		return;
	}
	switch (offset) {
	case APIC_TPR:
		a->tpr = value & 0xff;
		ppr_publish(a);
		break;
	case APIC_EOI:
		eoi(a);
		break;
	case APIC_LDR:
		atomic_store(&a->ldr, value & 0xff000000);
		break;
	case APIC_DFR:
		atomic_store(&a->dfr, value | 0x0fffffff);
		break;
	case APIC_SVR:
		svr_write(a, value);
		break;
	case APIC_ESR: /* SDM 11.5.3: a write brings up what was noted since the last one */
		a->esr = atomic_exchange(&a->errors, 0);
		break;
	case APIC_ICR:
		a->icr_low = value & APIC_ICR_VALID;
		apic_ipi(a);
		break;
	case APIC_ICR_HIGH:
		a->icr_high = value & 0xff000000;
		break;
	case APIC_TIMER_INITIAL:
		apic_timer_start(a, value);
		break;
	case APIC_TIMER_DIVIDE:
		apic_timer_divide(a, value);
		break;
	}
}

uint32_t apic_read(struct apic *a, unsigned offset)
{
	assert(offset < APIC_PAGE_BYTES && offset % 4 == 0);
	if (!allowed(offset, X_READ)) {
		apic_error(a, APIC_ERROR_REGISTER);
		return 0;
	}
	return register_read(a, offset);
}

void apic_write(struct apic *a, unsigned offset, uint32_t value)
{
	assert(offset < APIC_PAGE_BYTES && offset % 4 == 0);
	if (allowed(offset, X_WRITE))
		register_write(a, offset, value);
	else
		apic_error(a, APIC_ERROR_REGISTER);
}

bool apic_msr_read(struct apic *a, uint32_t msr, uint64_t *ret)
{
	unsigned offset = (msr - APIC_MSR_FIRST) * 16;

	assert(msr >= APIC_MSR_FIRST && msr <= APIC_MSR_LAST);
	if (!apic_x2(a) || !allowed(offset, X2_READ))
		return false;
	*ret = register_read(a, offset);
	if (offset == APIC_ICR)
		*ret |= (uint64_t)a->icr_high << 32;
	return true;
}

/* Bits that must be 0 in a write to an x2APIC register, else #GP. */
static uint64_t reserved(unsigned offset)
{
	if (offset >= APIC_LVT_TIMER && offset <= APIC_LVT_ERROR)
		return ~(uint64_t)(lvt_valid[(offset - APIC_LVT_TIMER) / 16] | 0x1000 | 0x4000);
	switch (offset) {
	case APIC_EOI:
	case APIC_ESR:
		return UINT64_MAX;
	case APIC_TPR:
	case APIC_SELF_IPI:
		return ~0xffull;
	case APIC_SVR:
		return ~0x13ffull;
	case APIC_ICR:
		return 0xfff32000ull;
	case APIC_TIMER_DIVIDE:
		return ~0xbull;
	}
	return ~0xffffffffull;
}

bool apic_msr_write(struct apic *a, uint32_t msr, uint64_t value)
{
	unsigned offset = (msr - APIC_MSR_FIRST) * 16;

	assert(msr >= APIC_MSR_FIRST && msr <= APIC_MSR_LAST);
	if (!apic_x2(a) || !allowed(offset, X2_WRITE) || (value & reserved(offset)) != 0)
		return false;
	if (offset == APIC_ICR)
		a->icr_high = (uint32_t)(value >> 32);
	if (offset == APIC_SELF_IPI)
		apic_self_ipi(a, (uint8_t)value);
	else
		register_write(a, offset, (uint32_t)value);
	return true;
}

uint64_t apic_base(const struct apic *a)
{
	return atomic_load(&a->base);
}

/*
 * SDM 11.12.5: disabled, xAPIC, x2APIC, disabled; any other step is #GP. The page cannot be moved:
 * nobody does, and a bus with a hole that wanders is not worth its price.
 */
bool apic_base_write(struct apic *a, uint64_t value)
{
	uint64_t mode = value & (APIC_BASE_X2APIC | APIC_BASE_ENABLED), old = atomic_load(&a->base);
	uint64_t from = old & (APIC_BASE_X2APIC | APIC_BASE_ENABLED);

	if ((value & ~(mode | APIC_BASE_BSP)) != MAP_APIC_BASE || mode == APIC_BASE_X2APIC)
		return false;
	if (from == mode) {
		atomic_store(&a->base, value);
		return true;
	}
	if (from == 0 && mode != APIC_BASE_ENABLED)
		return false;
	if (from == (APIC_BASE_X2APIC | APIC_BASE_ENABLED) && mode != 0)
		return false;
	if (mode == 0)
		apic_reset(a, false);
	atomic_store(&a->base, value);
	if (apic_x2(a))
		atomic_store(&a->ldr, a->index >> 4 << 16 | 1u << (a->index & 15));
	return true;
}

uint64_t apic_cr8(const struct apic *a)
{
	return a->tpr >> 4;
}

void apic_cr8_write(struct apic *a, uint64_t value)
{
	assert(value <= 15);
	a->tpr = (uint32_t)value << 4;
	ppr_publish(a);
}

void apic_reset(struct apic *a, bool power_on)
{
	assert(a->magic == APIC_MAGIC);
	if (power_on)
		atomic_store(&a->base, MAP_APIC_BASE | APIC_BASE_ENABLED |
					       (a->index == 0 ? APIC_BASE_BSP : 0));
	if (power_on)
		atomic_store(&a->events, 0);
	for (size_t i = 0; i < 8; i++) {
		atomic_store(&a->irr[i], 0);
		atomic_store(&a->tmr[i], 0);
		a->isr[i] = 0;
	}
	atomic_store(&a->errors, 0);
	atomic_store(&a->id, a->index);
	atomic_store(&a->ldr, apic_x2(a) ? a->index >> 4 << 16 | 1u << (a->index & 15) : 0);
	atomic_store(&a->dfr, UINT32_MAX);
	atomic_store(&a->svr, 0xff);
	a->tpr = a->esr = a->icr_low = a->icr_high = 0;
	for (size_t i = 0; i < APIC_LVTS; i++)
		a->lvt[i] = APIC_LVT_MASKED;
	a->divide = a->initial = 0;
	a->timer_ns = APIC_NEVER;
	a->deadline_tsc = 0;
	if (power_on)
		a->tsc_offset = 0 - a->set->host.now_ns(a->set->host.ctx);
	ppr_publish(a);
}

struct apic_set *apic_set_new(unsigned n, const struct apic_host *host)
{
	struct apic_set *s = mem_new(struct apic_set);

	assert(n > 0 && n <= VCPU_COUNT_MAX);
	assert(host->now_ns && host->wake && host->eoi);
	s->host = *host;
	s->n = n;
	for (unsigned i = 0; i < n; i++) {
		s->apic[i].magic = APIC_MAGIC;
		s->apic[i].index = i;
		s->apic[i].set = s;
		apic_reset(&s->apic[i], true);
	}
	return s;
}

struct apic_set *apic_set_free(struct apic_set *s)
{
	if (s == NULL)
		return NULL;
	for (unsigned i = 0; i < s->n; i++)
		s->apic[i].magic = 0;
	free(s);
	return NULL;
}

/* Registers that a saved state holds besides the banks, in the order they are set again. */
static const uint16_t state_plain[] = {
	APIC_ID,	APIC_VERSION,	    APIC_TPR,		APIC_PPR,	   APIC_LDR,
	APIC_DFR,	APIC_SVR,	    APIC_ESR,		APIC_ICR,	   APIC_ICR_HIGH,
	APIC_LVT_TIMER, APIC_LVT_THERMAL,   APIC_LVT_COUNTER,	APIC_LVT_LINT0,	   APIC_LVT_LINT1,
	APIC_LVT_ERROR, APIC_TIMER_INITIAL, APIC_TIMER_CURRENT, APIC_TIMER_DIVIDE,
};

static void state_put(uint8_t *state, unsigned offset, uint32_t value)
{
	memcpy(state + offset, &value, sizeof(value));
}

static uint32_t state_at(const uint8_t *state, unsigned offset)
{
	uint32_t value;

	memcpy(&value, state + offset, sizeof(value));
	return value;
}

void apic_get(struct apic *a, uint8_t ret[APIC_STATE_BYTES])
{
	memset(ret, 0, APIC_STATE_BYTES);
	for (size_t i = 0; i < array_len(state_plain); i++)
		state_put(ret, state_plain[i], register_read(a, state_plain[i]));
	for (unsigned i = 0; i < 8; i++) {
		state_put(ret, APIC_ISR + i * 16, a->isr[i]);
		state_put(ret, APIC_TMR + i * 16, atomic_load(&a->tmr[i]));
		state_put(ret, APIC_IRR + i * 16, atomic_load(&a->irr[i]));
	}
}

void apic_set_state(struct apic *a, const uint8_t state[APIC_STATE_BYTES])
{
	if (!apic_x2(a))
		atomic_store(&a->id, state_at(state, APIC_ID) >> 24);
	a->tpr = state_at(state, APIC_TPR) & 0xff;
	if (!apic_x2(a))
		atomic_store(&a->ldr, state_at(state, APIC_LDR) & 0xff000000);
	atomic_store(&a->dfr, state_at(state, APIC_DFR) | 0x0fffffff);
	atomic_store(&a->svr, state_at(state, APIC_SVR) & 0x1ff);
	a->esr = state_at(state, APIC_ESR) & 0xff;
	a->icr_low = state_at(state, APIC_ICR) & APIC_ICR_VALID;
	a->icr_high = state_at(state, APIC_ICR_HIGH);
	for (unsigned i = 0; i < APIC_LVTS; i++)
		a->lvt[i] = state_at(state, APIC_LVT_TIMER + i * 16) & lvt_valid[i];
	for (unsigned i = 0; i < 8; i++) {
		a->isr[i] = state_at(state, APIC_ISR + i * 16);
		atomic_store(&a->tmr[i], state_at(state, APIC_TMR + i * 16));
		atomic_store(&a->irr[i], state_at(state, APIC_IRR + i * 16));
	}
	a->divide = state_at(state, APIC_TIMER_DIVIDE) & 0xb;
	apic_timer_restore(a, state_at(state, APIC_TIMER_INITIAL),
			   state_at(state, APIC_TIMER_CURRENT));
	ppr_publish(a);
}
