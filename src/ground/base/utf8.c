/*
 * UTF-8: see utf8.h. The second byte decides what the table of well-formed sequences (RFC 3629 §4)
 * splits by the first; the others are plain continuations.
 */
#include "ground/base/utf8.h"

#include <assert.h>

/* Bytes of a sequence by its first one, and the bounds of its second. */
static const struct {
	unsigned char from, to, low, high;
	unsigned int more;
} rows[] = {
	{0xc2, 0xdf, 0x80, 0xbf, 1}, {0xe0, 0xe0, 0xa0, 0xbf, 2}, {0xe1, 0xec, 0x80, 0xbf, 2},
	{0xed, 0xed, 0x80, 0x9f, 2}, {0xee, 0xef, 0x80, 0xbf, 2}, {0xf0, 0xf0, 0x90, 0xbf, 3},
	{0xf1, 0xf3, 0x80, 0xbf, 3}, {0xf4, 0xf4, 0x80, 0x8f, 3},
};

/* Bytes of the sequence at p, 0 when it is none. */
static size_t sequence(const unsigned char *p, size_t n)
{
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		if (p[0] < rows[r].from || p[0] > rows[r].to)
			continue;
		if (n <= rows[r].more || p[1] < rows[r].low || p[1] > rows[r].high)
			return 0;
		for (size_t i = 2; i <= rows[r].more; i++)
			if ((p[i] & 0xc0) != 0x80)
				return 0;
		return rows[r].more + 1;
	}
	return 0;
}

bool utf8_is(struct str text)
{
	const unsigned char *p = (const unsigned char *)text.p;
	size_t at = 0;

	while (at < text.n) {
		size_t n = p[at] < 0x80 ? 1 : sequence(p + at, text.n - at);

		if (n == 0)
			return false;
		at += n;
	}
	assert(at == text.n);
	return true;
}
