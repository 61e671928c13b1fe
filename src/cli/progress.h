/*
 * Progress of long work (pull, push, load) from the daemon's stream of JSON messages. On a terminal
 * each id keeps one line with a bar, redrawn in place; elsewhere a line is printed when a status
 * changes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ground/format/json.h"

struct progress_line;

struct progress {
	bool terminal;
	bool quiet; /* only errors count; nothing is drawn */
	unsigned int columns;
	struct progress_line *lines;
	size_t n, room;
	size_t drawn; /* lines on the screen that belong to us */
	char *failed; /* the error that the stream reported, NULL when none */
	char *last;   /* the last message without an id */
};

void progress_start(struct progress *p, bool quiet);

/* Takes one message: {"id","status","progressDetail":{"current","total"}}, {"stream"} or {"error"}.
 */
void progress_message(struct progress *p, const struct json *message);

/* Ends the drawing and frees. 0, or the error that the stream reported. */
int progress_end(struct progress *p, struct err *e) must_use;
