/*
 * Reading and writing through an image's tables.
 *
 * A read is cut into runs that lie in one piece in a file; what no file of the chain has reads as
 * zeroes. A write goes in place where the cluster is ours alone. Otherwise it gets a new cluster:
 * what the write does not cover is copied from where it was, the data follows, and only then does
 * the table lead there. Runs of whole new clusters that lie in a row are written at once.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/store/decompress.h"
#include "ground/store/deflate.h"
#include "virt/vm/disk/qcow2_priv.h"

size_t segments_slice(const struct iovec *v, size_t n, uint64_t skip, uint64_t bytes,
		      struct iovec *ret)
{
	size_t out = 0;

	for (size_t i = 0; i < n && bytes; i++) {
		uint64_t now = v[i].iov_len;

		if (skip >= now) {
			skip -= now;
			continue;
		}
		now -= skip;
		if (now > bytes)
			now = bytes;
		assert(out < QCOW2_SEGMENTS);
		ret[out++] = (struct iovec){(uint8_t *)v[i].iov_base + skip, (size_t)now};
		bytes -= now;
		skip = 0;
	}
	assert(bytes == 0);
	return out;
}

static void segments_zero(const struct iovec *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memset(v[i].iov_base, 0, v[i].iov_len);
}

static void segments_copy(const struct iovec *v, size_t n, const uint8_t *from)
{
	for (size_t i = 0; i < n; i++) {
		memcpy(v[i].iov_base, from, v[i].iov_len);
		from += v[i].iov_len;
	}
}

static uint64_t segments_bytes(const struct iovec *v, size_t n)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += v[i].iov_len;
	return bytes;
}

/* ---- reading ---- */

/* Behind the file's end there are zeroes: a last cluster may be written in part. */
static int file_read(const struct storage *s, uint64_t at, const struct iovec *v, size_t n)
{
	uint64_t bytes = segments_bytes(v, n), there = at < s->bytes ? s->bytes - at : 0;
	struct iovec part[QCOW2_SEGMENTS];
	int failed = 0;

	if (there >= bytes)
		return storage_read(s, v, n, at);
	if (there)
		failed = storage_read(s, part, segments_slice(v, n, 0, there, part), at);
	if (!failed)
		segments_zero(part, segments_slice(v, n, there, bytes - there, part));
	return failed;
}

int chain_read(struct image *i, uint64_t offset, const struct iovec *v, size_t n)
{
	uint64_t bytes = segments_bytes(v, n), there;
	struct iovec part[QCOW2_SEGMENTS];
	int failed = 0;

	there = offset < i->bytes ? i->bytes - offset : 0;
	if (!i->qcow2)
		return file_read(&i->raw, offset, v, n);
	if (there >= bytes)
		return qcow2_read(i->qcow2, offset, v, n, bytes);
	if (there)
		failed = qcow2_read(i->qcow2, offset, part, segments_slice(v, n, 0, there, part),
				    there);
	if (!failed)
		segments_zero(part, segments_slice(v, n, there, bytes - there, part));
	return failed;
}

/* A packed cluster into q->bounce. */
static int unpack(struct qcow2 *q, uint64_t entry)
{
	uint64_t bytes, at = qcow2_packed(q, entry, &bytes);
	uint64_t there = at < q->file.bytes ? q->file.bytes - at : 0;
	size_t n = (size_t)(bytes < there ? bytes : there), got = 0;
	int failed;

	if (n == 0 || n > 2 * q->cluster + 512)
		return EIO;
	if (!q->compressed)
		q->compressed = mem_new_bytes(1, 2 * q->cluster + 512);
	failed = storage_read_bytes(&q->file, q->compressed, n, at);
	if (failed)
		return failed;
	if (q->h.compression == 0)
		return deflate_unpack(q->compressed, n, q->bounce, q->cluster, NULL) < 0 ? EIO : 0;
	return decompress((struct str){(char *)q->compressed, n}, q->bounce, q->cluster, &got,
			  NULL) < 0 ||
			       got != q->cluster
		       ? EIO
		       : 0;
}

static int place_read(struct qcow2 *q, const struct qcow2_place *p, uint64_t offset,
		      const struct iovec *v, size_t n)
{
	int failed;

	switch (p->kind) {
	case QCOW2_UNALLOCATED:
		if (q->backing)
			return chain_read(q->backing, offset, v, n);
		segments_zero(v, n);
		return 0;
	case QCOW2_ZEROES:
		segments_zero(v, n);
		return 0;
	case QCOW2_DATA:
		return file_read(&q->file, p->at, v, n);
	case QCOW2_PACKED:
		failed = unpack(q, p->at);
		if (!failed)
			segments_copy(v, n, q->bounce + (offset & (q->cluster - 1)));
		return failed;
	}
	__builtin_unreachable();
}

