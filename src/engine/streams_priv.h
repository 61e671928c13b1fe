/*
 * The one struct behind every `struct stream`: a stream is anything a caller may resume or cancel,
 * and its maker gives the two functions.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/stream.h"

struct stream {
	uint32_t magic;			  /* STREAM_MAGIC */
	void (*resume)(struct stream *s); /* NULL: it never waits */
	void (*cancel)(struct stream *s); /* frees it, calls nothing back */
};
