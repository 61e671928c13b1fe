/*
 * YAML to JSON: see yaml.h. libyaml makes events of the text; each event is written at once, so
 * that nothing grows but the output. What a plain scalar is worth is decided by its letters alone.
 */
#include "ground/format/yaml.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <yaml.h>

#include "ground/base/mem.h"
#include "ground/base/utf8.h"
#include "ground/format/json.h"

struct reader {
	yaml_parser_t parser;
	const char *what;
	struct strbuf *out;
	unsigned int depth;
	struct err *e;
};

static int fail(struct reader *r, const yaml_mark_t *at, const char *why)
{
	return err_set(r->e, ERR_INVALID, "%s: not YAML: line %zu, column %zu: %s", r->what,
		       at->line + 1, at->column + 1, why);
}

static int next(struct reader *r, yaml_event_t *ret)
{
	if (yaml_parser_parse(&r->parser, ret))
		return 0;
	return fail(r, &r->parser.problem_mark,
		    r->parser.problem ? r->parser.problem : "it cannot be read");
}

/* -- plain words ------------------------------------------------------------------------------- */

static void quoted(struct strbuf *out, struct str text)
{
	auto_json struct json *j = json_new_str(text);

	json_write(j, out);
}

static bool is_word(struct str text, const char *const *words)
{
	for (size_t i = 0; words[i]; i++)
		if (str_is(text, words[i]))
			return true;
	return false;
}

static size_t skip_digits(struct str *s)
{
	size_t n = 0;

	while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
		n++;
	s->p += n, s->n -= n;
	return n;
}

static bool skip(struct str *s, const char *any)
{
	if (s->n == 0 || !strchr(any, s->p[0]))
		return false;
	s->p++, s->n--;
	return true;
}

static unsigned int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned int)((c | 0x20) - 'a') + 10
						      : UINT32_MAX;
}

/* 0x1f, 0o17, 017, 0b11, with `_` between digits; false: it is no such number. */
static bool based(struct str text, struct strbuf *out)
{
	static const struct {
		const char *prefix;
		unsigned int base;
	} rows[] = {{"0x", 16}, {"0o", 8}, {"0b", 2}, {"0", 8}};
	bool minus = text.n > 0 && text.p[0] == '-';
	size_t row = 0, digits = 0;
	uint64_t n = 0;

	(void)skip(&text, "+-");
	while (!str_starts(text, rows[row].prefix))
		if (++row == array_len(rows))
			return false;
	for (size_t i = strlen(rows[row].prefix); i < text.n; i++) {
		unsigned int digit = digit_of(text.p[i]);

		if (text.p[i] == '_' && digits)
			continue;
		if (digit >= rows[row].base || n > (INT64_MAX - digit) / rows[row].base)
			return false;
		n = n * rows[row].base + digit;
		digits++;
	}
	if (digits)
		strbuf_printf(out, "%s%" PRIu64, minus && n ? "-" : "", n);
	return digits > 0;
}

/* [-+]? (digits [. digits*] | . digits) [e [-+] digits], written as JSON has it. */
static bool decimal(struct str text, struct strbuf *out)
{
	bool minus = text.n > 0 && text.p[0] == '-';
	struct str whole, part = {NULL, 0}, power = {NULL, 0};

	(void)skip(&text, "+-");
	whole.p = text.p;
	whole.n = skip_digits(&text);
	if (skip(&text, ".")) {
		part.p = text.p;
		part.n = skip_digits(&text);
	}
	if (whole.n + part.n == 0)
		return false;
	if (skip(&text, "eE")) {
		power.p = text.p;
		(void)skip(&text, "+-");
		if (skip_digits(&text) == 0)
			return false;
		power.n = (size_t)(text.p - power.p);
	}
	if (text.n > 0)
		return false;
	while (whole.n > 1 && whole.p[0] == '0')
		whole.p++, whole.n--;
	strbuf_printf(out, "%s%.*s", minus ? "-" : "", (int)whole.n, whole.n ? whole.p : "");
	if (whole.n == 0)
		strbuf_add_char(out, '0');
	if (part.n)
		strbuf_printf(out, ".%.*s", (int)part.n, part.p);
	if (power.n)
		strbuf_printf(out, "e%.*s", (int)power.n, power.p);
	return true;
}

