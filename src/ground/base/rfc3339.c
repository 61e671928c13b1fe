/*
 * Moments as text. Days are counted by the civil calendar's arithmetic (400-year eras), so that no
 * locale or time zone of the host can take part.
 */
#include "ground/base/rfc3339.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NS	   1000000000LL
#define ERA_DAYS   146097LL /* 400 years */
#define EPOCH_DAYS 719468LL /* from 0000-03-01 to 1970-01-01 */

/* Years begin in March here, so that the leap day is the last of its year. */
static int64_t days_of(int64_t year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = y / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS;
}

static void date_of(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
	int64_t z = days + EPOCH_DAYS;
	int64_t era = (z >= 0 ? z : z - ERA_DAYS + 1) / ERA_DAYS;
	int64_t doe = z - era * ERA_DAYS;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	*ret_day = (int)(doy - (153 * mp + 2) / 5 + 1);
	*ret_month = (int)(mp < 10 ? mp + 3 : mp - 9);
	*ret_year = (int)(yoe + era * 400 + (*ret_month <= 2));
}

static char *print(int64_t ns, bool padded, char *ret)
{
	int64_t seconds = ns / NS, rest = ns % NS;
	int year, month, day, n;

	if (rest < 0) {
		rest += NS;
		seconds--;
	}
	if (ns == 0) {
		memcpy(ret, "0001-01-01T00:00:00Z", 21);
		return ret;
	}
	date_of(seconds >= 0 ? seconds / 86400 : (seconds - 86399) / 86400, &year, &month, &day);
	seconds = ((seconds % 86400) + 86400) % 86400;
	n = snprintf(ret, RFC3339_CHARS + 1, "%04d-%02d-%02dT%02d:%02d:%02d.%09d", year, month, day,
		     (int)(seconds / 3600), (int)(seconds / 60 % 60), (int)(seconds % 60),
		     (int)rest);
	assert(n > 0 && n < RFC3339_CHARS);
	while (!padded && ret[n - 1] == '0')
		n--;
	if (ret[n - 1] == '.')
		n--;
	ret[n] = 'Z';
	ret[n + 1] = '\0';
	return ret;
}

char *rfc3339_text(int64_t ns, char ret[RFC3339_CHARS + 1])
{
	return print(ns, false, ret);
}

char *rfc3339_seconds(int64_t ns, char ret[RFC3339_CHARS + 1])
{
	int64_t rest = ns % NS;

	return print(ns - (rest < 0 ? rest + NS : rest), false, ret);
}

char *rfc3339_micros(int64_t ns, char ret[RFC3339_CHARS + 1])
{
	size_t n = strlen(print(ns, true, ret));

	if (ns != 0) { /* three digits less */
		ret[n - 4] = 'Z';
		ret[n - 3] = '\0';
	}
	return ret;
}

char *rfc3339_text_padded(int64_t ns, char ret[RFC3339_CHARS + 1])
{
	return print(ns, true, ret);
}

/* Exactly n digits; false otherwise. */
static bool digits(const char **p, int n, int *ret)
{
	int value = 0;

	for (int i = 0; i < n; i++) {
		if ((*p)[i] < '0' || (*p)[i] > '9')
			return false;
		value = value * 10 + ((*p)[i] - '0');
	}
	*p += n;
	*ret = value;
	return true;
}

static bool one_of(const char **p, const char *set)
{
	if (!**p || !strchr(set, **p))
		return false;
	(*p)++;
	return true;
}

static bool fraction(const char **p, int64_t *ret_ns)
{
	int64_t unit = NS / 10;

	*ret_ns = 0;
	if (**p != '.')
		return true;
	(*p)++;
	if (**p < '0' || **p > '9')
		return false;
	for (; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		*ret_ns += (**p - '0') * unit;
	return true;
}

static bool offset(const char **p, int *ret_seconds)
{
	int hours, minutes, sign = **p == '-' ? -1 : 1;

	*ret_seconds = 0;
	if (one_of(p, "Zz"))
		return true;
	if (!one_of(p, "+-") || !digits(p, 2, &hours) || !one_of(p, ":") || !digits(p, 2, &minutes))
		return false;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return hours <= 24 && minutes < 60;
}

enum part { YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, PARTS };

/* The fixed part, field by field: how many digits, what they may say, what stands behind them. */
static bool moment(const char **p, int ret[PARTS])
{
	static const struct {
		int width, least, most;
		const char *behind; /* one of these; NULL: nothing */
	} parts[PARTS] = {
		[YEAR] = {4, 1, 2261, "-"}, [MONTH] = {2, 1, 12, "-"},	[DAY] = {2, 1, 31, "Tt "},
		[HOUR] = {2, 0, 23, ":"},   [MINUTE] = {2, 0, 59, ":"}, [SECOND] = {2, 0, 60, NULL},
	};

	for (int i = 0; i < PARTS; i++) {
		if (!digits(p, parts[i].width, &ret[i]) || ret[i] < parts[i].least ||
		    ret[i] > parts[i].most)
			return false;
		if (parts[i].behind && !one_of(p, parts[i].behind))
			return false;
	}
	return true;
}

int rfc3339_parse(const char *text, int64_t *ret_ns, struct err *e)
{
	int t[PARTS], away = 0;
	int64_t part = 0, seconds;
	const char *p = text;

	if (!moment(&p, t) || !fraction(&p, &part) || !offset(&p, &away) || *p)
		return err_set(e, ERR_INVALID,
			       "invalid time '%s': expected the form 2006-01-02T15:04:05Z", text);
	if (t[YEAR] <
	    1678) { /* below what 64 bits of nanoseconds hold: Go's zero time and the like */
		*ret_ns = 0;
		return 0;
	}
	seconds = days_of(t[YEAR], t[MONTH], t[DAY]) * 86400 + t[HOUR] * 3600 + t[MINUTE] * 60 +
		  t[SECOND] - away;
	*ret_ns = seconds * NS + part;
	return 0;
}
