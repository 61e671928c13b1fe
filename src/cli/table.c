/* Aligned columns: see table.h. Cells come from containers and images, so they are made harmless
 * first. */
#include "cli/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"

void table_row(struct table *t, ...)
{
	char **cells = NULL;
	const char *cell;
	va_list ap;

	va_start(ap, t);
	while ((cell = va_arg(ap, const char *)) != NULL) {
		size_t at = mem_count_texts(cells);

		assert(at < TABLE_COLUMNS_MAX);
		mem_append_text(&cells, cell);
		for (char *c = cells[at]; *c; c++) {
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = '?';
		}
	}
	va_end(ap);
	assert(cells);
	mem_grow(t->rows, t->n + 1, t->room);
	t->rows[t->n++] = cells;
}

/* Columns that a terminal needs for UTF-8 text: continuation bytes take none. */
static size_t width_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void table_print(struct table *t, FILE *out)
{
	size_t widths[TABLE_COLUMNS_MAX] = {0};

	for (size_t i = 0; i < t->n; i++) {
		for (size_t c = 0; t->rows[i][c]; c++) {
			size_t w = width_of(t->rows[i][c]);

			widths[c] = w > widths[c] ? w : widths[c];
		}
	}
	for (size_t i = 0; i < t->n; i++) {
		for (size_t c = 0; out && t->rows[i][c]; c++) {
			const char *cell = t->rows[i][c];
			int pad = (int)(widths[c] - width_of(cell)) + 3;

			fprintf(out, "%s%*s", cell, t->rows[i][c + 1] ? pad : 0, "");
		}
		if (out)
			fputc('\n', out);
		(void)mem_free_texts(t->rows[i]);
	}
	free(t->rows);
	*t = (struct table){0};
}
