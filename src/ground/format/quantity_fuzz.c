/* Fuzz: what is a quantity is written as one that is worth the same, or is refused. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/format/quantity.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char text[QUANTITY_CHARS], again[QUANTITY_CHARS];
	struct quantity q, back;
	struct err e = {0};

	if (quantity_parse((struct str){(const char *)bytes, n}, &q, &e) < 0) {
		assert(e.text[0]);
		return 0;
	}
	quantity_text(&q, text);
	assert(quantity_parse(str_of(text), &back, NULL) == 0);
	assert(back.nano == q.nano);
	assert(text_eq(quantity_text(&back, again), text) || q.form == QUANTITY_BINARY);
	return 0;
}
