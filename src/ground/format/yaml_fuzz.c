/*
 * Fuzz: any text becomes JSON that parses, or is refused with a message.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/format/json.h"
#include "ground/format/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	auto_strbuf struct strbuf b = {0};
	auto_json struct json *j = NULL;
	struct err e = {0};

	if (yaml_to_json((struct str){(const char *)bytes, n}, "fuzz", &b, &e) < 0) {
		assert(e.kind != ERR_NONE && e.text[0]);
		return 0;
	}
	if (json_parse(strbuf_str(&b), "fuzz", &j, &e) < 0)
		assert(e.text[0]);
	return 0;
}