static void plain(struct strbuf *out, struct str text)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const yes[] = {"true", "True", "TRUE", "y",	"Y",  "yes",
					  "Yes",  "YES",  "on",	  "On", "ON", NULL};
	static const char *const no[] = {"false", "False", "FALSE", "n",   "N",	  "no",
					 "No",	  "NO",	   "off",   "Off", "OFF", NULL};

	if (is_word(text, nulls))
		strbuf_add_text(out, "null");
	else if (is_word(text, yes))
		strbuf_add_text(out, "true");
	else if (is_word(text, no))
		strbuf_add_text(out, "false");
	else if (!based(text, out) && !decimal(text, out))
		quoted(out, text);
}

/* -- events ------------------------------------------------------------------------------------ */

static struct str text_of(const yaml_event_t *event)
{
	return (struct str){(const char *)event->data.scalar.value, event->data.scalar.length};
}

static int scalar(struct reader *r, const yaml_event_t *event)
{
	const char *tag = (const char *)event->data.scalar.tag;
	bool as_text = tag && strcmp(tag, YAML_STR_TAG) == 0;

	if (event->data.scalar.anchor)
		return fail(r, &event->start_mark, "anchors are not taken");
	if (tag && !as_text)
		return fail(r, &event->start_mark, "tags are not taken");
	if (as_text || !event->data.scalar.plain_implicit)
		quoted(r->out, text_of(event));
	else
		plain(r->out, text_of(event));
	return 0;
}

static int value(struct reader *r, const yaml_event_t *event);

static int list(struct reader *r)
{
	yaml_event_t event;
	bool end = false;
	int bad = 0;

	strbuf_add_char(r->out, '[');
	for (size_t n = 0; bad == 0 && !end; n++) {
		bad = next(r, &event);
		if (bad < 0)
			return bad;
		end = event.type == YAML_SEQUENCE_END_EVENT;
		if (n && !end)
			strbuf_add_char(r->out, ',');
		if (!end)
			bad = value(r, &event);
		yaml_event_delete(&event);
	}
	strbuf_add_char(r->out, ']');
	return bad;
}

/* A key is what it says, whatever it would be worth as a value. */
static int key(struct reader *r, const yaml_event_t *event)
{
	if (event->type != YAML_SCALAR_EVENT || event->data.scalar.anchor)
		return fail(r, &event->start_mark, "a key has to be a plain word or a text");
	quoted(r->out, text_of(event));
	strbuf_add_char(r->out, ':');
	return 0;
}

static int object(struct reader *r)
{
	yaml_event_t event;
	bool end = false;
	int bad = 0;

	strbuf_add_char(r->out, '{');
	for (size_t n = 0; bad == 0 && !end; n++) {
		bad = next(r, &event);
		if (bad < 0)
			return bad;
		end = event.type == YAML_MAPPING_END_EVENT;
		if (n % 2 == 0 && n && !end)
			strbuf_add_char(r->out, ',');
		if (!end)
			bad = n % 2 == 0 ? key(r, &event) : value(r, &event);
		yaml_event_delete(&event);
	}
	strbuf_add_char(r->out, '}');
	return bad;
}

static int value(struct reader *r, const yaml_event_t *event)
{
	int bad;

	if (event->type == YAML_SCALAR_EVENT)
		return scalar(r, event);
	if (event->type == YAML_ALIAS_EVENT)
		return fail(r, &event->start_mark, "aliases are not taken");
	if (r->depth >= JSON_DEPTH_MAX)
		return fail(r, &event->start_mark, "it is nested too deeply");
	r->depth++;
	bad = event->type == YAML_MAPPING_START_EVENT ? object(r) : list(r);
	r->depth--;
	return bad;
}

/* The first document; what comes behind its end is not looked at, as Kubernetes has it. */
static int document(struct reader *r)
{
	yaml_event_t event;
	bool begun = false;
	int bad = 0;

	while (bad == 0 && !begun) {
		bad = next(r, &event);
		if (bad < 0)
			return bad;
		if (event.type == YAML_STREAM_END_EVENT)
			bad = fail(r, &event.start_mark, "there is nothing");
		begun = event.type != YAML_STREAM_START_EVENT &&
			event.type != YAML_DOCUMENT_START_EVENT;
		if (begun && bad == 0)
			bad = value(r, &event);
		yaml_event_delete(&event);
	}
	return bad;
}

int yaml_to_json(struct str text, const char *what, struct strbuf *out, struct err *e)
{
	struct reader r = {.what = what, .out = out, .e = e};
	int bad;

	assert(what && out);
	if (!utf8_is(text))
		return err_set(e, ERR_INVALID, "%s: not YAML: it is not UTF-8", what);
	if (!yaml_parser_initialize(&r.parser))
		return err_set(e, ERR_EXHAUSTED, "%s: no memory to read it", what);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.p, text.n);
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	bad = document(&r);
	yaml_parser_delete(&r.parser);
	return bad;
}
