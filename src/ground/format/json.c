/*
 * JSON trees over json-c: see json.h. This is the one file that includes json-c's header; a `struct
 * json` is json-c's object under another name. Decoding by shape is in json_shape.c.
 */
#include "ground/format/json.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <json-c/json.h>

#include "ground/base/mem.h"

static struct json_object *inner(const struct json *j)
{
	return (struct json_object *)(uintptr_t)j;
}

static struct json *outer(struct json_object *o)
{
	return (struct json *)o;
}

/* Line and column, from 1, of byte `at` in text. */
static void place_of(struct str text, size_t at, size_t *ret_line, size_t *ret_column)
{
	size_t line = 1, start = 0;

	for (size_t i = 0; i < at && i < text.n; i++) {
		if (text.p[i] == '\n') {
			line++;
			start = i + 1;
		}
	}
	*ret_line = line;
	*ret_column = at - start + 1;
}

static int bad_at(struct str text, size_t at, const char *what, const char *why, struct err *e)
{
	size_t line, column;

	place_of(text, at, &line, &column);
	return err_set(e, ERR_INVALID, "%s: not JSON: line %zu, column %zu: %s", what, line, column,
		       why);
}

static bool all_space(struct str text, size_t from)
{
	return str_trim((struct str){text.p + from, text.n - from}).n == 0;
}

int json_parse(struct str text, const char *what, struct json **ret, struct err *e)
{
	struct json_tokener *tok;
	struct json_object *o;
	enum json_tokener_error why;
	size_t end;
	int r = 0;

	if (text.n >= INT_MAX)
		return err_set(e, ERR_INVALID, "%s: %zu bytes are too many for JSON", what, text.n);
	if (all_space(text, 0))
		return err_set(e, ERR_INVALID, "%s: it is empty, a JSON value was expected", what);
	tok = json_tokener_new_ex(JSON_DEPTH_MAX);
	if (!tok)
		return err_set(e, ERR_EXHAUSTED, "no memory for a JSON parser");
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	o = json_tokener_parse_ex(tok, text.p, (int)text.n);
	why = json_tokener_get_error(tok);
	if (why == json_tokener_continue) /* a bare number ends only at a byte behind it */
		o = json_tokener_parse_ex(tok, "\n", 1);
	end = json_tokener_get_parse_end(tok);
	if (why == json_tokener_continue) {
		end = text.n;
		why = json_tokener_get_error(tok);
	}
	if (why == json_tokener_continue)
		r = bad_at(text, text.n, what, "the text ends in the middle of a value", e);
	else if (why != json_tokener_success)
		r = bad_at(text, end, what, json_tokener_error_desc(why), e);
	else if (!all_space(text, end < text.n ? end : text.n))
		r = bad_at(text, end, what, "more text follows the value", e);
	json_tokener_free(tok);
	if (r < 0) {
		json_object_put(o);
		return r;
	}
	*ret = outer(o);
	return 0;
}

int json_read_file(int dirfd, const char *path, size_t max_bytes, struct json **ret, struct err *e)
{
	auto_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	auto_free char *bytes = NULL;
	struct stat st;
	size_t n = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "cannot open '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "'%s' is not a regular file", path);
	if ((uintmax_t)st.st_size > max_bytes)
		return err_set(e, ERR_INVALID, "'%s' is %jd bytes long, at most %zu are read", path,
			       (intmax_t)st.st_size, max_bytes);
	bytes = mem_try((size_t)st.st_size + 1, e);
	if (!bytes)
		return err_wrap(e, "reading '%s'", path);
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, bytes + n, (size_t)st.st_size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, "cannot read '%s'", path);
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return json_parse((struct str){bytes, n}, path, ret, e);
}

struct json *json_ref(struct json *j)
{
	return outer(json_object_get(inner(j)));
}

struct json *json_free(struct json *j)
{
	(void)json_object_put(inner(j));
	return NULL;
}

struct json *json_new_object(void)
{
	struct json_object *o = json_object_new_object();

	assert(o);
	return outer(o);
}

struct json *json_new_array(void)
{
	struct json_object *o = json_object_new_array_ext(4);

	assert(o);
	return outer(o);
}

struct json *json_new_str(struct str text)
{
	assert(text.n < INT_MAX);
	return outer(json_object_new_string_len(text.p ? text.p : "", (int)text.n));
}

struct json *json_new_text(const char *text)
{
	return text ? json_new_str(str_of(text)) : NULL;
}

struct json *json_new_i64(int64_t n)
{
	return outer(json_object_new_int64(n));
}

