/* Pieces that die together: see arena.h. */
#include "ground/base/arena.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "ground/base/mem.h"

#ifdef __SANITIZE_ADDRESS__
#define BLOCK_BYTES 0 /* every piece a block of its own */
#else
#define BLOCK_BYTES 4000
#endif

struct arena_block {
	struct arena_block *older;
	_Alignas(16) char bytes[];
};

void arena_done(struct arena *a)
{
	struct arena_block *b = a->blocks;

	while (b) {
		struct arena_block *older = b->older;

		free(b);
		b = older;
	}
	*a = (struct arena){0};
}

void *arena_new_bytes(struct arena *a, size_t size_bytes)
{
	size_t size = (size_bytes + 15) & ~(size_t)15;
	void *piece;

	assert(size >= size_bytes && size < (size_t)1 << 40);
	if (!a->blocks || a->room - a->used < size) {
		size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
		struct arena_block *b = mem_new_bytes(1, sizeof(*b) + room);

		b->older = a->blocks;
		a->blocks = b;
		a->used = 0;
		a->room = room;
	}
	piece = a->blocks->bytes + a->used;
	a->used += size;
	return piece;
}

char *arena_dup(struct arena *a, struct str text)
{
	char *copy = arena_new_bytes(a, text.n + 1);

	if (text.n)
		memcpy(copy, text.p, text.n);
	return copy;
}

char *arena_dup_text(struct arena *a, const char *text)
{
	return text ? arena_dup(a, str_of(text)) : NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char *text;
	int n;

	assert(fmt);
	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	assert(n >= 0);
	text = arena_new_bytes(a, (size_t)n + 1);
	(void)vsnprintf(text, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return text;
}
