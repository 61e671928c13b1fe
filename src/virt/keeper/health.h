/*
 * Health: when to probe next and what the results mean, as Docker defines them. Pure: no clock, no
 * process. The supervisor runs the probe as an exec and asks here what to do.
 *
 *	starting  -- a probe succeeds --------------------------------> healthy
 *	starting  -- retries failures in a row behind start_period ---> unhealthy
 *	healthy   -- retries failures in a row -----------------------> unhealthy
 *	unhealthy -- a probe succeeds --------------------------------> healthy
 *
 * During start_period failures do not count, and probes come every start_interval until the first
 * success.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/keeper/protocol.h"

struct health {
	enum keeper_health_status status;
	uint32_t streak;
	int64_t interval_ns, timeout_ns, start_period_ns, start_interval_ns;
	uint32_t retries;
};

/* Defaults filled in; status NONE without a test. */
void health_init(struct health *h, const struct keeper_orders *o);
/* A new run of the container: starting again. */
void health_begin(struct health *h);
/* From the end of a probe (or the start of the run) to the next one; `age_ns` of the run. */
int64_t health_delay(const struct health *h, int64_t age_ns);
/* A probe ended; true when the status changed. `age_ns`: of the run when the probe began. */
bool health_result(struct health *h, bool good, int64_t age_ns);
