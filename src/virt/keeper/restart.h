/*
 * Restart policy: pure decisions, no clock and no process of its own. Used by keepers, and by the
 * engine where a keeper was killed and a new one has to continue.
 *
 * The back-off is 100 ms, doubled at each restart up to one minute, and starts anew after a run of
 * at least ten seconds. An end that somebody asked for is never followed by a restart.
 * `unless-stopped` differs from `always` only for the engine, at the daemon's own start.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RESTART_DELAY_FIRST_NS 100000000LL
#define RESTART_DELAY_LAST_NS  60000000000LL
#define RESTART_RUN_GOOD_NS    10000000000LL

struct restart {
	uint32_t policy;  /* enum keeper_restart */
	uint32_t max;	  /* of on-failure, 0: no limit */
	uint32_t count;	  /* restarts so far */
	int64_t delay_ns; /* of the latest, 0: none yet */
};

/* True: start again after *ret_delay_ns (count and delay are advanced). `ran_ns` is the run's
 * length. */
bool restart_next(struct restart *r, uint32_t exit_code, bool stopped, int64_t ran_ns,
		  int64_t *ret_delay_ns);
