/*
 * Pods as controllers see them: the few facts that loops ask for again and again, read from the
 * object's tree once for each of its versions. A deployment of a thousand pods is looked at a
 * thousand times while they get ready; without this each look would parse a thousand trees.
 */
#pragma once

#include "cluster/controllers/controllers_priv.h"

struct pod {
	uint64_t revision;
	bool ready;
	int64_t ready_s; /* when the Ready condition changed last; 0: never */
	int64_t created_s, cost, restarts;
	char *ip4, *ip6; /* NULL: none yet */
	char *hostname, *subdomain;
	bool tracked;	    /* by a job: it has the finalizer */
	int64_t job_index;  /* -1: none */
	struct json *ports; /* [{name, protocol, containerPort}] that have names */
};

#define POD_JOB_FINALIZER "batch.kubernetes.io/job-tracking"
#define POD_JOB_INDEX	  "batch.kubernetes.io/job-completion-index"

/* Borrowed until the pod changes. */
const struct pod *pod_of(const struct controller *c, const struct object *o);
/* As pod_is_available() of its tree. */
bool pod_available(const struct controller *c, const struct object *o, int64_t min_ready_s,
		   int64_t *ret_left_s);

/* For controllers.c: a handler of the pods' informer that forgets what went, and all. */
void pod_forget(void *controllers, const struct object *now, const struct object *before);
void pod_forget_all(struct controllers *all);
