/*
 * Packing by tables: see message.h for the layout, protocol.h for the structs. Encoding writes only
 * what differs from zero; decoding bounds every length by the bytes that are there, so that the
 * memory it takes is a small multiple of the packet's size.
 */
#include "virt/keeper/message.h"

#include <assert.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"

#define HEADER_BYTES 12
#define DEPTH_MAX    4

static void add_le(struct strbuf *b, uint64_t value, int bytes)
{
	unsigned char raw[8];

	assert(bytes <= 8);
	for (int i = 0; i < bytes; i++)
		raw[i] = (unsigned char)(value >> (8 * i));
	strbuf_add(b, raw, (size_t)bytes);
}

static void add_field(struct strbuf *b, uint16_t tag, const void *p, size_t n)
{
	add_le(b, tag, 2);
	add_le(b, n, 4);
	strbuf_add(b, p, n);
}

static void add_number(struct strbuf *b, uint16_t tag, int64_t value)
{
	if (value == 0)
		return;
	add_le(b, tag, 2);
	add_le(b, 8, 4);
	add_le(b, (uint64_t)value, 8);
}

static void encode(struct strbuf *b, const struct message_shape *shape, const void *in);

static void encode_nested(struct strbuf *b, const struct message_field *f, const void *at)
{
	auto_strbuf struct strbuf inner = {0};

	encode(&inner, f->shape, at);
	if (inner.n > 0)
		add_field(b, f->tag, inner.p, inner.n);
}

static void encode_field(struct strbuf *b, const struct message_field *f, const char *in)
{
	const void *at = in + f->offset;
	const char *text;

	switch ((enum message_field_type)f->type) {
	case MESSAGE_FLAG:
		if (*(const bool *)at)
			add_field(b, f->tag, "\1", 1);
		return;
	case MESSAGE_U32:
		add_number(b, f->tag, *(const uint32_t *)at);
		return;
	case MESSAGE_I32:
		add_number(b, f->tag, *(const int32_t *)at);
		return;
	case MESSAGE_I64:
		add_number(b, f->tag, *(const int64_t *)at);
		return;
	case MESSAGE_TEXT:
		text = *(char *const *)at;
		if (text)
			add_field(b, f->tag, text, strlen(text));
		return;
	case MESSAGE_BYTES:
		text = *(char *const *)at;
		if (text)
			add_field(b, f->tag, text, *(const size_t *)(const void *)(in + f->count));
		return;
	case MESSAGE_TEXTS:
		for (char *const *t = *(char ***)(uintptr_t)at; t && *t; t++)
			add_field(b, f->tag, *t, strlen(*t));
		return;
	case MESSAGE_STRUCT:
		encode_nested(b, f, at);
		return;
	}
	__builtin_unreachable();
}

static void encode(struct strbuf *b, const struct message_shape *shape, const void *in)
{
	assert(shape);
	assert(in);
	for (size_t i = 0; i < shape->fields_n; i++)
		encode_field(b, &shape->fields[i], in);
}

void message_write(struct strbuf *out, enum keeper_type type, uint32_t serial, const void *in)
{
	const struct message_shape *shape = message_shape_of(type);

	assert(!in == !shape);
	strbuf_add(out, "HK", 2);
	add_le(out, KEEPER_PROTOCOL_VERSION, 2);
	add_le(out, type, 2);
	add_le(out, 0, 2);
	add_le(out, serial, 4);
	if (in)
		encode(out, shape, in);
}

