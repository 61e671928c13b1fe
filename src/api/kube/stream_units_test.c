/*
 * Channels without a node: what a client of either protocol sends is told as it is meant, nonsense
 * harms only the client, and whoever leaves or is finished in the middle leaves nothing behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "api/kube/stream_priv.h"
#include "ground/base/own.h"
#include "ground/format/websocket.h"

struct place {
	struct kube kube;
	struct channels *channels;
	int client;
	struct strbuf told; /* "ready", "0<bytes>", "0 ended", "gone", one behind the other */
	bool finish;	    /* at the first bytes, from inside the event */
};

static void on_ready(void *ctx)
{
	struct place *p = ctx;

	strbuf_add_text(&p->told, "ready ");
}

static void on_bytes(void *ctx, enum channel c, struct str bytes)
{
	struct place *p = ctx;

	strbuf_printf(&p->told, "%d<%.*s> ", (int)c, (int)bytes.n, bytes.p);
	if (p->finish)
		channels_finish(take(p->channels), 3, NULL);
}

static void on_ended(void *ctx, enum channel c)
{
	struct place *p = ctx;

	strbuf_printf(&p->told, "%d ended ", (int)c);
}

static void on_room(void *ctx)
{
	(void)ctx;
}

static void on_gone(void *ctx)
{
	struct place *p = ctx;

	strbuf_add_text(&p->told, "gone");
	channels_leave(take(p->channels));
}

static const struct channels_events events = {on_ready, on_bytes, on_ended, on_room, on_gone};

