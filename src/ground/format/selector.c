/*
 * Selectors: see selector.h. The grammar is Kubernetes' (labels.Parse, fields.ParseSelector); a
 * hand-written scanner reads it, since there are only a handful of tokens.
 */
#include "ground/format/selector.h"

#include <assert.h>
#include <string.h>

#include "ground/base/parse.h"

struct scan {
	const char *p;
	const char *text; /* whole, for messages */
	struct arena *a;
	struct err *e;
};

static int bad(const struct scan *s, const char *why)
{
	return err_set(s->e, ERR_INVALID,
		       "unable to parse requirement: found '%.32s' in '%.200s', %s", s->p, s->text,
		       why);
}

static void skip_space(struct scan *s)
{
	while (*s->p == ' ' || *s->p == '\t')
		s->p++;
}

static bool is_word(char c)
{
	return c != '\0' && !strchr("=!(),<> \t", c);
}

/* A key or a value; empty when none begins here. */
static struct str word(struct scan *s)
{
	struct str w = {s->p, 0};

	while (is_word(s->p[0]))
		s->p++;
	w.n = (size_t)(s->p - w.p);
	return w;
}

static struct selector_one *grow(struct selector *s, struct arena *a)
{
	assert(s->n < SELECTOR_MAX);
	if (!s->list)
		s->list = arena_new_array(a, struct selector_one, SELECTOR_MAX);
	return &s->list[s->n++];
}

static void one_value(struct selector_one *one, struct arena *a, struct str value)
{
	one->values = arena_new_array(a, char *, 2);
	one->values[0] = arena_dup(a, value);
	one->values_n = 1;
}

/* "(a, b)": at most as many values as there are commas. */
static int value_list(struct scan *s, struct selector_one *one)
{
	size_t room = 2;

	skip_space(s);
	if (*s->p != '(')
		return bad(s, "expected: '('");
	for (const char *p = s->p; *p; p++)
		room += *p == ',';
	one->values = arena_new_array(s->a, char *, room);
	do {
		s->p++;
		skip_space(s);
		assert(one->values_n + 1 < room);
		one->values[one->values_n++] = arena_dup(s->a, word(s));
		skip_space(s);
	} while (*s->p == ',');
	if (*s->p != ')')
		return bad(s, "expected: ',' or ')'");
	s->p++;
	return 0;
}

static const struct {
	const char *sign;
	enum selector_how how;
} signs[] = {
	{"==", SELECTOR_IN},   {"!=", SELECTOR_NOT_IN}, {"=", SELECTOR_IN},
	{">", SELECTOR_ABOVE}, {"<", SELECTOR_BELOW},
};

/* What stands behind a key. */
static int operation(struct scan *s, struct selector_one *one)
{
	int64_t number;
	struct str how;

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		if (!text_starts(s->p, signs[i].sign))
			continue;
		s->p += strlen(signs[i].sign);
		one->how = signs[i].how;
		skip_space(s);
		one_value(one, s->a, word(s));
		if (one->how != SELECTOR_ABOVE && one->how != SELECTOR_BELOW)
			return 0;
		return parse_i64(str_of(one->values[0]), "selector value", &number, s->e);
	}
	how = word(s);
	if (how.n == 0) {
		one->how = SELECTOR_EXISTS;
		return 0;
	}
	if (!str_is(how, "in") && !str_is(how, "notin")) {
		s->p = how.p;
		return bad(s, "expected: in, notin, =, ==, !=, <, >");
	}
	one->how = str_is(how, "in") ? SELECTOR_IN : SELECTOR_NOT_IN;
	return value_list(s, one);
}

static int requirement(struct scan *s, struct selector_one *one)
{
	bool absent;
	struct str key;

	skip_space(s);
	absent = *s->p == '!';
	if (absent) {
		s->p++;
		skip_space(s);
	}
	key = word(s);
	if (key.n == 0)
		return bad(s, "expected: identifier");
	one->key = arena_dup(s->a, key);
	skip_space(s);
	if (absent) {
		one->how = SELECTOR_ABSENT;
		return 0;
	}
	return operation(s, one);
}

static int too_many(struct err *e)
{
	return err_set(e, ERR_EXHAUSTED, "a selector has at most %d requirements and %d bytes",
		       SELECTOR_MAX, SELECTOR_BYTES_MAX);
}

