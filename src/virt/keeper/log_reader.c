/*
 * The log's reader. It holds one file by descriptor; at its end it asks by inode number whether the
 * file was rotated away, and goes on with the next newer one. Renames by the writer therefore never
 * lose or repeat a line, and no lock is needed: a line is taken only when its newline is there.
 */
#include "virt/keeper/log_reader.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "virt/keeper/log_file.h"
#include "virt/keeper/log_line.h"

#define PATH_ROOM      4096
#define BLOCK_BYTES    32768
#define ROTATED_MAX    10000
#define STEP_BYTES_MAX (1 << 20)

struct log_reader {
	char *path;
	struct log_query query; /* .path is unused */
	int fd, inotify_fd;
	ino_t inode;
	struct strbuf raw;  /* bytes read and not yet given out */
	size_t at;	    /* of raw: the next line begins here */
	struct strbuf text; /* the current line's text */
	bool skipping;	    /* inside a line too long to be one of ours */
	bool ended;
};

static void numbered(const struct log_reader *r, uint32_t number, char ret[PATH_ROOM])
{
	if (number == 0)
		(void)snprintf(ret, PATH_ROOM, "%s", r->path);
	else
		(void)snprintf(ret, PATH_ROOM, "%s.%u", r->path, number);
}

/* Opens file `number`; 0 and no descriptor when it is not there. */
static int open_numbered(struct log_reader *r, uint32_t number, int *ret, struct err *e)
{
	char path[PATH_ROOM];

	numbered(r, number, path);
	*ret = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret < 0 && errno != ENOENT)
		return err_sys(e, "cannot open log '%s'", path);
	return 0;
}

static void use_file(struct log_reader *r, int fd)
{
	struct stat st;

	(void)fd_close(r->fd);
	r->fd = fd;
	r->inode = fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
	strbuf_clear(&r->raw);
	r->at = 0;
	r->skipping = false;
}

/* The number of the oldest file that is there, 0 when only the newest (or none) is. */
static uint32_t oldest(const struct log_reader *r)
{
	char path[PATH_ROOM];
	struct stat st;
	uint32_t number = 0;

	while (number < ROTATED_MAX) {
		numbered(r, number + 1, path);
		if (stat(path, &st) < 0)
			break;
		number++;
	}
	return number;
}

/*
 * The number of the file that follows ours, in *ret: 1; or 0 when ours is the newest. A file of
 * ours that rotation removed is followed by the oldest that is left.
 */
static int next_number(const struct log_reader *r, uint32_t *ret)
{
	uint32_t last = oldest(r);
	char path[PATH_ROOM];
	struct stat st;

	for (uint32_t number = 0; number <= last; number++) {
		numbered(r, number, path);
		if (stat(path, &st) < 0 || st.st_ino != r->inode)
			continue;
		*ret = number ? number - 1 : 0;
		return number > 0;
	}
	*ret = last;
	return 1;
}

/* Reads a block behind what is there: 1 something came, 0 the file's end. */
static int read_block(struct log_reader *r, struct err *e)
{
	char block[BLOCK_BYTES];
	ssize_t n;

	if (r->fd < 0)
		return 0;
	strbuf_drop_front(&r->raw, r->at);
	r->at = 0;
	do
		n = read(r->fd, block, sizeof(block));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "cannot read log '%s'", r->path);
	strbuf_add(&r->raw, block, (size_t)n);
	return n > 0;
}

/* More bytes, from the next file where this one ended: 1 there are, 0 none now. */
static int advance(struct log_reader *r, struct err *e)
{
	uint32_t number;
	int got = read_block(r, e), fd;

	if (got != 0)
		return got;
	if (r->fd < 0) {
		int opened = open_numbered(r, oldest(r), &fd, e);

		if (opened < 0 || fd < 0)
			return opened;
		use_file(r, fd);
		return read_block(r, e);
	}
	if (next_number(r, &number) == 0)
		return 0;
	/* Rotated since: what was written between our read and the rename is still ours. */
	got = read_block(r, e);
	if (got != 0)
		return got;
	got = open_numbered(r, number, &fd, e);
	if (got < 0 || fd < 0)
		return got;
	use_file(r, fd);
	return 1;
}

/* The next raw line without its newline: 1, or 0 when none is whole. */
static int raw_line(struct log_reader *r, struct str *ret, struct err *e)
{
	for (;;) {
		const char *from = r->raw.p + r->at;
		size_t n = r->raw.n - r->at;
		const char *end = n ? memchr(from, '\n', n) : NULL;
		int got;

		if (end) {
			bool skip = r->skipping;

			r->at += (size_t)(end + 1 - from);
			r->skipping = false;
			if (skip)
				continue;
			*ret = (struct str){from, (size_t)(end - from)};
			return 1;
		}
		if (n > LOG_LINE_RAW_MAX) {
			r->skipping = true;
			r->at = r->raw.n;
		}
		got = advance(r, e);
		if (got <= 0)
			return got;
	}
}

