/*
 * Reference counts, and the order in which tables reach the file.
 *
 * Theory of operation: allocation changes tables in memory only; data goes to its new cluster at
 * once. A sync (at a guest's flush, when a table must leave memory, at the end) then writes
 *
 *	counts that went up, the table of counts        | barrier
 *	L2 tables                                       | barrier
 *	L1 entries                                      | barrier
 *	counts that went down: in memory, for next time
 *
 * so that at any cut whatever an L2 table leads to is counted and written; the worst that is left
 * is a count too high, space lost that `qemu-img check` gives back. A cluster that was freed is
 * used again, and its space given back, only after the tables that led to it are replaced in the
 * file.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/disk/qcow2_priv.h"

/* ---- a count of 1 to 64 bits ---- */

static uint64_t count_get(const struct qcow2 *q, const uint8_t *block, uint64_t i)
{
	unsigned bits = 1u << q->h.refcount_order;
	uint64_t v = 0;

	if (bits < 8)
		return (uint64_t)block[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
	for (unsigned b = 0; b < bits / 8; b++)
		v = v << 8 | block[i * (bits / 8) + b];
	return v;
}

static void count_put(const struct qcow2 *q, uint8_t *block, uint64_t i, uint64_t v)
{
	unsigned bits = 1u << q->h.refcount_order;

	if (bits < 8) {
		unsigned shift = (unsigned)(i * bits % 8), mask = ((1u << bits) - 1) << shift;
		uint8_t *p = &block[i * bits / 8];

		*p = (uint8_t)((*p & ~mask) | ((unsigned)v << shift & mask));
		return;
	}
	for (unsigned b = bits / 8; b-- > 0; v >>= 8)
		block[i * (bits / 8) + b] = (uint8_t)v;
}

/* How many clusters a block counts, as a power of two. */
static unsigned block_bits(const struct qcow2 *q)
{
	return q->h.cluster_bits + 3 - q->h.refcount_order;
}

/* ---- the table of counts ---- */

static void reftable_put(struct qcow2 *q, uint64_t i, uint64_t at)
{
	assert(i < q->reftable_n);
	q->reftable[i] = at;
	if (q->reftable_dirty_to == 0 || i < q->reftable_dirty_from)
		q->reftable_dirty_from = i;
	if (i + 1 > q->reftable_dirty_to)
		q->reftable_dirty_to = i + 1;
}

static int block_of(struct qcow2 *q, uint64_t index, struct qcow2_table **ret)
{
	uint64_t i = index >> block_bits(q);

	if (i >= q->reftable_n || !q->reftable[i])
		return ENOENT;
	return qcow2_table(q, &q->refcounts, q->reftable[i] & QCOW2_OFFSET, false, ret);
}

static uint64_t in_block(const struct qcow2 *q, uint64_t index)
{
	return index & ((1ull << block_bits(q)) - 1);
}

/* One up; the block is there. */
static int count_first(struct qcow2 *q, uint64_t index)
{
	struct qcow2_table *t;
	int failed = block_of(q, index, &t);

	if (failed)
		return failed == ENOENT ? EIO : failed;
	count_put(q, t->bytes, in_block(q, index), 1);
	t->dirty = true;
	return 0;
}

/* Blocks for the clusters up to `to` are counted in themselves. */
static int block_add(struct qcow2 *q, uint64_t index)
{
	struct qcow2_table *t;
	int failed = qcow2_table(q, &q->refcounts, index << q->h.cluster_bits, true, &t);

	if (failed)
		return failed;
	reftable_put(q, index >> block_bits(q), index << q->h.cluster_bits);
	return count_first(q, index);
}

/* The table is full: one of twice the size behind everything, to be written at the next sync. */
static int reftable_grow(struct qcow2 *q)
{
	uint64_t clusters = q->h.reftable_clusters * 2ull + 1, bytes = clusters * q->cluster;
	uint64_t *table;
	int failed = 0;

	if (bytes > QCOW2_REFTABLE_BYTES_MAX || q->reftable_moved)
		return q->reftable_moved ? qcow2_sync(q) : EFBIG;
	table = mem_try(bytes, NULL);
	if (!table)
		return ENOMEM;
	memcpy(table, q->reftable, q->reftable_n * 8);
	free(q->reftable);
	q->reftable = table;
	q->reftable_n = bytes / 8;
	q->reftable_old_at = q->h.reftable_at;
	q->reftable_old_clusters = q->h.reftable_clusters;
	q->reftable_moved = true;
	q->h.reftable_at = 0;
	/* Its own clusters, in a row; blocks that count them may come in between. */
	for (uint64_t i = 0, at; i < clusters && !failed; i++) {
		failed = qcow2_alloc(q, &at);
		if (!failed && (i == 0 || at != q->h.reftable_at + i * q->cluster)) {
			for (; i && q->freed_n < QCOW2_FREED_MAX; i--) /* a gap: begin again */
				q->freed[q->freed_n++] = qcow2_index(q, q->h.reftable_at) + i - 1;
			q->h.reftable_at = at;
			i = 0;
		}
	}
	q->h.reftable_clusters = (uint32_t)clusters;
	return failed;
}

/* ---- allocation ---- */

int qcow2_alloc(struct qcow2 *q, uint64_t *ret_at)
{
	assert(q->writable);
	for (uint64_t index = q->next_free;; index++) {
		struct qcow2_table *t;
		int failed = 0;

		if (index << q->h.cluster_bits > DISK_BYTES_MAX)
			return EFBIG;
		if (index >> block_bits(q) >= q->reftable_n) {
			q->next_free = index;
			failed = reftable_grow(q);
			if (failed)
				return failed;
			index = q->next_free - 1;
			continue;
		}
		failed = block_of(q, index, &t);
		if (failed == ENOENT) {
			failed = block_add(q, index);
			q->next_free = index + 1;
		} else if (!failed && count_get(q, t->bytes, in_block(q, index)) == 0) {
			count_put(q, t->bytes, in_block(q, index), 1);
			t->dirty = true;
			q->next_free = index + 1;
			*ret_at = index << q->h.cluster_bits;
			return 0;
		}
		if (failed)
			return failed;
	}
}

int qcow2_release_at(struct qcow2 *q, uint64_t at)
{
	int failed = q->freed_n == QCOW2_FREED_MAX ? qcow2_sync(q) : 0;

	if (failed)
		return failed;
	assert(q->freed_n < QCOW2_FREED_MAX);
	q->freed[q->freed_n++] = qcow2_index(q, at);
	return 0;
}

int qcow2_release(struct qcow2 *q, uint64_t entry)
{
	uint64_t bytes, at;
	int failed = 0;

	if (!(entry & QCOW2_COMPRESSED))
		return entry & QCOW2_OFFSET ? qcow2_release_at(q, entry & QCOW2_OFFSET) : 0;
	at = qcow2_packed(q, entry, &bytes);
	for (uint64_t i = qcow2_index(q, at); i <= qcow2_index(q, at + bytes - 1) && !failed; i++)
		failed = qcow2_release_at(q, i << q->h.cluster_bits);
	return failed;
}

/* ---- sync ---- */

static int write_entries(struct qcow2 *q, const uint64_t *table, uint64_t from, uint64_t to,
			 uint64_t at)
{
	size_t n = (size_t)(to - from) * 8;
	auto_free uint8_t *bytes = mem_try(n, NULL);

	if (!bytes)
		return ENOMEM;
	for (uint64_t i = from; i < to; i++)
		be64_put(bytes + (i - from) * 8, table[i]);
	return storage_write_bytes(&q->file, bytes, n, at + from * 8);
}

static int barrier(struct qcow2 *q)
{
	return storage_sync(&q->file);
}

/* The header leads to the new table of counts once that is on disk. */
static int reftable_switch(struct qcow2 *q)
{
	uint8_t field[12];
	int failed = write_entries(q, q->reftable, 0, q->reftable_n, q->h.reftable_at);

	if (!failed)
		failed = barrier(q);
	be64_put(field, q->h.reftable_at);
	field[8] = (uint8_t)(q->h.reftable_clusters >> 24);
	field[9] = (uint8_t)(q->h.reftable_clusters >> 16);
	field[10] = (uint8_t)(q->h.reftable_clusters >> 8);
	field[11] = (uint8_t)q->h.reftable_clusters;
	if (!failed)
		failed = storage_write_bytes(&q->file, field, sizeof(field), 48);
	if (failed)
		return failed;
	q->reftable_moved = false;
	for (uint64_t i = 0; i < q->reftable_old_clusters && q->freed_n < QCOW2_FREED_MAX; i++)
		q->freed[q->freed_n++] = qcow2_index(q, q->reftable_old_at) + i;
	return 0;
}

static int sync_counts(struct qcow2 *q)
{
	bool table = q->reftable_dirty_to || q->reftable_moved;
	int failed = qcow2_cache_write(q, &q->refcounts);

	if (!failed && table)
		failed = barrier(q);
	if (!failed && q->reftable_moved)
		failed = reftable_switch(q);
	else if (!failed && q->reftable_dirty_to)
		failed = write_entries(q, q->reftable, q->reftable_dirty_from, q->reftable_dirty_to,
				       q->h.reftable_at);
	if (!failed) {
		q->reftable_dirty_to = q->reftable_dirty_from = 0;
	}
	return failed;
}

/* Counts go down in memory; a cluster that nobody counts gives its space back. */
static int drop_freed(struct qcow2 *q)
{
	while (q->freed_n) {
		uint64_t index = q->freed[q->freed_n - 1], count;
		struct qcow2_table *t;
		int failed = block_of(q, index, &t);

		if (failed && failed != ENOENT)
			return failed;
		q->freed_n--;
		if (index == 0)
			continue; /* the header's own: only a damaged image says so */
		count = failed ? 0 : count_get(q, t->bytes, in_block(q, index));
		if (count == 0)
			continue; /* the image says that nobody used it: leave it alone */
		count_put(q, t->bytes, in_block(q, index), count - 1);
		t->dirty = true;
		if (count > 1)
			continue;
		qcow2_cache_forget(&q->l2, index << q->h.cluster_bits);
		if (index < q->next_free)
			q->next_free = index;
		(void)storage_discard(&q->file, index << q->h.cluster_bits, q->cluster);
	}
	return 0;
}

static bool cache_dirty(const struct qcow2_cache *c)
{
	for (unsigned i = 0; i < QCOW2_CACHE_TABLES; i++)
		if (c->table[i].dirty)
			return true;
	return false;
}

int qcow2_sync(struct qcow2 *q)
{
	bool tables = cache_dirty(&q->l2) || q->l1_dirty_to;
	int failed = sync_counts(q);

	if (!failed && tables)
		failed = barrier(q);
	if (!failed)
		failed = qcow2_cache_write(q, &q->l2);
	if (!failed && q->l1_dirty_to) {
		failed = barrier(q);
		if (!failed)
			failed = write_entries(q, q->l1, q->l1_dirty_from, q->l1_dirty_to,
					       q->h.l1_at);
		if (!failed)
			q->l1_dirty_to = q->l1_dirty_from = 0;
	}
	if (!failed && q->freed_n)
		failed = barrier(q);
	return failed ? failed : drop_freed(q);
}
