/*
 * Fuzz: any body is decoded or refused with a message; what is decoded can be completed, validated
 * and shown, and decodes again to the same.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/objects/complete.h"
#include "cluster/objects/decode.h"
#include "cluster/objects/table.h"
#include "cluster/objects/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct table_how how = {"meta.k8s.io/v1", TABLE_OBJECT_METADATA, false, 0};
	auto_json struct json *j = NULL, *again = NULL, *table = NULL;
	auto_strbuf struct strbuf text = {0};
	auto_arena struct arena a = {0};
	struct strict strict = {.arena = &a};
	struct causes causes = {.arena = &a};
	const struct kind *k = NULL;
	struct err e = {0};

	if (decode_body((struct str){(const char *)bytes, n}, NULL, &strict, &k, &j, &e) < 0) {
		assert(e.kind != ERR_NONE && e.text[0]);
		return 0;
	}
	complete(k, j);
	validate(k, j, j, &causes);
	table = table_new(k, &how);
	table_add(table, k, j, &how);
	json_write(j, &text);
	strict.n = 0;
	/* A text with a NUL in it is cut where C texts are used, so only the call is made. */
	(void)!decode_body(strbuf_str(&text), k, &strict, NULL, &again, &e);
	return 0;
}
