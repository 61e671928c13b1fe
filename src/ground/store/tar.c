/*
 * libarchive behind our own item. The only file that includes it. Warnings of the reader (a name it
 * could not convert, an attribute it does not know) pass; anything it calls failed or fatal ends
 * the reading.
 */
#include "ground/store/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/str.h"
#include "ground/store/inflate.h"

struct tar_reader {
	struct archive *a;
	struct archive_entry *entry;
	struct inflate *from;
	struct err source_err;
	bool source_failed;
};

struct tar_writer {
	struct archive *a;
	struct archive_entry *entry;
	int fd;
	uint64_t written;
};

static la_ssize_t on_read(struct archive *a, void *arg, const void **ret)
{
	struct tar_reader *r = arg;
	int64_t n = inflate_next(r->from, ret, &r->source_err);

	if (n >= 0)
		return (la_ssize_t)n;
	r->source_failed = true;
	archive_set_error(a, EINVAL, "source");
	return ARCHIVE_FATAL;
}

static int read_err(struct tar_reader *r, struct err *e)
{
	const char *why = archive_error_string(r->a);

	if (r->source_failed) {
		if (e)
			*e = r->source_err;
		return -(int)r->source_err.kind;
	}
	if (why && text_starts(why, "Unrecognized archive format"))
		return err_set(e, ERR_INVALID, "it is not a tar archive, plain or compressed");
	return err_set(e, ERR_INVALID, "damaged tar archive: %s", why ? why : "unknown reason");
}

int tar_reader_new(struct inflate *from, struct tar_reader **ret, struct err *e)
{
	struct tar_reader *r = mem_new(struct tar_reader);

	r->from = from;
	r->a = archive_read_new();
	r->entry = archive_entry_new();
	assert(r->a && r->entry);
	(void)archive_read_support_filter_none(r->a);
	(void)archive_read_support_format_tar(r->a);
	(void)archive_read_support_format_empty(r->a);
	if (archive_read_open(r->a, r, NULL, on_read, NULL) != ARCHIVE_OK) {
		int failed = read_err(r, e);

		(void)tar_reader_free(r);
		return failed;
	}
	*ret = r;
	return 0;
}

struct tar_reader *tar_reader_free(struct tar_reader *r)
{
	if (!r)
		return NULL;
	archive_entry_free(r->entry);
	(void)archive_read_free(r->a);
	free(r);
	return NULL;
}

static int read_xattrs(struct archive_entry *entry, struct tar_item *ret, struct err *e)
{
	ret->xattrs_n = 0;
	archive_entry_xattr_reset(entry);
	for (;;) {
		struct tar_xattr x;

		if (archive_entry_xattr_next(entry, &x.name, &x.value, &x.size) != ARCHIVE_OK)
			return 0;
		if (!x.name)
			continue;
		if (ret->xattrs_n == TAR_XATTRS_MAX)
			return err_set(e, ERR_INVALID, "'%s' has more than %d extended attributes",
				       ret->name, TAR_XATTRS_MAX);
		ret->xattrs[ret->xattrs_n++] = x;
	}
}

static int read_ids(struct archive_entry *entry, struct tar_item *ret, struct err *e)
{
	la_int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

	/* 2^32 - 1 means "leave it" to chown and is nobody's id. */
	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
		return err_set(e, ERR_INVALID, "'%s' has owner %lld:%lld, which no system can hold",
			       ret->name, (long long)uid, (long long)gid);
	ret->uid = (uint32_t)uid;
	ret->gid = (uint32_t)gid;
	return 0;
}

int tar_next(struct tar_reader *r, struct tar_item *ret, struct err *e)
{
	int code = archive_read_next_header2(r->a, r->entry);
	struct archive_entry *entry = r->entry;
	int failed;

	if (code == ARCHIVE_EOF)
		return 0;
	if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
		return read_err(r, e);
	ret->name = archive_entry_pathname(entry);
	if (!ret->name)
		return err_set(e, ERR_INVALID, "a member's name cannot be read");
	ret->hard_link = archive_entry_hardlink(entry);
	ret->sym_link = archive_entry_symlink(entry);
	ret->mode = archive_entry_mode(entry);
	ret->dev_major = (uint32_t)archive_entry_rdevmajor(entry);
	ret->dev_minor = (uint32_t)archive_entry_rdevminor(entry);
	ret->size_bytes = archive_entry_size(entry);
	ret->mtime_s = archive_entry_mtime(entry);
	ret->mtime_ns = (uint32_t)archive_entry_mtime_nsec(entry);
	failed = read_ids(entry, ret, e);
	if (failed == 0)
		failed = read_xattrs(entry, ret, e);
	return failed < 0 ? failed : 1;
}

