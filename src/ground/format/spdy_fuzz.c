/*
 * Whatever comes, the codec keeps its limits, and reads the same when it comes in pieces.
 */
#include <assert.h>

#include "ground/format/spdy.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n);

/* How many bytes of data and how many other events there are; -1 of both when it broke. */
static void run(const unsigned char *bytes, size_t n, size_t piece, size_t *data, size_t *others)
{
	auto_spdy struct spdy *s = spdy_new(false);
	struct spdy_event v;
	int r = 0;

	*data = *others = 0;
	for (size_t at = 0; at < n && r >= 0;) {
		size_t m = n - at < piece ? n - at : piece;
		struct cursor c = cursor_of(bytes + at, m);

		while ((r = spdy_next(s, &c, &v, NULL)) > 0) {
			if (v.kind == SPDY_DATA) {
				*data += v.data.n;
				spdy_consumed(s, v.id, v.data.n);
			} else {
				(*others)++;
			}
			if (v.kind == SPDY_OPENED)
				spdy_reply(s, v.id, v.headers, v.headers_n, v.headers_n & 1);
			assert(spdy_streams(s) <= SPDY_STREAMS_MAX);
		}
		assert(r < 0 || c.n == 0);
		at += m;
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n)
{
	size_t data[2], others[2];

	run(bytes, n, n ? n : 1, &data[0], &others[0]);
	run(bytes, n, 3, &data[1], &others[1]);
	assert(data[0] == data[1] && others[0] == others[1]);
	return 0;
}
