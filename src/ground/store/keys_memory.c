/*
 * What is committed, in memory: a skip list of keys, each with a chain of versions as far back as
 * the past reaches, and the past itself, a ring of events. An event is a version: what it replaced
 * is the next older one, which stays as long as the event does. Forgetting the oldest event forgets
 * what lies behind its version, and the key itself when that version was a deletion and nothing
 * came after.
 */
#include <assert.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "ground/store/keys_priv.h"

static struct key_node *node_new(const char *key, int levels)
{
	size_t links = (size_t)levels * sizeof(struct key_node *), n = strlen(key) + 1;
	struct key_node *node = mem_new_bytes(1, sizeof(*node) + links + n);

	node->levels = levels;
	node->key = memcpy((char *)node->next + links, key, n);
	return node;
}

void key_index_init(struct key_index *x)
{
	x->head = node_new("", KEY_LEVELS);
	x->draw = UINT64_C(0x9e3779b97f4a7c15);
}

static struct version *version_free(struct version *v)
{
	while (v) {
		struct version *older = v->older;

		(void)key_value_unref(v->v);
		free(v);
		v = older;
	}
	return NULL;
}

void key_index_done(struct key_index *x)
{
	struct key_node *n = x->head;

	while (n) {
		struct key_node *next = n->next[0];

		n->newest = version_free(n->newest);
		free(n);
		n = next;
	}
	free(x->past);
	*x = (struct key_index){0};
}

/* The last node before `key` on each level. */
static void find_before(const struct key_index *x, const char *key, struct key_node **before)
{
	struct key_node *n = x->head;

	for (int level = KEY_LEVELS - 1; level >= 0; level--) {
		while (n->next[level] && strcmp(n->next[level]->key, key) < 0)
			n = n->next[level];
		before[level] = n;
	}
}

struct key_node *key_index_at(const struct key_index *x, const char *key)
{
	struct key_node *before[KEY_LEVELS];

	find_before(x, key, before);
	return before[0]->next[0];
}

struct key_node *key_index_find(const struct key_index *x, const char *key)
{
	struct key_node *n = key_index_at(x, key);

	return n && strcmp(n->key, key) == 0 ? n : NULL;
}

/* One in four nodes goes up a level (xorshift: the order of keys is no secret). */
static int draw_levels(struct key_index *x)
{
	int levels = 1;

	x->draw ^= x->draw << 13;
	x->draw ^= x->draw >> 7;
	x->draw ^= x->draw << 17;
	for (uint64_t bits = x->draw; levels < KEY_LEVELS && (bits & 3) == 0; bits >>= 2)
		levels++;
	return levels;
}

struct key_node *key_index_make(struct key_index *x, const char *key)
{
	struct key_node *before[KEY_LEVELS], *n;

	find_before(x, key, before);
	n = before[0]->next[0];
	if (n && strcmp(n->key, key) == 0)
		return n;
	n = node_new(key, draw_levels(x));
	for (int level = 0; level < n->levels; level++) {
		n->next[level] = before[level]->next[level];
		before[level]->next[level] = n;
	}
	return n;
}

static void remove_node(struct key_index *x, struct key_node *n)
{
	struct key_node *before[KEY_LEVELS];

	find_before(x, n->key, before);
	for (int level = 0; level < n->levels; level++) {
		assert(before[level]->next[level] == n);
		before[level]->next[level] = n->next[level];
	}
	n->newest = version_free(n->newest);
	free(n);
}

/* -- the past ---------------------------------------------------------------------------------- */

static void remember(struct key_index *x, struct key_node *n, struct version *v)
{
	size_t bytes = v->older && v->older->v ? v->older->v->bytes.n : 0;

	if (x->past_n == x->past_room) {
		size_t room = x->past_room ? x->past_room * 2 : 256;
		struct key_past *grown = mem_new_array(struct key_past, room);

		for (size_t i = 0; i < x->past_n; i++)
			grown[i] = x->past[(x->past_first + i) % x->past_room];
		free(x->past);
		x->past = grown;
		x->past_room = room;
		x->past_first = 0;
	}
	x->past[(x->past_first + x->past_n) % x->past_room] =
		(struct key_past){v->revision, n, v, bytes};
	x->past_n++;
	x->past_bytes += bytes;
}

void key_index_apply(struct key_index *x, struct key_node *n, const struct key_value *v,
		     uint64_t revision)
{
	struct version *version = mem_new(struct version);
	bool was = n->newest && n->newest->v;

	assert(!n->newest || n->newest->revision < revision);
	version->v = v;
	version->revision = revision;
	version->older = n->newest;
	n->newest = version;
	x->count += v && !was ? 1 : 0;
	x->count -= !v && was ? 1 : 0;
	remember(x, n, version);
}

static const struct key_past *past_at(const struct key_index *x, size_t i)
{
	assert(i < x->past_n);
	return &x->past[(x->past_first + i) % x->past_room];
}

struct key_event key_index_event(const struct key_index *x, size_t i)
{
	const struct key_past *p = past_at(x, i);
	struct key_event v = {.revision = p->revision, .now = p->version->v};

	v.before = p->version->older ? p->version->older->v : NULL;
	v.type = !v.now ? KEY_DELETED : v.before ? KEY_MODIFIED : KEY_ADDED;
	return v;
}

size_t key_index_after(const struct key_index *x, uint64_t revision)
{
	size_t low = 0, high = x->past_n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (past_at(x, middle)->revision <= revision)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void key_index_forget(struct key_index *x)
{
	struct key_past p = *past_at(x, 0);

	x->past_first = (x->past_first + 1) % x->past_room;
	x->past_n--;
	x->past_bytes -= p.bytes;
	x->compacted = p.revision;
	p.version->older = version_free(p.version->older);
	if (!p.version->v && p.node->newest == p.version)
		remove_node(x, p.node);
}
