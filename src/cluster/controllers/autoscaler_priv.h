/*
 * The parts of the autoscaler: sample (what pods use now), load (how many replicas a metric asks
 * for), pace (how fast that may happen), and the loop over them (autoscaler.c).
 */
#pragma once

#include "cluster/controllers/controllers_priv.h"

/* -- sample ------------------------------------------------------------------------------------ */

struct sample;

struct sample *sample_new(struct controller *c);
struct sample *sample_free(struct sample *s); /* returns NULL; forgets who waits */
/* The nodes measure anew; then() of the work is called with figures at most a second old. */
void sample_ask(struct sample *s, struct work *w);
/* {"time_s", "window_s", "containers": [{"name", "cpu", "memory"}]} of a pod; NULL: none. */
const struct json *sample_of(const struct sample *s, const struct object *pod);

/* -- load -------------------------------------------------------------------------------------- */

struct load_question {
	const struct controller *controller;
	const struct sample *sample;
	const struct json *metric; /* one of spec.metrics */
	const struct owned *pods;  /* that the target's selector takes */
	int64_t current;	   /* replicas */
	double up, down;	   /* tolerances */
};

struct load_answer {
	int64_t replicas;
	struct json *status; /* of status.currentMetrics; the caller's */
	char name[128];	     /* "cpu resource utilization (percentage of request)" */
	const char *bad;     /* the reason: "FailedGetResourceMetric"; NULL: all well */
	struct err why;	     /* with bad */
};

void load_ask(const struct load_question *q, struct load_answer *ret);

/* -- pace -------------------------------------------------------------------------------------- */

struct pace;

struct pace_question {
	const struct json *spec; /* of the autoscaler */
	int64_t now_s, current, wanted;
};

struct pace_answer {
	int64_t replicas;
	const char *able, *able_message; /* of the condition AbleToScale */
	bool limited;			 /* the condition ScalingLimited */
	const char *limit, *limit_message;
};

struct pace *pace_new(void);
struct pace *pace_free(struct pace *p); /* returns NULL */
void pace_ask(struct pace *p, const struct pace_question *q, struct pace_answer *ret);
/* It was scaled so: counts against the policies from now on. */
void pace_scaled(struct pace *p, int64_t now_s, int64_t from, int64_t to);