static bool matches(const struct log_query *q, const struct log_line *line)
{
	if (line->stream == LOG_STREAM_STDOUT ? q->no_stdout : q->no_stderr)
		return false;
	return line->time_ns >= q->since_ns;
}

int log_reader_next(struct log_reader *r, struct log_line *ret, struct err *e)
{
	size_t stepped = 0;
	struct str raw;

	while (!r->ended && stepped < STEP_BYTES_MAX) {
		struct log_line line;
		int got = raw_line(r, &raw, e);

		if (got <= 0)
			return got;
		stepped += raw.n;
		if (!log_line_parse(raw, &r->text, &line))
			continue; /* torn by a crash, or not ours */
		if (r->query.until_ns && line.time_ns > r->query.until_ns) {
			r->ended = true;
			break;
		}
		if (!matches(&r->query, &line))
			continue;
		*ret = line;
		return LOG_LINE;
	}
	return r->ended ? LOG_END : LOG_AGAIN;
}

/*
 * The offset in fd at which its last *lines lines begin; *lines is what is still wanted of older
 * files. A torn end (no newline) counts as no line.
 */
static int tail_offset(int fd, int64_t *lines, off_t *ret, struct err *e)
{
	char block[BLOCK_BYTES];
	struct stat st;
	bool first = true;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "cannot stat a log");
	for (off_t end = st.st_size; end > 0;) {
		off_t begin = end > BLOCK_BYTES ? end - BLOCK_BYTES : 0;
		ssize_t n = pread(fd, block, (size_t)(end - begin), begin);

		if (n < 0)
			return err_sys(e, "cannot read a log");
		while (n-- > 0) {
			if (block[n] != '\n')
				continue;
			/* The newline that ends the last line begins none. */
			if (!first && --*lines == 0) {
				*ret = begin + n + 1;
				return 0;
			}
			first = false;
		}
		end = begin;
	}
	if (!first)
		--*lines;
	*ret = 0;
	return 0;
}

/* Puts the reader at the last `tail` lines. */
static int seek_tail(struct log_reader *r, struct err *e)
{
	uint32_t last = oldest(r);
	int64_t lines = r->query.tail;

	for (uint32_t number = 0; number <= last; number++) {
		off_t offset = 0;
		int fd, got = open_numbered(r, number, &fd, e);

		if (got < 0)
			return got;
		if (fd < 0)
			continue;
		use_file(r, fd);
		if (lines == 0)
			offset = lseek(fd, 0, SEEK_END);
		else
			got = tail_offset(fd, &lines, &offset, e);
		if (got < 0)
			return got;
		if (lseek(fd, offset, SEEK_SET) < 0)
			return err_sys(e, "cannot seek in log '%s'", r->path);
		if (lines == 0)
			return 0;
	}
	return 0;
}

static int watch(struct log_reader *r, struct err *e)
{
	auto_free char *dir = mem_dup_text(r->path);
	char *slash = strrchr(dir, '/');

	assert(slash);
	slash[slash == dir] = '\0';
	r->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (r->inotify_fd < 0)
		return err_sys(e, "cannot watch log '%s'", r->path);
	/* The directory, not the file: a new file after rotation is told too. */
	if (inotify_add_watch(r->inotify_fd, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return err_sys(e, "cannot watch directory '%s'", dir);
	return 0;
}

int log_reader_open(const struct log_query *q, struct log_reader **ret, struct err *e)
{
	auto_log_reader struct log_reader *r = mem_new(struct log_reader);
	int got = 0, fd;

	assert(q->path);
	r->fd = r->inotify_fd = -1;
	r->path = mem_dup_text(q->path);
	r->query = *q;
	r->query.path = NULL;
	if (r->path[0] != '/' || strlen(r->path) > PATH_ROOM - 16)
		return err_set(e, ERR_INVALID, "log path '%s' is not absolute or too long",
			       r->path);
	/* Watching begins before the first look: what comes in between is told. */
	if (q->follow)
		got = watch(r, e);
	if (got == 0 && q->tail >= 0)
		got = seek_tail(r, e);
	else if (got == 0)
		got = open_numbered(r, oldest(r), &fd, e);
	if (got < 0)
		return got;
	if (q->tail < 0)
		use_file(r, fd);
	*ret = take(r);
	return 0;
}

struct log_reader *log_reader_free(struct log_reader *r)
{
	if (!r)
		return NULL;
	(void)fd_close(r->fd);
	(void)fd_close(r->inotify_fd);
	strbuf_done(&r->raw);
	strbuf_done(&r->text);
	free(r->path);
	free(r);
	return NULL;
}

int log_reader_fd(const struct log_reader *r)
{
	return r->inotify_fd;
}

void log_reader_woke(struct log_reader *r)
{
	char events[4096];

	while (r->inotify_fd >= 0 && read(r->inotify_fd, events, sizeof(events)) > 0)
		continue;
}
