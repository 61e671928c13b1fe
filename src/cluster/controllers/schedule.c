/* Schedules: see schedule.h. */
#include "cluster/controllers/schedule.h"

#include <assert.h>
#include <ctype.h>
#include <strings.h>
#include <time.h>

#include "cluster/controllers/zone.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"

#define YEARS_MAX 5

struct field {
	const char *name;
	int64_t least, most;
	const char *const *names; /* of `least` and on; NULL */
};

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
					  "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const struct field fields[FIELDS] = {
	{"minute", 0, 59, NULL},	  {"hour", 0, 23, NULL},
	{"day of month", 1, 31, NULL},	  {"month", 1, 12, month_names},
	{"day of week", 0, 7, day_names}, /* 7 is Sunday, too */
};

static const struct word {
	const char *word, *fields;
} words[] = {
	{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
	{"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
	{"@hourly", "0 * * * *"},
};

/* -- reading ----------------------------------------------------------------------------------- */

static int read_value(const struct field *f, struct str text, int64_t *ret, struct err *e)
{
	for (size_t i = 0; f->names && f->names[i]; i++)
		if (text.n == 3 && strncasecmp(text.p, f->names[i], 3) == 0) {
			*ret = f->least + (int64_t)i;
			return 0;
		}
	if (!text.n || !isdigit((unsigned char)text.p[0]))
		return err_set(e, ERR_INVALID, "no number for %s: '%.*s'", f->name, (int)text.n,
			       text.p);
	return parse_i64(text, f->name, ret, e);
}

/* "a" or "a-b"; a lone "a" with a step goes on to the end. */
static int read_bounds(const struct field *f, struct str range, bool stepped, int64_t *ret_from,
		       int64_t *ret_to, struct err *e)
{
	struct str last = range, first;

	(void)str_cut(&last, '-', &first);
	if (read_value(f, first, ret_from, e) < 0)
		return -(int)e->kind;
	if (first.n < range.n)
		return read_value(f, last, ret_to, e);
	*ret_to = stepped ? f->most : *ret_from;
	return 0;
}

/* "*", "?" or bounds, each with "/step". */
static int read_range(const struct field *f, struct str text, uint64_t *bits, bool *ret_any,
		      struct err *e)
{
	int64_t from = f->least, to = f->most, step = 1;
	struct str range, left = text;
	bool stepped, any;

	(void)str_cut(&left, '/', &range);
	stepped = range.n < text.n;
	if (stepped && (parse_i64(left, "step", &step, e) < 0 || step <= 0))
		return err_set(e, ERR_INVALID, "step of %s is no positive number: '%.*s'", f->name,
			       (int)text.n, text.p);
	any = str_is(range, "*") || str_is(range, "?");
	if (!any && read_bounds(f, range, stepped, &from, &to, e) < 0)
		return -(int)e->kind;
	if (from < f->least || to > f->most || from > to)
		return err_set(e, ERR_INVALID, "%s is out of its range %lld-%lld: '%.*s'", f->name,
			       (long long)f->least, (long long)f->most, (int)text.n, text.p);
	for (int64_t i = from; i <= to; i += step)
		*bits |= UINT64_C(1) << i;
	*ret_any = *ret_any || (any && step == 1);
	return 0;
}

static int read_field(const struct field *f, struct str text, uint64_t *bits, bool *ret_any,
		      struct err *e)
{
	struct str one;

	if (!text.n)
		return err_set(e, ERR_INVALID, "%s is missing", f->name);
	while (str_cut(&text, ',', &one))
		if (read_range(f, one, bits, ret_any, e) < 0)
			return -(int)e->kind;
	return 0;
}

static struct str next_word(struct str *rest)
{
	struct str word;

	*rest = str_trim(*rest);
	word = (struct str){rest->p, 0};
	while (word.n < rest->n && !isspace((unsigned char)rest->p[word.n]))
		word.n++;
	rest->p += word.n;
	rest->n -= word.n;
	return word;
}

static int read_fields(struct str text, struct schedule *s, struct err *e)
{
	uint64_t *bits[FIELDS] = {&s->minutes, &s->hours, &s->days, &s->months, &s->weekdays};
	bool any[FIELDS] = {false};

	for (size_t i = 0; i < FIELDS; i++)
		if (read_field(&fields[i], next_word(&text), bits[i], &any[i], e) < 0)
			return -(int)e->kind;
	if (str_trim(text).n)
		return err_set(e, ERR_INVALID, "more than five fields");
	s->any_day = any[DAY];
	s->any_weekday = any[WEEKDAY];
	if (s->weekdays & (1u << 7))
		s->weekdays |= 1;
	return 0;
}

int schedule_parse(const char *text, struct schedule *ret, struct err *e)
{
	struct schedule s = {0};
	struct str t = str_trim(str_of(text));
	int64_t ns;

	if (str_starts(t, "@every ")) {
		struct str d = str_trim((struct str){t.p + 7, t.n - 7});

		if (parse_duration(d, "@every", &ns, e) < 0)
			return -(int)e->kind;
		s.every_s = ns / 1000000000 > 0 ? ns / 1000000000 : 1;
		*ret = s;
		return 0;
	}
	for (size_t i = 0; i < array_len(words); i++)
		if (str_is(t, words[i].word))
			t = str_of(words[i].fields);
	if (read_fields(t, &s, e) < 0)
		return err_wrap(e, "schedule '%s'", text);
	*ret = s;
	return 0;
}

/* -- the next one ------------------------------------------------------------------------------ */

static bool day_matches(const struct schedule *s, const struct tm *tm)
{
	bool day = s->days >> tm->tm_mday & 1, weekday = s->weekdays >> tm->tm_wday & 1;

	if (s->any_day || s->any_weekday)
		return day && weekday;
	return day || weekday;
}

/* How far to go on from a local time that does not match; 0: it matches. */
static int64_t stride(const struct schedule *s, const struct tm *tm)
{
	int64_t of_day = tm->tm_hour * 3600 + tm->tm_min * 60 + tm->tm_sec;

	if (!(s->months >> (tm->tm_mon + 1) & 1) || !day_matches(s, tm))
		return 86400 - of_day;
	if (!(s->hours >> tm->tm_hour & 1))
		return 3600 - of_day % 3600;
	if (!(s->minutes >> tm->tm_min & 1))
		return 60 - of_day % 60;
	return 0;
}

int64_t schedule_next(const struct schedule *s, const struct zone *z, int64_t after_s)
{
	int64_t at = after_s - after_s % 60 + 60, last = after_s + (int64_t)YEARS_MAX * 366 * 86400;

	if (s->every_s)
		return after_s + s->every_s;
	while (at < last) {
		int64_t offset = timezone_offset(z, at), go, moved;
		time_t local = (time_t)(at + offset);
		struct tm tm;

		(void)gmtime_r(&local, &tm);
		go = stride(s, &tm);
		if (go == 0)
			return at;
		moved = timezone_offset(z, at + go) - offset;
		/* Over a change of the clock: not past the local time that was meant. */
		at += go > 3600 && moved > 0 && moved < go ? go - moved : go;
	}
	return 0;
}
