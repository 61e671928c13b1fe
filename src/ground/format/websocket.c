/*
 * wslay pulls its input and pushes its output; here the input is the bytes of one feed and the
 * output a buffer, so that neither ever waits.
 */
#include "ground/format/websocket.h"

#include <assert.h>
#include <wslay/wslay.h>

#include "ground/base/mem.h"

#define WEBSOCKET_MAGIC 0x57534f43u

struct websocket {
	unsigned magic;
	wslay_event_context_ptr wslay;
	websocket_piece_fn *piece;
	void *ctx;
	struct strbuf out, message;
	const unsigned char *in; /* of the feed under way */
	size_t in_n;
	/* of the data frame under way */
	bool text, first, fin;
	uint64_t left;
	uint32_t mask;
};

static struct websocket *websocket_of(void *p)
{
	struct websocket *w = p;

	assert(w->magic == WEBSOCKET_MAGIC);
	return w;
}

static ssize_t pull(wslay_event_context_ptr c, uint8_t *buf, size_t room, int flags, void *arg)
{
	struct websocket *w = websocket_of(arg);
	size_t n = w->in_n < room ? w->in_n : room;

	(void)flags;
	if (n == 0) {
		wslay_event_set_error(c, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	memcpy(buf, w->in, n);
	w->in += n;
	w->in_n -= n;
	return (ssize_t)n;
}

static ssize_t push(wslay_event_context_ptr c, const uint8_t *p, size_t n, int flags, void *arg)
{
	(void)c;
	(void)flags;
	strbuf_add(&websocket_of(arg)->out, p, n);
	return (ssize_t)n;
}

static int make_mask(wslay_event_context_ptr c, uint8_t *buf, size_t n, void *arg)
{
	struct websocket *w = websocket_of(arg);

	(void)c;
	w->mask = w->mask * 1664525u + 1013904223u;
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(w->mask >> (i % 4) * 8);
	return 0;
}

static void give(struct websocket *w, struct str piece)
{
	bool first = w->first;

	w->first = false;
	w->piece(w->ctx, w->text, piece, first, w->fin && w->left == 0);
}

static void frame_begins(wslay_event_context_ptr c,
			 const struct wslay_event_on_frame_recv_start_arg *f, void *arg)
{
	struct websocket *w = websocket_of(arg);

	(void)c;
	if (wslay_is_ctrl_frame(f->opcode))
		return;
	if (f->opcode != WSLAY_CONTINUATION_FRAME) {
		w->text = f->opcode == WSLAY_TEXT_FRAME;
		w->first = true;
	}
	w->fin = f->fin;
	w->left = f->payload_length;
	if (w->left == 0)
		give(w, STR(""));
}

/* Of control frames too; their bytes have no part in `left`, which is 0 between data frames. */
static void frame_goes_on(wslay_event_context_ptr c,
			  const struct wslay_event_on_frame_recv_chunk_arg *f, void *arg)
{
	struct websocket *w = websocket_of(arg);

	(void)c;
	if (w->left == 0)
		return;
	assert(f->data_length <= w->left);
	w->left -= f->data_length;
	give(w, (struct str){(const char *)f->data, f->data_length});
}

struct websocket *websocket_new(bool client, websocket_piece_fn *piece, void *ctx)
{
	const struct wslay_event_callbacks on = {
		.recv_callback = pull,
		.send_callback = push,
		.genmask_callback = make_mask,
		.on_frame_recv_start_callback = frame_begins,
		.on_frame_recv_chunk_callback = frame_goes_on,
	};
	struct websocket *w = mem_new(struct websocket);
	int r;

	*w = (struct websocket){.magic = WEBSOCKET_MAGIC, .piece = piece, .ctx = ctx, .mask = 1};
	r = client ? wslay_event_context_client_init(&w->wslay, &on, w)
		   : wslay_event_context_server_init(&w->wslay, &on, w);
	assert(r == 0);
	wslay_event_config_set_no_buffering(w->wslay, 1);
	return w;
}

struct websocket *websocket_free(struct websocket *w)
{
	if (!w)
		return NULL;
	wslay_event_context_free(websocket_of(w)->wslay);
	strbuf_done(&w->out);
	strbuf_done(&w->message);
	w->magic = 0;
	free(w);
	return NULL;
}

static void flush(struct websocket *w)
{
	(void)wslay_event_send(w->wslay); /* into memory: there is nothing to fail */
}

int websocket_feed(struct websocket *w, const void *p, size_t n, struct err *e)
{
	int r;

	assert(w->in_n == 0);
	w->in = p;
	w->in_n = n;
	r = wslay_event_recv(w->wslay);
	flush(w);
	w->in_n = 0;
	if (wslay_event_get_close_received(w->wslay))
		return err_set(e, ERR_GONE, "WebSocket: closed by the peer with code %u",
			       wslay_event_get_status_code_received(w->wslay));
	if (r < 0 || !wslay_event_get_read_enabled(w->wslay))
		return err_set(e, ERR_INVALID, "WebSocket: the peer breaks the protocol");
	return 0;
}

struct strbuf *websocket_out(struct websocket *w)
{
	return &w->out;
}

static void queue(struct websocket *w, uint8_t opcode, const void *p, size_t n)
{
	const struct wslay_event_msg m = {opcode, p, n};

	(void)wslay_event_queue_msg(w->wslay, &m); /* refused only once a close was sent */
	flush(w);
}

void websocket_send(struct websocket *w, bool text, struct str head, struct str body)
{
	uint8_t opcode = text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME;

	strbuf_clear(&w->message);
	strbuf_add(&w->message, head.p, head.n);
	strbuf_add(&w->message, body.p, body.n);
	queue(w, opcode, w->message.p, w->message.n);
}

void websocket_ping(struct websocket *w)
{
	queue(w, WSLAY_PING, NULL, 0);
}

void websocket_close(struct websocket *w, enum websocket_code code, const char *why)
{
	size_t n = strlen(why);

	(void)wslay_event_queue_close(w->wslay, (uint16_t)code, (const uint8_t *)why,
				      n < 123 ? n : 123);
	flush(w);
}
