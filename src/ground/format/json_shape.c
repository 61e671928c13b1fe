/*
 * Shapes: whole structs from JSON and back, driven by const tables (json.h). The path of keys is
 * kept on the C stack as a chain of links and printed only when something is wrong.
 */
#include <assert.h>
#include <inttypes.h>

#include "ground/base/mem.h"
#include "ground/format/json.h"

/* Where we are: "config.json", then keys and indices, innermost last. */
struct place {
	const struct place *up;
	const char *key; /* NULL: an index */
	size_t index;
};

struct decoding {
	struct arena *arena;
	struct err *e;
};

static void add_place(const struct place *p, struct strbuf *out)
{
	if (!p)
		return;
	add_place(p->up, out);
	if (!p->key)
		strbuf_printf(out, "[%zu]", p->index);
	else if (!p->up)
		strbuf_printf(out, "%s: ", p->key);
	else
		strbuf_printf(out, "%s%s", p->up->up ? "." : "", p->key);
}

static const char *type_name(const struct json *j)
{
	static const char *const names[] = {"null",	"true or false", "a number",
					    "a string", "an array",	 "an object"};

	return names[json_kind(j)];
}

static int bad(struct decoding *d, const struct place *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int bad(struct decoding *d, const struct place *at, const char *fmt, ...)
{
	auto_strbuf struct strbuf text = {0};
	va_list ap;

	add_place(at, &text);
	if (at->up)
		strbuf_add_text(&text, ": ");
	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	return err_set(d->e, ERR_INVALID, "%s", strbuf_text(&text));
}

static int expect(struct decoding *d, const struct place *at, const struct json *j,
		  enum json_kind type, const char *name)
{
	if (json_kind(j) == type)
		return 0;
	return bad(d, at, "expected %s, found %s", name, type_name(j));
}

static int decode_text(struct decoding *d, const struct place *at, const struct json *j, char **ret)
{
	struct str text;
	int r = expect(d, at, j, JSON_STRING, "a string");

	if (r < 0)
		return r;
	text = json_str(j);
	if (memchr(text.p, '\0', text.n))
		return bad(d, at, "the string contains a NUL character");
	*ret = arena_dup(d->arena, text);
	return 0;
}

static int decode_texts(struct decoding *d, const struct place *at, const struct json *j,
			char ***ret)
{
	size_t n = json_len(j);
	char **list;
	int r = expect(d, at, j, JSON_ARRAY, "an array of strings");

	if (r < 0)
		return r;
	list = arena_new_array(d->arena, char *, n + 1);
	for (size_t i = 0; i < n; i++) {
		struct place here = {at, NULL, i};

		r = decode_text(d, &here, json_at(j, i), &list[i]);
		if (r < 0)
			return r;
	}
	*ret = list;
	return 0;
}

static int decode_text_map(struct decoding *d, const struct place *at, const struct json *j,
			   struct json_pair **ret)
{
	struct json_iter it = {0};
	struct json_pair *list;
	const char *key;
	struct json *value;
	size_t n = 0;
	int r = expect(d, at, j, JSON_OBJECT, "an object of strings");

	if (r < 0)
		return r;
	list = arena_new_array(d->arena, struct json_pair, json_len(j) + 1);
	while (json_next(j, &it, &key, &value)) {
		struct place here = {at, key, 0};

		list[n].key = arena_dup_text(d->arena, key);
		if (json_kind(value) == JSON_NULL)
			list[n].value = arena_dup_text(d->arena, "");
		else if ((r = decode_text(d, &here, value, &list[n].value)) < 0)
			return r;
		n++;
	}
	*ret = list;
	return 0;
}

static int decode_integer(struct decoding *d, const struct place *at, const struct json *j,
			  int64_t least, int64_t most, int64_t *ret)
{
	int64_t n;
	int r = expect(d, at, j, JSON_NUMBER, "a number");

	if (r < 0)
		return r;
	n = json_i64(j, 0);
	if (!json_is_whole(j))
		return bad(d, at, "expected a whole number");
	if (n < least || n > most || (n == INT64_MAX && json_u64(j, 0) > (uint64_t)INT64_MAX))
		return bad(d, at, "the number is out of range %" PRId64 " to %" PRId64, least,
			   most);
	*ret = n;
	return 0;
}

static int decode_unsigned(struct decoding *d, const struct place *at, const struct json *j,
			   uint64_t *ret)
{
	int r = expect(d, at, j, JSON_NUMBER, "a number");

	if (r < 0)
		return r;
	if (!json_is_whole(j) || json_i64(j, 0) < 0)
		return bad(d, at, "expected a whole number that is not negative");
	*ret = json_u64(j, 0);
	return 0;
}

static int decode_object(struct decoding *d, const struct place *at, const struct json *j,
			 const struct json_shape *shape, void *out);

static int decode_list(struct decoding *d, const struct place *at, const struct json *j,
		       const struct json_field *f, void **ret, size_t *ret_n)
{
	size_t n = json_len(j);
	char *items;
	int r = expect(d, at, j, JSON_ARRAY, "an array");

	if (r < 0)
		return r;
	assert(f->shape);
	items = arena_new_bytes(d->arena, f->shape->size * (n ? n : 1));
	for (size_t i = 0; i < n; i++) {
		struct place here = {at, NULL, i};

		r = decode_object(d, &here, json_at(j, i), f->shape, items + i * f->shape->size);
		if (r < 0)
			return r;
	}
	*ret = items;
	*ret_n = n;
	return 0;
}

/* Numbers of every width: the value is range-checked in 64 bits, then stored. */
static int decode_number(struct decoding *d, const struct place *at, const struct json *j,
			 enum json_field_type type, void *out)
{
	int64_t n = 0;
	uint64_t u = 0;
	int r;

	if (type == JSON_U64 || type == JSON_OPT_U64)
		r = decode_unsigned(d, at, j, &u);
	else if (type == JSON_I32)
		r = decode_integer(d, at, j, INT32_MIN, INT32_MAX, &n);
	else if (type == JSON_U32 || type == JSON_OPT_U32)
		r = decode_integer(d, at, j, 0, UINT32_MAX, &n);
	else
		r = decode_integer(d, at, j, INT64_MIN, INT64_MAX, &n);
	if (r < 0)
		return r;
	if (type == JSON_I32)
		*(int32_t *)out = (int32_t)n;
	else if (type == JSON_U32)
		*(uint32_t *)out = (uint32_t)n;
	else if (type == JSON_I64)
		*(int64_t *)out = n;
	else if (type == JSON_U64)
		*(uint64_t *)out = u;
	else if (type == JSON_OPT_U32)
		*(*(uint32_t **)out = arena_new(d->arena, uint32_t)) = (uint32_t)n;
	else if (type == JSON_OPT_U64)
		*(*(uint64_t **)out = arena_new(d->arena, uint64_t)) = u;
	else
		*(*(int64_t **)out = arena_new(d->arena, int64_t)) = n;
	return 0;
}

static int decode_field(struct decoding *d, const struct place *at, struct json *j,
			const struct json_field *f, char *base)
{
	void *out = base + f->offset;
	int r;

	switch (f->type) {
	case JSON_FLAG:
	case JSON_OPT_FLAG:
		r = expect(d, at, j, JSON_BOOL, "true or false");
		if (r == 0 && f->type == JSON_FLAG)
			*(bool *)out = json_flag(j, false);
		else if (r == 0)
			*(*(bool **)out = arena_new(d->arena, bool)) = json_flag(j, false);
		return r;
	case JSON_I32:
	case JSON_U32:
	case JSON_I64:
	case JSON_U64:
	case JSON_OPT_I64:
	case JSON_OPT_U64:
	case JSON_OPT_U32:
		return decode_number(d, at, j, f->type, out);
	case JSON_DOUBLE:
		r = expect(d, at, j, JSON_NUMBER, "a number");
		if (r == 0)
			*(double *)out = json_double(j, 0);
		return r;
	case JSON_TEXT:
		return decode_text(d, at, j, out);
	case JSON_TEXTS:
		return decode_texts(d, at, j, out);
	case JSON_TEXT_MAP:
		return decode_text_map(d, at, j, out);
	case JSON_STRUCT:
		return decode_object(d, at, j, f->shape, out);
	case JSON_OPT_STRUCT:
		*(void **)out = arena_new_bytes(d->arena, f->shape->size);
		return decode_object(d, at, j, f->shape, *(void **)out);
	case JSON_LIST:
		return decode_list(d, at, j, f, out, (size_t *)(void *)(base + f->count));
	case JSON_ANY:
		*(struct json **)out = j;
		return 0;
	}
	__builtin_unreachable();
}

static int decode_object(struct decoding *d, const struct place *at, const struct json *j,
			 const struct json_shape *shape, void *out)
{
	int r = expect(d, at, j, JSON_OBJECT, "an object");

	if (r < 0)
		return r;
	for (size_t i = 0; i < shape->fields_n; i++) {
		const struct json_field *f = &shape->fields[i];
		struct place here = {at, f->key, 0};
		struct json *value = json_get(j, f->key);

		if (!value && f->required)
			return bad(d, &here, "it is missing and must be given");
		if (!value)
			continue;
		r = decode_field(d, &here, value, f, out);
		if (r < 0)
			return r;
	}
	return 0;
}

int json_decode(const struct json *j, const struct json_shape *shape, const char *what,
		struct arena *a, void *out, struct err *e)
{
	struct decoding d = {a, e};
	struct place top = {NULL, what, 0};

	memset(out, 0, shape->size);
	if (json_kind(j) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "%s: expected an object, found %s", what,
			       type_name(j));
	return decode_object(&d, &top, j, shape, out);
}

static struct json *encode_list(const struct json_field *f, const char *items, size_t n)
{
	struct json *array = json_new_array();

	for (size_t i = 0; i < n; i++)
		json_append(array, json_encode(f->shape, items + i * f->shape->size));
	return array;
}

static struct json *encode_text_map(const struct json_pair *pairs)
{
	struct json *object = json_new_object();

	for (; pairs && pairs->key; pairs++)
		json_set_text(object, pairs->key, pairs->value);
	return object;
}

static struct json *encode_number(enum json_field_type type, const void *in)
{
	if (type == JSON_I32)
		return json_new_i64(*(const int32_t *)in);
	if (type == JSON_U32)
		return json_new_i64(*(const uint32_t *)in);
	if (type == JSON_U64)
		return json_new_u64(*(const uint64_t *)in);
	return json_new_i64(*(const int64_t *)in);
}

/* Whether the thing that a field points at has nothing in it. */
static bool is_empty(const struct json_field *f, const char *base, const void *p)
{
	if (!p)
		return true;
	if (f->type == JSON_TEXT)
		return !*(const char *)p;
	if (f->type == JSON_TEXTS)
		return !*(char *const *)p;
	if (f->type == JSON_TEXT_MAP)
		return !((const struct json_pair *)p)->key;
	if (f->type == JSON_LIST)
		return *(const size_t *)(const void *)(base + f->count) == 0;
	return false;
}

/* The value behind a pointer field; NULL for null. */
static struct json *encode_pointer(const struct json_field *f, const char *base, const void *p)
{
	if (!p && f->empty_list)
		return f->type == JSON_TEXT_MAP ? json_new_object() : json_new_array();
	if (!p)
		return NULL;
	if (f->type == JSON_OPT_FLAG)
		return json_new_bool(*(const bool *)p);
	if (f->type == JSON_OPT_I64)
		return encode_number(JSON_I64, p);
	if (f->type == JSON_OPT_U64)
		return encode_number(JSON_U64, p);
	if (f->type == JSON_OPT_U32)
		return encode_number(JSON_U32, p);
	if (f->type == JSON_TEXT)
		return json_new_text(p);
	if (f->type == JSON_TEXTS)
		return json_new_texts((char *const *)(uintptr_t)p);
	if (f->type == JSON_TEXT_MAP)
		return encode_text_map(p);
	if (f->type == JSON_OPT_STRUCT)
		return json_encode(f->shape, p);
	if (f->type == JSON_LIST)
		return encode_list(f, p, *(const size_t *)(const void *)(base + f->count));
	assert(f->type == JSON_ANY);
	return json_ref((struct json *)(uintptr_t)p);
}

/* The value of one field, or NULL for null. `*ret_empty` says whether omit_empty leaves it out. */
static struct json *encode_field(const struct json_field *f, const char *base, bool *ret_empty)
{
	const void *in = base + f->offset;
	const void *p = NULL;
	struct json *j;

	switch (f->type) {
	case JSON_FLAG:
		*ret_empty = !*(const bool *)in;
		return json_new_bool(*(const bool *)in);
	case JSON_I32:
	case JSON_U32:
	case JSON_I64:
	case JSON_U64:
		j = encode_number(f->type, in);
		*ret_empty = json_u64(j, 1) == 0 && json_i64(j, 1) == 0;
		return j;
	case JSON_DOUBLE:
		*ret_empty = *(const double *)in == 0;
		return json_new_double(*(const double *)in);
	case JSON_STRUCT:
		j = json_encode(f->shape, in);
		*ret_empty = json_len(j) == 0;
		return j;
	case JSON_OPT_FLAG:
	case JSON_OPT_I64:
	case JSON_OPT_U64:
	case JSON_OPT_U32:
	case JSON_TEXT:
	case JSON_TEXTS:
	case JSON_TEXT_MAP:
	case JSON_OPT_STRUCT:
	case JSON_LIST:
	case JSON_ANY:
		break;
	}
	p = *(const void *const *)in;
	*ret_empty = is_empty(f, base, p);
	return encode_pointer(f, base, p);
}

struct json *json_encode(const struct json_shape *shape, const void *in)
{
	struct json *object = json_new_object();

	for (size_t i = 0; i < shape->fields_n; i++) {
		const struct json_field *f = &shape->fields[i];
		bool empty = false;
		struct json *value = encode_field(f, in, &empty);

		if (empty && f->omit_empty)
			value = json_free(value);
		else
			json_set(object, f->key, value);
	}
	return object;
}
