/*
 * Time zones, as the system's zone files have them: how far local time is ahead of UTC at a
 * moment. Only what a file lists is known; behind its last change the last offset stays.
 */
#pragma once

#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

#define ZONE_FILE_MAX ((size_t)64 << 10) /* bytes */

struct zone; /* NULL: UTC */

/* By name ("Europe/Berlin"). ERR_NOT_FOUND: there is none; ERR_INVALID: the name or the file. */
int timezone_open(const char *name, struct zone **ret, struct err *e) must_use;
/* The same of a file's bytes; `name` is for the message. */
int timezone_read(struct str bytes, const char *name, struct zone **ret, struct err *e) must_use;
struct zone *timezone_free(struct zone *z); /* returns NULL */

int64_t timezone_offset(const struct zone *z, int64_t at_s);
