/* A hash map with insertion order: open addressing over an array of entries. See map.h. */
#include "ground/base/map.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

static uint64_t seed(void)
{
	static uint64_t value;

	if (!value) {
		if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
			value = (uint64_t)(uintptr_t)&value;
		value |= 1;
	}
	return value;
}

static size_t hash_of(const char *key)
{
	uint64_t h = seed();

	for (; *key; key++) {
		h ^= (unsigned char)*key;
		h *= 0x100000001b3;
		h ^= h >> 29;
	}
	return (size_t)(h ^ (h >> 32));
}

/* The slot that holds the key, or the free slot where it would go. */
static size_t slot_of(const struct map *m, const char *key, size_t hash)
{
	size_t i = hash & (m->slots_n - 1);

	for (;; i = (i + 1) & (m->slots_n - 1)) {
		const struct map_entry *en;

		if (m->slots[i] == 0)
			return i;
		en = &m->entries[m->slots[i] - 1];
		if (en->key && en->hash == hash && strcmp(en->key, key) == 0)
			return i;
	}
}

/* Drops removed entries and makes the slot table twice as large as what is live needs. */
static void rebuild(struct map *m)
{
	size_t kept = 0;
	size_t want = 16;

	for (size_t i = 0; i < m->used; i++) {
		if (m->entries[i].key)
			m->entries[kept++] = m->entries[i];
	}
	assert(kept == m->count);
	m->used = kept;
	while (want < (m->count + 1) * 4)
		want *= 2;
	free(m->slots);
	m->slots = mem_new_array(size_t, want);
	m->slots_n = want;
	for (size_t i = 0; i < m->used; i++) {
		size_t at = m->entries[i].hash & (want - 1);

		while (m->slots[at])
			at = (at + 1) & (want - 1);
		m->slots[at] = i + 1;
	}
}

void map_done(struct map *m)
{
	for (size_t i = 0; i < m->used; i++)
		free(m->entries[i].key);
	free(m->entries);
	free(m->slots);
	*m = (struct map){0};
}

void *map_get(const struct map *m, const char *key)
{
	size_t at;

	if (m->count == 0)
		return NULL;
	at = slot_of(m, key, hash_of(key));
	return m->slots[at] ? m->entries[m->slots[at] - 1].value : NULL;
}

void *map_put(struct map *m, const char *key, void *value)
{
	size_t hash = hash_of(key), at;
	void *old;

	if ((m->used + 1) * 2 > m->slots_n)
		rebuild(m);
	at = slot_of(m, key, hash);
	if (m->slots[at]) {
		old = m->entries[m->slots[at] - 1].value;
		m->entries[m->slots[at] - 1].value = value;
		return old;
	}
	mem_grow(m->entries, m->used + 1, m->room);
	m->entries[m->used] = (struct map_entry){mem_dup_text(key), value, hash};
	m->slots[at] = ++m->used;
	m->count++;
	return NULL;
}

void *map_remove(struct map *m, const char *key)
{
	struct map_entry *en;
	size_t at;

	if (m->count == 0)
		return NULL;
	at = slot_of(m, key, hash_of(key));
	if (!m->slots[at])
		return NULL;
	/* The slot keeps pointing at the dead entry, as a tombstone, until the next rebuild. */
	en = &m->entries[m->slots[at] - 1];
	free(en->key);
	en->key = NULL;
	m->count--;
	return take(en->value);
}