int selector_parse_labels(const char *text, struct arena *a, struct selector *ret, struct err *e)
{
	struct scan s = {text, text, a, e};
	struct selector made = {0};
	int r;

	assert(text && a && ret);
	if (strlen(text) > SELECTOR_BYTES_MAX)
		return too_many(e);
	skip_space(&s);
	while (*s.p) {
		if (made.n == SELECTOR_MAX)
			return too_many(e);
		r = requirement(&s, grow(&made, a));
		if (r < 0)
			return r;
		skip_space(&s);
		if (*s.p == '\0')
			break;
		if (*s.p++ != ',')
			return bad(&s, "expected: ',' or end of string");
		skip_space(&s);
		if (*s.p == '\0')
			return bad(&s, "expected: identifier after ','");
	}
	*ret = made;
	return 0;
}

/* A backslash before a comma, an equals sign or a backslash takes its meaning away. */
static int field_value(struct scan *s, struct strbuf *out)
{
	for (; *s->p && *s->p != ','; s->p++) {
		if (*s->p == '=')
			return bad(s, "an equals sign in a value is written '\\='");
		if (*s->p == '\\') {
			if (!s->p[1] || !strchr("\\,=", s->p[1]))
				return bad(s, "a backslash stands before '\\', ',' or '='");
			s->p++;
		}
		strbuf_add_char(out, *s->p);
	}
	return 0;
}

static int field(struct scan *s, struct selector_one *one)
{
	auto_strbuf struct strbuf value = {0};
	struct str key = {s->p, 0};
	int r;

	while (*s->p && !strchr("=!,", *s->p))
		s->p++;
	key.n = (size_t)(s->p - key.p);
	one->key = arena_dup(s->a, str_trim(key));
	if (s->p[0] == '!' && s->p[1] == '=') {
		one->how = SELECTOR_NOT_IN;
		s->p += 2;
	} else if (s->p[0] == '=') {
		one->how = SELECTOR_IN;
		s->p += s->p[1] == '=' ? 2 : 1;
	} else {
		return err_set(s->e, ERR_INVALID,
			       "invalid selector: '%.200s'; can't understand '%.100s'", s->text,
			       one->key);
	}
	r = field_value(s, &value);
	if (r == 0)
		one_value(one, s->a, strbuf_str(&value));
	return r;
}

int selector_parse_fields(const char *text, struct arena *a, struct selector *ret, struct err *e)
{
	struct scan s = {text, text, a, e};
	struct selector made = {0};
	int r;

	assert(text && a && ret);
	if (strlen(text) > SELECTOR_BYTES_MAX)
		return too_many(e);
	while (*s.p) {
		if (*s.p == ',') {
			s.p++;
			continue;
		}
		if (made.n == SELECTOR_MAX)
			return too_many(e);
		r = field(&s, grow(&made, a));
		if (r < 0)
			return r;
	}
	*ret = made;
	return 0;
}

static int add_expression(const struct json *x, struct arena *a, struct selector *made,
			  struct err *e)
{
	static const char *const names[] = {
		[SELECTOR_IN] = "In",	      [SELECTOR_NOT_IN] = "NotIn",
		[SELECTOR_EXISTS] = "Exists", [SELECTOR_ABSENT] = "DoesNotExist",
		[SELECTOR_ABOVE] = "Gt",      [SELECTOR_BELOW] = "Lt"};
	const char *how = json_get_text(x, "operator"), *key = json_get_text(x, "key");
	const struct json *values = json_get(x, "values");
	struct selector_one *one;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]) && !text_eq(names[i], how); i++)
		;
	if (i == sizeof(names) / sizeof(names[0]) || !key)
		return err_set(e, ERR_INVALID, "\"%s\" is not a valid label selector operator",
			       how ? how : "");
	one = grow(made, a);
	one->key = arena_dup_text(a, key);
	one->how = (enum selector_how)i;
	one->values = arena_new_array(a, char *, json_len(values) + 1);
	for (i = 0; i < json_len(values); i++) {
		const char *text = json_text(json_at(values, i));

		one->values[one->values_n++] = arena_dup_text(a, text ? text : "");
	}
	return 0;
}

