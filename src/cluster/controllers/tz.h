/*
 * Time zones, as the system's zone files have them: how far local time is ahead of UTC at a
 * moment. Only what a file lists is known; behind its last change the last offset stays.
 */
#pragma once

#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

#define TZ_FILE_MAX ((size_t)64 << 10) /* bytes */

struct tz; /* NULL: UTC */

/* By name ("Europe/Berlin"). ERR_NOT_FOUND: there is none; ERR_INVALID: the name or the file. */
int tz_open(const char *name, struct tz **ret, struct err *e) must_use;
/* The same of a file's bytes; `name` is for the message. */
int tz_read(struct str bytes, const char *name, struct tz **ret, struct err *e) must_use;
struct tz *tz_free(struct tz *z); /* returns NULL */

int64_t tz_offset(const struct tz *z, int64_t at_s);
