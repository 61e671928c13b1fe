/*
 * Reading a container's log: Docker's json-file lines in `path` (newest) and `path`.1, `path`.2 ...
 * (older, by rotation), oldest first, each split into stream, time and text.
 *
 * The reader holds one file open and one block of memory; it survives rotation while it follows (by
 * inode, in order), and steps over lines that a crash tore. It never blocks but on the disk.
 *
 *	log_reader_open(&(struct log_query){.path = p, .tail = 10, .follow = true}, &r, &e)
 *	while ((got = log_reader_next(r, &line, &e)) == 1)
 *		send(line.text, line.text_n)
 *	got 0: all that is there was read; when following, wait for log_reader_fd() to be readable,
 * call log_reader_woke() and go on.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/own.h"

struct log_reader;

struct log_query {
	const char *path;
	int64_t tail;	  /* the last so many lines before anything else; -1: all */
	int64_t since_ns; /* lines at or after; 0: any */
	int64_t until_ns; /* lines at or before; 0: any. Following ends at the first later line */
	bool follow;
	bool no_stdout, no_stderr;
};

enum log_stream { LOG_STREAM_STDOUT = 1, LOG_STREAM_STDERR = 2 };

/* One line; text has its newline unless the line was cut at LOG_LINE_MAX. Valid until the next
 * call. */
struct log_line {
	enum log_stream stream;
	int64_t time_ns;
	const char *text;
	size_t text_n;
};

/* A log that does not exist yet is an empty one. */
int log_reader_open(const struct log_query *q, struct log_reader **ret, struct err *e) must_use;
struct log_reader *log_reader_free(struct log_reader *r); /* takes NULL, returns NULL */
own_define(log_reader, struct log_reader *, (void)log_reader_free);
#define auto_log_reader own_auto(log_reader)

/* Outcomes. A call steps over a bounded number of bytes: LOG_AGAIN says that it stopped for that.
 */
enum log_got {
	LOG_NONE = 0,  /* all that is there was read */
	LOG_LINE = 1,  /* *ret is a line */
	LOG_END = 2,   /* `until` is passed: nothing more ever */
	LOG_AGAIN = 3, /* call again, best after the loop's other work */
};
int log_reader_next(struct log_reader *r, struct log_line *ret, struct err *e) must_use;

/* With `follow`: an inotify descriptor, readable when there may be more; -1 without. Borrowed. */
int log_reader_fd(const struct log_reader *r);
void log_reader_woke(struct log_reader *r);
