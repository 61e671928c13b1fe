/*
 * Command-line options from a const table: the same rows parse, explain themselves, make the help.
 *
 *	struct args { bool detach; const char *name; char **env; };
 *	static const struct option_row rows[] = {
 *		{'d', "detach", OPTION_FLAG, offsetof(struct args, detach), NULL, "do not wait"},
 *		{0, "name", OPTION_TEXT, offsetof(struct args, name), "NAME", "its name"},
 *		{'e', "env", OPTION_TEXTS, offsetof(struct args, env), "K=V", "set a variable"},
 *	};
 *	r = options_parse(rows, array_len(rows), &args, argc, argv, true, &first, e);
 *
 * Accepted: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, -n=VALUE, grouped flags -it,
 * --flag=false, and "--" to end options. An unknown option is an error that names the closest
 * known one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ground/base/str.h"

enum option_type {
	OPTION_FLAG,	 /* bool */
	OPTION_TEXT,	 /* const char *, into argv */
	OPTION_TEXTS,	 /* char **, NULL-terminated, each a copy; freed with mem_free_texts */
	OPTION_I64,	 /* int64_t */
	OPTION_SIZE,	 /* int64_t, bytes: "512m" */
	OPTION_DURATION, /* int64_t, nanoseconds: "1m30s" */
};

struct option_row {
	char letter; /* 0: none */
	const char *name;
	enum option_type type;
	size_t offset;
	const char *arg;  /* what the help calls the value; NULL for flags */
	const char *help; /* one line, lower case */
};

/*
 * Fills `out`; fields whose option is not given keep their value. argv[0] is skipped. With
 * `operands_end` the first operand ends the options (`run IMAGE -x` leaves -x alone); otherwise
 * they may be mixed and operands are moved behind the options. *ret_first is the index in argv of
 * the first operand.
 */
int options_parse(const struct option_row *rows, size_t rows_n, void *out, int argc, char **argv,
		  bool operands_end, int *ret_first, struct err *e) must_use;

/* Frees every list that OPTION_TEXTS rows gathered. */
void options_free(const struct option_row *rows, size_t rows_n, void *out);

/* One line per row, aligned: "  -d, --detach        run in the background". */
void options_help(const struct option_row *rows, size_t rows_n, struct strbuf *out);

/* The entry of `names` (n of them) closest to `text`, or NULL when none is near. */
const char *options_closest(const char *text, const char *const *names, size_t n);
