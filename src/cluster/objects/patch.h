/*
 * Patches on JSON trees: RFC 6902 (json-patch), RFC 7386 (merge-patch) and strategic merge, whose
 * lists are merged by the keys that the kind's table names. `object` is changed in place only when
 * all went well. Operations of one json-patch are bounded by PATCH_OPS_MAX.
 */
#pragma once

#include "cluster/objects/kind.h"
#include "ground/format/json.h"

#define PATCH_OPS_MAX 10000

enum patch_type { PATCH_JSON, PATCH_MERGE, PATCH_STRATEGIC, PATCH_APPLY };

/* By content type; false: not a patch type. */
bool patch_type_of(const char *content_type, enum patch_type *ret);

/*
 * *ret is a new tree. ERR_INVALID: the patch is not one, does not fit, or a `test`
 * failed; ERR_UNSUPPORTED: strategic on a custom kind, or PATCH_APPLY.
 */
int patch_apply(const struct kind *k, const struct json *object, enum patch_type type,
		const struct json *patch, struct json **ret, struct err *e) must_use;
