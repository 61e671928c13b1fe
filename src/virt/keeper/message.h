/*
 * Packing: one message of the keeper's protocol as bytes, and back, by tables that map the fields
 * of a struct to tags. What a tag means never changes and no tag is used twice; new fields get new
 * tags.
 *
 * Layout, little endian: 'H' 'K' version:u16 type:u16 fields_end:u16(0) serial:u32, then fields of
 * tag:u16 length:u32 bytes. Numbers are 8 bytes, flags 1, texts their bytes without NUL, lists of
 * texts one field per element, nested structs one field that holds fields. Decoding trusts nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/base/str.h"
#include "virt/keeper/protocol.h"

enum message_field_type {
	MESSAGE_FLAG,	/* bool */
	MESSAGE_U32,	/* uint32_t */
	MESSAGE_I32,	/* int32_t */
	MESSAGE_I64,	/* int64_t */
	MESSAGE_TEXT,	/* char *; NULL is absent */
	MESSAGE_BYTES,	/* char *, its length in the size_t at .count; a NUL is added in memory */
	MESSAGE_TEXTS,	/* char **, NULL-terminated */
	MESSAGE_STRUCT, /* the struct of .shape, inline */
};

struct message_shape;

struct message_field {
	uint16_t tag;
	uint16_t type; /* enum message_field_type */
	uint32_t offset;
	const struct message_shape *shape;
	size_t count;
};

struct message_shape {
	size_t size;
	const struct message_field *fields;
	size_t fields_n;
};

/* The shape of a type's struct; NULL for messages without a body. */
const struct message_shape *message_shape_of(enum keeper_type type);

extern const struct message_shape message_state_shape;

/* A message as received. Body points into the packet. */
struct message {
	uint16_t version;
	uint16_t type;
	uint32_t serial;
	struct str body;
};

/* Appends a whole packet to out. `in` is the type's struct, NULL where it has none. */
void message_write(struct strbuf *out, enum keeper_type type, uint32_t serial, const void *in);

/* Cuts the header off. ERR_INVALID for what is not ours. */
int message_read(struct str packet, struct message *ret, struct err *e) must_use;

/* Fills *out (zeroed first) from a body; texts live in the arena. */
int message_decode(struct str body, const struct message_shape *shape, struct arena *a, void *out,
		   struct err *e) must_use;
