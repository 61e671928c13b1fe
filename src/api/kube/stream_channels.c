/*
 * The channels of a process over a client's connection.
 *
 * SPDY: the client opens a stream for each, named by its header `streamtype`; they are ready when
 * all that the query announced are there. WebSocket: the first byte of each message is the number
 * of its channel; 255 and a number ends one (v5). Both give the same events, take the same writes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/stream_priv.h"
#include "ground/base/own.h"
#include "ground/format/base64.h"
#include "ground/format/websocket.h"

#define CHANNELS_MAGIC 0x4b636861u
#define TEXT_MAX_BYTES (1u << 20) /* of a base64 message, which is gathered */

struct channels {
	uint32_t magic;
	struct duplex *duplex;
	const struct channel_protocol *protocol;
	const struct channels_events *on;
	void *ctx;
	unsigned wanted, ended;	  /* bits of channels */
	bool ready, over;	  /* over: no more events */
	int inside;		  /* of its own events */
	struct spdy *spdy;	  /* or */
	uint32_t ids[CHANNELS];	  /* of its streams; 0: not there */
	struct websocket *socket; /* and */
	int current;		  /* the channel of the message that comes; -1: not known yet */
	bool closing;		  /* it ends a channel */
	struct strbuf text;	  /* of a base64 message */
};

static const char *const channel_names[CHANNELS] = {"stdin", "stdout", "stderr", "error", "resize"};

static struct channels *channels_of(void *p)
{
	struct channels *c = p;

	assert(c->magic == CHANNELS_MAGIC);
	return c;
}

static void move(struct channels *c)
{
	struct strbuf *from = c->spdy ? spdy_out(c->spdy) : websocket_out(c->socket);

	if (from->n == 0 || !c->duplex) /* NULL: it was finished from inside an event */
		return;
	strbuf_add(duplex_out(c->duplex), from->p, from->n);
	strbuf_clear(from);
	duplex_flush(c->duplex);
}

static void tell_gone(struct channels *c)
{
	if (!c->over)
		c->on->gone(c->ctx);
}

static void tell_bytes(struct channels *c, enum channel from, struct str bytes)
{
	if (!c->over && bytes.n && (from == CHANNEL_IN || from == CHANNEL_RESIZE) &&
	    !(c->ended & 1u << from))
		c->on->bytes(c->ctx, from, bytes);
}

static void tell_ended(struct channels *c, enum channel from)
{
	if (c->over || c->ended & 1u << from)
		return;
	c->ended |= 1u << from;
	c->on->ended(c->ctx, from);
}

/* -- SPDY -------------------------------------------------------------------------------------- */

static enum channel channel_of(const struct channels *c, uint32_t id)
{
	for (unsigned i = 0; i < CHANNELS; i++)
		if (c->ids[i] == id)
			return i;
	return CHANNEL_NONE;
}

static void opened(struct channels *c, const struct spdy_event *v)
{
	struct str type = spdy_header_value(v->headers, v->headers_n, "streamtype");
	unsigned i = 0, have = 0;

	while (i < CHANNELS && !str_is(type, channel_names[i]))
		i++;
	if (i == CHANNELS || c->ids[i] || !(c->wanted & 1u << i)) {
		spdy_reset(c->spdy, v->id, SPDY_REFUSED_STREAM);
		return;
	}
	c->ids[i] = v->id;
	spdy_reply(c->spdy, v->id, NULL, 0, false);
	for (unsigned k = 0; k < CHANNELS; k++)
		have |= c->ids[k] ? 1u << k : 0;
	if (!c->ready && have == c->wanted) {
		c->ready = true;
		c->on->ready(c->ctx);
	}
}

