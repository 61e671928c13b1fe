/*
 * Packages through libarchive, twice: the outer reader walks the ar archive, the inner one reads tar
 * (gzip, xz or zstd) from the data of the outer one's member. See deb.h.
 */
#include "ground/store/deb.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

#define BLOCK_BYTES 65536

struct deb {
	struct archive *outer, *inner;
	uint64_t file_max;
	deb_want_fn *want;
	deb_file_fn *file;
	void *ctx;
};

static int damaged(struct archive *a, const char *what, struct err *e)
{
	const char *why = archive_error_string(a);

	return err_set(e, ERR_INVALID, "not a readable Debian package: %s: %s", what,
		       why ? why : "unknown reason");
}

static la_ssize_t read_member(struct archive *a, void *ctx, const void **ret)
{
	static char block[BLOCK_BYTES];
	struct deb *d = ctx;
	la_ssize_t n = archive_read_data(d->outer, block, sizeof(block));

	*ret = block;
	if (n < 0)
		archive_set_error(a, EINVAL, "the package is cut short");
	return n < 0 ? ARCHIVE_FATAL : n;
}

static int tell_file(struct deb *d, struct archive_entry *entry, const char *path, struct err *e)
{
	int64_t size = archive_entry_size(entry);
	auto_free char *bytes = NULL;
	la_ssize_t n;

	if (size < 0 || (uint64_t)size > d->file_max)
		return err_set(e, ERR_INVALID, "'%s' in the package is too large", path);
	bytes = mem_try((size_t)size + 1, e);
	if (!bytes)
		return -ERR_EXHAUSTED;
	n = archive_read_data(d->inner, bytes, (size_t)size);
	if (n != size)
		return damaged(d->inner, path, e);
	return d->file(d->ctx, path, (struct str){bytes, (size_t)size}, e);
}

static int read_data(struct deb *d, struct err *e)
{
	struct archive_entry *entry;
	int r, bad = 0;

	if (archive_read_open(d->inner, d, NULL, read_member, NULL) != ARCHIVE_OK)
		return damaged(d->inner, "data.tar", e);
	while (bad >= 0 && (r = archive_read_next_header(d->inner, &entry)) == ARCHIVE_OK) {
		const char *path = archive_entry_pathname(entry);

		if (!path || archive_entry_filetype(entry) != AE_IFREG ||
		    archive_entry_hardlink(entry))
			continue;
		if (text_starts(path, "./"))
			path += 2;
		if (d->want(d->ctx, path))
			bad = tell_file(d, entry, path, e);
	}
	if (bad < 0)
		return bad;
	return r == ARCHIVE_EOF ? 0 : damaged(d->inner, "data.tar", e);
}

static int find_data(struct deb *d, int fd, struct err *e)
{
	struct archive_entry *entry;

	if (archive_read_open_fd(d->outer, fd, BLOCK_BYTES) != ARCHIVE_OK)
		return damaged(d->outer, "no ar archive", e);
	while (archive_read_next_header(d->outer, &entry) == ARCHIVE_OK) {
		const char *name = archive_entry_pathname(entry);

		if (name && text_starts(name, "data.tar"))
			return read_data(d, e);
	}
	return damaged(d->outer, "it has no data.tar", e);
}

int deb_read(int fd, uint64_t file_max, deb_want_fn *want, deb_file_fn *file, void *ctx,
	     struct err *e)
{
	struct deb d = {.outer = archive_read_new(),
			.inner = archive_read_new(),
			.file_max = file_max,
			.want = want,
			.file = file,
			.ctx = ctx};
	int r;

	assert(d.outer && d.inner);
	assert(want && file);
	(void)archive_read_support_format_ar(d.outer);
	(void)archive_read_support_format_tar(d.inner);
	(void)archive_read_support_filter_xz(d.inner);
	(void)archive_read_support_filter_zstd(d.inner);
	(void)archive_read_support_filter_gzip(d.inner);
	r = find_data(&d, fd, e);
	(void)archive_read_free(d.inner);
	(void)archive_read_free(d.outer);
	return r;
}
