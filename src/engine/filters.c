/*
 * Filters as Docker's clients send them: {"key":["value"]} or, older, {"key":{"value":true}}.
 * Reading and matching; which keys a question knows is said where the question is answered.
 */
#include <fnmatch.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"
#include "ground/base/rfc3339.h"

#define FILTERS_BYTES_MAX (64u << 10)

static char **read_values(const struct json *j, const char *key, struct arena *a, struct err *e)
{
	size_t n = json_len(j), used = 0;
	char **values = arena_new_array(a, char *, n + 1);
	struct json_iter it = {0};
	const char *name;
	struct json *on;

	if (json_kind(j) == JSON_ARRAY) {
		for (size_t i = 0; i < n; i++) {
			const char *text = json_text(json_at(j, i));

			if (!text) {
				(void)err_set(e, ERR_INVALID,
					      "filter '%s': a value is not a string", key);
				return NULL;
			}
			values[used++] = arena_dup_text(a, text);
		}
		return values;
	}
	if (json_kind(j) != JSON_OBJECT) {
		(void)err_set(e, ERR_INVALID, "filter '%s': expected a list of strings", key);
		return NULL;
	}
	while (json_next(j, &it, &name, &on))
		if (json_flag(on, true))
			values[used++] = arena_dup_text(a, name);
	return values;
}

int filters_read(struct str text, struct arena *a, struct filters *ret, struct err *e)
{
	auto_json struct json *j = NULL;
	struct json_iter it = {0};
	struct filter *list;
	const char *key;
	struct json *values;
	size_t n = 0;

	*ret = (struct filters){0};
	if (!text.n)
		return 0;
	if (text.n > FILTERS_BYTES_MAX)
		return err_set(e, ERR_INVALID, "the filters are longer than %u bytes",
			       FILTERS_BYTES_MAX);
	if (json_parse(text, "filters", &j, e) < 0)
		return -ERR_INVALID;
	if (json_kind(j) == JSON_NULL)
		return 0;
	if (json_kind(j) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "filters: expected an object");
	list = arena_new_array(a, struct filter, json_len(j) + 1);
	while (json_next(j, &it, &key, &values)) {
		list[n].key = arena_dup_text(a, key);
		list[n].values = read_values(values, key, a, e);
		if (!list[n].values)
			return -ERR_INVALID;
		n++;
	}
	*ret = (struct filters){list, n};
	return 0;
}

static const struct filter *find(const struct filters *f, const char *key)
{
	for (size_t i = 0; f && i < f->n; i++)
		if (text_eq(f->list[i].key, key))
			return &f->list[i];
	return NULL;
}

bool filter_has(const struct filters *f, const char *key)
{
	const struct filter *one = find(f, key);

	return one && one->values[0];
}

int filters_check(const struct filters *f, const char *const *known, struct err *e)
{
	for (size_t i = 0; i < f->n; i++)
		if (!text_in(f->list[i].key, (char *const *)known))
			return err_set(e, ERR_INVALID, "invalid filter '%s'", f->list[i].key);
	return 0;
}

bool filter_match(const struct filters *f, const char *key, const char *text)
{
	const struct filter *one = find(f, key);

	if (!one || !one->values[0])
		return true;
	return text && text_in(text, one->values);
}

bool filter_match_prefix(const struct filters *f, const char *key, const char *text)
{
	const struct filter *one = find(f, key);

	if (!one || !one->values[0])
		return true;
	for (size_t i = 0; text && one->values[i]; i++)
		if (one->values[i][0] && text_starts(text, one->values[i]))
			return true;
	return false;
}

bool filter_match_glob(const struct filters *f, const char *key, const char *text)
{
	const struct filter *one = find(f, key);

	if (!one || !one->values[0])
		return true;
	for (size_t i = 0; text && one->values[i]; i++)
		if (fnmatch(one->values[i], text, FNM_PATHNAME) == 0)
			return true;
	return false;
}

bool filter_match_part(const struct filters *f, const char *key, const char *text)
{
	const struct filter *one = find(f, key);

	if (!one || !one->values[0])
		return true;
	for (size_t i = 0; text && one->values[i]; i++)
		if (strstr(text, one->values[i]))
			return true;
	return false;
}

/* "key" or "key=value". */
static bool has_label(const struct json_pair *labels, const char *asked)
{
	const char *equals = strchr(asked, '=');
	size_t n = equals ? (size_t)(equals - asked) : strlen(asked);

	for (; labels && labels->key; labels++)
		if (strlen(labels->key) == n && !memcmp(labels->key, asked, n) &&
		    (!equals || text_eq(equals + 1, labels->value ? labels->value : "")))
			return true;
	return false;
}

bool filter_match_labels(const struct filters *f, const struct json_pair *labels)
{
	const struct filter *with = find(f, "label"), *without = find(f, "label!");

	for (size_t i = 0; with && with->values[i]; i++)
		if (!has_label(labels, with->values[i]))
			return false;
	for (size_t i = 0; without && without->values[i]; i++)
		if (has_label(labels, without->values[i]))
			return false;
	return true;
}

int filter_flag(const struct filters *f, const char *key, bool otherwise, bool *ret, struct err *e)
{
	const struct filter *one = find(f, key);

	*ret = otherwise;
	if (!one || !one->values[0])
		return 0;
	if (one->values[1])
		return err_set(e, ERR_INVALID, "filter '%s' takes one value", key);
	return parse_bool(str_of(one->values[0]), key, ret, e);
}

/* Seconds since the epoch, a duration before now ("10m"), or 2006-01-02T15:04:05Z. */
int filter_until(const struct filters *f, const struct world *w, int64_t *ret_ns, struct err *e)
{
	const struct filter *one = find(f, "until");
	int64_t seconds, ns;
	struct err ignored = {0};

	*ret_ns = 0;
	if (!one || !one->values[0])
		return 0;
	if (one->values[1])
		return err_set(e, ERR_INVALID, "filter 'until' takes one value");
	if (parse_i64(str_of(one->values[0]), "until", &seconds, &ignored) >= 0) {
		*ret_ns = seconds * 1000000000;
		return 0;
	}
	if (parse_duration(str_of(one->values[0]), "until", &ns, &ignored) >= 0) {
		*ret_ns = world_now_ns(w) - ns;
		return 0;
	}
	return rfc3339_parse(one->values[0], ret_ns, e);
}
