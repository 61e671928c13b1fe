/*
 * From a guest's offset to a place in the file: the L1 table, which is in memory whole, and L2
 * tables, of which a few are.
 *
 * Every offset in a table comes from the image and is checked when it is used: aligned, and not
 * behind the file's end. An image whose tables point at each other harms nobody but itself.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/disk/qcow2_priv.h"

/* ---- tables in memory ---- */

static struct qcow2_table *cache_find(struct qcow2_cache *c, uint64_t at)
{
	assert(at != 0);
	for (unsigned i = 0; i < QCOW2_CACHE_TABLES; i++)
		if (c->table[i].at == at) {
			c->table[i].used = ++c->clock;
			return &c->table[i];
		}
	return NULL;
}

static struct qcow2_table *cache_oldest(struct qcow2_cache *c)
{
	struct qcow2_table *t = &c->table[0];

	for (unsigned i = 1; i < QCOW2_CACHE_TABLES; i++)
		if (c->table[i].used < t->used)
			t = &c->table[i];
	return t;
}

/* What the file does not hold yet (it may end inside a cluster) is zero. */
static int table_load(const struct qcow2 *q, uint64_t at, uint8_t *to)
{
	uint64_t there = at < q->file.bytes ? q->file.bytes - at : 0;
	size_t n = (size_t)(there < q->cluster ? there : q->cluster);

	memset(to + n, 0, q->cluster - n);
	return n ? storage_read_bytes(&q->file, to, n, at) : EIO;
}

static int table_store(struct qcow2 *q, struct qcow2_table *t)
{
	int failed = t->dirty ? storage_write_bytes(&q->file, t->bytes, q->cluster, t->at) : 0;

	if (failed)
		return failed;
	if (t->dirty && t->at + q->cluster > q->file.bytes)
		q->file.bytes = t->at + q->cluster;
	t->dirty = false;
	return 0;
}

/* Counts may be written at any time; an L2 table only in its order. */
static int table_clean(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_table *t)
{
	if (!t->dirty)
		return 0;
	return c == &q->refcounts ? table_store(q, t) : qcow2_sync(q);
}

int qcow2_table(struct qcow2 *q, struct qcow2_cache *c, uint64_t at, bool fresh,
		struct qcow2_table **ret)
{
	struct qcow2_table *t;
	int failed = 0;

	if (at == 0 || !qcow2_aligned(q, at))
		return EIO;
	t = cache_find(c, at);
	if (!t) {
		t = cache_oldest(c);
		failed = table_clean(q, c, t);
		if (failed)
			return failed;
		assert(!t->dirty);
		t->at = 0;
		if (!t->bytes)
			t->bytes = mem_new_bytes(1, q->cluster);
		if (!fresh && (failed = table_load(q, at, t->bytes)))
			return failed;
	}
	if (fresh) {
		memset(t->bytes, 0, q->cluster);
		t->dirty = true;
	}
	t->at = at;
	t->used = ++c->clock;
	*ret = t;
	return 0;
}

void qcow2_cache_forget(struct qcow2_cache *c, uint64_t at)
{
	struct qcow2_table *t = cache_find(c, at);

	if (!t)
		return;
	t->at = t->used = 0;
	t->dirty = false;
}

void qcow2_cache_free(struct qcow2_cache *c)
{
	for (unsigned i = 0; i < QCOW2_CACHE_TABLES; i++)
		free(take(c->table[i].bytes));
}

int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c)
{
	int failed = 0;

	for (unsigned i = 0; i < QCOW2_CACHE_TABLES && !failed; i++)
		failed = table_store(q, &c->table[i]);
	return failed;
}

/* ---- looking up ---- */

static uint64_t l1_index(const struct qcow2 *q, uint64_t offset)
{
	return offset >> (2 * q->h.cluster_bits - 3);
}

static uint64_t l2_index(const struct qcow2 *q, uint64_t offset)
{
	return (offset >> q->h.cluster_bits) & ((q->cluster >> 3) - 1);
}

uint64_t qcow2_packed(const struct qcow2 *q, uint64_t entry, uint64_t *ret_bytes)
{
	unsigned bits = 62 - (q->h.cluster_bits - 8);
	uint64_t at = entry & ((1ull << bits) - 1);
	uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> bits;

	*ret_bytes = (sectors + 1) * 512 - (at & 511);
	return at;
}

