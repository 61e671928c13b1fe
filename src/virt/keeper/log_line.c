/*
 * Reading one json-file line: a scanner for exactly that shape, since a log is read by the million
 * lines and a tree for each would cost ten times more. Escapes are decoded as RFC 8259 says; a lone
 * surrogate becomes U+FFFD.
 */
#include "virt/keeper/log_line.h"

#include "ground/base/rfc3339.h"

struct scan {
	const char *p, *end;
};

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

static bool eat(struct scan *s, char c)
{
	skip_space(s);
	if (s->p >= s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static bool hex4(struct scan *s, uint32_t *ret)
{
	uint32_t value = 0;

	if (s->end - s->p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		char c = *s->p++;
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;

		if (digit < 0)
			return false;
		value = value << 4 | (uint32_t)digit;
	}
	*ret = value;
	return true;
}

static void add_utf8(struct strbuf *out, uint32_t c)
{
	unsigned char b[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		b[i] = (unsigned char)(0x80 | (c & 0x3f));
	b[0] = (unsigned char)(lead[n] | c);
	strbuf_add(out, b, n);
}

/* Behind "\u": one code unit, or a pair of surrogates. */
static bool unicode(struct scan *s, struct strbuf *out)
{
	struct scan ahead;
	uint32_t c, low;

	if (!hex4(s, &c))
		return false;
	if (c < 0xd800 || c > 0xdfff) {
		add_utf8(out, c);
		return true;
	}
	ahead = *s;
	if (c < 0xdc00 && ahead.end - ahead.p >= 6 && ahead.p[0] == '\\' && ahead.p[1] == 'u') {
		ahead.p += 2;
		if (hex4(&ahead, &low) && low >= 0xdc00 && low <= 0xdfff) {
			*s = ahead;
			add_utf8(out, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
			return true;
		}
	}
	add_utf8(out, 0xfffd);
	return true;
}

static bool escape(struct scan *s, struct strbuf *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;
	char c;

	if (s->p >= s->end)
		return false;
	c = *s->p++;
	if (c == 'u')
		return unicode(s, out);
	at = c ? strchr(from, c) : NULL;
	if (!at)
		return false;
	strbuf_add_char(out, to[at - from]);
	return true;
}

/* A JSON string; without `out` it is stepped over. *ret_raw is its inside as it stands. */
static bool string(struct scan *s, struct strbuf *out, struct str *ret_raw)
{
	struct strbuf nowhere = {0};
	const char *begin;
	bool good = true;

	if (!eat(s, '"'))
		return false;
	begin = s->p;
	while (good && s->p < s->end && *s->p != '"') {
		const char *run = s->p;

		while (s->p < s->end && *s->p != '"' && *s->p != '\\')
			s->p++;
		if (out)
			strbuf_add(out, run, (size_t)(s->p - run));
		if (s->p >= s->end || *s->p == '"')
			break;
		s->p++;
		good = escape(s, out ? out : &nowhere);
	}
	strbuf_done(&nowhere);
	if (!good || s->p >= s->end)
		return false;
	*ret_raw = (struct str){begin, (size_t)(s->p - begin)};
	s->p++;
	return true;
}

enum seen { SEEN_LOG = 1, SEEN_STREAM = 2, SEEN_TIME = 4, SEEN_ALL = 7 };

static bool read_time(struct str text, int64_t *ret_ns)
{
	char copy[RFC3339_CHARS + 1];

	if (text.n > RFC3339_CHARS)
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	return rfc3339_parse(copy, ret_ns, NULL) == 0 && *ret_ns >= 0;
}

/* One `"key":"value"`; *seen collects what was found. */
static bool member(struct scan *s, struct strbuf *text, struct log_line *ret, unsigned int *seen)
{
	struct str key, value;
	bool log;

	if (!string(s, NULL, &key) || !eat(s, ':'))
		return false;
	log = str_is(key, "log");
	if (log)
		strbuf_clear(text);
	if (!string(s, log ? text : NULL, &value))
		return false;
	if (log) {
		*seen |= SEEN_LOG;
	} else if (str_is(key, "stream")) {
		if (!str_is(value, "stdout") && !str_is(value, "stderr"))
			return false;
		ret->stream = str_is(value, "stdout") ? LOG_STREAM_STDOUT : LOG_STREAM_STDERR;
		*seen |= SEEN_STREAM;
	} else if (str_is(key, "time")) {
		if (!read_time(value, &ret->time_ns))
			return false;
		*seen |= SEEN_TIME;
	}
	return true;
}

bool log_line_parse(struct str raw, struct strbuf *text, struct log_line *ret)
{
	struct scan s = {raw.p, raw.p + raw.n};
	unsigned int seen = 0;

	strbuf_clear(text);
	if (!eat(&s, '{'))
		return false;
	do {
		if (!member(&s, text, ret, &seen))
			return false;
	} while (eat(&s, ','));
	if (!eat(&s, '}'))
		return false;
	skip_space(&s);
	ret->text = strbuf_text(text);
	ret->text_n = text->n;
	return s.p == s.end && seen == SEEN_ALL;
}
