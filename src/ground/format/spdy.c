/*
 * SPDY's frames and streams. Theory of operation: a frame's 8-byte head, and a control frame's
 * whole body, are gathered before they are looked at; data is handed out as it comes, piece by
 * piece, and is never copied here.
 *
 * A stream is in the table from SYN_STREAM until both halves ended or it was reset. Ids only grow,
 * so an id below the last one that is not in the table was there once: what still comes for it was
 * under way and is dropped.
 */
#include "ground/format/spdy.h"

#include <assert.h>

#include "ground/base/mem.h"
#include "ground/format/spdy_priv.h"

#define SPDY_MAGIC  0x53504459u
#define VERSION	    3
#define HEAD_BYTES  8
#define FLAG_FIN    1
#define ID_MASK	    0x7fffffffu
#define WINDOW_MAX  0x7fffffff
#define INITIAL_SET 7 /* SETTINGS_INITIAL_WINDOW_SIZE */

enum frame_type {
	SYN_STREAM = 1,
	SYN_REPLY = 2,
	RST_STREAM = 3,
	SETTINGS = 4,
	PING = 6,
	GOAWAY = 7,
	HEADERS = 8,
	WINDOW_UPDATE = 9,
};

struct stream {
	uint32_t id;
	bool ended, ended_there; /* the two halves */
	int64_t window;		 /* what may be sent */
	uint32_t owed;		 /* consumed and not given back yet */
};

struct spdy {
	unsigned magic;
	bool client, broken, counts; /* counts: the peer shows that it has windows */
	uint32_t next_id, peer_id;   /* the last one the peer opened */
	struct stream streams[SPDY_STREAMS_MAX];
	size_t n;
	int64_t initial, window; /* of new streams; of the connection */
	uint32_t owed;
	struct spdy_block block;
	struct strbuf out, gathered;
	/* the frame under way */
	uint32_t first, length; /* of its head */
	bool in_frame;
	size_t left; /* of data */
};

struct spdy *spdy_new(bool client)
{
	struct spdy *s = mem_new(struct spdy);

	s->magic = SPDY_MAGIC;
	s->client = client;
	s->next_id = client ? 1 : 2;
	s->initial = s->window = SPDY_WINDOW;
	spdy_block_init(&s->block);
	return s;
}

struct spdy *spdy_free(struct spdy *s)
{
	if (!s)
		return NULL;
	assert(s->magic == SPDY_MAGIC);
	spdy_block_done(&s->block);
	strbuf_done(&s->out);
	strbuf_done(&s->gathered);
	s->magic = 0;
	free(s);
	return NULL;
}

/* -- streams ----------------------------------------------------------------------------------- */

static struct stream *find(const struct spdy *s, uint32_t id)
{
	for (size_t i = s->n; i-- > 0;)
		if (s->streams[i].id == id)
			return (struct stream *)(uintptr_t)&s->streams[i];
	return NULL;
}

static struct stream *add(struct spdy *s, uint32_t id)
{
	struct stream *t = &s->streams[s->n++];

	assert(s->n <= SPDY_STREAMS_MAX);
	*t = (struct stream){.id = id, .window = s->initial};
	return t;
}

static void forget(struct spdy *s, struct stream *t)
{
	assert(t >= s->streams && t < s->streams + s->n);
	*t = s->streams[--s->n];
}

static void ended_there(struct spdy *s, struct stream *t)
{
	t->ended_there = true;
	if (t->ended)
		forget(s, t);
}

static void ended(struct spdy *s, struct stream *t)
{
	t->ended = true;
	if (t->ended_there)
		forget(s, t);
}

bool spdy_is_open(const struct spdy *s, uint32_t id)
{
	return find(s, id) != NULL;
}

size_t spdy_streams(const struct spdy *s)
{
	return s->n;
}

/* -- what is sent ------------------------------------------------------------------------------ */

static void put32(struct strbuf *b, uint32_t v)
{
	const unsigned char p[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
				    (unsigned char)(v >> 8), (unsigned char)v};

	strbuf_add(b, p, sizeof(p));
}

static void put_control(struct spdy *s, enum frame_type type, unsigned flags, size_t length)
{
	assert(length < 1u << 24);
	put32(&s->out, 0x80000000u | VERSION << 16 | type);
	put32(&s->out, (uint32_t)flags << 24 | (uint32_t)length);
}

/* With one or two words of body. */
static void put_words(struct spdy *s, enum frame_type type, uint32_t a, uint32_t b)
{
	put_control(s, type, 0, type == PING ? 4 : 8);
	put32(&s->out, a);
	if (type != PING)
		put32(&s->out, b);
}