static void open_place(struct place *p, const struct channel_protocol *protocol, unsigned wanted)
{
	struct err e;
	int pair[2];

	*p = (struct place){.kube.magic = KUBE_MAGIC};
	list_init(&p->kube.streams);
	assert_int_equal(loop_new(&p->kube.loop, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	p->client = pair[0];
	p->channels = channels_new(&p->kube, pair[1], protocol, wanted, &events, p);
	assert_non_null(p->channels);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

/* Until nothing is left to do: a few turns, none of which waits. */
static void turns(struct place *p)
{
	for (int i = 0; i < 8; i++) {
		loop_post(p->kube.loop, stop, p->kube.loop);
		loop_run(p->kube.loop);
	}
}

static void close_place(struct place *p)
{
	if (p->channels)
		channels_leave(take(p->channels));
	while (!list_empty(&p->kube.streams)) {
		struct stream *s = list_first(&p->kube.streams, struct stream, link);

		s->end(s);
	}
	(void)loop_free(p->kube.loop);
	if (p->client >= 0)
		(void)close(p->client);
	strbuf_done(&p->told);
}

static void tell(struct place *p, struct strbuf *bytes)
{
	assert_int_equal(send(p->client, bytes->p, bytes->n, MSG_NOSIGNAL), bytes->n);
	strbuf_clear(bytes);
	turns(p);
}

#define ALL (1u << CHANNEL_IN | 1u << CHANNEL_OUT | 1u << CHANNEL_STATUS)

static void test_spdy(void **state)
{
	static const struct channel_protocol v4 = {"v4.channel.k8s.io", .json = true};
	static const struct spdy_header error = {STR("streamtype"), STR("error")};
	static const struct spdy_header in = {STR("streamtype"), STR("stdin")};
	static const struct spdy_header out = {STR("streamtype"), STR("stdout")};
	static const struct spdy_header none = {STR("streamtype"), STR("stderr")};
	auto_spdy struct spdy *s = spdy_new(true);
	struct place p;
	uint32_t id;

	(void)state;
	open_place(&p, &v4, ALL);
	(void)spdy_open(s, &error, 1, false);
	id = spdy_open(s, &in, 1, false);
	(void)spdy_open(s, &none, 1, false); /* nobody announced it: refused */
	tell(&p, spdy_out(s));
	assert_false(channels_are_ready(p.channels));
	(void)spdy_open(s, &out, 1, false);
	spdy_data(s, id, "abc", 3, true);
	tell(&p, spdy_out(s));
	assert_string_equal(strbuf_text(&p.told), "ready 0<abc> 0 ended ");
	strbuf_add(spdy_out(s), "\x80\x02garbage", 9);
	tell(&p, spdy_out(s));
	assert_string_equal(strbuf_text(&p.told), "ready 0<abc> 0 ended gone");
	close_place(&p);
}

static void nothing(void *ctx, bool text, struct str piece, bool first, bool last)
{
	struct strbuf *got = ctx;

	(void)text;
	(void)first;
	strbuf_add(got, piece.p, piece.n);
	if (last)
		strbuf_add_char(got, '|');
}

/* What the server sent; the text of the status is in it. */
static void hear(struct place *p, struct websocket *w)
{
	char block[4096];
	ssize_t n = recv(p->client, block, sizeof(block), MSG_DONTWAIT);

	if (n > 0)
		(void)!websocket_feed(w, block, (size_t)n, NULL);
}

static void test_websocket(void **state)
{
	static const struct channel_protocol v5 = {"v5", .websocket = true, .json = true};
	struct strbuf got = {0};
	auto_websocket struct websocket *w = websocket_new(true, nothing, &got);
	struct place p;

	(void)state;
	open_place(&p, &v5, ALL | 1u << CHANNEL_RESIZE);
	websocket_send(w, false, STR("\0"), STR("abc"));
	websocket_send(w, false, STR("\0"), STR(""));
	websocket_send(w, false, STR("\4"), STR("{}"));
	websocket_send(w, false, STR("\1"), STR("not for clients"));
	websocket_send(w, false, STR("\x09"), STR("no such channel"));
	websocket_send(w, false, STR(""), STR(""));
	websocket_send(w, false, STR("\xff"), STR("\0"));
	websocket_send(w, false, STR("\0"), STR("late"));
	tell(&p, websocket_out(w));
	assert_string_equal(strbuf_text(&p.told), "0<abc> 4<{}> 0 ended ");
	channels_finish(take(p.channels), 3, NULL);
	turns(&p);
	hear(&p, w);
	assert_int_equal(got.p[0], CHANNEL_STATUS);
	assert_non_null(strstr(strbuf_text(&got), "\"reason\":\"ExitCode\",\"message\":\"3\""));
	assert_false(list_empty(&p.kube.streams)); /* it lingers until the client closes */
	(void)close(p.client);
	p.client = -1;
	turns(&p);
	assert_true(list_empty(&p.kube.streams));
	close_place(&p);
	strbuf_done(&got);
}

static void test_finish_inside(void **state)
{
	static const struct channel_protocol old = {"channel.k8s.io", .websocket = true};
	struct strbuf got = {0};
	auto_websocket struct websocket *w = websocket_new(true, nothing, &got);
	struct place p;

	(void)state;
	open_place(&p, &old, ALL);
	p.finish = true;
	websocket_send(w, false, STR("\0"), STR("abc"));
	websocket_send(w, false, STR("\0"), STR("more"));
	tell(&p, websocket_out(w));
	assert_string_equal(strbuf_text(&p.told), "0<abc> ");
	hear(&p, w);
	assert_memory_equal(strbuf_text(&got),
			    "\3command terminated with non-zero exit code: exit status 3|", 59);
	close_place(&p);
	strbuf_done(&got);
}

static void test_base64(void **state)
{
	static const struct channel_protocol b64 = {"v4.base64", .websocket = true, .base64 = true};
	struct strbuf got = {0};
	auto_websocket struct websocket *w = websocket_new(true, nothing, &got);
	struct place p;

	(void)state;
	open_place(&p, &b64, ALL);
	websocket_send(w, true, STR("0"), STR("YWJj"));
	websocket_send(w, true, STR("0"), STR("?"));
	websocket_send(w, true, STR(""), STR(""));
	tell(&p, websocket_out(w));
	assert_string_equal(strbuf_text(&p.told), "0<abc> ");
	channels_write(p.channels, CHANNEL_OUT, STR("xyz"));
	turns(&p);
	hear(&p, w);
	assert_string_equal(strbuf_text(&got), "1eHl6|");
	(void)close(p.client);
	p.client = -1;
	turns(&p);
	assert_string_equal(strbuf_text(&p.told), "0<abc> gone");
	close_place(&p);
	strbuf_done(&got);
}

/* Nobody reads: there is no room any more, and what waits is bounded. */
static void test_full(void **state)
{
	static const struct channel_protocol v5 = {"v5", .websocket = true, .json = true};
	auto_free char *block = mem_new_bytes(1, STREAM_BLOCK);
	struct place p;
	size_t sent = 0;

	(void)state;
	open_place(&p, &v5, ALL);
	while (channels_room(p.channels, CHANNEL_OUT) > 0 && sent < 64u << 20) {
		channels_write(p.channels, CHANNEL_OUT, (struct str){block, STREAM_BLOCK});
		sent += STREAM_BLOCK;
		turns(&p);
	}
	assert_true(sent < 4u << 20);
	close_place(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spdy),	      cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_finish_inside), cmocka_unit_test(test_base64),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
