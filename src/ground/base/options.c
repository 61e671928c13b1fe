/* Options from a table: see options.h. Values are converted by parse.h, so that all tools read
 * alike. */
#include "ground/base/options.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

#define NAMES_MAX 128

/* Levenshtein distance of short words; anything long counts as far. */
static size_t distance(const char *a, const char *b)
{
	size_t an = strlen(a), bn = strlen(b), row[33];

	if (an > 32 || bn > 32)
		return 99;
	for (size_t j = 0; j <= bn; j++)
		row[j] = j;
	for (size_t i = 1; i <= an; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= bn; j++) {
			size_t cost = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			if (row[j] + 1 < cost)
				cost = row[j] + 1;
			if (row[j - 1] + 1 < cost)
				cost = row[j - 1] + 1;
			row[j] = cost;
		}
	}
	return row[bn];
}

const char *options_closest(const char *text, const char *const *names, size_t n)
{
	const char *best = NULL;
	size_t least = strlen(text) / 3 + 2;

	for (size_t i = 0; i < n; i++) {
		size_t d = names[i] ? distance(text, names[i]) : 99;

		if (d < least) {
			least = d;
			best = names[i];
		}
	}
	return best;
}

struct parsing {
	const struct option_row *rows;
	size_t rows_n;
	char *out;
	struct err *e;
};

static int unknown_name(const struct parsing *p, struct str name)
{
	auto_free char *text = str_dup(name);
	const char *names[NAMES_MAX];
	const char *closest;

	assert(p->rows_n <= NAMES_MAX);
	for (size_t i = 0; i < p->rows_n; i++)
		names[i] = p->rows[i].name;
	closest = options_closest(text, names, p->rows_n);
	if (closest)
		return err_set(p->e, ERR_INVALID, "unknown option '--%s'; did you mean '--%s'?",
			       text, closest);
	return err_set(p->e, ERR_INVALID, "unknown option '--%s'", text);
}

static const struct option_row *row_of(const struct parsing *p, char letter, struct str name)
{
	for (size_t i = 0; i < p->rows_n; i++) {
		const struct option_row *row = &p->rows[i];

		if (letter ? row->letter == letter : row->name && str_is(name, row->name))
			return row;
	}
	return NULL;
}

static int store(const struct parsing *p, const struct option_row *row, const char *value)
{
	void *at = p->out + row->offset;
	auto_free char *what = mem_printf("value of --%s", row->name);

	switch (row->type) {
	case OPTION_FLAG:
		*(bool *)at = true;
		return value ? parse_bool(str_of(value), what, at, p->e) : 0;
	case OPTION_TEXT:
		*(const char **)at = value;
		return 0;
	case OPTION_TEXTS:
		mem_append_text(at, value);
		return 0;
	case OPTION_I64:
		return parse_i64(str_of(value), what, at, p->e);
	case OPTION_SIZE:
		return parse_size(str_of(value), what, at, p->e);
	case OPTION_DURATION:
		return parse_duration(str_of(value), what, at, p->e);
	}
	__builtin_unreachable();
}

/* "--name", "--name=value" or "--name value". Returns how many arguments it used. */
static int parse_long(const struct parsing *p, int left, char **argv)
{
	struct str rest = str_of(argv[0] + 2), name;
	const struct option_row *row;
	bool has_value;
	int r;

	(void)str_cut(&rest, '=', &name);
	has_value = rest.p != NULL;
	row = row_of(p, 0, name);
	if (!row)
		return unknown_name(p, name);
	if (row->type == OPTION_FLAG || has_value) {
		r = store(p, row, has_value ? rest.p : NULL);
		return r < 0 ? r : 1;
	}
	if (left < 2)
		return err_set(p->e, ERR_INVALID, "option '--%s' needs a value: --%s %s", row->name,
			       row->name, row->arg);
	r = store(p, row, argv[1]);
	return r < 0 ? r : 2;
}

/* "-itd", "-n value", "-nvalue". Returns how many arguments it used. */
static int parse_short(const struct parsing *p, int left, char **argv)
{
	for (const char *at = argv[0] + 1; *at; at++) {
		const struct option_row *row = row_of(p, *at, (struct str){0});
		int r;

		if (!row)
			return err_set(p->e, ERR_INVALID, "unknown option '-%c'", *at);
		if (row->type == OPTION_FLAG) {
			r = store(p, row, NULL);
			if (r < 0)
				return r;
			continue;
		}
		if (at[1]) {
			r = store(p, row, at[1] == '=' ? at + 2 : at + 1);
			return r < 0 ? r : 1;
		}
		if (left < 2)
			return err_set(p->e, ERR_INVALID, "option '-%c' needs a value: -%c %s", *at,
				       *at, row->arg);
		r = store(p, row, argv[1]);
		return r < 0 ? r : 2;
	}
	return 1;
}

/* Moves the `n` arguments at argv[from] in front of the operands that begin at argv[to]. */
static void move_before(char **argv, int to, int from, int n)
{
	for (int i = 0; i < n; i++) {
		char *moved = argv[from + i];

		memmove(&argv[to + i + 1], &argv[to + i], (size_t)(from - to) * sizeof(*argv));
		argv[to + i] = moved;
	}
}

int options_parse(const struct option_row *rows, size_t rows_n, void *out, int argc, char **argv,
		  bool operands_end, int *ret_first, struct err *e)
{
	const struct parsing p = {rows, rows_n, out, e};
	int first = 1; /* operands gather from here on */

	for (int i = 1; i < argc;) {
		int used;

		if (text_eq(argv[i], "--")) {
			move_before(argv, first, i, 1);
			first++;
			break;
		}
		if (argv[i][0] != '-' || !argv[i][1]) {
			if (operands_end)
				break;
			i++;
			continue;
		}
		used = argv[i][1] == '-' ? parse_long(&p, argc - i, argv + i)
					 : parse_short(&p, argc - i, argv + i);
		if (used < 0)
			return used;
		move_before(argv, first, i, used);
		first += used;
		i += used;
	}
	*ret_first = first;
	return 0;
}

void options_free(const struct option_row *rows, size_t rows_n, void *out)
{
	for (size_t i = 0; i < rows_n; i++) {
		char ***list = (char ***)(void *)((char *)out + rows[i].offset);

		if (rows[i].type == OPTION_TEXTS)
			*list = mem_free_texts(*list);
	}
}

void options_help(const struct option_row *rows, size_t rows_n, struct strbuf *out)
{
	for (size_t i = 0; i < rows_n; i++) {
		const struct option_row *row = &rows[i];
		char left[64];

		(void)snprintf(left, sizeof(left), "%c%c%c --%s%s%s", row->letter ? '-' : ' ',
			       row->letter ? row->letter : ' ', row->letter ? ',' : ' ', row->name,
			       row->arg ? " " : "", row->arg ? row->arg : "");
		strbuf_printf(out, "  %-28s  %s\n", left, row->help);
	}
}
