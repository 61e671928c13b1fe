/*
 * The log's writer. Lines of one call are encoded into one buffer and written by one system call,
 * at the file's end (O_APPEND), so that a crash tears at most the last line. The buffer is given
 * back when it grew large: a keeper at rest holds little memory.
 */
#include "virt/keeper/log_file.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/rfc3339.h"

#define STREAMS	    2
#define BUFFER_KEEP 8192
#define PATH_ROOM   4096

struct log_file {
	char *path; /* NULL: nothing is kept */
	int fd;
	int64_t size_bytes, bytes_max;
	uint32_t files_max;
	const struct world *world;
	struct strbuf kept[STREAMS]; /* the line under way */
	struct strbuf out;	     /* encoded lines of the current call */
};

static const char *const stream_names[STREAMS] = {"stdout", "stderr"};

/* The length of the UTF-8 character at p; 0 when the bytes are none, -1 when more are needed. */
static int utf8_length(const unsigned char *p, size_t n)
{
	static const struct {
		unsigned char mask, lead, second_least, second_most;
		int length;
	} forms[] = {
		{0x80, 0x00, 0, 0, 1},	     {0xff, 0xe0, 0xa0, 0xbf, 3},
		{0xff, 0xed, 0x80, 0x9f, 3}, {0xff, 0xf0, 0x90, 0xbf, 4},
		{0xff, 0xf4, 0x80, 0x8f, 4}, {0xe0, 0xc0, 0x80, 0xbf, 2},
		{0xf0, 0xe0, 0x80, 0xbf, 3}, {0xfc, 0xf0, 0x80, 0xbf, 4},
	};

	assert(n > 0);
	if (p[0] == 0xc0 || p[0] == 0xc1)
		return 0;
	for (size_t i = 0; i < array_len(forms); i++) {
		if ((p[0] & forms[i].mask) != forms[i].lead)
			continue;
		for (int k = 1; k < forms[i].length; k++) {
			unsigned char least = k == 1 ? forms[i].second_least : 0x80;
			unsigned char most = k == 1 ? forms[i].second_most : 0xbf;

			if ((size_t)k >= n)
				return -1;
			if (p[k] < least || p[k] > most)
				return 0;
		}
		return forms[i].length;
	}
	return 0;
}

