/*
 * Decoding of JSON by the kinds' tables: see decode.h.
 *
 * Theory of operation: the text becomes a tree, then one walk over tree and table together checks
 * each value's type, brings scalars into their canonical form (quantities), drops nulls and takes
 * out what the table does not know. A wrong type ends the walk; unknown fields are collected. The
 * path of the value at hand is kept in one buffer that grows and shrinks with the walk.
 */
#include "cluster/objects/decode.h"

#include <assert.h>
#include <string.h>

#include "cluster/objects/decode_priv.h"
#include "ground/base/mem.h"
#include "ground/base/rfc3339.h"
#include "ground/base/utf8.h"
#include "ground/format/base64.h"
#include "ground/format/quantity.h"

#define NS_PER_S INT64_C(1000000000)

struct walk {
	const struct kind *kind;
	struct strict *strict;
	struct strbuf path; /* "spec.containers[0].name" */
	const char *owner;  /* the innermost type's name */
	unsigned int depth;
	struct err *e;
};

void strict_add(struct strict *s, const char *what, const char *path)
{
	if (!s || s->n == DECODE_STRICT_MAX)
		return;
	assert(s->arena);
	s->list[s->n++] = arena_printf(s->arena, "%s \"%s\"", what, path);
}

static const char *const kind_words[] = {
	[JSON_NULL] = "null",	  [JSON_BOOL] = "bool",	  [JSON_NUMBER] = "number",
	[JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object",
};

/* What Go calls the type, which is what its message shows. */
static const char *const go_words[] = {
	[FIELD_STRING] = "string",
	[FIELD_BOOL] = "bool",
	[FIELD_INT32] = "int32",
	[FIELD_INT64] = "int64",
	[FIELD_DOUBLE] = "float64",
	[FIELD_BYTES] = "[]uint8",
	[FIELD_QUANTITY] = "resource.Quantity",
	[FIELD_INT_OR_TEXT] = "intstr.IntOrString",
	[FIELD_TIME] = "v1.Time",
	[FIELD_MICRO_TIME] = "v1.MicroTime",
	[FIELD_DURATION] = "v1.Duration",
	[FIELD_RAW] = "runtime.RawExtension",
	[FIELD_TEXTS] = "[]string",
	[FIELD_STRUCT] = "",
};
static_assert(sizeof(go_words) / sizeof(go_words[0]) == FIELD_TYPES);

static int cannot(const struct walk *w, const char *why)
{
	return err_set(w->e, ERR_INVALID, "%s in version \"%s\" cannot be handled as a %s: %s",
		       w->kind->name, w->kind->version, w->kind->name, why);
}

static int wrong_type(const struct walk *w, const struct field *f, const char *prefix,
		      const struct json *value)
{
	auto_strbuf struct strbuf b = {0};
	const char *at = strbuf_text((struct strbuf *)(uintptr_t)&w->path);
	bool inside = false;

	strbuf_printf(&b, "json: cannot unmarshal %s into Go struct field %s.",
		      kind_words[json_kind(value)], w->owner);
	for (; *at; at++) { /* Go leaves the indices out */
		inside = *at == '[' || (inside && *at != ']');
		if (!inside && *at != ']')
			strbuf_add_char(&b, *at);
	}
	strbuf_printf(&b, " of type %s%s", prefix, go_words[f->type]);
	if (f->of)
		strbuf_printf(&b, "v1.%s", f->of->name);
	return cannot(w, strbuf_text(&b));
}

static int canonical_quantity(const struct walk *w, const struct field *f, struct json *value,
			      struct json **ret)
{
	auto_strbuf struct strbuf b = {0};
	char text[QUANTITY_CHARS];
	struct quantity q;
	struct err e = {0};

	if (json_kind(value) == JSON_NUMBER)
		json_write(value, &b);
	else if (json_kind(value) == JSON_STRING)
		strbuf_add(&b, json_str(value).p, json_str(value).n);
	else
		return wrong_type(w, f, "", value);
	if (quantity_parse(strbuf_str(&b), &q, &e) < 0)
		return cannot(w, e.text);
	*ret = json_new_text(quantity_text(&q, text));
	return 0;
}

/* Moments are kept in UTC, with no fraction or with six digits of it. */
static int canonical_time(const struct walk *w, const struct field *f, const struct json *value,
			  struct json **ret)
{
	char text[RFC3339_CHARS + 1];
	struct err e = {0};
	int64_t ns = 0, part;

	if (json_kind(value) != JSON_STRING)
		return wrong_type(w, f, "", value);
	if (rfc3339_parse(json_text(value), &ns, &e) < 0) {
		auto_strbuf struct strbuf b = {0};

		strbuf_printf(&b, "parsing time \"%.64s\": %s", json_text(value), e.text);
		return cannot(w, strbuf_text(&b));
	}
	part = ns % NS_PER_S < 0 ? ns % NS_PER_S + NS_PER_S : ns % NS_PER_S;
	if (f->type == FIELD_MICRO_TIME)
		rfc3339_micros(ns, text);
	else
		rfc3339_text(ns - part, text);
	if (ns != part && !text_eq(text, json_text(value))) /* 0 is written as no time */
		*ret = json_new_text(text);
	return 0;
}

static int check_bytes(const struct walk *w, const struct field *f, const struct json *value)
{
	auto_strbuf struct strbuf b = {0};

	if (json_kind(value) != JSON_STRING)
		return wrong_type(w, f, "", value);
	if (base64_decode(json_str(value), &b, NULL) < 0)
		return cannot(w, "illegal base64 data at input byte 0");
	return 0;
}

static bool whole_fits(const struct json *value, enum field_type type)
{
	int64_t n = json_i64(value, 0);

	if (json_kind(value) != JSON_NUMBER || !json_is_whole(value))
		return false;
	return type == FIELD_INT64 || (n >= INT32_MIN && n <= INT32_MAX);
}

/* Plain data may be anything; what means something ends at its NUL for those who read it. */
static int check_text(const struct walk *w, const struct field *f, const struct json *value)
{
	struct str text = json_str(value);

	if (json_kind(value) != JSON_STRING)
		return wrong_type(w, f, "", value);
	if (f->shape != FIELD_MAP && text.n && memchr(text.p, '\0', text.n))
		return cannot(w, "a text with a NUL byte in it");
	return 0;
}

/* One scalar. *ret is set when another value stands for it. */
static int check_scalar(const struct walk *w, const struct field *f, struct json *value,
			struct json **ret)
{
	bool fine = true;

	switch (f->type) {
	case FIELD_STRING:
	case FIELD_DURATION:
		return check_text(w, f, value);
	case FIELD_BOOL:
		fine = json_kind(value) == JSON_BOOL;
		break;
	case FIELD_INT32:
	case FIELD_INT64:
		fine = whole_fits(value, f->type);
		break;
	case FIELD_DOUBLE:
		fine = json_kind(value) == JSON_NUMBER;
		break;
	case FIELD_INT_OR_TEXT:
		fine = json_kind(value) == JSON_STRING || whole_fits(value, FIELD_INT32);
		break;
	case FIELD_BYTES:
		return check_bytes(w, f, value);
	case FIELD_QUANTITY:
		return canonical_quantity(w, f, value, ret);
	case FIELD_TIME:
	case FIELD_MICRO_TIME:
		return canonical_time(w, f, value, ret);
	case FIELD_TEXTS:
		fine = json_kind(value) == JSON_ARRAY;
		for (size_t i = 0; fine && i < json_len(value); i++)
			fine = json_kind(json_at(value, i)) == JSON_STRING;
		break;
	case FIELD_RAW:
	case FIELD_STRUCT:
	case FIELD_TYPES:
		break;
	}
	return fine ? 0 : wrong_type(w, f, "", value);
}

static int walk_struct(struct walk *w, const struct type *t, struct json *object);

static int walk_value(struct walk *w, const struct field *f, struct json *value, struct json **ret)
{
	if (f->type != FIELD_STRUCT)
		return check_scalar(w, f, value, ret);
	if (json_kind(value) != JSON_OBJECT)
		return wrong_type(w, f, "", value);
	return walk_struct(w, f->of, value);
}

static int walk_list(struct walk *w, const struct field *f, struct json *value, struct json **ret)
{
	struct json *list = NULL; /* made when an element must be replaced */
	int r = 0;

	if (json_kind(value) != JSON_ARRAY)
		return wrong_type(w, f, "[]", value);
	if (f->type == FIELD_QUANTITY)
		list = json_new_array();
	for (size_t i = 0; i < json_len(value) && r == 0; i++) {
		struct json *other = NULL;
		size_t before = w->path.n;

		strbuf_printf(&w->path, "[%zu]", i);
		r = json_kind(json_at(value, i)) == JSON_NULL
			    ? wrong_type(w, f, "[]", json_at(value, i))
			    : walk_value(w, f, json_at(value, i), &other);
		w->path.n = before;
		if (other)
			json_append(list, other);
	}
	*ret = list;
	return r;
}

static int walk_map(struct walk *w, const struct field *f, struct json *value)
{
	struct json_iter it = {0};
	struct json *one, *changed;
	const char *key;
	int r = 0;

	if (json_kind(value) != JSON_OBJECT)
		return wrong_type(w, f, "map[string]", value);
	changed = json_new_object();
	while (r == 0 && json_next(value, &it, &key, &one)) {
		struct json *other = NULL;
		size_t before = w->path.n;

		if (f->type == FIELD_STRUCT) /* Go names no keys of plain values */
			strbuf_printf(&w->path, ".%s", key);
		if (json_kind(one) == JSON_NULL)
			other = f->type == FIELD_STRING ? json_new_text("") : NULL;
		else
			r = walk_value(w, f, one, &other);
		w->path.n = before;
		if (other)
			json_set(changed, key, other);
	}
	it = (struct json_iter){0};
	while (json_next(changed, &it, &key, &one))
		json_set(value, key, json_ref(one));
	json_free(changed);
	return r;
}

static int walk_field(struct walk *w, const struct field *f, struct json *value, struct json **ret)
{
	switch (f->shape) {
	case FIELD_ONE:
		return walk_value(w, f, value, ret);
	case FIELD_LIST:
		return walk_list(w, f, value, ret);
	case FIELD_MAP:
		return walk_map(w, f, value);
	}
	assert(false);
	return -ERR_INTERNAL;
}

/* What a walk over an object wants changed once the iteration is over. */
struct changes {
	const char **drop;
	size_t drop_n, drop_room;
	struct json *put; /* NULL: nothing */
};

static void changes_apply(struct changes *c, struct json *object)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(c->put, &it, &key, &value))
		json_set(object, key, json_ref(value));
	for (size_t i = 0; i < c->drop_n; i++)
		json_remove(object, c->drop[i]);
	json_free(c->put);
	free(c->drop);
}

