/* Strict numbers: see parse.h. Everything is computed in 64 bits with overflow checks. */
#include "ground/base/parse.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>

static int bad(struct str text, const char *what, const char *why, struct err *e)
{
	return err_set(e, ERR_INVALID, "invalid %s '%.*s': %s", what,
		       (int)(text.n < 200 ? text.n : 200), text.p ? text.p : "", why);
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	return 99;
}

static int digits(struct str text, unsigned int base, const char *what, uint64_t *ret,
		  struct err *e)
{
	uint64_t value = 0;

	if (text.n == 0)
		return bad(text, what, "it is empty", e);
	for (size_t i = 0; i < text.n; i++) {
		int d = digit_of(text.p[i]);

		if (d >= (int)base)
			return bad(text, what, "it is not a whole number", e);
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, (uint64_t)d, &value))
			return bad(text, what, "it is too large", e);
	}
	*ret = value;
	return 0;
}

int parse_u64(struct str text, const char *what, uint64_t *ret, struct err *e)
{
	return digits(text, 10, what, ret, e);
}

int parse_i64(struct str text, const char *what, int64_t *ret, struct err *e)
{
	bool negative = text.n > 0 && text.p[0] == '-';
	struct str magnitude = negative ? (struct str){text.p + 1, text.n - 1} : text;
	uint64_t value = 0;
	int r = digits(magnitude, 10, what, &value, e);

	if (r < 0)
		return r;
	if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
		return bad(text, what, "it is out of range", e);
	*ret = negative ? (int64_t)(0 - value) : (int64_t)value;
	return 0;
}

int parse_u32_base(struct str text, unsigned int base, const char *what, uint32_t *ret,
		   struct err *e)
{
	uint64_t value = 0;
	int r;

	assert(base >= 2 && base <= 36);
	r = digits(text, base, what, &value, e);
	if (r < 0)
		return r;
	if (value > UINT32_MAX)
		return bad(text, what, "it is too large", e);
	*ret = (uint32_t)value;
	return 0;
}

int parse_u32(struct str text, const char *what, uint32_t *ret, struct err *e)
{
	return parse_u32_base(text, 10, what, ret, e);
}

int parse_bool(struct str text, const char *what, bool *ret, struct err *e)
{
	static const char *const yes[] = {"true", "1", "True", "TRUE", "t", "T"};
	static const char *const no[] = {"false", "0", "False", "FALSE", "f", "F"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (str_is(text, yes[i]) || str_is(text, no[i])) {
			*ret = str_is(text, yes[i]);
			return 0;
		}
	}
	return bad(text, what, "say true or false", e);
}

/* Reads "12.34" in front of *text as millionths, so that fractions need no floating point. */
static int decimal(struct str *text, uint64_t *ret_millionths)
{
	uint64_t whole = 0, part = 0, scale = 1000000;
	size_t i = 0, first;

	for (; i < text->n && isdigit((unsigned char)text->p[i]); i++) {
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(text->p[i] - '0'), &whole))
			return -1;
	}
	first = i;
	if (i < text->n && text->p[i] == '.') {
		for (i++; i < text->n && isdigit((unsigned char)text->p[i]); i++) {
			if (scale > 1) {
				scale /= 10;
				part += (uint64_t)(text->p[i] - '0') * scale;
			}
		}
		if (i == first + 1)
			return -1;
	}
	if (i == 0 || __builtin_mul_overflow(whole, 1000000, &whole) ||
	    __builtin_add_overflow(whole, part, &whole))
		return -1;
	text->p += i;
	text->n -= i;
	*ret_millionths = whole;
	return 0;
}

int parse_size(struct str text, const char *what, int64_t *ret_bytes, struct err *e)
{
	static const char letters[] = "kmgtp";
	struct str rest = str_trim(text);
	uint64_t millionths = 0;
	unsigned __int128 bytes;
	unsigned int shift = 0;

	if (decimal(&rest, &millionths) < 0)
		return bad(text, what, "say a number and a unit, as in 512m", e);
	rest = str_trim(rest);
	if (rest.n) {
		const char *at = strchr(letters, tolower((unsigned char)rest.p[0]));
		bool bare_b = tolower((unsigned char)rest.p[0]) == 'b' && rest.n == 1;

		if (!bare_b) {
			if (!at || !*at)
				return bad(text, what, "the unit is one of b, k, m, g, t, p", e);
			shift = 10 * (unsigned int)(at - letters + 1);
			rest.p++;
			rest.n--;
			if (rest.n && !str_is(rest, "b") && !str_is(rest, "B") &&
			    !str_is(rest, "iB") && !str_is(rest, "ib") && !str_is(rest, "i"))
				return bad(text, what, "the unit is one of b, k, m, g, t, p", e);
		}
	}
	bytes = ((unsigned __int128)millionths << shift) / 1000000;
	if (bytes > INT64_MAX)
		return bad(text, what, "it is too large", e);
	*ret_bytes = (int64_t)bytes;
	return 0;
}

int parse_duration(struct str text, const char *what, int64_t *ret_ns, struct err *e)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"ns", 1},		{"us", 1000},	    {"ms", 1000000},
		     {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000}};
	struct str rest = str_trim(text);
	unsigned __int128 total = 0;

	if (str_is(rest, "0")) {
		*ret_ns = 0;
		return 0;
	}
	if (rest.n == 0)
		return bad(text, what, "it is empty", e);
	while (rest.n) {
		uint64_t millionths = 0, ns = 0;
		size_t unit_n = 0;

		if (decimal(&rest, &millionths) < 0)
			return bad(text, what, "say a number and a unit, as in 1m30s", e);
		while (unit_n < rest.n && isalpha((unsigned char)rest.p[unit_n]))
			unit_n++;
		for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
			if (str_is((struct str){rest.p, unit_n}, units[i].name))
				ns = units[i].ns;
		}
		if (ns == 0)
			return bad(text, what, "the unit is one of ns, us, ms, s, m, h", e);
		total += (unsigned __int128)millionths * ns / 1000000;
		if (total > INT64_MAX)
			return bad(text, what, "it is too large", e);
		rest.p += unit_n;
		rest.n -= unit_n;
	}
	*ret_ns = (int64_t)total;
	return 0;
}