struct json *json_new_u64(uint64_t n)
{
	return outer(json_object_new_uint64(n));
}

struct json *json_new_double(double n)
{
	return outer(json_object_new_double(n));
}

struct json *json_new_bool(bool b)
{
	return outer(json_object_new_boolean(b));
}

void json_set(struct json *object, const char *key, struct json *value)
{
	int r = json_object_object_add(inner(object), key, inner(value));

	assert(r == 0);
}

void json_append(struct json *array, struct json *value)
{
	int r = json_object_array_add(inner(array), inner(value));

	assert(r == 0);
}

void json_remove(struct json *object, const char *key)
{
	json_object_object_del(inner(object), key);
}

struct json *json_new_texts(char *const *list)
{
	struct json *array = json_new_array();

	for (size_t i = 0; list && list[i]; i++)
		json_append(array, json_new_text(list[i]));
	return array;
}

struct json *json_copy(const struct json *j)
{
	struct json_object *copy = NULL;

	if (!j)
		return NULL;
	if (json_object_deep_copy(inner(j), &copy, NULL) < 0)
		assert(!"a JSON tree can be copied");
	return outer(copy);
}

enum json_kind json_kind(const struct json *j)
{
	switch (json_object_get_type(inner(j))) {
	case json_type_null:
		return JSON_NULL;
	case json_type_boolean:
		return JSON_BOOL;
	case json_type_double:
	case json_type_int:
		return JSON_NUMBER;
	case json_type_object:
		return JSON_OBJECT;
	case json_type_array:
		return JSON_ARRAY;
	case json_type_string:
		return JSON_STRING;
	}
	__builtin_unreachable();
}

struct json *json_get(const struct json *object, const char *key)
{
	struct json_object *value = NULL;

	if (json_kind(object) != JSON_OBJECT)
		return NULL;
	(void)json_object_object_get_ex(inner(object), key, &value);
	return outer(value);
}

struct json *json_at(const struct json *array, size_t i)
{
	return i < json_len(array) && json_kind(array) == JSON_ARRAY
		       ? outer(json_object_array_get_idx(inner(array), i))
		       : NULL;
}

size_t json_len(const struct json *j)
{
	if (json_kind(j) == JSON_ARRAY)
		return json_object_array_length(inner(j));
	if (json_kind(j) == JSON_OBJECT)
		return (size_t)json_object_object_length(inner(j));
	return 0;
}

const char *json_text(const struct json *j)
{
	return json_kind(j) == JSON_STRING ? json_object_get_string(inner(j)) : NULL;
}

struct str json_str(const struct json *j)
{
	if (json_kind(j) != JSON_STRING)
		return (struct str){NULL, 0};
	return (struct str){json_object_get_string(inner(j)),
			    (size_t)json_object_get_string_len(inner(j))};
}

bool json_is_whole(const struct json *j)
{
	return json_object_get_type(inner(j)) == json_type_int;
}

int64_t json_i64(const struct json *j, int64_t otherwise)
{
	return json_kind(j) == JSON_NUMBER ? json_object_get_int64(inner(j)) : otherwise;
}

uint64_t json_u64(const struct json *j, uint64_t otherwise)
{
	return json_kind(j) == JSON_NUMBER ? json_object_get_uint64(inner(j)) : otherwise;
}

double json_double(const struct json *j, double otherwise)
{
	return json_kind(j) == JSON_NUMBER ? json_object_get_double(inner(j)) : otherwise;
}

bool json_flag(const struct json *j, bool otherwise)
{
	return json_kind(j) == JSON_BOOL ? json_object_get_boolean(inner(j)) != 0 : otherwise;
}

const char *json_get_text(const struct json *object, const char *key)
{
	return json_text(json_get(object, key));
}

int64_t json_get_i64(const struct json *object, const char *key, int64_t otherwise)
{
	return json_i64(json_get(object, key), otherwise);
}

bool json_get_bool(const struct json *object, const char *key, bool otherwise)
{
	return json_flag(json_get(object, key), otherwise);
}

struct json *json_make_object(struct json *object, const char *key)
{
	if (json_kind(json_get(object, key)) != JSON_OBJECT)
		json_set(object, key, json_new_object());
	return json_get(object, key);
}

struct json *json_make_array(struct json *object, const char *key)
{
	if (json_kind(json_get(object, key)) != JSON_ARRAY)
		json_set(object, key, json_new_array());
	return json_get(object, key);
}

struct json *json_find(const struct json *array, const char *key, const char *text)
{
	for (size_t i = 0; text && i < json_len(array); i++)
		if (text_eq(json_get_text(json_at(array, i), key), text))
			return json_at(array, i);
	return NULL;
}

