/*
 * What decodes, encodes and decodes again to the same bytes.
 */
#include <assert.h>

#include "ground/format/base64.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n);

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n)
{
	auto_strbuf struct strbuf once = {0};
	auto_strbuf struct strbuf text = {0};
	auto_strbuf struct strbuf twice = {0};

	if (base64_decode((struct str){(const char *)bytes, n}, &once, NULL) < 0) {
		assert(once.n == 0);
		return 0;
	}
	base64_encode(strbuf_str(&once), &text);
	assert(base64_decode(strbuf_str(&text), &twice, NULL) == 0);
	assert(str_eq(strbuf_str(&once), strbuf_str(&twice)));
	return 0;
}
