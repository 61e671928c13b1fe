/* Bars on a terminal, lines elsewhere: see progress.h. */
#include "cli/progress.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/terminal.h"
#include "ground/base/mem.h"

#define BAR_WIDTH 30

struct progress_line {
	char *id;
	char *status;
	int64_t current, total; /* bytes; total 0: unknown */
};

void progress_start(struct progress *p, bool quiet)
{
	unsigned int rows;

	*p = (struct progress){.quiet = quiet, .terminal = terminal_is(STDOUT_FILENO)};
	terminal_size(STDOUT_FILENO, &rows, &p->columns);
}

static struct progress_line *line_of(struct progress *p, const char *id)
{
	for (size_t i = 0; i < p->n; i++) {
		if (text_eq(p->lines[i].id, id))
			return &p->lines[i];
	}
	mem_grow(p->lines, p->n + 1, p->room);
	p->lines[p->n] = (struct progress_line){.id = mem_dup_text(id)};
	return &p->lines[p->n++];
}

static void format_bytes(int64_t n, char *ret, size_t size)
{
	static const char units[] = "BkMGT";
	double v = (double)n;
	size_t u = 0;

	while (v >= 1000 && units[u + 1]) {
		v /= 1000;
		u++;
	}
	(void)snprintf(ret, size, u ? "%.1f%c" : "%.0f%c", v, units[u]);
}

static void draw_line(const struct progress *p, const struct progress_line *line)
{
	char now[16], all[16], bar[BAR_WIDTH + 1];
	auto_strbuf struct strbuf text = {0};
	int64_t done;

	strbuf_printf(&text, "%.12s: %s", line->id, line->status);
	if (line->total > 0 && line->current < line->total) {
		done = line->current * BAR_WIDTH / line->total;
		for (int64_t i = 0; i < BAR_WIDTH; i++)
			bar[i] = i < done ? '=' : i == done ? '>' : ' ';
		bar[BAR_WIDTH] = '\0';
		format_bytes(line->current, now, sizeof(now));
		format_bytes(line->total, all, sizeof(all));
		strbuf_printf(&text, " [%s] %s/%s", bar, now, all);
	}
	printf("\r\033[K%.*s\n", (int)p->columns - 1, strbuf_text(&text));
}

static void draw(struct progress *p)
{
	if (p->drawn)
		printf("\033[%zuA", p->drawn);
	for (size_t i = 0; i < p->n; i++)
		draw_line(p, &p->lines[i]);
	p->drawn = p->n;
	fflush(stdout);
}

static void take_line(struct progress *p, const struct json *message, const char *id,
		      const char *status)
{
	struct progress_line *line = line_of(p, id);
	const struct json *detail = json_get(message, "progressDetail");
	bool news = !text_eq(line->status, status);

	if (news) {
		free(line->status);
		line->status = mem_dup_text(status);
	}
	line->current = json_get_i64(detail, "current", 0);
	line->total = json_get_i64(detail, "total", 0);
	if (p->quiet)
		return;
	if (p->terminal)
		draw(p);
	else if (news)
		printf("%s: %s\n", id, status);
}

void progress_message(struct progress *p, const struct json *message)
{
	const char *id = json_get_text(message, "id");
	const char *status = json_get_text(message, "status");
	const char *stream = json_get_text(message, "stream");
	const char *error = json_get_text(message, "error");

	if (error) {
		free(p->failed);
		p->failed = mem_dup_text(error);
	} else if (status && id) {
		take_line(p, message, id, status);
	} else if (status || stream) {
		free(p->last);
		p->last = mem_dup_text(status ? status : stream);
		p->drawn = 0; /* a plain line stands below the bars; they are not redrawn over it */
		if (!p->quiet)
			printf(status ? "%s\n" : "%s", p->last);
	}
}

int progress_end(struct progress *p, struct err *e)
{
	int r = 0;

	if (p->failed)
		r = err_set(e, ERR_SYSTEM, "%s", p->failed);
	for (size_t i = 0; i < p->n; i++) {
		free(p->lines[i].id);
		free(p->lines[i].status);
	}
	free(p->lines);
	free(p->failed);
	free(p->last);
	*p = (struct progress){0};
	fflush(stdout);
	return r;
}
