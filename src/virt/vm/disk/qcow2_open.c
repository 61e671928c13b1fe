/*
 * Opening a qcow2 image: its header, its tables in memory, the files behind it.
 *
 * Everything that the header says is bounded before it is used; what an image may need and is not
 * read here (encryption, external data, extended L2 entries, features yet unknown) is refused by
 * name. A backing file's format must be named by the image. All files of the chain are opened now,
 * and a chain that comes back to one of its files ends with that message.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"
#include "virt/vm/disk/qcow2_priv.h"

#define MAGIC		   0x514649fbu
#define HEADER_2_BYTES	   72
#define HEADER_3_BYTES	   104
#define BACKING_BYTES_MAX  1023
#define SECTOR_BYTES	   512u
#define EXTENSION_END	   0u
#define EXTENSION_BACKING  0xe2792acau
#define FORMAT_BYTES_MAX   16
#define AUTOCLEAR_AT	   88
#define KNOWN_INCOMPATIBLE (QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION)

struct chain {
	const char *path;
	dev_t device;
	ino_t inode;
	const struct chain *above;
	unsigned depth;
};

static uint64_t cursor_be64(struct cursor *c)
{
	uint64_t high = cursor_be32(c);

	return high << 32 | cursor_be32(c);
}

/* ---- the header ---- */

static int header_read(const char *path, const uint8_t *bytes, size_t n, struct qcow2_header *ret,
		       struct err *e)
{
	struct cursor c = cursor_of(bytes, n);
	uint32_t magic = cursor_be32(&c);
	struct qcow2_header h = {.version = cursor_be32(&c)};

	if (c.bad || magic != MAGIC)
		return err_set(e, ERR_INVALID, "'%s' is not a qcow2 image", path);
	if (h.version != 2 && h.version != 3)
		return err_set(e, ERR_UNSUPPORTED,
			       "'%s' is qcow2 version %u: only 2 and 3 are known", path, h.version);
	h.backing_at = cursor_be64(&c);
	h.backing_bytes = cursor_be32(&c);
	h.cluster_bits = cursor_be32(&c);
	h.size = cursor_be64(&c);
	h.encryption = cursor_be32(&c);
	h.l1_entries = cursor_be32(&c);
	h.l1_at = cursor_be64(&c);
	h.reftable_at = cursor_be64(&c);
	h.reftable_clusters = cursor_be32(&c);
	(void)cursor_be32(&c); /* snapshots and where they are: not ours to touch */
	(void)cursor_be64(&c);
	h.refcount_order = 4;
	h.header_bytes = HEADER_2_BYTES;
	if (h.version >= 3) {
		h.incompatible = cursor_be64(&c);
		(void)cursor_be64(&c); /* compatible features: lazy counts, which we never make */
		h.autoclear = cursor_be64(&c);
		h.refcount_order = cursor_be32(&c);
		h.header_bytes = cursor_be32(&c);
		h.compression = h.header_bytes > HEADER_3_BYTES ? cursor_u8(&c) : 0;
	}
	if (c.bad)
		return err_set(e, ERR_INVALID, "qcow2 image '%s' ends inside its header", path);
	*ret = h;
	return 0;
}

static int features_check(const char *path, const struct qcow2_header *h, bool write, struct err *e)
{
	const struct {
		bool is;
		const char *what;
	} refused[] = {
		{h->encryption != 0, "is encrypted"},
		{h->incompatible & QCOW2_EXTERNAL_DATA, "keeps its data in an external file"},
		{h->incompatible & QCOW2_EXTENDED_L2, "has extended L2 entries"},
		{h->incompatible & ~(KNOWN_INCOMPATIBLE | QCOW2_EXTERNAL_DATA | QCOW2_EXTENDED_L2),
		 "has features that are not known here"},
		{h->compression > 1, "is compressed in a way that is not known here"},
	};

	for (size_t i = 0; i < array_len(refused); i++)
		if (refused[i].is)
			return err_set(e, ERR_UNSUPPORTED,
				       "qcow2 image '%s' %s, which is not supported", path,
				       refused[i].what);
	if (write && (h->incompatible & (QCOW2_DIRTY | QCOW2_CORRUPT)))
		return err_set(
			e, ERR_CONFLICT,
			"qcow2 image '%s' is marked %s: repair it with 'qemu-img check -r all', "
			"or open it read-only",
			path, h->incompatible & QCOW2_CORRUPT ? "corrupt" : "dirty");
	return 0;
}

static bool inside(const struct qcow2 *q, uint64_t at, uint64_t bytes)
{
	return at && (at & (q->cluster - 1)) == 0 && at < q->file.bytes &&
	       bytes <= q->file.bytes - at;
}

