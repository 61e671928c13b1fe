/*
 * Protobuf's wire format: see protobuf.h. A tag is a varint of number << 3 | wire type.
 * https://protobuf.dev/programming-guides/encoding/
 */
#include "ground/format/protobuf.h"

#include <assert.h>

#define VARINT_BYTES 10
#define NUMBER_MAX   ((1u << 29) - 1)

int protobuf_varint(struct cursor *c, uint64_t *ret, struct err *e)
{
	uint64_t value = 0;

	assert(c && ret);
	for (unsigned int i = 0; i < VARINT_BYTES; i++) {
		uint8_t byte = cursor_u8(c);

		if (c->bad)
			return err_set(e, ERR_INVALID, "protobuf: cut off within a number");
		if (i == VARINT_BYTES - 1 && byte > 1)
			break;
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80)) {
			*ret = value;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "protobuf: a number does not fit 64 bits");
}

static int read_bytes(struct cursor *c, struct str *ret, struct err *e)
{
	const unsigned char *p;
	uint64_t n = 0;
	int r = protobuf_varint(c, &n, e);

	if (r < 0)
		return r;
	if (n > c->n)
		return err_set(e, ERR_INVALID, "protobuf: cut off: %zu bytes are left of %llu",
			       c->n, (unsigned long long)n);
	p = cursor_bytes(c, (size_t)n);
	assert(p || n == 0);
	*ret = (struct str){(const char *)p, (size_t)n};
	return 0;
}

int protobuf_next(struct cursor *c, struct protobuf_field *ret, struct err *e)
{
	uint64_t tag = 0;
	int r;

	assert(c && ret);
	if (c->n == 0 && !c->bad)
		return 0;
	r = protobuf_varint(c, &tag, e);
	if (r < 0)
		return r;
	if (tag >> 3 == 0 || tag >> 3 > NUMBER_MAX)
		return err_set(e, ERR_INVALID, "protobuf: there is no field number %llu",
			       (unsigned long long)(tag >> 3));
	*ret = (struct protobuf_field){.number = (uint32_t)(tag >> 3)};
	ret->wire = (enum protobuf_wire)(tag & 7);
	switch (tag & 7) {
	case PROTOBUF_VARINT:
		r = protobuf_varint(c, &ret->value, e);
		break;
	case PROTOBUF_FIXED64:
		ret->value = cursor_le64(c);
		break;
	case PROTOBUF_BYTES:
		r = read_bytes(c, &ret->bytes, e);
		break;
	case PROTOBUF_FIXED32:
		ret->value = cursor_le32(c);
		break;
	default:
		return err_set(e, ERR_INVALID, "protobuf: field %u has wire type %u", ret->number,
			       (unsigned int)(tag & 7));
	}
	if (r == 0 && c->bad)
		r = err_set(e, ERR_INVALID, "protobuf: cut off within field %u", ret->number);
	return r < 0 ? r : 1;
}

static void put_raw(struct strbuf *out, uint64_t value)
{
	while (value >= 0x80) {
		strbuf_add_char(out, (char)(value | 0x80));
		value >>= 7;
	}
	strbuf_add_char(out, (char)value);
}

void protobuf_put_varint(struct strbuf *out, uint32_t number, uint64_t value)
{
	assert(number > 0 && number <= NUMBER_MAX);
	put_raw(out, (uint64_t)number << 3 | PROTOBUF_VARINT);
	put_raw(out, value);
}

void protobuf_put_bytes(struct strbuf *out, uint32_t number, struct str bytes)
{
	assert(number > 0 && number <= NUMBER_MAX);
	put_raw(out, (uint64_t)number << 3 | PROTOBUF_BYTES);
	put_raw(out, bytes.n);
	strbuf_add(out, bytes.p, bytes.n);
}
