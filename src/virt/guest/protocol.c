/*
 * Frames and payloads of the agent's protocol: see protocol.h. Pure: bytes to structs and back. A
 * start is a row of fields tag:u16 zero:u16 length:u32 bytes; unknown tags are skipped.
 */
#include "virt/guest/protocol.h"

#include <assert.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"

enum start_tag {
	START_ARG = 1,
	START_ENV,
	START_CWD,
	START_USER,
	START_FLAGS,
	START_ROWS,
	START_COLUMNS,
};

enum start_flag { FLAG_TTY = 1, FLAG_STDIN = 2, FLAG_POWER_OFF = 4 };

static void add_le(struct strbuf *b, uint32_t value, unsigned bytes)
{
	unsigned char raw[4];

	assert(bytes <= sizeof(raw));
	for (unsigned i = 0; i < bytes; i++)
		raw[i] = (unsigned char)(value >> (8 * i));
	strbuf_add(b, raw, bytes);
}

void guest_write(struct strbuf *out, enum guest_type type, unsigned stream, struct str payload)
{
	assert(payload.n <= GUEST_FRAME_MAX);
	assert(type > 0 && type < GUEST_TYPES);
	assert(stream <= 2);
	add_le(out, type, 1);
	add_le(out, stream, 1);
	add_le(out, 0, 2);
	add_le(out, (uint32_t)payload.n, 4);
	strbuf_add(out, payload.p, payload.n);
}

void guest_write_u32(struct strbuf *out, enum guest_type type, uint32_t value)
{
	auto_strbuf struct strbuf b = {0};

	add_le(&b, value, 4);
	guest_write(out, type, 0, strbuf_str(&b));
}

void guest_write_pair(struct strbuf *out, enum guest_type type, uint32_t first, uint32_t second)
{
	auto_strbuf struct strbuf b = {0};

	add_le(&b, first, 4);
	add_le(&b, second, 4);
	guest_write(out, type, 0, strbuf_str(&b));
}

void guest_write_failed(struct strbuf *out, uint32_t exit_code, const char *text)
{
	auto_strbuf struct strbuf b = {0};

	add_le(&b, exit_code, 4);
	strbuf_add_text(&b, text);
	guest_write(out, GUEST_FAILED, 0, strbuf_str(&b));
}

static void add_field(struct strbuf *b, enum start_tag tag, const char *text)
{
	if (!text)
		return;
	add_le(b, tag, 2);
	add_le(b, 0, 2);
	add_le(b, (uint32_t)strlen(text), 4);
	strbuf_add_text(b, text);
}

static void add_number(struct strbuf *b, enum start_tag tag, uint32_t value)
{
	add_le(b, tag, 2);
	add_le(b, 0, 2);
	add_le(b, 4, 4);
	add_le(b, value, 4);
}

int guest_write_start(struct strbuf *out, const struct guest_start *s, struct err *e)
{
	auto_strbuf struct strbuf b = {0};

	assert(s->args && s->args[0]);
	for (char **t = s->args; *t; t++)
		add_field(&b, START_ARG, *t);
	for (char **t = s->env; t && *t; t++)
		add_field(&b, START_ENV, *t);
	add_field(&b, START_CWD, s->cwd);
	add_field(&b, START_USER, s->user);
	add_number(&b, START_FLAGS,
		   (s->tty ? FLAG_TTY : 0) | (s->want_stdin ? FLAG_STDIN : 0) |
			   (s->power_off ? FLAG_POWER_OFF : 0));
	add_number(&b, START_ROWS, s->rows);
	add_number(&b, START_COLUMNS, s->columns);
	if (b.n > GUEST_FRAME_MAX || mem_count_texts(s->args) > GUEST_LIST_MAX ||
	    mem_count_texts(s->env) > GUEST_LIST_MAX)
		return err_set(e, ERR_INVALID,
			       "arguments and environment of %zu bytes are more than the %u that a "
			       "machine takes",
			       b.n, GUEST_FRAME_MAX);
	guest_write(out, GUEST_START, 0, strbuf_str(&b));
	return 0;
}

