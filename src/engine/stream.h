/*
 * How bytes cross between the engine and an API, both ways, with back-pressure and without threads.
 *
 * Out of the engine (logs, export, archives, save): the caller gives a `struct sink`. The engine
 * calls data() as long as it answers 0; after a 1 it stays silent until stream_resume(). end()
 * comes exactly once, last, unless the caller said stream_cancel() first. Nothing is called from
 * inside the function that began the stream.
 *
 * Into the engine (archive upload, load, import): the function returns a `struct feed` into which
 * the caller writes; feed_write answers 1 when it is full: write no more until drained() is called.
 * After feed_end() (or feed_cancel()) the feed belongs to the engine; the operation's own callback
 * tells the outcome, which may also come early (an error): then further writes are ignored.
 */
#pragma once

#include <stddef.h>

#include "ground/base/err.h"

struct sink {
	int (*data)(void *ctx, const void *p,
		    size_t n);			     /* 0 more, 1 full: wait for stream_resume */
	void (*end)(void *ctx, const struct err *e); /* e NULL: it is complete */
	void *ctx;
};

struct stream;
void stream_resume(struct stream *s);
void stream_cancel(struct stream *s); /* frees it; no callback after this; NULL allowed */

struct feed;
int feed_write(struct feed *f, const void *p, size_t n); /* takes all n; 1 = full now */
void feed_on_drained(struct feed *f, void (*drained)(void *ctx), void *ctx);
void feed_end(struct feed *f);	  /* all is written */
void feed_cancel(struct feed *f); /* the client went away: the operation is undone */