bool json_lists(const struct json *array, const char *text)
{
	for (size_t i = 0; text && i < json_len(array); i++)
		if (text_eq(json_text(json_at(array, i)), text))
			return true;
	return false;
}

bool json_next(const struct json *object, struct json_iter *it, const char **ret_key,
	       struct json **ret_value)
{
	const struct lh_entry *entry = it->at;

	if (!it->started) {
		if (json_kind(object) != JSON_OBJECT)
			return false;
		it->started = true;
		entry = json_object_get_object(inner(object))->head;
	}
	if (!entry)
		return false;
	*ret_key = lh_entry_k(entry);
	*ret_value = outer((struct json_object *)(uintptr_t)lh_entry_v(entry));
	it->at = entry->next;
	return true;
}

static void write_with(const struct json *j, int flags, struct strbuf *out)
{
	size_t n = 0;
	const char *text = json_object_to_json_string_length(inner(j), flags, &n);

	assert(text);
	strbuf_add(out, text, n);
}

/* Runs of what needs no escape go out in one piece. */
static void write_text(struct str text, struct strbuf *out)
{
	static const char escapes[] = {
		['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
		['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't',
	};
	size_t from = 0;

	strbuf_add_char(out, '"');
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		char escape = c < sizeof(escapes) ? escapes[c] : '\0';

		if (c >= ' ' && !escape)
			continue;
		strbuf_add(out, text.p + from, i - from);
		from = i + 1;
		if (escape)
			strbuf_printf(out, "\\%c", escape);
		else
			strbuf_printf(out, "\\u%04x", c);
	}
	strbuf_add(out, text.p + from, text.n - from);
	strbuf_add_char(out, '"');
}

static void write_object(const struct json *j, struct strbuf *out)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	char before = '{';

	while (json_next(j, &it, &key, &value)) {
		strbuf_add_char(out, before);
		write_text(str_of(key), out);
		strbuf_add_char(out, ':');
		json_write(value, out);
		before = ',';
	}
	strbuf_add_text(out, before == '{' ? "{}" : "}");
}

static void write_array(const struct json *j, struct strbuf *out)
{
	size_t n = json_len(j);

	strbuf_add_char(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			strbuf_add_char(out, ',');
		json_write(json_at(j, i), out);
	}
	strbuf_add_char(out, ']');
}

/* By hand: json-c's writer goes byte by byte, and its text stays with the tree. */
void json_write(const struct json *j, struct strbuf *out)
{
	switch (json_kind(j)) {
	case JSON_NULL:
		strbuf_add_text(out, "null");
		break;
	case JSON_BOOL:
		strbuf_add_text(out, json_flag(j, false) ? "true" : "false");
		break;
	case JSON_NUMBER:
		write_with(j, JSON_C_TO_STRING_PLAIN, out);
		break;
	case JSON_STRING:
		write_text(json_str(j), out);
		break;
	case JSON_ARRAY:
		write_array(j, out);
		break;
	case JSON_OBJECT:
		write_object(j, out);
		break;
	}
}

void json_write_pretty(const struct json *j, struct strbuf *out)
{
	write_with(j,
		   JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			   JSON_C_TO_STRING_NOSLASHESCAPE,
		   out);
}

static bool objects_equal(const struct json *a, const struct json *b)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	if (json_len(a) != json_len(b))
		return false;
	while (json_next(a, &it, &key, &value)) {
		struct json_object *other;

		if (!json_object_object_get_ex(inner(b), key, &other) ||
		    !json_equal(value, outer(other)))
			return false;
	}
	return true;
}

static bool arrays_equal(const struct json *a, const struct json *b)
{
	if (json_len(a) != json_len(b))
		return false;
	for (size_t i = 0; i < json_len(a); i++)
		if (!json_equal(json_at(a, i), json_at(b, i)))
			return false;
	return true;
}

bool json_equal(const struct json *a, const struct json *b)
{
	if (json_kind(a) != json_kind(b))
		return false;
	switch (json_kind(a)) {
	case JSON_NULL:
		return true;
	case JSON_BOOL:
		return json_flag(a, false) == json_flag(b, false);
	case JSON_NUMBER:
		return json_is_whole(a) && json_is_whole(b)
			       ? json_i64(a, 0) == json_i64(b, 0)
			       : json_double(a, 0) == json_double(b, 0);
	case JSON_STRING:
		return str_eq(json_str(a), json_str(b));
	case JSON_ARRAY:
		return arrays_equal(a, b);
	case JSON_OBJECT:
		return objects_equal(a, b);
	}
	return false;
}
