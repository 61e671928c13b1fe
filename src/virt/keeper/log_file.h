/*
 * Writing a container's log: Docker's json-file format, one line
 *	{"log":"text\n","stream":"stdout","time":"2026-01-02T15:04:05.123456789Z"}
 * per line of output. A line longer than LOG_LINE_MAX is cut into pieces of that size, of which
 * only the last has a newline. What has no newline yet is kept (at most LOG_LINE_MAX bytes per
 * stream) until the rest comes or the stream ends.
 *
 * Rotation: before a write that would make the file larger than bytes_max, `path` becomes `path`.1,
 * `path`.1 becomes `path`.2 ..., and `path`.(files_max - 1) is removed. Renames only: a reader that
 * holds a file open reads it to its end.
 *
 * Bytes that are not UTF-8 are replaced by U+FFFD, as Docker does; a character cut by a read's end
 * is put together again. A file that a crash left with a torn last line is given a newline first.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"
#include "ground/base/world.h"
#include "virt/keeper/log_reader.h"

#define LOG_LINE_MAX	      16384
#define LOG_BYTES_MAX_DEFAULT (20 << 20)
#define LOG_FILES_MAX_DEFAULT 5

struct log_file;

/* path NULL: a log that takes everything and keeps nothing. bytes_max 0: the default, -1: no limit.
 */
int log_file_open(const char *path, int64_t bytes_max, uint32_t files_max,
		  const struct world *world, struct log_file **ret, struct err *e) must_use;
struct log_file *log_file_free(struct log_file *l); /* writes what is kept; returns NULL */

/*
 * Logs n bytes of a stream. A full disk loses lines, never the container: the error is returned
 * once per failing call and the log goes on with the next.
 */
int log_file_add(struct log_file *l, enum log_stream stream, const char *p, size_t n,
		 struct err *e) must_use;

/* The stream ended: what is kept is written without a newline. */
int log_file_end(struct log_file *l, enum log_stream stream, struct err *e);

/* The text of that stream that is kept and not in the file yet. */
struct str log_file_kept(const struct log_file *l, enum log_stream stream);
