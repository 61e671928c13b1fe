/*
 * Health: see health.h.
 */
#include "virt/keeper/health.h"

#include <assert.h>

#define SECOND_NS 1000000000LL

static int64_t or_default(int64_t value, int64_t otherwise)
{
	return value > 0 ? value : otherwise;
}

void health_init(struct health *h, const struct keeper_orders *o)
{
	bool wanted = o->health_test && o->health_test[0];

	*h = (struct health){
		.status = wanted ? KEEPER_HEALTH_STARTING : KEEPER_HEALTH_NONE,
		.interval_ns = or_default(o->health_interval_ns, 30 * SECOND_NS),
		.timeout_ns = or_default(o->health_timeout_ns, 30 * SECOND_NS),
		.start_period_ns = or_default(o->health_start_period_ns, 0),
		.start_interval_ns = or_default(o->health_start_interval_ns, 5 * SECOND_NS),
		.retries = o->health_retries ? o->health_retries : 3,
	};
}

void health_begin(struct health *h)
{
	if (h->status == KEEPER_HEALTH_NONE)
		return;
	h->status = KEEPER_HEALTH_STARTING;
	h->streak = 0;
}

int64_t health_delay(const struct health *h, int64_t age_ns)
{
	assert(h->status != KEEPER_HEALTH_NONE);
	if (h->status == KEEPER_HEALTH_STARTING && age_ns < h->start_period_ns &&
	    h->start_interval_ns < h->interval_ns)
		return h->start_interval_ns;
	return h->interval_ns;
}

bool health_result(struct health *h, bool good, int64_t age_ns)
{
	enum keeper_health_status before = h->status;

	assert(before != KEEPER_HEALTH_NONE);
	if (good) {
		h->streak = 0;
		h->status = KEEPER_HEALTH_HEALTHY;
		return before != h->status;
	}
	if (before == KEEPER_HEALTH_STARTING && age_ns < h->start_period_ns)
		return false;
	h->streak++;
	if (h->streak >= h->retries)
		h->status = KEEPER_HEALTH_UNHEALTHY;
	return before != h->status;
}
