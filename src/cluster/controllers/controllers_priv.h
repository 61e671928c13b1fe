/*
 * What controllers share: the row that describes one, the work on one key with its calls, and the
 * questions that many ask of objects.
 */
#pragma once

#include "cluster/controllers/controllers.h"
#include "cluster/objects/recorder.h"
#include "cluster/objects/workqueue.h"
#include "ground/base/arena.h"
#include "ground/base/map.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"

#define CONTROLLER_MAGIC 0x43544c52u
#define WORK_MAGIC	 0x574f524bu
#define TIME_CHARS	 (RFC3339_CHARS + 1)

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
	struct recorder recorder;
	struct workqueue *queue;
	void *own;
};

struct controllers {
	struct controllers_options o;
	struct loop *loop;
	const struct world *world;
	struct controller *list;
	struct map pods; /* pod.h */
	char **users;	 /* of the identities */
	size_t n;
};

extern const struct controller_row serviceaccount_row, autoscaler_row;
extern const struct controller_row disruption_row, quota_row, nodelife_row, tainteviction_row;
extern const struct controller_row daemonset_row, statefulset_row, podgc_row;
extern const struct controller_row job_row, cronjob_row;
extern const struct controller_row namespace_row, gc_row;
extern const struct controller_row endpoints_row, endpointslice_row;
extern const struct controller_row replicaset_row, replicationcontroller_row, deployment_row;

/* -- work -------------------------------------------------------------------------------------- */

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
void work_drop(struct work *w); /* its queue is gone, and nobody will end it */
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

/* -- subscribing ------------------------------------------------------------------------------- */

struct informer *controller_view(const struct controller *c, const char *group,
				 const char *resource);
const struct kind *view_kind(const char *group, const char *resource);
/* Handlers for informer_on(): the key of the object itself, or of its controlling owner. */
void controller_on_self(void *controller, const struct object *now, const struct object *before);
void controller_add(struct controller *c, const struct object *o);

/* The kinds whose number of pods the scale subresource sets; ended by a NULL kind. */
struct scalable {
	const char *kind, *group, *resource;
};
extern const struct scalable scalables[];
/* The object of one of these kinds; NULL: it is none, or not there. */
const struct object *scalable_find(const struct controller *c, const char *kind,
				   const char *namespace, const char *name);

/* -- owners ------------------------------------------------------------------------------------ */

/* Objects that an owner owns; each holds a reference. */
struct owned {
	const struct object **list;
	size_t n, room;
};
void owned_done(struct owned *l);
#define auto_owned __attribute__((cleanup(owned_done)))

/*
 * What `owner` owns in a view. With a work, adopts what `selector` takes and lets go what it does
 * not; without (NULL) it only looks. selector NULL: whatever it owns.
 */
void owned_claim(struct work *w, const struct object *owner, const struct informer *view,
		 const struct selector *selector, struct owned *ret);
/* spec.selector, in whichever form the kind has it. 0, or it makes no sense. */
int selector_of_object(const struct object *o, struct arena *a, struct selector *ret);
/*
 * A dependent changed: adds its owner of that kind, and when it has none, all owners whose selector
 * takes it.
 */
void controller_on_dependent(struct controller *c, const struct informer *owners, const char *kind,
			     const struct object *now, const struct object *before);

/* -- trees ------------------------------------------------------------------------------------- */

/* The member, or null for 0: what a merge patch takes away, as Go leaves zeros out. */
void tree_set_count(struct json *object, const char *key, int64_t n);
struct json *tree_list(struct json *list); /* itself, or null when it is empty */
const struct json *tree_spec(const struct object *o);
const struct json *tree_status(const struct object *o);
const char *tree_annotation(const struct object *o, const char *key); /* NULL */
int64_t tree_created_s(const struct object *o);
/* "25%" of `whole`, or a plain number; up: a fraction counts as one. */
int64_t tree_portion(const struct json *value, int64_t whole, bool up);
/* A short word of safe letters that follows from a tree and a count. */
#define TREE_HASH_CHARS 12
char *tree_hash(const struct json *tree, int64_t count, char ret[TREE_HASH_CHARS]);

/* -- questions --------------------------------------------------------------------------------- */

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
/* Takes a condition away. */
void condition_remove(struct json *status, const struct json *old_status, const char *type);
int64_t object_generation(const struct object *o);
/* A pod from a template, to be named by the server. */
struct json *pod_of_template(const struct json *template, const char *prefix,
			     const struct object *owner);