/* What an entry means. */
static int place_of(const struct qcow2 *q, uint64_t entry, uint64_t offset, struct qcow2_place *ret)
{
	uint64_t in = offset & (q->cluster - 1), at = entry & QCOW2_OFFSET;

	*ret = (struct qcow2_place){.run = q->cluster - in, .copied = entry & QCOW2_COPIED};
	if (entry & QCOW2_COMPRESSED) {
		ret->kind = QCOW2_PACKED;
		ret->copied = false;
		ret->at = entry;
		return 0;
	}
	if (q->h.version >= 3 && (entry & QCOW2_ZERO)) {
		ret->kind = QCOW2_ZEROES;
		ret->at = at ? at + in : 0;
		return qcow2_aligned(q, at) ? 0 : EIO;
	}
	if (!at) {
		ret->kind = QCOW2_UNALLOCATED;
		return 0;
	}
	ret->kind = QCOW2_DATA;
	ret->at = at + in;
	return qcow2_aligned(q, at) ? 0 : EIO;
}

int qcow2_lookup(struct qcow2 *q, uint64_t offset, struct qcow2_place *ret)
{
	uint64_t l1 = q->l1[l1_index(q, offset)];
	struct qcow2_table *t;
	int failed;

	assert(l1_index(q, offset) < q->h.l1_entries);
	if (!(l1 & QCOW2_OFFSET))
		return place_of(q, 0, offset, ret);
	failed = qcow2_table(q, &q->l2, l1 & QCOW2_OFFSET, false, &t);
	if (failed)
		return failed;
	return place_of(q, be64_get(t->bytes + l2_index(q, offset) * 8), offset, ret);
}

bool qcow2_lookup_cached(struct qcow2 *q, uint64_t offset, struct qcow2_place *ret)
{
	uint64_t l1 = q->l1[l1_index(q, offset)] & QCOW2_OFFSET;
	struct qcow2_table *t = l1 ? cache_find(&q->l2, l1) : NULL;

	return t && place_of(q, be64_get(t->bytes + l2_index(q, offset) * 8), offset, ret) == 0;
}

/* ---- changing ---- */

static void l1_put(struct qcow2 *q, uint64_t i, uint64_t entry)
{
	q->l1[i] = entry;
	if (q->l1_dirty_to == 0 || i < q->l1_dirty_from)
		q->l1_dirty_from = i;
	if (i + 1 > q->l1_dirty_to)
		q->l1_dirty_to = i + 1;
}

/* A table of our own for L1 entry i: new, or a copy of one that a snapshot shares. */
static int l2_own(struct qcow2 *q, uint64_t i, struct qcow2_table **ret)
{
	uint64_t old = q->l1[i], at;
	struct qcow2_table *t, *from;
	int failed;

	if ((old & QCOW2_OFFSET) && (old & QCOW2_COPIED))
		return qcow2_table(q, &q->l2, old & QCOW2_OFFSET, false, ret);
	failed = qcow2_alloc(q, &at);
	if (!failed)
		failed = qcow2_table(q, &q->l2, at, true, &t);
	if (!failed && (old & QCOW2_OFFSET)) {
		failed = qcow2_table(q, &q->l2, old & QCOW2_OFFSET, false, &from);
		if (!failed)
			memcpy(t->bytes, from->bytes, q->cluster);
		if (!failed)
			failed = qcow2_release_at(q, old & QCOW2_OFFSET);
	}
	if (failed)
		return failed;
	l1_put(q, i, at | QCOW2_COPIED);
	return qcow2_table(q, &q->l2, at, false, ret);
}

int qcow2_entry_set(struct qcow2 *q, uint64_t offset, uint64_t entry)
{
	struct qcow2_table *t;
	uint64_t was;
	uint8_t *p;
	int failed = l2_own(q, l1_index(q, offset), &t);

	assert(q->writable);
	if (failed)
		return failed;
	p = t->bytes + l2_index(q, offset) * 8;
	was = be64_get(p);
	be64_put(p, entry);
	t->dirty = true;
	if ((was & QCOW2_OFFSET) == (entry & QCOW2_OFFSET) && !(was & QCOW2_COMPRESSED))
		return 0;
	return qcow2_release(q, was);
}
