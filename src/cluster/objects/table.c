/*
 * Tables: see table.h. A column's cell is a path into the object or a function of table_cells.c and
 * its sisters; this file knows the shape of a Table, ages, and how plain values are shown.
 */
#include "cluster/objects/table.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "cluster/objects/table_priv.h"
#include "ground/base/rfc3339.h"

#define NS_PER_S INT64_C(1000000000)
enum { MINUTE = 60, HOUR = 3600, DAY = 86400, YEAR = 365 * DAY };

/* The larger unit, and the smaller one beside it as long as that tells something. */
char *table_age(int64_t ns, char ret[TABLE_AGE_CHARS])
{
	static const struct {
		int64_t below, unit, part;
		const char *name, *part_name;
	} steps[] = {
		{2 * MINUTE, 1, 0, "s", ""},	      {10 * MINUTE, MINUTE, 1, "m", "s"},
		{3 * HOUR, MINUTE, 0, "m", ""},	      {8 * HOUR, HOUR, MINUTE, "h", "m"},
		{2 * DAY, HOUR, 0, "h", ""},	      {8 * DAY, DAY, HOUR, "d", "h"},
		{2 * (int64_t)YEAR, DAY, 0, "d", ""}, {8 * (int64_t)YEAR, YEAR, DAY, "y", "d"},
		{INT64_MAX, YEAR, 0, "y", ""},
	};
	int64_t s = ns / NS_PER_S;
	size_t i = 0;

	if (s < -1) {
		(void)snprintf(ret, TABLE_AGE_CHARS, "<invalid>");
		return ret;
	}
	if (s < 0)
		s = 0;
	while (s >= steps[i].below)
		i++;
	if (steps[i].part && s % steps[i].unit / steps[i].part)
		(void)snprintf(ret, TABLE_AGE_CHARS, "%lld%s%lld%s", (long long)(s / steps[i].unit),
			       steps[i].name, (long long)(s % steps[i].unit / steps[i].part),
			       steps[i].part_name);
	else
		(void)snprintf(ret, TABLE_AGE_CHARS, "%lld%s", (long long)(s / steps[i].unit),
			       steps[i].name);
	return ret;
}

const char *table_shown(const struct json *text)
{
	const char *p = json_text(text);

	return p ? p : "";
}

const char *table_text(const struct json *object, const char *key)
{
	return table_shown(json_get(object, key));
}

int64_t table_time(const struct json *object, const char *key)
{
	const char *text = json_get_text(object, key);
	int64_t ns = 0;

	if (!text || rfc3339_parse(text, &ns, NULL) < 0)
		return 0;
	return ns;
}

void table_since(const struct json *object, const char *key, int64_t now_ns, struct strbuf *out)
{
	char age[TABLE_AGE_CHARS];
	int64_t ns = table_time(object, key);

	strbuf_add_text(out, ns ? table_age(now_ns - ns, age) : "<unknown>");
}

/* The value at ".a.b.c"; names with dots are not written in columns. */
struct json *table_path(const struct json *object, const char *path)
{
	struct str rest = str_of(path + 1), name;
	struct json *j = (struct json *)(uintptr_t)object;
	char key[64];

	assert(path[0] == '.');
	while (j && str_cut(&rest, '.', &name)) {
		assert(name.n < sizeof(key));
		memcpy(key, name.p, name.n);
		key[name.n] = '\0';
		j = json_get(j, key);
	}
	return j;
}

static const struct {
	const char *name;
	cell_fn *fill;
} cells[] = {
#define ENTRY(name) {#name, cell_##name},
	TABLE_CELLS(ENTRY)
#undef ENTRY
};

cell_fn *table_cell(const char *name)
{
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		if (strcmp(cells[i].name, name) == 0)
			return cells[i].fill;
	return NULL;
}

static struct json *plain_cell(const struct column *c, const struct json *value)
{
	auto_strbuf struct strbuf b = {0};

