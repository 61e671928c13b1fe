/*
 * Restart policy: see restart.h. One pure function; whoever calls it owns the clock and the timer.
 */
#include "virt/keeper/restart.h"

#include <assert.h>

#include "virt/keeper/protocol.h"

static bool wanted(const struct restart *r, uint32_t exit_code, bool stopped)
{
	if (stopped)
		return false;
	switch ((enum keeper_restart)r->policy) {
	case KEEPER_RESTART_NO:
		return false;
	case KEEPER_RESTART_ALWAYS:
	case KEEPER_RESTART_UNLESS_STOPPED:
		return true;
	case KEEPER_RESTART_ON_FAILURE:
		return exit_code != 0 && (r->max == 0 || r->count < r->max);
	}
	return false; /* a policy of a later release: the safe end is not to start */
}

bool restart_next(struct restart *r, uint32_t exit_code, bool stopped, int64_t ran_ns,
		  int64_t *ret_delay_ns)
{
	assert(r);
	assert(ret_delay_ns);
	if (!wanted(r, exit_code, stopped))
		return false;
	if (ran_ns >= RESTART_RUN_GOOD_NS || r->delay_ns == 0)
		r->delay_ns = RESTART_DELAY_FIRST_NS;
	else
		r->delay_ns *= 2;
	if (r->delay_ns > RESTART_DELAY_LAST_NS)
		r->delay_ns = RESTART_DELAY_LAST_NS;
	r->count++;
	*ret_delay_ns = r->delay_ns;
	return true;
}
