/*
 * Strategic merge. Objects are merged key by key like a merge patch; a list whose field has a merge
 * key is merged by it instead of being replaced. Directives stand among the keys:
 *
 *	$patch: replace | delete | merge	of this object, or of the element it stands in
 *	$retainKeys: [a, b]			only these keys are kept
 *	$deleteFromPrimitiveList/F: [v]		takes values out of list F
 *	$setElementOrder/F: [k]			how the elements of F are ordered afterwards
 *
 * What was not there before is a merge into nothing, so that directives never reach the object.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/patch_priv.h"
#include "ground/base/str.h"

#define ORDER  "$setElementOrder/"
#define DELETE "$deleteFromPrimitiveList/"

static int merge_object(const struct type *t, struct json *into, const struct json *patch,
			struct err *e);

static const char *directive(const struct json *patch)
{
	return json_get_text(patch, "$patch");
}

static void empty(struct json *object)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(object, &it, &key, &value)) {
		json_remove(object, key);
		it = (struct json_iter){0};
	}
}

/* Where the element of the same key stands; json_len(list) when it does not. */
static size_t place_of(const struct json *list, const char *key, const struct json *element)
{
	const struct json *wanted =
		key && json_kind(element) == JSON_OBJECT ? json_get(element, key) : element;
	size_t i;

	for (i = 0; wanted && i < json_len(list); i++) {
		const struct json *one = json_at(list, i);

		if (key && json_kind(one) == JSON_OBJECT)
			one = json_get(one, key);
		if (json_equal(one, wanted))
			return i;
	}
	return json_len(list);
}

static struct json *without(const struct json *list, size_t at)
{
	struct json *made = json_new_array();

	for (size_t i = 0; i < json_len(list); i++)
		if (i != at)
			json_append(made, json_ref(json_at(list, i)));
	return made;
}

static bool replaces(const struct json *patch)
{
	for (size_t i = 0; i < json_len(patch); i++)
		if (text_eq(directive(json_at(patch, i)), "replace"))
			return true;
	return false;
}

static int merge_element(const struct field *f, struct json **list, const struct json *element,
			 struct err *e)
{
	size_t at = place_of(*list, f->merge_key, element);
	struct json *made;

	if (f->type != FIELD_STRUCT) {
		if (at == json_len(*list))
			json_append(*list, json_copy(element));
		return 0;
	}
	if (json_kind(element) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "an element of '%s' in the patch is not an object",
			       f->name);
	if (f->merge_key && !json_get(element, f->merge_key))
		return err_set(e, ERR_INVALID, "map: %s does not contain declared merge key: %s",
			       f->name, f->merge_key);
	if (text_eq(directive(element), "delete")) {
		made = without(*list, at);
		json_free(*list);
		*list = made;
		return 0;
	}
	if (at < json_len(*list))
		return merge_object(f->of, json_at(*list, at), element, e);
	made = json_new_object();
	json_append(*list, made);
	return merge_object(f->of, made, element, e);
}

/* The elements of a list that has a merge key. */
static int merge_list(const struct field *f, struct json *into, const struct json *patch,
		      struct err *e)
{
	bool afresh = replaces(patch);
	struct json *list = afresh || json_kind(json_get(into, f->name)) != JSON_ARRAY
				    ? json_new_array()
				    : json_ref(json_get(into, f->name));
	int r = 0;

	for (size_t i = 0; i < json_len(patch) && r == 0; i++) {
		const struct json *element = json_at(patch, i);

		if (afresh && json_kind(element) == JSON_OBJECT && directive(element) &&
		    json_len(element) == 1)
			continue; /* the bare directive */
		r = merge_element(f, &list, element, e);
	}
	json_set(into, f->name, list);
	return r;
}

/* Those that the order names as it says; the others stay before whom they stood before. */
static void order_list(const struct field *f, struct json *into, const struct json *order,
		       const struct json *before)
{
	struct json *list = json_get(into, f->name), *made;
	size_t next = 0;

	if (json_kind(list) != JSON_ARRAY || json_kind(order) != JSON_ARRAY)
		return;
	made = json_new_array();
	for (size_t o = 0; o < json_len(order); o++) {
		size_t at = place_of(list, f->merge_key, json_at(order, o));
		size_t was;

		if (at == json_len(list))
			continue;
		was = place_of(before, f->merge_key, json_at(list, at));
		for (; was < json_len(before) && next < was; next++) {
			struct json *other = json_at(before, next);
			size_t now = place_of(list, f->merge_key, other);

			if (now < json_len(list) &&
			    place_of(order, f->merge_key, other) == json_len(order))
				json_append(made, json_ref(json_at(list, now)));
		}
		if (place_of(made, f->merge_key, json_at(list, at)) == json_len(made))
			json_append(made, json_ref(json_at(list, at)));
	}
	for (size_t i = 0; i < json_len(list); i++)
		if (place_of(made, f->merge_key, json_at(list, i)) == json_len(made))
			json_append(made, json_ref(json_at(list, i)));
	json_set(into, f->name, made);
}

