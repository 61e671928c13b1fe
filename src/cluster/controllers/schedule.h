/*
 * Schedules: the five fields of cron ("minute hour day month weekday"), with names, lists, ranges
 * and steps, the words @hourly to @yearly, and "@every 90m". A day matches when day and weekday
 * do, or either when both are restricted, as cron has it. Moments are seconds since the epoch;
 * fields are in the time of a zone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

struct zone;

struct schedule {
	uint64_t minutes, hours, days, months, weekdays; /* bit i: value i */
	bool any_day, any_weekday;
	int64_t every_s; /* of "@every"; 0: the fields count */
};

int schedule_parse(const char *text, struct schedule *ret, struct err *e) must_use;
/* The first moment after `after_s`; 0: none within five years. */
int64_t schedule_next(const struct schedule *s, const struct zone *z, int64_t after_s);