static void put_escaped(struct strbuf *out, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	static const char *const names[] = {
		['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t"};
	char code[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

	if (c < array_len(names) && names[c])
		strbuf_add(out, names[c], 2);
	else
		strbuf_add(out, code, sizeof(code));
}

static bool plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* The text as the inside of a JSON string. */
static void encode_text(struct strbuf *out, struct str text)
{
	const unsigned char *p = (const unsigned char *)text.p;
	size_t n = text.n;

	while (n > 0) {
		size_t run = 0;
		int length;

		while (run < n && plain(p[run]))
			run++;
		strbuf_add(out, p, run);
		p += run;
		n -= run;
		if (n == 0)
			return;
		length = utf8_length(p, n);
		if (length == 1)
			put_escaped(out, p[0]);
		else if (length > 1)
			strbuf_add(out, p, (size_t)length);
		else
			strbuf_add(out, "\xef\xbf\xbd", 3);
		p += length > 0 ? length : 1;
		n -= (size_t)(length > 0 ? length : 1);
	}
}

static void encode_line(struct log_file *l, size_t stream, struct str text, const char *time)
{
	strbuf_add_text(&l->out, "{\"log\":\"");
	encode_text(&l->out, text);
	strbuf_add_text(&l->out, "\",\"stream\":\"");
	strbuf_add_text(&l->out, stream_names[stream]);
	strbuf_add_text(&l->out, "\",\"time\":\"");
	strbuf_add_text(&l->out, time);
	strbuf_add_text(&l->out, "\"}\n");
}

static int open_current(struct log_file *l, struct err *e)
{
	struct stat st;
	char last = '\n';

	l->fd = open(l->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (l->fd < 0)
		return err_sys(e, "cannot open log '%s'", l->path);
	if (fstat(l->fd, &st) < 0)
		return err_sys(e, "cannot stat log '%s'", l->path);
	l->size_bytes = st.st_size;
	if (st.st_size > 0 && pread(l->fd, &last, 1, st.st_size - 1) == 1 && last != '\n' &&
	    write(l->fd, "\n", 1) == 1)
		l->size_bytes++;
	return 0;
}

static void numbered(const struct log_file *l, uint32_t number, char ret[PATH_ROOM])
{
	if (number == 0)
		(void)snprintf(ret, PATH_ROOM, "%s", l->path);
	else
		(void)snprintf(ret, PATH_ROOM, "%s.%u", l->path, number);
}

static int rotate(struct log_file *l, struct err *e)
{
	char from[PATH_ROOM], to[PATH_ROOM];

	for (uint32_t i = l->files_max - 1; i > 0; i--) {
		numbered(l, i - 1, from);
		numbered(l, i, to);
		if (rename(from, to) < 0 && errno != ENOENT)
			return err_sys(e, "cannot rotate log '%s' to '%s'", from, to);
	}
	if (l->files_max == 1 && unlink(l->path) < 0 && errno != ENOENT)
		return err_sys(e, "cannot remove log '%s'", l->path);
	l->fd = fd_close(l->fd);
	return open_current(l, e);
}

static int write_lines(struct log_file *l, const char *p, size_t n, struct err *e)
{
	while (n > 0) {
		ssize_t done = write(l->fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_sys(e, "cannot write log '%s'", l->path);
		l->size_bytes += done;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* As many whole lines of `rest` as fit below the limit, at least one into an empty file. */
static size_t fitting(const struct log_file *l, struct str rest)
{
	int64_t room = l->bytes_max < 0 ? INT64_MAX : l->bytes_max - l->size_bytes;
	const char *end;

	if (room >= (int64_t)rest.n)
		return rest.n;
	end = room > 0 ? memrchr(rest.p, '\n', (size_t)room) : NULL;
	if (end)
		return (size_t)(end + 1 - rest.p);
	if (l->size_bytes > 0)
		return 0;
	end = memchr(rest.p, '\n', rest.n);
	assert(end);
	return (size_t)(end + 1 - rest.p);
}

/* After a failed write: the torn line is closed, so that the next one stands alone. */
static void mend_tear(struct log_file *l)
{
	char last;

	if (l->size_bytes > 0 && pread(l->fd, &last, 1, l->size_bytes - 1) == 1 && last != '\n' &&
	    write(l->fd, "\n", 1) == 1)
		l->size_bytes++;
}

static int flush(struct log_file *l, struct err *e)
{
	struct str rest = strbuf_str(&l->out);
	int r = 0;

	if (l->fd < 0)
		r = open_current(l, e);
	else
		mend_tear(l);
	while (rest.n > 0 && r == 0) {
		size_t n = fitting(l, rest);

		if (n == 0) {
			r = rotate(l, e);
			continue;
		}
		r = write_lines(l, rest.p, n, e);
		rest = (struct str){rest.p + n, rest.n - n};
	}
	if (l->out.room > BUFFER_KEEP)
		strbuf_done(&l->out);
	else
		strbuf_clear(&l->out);
	return r;
}

/* How much of text to cut off when a line is too long: no character is cut in two. */
static size_t cut_length(struct str text)
{
	size_t n = text.n < LOG_LINE_MAX ? text.n : LOG_LINE_MAX;

	for (size_t back = 1; back <= 3 && back < n; back++) {
		const unsigned char *p = (const unsigned char *)text.p + n - back;

		if ((*p & 0xc0) == 0x80)
			continue;
		return utf8_length(p, back) == -1 ? n - back : n;
	}
	return n;
}

/* Takes whole lines (and too long pieces) out of text; answers the rest. */
static struct str take_lines(struct log_file *l, size_t stream, struct str text, const char *time)
{
	while (text.n > 0) {
		size_t within = text.n < LOG_LINE_MAX ? text.n : LOG_LINE_MAX;
		const char *end = memchr(text.p, '\n', within);
		size_t n = end ? (size_t)(end + 1 - text.p) : 0;

		if (!end && text.n >= LOG_LINE_MAX)
			n = cut_length(text);
		if (n == 0)
			break;
		encode_line(l, stream, (struct str){text.p, n}, time);
		text = (struct str){text.p + n, text.n - n};
	}
	return text;
}

int log_file_add(struct log_file *l, enum log_stream stream, const char *p, size_t n, struct err *e)
{
	size_t which = (size_t)stream - 1;
	struct strbuf *kept = &l->kept[which];
	char time[RFC3339_CHARS + 1];
	struct str rest = {p, n};

	assert(which < STREAMS);
	if (!l->path || n == 0)
		return 0;
	(void)rfc3339_text_padded(world_now_ns(l->world), time);
	if (kept->n > 0) {
		strbuf_add(kept, p, n);
		rest = take_lines(l, which, strbuf_str(kept), time);
		strbuf_drop_front(kept, kept->n - rest.n);
	} else {
		rest = take_lines(l, which, rest, time);
		strbuf_add(kept, rest.p, rest.n);
	}
	assert(kept->n < LOG_LINE_MAX);
	if (kept->n == 0 && kept->room > BUFFER_KEEP)
		strbuf_done(kept);
	return l->out.n > 0 ? flush(l, e) : 0;
}

int log_file_end(struct log_file *l, enum log_stream stream, struct err *e)
{
	size_t which = (size_t)stream - 1;
	char time[RFC3339_CHARS + 1];

	assert(which < STREAMS);
	if (l->kept[which].n == 0)
		return 0;
	(void)rfc3339_text_padded(world_now_ns(l->world), time);
	encode_line(l, which, strbuf_str(&l->kept[which]), time);
	strbuf_done(&l->kept[which]);
	return flush(l, e);
}

struct str log_file_kept(const struct log_file *l, enum log_stream stream)
{
	return strbuf_str(&l->kept[(size_t)stream - 1]);
}

int log_file_open(const char *path, int64_t bytes_max, uint32_t files_max,
		  const struct world *world, struct log_file **ret, struct err *e)
{
	struct log_file *l = mem_new(struct log_file);
	int r;

	l->fd = -1;
	l->path = mem_dup_text(path);
	l->bytes_max = bytes_max ? bytes_max : LOG_BYTES_MAX_DEFAULT;
	l->files_max = files_max ? files_max : LOG_FILES_MAX_DEFAULT;
	l->world = world;
	r = path ? open_current(l, e) : 0;
	if (r < 0) {
		l->fd = fd_close(l->fd);
		(void)log_file_free(l);
		return r;
	}
	*ret = l;
	return 0;
}

struct log_file *log_file_free(struct log_file *l)
{
	if (!l)
		return NULL;
	if (l->fd >= 0) {
		(void)log_file_end(l, LOG_STREAM_STDOUT, NULL);
		(void)log_file_end(l, LOG_STREAM_STDERR, NULL);
	}
	strbuf_done(&l->kept[0]);
	strbuf_done(&l->kept[1]);
	strbuf_done(&l->out);
	l->fd = fd_close(l->fd);
	free(l->path);
	free(l);
	return NULL;
}
