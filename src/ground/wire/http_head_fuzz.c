/*
 * Feeds arbitrary bytes as a reply: the head, then the body in uneven pieces. Whatever comes, the
 * parsers use no more than they were given and always get on.
 */
#include <assert.h>
#include <stdlib.h>

#include "ground/wire/http_head.h"

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n);

static void body(struct http_body *b, const char *p, size_t n)
{
	size_t have = 0, from = 0;

	while (!b->ended) {
		struct str piece;
		size_t used = 0;

		have = have + 7 < n ? have + 7 : n;
		if (http_body_next(b, (struct str){p + from, have - from}, &piece, &used, NULL) < 0)
			return;
		assert(used <= have - from);
		assert(piece.n <= used);
		from += used;
		if (!used && have == n)
			return;
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n)
{
	const char *p = (const char *)bytes;
	struct http_head h = {0};
	struct http_body b;
	size_t used = 0;

	if (n && http_head_parse((struct str){p, n}, &h, &used, NULL) == 0) {
		assert(used <= n);
		if (http_body_start(&h, false, &b, NULL) == 0)
			body(&b, p + used, n - used);
		http_head_done(&h);
	}
	return 0;
}