/* SYN_STREAM with its two further words, SYN_REPLY. */
static void put_headers(struct spdy *s, enum frame_type type, uint32_t id,
			const struct spdy_header *h, size_t n, bool fin)
{
	auto_strbuf struct strbuf packed = {0};
	size_t more = type == SYN_STREAM ? 6 : 0;

	spdy_block_write(&s->block, h, n, &packed);
	put_control(s, type, fin ? FLAG_FIN : 0, 4 + more + packed.n);
	put32(&s->out, id);
	if (more)
		strbuf_add(&s->out, "\0\0\0\0\0\0", more);
	strbuf_add(&s->out, packed.p, packed.n);
}

struct strbuf *spdy_out(struct spdy *s)
{
	return &s->out;
}

uint32_t spdy_open(struct spdy *s, const struct spdy_header *h, size_t n, bool fin)
{
	struct stream *t;

	if (s->n == SPDY_STREAMS_MAX || s->next_id > ID_MASK)
		return 0;
	t = add(s, s->next_id);
	t->ended = fin;
	s->next_id += 2;
	put_headers(s, SYN_STREAM, t->id, h, n, fin);
	return t->id;
}

void spdy_reply(struct spdy *s, uint32_t id, const struct spdy_header *h, size_t n, bool fin)
{
	struct stream *t = find(s, id);

	if (!t)
		return;
	put_headers(s, SYN_REPLY, id, h, n, fin);
	if (fin)
		ended(s, t);
}

size_t spdy_room(const struct spdy *s, uint32_t id)
{
	const struct stream *t = find(s, id);
	int64_t least;

	if (!t || !s->counts)
		return SIZE_MAX;
	least = t->window < s->window ? t->window : s->window;
	return least > 0 ? (size_t)least : 0;
}

void spdy_data(struct spdy *s, uint32_t id, const void *p, size_t n, bool fin)
{
	struct stream *t = find(s, id);
	const char *at = p;

	if (!t || t->ended)
		return;
	assert(n <= spdy_room(s, id));
	t->window -= (int64_t)n;
	s->window -= (int64_t)n;
	do {
		size_t piece = n < SPDY_DATA_MAX_BYTES ? n : SPDY_DATA_MAX_BYTES;
		bool last = fin && piece == n;

		if (piece == 0 && !fin)
			break;
		put32(&s->out, id);
		put32(&s->out, (last ? (uint32_t)FLAG_FIN << 24 : 0) | (uint32_t)piece);
		strbuf_add(&s->out, at, piece);
		n -= piece;
		at += piece;
	} while (n);
	if (fin)
		ended(s, t);
}

void spdy_reset(struct spdy *s, uint32_t id, enum spdy_reset_reason why)
{
	struct stream *t = find(s, id);

	if (t) {
		put_words(s, RST_STREAM, id, why);
		forget(s, t);
	}
}

void spdy_goaway(struct spdy *s, uint32_t status)
{
	put_words(s, GOAWAY, s->peer_id, status);
}

void spdy_consumed(struct spdy *s, uint32_t id, size_t n)
{
	struct stream *t = find(s, id);

	assert(n <= UINT32_MAX / 4);
	s->owed += (uint32_t)n;
	if (s->owed >= SPDY_WINDOW / 2) {
		put_words(s, WINDOW_UPDATE, 0, s->owed);
		s->owed = 0;
	}
	if (!t || t->ended_there)
		return;
	t->owed += (uint32_t)n;
	if (t->owed >= SPDY_WINDOW / 2) {
		put_words(s, WINDOW_UPDATE, id, t->owed);
		t->owed = 0;
	}
}

struct str spdy_header_value(const struct spdy_header *h, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (str_is(h[i].name, name))
			return h[i].value;
	return (struct str){NULL, 0};
}

/* -- what comes -------------------------------------------------------------------------------- */

static int protocol_error(struct err *e, const char *what)
{
	return err_set(e, ERR_INVALID, "SPDY: %s", what);
}

/* Puts the block into the event. Read in any case: compression goes on from one to the next. */
static int read_block(struct spdy *s, struct cursor *c, struct spdy_event *ret, struct err *e)
{
	size_t n = c->n;
	int r = spdy_block_read(&s->block, (struct str){(const char *)cursor_bytes(c, n), n}, e);

	if (r < 0)
		return r;
	ret->headers = s->block.headers;
	ret->headers_n = s->block.n;
	return 0;
}

