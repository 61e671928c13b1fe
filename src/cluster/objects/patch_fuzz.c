/*
 * Fuzz: the first byte chooses the kind of patch; the rest is a list of the object and the patch.
 * The object itself never changes, and what comes out is an object.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/objects/patch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	auto_json struct json *both = NULL, *before = NULL, *made = NULL;
	struct err e = {0};

	if (n == 0 ||
	    json_parse((struct str){(const char *)bytes + 1, n - 1}, "fuzz", &both, NULL) < 0)
		return 0;
	if (json_kind(both) != JSON_ARRAY || json_kind(json_at(both, 0)) != JSON_OBJECT)
		return 0;
	before = json_copy(json_at(both, 0));
	if (patch_apply(kind_of_word("pod"), json_at(both, 0), (enum patch_type)(bytes[0] % 3),
			json_at(both, 1), &made, &e) < 0)
		assert(e.text[0]);
	else
		assert(json_kind(made) == JSON_OBJECT);
	assert(json_equal(before, json_at(both, 0)));
	return 0;
}
