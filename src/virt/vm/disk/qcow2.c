/*
 * A qcow2 disk as a block back.
 *
 * Theory of operation: requests that need a table or a cluster changed wait in line for a job on
 * the loop's pool, one at a time, which takes all that have come by then; so no table is ever seen
 * by two threads. While no job runs, a read whose tables and data are in memory already is
 * answered at once. A flush is a request like any other: what came before it in the line is done
 * when it runs.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "ground/wire/loop.h"
#include "virt/vm/disk/disk_priv.h"
#include "virt/vm/disk/qcow2_priv.h"

#define QCOW2_MAGIC   0x51434f57u
#define NOW_BYTES_MAX (256u << 10)

struct entry {
	struct qcow2_disk *disk;
	struct block_request *request;
	struct entry *next;
	int error;
};

struct qcow2_disk {
	struct block_back back; /* first */
	unsigned magic;
	struct loop *loop;
	struct qcow2 *image;
	struct entry *line, **line_end; /* not begun */
	struct entry *running;		/* the job's; NULL: the image is the loop's */
	unsigned under_way;
};

static struct qcow2_disk *as_disk(void *p)
{
	struct qcow2_disk *d = p;

	assert(d->magic == QCOW2_MAGIC);
	return d;
}

static int perform(struct qcow2 *q, const struct block_request *r)
{
	int failed;

	switch (r->op) {
	case BLOCK_READ:
		return qcow2_read(q, r->offset, r->segments, r->segments_n, r->bytes);
	case BLOCK_WRITE:
		return q->writable ? qcow2_write(q, r->offset, r->segments, r->segments_n, r->bytes)
				   : EROFS;
	case BLOCK_FLUSH:
		failed = q->writable ? qcow2_sync(q) : 0;
		return failed || !q->writable ? failed : storage_sync(&q->file);
	case BLOCK_DISCARD:
	case BLOCK_ZERO:
		return q->writable ? qcow2_zero(q, r->offset, r->bytes, r->op == BLOCK_DISCARD)
				   : EROFS;
	}
	__builtin_unreachable();
}

static void finish(struct entry *e)
{
	struct block_request *r = e->request;
	int error = e->error;

	assert(e->disk->under_way > 0);
	e->disk->under_way--;
	free(e);
	r->done(r->arg, error);
}

static void work(void *arg)
{
	struct qcow2_disk *d = as_disk(arg);

	for (struct entry *e = d->running; e; e = e->next)
		e->error = perform(d->image, e->request);
}

static void worked(void *arg);

static void start(struct qcow2_disk *d)
{
	if (d->running || !d->line)
		return;
	d->running = d->line;
	d->line = NULL;
	d->line_end = &d->line;
	loop_job(d->loop, work, worked, d);
}

static void worked(void *arg)
{
	struct qcow2_disk *d = as_disk(arg);
	struct entry *done = take(d->running), *next;

	start(d);
	for (; done; done = next) {
		next = done->next;
		finish(done);
	}
}

static void finish_now(void *arg)
{
	finish(arg);
}

/* One run that lies in memory: tables cached, data in the page cache. */
static bool at_once(struct qcow2_disk *d, const struct block_request *r)
{
	struct qcow2 *q = d->image;
	struct qcow2_place p, next;

	if (r->op != BLOCK_READ || r->bytes > NOW_BYTES_MAX || d->running || d->line ||
	    !qcow2_lookup_cached(q, r->offset, &p) || p.kind != QCOW2_DATA)
		return false;
	while (p.run < r->bytes) {
		if (!qcow2_lookup_cached(q, r->offset + p.run, &next) || next.kind != QCOW2_DATA ||
		    p.at + p.run != next.at)
			return false;
		p.run += next.run;
	}
	return storage_read_now(&q->file, r->segments, r->segments_n, p.at, r->bytes);
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

static void qcow2_submit(struct block_back *b, struct block_request *r)
{
	struct qcow2_disk *d = as_disk(b);
	struct entry *e = mem_new(struct entry);

	assert(r->op == BLOCK_FLUSH || r->offset <= b->size_bytes);
	assert(r->op == BLOCK_FLUSH || r->bytes <= b->size_bytes - r->offset);
	*e = (struct entry){.disk = d, .request = r};
	account(b, r);
	d->under_way++;
	if (at_once(d, r)) {
		loop_defer(d->loop, finish_now, e);
		return;
	}
	*d->line_end = e;
	d->line_end = &e->next;
	start(d);
}

static struct block_back *qcow2_free(struct block_back *b)
{
	struct qcow2_disk *d = as_disk(b);

	assert(d->under_way == 0 && !d->running);
	/* Twice: the second writes the counts that went down. */
	if (d->image->writable && qcow2_sync(d->image) == 0 && qcow2_sync(d->image) == 0)
		(void)storage_sync(&d->image->file);
	d->image = qcow2_image_close(d->image);
	d->magic = 0;
	free(d);
	return NULL;
}

static const struct block_ops qcow2_ops = {"qcow2", qcow2_submit, qcow2_free};

int qcow2_open(struct loop *l, const struct disk_options *o, struct block_back **ret, struct err *e)
{
	struct qcow2 *q;
	struct qcow2_disk *d;
	int failed = qcow2_image_open(o, &q, e);

	if (failed)
		return failed;
	d = mem_new(struct qcow2_disk);
	d->magic = QCOW2_MAGIC;
	d->loop = l;
	d->image = q;
	d->line_end = &d->line;
	d->back.ops = &qcow2_ops;
	d->back.size_bytes = q->h.size;
	d->back.read_only = o->read_only;
	d->back.discards = !o->read_only;
	*ret = &d->back;
	return 0;
}
