/*
 * A text table for terminals and pipes: columns as wide as their widest cell, three spaces between.
 *
 *	struct table t = {0};
 *	table_row(&t, "NAME", "STATUS", NULL);
 *	table_row(&t, name, status, NULL);
 *	table_print(&t, stdout);	(prints and frees)
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 12

struct table {
	char ***rows; /* each a NULL-terminated list of copies */
	size_t n, room;
};

/* Adds a row of up to TABLE_COLUMNS_MAX texts ended by NULL; control characters are shown as '?'.
 */
void table_row(struct table *t, ...) __attribute__((sentinel));
void table_print(struct table *t, FILE *out); /* NULL: only frees */
