/*
 * JSON: trees for walking, shapes for decoding and encoding whole structs.
 *
 * A tree is reference-counted (json_free drops one reference). A shape is a const table that maps
 * the keys of an object to the fields of a struct; decoding by shape checks types and ranges and
 * names the offending key in its error ("config.json: process.rlimits[2].soft: expected a number,
 * found a string").
 *
 *	struct limits { int64_t *memory; char *cpus; };
 *	static const struct json_field limits_fields[] = {
 *		{"memory", JSON_OPT_I64, offsetof(struct limits, memory)},
 *		{"cpus", JSON_TEXT, offsetof(struct limits, cpus)},
 *	};
 *	static const struct json_shape limits_shape = JSON_SHAPE(struct limits, limits_fields);
 *
 * Decoded values live in the arena given to json_decode and die with it. Unknown keys are ignored,
 * as OCI and Docker ask for. Limits: depth JSON_DEPTH_MAX, size chosen by the caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/base/own.h"
#include "ground/base/str.h"

struct json; /* one value of any type */

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

#define JSON_DEPTH_MAX 64

/*
 * Reads exactly one value. `what` names the source in errors: "NAME: line 3, column 14: ...".
 * json_read_file reads at most max_bytes of `path` below dirfd (AT_FDCWD allowed).
 */
int json_parse(struct str text, const char *what, struct json **ret, struct err *e) must_use;
int json_read_file(int dirfd, const char *path, size_t max_bytes, struct json **ret,
		   struct err *e) must_use;

struct json *json_ref(struct json *j);
struct json *json_free(struct json *j); /* drops a reference; returns NULL */
own_define(json, struct json *, (void)json_free);
#define auto_json own_auto(json)

/* Making. Values given to json_set/json_append are consumed; a NULL value is stored as null. */
struct json *json_new_object(void);
struct json *json_new_array(void);
struct json *json_new_text(const char *text); /* NULL makes null */
struct json *json_new_str(struct str text);
struct json *json_new_i64(int64_t n);
struct json *json_new_u64(uint64_t n);
struct json *json_new_double(double n);
struct json *json_new_bool(bool b);
void json_set(struct json *object, const char *key, struct json *value);
void json_append(struct json *array, struct json *value);
void json_remove(struct json *object, const char *key);

static inline void json_set_text(struct json *o, const char *key, const char *text)
{
	json_set(o, key, json_new_text(text));
}

static inline void json_set_i64(struct json *o, const char *key, int64_t n)
{
	json_set(o, key, json_new_i64(n));
}

static inline void json_set_bool(struct json *o, const char *key, bool b)
{
	json_set(o, key, json_new_bool(b));
}

struct json *json_new_texts(char *const *list); /* a string array from a NULL-terminated list */
struct json *json_copy(const struct json *j);	/* deep */

/* Looking. All accept NULL and wrong types and then answer NULL, 0, false or the given default. */
enum json_kind json_kind(const struct json *j);
struct json *json_get(const struct json *object, const char *key); /* borrowed */
struct json *json_at(const struct json *array, size_t i);	   /* borrowed */
size_t json_len(const struct json *array_or_object);
const char *json_text(const struct json *j); /* of a string; borrowed */
struct str json_str(const struct json *j);   /* of a string, NULs included; borrowed */
bool json_is_whole(const struct json *j);    /* a number written without fraction or exponent */
int64_t json_i64(const struct json *j, int64_t otherwise);
uint64_t json_u64(const struct json *j, uint64_t otherwise);
double json_double(const struct json *j, double otherwise);
bool json_flag(const struct json *j, bool otherwise);
const char *json_get_text(const struct json *object, const char *key);
int64_t json_get_i64(const struct json *object, const char *key, int64_t otherwise);
bool json_get_bool(const struct json *object, const char *key, bool otherwise);

/* The member that is an object (a list), made where it is missing or something else; borrowed. */
struct json *json_make_object(struct json *object, const char *key);
struct json *json_make_array(struct json *object, const char *key);
/* The first of a list of objects whose member `key` is this text; borrowed. NULL: none. */
struct json *json_find(const struct json *array, const char *key, const char *text);
bool json_lists(const struct json *array, const char *text); /* of a list of strings */

/* Walks an object in key order of insertion: false at the end. Start with {0}; do not change it. */
struct json_iter {
	const void *at;
	bool started;
};
bool json_next(const struct json *object, struct json_iter *it, const char **ret_key,
	       struct json **ret_value);

/* The same value: objects whatever their keys' order, numbers by what they are worth. */
bool json_equal(const struct json *a, const struct json *b);

/* Bytes. Slashes are not escaped; text that is not UTF-8 is kept byte for byte. */
void json_write(const struct json *j, struct strbuf *out);
void json_write_pretty(const struct json *j, struct strbuf *out); /* two spaces */

/* Shapes. The C type of each field is in the comment. */
enum json_field_type {
	JSON_FLAG,	 /* bool */
	JSON_OPT_FLAG,	 /* bool *, NULL when absent */
	JSON_I32,	 /* int32_t */
	JSON_U32,	 /* uint32_t */
	JSON_I64,	 /* int64_t */
	JSON_U64,	 /* uint64_t */
	JSON_OPT_I64,	 /* int64_t *, NULL when absent */
	JSON_OPT_U64,	 /* uint64_t *, NULL when absent */
	JSON_OPT_U32,	 /* uint32_t *, NULL when absent */
	JSON_DOUBLE,	 /* double */
	JSON_TEXT,	 /* char *, NULL when absent or null */
	JSON_TEXTS,	 /* char **, NULL-terminated, NULL when absent or null */
	JSON_TEXT_MAP,	 /* struct json_pair *, ended by a NULL key; NULL when absent */
	JSON_STRUCT,	 /* the struct of .shape, inline */
	JSON_OPT_STRUCT, /* pointer to the struct of .shape, NULL when absent */
	JSON_LIST, /* pointer to an array of .shape structs; its length in the size_t at .count */
	JSON_ANY,  /* struct json *, borrowed from the tree that was decoded */
};

struct json_pair {
	char *key;
	char *value;
};

struct json_shape;

struct json_field {
	const char *key;
	enum json_field_type type;
	size_t offset;
	const struct json_shape *shape; /* JSON_STRUCT, JSON_OPT_STRUCT, JSON_LIST */
	size_t count;			/* JSON_LIST: offset of the size_t that holds its length */
	bool required;
	bool omit_empty; /* when encoding: leave out NULL, 0, false, {} and [] */
	bool empty_list; /* when encoding: NULL lists and maps become [] and {}, not null */
};

struct json_shape {
	size_t size;
	const struct json_field *fields;
	size_t fields_n;
};

#define JSON_SHAPE(type, table)                                           \
	{                                                                 \
		sizeof(type), (table), sizeof(table) / sizeof((table)[0]) \
	}

/* Fills *out (of shape->size bytes, zeroed first). `what` begins the key path in errors. */
int json_decode(const struct json *j, const struct json_shape *shape, const char *what,
		struct arena *a, void *out, struct err *e) must_use;
struct json *json_encode(const struct json_shape *shape, const void *in);
