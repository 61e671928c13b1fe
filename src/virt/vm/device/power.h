/*
 * What a device can ask of the whole machine: to be reset, to be switched off; and what it can
 * tell: that the guest's kernel panicked. Told with the bus lock held, from any thread: the sink
 * notes it and returns.
 */
#pragma once

enum power_event {
	POWER_RESET,
	POWER_OFF,
	POWER_PANICKED, /* the guest's kernel told it; it goes on as it likes */
};

struct power_sink {
	void (*tell)(void *ctx, enum power_event what);
	void *ctx;
};

static inline void power_tell(const struct power_sink *s, enum power_event what)
{
	s->tell(s->ctx, what);
}
