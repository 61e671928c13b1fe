/*
 * Decoding of protobuf by the kinds' tables: the message becomes the JSON tree that Go would write
 * for it. Fields without a pointer in Kubernetes are always on the wire, so their zeros mean absent
 * and are left out; a field that is optional keeps its zero. Unknown numbers are skipped, as
 * protobuf asks for. A message may repeat a field: lists grow, messages merge, scalars are
 * replaced.
 */
#include <assert.h>
#include <string.h>
#include <time.h>

#include "cluster/objects/decode_priv.h"
#include "ground/base/rfc3339.h"
#include "ground/base/utf8.h"
#include "ground/format/base64.h"
#include "ground/format/protobuf.h"

#define NS_PER_S INT64_C(1000000000)

static const char magic[4] = {'k', '8', 's', '\0'};

bool decode_is_protobuf(struct str body)
{
	return body.n >= sizeof(magic) && memcmp(body.p, magic, sizeof(magic)) == 0;
}

static int open_meta(struct str bytes, struct envelope *env, struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	struct protobuf_field f;
	int r;

	while ((r = protobuf_next(&c, &f, e)) > 0) {
		if (f.number == 1 && f.wire == PROTOBUF_BYTES)
			env->api_version = f.bytes;
		if (f.number == 2 && f.wire == PROTOBUF_BYTES)
			env->kind = f.bytes;
	}
	return r;
}

int proto_open(struct str body, struct envelope *ret, struct err *e)
{
	struct envelope env = {{"", 0}, {"", 0}, {"", 0}};
	struct protobuf_field f;
	struct cursor c;
	int r;

	assert(decode_is_protobuf(body) && ret);
	c = cursor_of(body.p + sizeof(magic), body.n - sizeof(magic));
	while ((r = protobuf_next(&c, &f, e)) > 0) {
		if (f.wire != PROTOBUF_BYTES)
			continue;
		if (f.number == 1)
			r = open_meta(f.bytes, &env, e);
		else if (f.number == 2)
			env.raw = f.bytes;
		else if (f.number == 3 && f.bytes.n > 0)
			return err_set(e, ERR_UNSUPPORTED, "the object is encoded as '%.*s'",
				       (int)(f.bytes.n < 64 ? f.bytes.n : 64), f.bytes.p);
		if (r < 0)
			return r;
	}
	if (r == 0)
		*ret = env;
	return r;
}

static int wrong_wire(const struct field *f, struct err *e)
{
	return err_set(e, ERR_INVALID, "protobuf: field '%s' has another wire type", f->name);
}

/* Texts reach clients as JSON, which is UTF-8. */
static int read_text(struct str bytes, struct json **ret, struct err *e)
{
	if (!utf8_is(bytes))
		return err_set(e, ERR_INVALID, "protobuf: a text is not UTF-8");
	*ret = json_new_str(bytes);
	return 0;
}

static int read_seconds(struct str bytes, int64_t ret[2], struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	struct protobuf_field f;
	int r;

	while ((r = protobuf_next(&c, &f, e)) > 0)
		if ((f.number == 1 || f.number == 2) && f.wire == PROTOBUF_VARINT)
			ret[f.number - 1] = (int64_t)f.value;
	return r;
}

/* NULL in *ret: the zero time, which is absent. */
static int read_time(struct str bytes, bool micro, struct json **ret, struct err *e)
{
	int64_t at[2] = {0, 0}; /* seconds, nanoseconds */
	char text[RFC3339_CHARS + 16];
	struct tm tm;
	time_t seconds;
	size_t n;
	int r = read_seconds(bytes, at, e);

	*ret = NULL;
	if (r < 0 || bytes.n == 0)
		return r;
	seconds = (time_t)at[0];
	if (at[0] < 0 || at[0] > INT64_MAX / NS_PER_S || at[1] < 0 || at[1] >= NS_PER_S ||
	    !gmtime_r(&seconds, &tm))
		return err_set(e, ERR_INVALID, "protobuf: %lld s is no time", (long long)at[0]);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text + n, sizeof(text) - n, micro ? ".%06dZ" : "Z", (int)(at[1] / 1000));
	*ret = json_new_text(text);
	return 0;
}

/* IntOrString: 1 which of the two, 2 the number, 3 the text. */
static int read_int_or_text(struct str bytes, struct json **ret, struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	uint64_t which = 0, number = 0;
	struct str text = {"", 0};
	struct protobuf_field f;
	int r;

	while ((r = protobuf_next(&c, &f, e)) > 0) {
		if (f.number == 1)
			which = f.value;
		else if (f.number == 2)
			number = f.value;
		else if (f.number == 3 && f.wire == PROTOBUF_BYTES)
			text = f.bytes;
	}
	if (r == 0 && which == 1)
		return read_text(text, ret, e);
	if (r == 0)
		*ret = json_new_i64((int32_t)number);
	return r;
}