static void spdy_happened(struct channels *c, const struct spdy_event *v)
{
	enum channel from = v->kind == SPDY_OPENED ? CHANNEL_NONE : channel_of(c, v->id);

	switch (v->kind) {
	case SPDY_OPENED:
		opened(c, v);
		break;
	case SPDY_DATA:
		if (from != CHANNEL_NONE)
			tell_bytes(c, from, v->data);
		spdy_consumed(c->spdy, v->id, v->data.n);
		break;
	case SPDY_ROOM:
		if (!c->over)
			c->on->room(c->ctx);
		break;
	case SPDY_REPLIED:
	case SPDY_HEADERS:
	case SPDY_RESET:
	case SPDY_GOAWAY:
		break;
	}
	if (from != CHANNEL_NONE && (v->fin || v->kind == SPDY_RESET))
		tell_ended(c, from);
}

static int spdy_bytes(struct channels *c, const char *p, size_t n)
{
	struct cursor in = cursor_of(p, n);
	struct spdy_event v;
	int r = 0;

	while (!c->over && (r = spdy_next(c->spdy, &in, &v, NULL)) > 0)
		spdy_happened(c, &v);
	return r;
}

/* -- WebSocket --------------------------------------------------------------------------------- */

static void whole_text(struct channels *c)
{
	auto_strbuf struct strbuf bytes = {0};
	int channel = c->text.n ? c->text.p[0] - '0' : -1;
	struct str text = {c->text.p + 1, c->text.n - 1};

	if (channel >= 0 && channel < CHANNELS && base64_decode(text, &bytes, NULL) == 0)
		tell_bytes(c, (enum channel)channel, strbuf_str(&bytes));
	strbuf_clear(&c->text);
}

static void text_piece(struct channels *c, struct str piece, bool last)
{
	if (c->text.n + piece.n > TEXT_MAX_BYTES)
		websocket_close(c->socket, WEBSOCKET_TOO_BIG, "the message is too long");
	else
		strbuf_add(&c->text, piece.p, piece.n);
	if (last)
		whole_text(c);
}

static void message_piece(void *ctx, bool text, struct str piece, bool first, bool last)
{
	struct channels *c = channels_of(ctx);

	(void)text;
	if (c->protocol->base64) {
		text_piece(c, piece, last);
		return;
	}
	if (first) {
		c->current = -1;
		c->closing = false;
	}
	if (c->current < 0 && piece.n) {
		c->current = (unsigned char)piece.p[0];
		piece.p++;
		piece.n--;
	}
	if (c->current == CHANNEL_NONE && piece.n && !c->closing) {
		c->closing = true;
		if ((unsigned char)piece.p[0] < CHANNELS)
			tell_ended(c, (enum channel)piece.p[0]);
	} else if (c->current >= 0 && c->current < CHANNELS) {
		tell_bytes(c, (enum channel)c->current, piece);
	}
}

static void write_message(struct channels *c, unsigned channel, struct str bytes)
{
	auto_strbuf struct strbuf text = {0};
	const char number[1] = {(char)(c->protocol->base64 ? '0' + channel : channel)};

	if (c->protocol->base64) {
		base64_encode(bytes, &text);
		bytes = strbuf_str(&text);
	}
	websocket_send(c->socket, c->protocol->base64, (struct str){number, 1}, bytes);
}

/* -- both -------------------------------------------------------------------------------------- */

/* What is finished from inside one of its own events is freed when that has returned. */
static void channels_free(struct channels *c)
{
	(void)spdy_free(c->spdy);
	(void)websocket_free(c->socket);
	strbuf_done(&c->text);
	c->magic = 0;
	free(c);
}

static void leave_event(struct channels *c)
{
	assert(c->inside > 0);
	if (--c->inside == 0 && c->over)
		channels_free(c);
}

static void came(void *ctx, const char *p, size_t n)
{
	struct channels *c = channels_of(ctx);
	int r;

	c->inside++;
	r = c->spdy ? spdy_bytes(c, p, n) : websocket_feed(c->socket, p, n, NULL);
	move(c);
	if (r < 0)
		tell_gone(c);
	leave_event(c);
}

