/*
 * Protobuf's wire format: one field after the other, without knowing their meaning. Groups, which
 * nobody has used for twenty years, are refused.
 *
 *	struct protobuf_field f;
 *	while ((r = protobuf_next(&c, &f, e)) > 0)
 *		use(f.number, f.wire, f.value, f.bytes);
 */
#pragma once

#include <stdint.h>

#include "ground/base/cursor.h"
#include "ground/base/err.h"
#include "ground/base/str.h"

enum protobuf_wire {
	PROTOBUF_VARINT = 0,
	PROTOBUF_FIXED64 = 1,
	PROTOBUF_BYTES = 2,
	PROTOBUF_FIXED32 = 5,
};

struct protobuf_field {
	uint32_t number;
	enum protobuf_wire wire;
	uint64_t value;	  /* of all but PROTOBUF_BYTES */
	struct str bytes; /* of PROTOBUF_BYTES; borrowed */
};

/* 1: a field is in *ret; 0: the end; ERR_INVALID: cut off, or no such wire type. */
int protobuf_next(struct cursor *c, struct protobuf_field *ret, struct err *e) must_use;

/* One bare varint, as in packed lists. At most ten bytes. ERR_INVALID when cut off or longer. */
int protobuf_varint(struct cursor *c, uint64_t *ret, struct err *e) must_use;

void protobuf_put_varint(struct strbuf *out, uint32_t number, uint64_t value);
void protobuf_put_bytes(struct strbuf *out, uint32_t number, struct str bytes);