static int on_syn_stream(struct spdy *s, struct cursor *c, struct spdy_event *ret, struct err *e)
{
	uint32_t id = cursor_be32(c) & ID_MASK;
	struct stream *t;
	int r;

	(void)cursor_bytes(c, 6); /* associated stream, priority, slot */
	if (c->bad)
		return protocol_error(e, "a SYN_STREAM is cut off");
	r = read_block(s, c, ret, e);
	if (r < 0)
		return r;
	if (id <= s->peer_id || (id & 1) == (s->client ? 1 : 0))
		return protocol_error(e, "a stream's id is not the next one");
	s->peer_id = id;
	if (s->n == SPDY_STREAMS_MAX) {
		put_words(s, RST_STREAM, id, SPDY_REFUSED_STREAM);
		return 0;
	}
	t = add(s, id);
	t->ended_there = ret->fin;
	ret->kind = SPDY_OPENED;
	ret->id = id;
	return 1;
}

/* SYN_REPLY and HEADERS */
static int on_headers(struct spdy *s, enum frame_type type, struct cursor *c,
		      struct spdy_event *ret, struct err *e)
{
	uint32_t id = cursor_be32(c) & ID_MASK;
	struct stream *t = find(s, id);
	int r;

	if (c->bad)
		return protocol_error(e, "a frame of headers is cut off");
	r = read_block(s, c, ret, e);
	if (r < 0)
		return r;
	if (!t || t->ended_there)
		return 0;
	ret->kind = type == SYN_REPLY ? SPDY_REPLIED : SPDY_HEADERS;
	ret->id = id;
	if (ret->fin)
		ended_there(s, t);
	return 1;
}

static int on_reset(struct spdy *s, struct cursor *c, struct spdy_event *ret, struct err *e)
{
	uint32_t id = cursor_be32(c) & ID_MASK, status = cursor_be32(c);
	struct stream *t = find(s, id);

	if (c->bad || c->n)
		return protocol_error(e, "a RST_STREAM has not 8 bytes");
	if (!t)
		return 0;
	forget(s, t);
	*ret = (struct spdy_event){.kind = SPDY_RESET, .id = id, .status = status};
	return 1;
}

/* Windows of all streams move by the difference, also below zero. */
static int on_settings(struct spdy *s, struct cursor *c, struct spdy_event *ret, struct err *e)
{
	uint32_t count = cursor_be32(c);
	bool changed = false;

	if (c->bad || c->n != (size_t)count * 8)
		return protocol_error(e, "lengths of SETTINGS do not add up");
	for (uint32_t i = 0; i < count; i++) {
		uint32_t id = cursor_be32(c) & 0xffffff, value = cursor_be32(c);

		if (id != INITIAL_SET)
			continue;
		if (value > WINDOW_MAX)
			return protocol_error(e, "the initial window is too large");
		for (size_t k = 0; k < s->n; k++)
			s->streams[k].window += (int64_t)value - s->initial;
		s->initial = value;
		s->counts = changed = true;
	}
	*ret = (struct spdy_event){.kind = SPDY_ROOM};
	return changed;
}

static int on_window(struct spdy *s, struct cursor *c, struct spdy_event *ret, struct err *e)
{
	uint32_t id = cursor_be32(c) & ID_MASK, more = cursor_be32(c) & ID_MASK;
	struct stream *t = find(s, id);

	if (c->bad || c->n)
		return protocol_error(e, "a WINDOW_UPDATE has not 8 bytes");
	s->counts = true;
	*ret = (struct spdy_event){.kind = SPDY_ROOM, .id = id};
	if (id == 0) {
		s->window += more;
		return s->window > WINDOW_MAX ? protocol_error(e, "the window overflows") : 1;
	}
	if (!t)
		return 0;
	t->window += more;
	if (t->window <= WINDOW_MAX)
		return 1;
	spdy_reset(s, id, SPDY_FLOW_CONTROL_ERROR);
	*ret = (struct spdy_event){.kind = SPDY_RESET, .id = id, .status = SPDY_FLOW_CONTROL_ERROR};
	return 1;
}

static int on_ping(struct spdy *s, struct cursor *c, struct err *e)
{
	uint32_t id = cursor_be32(c);

	if (c->bad || c->n)
		return protocol_error(e, "a PING has not 4 bytes");
	if ((id & 1) != (s->client ? 1 : 0)) /* else it is an answer, and nobody asked */
		put_words(s, PING, id, 0);
	return 0;
}