/* What cannot be, by name; NULL where all can. */
static const char *impossible(const struct qcow2 *q)
{
	const struct qcow2_header *h = &q->h;
	uint64_t l1 = (uint64_t)h->l1_entries * 8;
	uint64_t reftable = (uint64_t)h->reftable_clusters << h->cluster_bits;
	uint32_t least = h->version >= 3 ? HEADER_3_BYTES : HEADER_2_BYTES;
	const struct {
		bool is;
		const char *what;
	} wrong[] = {
		{h->size > DISK_BYTES_MAX || h->size == 0 || h->size % SECTOR_BYTES, "size"},
		{h->refcount_order > 6, "width of reference counts"},
		{h->header_bytes < least || h->header_bytes > q->cluster, "header size"},
		{h->header_bytes % 8 != 0, "header size"},
		{reftable > QCOW2_REFTABLE_BYTES_MAX, "reference count table"},
		{!inside(q, h->reftable_at, q->cluster), "reference count table"},
		{l1 > QCOW2_L1_BYTES_MAX || !inside(q, h->l1_at, l1), "L1 table"},
	};

	for (size_t i = 0; i < array_len(wrong); i++)
		if (wrong[i].is)
			return wrong[i].what;
	return NULL;
}

static int header_check(const char *path, struct qcow2 *q, struct err *e)
{
	const struct qcow2_header *h = &q->h;
	const char *wrong;

	if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return err_set(e, ERR_INVALID, "qcow2 image '%s' has clusters of 2^%u bytes", path,
			       h->cluster_bits);
	q->cluster = 1ull << h->cluster_bits;
	wrong = impossible(q);
	if (wrong)
		return err_set(e, ERR_INVALID, "qcow2 image '%s' has an impossible %s", path,
			       wrong);
	if (h->l1_entries < ((h->size - 1) >> (2 * h->cluster_bits - 3)) + 1)
		return err_set(e, ERR_INVALID,
			       "qcow2 image '%s' has an L1 table that is too small for its size",
			       path);
	return 0;
}

/* ---- tables ---- */

static int entries_read(const char *path, const struct qcow2 *q, uint64_t at, uint64_t n,
			uint64_t **ret, struct err *e)
{
	uint64_t *table = mem_try((size_t)(n ? n : 1) * 8, e);
	uint64_t there = at < q->file.bytes ? (q->file.bytes - at) / 8 : 0;

	if (!table)
		return err_wrap(e, "cannot read the tables of '%s'", path);
	if (storage_read_bytes(&q->file, table, (size_t)(n < there ? n : there) * 8, at)) {
		free(table);
		return err_set(e, ERR_SYSTEM, "cannot read the tables of qcow2 image '%s'", path);
	}
	for (uint64_t i = 0; i < n; i++)
		table[i] = __builtin_bswap64(table[i]);
	*ret = table;
	return 0;
}

static int tables_read(const char *path, struct qcow2 *q, struct err *e)
{
	uint64_t n = ((uint64_t)q->h.reftable_clusters << q->h.cluster_bits) / 8;
	int failed = entries_read(path, q, q->h.l1_at, q->h.l1_entries, &q->l1, e);

	if (!failed && q->writable)
		failed = entries_read(path, q, q->h.reftable_at, n, &q->reftable, e);
	q->reftable_n = q->reftable ? n : 0;
	q->next_free = 1;
	q->bounce = mem_new_bytes(1, q->cluster);
	return failed;
}

/* ---- backing files ---- */

/* The format that the image names for its backing file, or NULL. */
static char *backing_format(const uint8_t *bytes, size_t n, const struct qcow2_header *h)
{
	struct cursor c = cursor_of(bytes, n);

	(void)cursor_bytes(&c, h->header_bytes);
	while (!c.bad) {
		uint32_t type = cursor_be32(&c), size = cursor_be32(&c);
		const uint8_t *value = cursor_bytes(&c, size);

		if (type == EXTENSION_END)
			break;
		if (type == EXTENSION_BACKING && value && size <= FORMAT_BYTES_MAX)
			return mem_printf("%.*s", (int)size, (const char *)value);
		(void)cursor_bytes(&c, (8 - size % 8) % 8);
	}
	return NULL;
}

/* Relative to the image that names it. */
static char *backing_path(const char *image, const char *name)
{
	const char *slash = strrchr(image, '/');

	if (name[0] == '/' || !slash)
		return mem_dup_text(name);
	return mem_printf("%.*s/%s", (int)(slash - image), image, name);
}

static int chain_open(const struct disk_options *o, const struct chain *above, struct qcow2 **ret,
		      struct err *e);

static int loops(const char *path, const struct chain *above, struct err *e)
{
	struct stat st;

	if (above->depth >= QCOW2_DEPTH_MAX)
		return err_set(e, ERR_INVALID, "more than %d files lie behind each other at '%s'",
			       QCOW2_DEPTH_MAX, path);
	if (stat(path, &st) < 0)
		return err_sys(e, "cannot open '%s', the backing file of '%s'", path, above->path);
	for (const struct chain *c = above; c; c = c->above)
		if (c->device == st.st_dev && c->inode == st.st_ino)
			return err_set(e, ERR_INVALID,
				       "the backing files of '%s' lead back to it: a loop",
				       c->path);
	return 0;
}

static int backing_open(const char *path, const char *format, const struct chain *above,
			struct image **ret, struct err *e)
{
	const struct disk_options o = {.path = path, .format = format, .read_only = true};
	struct image *i = mem_new(struct image);
	int failed = loops(path, above, e);

