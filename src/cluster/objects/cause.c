/*
 * Causes: see cause.h. The sentences are those that kubectl prints and that tests of clients look
 * for, so they are built in one place.
 */
#include "cluster/objects/cause.h"

#include <assert.h>

#include "ground/base/str.h"

static const struct {
	const char *reason;
	const char *words;
	bool shows_value;
} kinds[] = {
	[CAUSE_REQUIRED] = {"FieldValueRequired", "Required value", false},
	[CAUSE_INVALID] = {"FieldValueInvalid", "Invalid value", true},
	[CAUSE_NOT_SUPPORTED] = {"FieldValueNotSupported", "Unsupported value", true},
	[CAUSE_DUPLICATE] = {"FieldValueDuplicate", "Duplicate value", true},
	[CAUSE_FORBIDDEN] = {"FieldValueForbidden", "Forbidden", false},
	[CAUSE_TOO_LONG] = {"FieldValueTooLong", "Too long", false},
	[CAUSE_TOO_MANY] = {"FieldValueTooMany", "Too many", true},
	[CAUSE_NOT_FOUND] = {"FieldValueNotFound", "Not found", true},
	[CAUSE_TYPE_INVALID] = {"FieldValueTypeInvalid", "Invalid value", true},
};
static_assert(sizeof(kinds) / sizeof(kinds[0]) == CAUSE_KINDS);

const char *cause_reason(enum cause_kind kind)
{
	assert(kind < CAUSE_KINDS);
	return kinds[kind].reason;
}

void cause_add(struct causes *c, enum cause_kind kind, const char *field, const struct json *value,
	       const char *detail, ...)
{
	auto_strbuf struct strbuf b = {0};
	struct cause *cause;
	size_t before;
	va_list ap;

	assert(c && c->arena && field && kind < CAUSE_KINDS);
	if (c->n == CAUSES_MAX)
		return;
	strbuf_add_text(&b, kinds[kind].words);
	if (kinds[kind].shows_value) {
		strbuf_add_text(&b, ": ");
		json_write(value, &b);
	}
	strbuf_add_text(&b, ": ");
	before = b.n;
	va_start(ap, detail);
	strbuf_vprintf(&b, detail, ap);
	va_end(ap);
	if (b.n == before)
		b.n -= 2; /* no detail, no colon */
	if (!c->list)
		c->list = arena_new_array(c->arena, struct cause, CAUSES_MAX);
	cause = &c->list[c->n++];
	cause->kind = kind;
	cause->field = arena_dup_text(c->arena, field);
	cause->message = arena_dup(c->arena, strbuf_str(&b));
}

const char *causes_text(const struct causes *c, const struct kind *k, const char *name)
{
	auto_strbuf struct strbuf b = {0};
	bool many = c->n > 1;

	assert(c->n > 0);
	strbuf_printf(&b, "%s%s%s \"%s\" is invalid: %s", k->name, k->group[0] ? "." : "", k->group,
		      name ? name : "", many ? "[" : "");
	for (size_t i = 0; i < c->n; i++)
		strbuf_printf(&b, "%s%s: %s", i ? ", " : "", c->list[i].field, c->list[i].message);
	if (many)
		strbuf_add_char(&b, ']');
	return arena_dup(c->arena, strbuf_str(&b));
}

int causes_say(const struct causes *c, const struct kind *k, const char *name, struct err *e)
{
	return err_set(e, ERR_INVALID, "%s", causes_text(c, k, name));
}

struct json *causes_json(const struct causes *c)
{
	struct json *list = json_new_array();

	for (size_t i = 0; i < c->n; i++) {
		struct json *one = json_new_object();

		json_set_text(one, "reason", cause_reason(c->list[i].kind));
		json_set_text(one, "message", c->list[i].message);
		json_set_text(one, "field", c->list[i].field);
		json_append(list, one);
	}
	return list;
}
