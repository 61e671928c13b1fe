/*
 * Events: what happened, in order, to whoever subscribes; the last EVENTS_KEPT are kept in memory
 * for `since`. Event names and attributes are Docker's (create start die {exitCode} destroy attach
 * kill {signal} oom exec_create exec_start exec_die health_status ...; image pull tag delete ...;
 * network; volume).
 */
#pragma once

#include "engine/workload.h"

#define EVENTS_KEPT 1024

struct event {
	const char *type;   /* "container", "image", "network", "volume" */
	const char *action; /* "start", "health_status: healthy" */
	const char *actor_id;
	const struct json_pair *attributes; /* ended by a NULL key */
	int64_t time_ns;
	enum owner owner;
};

struct event_options {
	int64_t since_ns, until_ns; /* 0: none; until in the past: the ring only, then end */
	struct filters filters;	    /* container image network volume type event label ... */
};

struct event_sink {
	void (*event)(void *ctx, const struct event *v);
	void (*end)(void *ctx, const struct err *e);
	void *ctx;
};

/* When this returns nothing that happens later is missed. Ends at `until`, or by stream_cancel. */
int engine_events(struct user *u, const struct event_options *o, const struct event_sink *sink,
		  struct stream **ret, struct err *e) must_use;