	if (text_eq(c->type, "integer"))
		return json_new_i64(json_i64(value, 0));
	if (text_eq(c->type, "boolean"))
		return json_new_bool(json_flag(value, false));
	if (json_kind(value) == JSON_STRING)
		return json_new_str(json_str(value));
	if (json_kind(value) == JSON_NULL)
		return json_new_text(c->priority > 0 ? "<none>" : "");
	json_write(value, &b);
	return json_new_str(strbuf_str(&b));
}

static struct json *cell_of(const struct column *c, const struct json *object, int64_t now_ns)
{
	auto_strbuf struct strbuf b = {0};
	cell_fn *fill;

	if (text_eq(c->cell, "@age")) {
		table_since(json_get(object, "metadata"), "creationTimestamp", now_ns, &b);
		return json_new_str(strbuf_str(&b));
	}
	if (c->cell[0] != '@')
		return plain_cell(c, table_path(object, c->cell));
	fill = table_cell(c->cell + 1);
	assert(fill);
	fill(object, now_ns, &b);
	if (text_eq(c->type, "integer")) {
		auto_json struct json *n = NULL;

		if (b.n > 0 && json_parse(strbuf_str(&b), "cell", &n, NULL) == 0)
			return json_ref(n);
		return json_new_i64(0);
	}
	return b.n > 0 ? json_new_str(strbuf_str(&b)) : json_new_text("<none>");
}

static struct json *heading(const struct column *c)
{
	struct json *j = json_new_object();

	json_set_text(j, "name", c->name);
	/* Ages are sent as they are to be shown. */
	json_set_text(j, "type", text_eq(c->cell, "@age") ? "string" : c->type);
	json_set_text(j, "format", c->format);
	json_set_text(j, "description", c->help ? c->help : "");
	json_set_i64(j, "priority", c->priority);
	return j;
}

/* What every kind without columns of its own shows. */
static const struct column bare[] = {
	{"Name", "string", "name", 0, ".metadata.name", "Its name, unique in its namespace."},
	{"Age", "date", "", 0, "@age", "Time since it was made."},
};

static const struct column *columns_of(const struct kind *k, size_t *ret_n)
{
	if (k->columns_n == 0 && k->stored->columns_n > 0)
		k = k->stored;
	*ret_n = k->columns_n ? k->columns_n : sizeof(bare) / sizeof(bare[0]);
	return k->columns_n ? k->columns : bare;
}

struct json *table_new(const struct kind *k, const struct table_how *how)
{
	struct json *table = json_new_object(), *headings = json_new_array();
	size_t n;
	const struct column *columns = columns_of(k, &n);

	assert(how->api_version);
	json_set_text(table, "kind", "Table");
	json_set_text(table, "apiVersion", how->api_version);
	json_set(table, "metadata", json_new_object());
	for (size_t i = 0; i < n && !how->no_headers; i++)
		json_append(headings, heading(&columns[i]));
	json_set(table, "columnDefinitions", headings);
	json_set(table, "rows", json_new_array());
	return table;
}

static struct json *row_object(const struct json *object, const struct table_how *how)
{
	struct json *j;

	if (how->include == TABLE_OBJECT_NONE)
		return NULL;
	if (how->include == TABLE_OBJECT_FULL)
		return json_ref((struct json *)(uintptr_t)object);
	j = json_new_object();
	json_set_text(j, "kind", "PartialObjectMetadata");
	json_set_text(j, "apiVersion", how->api_version);
	json_set(j, "metadata", json_ref(json_get(object, "metadata")));
	return j;
}

void table_add(struct json *table, const struct kind *k, const struct json *object,
	       const struct table_how *how)
{
	struct json *row = json_new_object(), *list = json_new_array();
	size_t n;
	const struct column *columns = columns_of(k, &n);

	for (size_t i = 0; i < n; i++)
		json_append(list, cell_of(&columns[i], object, how->now_ns));
	json_set(row, "cells", list);
	json_set(row, "object", row_object(object, how));
	json_append(json_get(table, "rows"), row);
}
