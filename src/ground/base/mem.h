/*
 * Memory. Small allocations cannot fail (the process aborts with a message); sizes that come from
 * outside are bounded by their caller first and use mem_try(). Everything is released with free().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ground/base/err.h"

/* Zeroed memory; aborts when there is none. */
void *mem_new_bytes(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
#define mem_new(type)	       ((type *)mem_new_bytes(1, sizeof(type)))
#define mem_new_array(type, n) ((type *)mem_new_bytes((n), sizeof(type)))

/* Zeroed memory of a size that came from outside: NULL and an error when there is none. */
must_use void *mem_try(size_t size_bytes, struct err *e);

char *mem_dup_text(const char *text) __attribute__((malloc)); /* NULL stays NULL */
void *mem_dup_bytes(const void *p, size_t n) __attribute__((malloc));
char *mem_printf(const char *fmt, ...) __attribute__((malloc, format(printf, 1, 2)));

/*
 * Makes room for at least `want` elements in a growing array, doubling. Used through the macro:
 *	mem_grow(list->items, list->n + 1, list->room);
 */
void *mem_grow_bytes(void *p, size_t want, size_t *room, size_t size);
#define mem_grow(array, want, room) \
	((array) = mem_grow_bytes((array), (want), &(room), sizeof(*(array))))

/* A NULL-terminated list of texts, owned by the caller. */
char **mem_dup_texts(char *const *list);
void *mem_free_texts(char **list); /* returns NULL */
size_t mem_count_texts(char *const *list);
void mem_append_text(char ***list, const char *text);

#define array_len(a)			(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
