/*
 * Causes: what is wrong with one object, field by field, in Kubernetes' words. They live in the
 * arena of the request. A full list (CAUSES_MAX) takes no more.
 *
 *	struct causes causes = {.arena = &a};
 *	cause_add(&causes, CAUSE_REQUIRED, "spec.selector", "");
 *	if (causes.n > 0)
 *		causes_say(&causes, k, name, e);
 */
#pragma once

#include <stddef.h>

#include "cluster/objects/kind.h"
#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/format/json.h"

#define CAUSES_MAX 64

enum cause_kind {
	CAUSE_REQUIRED,	     /* FieldValueRequired */
	CAUSE_INVALID,	     /* FieldValueInvalid */
	CAUSE_NOT_SUPPORTED, /* FieldValueNotSupported */
	CAUSE_DUPLICATE,     /* FieldValueDuplicate */
	CAUSE_FORBIDDEN,     /* FieldValueForbidden */
	CAUSE_TOO_LONG,	     /* FieldValueTooLong */
	CAUSE_TOO_MANY,	     /* FieldValueTooMany */
	CAUSE_NOT_FOUND,     /* FieldValueNotFound */
	CAUSE_TYPE_INVALID,  /* FieldValueTypeInvalid */
	CAUSE_KINDS
};

struct cause {
	enum cause_kind kind;
	char *field;   /* "spec.containers[0].name" */
	char *message; /* `Invalid value: "x": must be ...` */
};

struct causes {
	struct arena *arena;
	struct cause *list; /* room for CAUSES_MAX, made with the first; in the arena */
	size_t n;
};

/* `value` stands in the message as Kubernetes shows it; NULL: no value. `detail` may be "". */
void cause_add(struct causes *c, enum cause_kind kind, const char *field, const struct json *value,
	       const char *detail, ...) __attribute__((format(printf, 5, 6)));

const char *cause_reason(enum cause_kind kind); /* "FieldValueRequired" */

/*
 * The message of the Status (422, reason Invalid), in the causes' arena, and as much of it as goes
 * into e; causes_json() is its details.causes.
 */
const char *causes_text(const struct causes *c, const struct kind *k, const char *name);
int causes_say(const struct causes *c, const struct kind *k, const char *name, struct err *e);
struct json *causes_json(const struct causes *c); /* [{reason, message, field}] */
