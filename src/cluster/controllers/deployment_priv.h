/*
 * What the files of the deployment controller share: a deployment with the replica sets of its
 * templates, as one look finds them.
 */
#pragma once

#include "cluster/controllers/controllers_priv.h"

#define REVISION      "deployment.kubernetes.io/revision"
#define REVISION_PAST "deployment.kubernetes.io/revision-history"
#define DESIRED	      "deployment.kubernetes.io/desired-replicas"
#define MAX_REPLICAS  "deployment.kubernetes.io/max-replicas"
#define HASH_LABEL    "pod-template-hash"

struct rollout {
	struct work *work;
	const struct object *deployment;
	const struct json *spec;
	struct owned sets;	      /* all of them, the oldest first */
	const struct object *current; /* of today's template; NULL */
	int64_t replicas, surge, unavailable;
	bool recreate, paused;
	bool scaled; /* something was asked to scale in this look */
};

/* false: there is nothing to look at. Always followed by rollout_done(). */
bool rollout_look(struct rollout *r, struct work *w, bool claim);
void rollout_done(struct rollout *r);

int64_t set_replicas(const struct object *set);	 /* spec */
int64_t set_available(const struct object *set); /* status */
int64_t rollout_total(const struct rollout *r);	 /* spec.replicas of all sets */
/* Scales a set (and says so), and keeps its two annotations true. */
void rollout_scale(struct rollout *r, const struct object *set, int64_t replicas);

/* deployment_scale.c: steps of the two strategies, and of a change of spec.replicas. */
void rollout_scale_all(struct rollout *r); /* in proportion */
void rollout_step(struct rollout *r);
int64_t rollout_new_size(const struct rollout *r, int64_t current); /* of the current set */

/* deployment_revision.c: the set of today's template, its revision and annotations. */
void rollout_sync_revision(struct rollout *r);
void rollout_make(struct rollout *r);
void rollout_clean(struct rollout *r); /* sets beyond revisionHistoryLimit */

/* deployment_status.c */
void rollout_status(struct rollout *r);
bool rollout_complete(const struct rollout *r, const struct json *status);
struct json *rollout_counts(const struct rollout *r);
bool rollout_has_deadline(const struct rollout *r);
