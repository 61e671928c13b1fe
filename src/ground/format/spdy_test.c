/*
 * SPDY: what Python's zlib and struct made (session, bomb) is read, byte by byte too; what is made
 * here is read back by the other end; limits and broken frames end the connection.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/format/spdy.h"

/*
 * SYN_STREAM 1 (streamtype: error), SYN_STREAM 3 (streamtype: stdin, content-length: ""), PING 1,
 * DATA 3 "hello", DATA 3 fin, SETTINGS with window 10, WINDOW_UPDATE 1 by 90, RST_STREAM 1, GOAWAY.
 */
static const unsigned char session[] = {
	0x80, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2, 0x02, 0xa6, 0x23, 0x46, 0x70, 0x3a,
	0x2b, 0x29, 0x4a, 0x4d, 0xcc, 0x85, 0x16, 0x25, 0xac, 0xa9, 0xa0, 0x80, 0x06, 0x00, 0x00,
	0x00, 0xff, 0xff, 0x80, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x1d, 0x00, 0x00, 0x00, 0x03,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x65, 0x1c, 0x4c, 0xa9, 0xe2, 0x12, 0x60, 0x76,
	0xc1, 0x5a, 0x88, 0x31, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x80, 0x03, 0x00, 0x06, 0x00,
	0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x05,
	0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x00, 0x00, 0x00, 0x03, 0x01, 0x00, 0x00, 0x00, 0x80, 0x03,
	0x00, 0x04, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x07, 0x00,
	0x00, 0x00, 0x0a, 0x80, 0x03, 0x00, 0x09, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x01,
	0x00, 0x00, 0x00, 0x5a, 0x80, 0x03, 0x00, 0x03, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
	0x01, 0x00, 0x00, 0x00, 0x05, 0x80, 0x03, 0x00, 0x07, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
/* A header of 20,000 x. */
static const unsigned char bomb[] = {
	0x80, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x45, 0x00, 0x00, 0x00, 0x01, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2, 0xec, 0xd2,
	0x31, 0x0d, 0x00, 0x00, 0x08, 0xc0, 0xb0, 0xe0, 0x04, 0x45, 0xe8, 0x41, 0x3e,
	0xe0, 0x82, 0xa3, 0x4d, 0xe6, 0x60, 0xfb, 0x51, 0x5c, 0x3b, 0x76, 0x65, 0x03,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0xf0, 0xc2, 0x00, 0x00, 0x00, 0xff, 0xff,
};

/* The next event, of input given in pieces of `piece` bytes; false: there is none. */
static bool next(struct spdy *s, struct cursor *all, size_t piece, struct spdy_event *v)
{
	struct err e = {0};
	int r = 0;

	while (r == 0) {
		struct cursor c = cursor_of(all->p, all->n < piece ? all->n : piece);
		const size_t before = c.n;

		r = spdy_next(s, &c, v, &e);
		assert_true(r >= 0);
		(void)cursor_bytes(all, before - c.n);
		if (r == 0 && all->n == 0)
			return false;
	}
	return true;
}

static void header_is(const struct spdy_event *v, const char *name, const char *value)
{
	assert_true(str_is(spdy_header_value(v->headers, v->headers_n, name), value));
}

static void read_session(size_t piece)
{
	auto_spdy struct spdy *s = spdy_new(false);
	auto_strbuf struct strbuf text = {0};
	struct cursor c = cursor_of(session, sizeof(session));
	struct spdy_event v = {0};

	assert_true(next(s, &c, piece, &v));
	assert_int_equal(v.kind, SPDY_OPENED);
	assert_int_equal(v.id, 1);
	header_is(&v, "streamtype", "error");
	assert_true(next(s, &c, piece, &v));
	assert_int_equal(v.kind, SPDY_OPENED);
	assert_int_equal(v.id, 3);
	header_is(&v, "streamtype", "stdin");
	header_is(&v, "content-length", "");
	assert_null(spdy_header_value(v.headers, v.headers_n, "port").p);
	assert_int_equal(spdy_room(s, 1), SIZE_MAX);
	do {
		assert_true(next(s, &c, piece, &v));
		assert_int_equal(v.kind, SPDY_DATA);
		assert_int_equal(v.id, 3);
		strbuf_add(&text, v.data.p, v.data.n);
	} while (!v.fin);
	assert_string_equal(strbuf_text(&text), "hello");
	assert_memory_equal(spdy_out(s)->p, "\x80\x03\0\x06\0\0\0\x04\0\0\0\x01", 12);
	assert_int_equal(spdy_out(s)->n, 12); /* the answer to the ping */
	assert_true(next(s, &c, piece, &v));
	assert_int_equal(v.kind, SPDY_ROOM);
	assert_int_equal(spdy_room(s, 1), 10);
	assert_true(next(s, &c, piece, &v));
	assert_int_equal(v.kind, SPDY_ROOM);
	assert_int_equal(spdy_room(s, 1), 100);
	assert_int_equal(spdy_streams(s), 2);
	assert_true(next(s, &c, piece, &v));
	assert_int_equal(v.kind, SPDY_RESET);
	assert_int_equal(v.status, SPDY_CANCEL);
	assert_int_equal(spdy_streams(s), 1);
	assert_true(next(s, &c, piece, &v));
	assert_int_equal(v.kind, SPDY_GOAWAY);
	assert_false(next(s, &c, piece, &v));
}

static void test_session(void **state)
{
	(void)state;
	read_session(1);
	read_session(7);
	read_session(sizeof(session));
}

static void fails(const void *p, size_t n, enum err_kind kind)
{
	auto_spdy struct spdy *s = spdy_new(false);
	struct cursor c = cursor_of(p, n);
	struct spdy_event v;
	struct err e = {0};

	assert_int_equal(spdy_next(s, &c, &v, &e), -(int)kind);
	assert_memory_equal(spdy_out(s)->p, "\x80\x03\0\x07", 4); /* GOAWAY */
	assert_int_equal(spdy_next(s, &c, &v, &e), -ERR_INVALID);
}

static void test_broken(void **state)
{
	(void)state;
	fails(bomb, sizeof(bomb), ERR_EXHAUSTED);
	fails("\x80\x02\0\x06\0\0\0\x04", 8, ERR_INVALID);	/* version 2 */
	fails("\x80\x03\0\x01\0\x10\0\0", 8, ERR_EXHAUSTED);	/* 1 MiB of headers */
	fails("\0\0\0\0\0\0\0\1x", 9, ERR_INVALID);		/* data of stream 0 */
	fails("\x80\x03\0\x06\0\0\0\x02\0\0", 10, ERR_INVALID); /* a short ping */
	fails("\x80\x03\0\x01\0\0\0\x0c\0\0\0\1\0\0\0\0\0\0ab", 20, ERR_INVALID); /* no zlib */
}

/* Everything that `from` has to send, told to `to`; the last event is in *v. */
static void carry(struct spdy *from, struct spdy *to, struct spdy_event *v, int events)
{
	struct strbuf *out = spdy_out(from);
	struct cursor c = cursor_of(out->p, out->n);
	struct err e = {0};

	for (int i = 0; i < events; i++)
		assert_int_equal(spdy_next(to, &c, v, &e), 1);
	if (c.n)
		assert_int_equal(spdy_next(to, &c, v, &e), 0);
	assert_int_equal(c.n, 0);
	strbuf_clear(out);
}

static void test_both_ends(void **state)
{
	static const struct spdy_header h[] = {{STR("streamtype"), STR("stdout")}};
	auto_spdy struct spdy *client = spdy_new(true), *server = spdy_new(false);
	auto_free char *much = mem_new_bytes(1, 100000);
	struct spdy_event v = {0};
	uint32_t a = spdy_open(client, h, 1, false), b = spdy_open(client, h, 1, true);

	(void)state;
	assert_int_equal(a, 1);
	assert_int_equal(b, 3);
	carry(client, server, &v, 2);
	assert_true(v.fin);
	header_is(&v, "streamtype", "stdout");
	spdy_reply(server, a, NULL, 0, false);
	spdy_reply(server, b, h, 1, true);
	assert_false(spdy_is_open(server, b)); /* both halves ended */
	carry(server, client, &v, 2);
	assert_int_equal(v.kind, SPDY_REPLIED);
	assert_true(v.fin);
	assert_false(spdy_is_open(client, b));
	spdy_data(server, a, much, 100000, true);
	carry(server, client, &v, 4);
	assert_true(v.fin);
	assert_int_equal(v.data.n, 100000 - 3 * SPDY_DATA_MAX_BYTES);
	spdy_data(client, a, "x", 1, true);
	carry(client, server, &v, 1);
	assert_int_equal(spdy_streams(server), 0);
	assert_int_equal(spdy_streams(client), 0);
	spdy_data(client, a, "y", 1, false); /* goes nowhere */
	assert_int_equal(spdy_out(client)->n, 0);
}

/* What was consumed is given back, and from then on windows are obeyed. */
static void test_windows(void **state)
{
	auto_spdy struct spdy *client = spdy_new(true), *server = spdy_new(false);
	auto_free char *much = mem_new_bytes(1, SPDY_WINDOW);
	struct spdy_event v = {0};
	uint32_t id = spdy_open(client, NULL, 0, false);

	(void)state;
	spdy_data(client, id, much, SPDY_WINDOW, false);
	carry(client, server, &v, 3);
	spdy_consumed(server, id, SPDY_WINDOW / 2 - 1);
	assert_int_equal(spdy_out(server)->n, 0);
	spdy_consumed(server, id, 1);
	carry(server, client, &v, 2);
	assert_int_equal(v.kind, SPDY_ROOM);
	assert_int_equal(spdy_room(client, id), SPDY_WINDOW / 2);
	spdy_data(client, id, much, SPDY_WINDOW / 2, false);
	assert_int_equal(spdy_room(client, id), 0);
}

static void test_too_many(void **state)
{
	auto_spdy struct spdy *client = spdy_new(true), *server = spdy_new(false);
	struct spdy_event v = {0};

	(void)state;
	for (int i = 0; i < SPDY_STREAMS_MAX; i++)
		assert_int_equal(spdy_open(client, NULL, 0, false), 2 * i + 1);
	assert_int_equal(spdy_open(client, NULL, 0, false), 0);
	carry(client, server, &v, SPDY_STREAMS_MAX);
	spdy_reset(client, 1, SPDY_CANCEL);
	strbuf_clear(spdy_out(client)); /* the server does not hear of it */
	assert_int_equal(spdy_open(client, NULL, 0, false), 2 * SPDY_STREAMS_MAX + 1);
	carry(client, server, &v, 0);
	carry(server, client, &v, 1);
	assert_int_equal(v.kind, SPDY_RESET);
	assert_int_equal(v.status, SPDY_REFUSED_STREAM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session),	  cmocka_unit_test(test_broken),
		cmocka_unit_test(test_both_ends), cmocka_unit_test(test_windows),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