/* A message whose field 1 is the text: Quantity. */
static int read_wrapped(struct str bytes, struct str *ret, struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	struct protobuf_field f;
	int r;

	*ret = (struct str){"", 0};
	while ((r = protobuf_next(&c, &f, e)) > 0)
		if (f.number == 1 && f.wire == PROTOBUF_BYTES)
			*ret = f.bytes;
	return r;
}

static int read_texts(struct str bytes, struct json **ret, struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	auto_json struct json *list = json_new_array();
	struct protobuf_field f;
	int r;

	while ((r = protobuf_next(&c, &f, e)) > 0) {
		struct json *one = NULL;

		if (f.number != 1 || f.wire != PROTOBUF_BYTES)
			continue;
		r = read_text(f.bytes, &one, e);
		if (r < 0)
			return r;
		json_append(list, one);
	}
	if (r == 0)
		*ret = take(list);
	return r;
}

static int read_raw(struct str bytes, struct json **ret, struct err *e)
{
	struct str text;
	int r = read_wrapped(bytes, &text, e);

	*ret = NULL;
	if (r < 0 || text.n == 0)
		return r;
	if (!utf8_is(text))
		return err_set(e, ERR_INVALID, "protobuf: a raw object is not UTF-8");
	return json_parse(text, "protobuf: a raw object", ret, e);
}

static int read_duration(struct str bytes, struct json **ret, struct err *e)
{
	int64_t ns[2] = {0, 0};
	char text[32];
	int r = read_seconds(bytes, ns, e);

	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text), "%lldns", (long long)ns[0]);
	*ret = json_new_text(text);
	return 0;
}

static struct json *base64_of(struct str bytes)
{
	auto_strbuf struct strbuf b = {0};

	base64_encode(bytes, &b);
	return json_new_str(strbuf_str(&b));
}

static int read_quantity(struct str bytes, struct json **ret, struct err *e)
{
	struct str text;
	int r = read_wrapped(bytes, &text, e);

	if (r == 0 && text.n > 0)
		return read_text(text, ret, e);
	if (r == 0)
		*ret = json_new_text("0");
	return r;
}

static int read_struct(const struct field *f, struct str bytes, unsigned int depth,
		       struct json **ret, struct err *e)
{
	auto_json struct json *object = json_new_object();
	int r = proto_message(bytes, f->of, object, depth + 1, e);

	if (r == 0)
		*ret = take(object);
	return r;
}

/* A value that the wire holds as bytes. */
static int read_bytes(const struct field *f, struct str bytes, unsigned int depth,
		      struct json **ret, struct err *e)
{
	switch (f->type) {
	case FIELD_STRING:
		return read_text(bytes, ret, e);
	case FIELD_BYTES:
		*ret = base64_of(bytes);
		return 0;
	case FIELD_QUANTITY:
		return read_quantity(bytes, ret, e);
	case FIELD_INT_OR_TEXT:
		return read_int_or_text(bytes, ret, e);
	case FIELD_TIME:
	case FIELD_MICRO_TIME:
		return read_time(bytes, f->type == FIELD_MICRO_TIME, ret, e);
	case FIELD_DURATION:
		return read_duration(bytes, ret, e);
	case FIELD_RAW:
		return read_raw(bytes, ret, e);
	case FIELD_TEXTS:
		return read_texts(bytes, ret, e);
	case FIELD_STRUCT:
		return read_struct(f, bytes, depth, ret, e);
	case FIELD_BOOL:
	case FIELD_INT32:
	case FIELD_INT64:
	case FIELD_DOUBLE:
	case FIELD_TYPES:
		break;
	}
	return wrong_wire(f, e);
}

static int read_number(const struct field *f, const struct protobuf_field *w, struct json **ret,
		       struct err *e)
{
	double real;

	if (f->type == FIELD_BOOL && w->wire == PROTOBUF_VARINT)
		*ret = json_new_bool(w->value != 0);
	else if (f->type == FIELD_INT32 && w->wire == PROTOBUF_VARINT)
		*ret = json_new_i64((int32_t)w->value);
	else if (f->type == FIELD_INT64 && w->wire == PROTOBUF_VARINT)
		*ret = json_new_i64((int64_t)w->value);
	else if (f->type == FIELD_DOUBLE && w->wire == PROTOBUF_FIXED64) {
		memcpy(&real, &w->value, sizeof(real));
		*ret = json_new_double(real);
	} else
		return wrong_wire(f, e);
	return 0;
}

/* *ret stays NULL when the value stands for an absent one. */
static int read_value(const struct field *f, const struct protobuf_field *w, unsigned int depth,
		      struct json **ret, struct err *e)
{
	return w->wire == PROTOBUF_BYTES ? read_bytes(f, w->bytes, depth, ret, e)
					 : read_number(f, w, ret, e);
}

