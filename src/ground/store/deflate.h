/*
 * One piece of raw deflate data (RFC 1951, without header), as disk images hold their clusters.
 */
#pragma once

#include <stddef.h>

#include "ground/base/err.h"

/* Fills all n bytes of `to`; what follows the end of the data is ignored. ERR_INVALID otherwise. */
int deflate_unpack(const void *from, size_t from_n, void *to, size_t n, struct err *e) must_use;