static void room(void *ctx)
{
	struct channels *c = channels_of(ctx);

	c->inside++;
	if (!c->over)
		c->on->room(c->ctx);
	leave_event(c);
}

static void gone(void *ctx)
{
	struct channels *c = channels_of(ctx);

	c->inside++;
	tell_gone(c);
	leave_event(c);
}

static const struct duplex_events duplex_events = {came, room, gone};

struct channels *channels_new(struct kube *k, int fd, const struct channel_protocol *p,
			      unsigned wanted, const struct channels_events *on, void *ctx)
{
	struct channels *c = mem_new(struct channels);

	*c = (struct channels){.magic = CHANNELS_MAGIC,
			       .protocol = p,
			       .wanted = wanted,
			       .on = on,
			       .ctx = ctx,
			       .current = -1};
	if (p->websocket)
		c->socket = websocket_new(false, message_piece, c);
	else
		c->spdy = spdy_new(false);
	c->duplex = duplex_new(k, fd, &duplex_events, c);
	c->ready = p->websocket;
	if (c->duplex)
		return c;
	channels_free(c);
	return NULL;
}

bool channels_are_ready(const struct channels *c)
{
	return c->ready;
}

size_t channels_room(struct channels *c, enum channel to)
{
	size_t room_there = duplex_room(c->duplex);
	size_t window = c->spdy ? spdy_room(c->spdy, c->ids[to]) : SIZE_MAX;

	return room_there < window ? room_there : window;
}

void channels_write(struct channels *c, enum channel to, struct str bytes)
{
	assert(!c->over);
	if (!(c->wanted & 1u << to))
		return;
	if (c->spdy)
		spdy_data(c->spdy, c->ids[to], bytes.p, bytes.n, false);
	else
		write_message(c, to, bytes);
	move(c);
}

void channels_hold(struct channels *c, bool hold)
{
	duplex_hold(c->duplex, hold);
}

void channels_leave(struct channels *c)
{
	assert(!c->over);
	c->over = true;
	duplex_finish(take(c->duplex));
	if (c->inside == 0)
		channels_free(c);
}

static struct json *status_json(int code, const struct err *error)
{
	struct json *j = json_new_object(), *details, *causes, *cause;
	auto_free char *number = mem_printf("%d", code);
	auto_free char *text =
		mem_printf("command terminated with non-zero exit code: exit status %d", code);

	json_set(j, "metadata", json_new_object());
	json_set_text(j, "status", error || code ? "Failure" : "Success");
	if (error) {
		json_set_text(j, "message", error->text);
		json_set_text(j, "reason", "InternalError");
		json_set_i64(j, "code", 500);
	} else if (code) {
		json_set_text(j, "message", text);
		json_set_text(j, "reason", "NonZeroExitCode");
		cause = json_new_object();
		json_set_text(cause, "reason", "ExitCode");
		json_set_text(cause, "message", number);
		causes = json_new_array();
		json_append(causes, cause);
		details = json_new_object();
		json_set(details, "causes", causes);
		json_set(j, "details", details);
	}
	return j;
}

void channels_finish(struct channels *c, int code, const struct err *error)
{
	auto_json struct json *status = status_json(code, error);
	auto_strbuf struct strbuf text = {0};
	const char *message = json_get_text(status, "message");

	if (c->protocol->json)
		json_write(status, &text);
	else
		strbuf_add_text(&text, message ? message : "");
	if (text.n && (!c->spdy || spdy_room(c->spdy, c->ids[CHANNEL_STATUS]) >= text.n))
		channels_write(c, CHANNEL_STATUS, strbuf_str(&text));
	for (unsigned i = 0; c->spdy && i < CHANNELS; i++)
		spdy_data(c->spdy, c->ids[i], "", 0, true);
	if (c->socket)
		websocket_close(c->socket, WEBSOCKET_NORMAL, "");
	move(c);
	channels_leave(c);
}