static bool is_zero(const struct json *j)
{
	switch (json_kind(j)) {
	case JSON_NULL:
		return true;
	case JSON_BOOL:
		return !json_flag(j, false);
	case JSON_NUMBER:
		return json_double(j, 0) == 0; /* exactly */
	case JSON_STRING:
		return json_str(j).n == 0;
	case JSON_ARRAY:
	case JSON_OBJECT:
		return json_len(j) == 0;
	}
	return false;
}

static struct json *child(struct json *into, const char *name, struct json *(*make)(void))
{
	struct json *j = json_get(into, name);

	if (!j) {
		json_set(into, name, make());
		j = json_get(into, name);
	}
	return j;
}

/* A map is a list of messages of key (1) and value (2). */
static int put_entry(const struct field *f, struct str bytes, struct json *into, unsigned int depth,
		     struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	auto_strbuf struct strbuf key = {0};
	auto_json struct json *value = NULL;
	struct protobuf_field w;
	int r;

	while ((r = protobuf_next(&c, &w, e)) > 0) {
		if (w.number == 1 && w.wire == PROTOBUF_BYTES) {
			strbuf_clear(&key);
			strbuf_add(&key, w.bytes.p, w.bytes.n);
		} else if (w.number == 2) {
			value = json_free(value);
			r = read_value(f, &w, depth, &value, e);
		}
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (!value && (f->type == FIELD_STRING || f->type == FIELD_BYTES))
		value = json_new_text("");
	if (!utf8_is(strbuf_str(&key)))
		return err_set(e, ERR_INVALID, "protobuf: a key is not UTF-8");
	if (value)
		json_set(child(into, f->name, json_new_object), strbuf_text(&key), take(value));
	return 0;
}

static int put_packed(const struct field *f, struct str bytes, struct json *into, struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	struct protobuf_field w = {.wire = PROTOBUF_VARINT};
	struct json *one = NULL;
	int r = 0;

	while (r == 0 && c.n > 0) {
		r = protobuf_varint(&c, &w.value, e);
		if (r == 0)
			r = read_number(f, &w, &one, e);
		if (r == 0)
			json_append(child(into, f->name, json_new_array), one);
	}
	return r;
}

static int put_one(const struct field *f, const struct protobuf_field *w, struct json *into,
		   unsigned int depth, struct err *e)
{
	struct json *value = NULL;
	int r = 0;

	if (f->type == FIELD_STRUCT && w->wire == PROTOBUF_BYTES && json_get(into, f->name))
		return proto_message(w->bytes, f->of, json_get(into, f->name), depth + 1, e);
	r = read_value(f, w, depth, &value, e);
	if (r < 0)
		return r;
	if (value && (f->flags & FIELD_OPTIONAL || !is_zero(value)))
		json_set(into, f->name, value);
	else
		json_free(value);
	return 0;
}

static int put_field(const struct field *f, const struct protobuf_field *w, struct json *into,
		     unsigned int depth, struct err *e)
{
	struct json *value = NULL;
	int r;

	if (f->flags & FIELD_INLINE)
		return w->wire == PROTOBUF_BYTES
			       ? proto_message(w->bytes, f->of, into, depth + 1, e)
			       : wrong_wire(f, e);
	switch (f->shape) {
	case FIELD_ONE:
		return put_one(f, w, into, depth, e);
	case FIELD_MAP:
		return w->wire == PROTOBUF_BYTES ? put_entry(f, w->bytes, into, depth, e)
						 : wrong_wire(f, e);
	case FIELD_LIST:
		break;
	}
	if (w->wire == PROTOBUF_BYTES && (f->type == FIELD_INT32 || f->type == FIELD_INT64))
		return put_packed(f, w->bytes, into, e);
	r = read_value(f, w, depth, &value, e);
	if (r == 0 && value)
		json_append(child(into, f->name, json_new_array), value);
	return r;
}

int proto_message(struct str bytes, const struct type *t, struct json *into, unsigned int depth,
		  struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	struct protobuf_field w;
	int r;

	assert(t && into);
	if (depth > JSON_DEPTH_MAX)
		return err_set(e, ERR_INVALID, "protobuf: messages are nested too deeply");
	while ((r = protobuf_next(&c, &w, e)) > 0) {
		const struct field *f = type_field_number(t, w.number);

		r = f ? put_field(f, &w, into, depth, e) : 0;
		if (r < 0)
			return r;
	}
	return r;
}

int decode_message(struct str bytes, const struct type *t, struct json **ret, struct err *e)
{
	auto_json struct json *tree = json_new_object();
	int r = proto_message(bytes, t, tree, 0, e);

	if (r == 0)
		*ret = take(tree);
	return r;
}
