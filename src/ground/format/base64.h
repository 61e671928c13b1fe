/*
 * Base64 (RFC 4648): both alphabets are read, with or without padding; the plain one, padded, is
 * written.
 */
#pragma once

#include "ground/base/err.h"
#include "ground/base/str.h"

void base64_encode(struct str bytes, struct strbuf *out);

/* Appends what `text` stands for. ERR_INVALID, and nothing appended, for anything else in it. */
int base64_decode(struct str text, struct strbuf *out, struct err *e) must_use;
