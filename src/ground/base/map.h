/*
 * A hash map from texts to pointers. Keys are copied; values belong to the caller. Iteration is in
 * the order of insertion. Hashing is seeded per process, so that outside keys cannot force
 * collisions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct map_entry {
	char *key; /* NULL: removed */
	void *value;
	size_t hash;
};

struct map {
	struct map_entry *entries;
	size_t used;  /* entries in use, removed ones included */
	size_t count; /* live entries */
	size_t room;
	size_t *slots; /* index + 1 into entries, 0: free */
	size_t slots_n;
};

void map_done(struct map *m); /* frees the keys, not the values; m is empty and usable after */
void *map_get(const struct map *m, const char *key);
void *map_put(struct map *m, const char *key, void *value); /* returns the value it replaced */
void *map_remove(struct map *m, const char *key);	    /* returns the value it held */

/* map_each(m, it) use(it->key, it->value); removing the current entry inside is allowed. */
#define map_each(m, it)                                       \
	for (size_t it##_i = 0; it##_i < (m)->used; it##_i++) \
		for (struct map_entry *it = &(m)->entries[it##_i]; it && it->key; it = NULL)

#define auto_map __attribute__((cleanup(map_done)))