static void delete_values(struct json *into, const char *name, const struct json *values)
{
	for (size_t i = 0; i < json_len(values); i++) {
		struct json *list = json_get(into, name);
		size_t at = place_of(list, NULL, json_at(values, i));

		if (json_kind(list) == JSON_ARRAY && at < json_len(list))
			json_set(into, name, without(list, at));
	}
}

static void retain(struct json *into, const struct json *keys)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(into, &it, &key, &value)) {
		bool kept = false;

		for (size_t i = 0; i < json_len(keys) && !kept; i++)
			kept = text_eq(json_text(json_at(keys, i)), key);
		if (kept)
			continue;
		json_remove(into, key);
		it = (struct json_iter){0};
	}
}

/* The values of a map of structs or of plain values, and objects that no table describes. */
static int merge_value(const struct field *f, struct json *into, const char *key,
		       const struct json *value, struct err *e)
{
	const struct type *of =
		f && f->type == FIELD_STRUCT && f->shape == FIELD_ONE ? f->of : NULL;

	if (json_kind(value) == JSON_NULL) {
		json_remove(into, key);
		return 0;
	}
	if (json_kind(value) == JSON_ARRAY && f && f->flags & FIELD_MERGE)
		return merge_list(f, into, value, e);
	if (json_kind(value) != JSON_OBJECT) {
		json_set(into, key, json_copy(value));
		return 0;
	}
	if (text_eq(directive(value), "delete")) {
		json_remove(into, key);
		return 0;
	}
	if (json_kind(json_get(into, key)) != JSON_OBJECT)
		json_set(into, key, json_new_object());
	return merge_object(of, json_get(into, key), value, e);
}

/* What has to happen before the keys are merged. */
static int directives(const struct json *patch, struct json *into, struct err *e)
{
	const char *verb = directive(patch);

	if (!verb)
		return 0;
	if (text_eq(verb, "replace") || text_eq(verb, "delete"))
		empty(into);
	else if (!text_eq(verb, "merge"))
		return err_set(e, ERR_INVALID,
			       "Unknown patch type found: %s; \"$patch\" takes replace, delete or "
			       "merge",
			       verb);
	return 0;
}

static void order_lists(const struct type *t, struct json *into, const struct json *patch,
			const struct json *before)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (t && json_next(patch, &it, &key, &value)) {
		const struct field *f =
			text_starts(key, ORDER) ? type_field(t, key + strlen(ORDER)) : NULL;

		if (f && f->shape == FIELD_LIST)
			order_list(f, into, value, json_get(before, f->name));
	}
}

/* The lists as they were, for the order of what the patch does not name. */
static struct json *lists_of(const struct json *into)
{
	struct json *made = json_new_object();
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(into, &it, &key, &value)) {
		struct json *list;

		if (json_kind(value) != JSON_ARRAY)
			continue;
		list = json_new_array();
		for (size_t i = 0; i < json_len(value); i++)
			json_append(list, json_ref(json_at(value, i)));
		json_set(made, key, list);
	}
	return made;
}

static int merge_object(const struct type *t, struct json *into, const struct json *patch,
			struct err *e)
{
	auto_json struct json *before = lists_of(into);
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	int r = directives(patch, into, e);

	if (r == 0 && json_kind(json_get(patch, "$retainKeys")) == JSON_ARRAY)
		retain(into, json_get(patch, "$retainKeys"));
	while (r == 0 && json_next(patch, &it, &key, &value)) {
		if (text_starts(key, DELETE))
			delete_values(into, key + strlen(DELETE), value);
		else if (key[0] != '$')
			r = merge_value(t ? type_field(t, key) : NULL, into, key, value, e);
	}
	if (r == 0)
		order_lists(t, into, patch, before);
	return r;
}

int patch_strategic(const struct type *t, struct json *tree, const struct json *patch,
		    struct err *e)
{
	assert(t && tree && patch);
	return merge_object(t, tree, patch, e);
}
