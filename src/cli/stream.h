/*
 * The attached connection: standard input goes out raw, output comes back raw (terminals) or in
 * Docker's frames, signals and window changes are passed on. Ends when the daemon's side closes.
 */
#pragma once

#include "cli/cli.h"

struct stream_options {
	const struct context *context;
	int fd;			    /* the connection; stays the caller's */
	const struct strbuf *early; /* what came with the headers */
	bool stdin_open;	    /* send our standard input */
	bool tty;		    /* raw both ways; our terminal is made raw */
	const char *resize;	    /* target of resize calls, without the query; NULL: none */
	const char *kill;   /* target of kill calls, without the query; NULL: signals end us */
	bool *ret_detached; /* set when the user left with the detach keys; may be NULL */
};

int stream_run(const struct stream_options *o, struct err *e) must_use;
