/*
 * The recorder: what a part of the cluster tells people about an object, as Events. The same news
 * about the same object is one event whose count goes up, for as long as the cluster keeps it.
 * Nobody waits for an event, and one that is lost is not missed.
 *
 *	recorder_init(&r, &client, world, "default-scheduler", NULL);
 *	recorder_tell(&r, &about, "Warning", "FailedScheduling", "%s", why);
 */
#pragma once

#include <stdint.h>

#include "cluster/objects/client.h"
#include "ground/base/map.h"
#include "ground/base/world.h"

struct recorder {
	const struct client *client;
	const struct world *world;
	const char *component, *host; /* who tells; host may be NULL */
	uint64_t last_stamp;
	struct map told; /* what was said lately: struct told * */
};

void recorder_init(struct recorder *r, const struct client *client, const struct world *world,
		   const char *component, const char *host);
void recorder_done(struct recorder *r);

/* What the news is about. Texts may be NULL but for kind, name and uid. */
struct recorder_about {
	const char *kind, *api_version; /* "Pod", "v1" */
	const char *namespace, *name, *uid;
	const char *field; /* "spec.containers{main}" */
};

/* type: "Normal" or "Warning"; reason: one word, "FailedMount". */
void recorder_tell(struct recorder *r, const struct recorder_about *about, const char *type,
		   const char *reason, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void recorder_vtell(struct recorder *r, const struct recorder_about *about, const char *type,
		    const char *reason, const char *fmt, va_list ap)
	__attribute__((format(printf, 5, 0)));
/* The same about an object. */
void recorder_tell_of(struct recorder *r, const struct object *o, const char *type,
		      const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void recorder_vtell_of(struct recorder *r, const struct object *o, const char *type,
		       const char *reason, const char *fmt, va_list ap)
	__attribute__((format(printf, 5, 0)));
