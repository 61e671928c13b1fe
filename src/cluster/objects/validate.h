/*
 * Validation: whether an object makes sense, with Kubernetes' own messages and field paths. Shape
 * (decode.h) and defaults (complete.h) come first. References to other objects are not looked at:
 * that is admission's.
 */
#pragma once

#include "cluster/objects/cause.h"

/* `old` is what an update replaces; NULL for a create. Findings are added to `causes`. */
void validate(const struct kind *k, const struct json *object, const struct json *old,
	      struct causes *causes);

/* Whether the table of rules is in its order: for the test of it. */
bool validate_is_sorted(void);

/* Single rules, for those who need one. NULL: fine; else the sentence Kubernetes says. */
const char *name_wrong_subdomain(const char *name); /* DNS-1123 subdomain, up to 253 */
const char *name_wrong_label(const char *name);	    /* DNS-1123 label, up to 63 */
const char *name_wrong_service(const char *name);   /* DNS-1035 label */
const char *name_wrong_label_key(const char *key);  /* qualified name */
const char *name_wrong_label_value(const char *value);
