/*
 * Backups: a consistent copy of everything committed, made by a connection of its own on a pool
 * thread, so that neither the loop nor the writer waits for it. The copy is complete and synced
 * under a temporary name before it gets its own.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys_priv.h"
#include "ground/wire/loop.h"

struct backup {
	char *from, *to, *temporary;
	uint64_t revision;
	struct err error;
	keys_done *done;
	void *ctx;
};

static int copy(struct backup *b)
{
	struct database d = {.path = b->from};
	sqlite3_stmt *s = NULL;
	int bad = 0;

	if (sqlite3_open_v2(b->from, &d.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
		    SQLITE_OK ||
	    sqlite3_prepare_v2(d.db, "VACUUM INTO ?", -1, &s, NULL) != SQLITE_OK ||
	    sqlite3_bind_text(s, 1, b->temporary, -1, SQLITE_STATIC) != SQLITE_OK ||
	    sqlite3_step(s) != SQLITE_DONE)
		bad = database_error(&d, &b->error, "cannot copy");
	(void)sqlite3_finalize(s);
	(void)sqlite3_close(d.db);
	return bad;
}

/* Its name is durable too. */
static int sync_folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	auto_free char *folder =
		slash ? str_dup((struct str){path, (size_t)(slash - path) + 1}) : mem_dup_text(".");
	auto_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -1 : fsync(fd);
}

static void work(void *arg)
{
	struct backup *b = arg;
	auto_close int fd = -1;

	(void)unlink(b->temporary);
	if (copy(b) < 0) {
		(void)unlink(b->temporary);
		return;
	}
	fd = open(b->temporary, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0 || rename(b->temporary, b->to) < 0 || sync_folder_of(b->to) < 0)
		(void)err_sys(&b->error, "cannot keep the backup '%s'", b->to);
}

static void finished(void *arg)
{
	struct backup *b = arg;

	b->done(b->ctx, NULL, b->revision, b->error.kind ? &b->error : NULL);
	free(b->from);
	free(b->to);
	free(b->temporary);
	free(b);
}

void keys_backup(struct keys *k, const char *path, keys_done *done, void *ctx)
{
	struct backup *b = mem_new(struct backup);

	assert(k->magic == KEYS_MAGIC && path && done);
	b->from = mem_dup_text(k->o.path);
	b->to = mem_dup_text(path);
	b->temporary = mem_printf("%s.part", path);
	b->revision = k->revision;
	b->done = done;
	b->ctx = ctx;
	loop_job(k->loop, work, finished, b);
}