static uint64_t read_le(const unsigned char *p, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

int message_read(struct str packet, struct message *ret, struct err *e)
{
	const unsigned char *p = (const unsigned char *)packet.p;

	if (packet.n < HEADER_BYTES || p[0] != 'H' || p[1] != 'K')
		return err_set(e, ERR_INVALID, "not a message of the keeper's protocol");
	*ret = (struct message){
		.version = (uint16_t)read_le(p + 2, 2),
		.type = (uint16_t)read_le(p + 4, 2),
		.serial = (uint32_t)read_le(p + 8, 4),
		.body = {packet.p + HEADER_BYTES, packet.n - HEADER_BYTES},
	};
	return 0;
}

/* How many fields of this tag the body holds: an array of that size is made once. */
static size_t count_tag(struct cursor c, uint16_t tag)
{
	size_t n = 0;

	while (c.n > 0 && !c.bad) {
		const unsigned char *head = cursor_bytes(&c, 6);

		if (!head || !cursor_bytes(&c, (size_t)read_le(head + 2, 4)))
			break;
		n += (uint16_t)read_le(head, 2) == tag;
	}
	return n;
}

static char *dup_text(struct arena *a, const unsigned char *p, size_t n)
{
	/* Texts end at a NUL that a peer may have put inside: what follows is not seen by anybody.
	 */
	return arena_dup(a, (struct str){(const char *)p, n});
}

struct decoding {
	struct arena *arena;
	struct cursor all; /* of this struct: to count a list's elements at its first */
	int depth;
};

static int decode(const struct decoding *d, const struct message_shape *shape, void *out,
		  struct err *e);

/* The whole list at its first element: later ones find it there. */
static void decode_list(const struct decoding *d, const struct message_field *f, char ***list)
{
	struct cursor c = d->all;
	size_t at = 0;

	if (*list)
		return;
	*list = arena_new_array(d->arena, char *, count_tag(c, f->tag) + 1);
	while (c.n > 0 && !c.bad) {
		const unsigned char *head = cursor_bytes(&c, 6);
		size_t n = head ? (size_t)read_le(head + 2, 4) : 0;
		const unsigned char *p = head ? cursor_bytes(&c, n) : NULL;

		if (p && (uint16_t)read_le(head, 2) == f->tag)
			(*list)[at++] = dup_text(d->arena, p, n);
	}
}

static int decode_number(const struct message_field *f, const unsigned char *p, size_t n, void *at,
			 struct err *e)
{
	int64_t value = n == 8 ? (int64_t)read_le(p, 8) : 0;

	if (n != 8)
		return err_set(e, ERR_INVALID, "field %u: a number of %zu bytes", f->tag, n);
	if (f->type == MESSAGE_I64)
		*(int64_t *)at = value;
	else if (f->type == MESSAGE_U32 && value >= 0 && value <= UINT32_MAX)
		*(uint32_t *)at = (uint32_t)value;
	else if (f->type == MESSAGE_I32 && value >= INT32_MIN && value <= INT32_MAX)
		*(int32_t *)at = (int32_t)value;
	else
		return err_set(e, ERR_INVALID, "field %u: number out of range", f->tag);
	return 0;
}

static int decode_field(const struct decoding *d, const struct message_field *f,
			const unsigned char *p, size_t n, char *out, struct err *e)
{
	void *at = out + f->offset;

	switch ((enum message_field_type)f->type) {
	case MESSAGE_FLAG:
		*(bool *)at = n > 0 && p[0];
		return 0;
	case MESSAGE_U32:
	case MESSAGE_I32:
	case MESSAGE_I64:
		return decode_number(f, p, n, at, e);
	case MESSAGE_TEXT:
		*(char **)at = dup_text(d->arena, p, n);
		return 0;
	case MESSAGE_BYTES:
		*(char **)at = dup_text(d->arena, p, n);
		*(size_t *)(void *)(out + f->count) = n;
		return 0;
	case MESSAGE_TEXTS:
		decode_list(d, f, at);
		return 0;
	case MESSAGE_STRUCT:
		return decode(&(struct decoding){d->arena, cursor_of(p, n), d->depth + 1}, f->shape,
			      at, e);
	}
	__builtin_unreachable();
}

static const struct message_field *find_tag(const struct message_shape *shape, uint16_t tag)
{
	for (size_t i = 0; i < shape->fields_n; i++)
		if (shape->fields[i].tag == tag)
			return &shape->fields[i];
	return NULL;
}

static int decode(const struct decoding *d, const struct message_shape *shape, void *out,
		  struct err *e)
{
	struct cursor c = d->all;
	int r = 0;

	if (d->depth > DEPTH_MAX)
		return err_set(e, ERR_INVALID, "message nested too deep");
	memset(out, 0, shape->size);
	while (c.n > 0 && r == 0) {
		const unsigned char *head = cursor_bytes(&c, 6);
		size_t n = head ? (size_t)read_le(head + 2, 4) : 0;
		const unsigned char *p = head ? cursor_bytes(&c, n) : NULL;
		const struct message_field *f;

		if (!p)
			return err_set(e, ERR_INVALID, "message cut short");
		f = find_tag(shape, (uint16_t)read_le(head, 2));
		if (f)
			r = decode_field(d, f, p, n, out, e);
	}
	return r;
}

int message_decode(struct str body, const struct message_shape *shape, struct arena *a, void *out,
		   struct err *e)
{
	assert(shape);
	assert(a);
	return decode(&(struct decoding){a, cursor_of(body.p, body.n), 0}, shape, out, e);
}
