/*
 * Quantities: Kubernetes' numbers with a unit ("100m", "1.5Gi", "3e2"). A value is whole nano
 * units, 128 bits wide, which holds 2^63 of anything; what is finer is rounded up, away from zero,
 * and what is larger is capped, both as Kubernetes does.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"
#include "ground/format/json.h"

enum quantity_form { QUANTITY_DECIMAL, QUANTITY_BINARY, QUANTITY_EXPONENT };

struct quantity {
	__int128 nano;
	enum quantity_form form; /* how it was written, and is written again */
};

int quantity_parse(struct str text, struct quantity *ret, struct err *e) must_use;

/* Of a text in a tree; false: it is none, or v is NULL. */
bool quantity_read(const struct json *v, struct quantity *ret);

#define QUANTITY_CHARS 64
/* The canonical text: the largest unit that leaves no fraction. Returns ret. */
char *quantity_text(const struct quantity *q, char ret[QUANTITY_CHARS]);

int64_t quantity_whole(const struct quantity *q); /* rounded up, capped */
int64_t quantity_milli(const struct quantity *q); /* rounded up, capped */
