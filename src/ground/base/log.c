/* One line per event, written with one write() so that lines of several processes do not mix. */
#include "ground/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "ground/base/str.h"

static struct {
	const char *program;
	int fd;
	enum log_level least;
	enum log_format format;
} sink = {"hull", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT};

void log_setup(const char *program, int fd, enum log_level least, enum log_format format)
{
	sink.program = program;
	sink.fd = fd;
	sink.least = least;
	sink.format = format;
}

static void add_json_text(struct strbuf *b, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			strbuf_printf(b, "\\%c", c);
		else if (c < 0x20)
			strbuf_printf(b, "\\u%04x", c);
		else
			strbuf_add_char(b, (char)c);
	}
}

void log_at(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"debug", "info", "warning", "error"};
	auto_strbuf struct strbuf text = {0};
	auto_strbuf struct strbuf line = {0};
	struct timespec now;
	struct tm tm;
	char stamp[40];
	int sys = errno;
	va_list ap;

	if (level < sink.least)
		return;
	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	if (sink.format == LOG_FORMAT_JSON) {
		strbuf_printf(&line, "{\"level\":\"%s\",\"msg\":\"", names[level]);
		add_json_text(&line, strbuf_text(&text));
		strbuf_printf(&line, "\",\"time\":\"%s.%03ldZ\"}\n", stamp, now.tv_nsec / 1000000);
	} else {
		strbuf_printf(&line, "%s.%03ldZ %s %s: %s\n", stamp, now.tv_nsec / 1000000,
			      sink.program, names[level], strbuf_text(&text));
	}
	if (write(sink.fd, line.p, line.n) < 0)
		errno = sys;
	errno = sys;
}