	i->raw.fd = -1;
	if (!failed && strcmp(format, "raw") == 0)
		failed = storage_open(path, true, &i->raw, e);
	else if (!failed && strcmp(format, "qcow2") == 0)
		failed = chain_open(&o, above, &i->qcow2, e);
	else if (!failed)
		failed = err_set(e, ERR_UNSUPPORTED, "there is no format '%s', only raw and qcow2",
				 format);
	if (failed) {
		free(i);
		return err_wrap(e, "backing file of '%s'", above->path);
	}
	i->bytes = i->qcow2 ? i->qcow2->h.size : i->raw.bytes;
	*ret = i;
	return 0;
}

static int backing_find(struct qcow2 *q, const uint8_t *bytes, size_t n, const struct chain *self,
			struct err *e)
{
	struct cursor c = cursor_of(bytes, n);
	auto_free char *format = NULL, *name = NULL, *path = NULL;
	const uint8_t *text;

	if (!q->h.backing_at && !q->h.backing_bytes)
		return 0;
	(void)cursor_bytes(&c, q->h.backing_at < n ? (size_t)q->h.backing_at : n);
	text = cursor_bytes(&c, q->h.backing_bytes);
	if (!text || q->h.backing_bytes > BACKING_BYTES_MAX || q->h.backing_bytes == 0)
		return err_set(e, ERR_INVALID,
			       "qcow2 image '%s' has an impossible backing file name", self->path);
	name = mem_printf("%.*s", (int)q->h.backing_bytes, (const char *)text);
	format = backing_format(bytes, n, &q->h);
	if (!format)
		return err_set(
			e, ERR_UNSUPPORTED,
			"qcow2 image '%s' does not name the format of its backing file '%s', and "
			"it is never guessed: say it with 'qemu-img rebase -u -b FILE -F FORMAT'",
			self->path, name);
	path = backing_path(self->path, name);
	return backing_open(path, format, self, &q->backing, e);
}

/* ---- the image ---- */

/* Features that a writer who does not know them must take back (bitmaps, for one). */
static int autoclear(const char *path, struct qcow2 *q, struct err *e)
{
	const uint8_t none[8] = {0};

	if (!q->writable || !q->h.autoclear)
		return 0;
	if (storage_write_bytes(&q->file, none, sizeof(none), AUTOCLEAR_AT))
		return err_set(e, ERR_SYSTEM, "cannot write the header of qcow2 image '%s'", path);
	return 0;
}

static int image_load(const struct disk_options *o, struct qcow2 *q, struct chain *self,
		      struct err *e)
{
	size_t n = q->file.bytes < (1u << 16) ? (size_t)q->file.bytes : 1u << 16;
	auto_free uint8_t *bytes = mem_new_bytes(1, n + 1);
	int failed;

	if (storage_read_bytes(&q->file, bytes, n, 0))
		return err_set(e, ERR_SYSTEM, "cannot read qcow2 image '%s'", o->path);
	failed = header_read(o->path, bytes, n, &q->h, e);
	if (!failed)
		failed = header_check(o->path, q, e);
	if (!failed)
		failed = features_check(o->path, &q->h, !o->read_only, e);
	if (!failed)
		failed = tables_read(o->path, q, e);
	if (!failed)
		failed = backing_find(q, bytes, n < q->cluster ? n : (size_t)q->cluster, self, e);
	return failed ? failed : autoclear(o->path, q, e);
}

static int chain_open(const struct disk_options *o, const struct chain *above, struct qcow2 **ret,
		      struct err *e)
{
	struct chain self = {
		.path = o->path, .above = above, .depth = above ? above->depth + 1 : 0};
	struct qcow2 *q = mem_new(struct qcow2);
	struct stat st;
	int failed = storage_open(o->path, o->read_only, &q->file, e);

	if (failed) {
		free(q);
		return failed;
	}
	q->writable = !o->read_only;
	if (fstat(q->file.fd, &st) < 0) {
		(void)qcow2_image_close(q);
		return err_sys(e, "cannot look at '%s'", o->path);
	}
	self.device = st.st_dev;
	self.inode = st.st_ino;
	failed = image_load(o, q, &self, e);
	if (failed) {
		q->writable = false;
		(void)qcow2_image_close(q);
		return failed;
	}
	*ret = q;
	return 0;
}

int qcow2_image_open(const struct disk_options *o, struct qcow2 **ret, struct err *e)
{
	return chain_open(o, NULL, ret, e);
}

struct qcow2 *qcow2_image_close(struct qcow2 *q)
{
	assert(q);
	if (q->backing) {
		storage_close(&q->backing->raw);
		if (q->backing->qcow2)
			(void)qcow2_image_close(q->backing->qcow2);
		free(q->backing);
	}
	storage_close(&q->file);
	qcow2_cache_free(&q->l2);
	qcow2_cache_free(&q->refcounts);
	free(q->l1);
	free(q->reftable);
	free(q->bounce);
	free(q->compressed);
	free(q);
	return NULL;
}
