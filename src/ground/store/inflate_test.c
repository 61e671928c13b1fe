/*
 * Tests of streams that come in pieces: wherever a piece ends, in the header, the data or the
 * trailer, the same plain bytes come out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/str.h"
#include "ground/store/inflate.h"

/* "hello hull" by gzip: with every optional field (extra, name, comment, header sum), and bare. */
#define DATA "\xcb\x48\xcd\xc9\xc9\x57\xc8\x28\xcd\xc9\x01\x00\x78\x95\x9b\xe5\x0a\x00\x00\x00"
static const char full[] =
	"\x1f\x8b\x08\x1e\x01\x02\x03\x04\x00\x03\x06\x00sixsixa name of some length.tar\0"
	"a comment\0\xf5\x61" DATA;
static const char named[] = "\x1f\x8b\x08\x08\x01\x02\x03\x04\x00\x03layer.tar\0" DATA;
static const char bare[] = "\x1f\x8b\x08\x00\x01\x02\x03\x04\x00\x03" DATA;
static const char zstd[] = "\x28\xb5\x2f\xfd\x20\x0a\x51\x00\x00hello hull";
static const char skippable[] =
	"\x50\x2a\x4d\x18\x04\x00\x00\x00skip\x28\xb5\x2f\xfd\x20\x0a\x51\x00\x00hello hull";

struct pieces {
	struct str left;
	size_t first, then; /* how much a read gives: at first, and after that */
};

static int64_t read_piece(void *arg, void *p, size_t n, struct err *e)
{
	struct pieces *s = arg;
	size_t most = s->first ? s->first : s->then;

	(void)e;
	s->first = 0;
	n = n < most ? n : most;
	n = n < s->left.n ? n : s->left.n;
	memcpy(p, s->left.p, n);
	s->left.p += n;
	s->left.n -= n;
	return (int64_t)n;
}

static int read_all(struct str bytes, size_t first, size_t then, struct strbuf *ret)
{
	struct pieces source = {bytes, first, then};
	auto_inflate struct inflate *i = NULL;
	const void *block;
	struct err e = {0};
	int64_t n;

	assert_int_equal(inflate_new(&(struct inflate_source){read_piece, &source}, &i, &e), 0);
	while ((n = inflate_next(i, &block, &e)) > 0)
		strbuf_add(ret, block, (size_t)n);
	return (int)n;
}

static void any_cut_gives_the_same(void **state)
{
#define ROW(bytes, plain)                         \
	{                                         \
		{bytes, sizeof(bytes) - 1}, plain \
	}
	static const struct {
		struct str bytes;
		const char *plain;
	} rows[] = {
		ROW(full, "hello hull"),      ROW(named, "hello hull"),
		ROW(bare, "hello hull"),      ROW(zstd, "hello hull"),
		ROW(skippable, "hello hull"), ROW("plain hello", "plain hello"),
	};

	for (size_t k = 0; k < array_len(rows); k++) {
		for (size_t cut = 1; cut <= rows[k].bytes.n; cut++) {
			auto_strbuf struct strbuf two = {0}, many = {0};

			assert_int_equal(read_all(rows[k].bytes, cut, SIZE_MAX, &two), 0);
			assert_string_equal(strbuf_text(&two), rows[k].plain);
			assert_int_equal(read_all(rows[k].bytes, cut, 1, &many), 0);
			assert_string_equal(strbuf_text(&many), rows[k].plain);
		}
	}
}

static void a_cut_stream_is_damaged(void **state)
{
	for (size_t n = 4; n < sizeof(full) - 1; n++) {
		auto_strbuf struct strbuf b = {0};

		assert_int_equal(read_all((struct str){full, n}, n, 1, &b), -ERR_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_cut_gives_the_same),
		cmocka_unit_test(a_cut_stream_is_damaged),
	};

	return cmocka_run_group_tests_name("ground/store/inflate", tests, NULL, NULL);
}