static uint16_t cursor_le16(struct cursor *c)
{
	const unsigned char *p = cursor_bytes(c, 2);

	return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

int guest_next(const struct strbuf *in, struct guest_frame *ret, size_t *ret_n, struct err *e)
{
	struct cursor c = cursor_of(in->p, in->n);
	uint8_t type = cursor_u8(&c), stream = cursor_u8(&c);
	uint32_t n;

	(void)cursor_le16(&c);
	n = cursor_le32(&c);
	if (c.bad)
		return 0;
	if (n > GUEST_FRAME_MAX)
		return err_set(e, ERR_INVALID, "a frame of %u bytes is longer than the %u allowed",
			       n, GUEST_FRAME_MAX);
	if (c.n < n)
		return 0;
	*ret = (struct guest_frame){type, stream, {(const char *)c.p, n}};
	*ret_n = GUEST_HEADER_BYTES + n;
	return 1;
}

static struct cursor payload_of(const struct guest_frame *f)
{
	return cursor_of(f->payload.p, f->payload.n);
}

static int too_short(const struct guest_frame *f, struct err *e)
{
	return err_set(e, ERR_INVALID, "frame of type %u: %zu bytes are too few", f->type,
		       f->payload.n);
}

int guest_read_u32(const struct guest_frame *f, uint32_t *ret, struct err *e)
{
	struct cursor c = payload_of(f);
	uint32_t value = cursor_le32(&c);

	if (c.bad)
		return too_short(f, e);
	*ret = value;
	return 0;
}

int guest_read_pair(const struct guest_frame *f, uint32_t *ret_a, uint32_t *ret_b, struct err *e)
{
	struct cursor c = payload_of(f);
	uint32_t first = cursor_le32(&c), second = cursor_le32(&c);

	if (c.bad)
		return too_short(f, e);
	*ret_a = first;
	*ret_b = second;
	return 0;
}

int guest_read_failed(const struct guest_frame *f, struct arena *a, uint32_t *ret_code,
		      const char **ret_text, struct err *e)
{
	struct cursor c = payload_of(f);
	uint32_t code = cursor_le32(&c);

	if (c.bad)
		return too_short(f, e);
	*ret_code = code;
	*ret_text = arena_dup(a, (struct str){(const char *)c.p, c.n});
	return 0;
}

struct start_reading {
	struct arena *arena;
	struct guest_start *start;
	size_t args, env;
};

static int put_text(struct start_reading *s, char **list, size_t *n, struct str text, struct err *e)
{
	if (*n >= GUEST_LIST_MAX)
		return err_set(e, ERR_INVALID, "more than %d arguments or variables",
			       GUEST_LIST_MAX);
	list[(*n)++] = arena_dup(s->arena, text);
	return 0;
}

static int put_number(struct start_reading *s, uint16_t tag, struct str bytes, struct err *e)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	uint32_t value = cursor_le32(&c);

	if (c.bad)
		return err_set(e, ERR_INVALID, "start: field %u is cut short", tag);
	if (tag == START_ROWS)
		s->start->rows = value;
	else if (tag == START_COLUMNS)
		s->start->columns = value;
	else {
		s->start->tty = value & FLAG_TTY;
		s->start->want_stdin = value & FLAG_STDIN;
		s->start->power_off = value & FLAG_POWER_OFF;
	}
	return 0;
}

static int put_field(struct start_reading *s, uint16_t tag, struct str bytes, struct err *e)
{
	switch (tag) {
	case START_ARG:
		return put_text(s, s->start->args, &s->args, bytes, e);
	case START_ENV:
		return put_text(s, s->start->env, &s->env, bytes, e);
	case START_CWD:
		s->start->cwd = arena_dup(s->arena, bytes);
		return 0;
	case START_USER:
		s->start->user = arena_dup(s->arena, bytes);
		return 0;
	case START_FLAGS:
	case START_ROWS:
	case START_COLUMNS:
		return put_number(s, tag, bytes, e);
	default: /* of a later release */
		return 0;
	}
}

int guest_read_start(const struct guest_frame *f, struct arena *a, struct guest_start *ret,
		     struct err *e)
{
	struct cursor c = payload_of(f);
	struct guest_start s = {.args = arena_new_array(a, char *, GUEST_LIST_MAX + 1),
				.env = arena_new_array(a, char *, GUEST_LIST_MAX + 1)};
	struct start_reading reading = {.arena = a, .start = &s};

	while (c.n > 0) {
		uint16_t tag = cursor_le16(&c);
		const unsigned char *p;
		uint32_t n;

		(void)cursor_le16(&c);
		n = cursor_le32(&c);
		p = cursor_bytes(&c, n);
		if (!p)
			return err_set(e, ERR_INVALID, "start: cut short");
		if (put_field(&reading, tag, (struct str){(const char *)p, n}, e) < 0)
			return -ERR_INVALID;
	}
	if (reading.args == 0)
		return err_set(e, ERR_INVALID, "start: no command");
	*ret = s;
	return 0;
}
