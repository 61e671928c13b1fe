/*
 * Selectors: which objects a list or watch is about. One form for both kinds, a list of
 * requirements that must all hold:
 *
 *	labels	"a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1"
 *	fields	"metadata.name=x,status.phase!=Running"
 *
 * A selector lives in the arena it was parsed into. At most SELECTOR_MAX requirements.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/format/json.h"

#define SELECTOR_MAX	   64
#define SELECTOR_BYTES_MAX 16384

enum selector_how {
	SELECTOR_IN,	 /* also "=" and "==" */
	SELECTOR_NOT_IN, /* also "!=" */
	SELECTOR_EXISTS,
	SELECTOR_ABSENT,
	SELECTOR_ABOVE,
	SELECTOR_BELOW,
};

struct selector_one {
	const char *key;
	enum selector_how how;
	char **values; /* NULL-terminated, in the selector's arena */
	size_t values_n;
};

struct selector {
	struct selector_one *list;
	size_t n; /* 0: everything */
};

int selector_parse_labels(const char *text, struct arena *a, struct selector *ret,
			  struct err *e) must_use;
int selector_parse_fields(const char *text, struct arena *a, struct selector *ret,
			  struct err *e) must_use;

/* From {matchLabels, matchExpressions}. NULL and {} select everything; ERR_INVALID: no operator. */
int selector_of_json(const struct json *selector, struct arena *a, struct selector *ret,
		     struct err *e) must_use;
/* From a plain map of labels, as services have it. */
void selector_of_map(const struct json *map, struct arena *a, struct selector *ret);

/* Whether one value satisfies one requirement; NULL: there is no such value. */
bool selector_holds(const struct selector_one *one, const char *value);

/* `labels` is an object of texts, NULL for none. */
bool selector_matches(const struct selector *s, const struct json *labels);
/* The values are looked up in the object itself: "metadata.name". An absent one is "". */
bool selector_matches_fields(const struct selector *s, const struct json *object);

/* The text that means the same, as status.selector of a Scale has it. */
void selector_write(const struct selector *s, struct strbuf *out);