/* Does `b` go on where `a`, of `run` bytes so far, ends? */
static bool goes_on(const struct qcow2_place *a, const struct qcow2_place *b)
{
	if (a->kind != b->kind || a->kind == QCOW2_PACKED)
		return false;
	return a->kind != QCOW2_DATA || a->at + a->run == b->at;
}

int qcow2_read(struct qcow2 *q, uint64_t offset, const struct iovec *v, size_t n, uint64_t bytes)
{
	struct iovec part[QCOW2_SEGMENTS];
	uint64_t done = 0;

	assert(offset <= q->h.size && bytes <= q->h.size - offset);
	while (done < bytes) {
		struct qcow2_place p, next;
		int failed = qcow2_lookup(q, offset + done, &p);

		while (!failed && done + p.run < bytes) {
			failed = qcow2_lookup(q, offset + done + p.run, &next);
			if (failed || !goes_on(&p, &next))
				break;
			p.run += next.run;
		}
		if (failed)
			return failed;
		if (p.run > bytes - done)
			p.run = bytes - done;
		failed = place_read(q, &p, offset + done, part,
				    segments_slice(v, n, done, p.run, part));
		if (failed)
			return failed;
		done += p.run;
	}
	return 0;
}

/* ---- writing ---- */

static int file_write(struct qcow2 *q, uint64_t at, const struct iovec *v, size_t n, uint64_t bytes)
{
	int failed = storage_write(&q->file, v, n, at);

	if (!failed && at + bytes > q->file.bytes)
		q->file.bytes = at + bytes;
	return failed;
}

/* [from, to) of the cluster at `base` from where it is now to its new place. */
static int copy_part(struct qcow2 *q, uint64_t base, uint64_t from, uint64_t to, uint64_t at)
{
	auto_free uint8_t *bytes = from < to ? mem_try((size_t)(to - from), NULL) : NULL;
	struct iovec v = {bytes, (size_t)(to - from)};
	uint64_t last = q->h.size - base < to ? q->h.size - base : to;
	int failed;

	if (from >= to)
		return 0;
	if (!bytes)
		return ENOMEM;
	/* The guest's disk may end inside the cluster: the rest is zero. */
	v.iov_len = last > from ? (size_t)(last - from) : 0;
	failed = v.iov_len ? qcow2_read(q, base + from, &v, 1, v.iov_len) : 0;
	v.iov_len = (size_t)(to - from);
	return failed ? failed : file_write(q, at + from, &v, 1, v.iov_len);
}

/* A part of a cluster, at most all of it, that is not ours to write in place. */
static int write_new(struct qcow2 *q, uint64_t offset, const struct iovec *v, size_t n,
		     uint64_t bytes, const struct qcow2_place *p)
{
	uint64_t in = offset & (q->cluster - 1), base = offset - in, at;
	bool keep = p->kind == QCOW2_ZEROES && p->at && p->copied;
	int failed = 0;

	if (keep) /* preallocated */
		at = p->at - in;
	else
		failed = qcow2_alloc(q, &at);
	if (!failed)
		failed = copy_part(q, base, 0, in, at);
	if (!failed)
		failed = file_write(q, at + in, v, n, bytes);
	if (!failed)
		failed = copy_part(q, base, in + bytes, q->cluster, at);
	if (failed)
		return failed;
	return qcow2_entry_set(q, base, at | QCOW2_COPIED);
}

/* How many bytes from `first`, a new cluster, go on in new clusters in a row, up to `bytes`. */
static int row_alloc(struct qcow2 *q, uint64_t offset, uint64_t bytes, uint64_t first,
		     uint64_t *ret_row)
{
	uint64_t row = q->cluster, at;
	int failed = 0;

	for (; row + q->cluster <= bytes; row += q->cluster) {
		struct qcow2_place p;

		failed = qcow2_lookup(q, offset + row, &p);
		if (failed || (p.kind == QCOW2_DATA && p.copied) ||
		    (p.kind == QCOW2_ZEROES && p.at))
			break;
		failed = qcow2_alloc(q, &at);
		if (failed)
			break;
		if (at != first + row) { /* not in the row: given back */
			failed = qcow2_release_at(q, at);
			break;
		}
	}
	*ret_row = row;
	return failed;
}

