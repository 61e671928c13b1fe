/*
 * A raw disk: byte n of the disk is byte n of the file or block device.
 *
 * Theory of operation: what the page cache can serve without waiting is moved at once, on the
 * loop's thread, and only its completion is deferred: most of a guest's reads and writes cost one
 * system call and no thread switch. Everything else is a job on the loop's pool. Large requests go
 * there too, so that the loop is not held.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "ground/linux/storage.h"
#include "ground/wire/loop.h"
#include "virt/vm/disk/disk_priv.h"

#define RAW_MAGIC     0x52415744u
#define NOW_BYTES_MAX (256u << 10)
#define SECTOR_BYTES  512u

struct raw {
	struct block_back back; /* first */
	unsigned magic;
	struct loop *loop;
	struct storage storage;
	unsigned under_way;
};

struct raw_job {
	struct raw *raw;
	struct block_request *request;
	int error;
};

static struct raw *as_raw(struct block_back *b)
{
	struct raw *w = (struct raw *)(void *)b;

	assert(w->magic == RAW_MAGIC);
	return w;
}

static int perform(const struct raw *w, const struct block_request *r)
{
	switch (r->op) {
	case BLOCK_READ:
		return storage_read(&w->storage, r->segments, r->segments_n, r->offset);
	case BLOCK_WRITE:
		return storage_write(&w->storage, r->segments, r->segments_n, r->offset);
	case BLOCK_FLUSH:
		return w->storage.read_only ? 0 : storage_sync(&w->storage);
	case BLOCK_DISCARD:
		return storage_discard(&w->storage, r->offset, r->bytes);
	case BLOCK_ZERO:
		return storage_zero(&w->storage, r->offset, r->bytes, w->back.discards);
	}
	__builtin_unreachable();
}

static void job_work(void *arg)
{
	struct raw_job *j = arg;

	j->error = perform(j->raw, j->request);
}

static void job_done(void *arg)
{
	struct raw_job *j = arg;
	struct block_request *r = j->request;
	int error = j->error;

	assert(j->raw->under_way > 0);
	j->raw->under_way--;
	free(j);
	r->done(r->arg, error);
}

/* True when it is done already. */
static bool at_once(const struct raw *w, const struct block_request *r)
{
	if (r->bytes > NOW_BYTES_MAX)
		return false;
	if (r->op == BLOCK_READ)
		return storage_read_now(&w->storage, r->segments, r->segments_n, r->offset,
					r->bytes);
	if (r->op == BLOCK_WRITE)
		return storage_write_now(&w->storage, r->segments, r->segments_n, r->offset,
					 r->bytes);
	return false;
}

static void account(struct block_back *b, const struct block_request *r)
{
	if (r->op == BLOCK_READ) {
		b->reads++;
		b->read_bytes += r->bytes;
	} else if (r->op == BLOCK_WRITE) {
		b->writes++;
		b->written_bytes += r->bytes;
	}
}

static void raw_submit(struct block_back *b, struct block_request *r)
{
	struct raw *w = as_raw(b);
	struct raw_job *j = mem_new(struct raw_job);

	assert(r->op == BLOCK_FLUSH || r->offset <= b->size_bytes);
	assert(r->op == BLOCK_FLUSH || r->bytes <= b->size_bytes - r->offset);
	*j = (struct raw_job){.raw = w, .request = r};
	account(b, r);
	w->under_way++;
	if (b->read_only && r->op != BLOCK_READ && r->op != BLOCK_FLUSH) {
		j->error = EROFS;
		loop_defer(w->loop, job_done, j);
	} else if (at_once(w, r)) {
		loop_defer(w->loop, job_done, j);
	} else {
		loop_job(w->loop, job_work, job_done, j);
	}
}

static struct block_back *raw_free(struct block_back *b)
{
	struct raw *w = as_raw(b);

	assert(w->under_way == 0);
	if (!b->read_only)
		(void)storage_sync(&w->storage);
	storage_close(&w->storage);
	w->magic = 0;
	free(w);
	return NULL;
}

static const struct block_ops raw_ops = {"raw", raw_submit, raw_free};

int raw_open(struct loop *l, const struct disk_options *o, struct block_back **ret, struct err *e)
{
	struct storage s;
	struct raw *w;
	int failed = storage_open(o->path, o->read_only, &s, e);

	if (failed)
		return failed;
	if (s.bytes == 0 || s.bytes % SECTOR_BYTES || s.bytes > DISK_BYTES_MAX) {
		storage_close(&s);
		return err_set(
			e, ERR_INVALID,
			"raw disk '%s' has %llu bytes: a disk has a multiple of 512, up to 1 PiB",
			o->path, (unsigned long long)s.bytes);
	}
	w = mem_new(struct raw);
	w->magic = RAW_MAGIC;
	w->loop = l;
	w->storage = s;
	w->back.ops = &raw_ops;
	w->back.size_bytes = s.bytes;
	w->back.read_only = o->read_only;
	w->back.discards = !o->read_only && !s.block_device;
	*ret = &w->back;
	return 0;
}
