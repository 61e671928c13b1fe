/*
 * WebSocket frames: the examples of RFC 6455 §5.7, fragments, control frames between them, what
 * must be refused, and both ends against each other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/format/websocket.h"

struct got {
	struct strbuf text; /* "t<" or "b<" at the first piece, then the bytes, ">" at the last */
	int messages;
};

static void piece(void *ctx, bool text, struct str p, bool first, bool last)
{
	struct got *g = ctx;

	if (first)
		strbuf_add_text(&g->text, text ? "t<" : "b<");
	strbuf_add(&g->text, p.p, p.n);
	if (last) {
		strbuf_add_char(&g->text, '>');
		g->messages++;
	}
}

#define FEED(end, literal) websocket_feed((end), literal, sizeof(literal) - 1, &e)

static void test_examples(void **state)
{
	struct got g = {0};
	auto_websocket struct websocket *client = websocket_new(true, piece, &g);
	auto_websocket struct websocket *server = websocket_new(false, piece, &g);
	struct err e = {0};

	(void)state;
	assert_int_equal(FEED(client, "\x81\x05Hello"), 0);
	assert_int_equal(FEED(server, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), 0);
	assert_int_equal(FEED(client, "\x01\x03Hel\x89\0\x80\x02lo"), 0); /* a ping between */
	assert_string_equal(strbuf_text(&g.text), "t<Hello>t<Hello>t<Hello>");
	assert_int_equal(websocket_out(client)->n, 6); /* a masked pong */
	assert_int_equal(FEED(server, "\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), 0);
	assert_memory_equal(websocket_out(server)->p, "\x8a\x05Hello", 7);
	assert_int_equal(g.messages, 3);
	strbuf_done(&g.text);
}

static void refused(const char *p, size_t n)
{
	struct got g = {0};
	auto_websocket struct websocket *server = websocket_new(false, piece, &g);
	struct err e = {0};
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = websocket_feed(server, p + i, 1, &e);
	assert_int_equal(r, -ERR_INVALID);
	strbuf_done(&g.text);
}

static void test_refused(void **state)
{
	(void)state;
	refused("\x81\x05Hello", 7);		/* not masked */
	refused("\xc2\x80\0\0\0\0", 6);		/* a reserved bit */
	refused("\x80\x80\0\0\0\0", 6);		/* goes on with nothing */
	refused("\x09\x80\0\0\0\0", 6);		/* a ping in fragments */
	refused("\x89\xfe\0\x7e\0\0\0\0", 8);	/* a ping of 126 bytes */
	refused("\x83\x80\0\0\0\0", 6);		/* an opcode nobody knows */
	refused("\x81\x82\0\0\0\0\xc3\x28", 8); /* not UTF-8 */
	refused("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14);
}

static int carry(struct websocket *from, struct websocket *to, size_t piece_n)
{
	struct strbuf *out = websocket_out(from);
	int r = 0;

	while (out->n && r == 0) {
		size_t n = out->n < piece_n ? out->n : piece_n;

		r = websocket_feed(to, out->p, n, NULL);
		strbuf_drop_front(out, n);
	}
	return r;
}

static void test_both_ends(void **state)
{
	struct got at_client = {0}, at_server = {0};
	auto_websocket struct websocket *client = websocket_new(true, piece, &at_client);
	auto_websocket struct websocket *server = websocket_new(false, piece, &at_server);
	auto_free char *much = mem_new_bytes(1, 100000);

	(void)state;
	memset(much, 'x', 100000);
	websocket_send(client, false, STR("\0"), STR("abc"));
	websocket_send(client, false, STR(""), STR(""));
	websocket_send(client, true, STR("ab"), STR("cd"));
	assert_int_equal(carry(client, server, 1), 0);
	assert_int_equal(at_server.text.n, 7 + 3 + 7);
	assert_memory_equal(at_server.text.p, "b<\0abc>b<>t<abcd>", at_server.text.n);
	websocket_send(server, false, STR("\1"), (struct str){much, 100000});
	assert_int_equal(carry(server, client, 4096), 0);
	assert_int_equal(at_client.text.n, 100004);
	assert_int_equal(at_client.messages, 1);
	websocket_ping(server);
	assert_int_equal(carry(server, client, 4096), 0);
	assert_int_equal(carry(client, server, 4096), 0); /* the pong is no message */
	websocket_close(client, WEBSOCKET_NORMAL, "done");
	assert_int_equal(carry(client, server, 4096), -ERR_GONE);
	assert_int_equal(carry(server, client, 4096), -ERR_GONE);
	websocket_send(server, false, STR("\1"), STR("late"));
	assert_int_equal(websocket_out(server)->n, 0);
	assert_int_equal(at_server.messages, 3);
	strbuf_done(&at_client.text);
	strbuf_done(&at_server.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_both_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