static int walk_key(struct walk *w, const struct type *t, const char *key, struct json *value,
		    struct changes *c)
{
	const struct field *f = type_field(t, key);
	struct json *other = NULL;
	size_t before = w->path.n;
	int r = 0;

	if (before) /* not by printf: this is the hottest line of decoding */
		strbuf_add_char(&w->path, '.');
	strbuf_add_text(&w->path, key);
	w->owner = t->name;
	if (!f)
		strict_add(w->strict, "unknown field", strbuf_text(&w->path));
	else if (json_kind(value) != JSON_NULL)
		r = walk_field(w, f, value, &other);
	if (other && !c->put)
		c->put = json_new_object();
	if (other)
		json_set(c->put, key, other);
	if (!f || json_kind(value) == JSON_NULL) {
		mem_grow(c->drop, c->drop_n + 1, c->drop_room);
		c->drop[c->drop_n++] = key;
	}
	w->path.n = before;
	return r;
}

static int walk_struct(struct walk *w, const struct type *t, struct json *object)
{
	struct changes c = {0};
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	int r = 0;

	if (++w->depth > JSON_DEPTH_MAX)
		r = cannot(w, "it is nested too deeply");
	while (r == 0 && json_next(object, &it, &key, &value))
		r = walk_key(w, t, key, value, &c);
	changes_apply(&c, object);
	w->depth--;
	return r;
}

