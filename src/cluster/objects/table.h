/*
 * Tables: objects as the columns that kubectl prints (meta.k8s.io/v1 Table).
 * Objects are in the form that is stored, whatever version was asked for.
 */
#pragma once

#include "cluster/objects/kind.h"
#include "ground/format/json.h"

enum table_object { TABLE_OBJECT_METADATA, TABLE_OBJECT_NONE, TABLE_OBJECT_FULL };

struct table_how {
	const char *api_version;   /* "meta.k8s.io/v1" */
	enum table_object include; /* what each row's object is */
	bool no_headers;	   /* later events of a watch */
	int64_t now_ns;
};

/* A Table without rows; its metadata is the caller's to set. */
struct json *table_new(const struct kind *k, const struct table_how *how);
/* Adds one object (borrowed) as a row. */
void table_add(struct json *table, const struct kind *k, const struct json *object,
	       const struct table_how *how);

#define TABLE_AGE_CHARS 24
/* "5d2h" as kubectl writes ages. Returns ret. */
char *table_age(int64_t ns, char ret[TABLE_AGE_CHARS]);
