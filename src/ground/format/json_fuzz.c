/* Fuzz: any bytes either parse, and then write and parse again, or are refused with a message. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/format/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	auto_json struct json *j = NULL, *again = NULL;
	auto_strbuf struct strbuf out = {0};
	struct err e = {0};

	if (json_parse((struct str){(const char *)bytes, n}, "fuzz", &j, &e) < 0) {
		assert(e.kind != ERR_NONE && e.text[0]);
		return 0;
	}
	json_write(j, &out);
	assert(json_parse(strbuf_str(&out), "again", &again, &e) == 0);
	return 0;
}
