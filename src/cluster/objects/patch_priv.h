/*
 * What the files of patching share: each changes `tree` in place, which is a copy that the caller
 * throws away when a patch fails.
 */
#pragma once

#include "cluster/objects/patch.h"

int patch_json_ops(struct json **tree, const struct json *ops, struct err *e) must_use;
int patch_strategic(const struct type *t, struct json *tree, const struct json *patch,
		    struct err *e) must_use;
