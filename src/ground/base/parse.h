/*
 * Strict numbers from outside: the whole text must be the number, overflow is an error, nothing is
 * guessed. `what` names the value in the message: "invalid memory limit '12x': ...".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/str.h"

int parse_u64(struct str text, const char *what, uint64_t *ret, struct err *e) must_use;
int parse_i64(struct str text, const char *what, int64_t *ret, struct err *e) must_use;
int parse_u32(struct str text, const char *what, uint32_t *ret, struct err *e) must_use;
int parse_u32_base(struct str text, unsigned int base, const char *what, uint32_t *ret,
		   struct err *e) must_use;
int parse_bool(struct str text, const char *what, bool *ret, struct err *e) must_use;

/* "512", "64k", "1.5GiB": powers of 1024, a fraction is allowed before a unit; bytes. */
int parse_size(struct str text, const char *what, int64_t *ret_bytes, struct err *e) must_use;

/* "300ms", "1m30s", "2h": Go's durations; a bare 0 is allowed. Nanoseconds. */
int parse_duration(struct str text, const char *what, int64_t *ret_ns, struct err *e) must_use;
