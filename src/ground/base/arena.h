/*
 * An arena: many small pieces that live and die together (one request, one parse). Pieces are
 * zeroed and never freed singly. Under AddressSanitizer each piece is its own allocation, so that
 * overruns show.
 */
#pragma once

#include <stddef.h>

#include "ground/base/str.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used, room; /* in the newest block */
};

void arena_done(struct arena *a); /* frees all; a is empty and usable after */
void *arena_new_bytes(struct arena *a, size_t size_bytes) __attribute__((returns_nonnull));
char *arena_dup(struct arena *a, struct str text);
char *arena_dup_text(struct arena *a, const char *text); /* NULL stays NULL */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define arena_new(a, type)	    ((type *)arena_new_bytes((a), sizeof(type)))
#define arena_new_array(a, type, n) ((type *)arena_new_bytes((a), sizeof(type) * (n)))
#define auto_arena		    __attribute__((cleanup(arena_done)))
