/*
 * Controller revisions: templates as they were, one object each with a number. What is wanted now
 * is the newest; going back to an older template gives its object the next number.
 */
#pragma once

#include "cluster/controllers/controllers_priv.h"

#define REVISION_HASH_LABEL "controller-revision-hash"

struct revisions {
	struct owned all;	      /* the lowest number first */
	const struct object *current; /* of today's template; NULL: it is being made */
};

/* What `owner` has; makes, or numbers anew, the one of its template. revisions_done() after it. */
void revisions_look(struct work *w, const struct object *owner, const struct selector *s,
		    struct revisions *ret);
void revisions_done(struct revisions *r);
int64_t revision_number(const struct object *revision);
/* Of what makes pods: its label. */
const char *revision_hash(const struct object *revision);
/* Takes away the oldest beyond spec.revisionHistoryLimit that `lives` does not hold. */
void revisions_clean(struct work *w, const struct object *owner, const struct revisions *r,
		     bool (*lives)(void *ctx, const struct object *revision), void *ctx);
/* A tree of the owner with the template of that revision. */
struct json *revision_template(const struct object *revision);