int decode_tree(struct json *tree, const struct kind *k, struct strict *strict, struct err *e)
{
	struct walk w = {.kind = k, .strict = strict, .owner = k->type->name, .e = e};
	int r;

	assert(k);
	if (json_kind(tree) != JSON_OBJECT)
		return cannot(&w, "json: cannot unmarshal into Go value: an object was expected");
	if (k->flags & KIND_CUSTOM)
		return 0;
	r = walk_struct(&w, k->type, tree);
	strbuf_done(&w.path);
	return r;
}

int decode_strict(const struct strict *strict, const struct kind *k, struct err *e)
{
	auto_strbuf struct strbuf b = {0};

	if (strict->n == 0)
		return 0;
	for (size_t i = 0; i < strict->n; i++)
		strbuf_printf(&b, "%s%s", i ? ", " : "", strict->list[i]);
	return err_set(e, ERR_INVALID,
		       "%s in version \"%s\" cannot be handled as a %s: strict decoding error: %s",
		       k->name, k->version, k->name, strbuf_text(&b));
}

/* The body's own apiVersion and kind against the kind that the request is about. */
static int settle_kind(const char *api, const char *name, const struct kind **k, struct err *e)
{
	char own[128];

	if (!*k) {
		*k = kind_of_api(api, name);
		if (!*k && name && api && name[0] && api[0])
			return err_set(e, ERR_INVALID,
				       "no kind \"%s\" is registered for version \"%s\"", name,
				       api);
		if (!*k)
			return err_set(e, ERR_INVALID,
				       "Object 'Kind' is missing: apiVersion and "
				       "kind say what an object is");
		return 0;
	}
	kind_api(*k, own, sizeof(own));
	if (name && name[0] && !text_eq(name, (*k)->name))
		return err_set(e, ERR_INVALID,
			       "the object provided is unrecognized (must be of type %s): its kind "
			       "is \"%s\"",
			       (*k)->name, name);
	/* Option bodies name any group version. */
	if (api && api[0] && !text_eq(api, own) && kind_of_api(api, (*k)->name) != *k)
		return err_set(e, ERR_INVALID,
			       "the API version in the data (%s) does not match the expected API "
			       "version (%s)",
			       api, own);
	return 0;
}