void selector_of_map(const struct json *map, struct arena *a, struct selector *ret)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	*ret = (struct selector){0};
	while (ret->n < SELECTOR_MAX && json_next(map, &it, &key, &value)) {
		struct selector_one *one = grow(ret, a);

		one->key = arena_dup_text(a, key);
		one->how = SELECTOR_IN;
		one_value(one, a, json_str(value));
	}
}

int selector_of_json(const struct json *selector, struct arena *a, struct selector *ret,
		     struct err *e)
{
	const struct json *list = json_get(selector, "matchExpressions");
	const struct json *map = json_get(selector, "matchLabels");
	struct selector made;
	int r = 0;

	if (json_len(map) + json_len(list) > SELECTOR_MAX)
		return too_many(e);
	selector_of_map(map, a, &made);
	for (size_t i = 0; i < json_len(list) && r == 0; i++)
		r = add_expression(json_at(list, i), a, &made, e);
	if (r == 0)
		*ret = made;
	return r;
}

static bool listed(const struct selector_one *one, const char *value)
{
	for (size_t i = 0; i < one->values_n; i++)
		if (text_eq(one->values[i], value))
			return true;
	return false;
}

static bool beyond(const struct selector_one *one, const char *value)
{
	int64_t is = 0, limit = 0;

	if (one->values_n != 1 || parse_i64(str_of(value), "value", &is, NULL) < 0 ||
	    parse_i64(str_of(one->values[0]), "value", &limit, NULL) < 0)
		return false;
	return one->how == SELECTOR_ABOVE ? is > limit : is < limit;
}

bool selector_holds(const struct selector_one *one, const char *value)
{
	switch (one->how) {
	case SELECTOR_IN:
		return value && listed(one, value);
	case SELECTOR_NOT_IN:
		return !value || !listed(one, value);
	case SELECTOR_EXISTS:
		return value;
	case SELECTOR_ABSENT:
		return !value;
	case SELECTOR_ABOVE:
	case SELECTOR_BELOW:
		return value && beyond(one, value);
	}
	return false;
}

bool selector_matches(const struct selector *s, const struct json *labels)
{
	for (size_t i = 0; i < s->n; i++)
		if (!selector_holds(&s->list[i], json_get_text(labels, s->list[i].key)))
			return false;
	return true;
}

/* The value at "a.b.c" as text, in `b` when it is not one. */
static const char *at_path(const struct json *object, const char *path, struct strbuf *b)
{
	struct str rest = str_of(path), name;
	const struct json *j = object;

	while (j && str_cut(&rest, '.', &name)) {
		strbuf_clear(b);
		strbuf_add(b, name.p, name.n);
		j = json_get(j, strbuf_text(b));
	}
	if (json_kind(j) == JSON_STRING)
		return json_text(j);
	strbuf_clear(b);
	strbuf_add_text(b, ""); /* ends it */
	if (json_kind(j) == JSON_BOOL || json_kind(j) == JSON_NUMBER)
		json_write(j, b);
	return strbuf_text(b);
}

bool selector_matches_fields(const struct selector *s, const struct json *object)
{
	for (size_t i = 0; i < s->n; i++) {
		auto_strbuf struct strbuf b = {0};

		if (!selector_holds(&s->list[i], at_path(object, s->list[i].key, &b)))
			return false;
	}
	return true;
}

static void write_one(const struct selector_one *one, struct strbuf *out)
{
	bool in = one->how == SELECTOR_IN;

	if (one->how == SELECTOR_ABSENT)
		strbuf_add_char(out, '!');
	strbuf_add_text(out, one->key);
	if (one->how == SELECTOR_ABOVE || one->how == SELECTOR_BELOW)
		strbuf_printf(out, "%c%s", one->how == SELECTOR_ABOVE ? '>' : '<',
			      one->values_n ? one->values[0] : "");
	if (!in && one->how != SELECTOR_NOT_IN)
		return;
	if (one->values_n == 1) {
		strbuf_printf(out, "%s%s", in ? "=" : "!=", one->values[0]);
		return;
	}
	strbuf_add_text(out, in ? " in (" : " notin (");
	for (size_t i = 0; i < one->values_n; i++)
		strbuf_printf(out, "%s%s", i ? "," : "", one->values[i]);
	strbuf_add_char(out, ')');
}

void selector_write(const struct selector *s, struct strbuf *out)
{
	for (size_t i = 0; i < s->n; i++) {
		strbuf_add_text(out, i ? "," : "");
		write_one(&s->list[i], out);
	}
}
