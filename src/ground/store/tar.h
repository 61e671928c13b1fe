/*
 * Tar archives, read and written through libarchive: ustar, GNU and pax with long names, sparse
 * files and extended attributes. Only tar is compiled in; compression is inflate.h's. The names and
 * sizes found are the archive's word, unchecked: who creates files from them does the checking.
 *
 * The calling program sets LC_CTYPE to C.UTF-8, or names beyond ASCII cannot be read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/own.h"

struct inflate;
struct tar_reader;
struct tar_writer;

struct tar_xattr {
	const char *name;
	const void *value;
	size_t size;
};

#define TAR_XATTRS_MAX 256

/* One member. Everything is borrowed until the next call to the reader. */
struct tar_item {
	const char *name;
	const char *hard_link; /* target's name in the archive, or NULL */
	const char *sym_link;  /* target, or NULL */
	uint32_t mode;	       /* type and permissions as st_mode */
	uint32_t uid, gid;
	uint32_t dev_major, dev_minor;
	int64_t size_bytes;
	int64_t mtime_s;
	uint32_t mtime_ns;
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	size_t xattrs_n;
};

/* Reads from an inflate, which stays the caller's. */
int tar_reader_new(struct inflate *from, struct tar_reader **ret, struct err *e) must_use;
struct tar_reader *tar_reader_free(struct tar_reader *r); /* NULL allowed; returns NULL */
own_define(tar_reader, struct tar_reader *, (void)tar_reader_free);
#define auto_tar_reader own_auto(tar_reader)

/* 1: ret is the next member; 0: the end; negative: damaged. */
int tar_next(struct tar_reader *r, struct tar_item *ret, struct err *e) must_use;
/* 1: a piece of the member's data at `offset` (holes are skipped); 0: no more of it. */
int tar_data(struct tar_reader *r, const void **ret, size_t *ret_n, int64_t *ret_offset,
	     struct err *e) must_use;

/* Writes pax (ustar where that is enough) to fd, which stays the caller's. */
int tar_writer_new(int fd, struct tar_writer **ret, struct err *e) must_use;
struct tar_writer *
tar_writer_free(struct tar_writer *w); /* without _end the archive is cut; NULL */
own_define(tar_writer, struct tar_writer *, (void)tar_writer_free);
#define auto_tar_writer own_auto(tar_writer)

int tar_put(struct tar_writer *w, const struct tar_item *item, struct err *e) must_use;
/* Exactly item->size_bytes in all after each put of a regular file. */
int tar_write(struct tar_writer *w, const void *p, size_t n, struct err *e) must_use;
int tar_end(struct tar_writer *w, struct err *e) must_use; /* ends the archive */
uint64_t tar_written(const struct tar_writer *w);
