/* Memory that is there or ends the process: see mem.h. */
#include "ground/base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *sure(void *p)
{
	static const char text[] = "out of memory\n";

	if (!p) {
		if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
			abort();
		abort();
	}
	return p;
}

void *mem_new_bytes(size_t count, size_t size)
{
	return sure(calloc(count ? count : 1, size ? size : 1));
}

void *mem_try(size_t size_bytes, struct err *e)
{
	void *p = calloc(1, size_bytes ? size_bytes : 1);

	if (!p)
		(void)err_set(e, ERR_EXHAUSTED, "no memory for %zu bytes", size_bytes);
	return p;
}

char *mem_dup_text(const char *text)
{
	return text ? sure(strdup(text)) : NULL;
}

void *mem_dup_bytes(const void *p, size_t n)
{
	void *copy = sure(malloc(n ? n : 1));

	if (n)
		memcpy(copy, p, n);
	return copy;
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return sure(n < 0 ? NULL : text);
}

void *mem_grow_bytes(void *p, size_t want, size_t *room, size_t size)
{
	size_t next = *room ? *room : 8;
	size_t bytes;

	if (want <= *room)
		return p;
	while (next < want)
		assert(!__builtin_mul_overflow(next, 2, &next));
	assert(!__builtin_mul_overflow(next, size, &bytes));
	*room = next;
	return sure(realloc(p, bytes));
}

size_t mem_count_texts(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

char **mem_dup_texts(char *const *list)
{
	size_t n = mem_count_texts(list);
	char **copy;

	if (!list)
		return NULL;
	copy = mem_new_array(char *, n + 1);
	for (size_t i = 0; i < n; i++)
		copy[i] = mem_dup_text(list[i]);
	return copy;
}

void *mem_free_texts(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
	return NULL;
}

void mem_append_text(char ***list, const char *text)
{
	size_t n = mem_count_texts(*list);

	*list = sure(realloc(*list, (n + 2) * sizeof(char *)));
	(*list)[n] = mem_dup_text(text);
	(*list)[n + 1] = NULL;
}
