/*
 * Whatever comes, it is read the same when it comes in pieces, and a message's pieces are in order.
 */
#include <assert.h>

#include "ground/format/websocket.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n);

struct seen {
	bool inside;
	size_t data, messages;
	int r;
};

static void piece(void *ctx, bool text, struct str p, bool first, bool last)
{
	struct seen *s = ctx;

	(void)text;
	assert(first == !s->inside);
	s->inside = !last;
	s->data += p.n;
	s->messages += last;
}

static struct seen run(const unsigned char *bytes, size_t n, size_t step)
{
	struct seen s = {0};
	auto_websocket struct websocket *w = websocket_new(false, piece, &s);

	for (size_t at = 0; at < n && s.r == 0; at += step)
		s.r = websocket_feed(w, bytes + at, n - at < step ? n - at : step, NULL);
	return s;
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n)
{
	struct seen a = run(bytes, n, n ? n : 1), b = run(bytes, n, 1);

	assert(a.messages == b.messages); /* of what is broken, more or less was told before */
	assert(a.r < 0 || b.r < 0 || a.data == b.data);
	return 0;
}