static void name_tree(struct json *tree, const struct kind *k)
{
	char api[128];

	if (!json_get(tree, "apiVersion"))
		json_set_text(tree, "apiVersion", kind_api(k, api, sizeof(api)));
	if (!json_get(tree, "kind"))
		json_set_text(tree, "kind", k->name);
	if (k->plural[0] && !json_get(tree, "metadata"))
		json_set(tree, "metadata", json_new_object());
}

static int decode_json(struct str body, const struct kind *k, struct strict *strict,
		       const struct kind **ret_kind, struct json **ret, struct err *e)
{
	auto_json struct json *tree = NULL;
	int r;

	if (!utf8_is(body))
		return err_set(e, ERR_INVALID, "the body is not UTF-8");
	r = json_parse(body, "the body", &tree, e);
	if (r == 0)
		r = settle_kind(json_get_text(tree, "apiVersion"), json_get_text(tree, "kind"), &k,
				e);
	if (r == 0)
		r = decode_tree(tree, k, strict, e);
	if (r < 0)
		return r;
	if (strict)
		duplicate_find(body, tree, strict);
	name_tree(tree, k);
	*ret_kind = k;
	*ret = take(tree);
	return 0;
}

static int decode_protobuf(struct str body, const struct kind *k, const struct kind **ret_kind,
			   struct json **ret, struct err *e)
{
	auto_json struct json *tree = json_new_object();
	auto_arena struct arena a = {0};
	struct envelope env;
	char api[128];
	int r = proto_open(body, &env, e);

	if (r == 0)
		r = settle_kind(arena_dup(&a, env.api_version), arena_dup(&a, env.kind), &k, e);
	if (r < 0)
		return r;
	json_set(tree, "apiVersion",
		 env.api_version.n ? json_new_str(env.api_version)
				   : json_new_text(kind_api(k, api, sizeof(api))));
	json_set_text(tree, "kind", k->name);
	r = proto_message(env.raw, k->type, tree, 0, e);
	if (r == 0)
		r = decode_tree(tree, k, NULL, e);
	if (r < 0)
		return r;
	name_tree(tree, k);
	*ret_kind = k;
	*ret = take(tree);
	return 0;
}

int decode_body(struct str body, const struct kind *k, struct strict *strict,
		const struct kind **ret_kind, struct json **ret, struct err *e)
{
	const struct kind *found = NULL;
	int r;

	assert(ret);
	if (body.n > DECODE_MAX)
		return err_set(e, ERR_EXHAUSTED, "the body has %zu bytes, at most %zu are taken",
			       body.n, DECODE_MAX);
	r = decode_is_protobuf(body) ? decode_protobuf(body, k, &found, ret, e)
				     : decode_json(body, k, strict, &found, ret, e);
	if (r == 0 && ret_kind)
		*ret_kind = found;
	return r;
}
