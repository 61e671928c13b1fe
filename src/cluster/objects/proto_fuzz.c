/*
 * Fuzz: the first byte chooses a kind, the rest is its protobuf message without the envelope. What
 * is read is an object that decodes as JSON.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/objects/complete.h"
#include "cluster/objects/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	auto_json struct json *j = NULL;
	const struct kind *k;
	struct err e = {0};

	if (n == 0)
		return 0;
	k = &kinds_built_in[bytes[0] % kinds_built_in_n];
	if (decode_message((struct str){(const char *)bytes + 1, n - 1}, k->type, &j, &e) < 0) {
		assert(e.kind != ERR_NONE && e.text[0]);
		return 0;
	}
	if (decode_tree(j, k, NULL, &e) == 0)
		complete(k, j);
	return 0;
}