static int control(struct spdy *s, struct cursor c, struct spdy_event *ret, struct err *e)
{
	*ret = (struct spdy_event){.fin = s->length >> 24 & FLAG_FIN};
	switch (s->first & 0xffff) {
	case SYN_STREAM:
		return on_syn_stream(s, &c, ret, e);
	case SYN_REPLY:
	case HEADERS:
		return on_headers(s, s->first & 0xffff, &c, ret, e);
	case RST_STREAM:
		return on_reset(s, &c, ret, e);
	case SETTINGS:
		return on_settings(s, &c, ret, e);
	case PING:
		return on_ping(s, &c, e);
	case GOAWAY:
		(void)cursor_be32(&c);
		*ret = (struct spdy_event){.kind = SPDY_GOAWAY, .status = cursor_be32(&c)};
		return c.bad ? protocol_error(e, "a GOAWAY is cut off") : 1;
	case WINDOW_UPDATE:
		return on_window(s, &c, ret, e);
	default:
		return 0; /* to be ignored, as the draft says */
	}
}

/* The next `want` bytes in one piece: from `in` itself, or gathered over several calls. */
static const unsigned char *gather(struct spdy *s, struct cursor *in, size_t want)
{
	size_t more;

	if (s->gathered.n == 0 && in->n >= want)
		return cursor_bytes(in, want);
	assert(s->gathered.n <= want);
	more = want - s->gathered.n;
	more = in->n < more ? in->n : more;
	strbuf_add(&s->gathered, cursor_bytes(in, more), more);
	return s->gathered.n == want ? (const unsigned char *)s->gathered.p : NULL;
}

static int read_head(struct spdy *s, struct cursor *in, struct err *e)
{
	const unsigned char *p = gather(s, in, HEAD_BYTES);
	struct cursor c = cursor_of(p, p ? HEAD_BYTES : 0);

	if (!p)
		return 0;
	s->first = cursor_be32(&c);
	s->length = cursor_be32(&c);
	s->left = s->length & 0xffffff;
	strbuf_clear(&s->gathered);
	s->in_frame = true;
	if (!(s->first >> 31))
		return 1;
	if ((s->first >> 16 & 0x7fff) != VERSION)
		return protocol_error(e, "a frame of another version");
	if (s->left > SPDY_CONTROL_MAX_BYTES)
		return err_set(e, ERR_EXHAUSTED, "SPDY: a control frame is longer than %u bytes",
			       SPDY_CONTROL_MAX_BYTES);
	return 1;
}

/* A piece of data; also an empty one, when it ends the stream. */
static int data(struct spdy *s, struct cursor *in, struct spdy_event *ret, struct err *e)
{
	uint32_t id = s->first & ID_MASK;
	struct stream *t = find(s, id);
	size_t n = in->n < s->left ? in->n : s->left;
	bool fin = s->length >> 24 & FLAG_FIN;

	if (id == 0)
		return protocol_error(e, "data of stream 0");
	*ret = (struct spdy_event){.kind = SPDY_DATA, .id = id};
	ret->data = (struct str){(const char *)cursor_bytes(in, n), n};
	s->left -= n;
	if (s->left)
		fin = false;
	else
		s->in_frame = false;
	if (!t) {
		spdy_consumed(s, id, n);
		return 0;
	}
	if (t->ended_there) {
		spdy_reset(s, id, SPDY_ALREADY_CLOSED);
		*ret = (struct spdy_event){
			.kind = SPDY_RESET, .id = id, .status = SPDY_ALREADY_CLOSED};
		return 1;
	}
	ret->fin = fin;
	if (fin)
		ended_there(s, t);
	return n || fin;
}

/* 1: an event; 0: none, look again; 2: no more bytes */
static int step(struct spdy *s, struct cursor *in, struct spdy_event *ret, struct err *e)
{
	const unsigned char *p;
	struct cursor c;
	int r;

	if (!s->in_frame) {
		r = in->n ? read_head(s, in, e) : 0;
		if (r <= 0)
			return r < 0 ? r : 2;
	}
	if (!(s->first >> 31))
		return in->n || s->left == 0 ? data(s, in, ret, e) : 2;
	p = gather(s, in, s->left);
	if (!p && s->left)
		return 2;
	c = cursor_of(p, s->left);
	r = control(s, c, ret, e);
	strbuf_clear(&s->gathered);
	s->in_frame = false;
	return r;
}

int spdy_next(struct spdy *s, struct cursor *in, struct spdy_event *ret, struct err *e)
{
	int r;

	assert(s->magic == SPDY_MAGIC);
	if (s->broken)
		return protocol_error(e, "the connection is broken");
	do {
		r = step(s, in, ret, e);
	} while (r == 0);
	if (r < 0) {
		s->broken = true;
		spdy_goaway(s, 1);
		return r;
	}
	return r == 1;
}