int tar_data(struct tar_reader *r, const void **ret, size_t *ret_n, int64_t *ret_offset,
	     struct err *e)
{
	la_int64_t offset = 0;
	int code = archive_read_data_block(r->a, ret, ret_n, &offset);

	if (code == ARCHIVE_EOF)
		return 0;
	if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
		return read_err(r, e);
	*ret_offset = offset;
	return 1;
}

static la_ssize_t on_write(struct archive *a, void *arg, const void *p, size_t n)
{
	struct tar_writer *w = arg;
	ssize_t did;

	do
		did = write(w->fd, p, n);
	while (did < 0 && errno == EINTR);
	if (did < 0)
		archive_set_error(a, errno, "write");
	else
		w->written += (uint64_t)did;
	return did;
}

static int write_err(struct tar_writer *w, const char *name, struct err *e)
{
	errno = archive_errno(w->a);
	if (errno > 0)
		return err_sys(e, "cannot write '%s' to the archive", name);
	return err_set(e, ERR_SYSTEM, "cannot write '%s' to the archive: %s", name,
		       archive_error_string(w->a) ? archive_error_string(w->a) : "unknown reason");
}

int tar_writer_new(int fd, struct tar_writer **ret, struct err *e)
{
	struct tar_writer *w = mem_new(struct tar_writer);

	w->fd = fd;
	w->a = archive_write_new();
	w->entry = archive_entry_new();
	assert(w->a && w->entry);
	(void)archive_write_set_format_pax_restricted(w->a);
	(void)archive_write_set_options(w->a, "pax:xattrheader=SCHILY");
	(void)archive_write_set_bytes_per_block(w->a, 128 << 10);
	(void)archive_write_set_bytes_in_last_block(w->a, 1);
	if (archive_write_open(w->a, w, NULL, on_write, NULL) != ARCHIVE_OK) {
		int failed = write_err(w, "", e);

		(void)tar_writer_free(w);
		return failed;
	}
	*ret = w;
	return 0;
}

struct tar_writer *tar_writer_free(struct tar_writer *w)
{
	if (!w)
		return NULL;
	archive_entry_free(w->entry);
	(void)archive_write_fail(w->a);
	(void)archive_write_free(w->a);
	free(w);
	return NULL;
}

int tar_put(struct tar_writer *w, const struct tar_item *item, struct err *e)
{
	struct archive_entry *entry = archive_entry_clear(w->entry);
	bool data = S_ISREG(item->mode) && !item->hard_link;

	archive_entry_set_pathname(entry, item->name);
	archive_entry_set_mode(entry, item->mode);
	archive_entry_set_uid(entry, item->uid);
	archive_entry_set_gid(entry, item->gid);
	archive_entry_set_size(entry, data ? item->size_bytes : 0);
	archive_entry_set_mtime(entry, item->mtime_s, item->mtime_ns);
	if (item->hard_link)
		archive_entry_set_hardlink(entry, item->hard_link);
	if (item->sym_link)
		archive_entry_set_symlink(entry, item->sym_link);
	if (S_ISCHR(item->mode) || S_ISBLK(item->mode))
		archive_entry_set_rdev(entry, makedev(item->dev_major, item->dev_minor));
	for (size_t i = 0; i < item->xattrs_n; i++)
		archive_entry_xattr_add_entry(entry, item->xattrs[i].name, item->xattrs[i].value,
					      item->xattrs[i].size);
	if (archive_write_header(w->a, entry) < ARCHIVE_WARN)
		return write_err(w, item->name, e);
	return 0;
}

int tar_write(struct tar_writer *w, const void *p, size_t n, struct err *e)
{
	const char *at = p;

	while (n > 0) {
		la_ssize_t did = archive_write_data(w->a, at, n);

		if (did < 0)
			return write_err(w, "data", e);
		if (did == 0)
			return err_set(e, ERR_INTERNAL, "more data than the member's size");
		at += did;
		n -= (size_t)did;
	}
	return 0;
}

int tar_end(struct tar_writer *w, struct err *e)
{
	return archive_write_close(w->a) == ARCHIVE_OK ? 0 : write_err(w, "the end", e);
}

uint64_t tar_written(const struct tar_writer *w)
{
	return w->written;
}
