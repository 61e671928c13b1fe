/*
 * What the files of the job controller share: one job with its pods, as a look finds them, and the
 * counts that its status shall have. A pod that has ended is counted once: its uid is written to
 * status.uncountedTerminatedPods, then its finalizer is taken away, then it is added to the sum.
 */
#pragma once

#include "cluster/controllers/pod.h"

#define JOB_NAME_LABEL	    "batch.kubernetes.io/job-name"
#define JOB_COMPLETIONS_MAX 100000 /* of an indexed job, as Kubernetes allows */

struct job {
	struct work *work;
	const struct object *object;
	const struct json *spec, *was; /* was: its status now */
	struct owned pods;
	bool indexed, suspended, replaces_ended_only;
	int64_t completions, parallelism; /* completions -1: any success is enough */
	bool *done;			  /* of an indexed job, by index */
	/* counted */
	struct json *new_succeeded, *new_failed; /* uids that are not in the sums yet */
	int64_t succeeded, failed;		 /* sums */
	int64_t active, ready, terminating;
	const char *reason; /* why it fails; NULL: it does not */
	char *message;
};

/* job_count.c */
void job_count(struct job *j);
int64_t job_succeeded(const struct job *j); /* the uncounted included */
int64_t job_failed(const struct job *j);
bool job_pod_failed(const struct job *j, const struct object *pod);
void job_drop_finalizer(struct work *w, const struct object *pod);
/* Finalizers of pods that the status speaks of, or of all when the job has ended. */
void job_drop_finalizers(const struct job *j, bool all);

/* job_index.c: "1,3-5" <-> flags. */
void job_indexes_read(const char *text, bool *done, int64_t n);
char *job_indexes_text(const bool *done, int64_t n);

/* job_policy.c: what spec.podFailurePolicy says of a failed pod. */
enum job_action { JOB_COUNT, JOB_IGNORE, JOB_FAIL };
enum job_action job_policy(const struct job *j, const struct object *pod, char **ret_message);

/* job_pods.c */
void job_scale(struct job *j);
void job_delete_active(struct job *j, bool keep_finalizer);
