/*
 * Debian packages: an ar archive whose member data.tar.* holds the files. Read through libarchive, one
 * pass, no file is created. Names and sizes are the package's word; a file beyond `file_max` is told
 * without its bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

/* One regular file: path without a leading "./"; bytes live until it returns. Negative ends. */
typedef int deb_file_fn(void *ctx, const char *path, struct str bytes, struct err *e);
/* Which paths are read at all. */
typedef bool deb_want_fn(void *ctx, const char *path);

int deb_read(int fd, uint64_t file_max, deb_want_fn *want, deb_file_fn *file, void *ctx,
	     struct err *e) must_use;
