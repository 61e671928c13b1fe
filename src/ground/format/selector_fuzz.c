/* Fuzz: a selector of labels is written as one that is written the same, or is refused. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	auto_free char *text = str_dup((struct str){(const char *)bytes, n});
	auto_strbuf struct strbuf once = {0}, twice = {0};
	auto_json struct json *none = json_new_object();
	auto_arena struct arena a = {0};
	struct selector s;
	struct err e = {0};

	if (selector_parse_fields(text, &a, &s, &e) == 0)
		(void)selector_matches_fields(&s, none);
	if (selector_parse_labels(text, &a, &s, &e) < 0) {
		assert(e.text[0]);
		return 0;
	}
	(void)selector_matches(&s, none);
	selector_write(&s, &once);
	assert(selector_parse_labels(strbuf_text(&once), &a, &s, &e) == 0);
	selector_write(&s, &twice);
	assert(text_eq(strbuf_text(&once), strbuf_text(&twice)));
	return 0;
}
