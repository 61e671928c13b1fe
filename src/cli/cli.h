/*
 * The `hull` command line: a thin client of the daemon's socket. This is the room's door: cmd/hull
 * calls cli_main and nothing else.
 *
 * Every verb is one row of the table in verbs.c (name, operands, help, options, function). A verb
 * gets its parsed options and operands and a `struct context` that says which daemon is meant; it
 * returns the exit code of the process, or a negative error that cli_main prints as one line.
 *
 * Exit codes: 0; 1 for a verb that failed; 125, 126 and 127 as Docker gives them when `run` or
 * `exec` could not begin; 128 + n for a signal; else the container's own.
 */
#pragma once

#include <stdbool.h>

#include "ground/base/options.h"

struct context {
	const char *root;  /* where the daemon keeps what lasts */
	const char *run;   /* where its socket is */
	const char *owner; /* whose containers are meant; "cli" is this program's own */
	char socket[108];
};

/* The options of one verb and the struct that they fill. */
struct option_table {
	const struct option_row *rows;
	size_t n;
	size_t size;	      /* of the struct */
	const void *defaults; /* what the struct begins as; NULL: zeroes */
};

struct verb {
	const char *name;
	const char *operands;		    /* as the usage line shows them */
	const char *help;		    /* one line, lower case */
	const struct option_table *options; /* NULL: none */
	bool operands_end; /* the first operand ends the options: what follows is another's */
	int operands_least, operands_most; /* most -1: any number */
	int (*run)(const struct context *c, void *options, int argc, char **argv, struct err *e);
	bool hidden;
	const char *group; /* "vm": the verb that this one stands behind; NULL: none */
	const struct verb
		*members; /* verbs behind this one, ended by one without a name; or NULL */
};

int cli_main(int argc, char **argv);
