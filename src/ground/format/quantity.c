/*
 * Quantities: see quantity.h. The number is read digit by digit into an integer of nano units, so
 * that no floating point is in the way.
 */
#include "ground/format/quantity.h"

#include <assert.h>
#include <stdio.h>

#define NANO	((__int128)1000000000)
#define TOP	((__int128)INT64_MAX * NANO)
#define DIGITS	18 /* of the whole part and of the fraction that are told apart */
#define EXP_MAX 18

/* Units with the power of ten or two that they stand for. */
static const struct unit {
	const char *name;
	int ten, two;
} units[] = {
	{"n", -9, 0},  {"u", -6, 0},  {"m", -3, 0},  {"", 0, 0},    {"k", 3, 0},   {"M", 6, 0},
	{"G", 9, 0},   {"T", 12, 0},  {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20},
	{"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60},
};
#define UNITS (sizeof(units) / sizeof(units[0]))

static int bad(struct err *e)
{
	return err_set(e, ERR_INVALID,
		       "quantities must match the regular expression "
		       "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "e3", "E-2": the exponent; false: not one. */
static bool exponent_of(struct str unit, int *ret)
{
	bool less = false;
	int n = 0;
	size_t i = 1;

	if (unit.n < 2 || (unit.p[0] != 'e' && unit.p[0] != 'E'))
		return false;
	if (unit.p[1] == '-' || unit.p[1] == '+')
		less = unit.p[i++] == '-';
	if (i == unit.n || unit.n - i > 4)
		return false;
	for (; i < unit.n; i++) {
		if (!is_digit(unit.p[i]))
			return false;
		n = n * 10 + (unit.p[i] - '0');
	}
	*ret = less ? -n : n;
	return true;
}

static bool unit_of(struct str text, struct unit *ret, enum quantity_form *form)
{
	int ten = 0;

	*form = QUANTITY_DECIMAL;
	for (size_t i = 0; i < UNITS; i++) {
		if (!str_is(text, units[i].name))
			continue;
		*ret = units[i];
		if (units[i].two)
			*form = QUANTITY_BINARY;
		return true;
	}
	if (!exponent_of(text, &ten))
		return false;
	*form = QUANTITY_EXPONENT;
	*ret = (struct unit){"", ten, 0};
	return true;
}

/* value * 10^ten * 2^two, capped at TOP; a division rounds up. */
static __int128 scaled(__int128 value, int ten, int two)
{
	for (; ten > 0; ten--)
		value = value > TOP / 10 ? TOP : value * 10;
	for (; two > 0; two--)
		value = value > TOP / 2 ? TOP : value * 2;
	for (; ten < 0 && value > 0; ten++)
		value = value / 10 + (value % 10 != 0);
	return value;
}

/* The digits before the unit: whole nano units times 10^up of the unit-less number. */
static bool digits_of(struct str *rest, __int128 *ret_value, int *ret_places)
{
	__int128 value = 0;
	int places = 0, seen = 0;
	bool point = false, more = false;

	for (; rest->n > 0 && (is_digit(rest->p[0]) || rest->p[0] == '.'); rest->p++, rest->n--) {
		if (rest->p[0] == '.') {
			if (point)
				return false;
			point = true;
			continue;
		}
		seen++;
		if (places >= DIGITS) { /* finer than can matter */
			more = more || rest->p[0] != '0';
			continue;
		}
		value = value > TOP ? value : value * 10 + (rest->p[0] - '0');
		places += point;
	}
	*ret_value = value + more;
	*ret_places = places;
	return seen > 0;
}

/* digits / 10^places * 2^two as nano units: the places go last, so that 0.5Gi keeps its half. */
static __int128 of_binary(__int128 digits, int places, int two)
{
	__int128 one = 1, low, left;

	for (int i = 0; i < places; i++)
		one *= 10;
	low = (digits % one) << two;
	left = low % one;
	return scaled(digits / one, 9, two) + low / one * NANO + (left * NANO + one - 1) / one;
}

static int bounded(int n, int most)
{
	return n > most ? most : n < -most ? -most : n;
}

int quantity_parse(struct str text, struct quantity *ret, struct err *e)
{
	struct quantity q = {0};
	struct unit unit;
	bool less = false;
	int places = 0;

	assert(ret);
	if (text.n == 0 || text.n > 128)
		return bad(e);
	if (text.p[0] == '-' || text.p[0] == '+') {
		less = text.p[0] == '-';
		text.p++, text.n--;
	}
	if (!digits_of(&text, &q.nano, &places) || !unit_of(text, &unit, &q.form))
		return bad(e);
	if (unit.two)
		q.nano = of_binary(q.nano, places, unit.two);
	else
		q.nano = scaled(q.nano, bounded(unit.ten, EXP_MAX + DIGITS) + 9 - places, 0);
	if (q.nano > TOP)
		q.nano = TOP;
	if (less)
		q.nano = -q.nano;
	assert(q.nano <= TOP && q.nano >= -TOP);
	*ret = q;
	return 0;
}

static char *put(char ret[QUANTITY_CHARS], bool less, __int128 n, const char *unit)
{
	char digits[48];
	size_t at = sizeof(digits);

	digits[--at] = '\0';
	do {
		assert(at > 0);
		digits[--at] = (char)('0' + (int)(n % 10));
		n /= 10;
	} while (n > 0);
	(void)snprintf(ret, QUANTITY_CHARS, "%s%s%s", less ? "-" : "", digits + at, unit);
	return ret;
}

static char *put_exponent(char ret[QUANTITY_CHARS], bool less, __int128 n)
{
	char unit[16];
	int ten = -9;

	while (n > 0 && n % 1000 == 0 && ten < 18) {
		n /= 1000;
		ten += 3;
	}
	(void)snprintf(unit, sizeof(unit), ten ? "e%d" : "", ten);
	return put(ret, less, n, unit);
}

char *quantity_text(const struct quantity *q, char ret[QUANTITY_CHARS])
{
	static const char *const tens[] = {"n", "u", "m", "", "k", "M", "G", "T", "P", "E"};
	static const char *const twos[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
	bool less = q->nano < 0;
	__int128 n = less ? -q->nano : q->nano;
	size_t i = 0;

	if (n == 0)
		return put(ret, false, 0, "");
	if (q->form == QUANTITY_BINARY && n >= 1024 * NANO && n % NANO == 0) {
		for (n /= NANO; n % 1024 == 0 && i < 6; i++)
			n /= 1024;
		return put(ret, less, n, twos[i]);
	}
	if (q->form == QUANTITY_EXPONENT)
		return put_exponent(ret, less, n);
	for (; n % 1000 == 0 && i < 9; i++)
		n /= 1000;
	return put(ret, less, n, tens[i]);
}

bool quantity_read(const struct json *v, struct quantity *ret)
{
	struct err e;

	return json_text(v) && quantity_parse(json_str(v), ret, &e) == 0;
}

static int64_t rounded(__int128 nano, __int128 unit)
{
	__int128 n = nano / unit + (nano > 0 && nano % unit != 0);

	if (n > INT64_MAX)
		return INT64_MAX;
	return n < -(__int128)INT64_MAX ? -INT64_MAX : (int64_t)n;
}

int64_t quantity_whole(const struct quantity *q)
{
	return rounded(q->nano, NANO);
}

int64_t quantity_milli(const struct quantity *q)
{
	return rounded(q->nano, NANO / 1000);
}
