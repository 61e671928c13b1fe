/*
 * Moments as text (RFC 3339, always UTC when written): "2026-11-23T17:04:05.123456789Z". A moment
 * is nanoseconds since the epoch; 0 is written as Go's zero time "0001-01-01T00:00:00Z".
 */
#pragma once

#include <stdint.h>

#include "ground/base/err.h"

#define RFC3339_CHARS 35 /* of the longest text, without its NUL */

/* Trailing zeros of the fraction are left out, as Go's RFC3339Nano does. Returns `ret`. */
char *rfc3339_text(int64_t ns, char ret[RFC3339_CHARS + 1]);

/* Whole seconds, as Kubernetes writes moments: "2026-11-23T17:04:05Z". Returns `ret`. */
char *rfc3339_seconds(int64_t ns, char ret[RFC3339_CHARS + 1]);

/* Six digits always, as Kubernetes' MicroTime wants them. Returns `ret`. */
char *rfc3339_micros(int64_t ns, char ret[RFC3339_CHARS + 1]);

/* Nine digits always: columns of a log stay aligned. Returns `ret`. */
char *rfc3339_text_padded(int64_t ns, char ret[RFC3339_CHARS + 1]);

/* With any offset ("+02:00") and up to nine digits of fraction; years 1 to 2262. */
int rfc3339_parse(const char *text, int64_t *ret_ns, struct err *e) must_use;