/* Several whole clusters into new ones: as many as come in a row, one write. */
static int write_row(struct qcow2 *q, uint64_t offset, const struct iovec *v, size_t n,
		     uint64_t bytes, uint64_t *ret_done)
{
	struct iovec part[QCOW2_SEGMENTS];
	uint64_t first, row = 0;
	int failed = qcow2_alloc(q, &first);

	if (!failed)
		failed = row_alloc(q, offset, bytes, first, &row);
	if (!failed)
		failed = file_write(q, first, part, segments_slice(v, n, 0, row, part), row);
	for (uint64_t i = 0; i < row && !failed; i += q->cluster)
		failed = qcow2_entry_set(q, offset + i, (first + i) | QCOW2_COPIED);
	*ret_done = row;
	return failed;
}

static int write_piece(struct qcow2 *q, uint64_t offset, const struct iovec *v, size_t n,
		       uint64_t bytes, uint64_t *ret_done)
{
	struct iovec part[QCOW2_SEGMENTS];
	struct qcow2_place p, next;
	int failed = qcow2_lookup(q, offset, &p);

	if (failed)
		return failed;
	if (p.kind == QCOW2_DATA && p.copied) {
		while (p.run < bytes && qcow2_lookup(q, offset + p.run, &next) == 0 &&
		       next.copied && goes_on(&p, &next))
			p.run += next.run;
		*ret_done = p.run < bytes ? p.run : bytes;
		return file_write(q, p.at, part, segments_slice(v, n, 0, *ret_done, part),
				  *ret_done);
	}
	if (qcow2_aligned(q, offset) && bytes >= q->cluster && !(p.kind == QCOW2_ZEROES && p.at))
		return write_row(q, offset, v, n, bytes, ret_done);
	*ret_done = p.run < bytes ? p.run : bytes;
	return write_new(q, offset, part, segments_slice(v, n, 0, *ret_done, part), *ret_done, &p);
}

int qcow2_write(struct qcow2 *q, uint64_t offset, const struct iovec *v, size_t n, uint64_t bytes)
{
	struct iovec part[QCOW2_SEGMENTS];
	uint64_t done = 0, now = 0;
	int failed = 0;

	assert(q->writable && offset <= q->h.size && bytes <= q->h.size - offset);
	for (; done < bytes && !failed; done += now)
		failed = write_piece(q, offset + done, part,
				     segments_slice(v, n, done, bytes - done, part), bytes - done,
				     &now);
	return failed;
}

/* ---- zeroes ---- */

static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	auto_free uint8_t *zeroes = mem_try((size_t)bytes, NULL);
	struct iovec v = {zeroes, (size_t)bytes};
	struct qcow2_place p;
	int failed = qcow2_lookup(q, offset, &p);

	if (failed || p.kind == QCOW2_ZEROES || (p.kind == QCOW2_UNALLOCATED && !q->backing))
		return failed;
	return zeroes ? qcow2_write(q, offset, &v, 1, bytes) : ENOMEM;
}

/* The whole cluster: version 3 marks it, version 2 forgets it where nothing lies behind. */
static int zero_cluster(struct qcow2 *q, uint64_t offset)
{
	struct qcow2_place p;
	int failed = qcow2_lookup(q, offset, &p);

	if (failed || p.kind == QCOW2_ZEROES || (p.kind == QCOW2_UNALLOCATED && !q->backing))
		return failed;
	if (q->h.version < 3 && q->backing)
		return zero_part(q, offset, q->cluster);
	return qcow2_entry_set(q, offset, q->h.version >= 3 ? QCOW2_ZERO : 0);
}

int qcow2_zero(struct qcow2 *q, uint64_t offset, uint64_t bytes, bool discard)
{
	int failed = 0;

	assert(q->writable && offset <= q->h.size && bytes <= q->h.size - offset);
	while (bytes && !failed) {
		uint64_t in = offset & (q->cluster - 1), now = q->cluster - in;
		bool last = offset + bytes == q->h.size && bytes < now; /* the disk's end */

		if (now > bytes)
			now = bytes;
		if (in == 0 && (now == q->cluster || last))
			failed = discard && q->h.version < 3 && q->backing
					 ? 0
					 : zero_cluster(q, offset);
		else if (!discard)
			failed = zero_part(q, offset, now);
		offset += now;
		bytes -= now;
	}
	return failed;
}
