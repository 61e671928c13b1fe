/*
 * Patches: see patch.h. Here are the choice between them and RFC 7386; json-patch and strategic
 * merge have files of their own.
 */
#include "cluster/objects/patch.h"

#include <assert.h>
#include <string.h>

#include "cluster/objects/patch_priv.h"
#include "ground/base/mem.h"

bool patch_type_of(const char *content_type, enum patch_type *ret)
{
	static const char *const names[] = {
		[PATCH_JSON] = "application/json-patch+json",
		[PATCH_MERGE] = "application/merge-patch+json",
		[PATCH_STRATEGIC] = "application/strategic-merge-patch+json",
		[PATCH_APPLY] = "application/apply-patch+yaml",
	};
	struct str rest = str_of(content_type), name;

	if (!content_type || !str_cut(&rest, ';', &name))
		return false;
	for (size_t i = 0; i < array_len(names); i++) {
		if (!str_is(str_trim(name), names[i]))
			continue;
		*ret = (enum patch_type)i;
		return true;
	}
	return false;
}

/* RFC 7386: null takes away, objects are merged, everything else is replaced. */
static void merge(struct json *tree, const struct json *patch)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	while (json_next(patch, &it, &key, &value)) {
		if (json_kind(value) == JSON_NULL) {
			json_remove(tree, key);
		} else if (json_kind(value) != JSON_OBJECT) {
			json_set(tree, key, json_copy(value));
		} else {
			if (json_kind(json_get(tree, key)) != JSON_OBJECT)
				json_set(tree, key, json_new_object());
			merge(json_get(tree, key), value);
		}
	}
}

int patch_apply(const struct kind *k, const struct json *object, enum patch_type type,
		const struct json *patch, struct json **ret, struct err *e)
{
	auto_json struct json *tree = NULL;
	int r = 0;

	assert(k && object && ret);
	if (type == PATCH_APPLY || (type == PATCH_STRATEGIC && k->flags & KIND_CUSTOM))
		return err_set(e, ERR_UNSUPPORTED,
			       "the body of the request was in an unknown format - accepted media "
			       "types include: application/json-patch+json, "
			       "application/merge-patch+json");
	if (json_kind(patch) != (type == PATCH_JSON ? JSON_ARRAY : JSON_OBJECT))
		return err_set(e, ERR_INVALID, "the patch is not %s",
			       type == PATCH_JSON ? "a list of operations" : "an object");
	tree = json_copy(object);
	if (type == PATCH_JSON)
		r = patch_json_ops(&tree, patch, e);
	else if (type == PATCH_MERGE)
		merge(tree, patch);
	else
		r = patch_strategic(k->type, tree, patch, e);
	if (r == 0 && json_kind(tree) != JSON_OBJECT)
		r = err_set(e, ERR_INVALID, "the patch leaves no object");
	if (r == 0)
		*ret = take(tree);
	return r;
}
