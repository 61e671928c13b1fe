/*
 * What controllers share: the row that describes one, the work on one key with its calls, and the
 * questions that many ask of objects.
 */
#pragma once

#include "cluster/controllers/controllers.h"
#include "cluster/objects/workqueue.h"
#include "ground/base/arena.h"
#include "ground/base/own.h"

#define CONTROLLER_MAGIC 0x43544c52u
#define WORK_MAGIC	 0x574f524bu
#define TIME_CHARS	 32

struct controller;
struct work;

struct controller_row {
	const char *name;		     /* "replicaset": also of its identity */
	void (*begin)(struct controller *c); /* subscribes; may set c->own */
	/* One key. Every path ends with work_end(), or with the last of its calls. */
	void (*sync)(struct work *w);
	void (*end)(struct controller *c); /* frees c->own; NULL: nothing to free */
};

struct controller {
	uint32_t magic;
	const struct controller_row *row;
	struct controllers *all;
	struct client client;
	struct workqueue *queue;
	void *own;
};

struct controllers {
	struct controllers_options o;
	struct loop *loop;
	const struct world *world;
	struct controller *list;
	char **users; /* of the identities */
	size_t n;
};

extern const struct controller_row serviceaccount_row;

/*
 * -- work
 * ----------------------------------------------------------------------------------------
 */

/* The work on one key: it lasts until its own part and every call of it have ended. */
struct work {
	uint32_t magic;
	struct controller *controller;
	const char *key;
	char *namespace, *name;
	unsigned int calls;
	bool failed;
	void (*then)(struct work *w); /* once all calls so far have ended; may make more */
	void *own;		      /* of `then`; freed with free() at the end */
	int64_t again_ms;	      /* looked at again after this; 0: not by itself */
};

/* The work's own part is over; `failed` in it makes the key come back later. */
void work_end(struct work *w);
/* Calls of the client whose end the work waits for. What is gone or there already is no failure. */
void work_create(struct work *w, const struct kind *k, const char *namespace, struct json *object);
void work_patch(struct work *w, const struct object *o, const char *sub, struct json *patch);
void work_delete(struct work *w, const struct object *o);
/* A merge patch of the status subresource, when it would change anything. */
void work_status(struct work *w, const struct object *o, struct json *status);
/* For calls of one's own: work_called is their callback. */
void work_call(struct work *w);
void work_called(void *work, const struct outcome *o);

/* An event about an object; nobody waits for it. */
void work_event(struct controller *c, const struct object *about, const char *type,
		const char *reason, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/*
 * -- subscribing
 * ---------------------------------------------------------------------------------
 */

struct informer *controller_view(const struct controller *c, const char *group,
				 const char *resource);
/* Handlers for informer_on(): the key of the object itself, or of its controlling owner. */
void controller_on_self(void *controller, const struct object *now, const struct object *before);
void controller_add(struct controller *c, const struct object *o);

/*
 * -- questions
 * -----------------------------------------------------------------------------------
 */

char *controller_now(const struct controller *c, char ret[TIME_CHARS]); /* RFC 3339, seconds */
int64_t controller_now_s(const struct controller *c);
int64_t time_of(const char *rfc3339); /* seconds; 0: none */
struct json *
owner_reference(const struct object *owner); /* with controller and blockOwnerDeletion */
bool pod_is_ready(const struct json *pod);
/* Ready for at least this long; *ret_left_s: how long until it is, 0 when it is or never will. */
bool pod_is_available(const struct json *pod, int64_t min_ready_s, int64_t now_s,
		      int64_t *ret_left_s);
bool pod_is_active(const struct object *pod); /* neither ended nor being deleted */
/* A condition by its type; NULL. */
const struct json *condition_of(const struct json *status, const char *type);
/* Sets a condition in a status tree; its transition time changes with its value only. */
void condition_set(struct json *status, const struct json *old_status, const char *type,
		   const char *value, const char *reason, const char *message, const char *now);
/* A pod from a template, to be named by the server. */
struct json *pod_of_template(const struct json *template, const char *prefix,
			     const struct object *owner);
