/*
 * The inside of the node agent: a pod and its containers as the agent knows them, between the
 * object that says what is wanted and the engine that says what is.
 */
#pragma once

#include "cluster/node/agent.h"
#include "cluster/objects/recorder.h"
#include "cluster/objects/workqueue.h"
#include "engine/exec.h"
#include "engine/sandbox.h"
#include "engine/system.h"
#include "engine/workload.h"
#include "ground/base/arena.h"
#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/base/rfc3339.h"

#define AGENT_MAGIC	0x4147454eu
#define POD_MAGIC	0x504f4420u
#define NODE_TIME	(RFC3339_CHARS + 1)
#define BACKOFF_S	10
#define BACKOFF_MAX_S	300
#define BACKOFF_RESET_S 600

struct node_agent {
	uint32_t magic;
	struct node_agent_options o;
	struct loop *loop;
	const struct world *world;
	struct user *user; /* the engine as this owner sees it */
	struct client client;
	struct recorder recorder;
	char *node_name, *identity;
	struct workqueue *queue, *claim_queue;
	struct informer *pods, *config_maps, *secrets, *services, *slices, *claims, *stores, *nodes;
	struct map known;     /* "ns/name" -> struct pod * */
	struct list sessions; /* of exec and attach, whose end somebody waits for */
	struct list actions;  /* of probes and hooks, under way */
	struct http_client *http;
	struct stream *events;
	struct loop_timer *beat, *sweeper;
	bool registered;
	bool swept; /* what an earlier daemon left is known */
};

enum pod_part { PART_INIT, PART_SIDECAR, PART_MAIN, PART_EPHEMERAL };

/* One container of a pod: its present incarnation and what was before. */
struct pod_container {
	struct pod *pod;
	char *name;
	enum pod_part part;
	bool busy;			 /* a call of the engine is under way */
	bool wanted_stop;		 /* it is being stopped on purpose */
	char id[ENGINE_ID_HEX + 1];	 /* "" : none was made */
	char last_id[ENGINE_ID_HEX + 1]; /* the incarnation before: for its log */
	int attempt;			 /* of the present one: also the restarts so far */
	int64_t backoff_s;		 /* before the next start after a failure */
	int64_t not_before_ms;
	char *reason, *message; /* why it waits; NULL: it does not */
	/* as the engine saw it last */
	enum workload_state state;
	bool exists, oom_killed;
	int exit_code;
	int64_t started_ns, finished_ns;
	char *image_id;
	struct json *last_state; /* of the incarnation before: {"terminated": ...}; NULL */
	bool ready, started;	 /* what probes say */
	bool probed, adopted;	 /* its probes are there; it ran before this daemon */
	struct list probes;
	struct action *hook; /* postStart or preStop, under way */
	bool pulled;	     /* for its next start */
	int64_t pull_began_ms;
	char *start_error;	/* why this incarnation could not be started: it has ended; NULL */
	int64_t failed_ns;	/* when */
	bool had_hook, killed;	/* while it is being stopped */
	int64_t stop_by_ms;	/* when its grace ends */
	char *last_words;	/* its termination message; NULL: not read yet */
	struct stream *reading; /* of its log, for the last words */
};

struct pod {
	uint32_t magic;
	struct node_agent *agent;
	char *key, *namespace, *name, *uid;
	char *dir; /* <root>/pods/UID */
	char sandbox[ENGINE_ID_HEX + 1];
	bool busy;	   /* its sandbox or volumes are being made or removed */
	bool stopping;	   /* its containers were told to stop */
	bool told_unready; /* the world knows that it is going */
	bool finished;	   /* nothing of it is left on the node, and its object was told to go */
	bool clearing;	   /* nothing runs any more, it is being removed */
	bool mounted;	   /* its volumes stood once */
	bool over;	   /* its phase was final before this daemon */
	bool served;	   /* it was an endpoint when it was told to go */
	int64_t grace_s;   /* of its end, by its spec */
	int64_t served_until_ms, drained_ms;
	int64_t stop_by_ms;	   /* when its grace ends, once it goes */
	const char *failed_reason; /* it was ended for good: "DeadlineExceeded"; NULL */
	const char *failed_message;
	char *trouble_reason, *trouble_message; /* of the whole pod; NULL */
	struct pod_container *containers;
	size_t n, room;
	const struct json *spec; /* borrowed during one look */
	int64_t started_ns;
	bool writing;	   /* a status is on its way */
	struct json *told; /* the last status that was told */
	char *token;	   /* of its service account; NULL: none yet */
	bool token_busy;
	int64_t token_until_ms; /* when to ask for a new one */
};

/* -- pod.c ------------------------------------------------------------------------------------- */

void pod_sync(void *agent, const char *key);
void pod_again(struct pod *p);
void node_forget_pods(struct node_agent *a);
struct pod *pod_find(struct node_agent *a, const char *namespace, const char *name);
struct pod_container *pod_container_find(struct pod *p, const char *name);
const char *pod_ip(const struct pod *p); /* "": it has none yet */
/* What the pod's spec says of a container; NULL: no longer anything. */
const struct json *pod_container_spec(const struct json *spec, const struct pod_container *c);
struct pod *pod_make(struct node_agent *a, const char *namespace, const char *name,
		     const char *uid);
struct pod_container *pod_add_container(struct pod *p, const char *name);
/* Ends what is left of pods whose objects went while no daemon was there. */
void pod_sweep(void *agent);
/* A slice of a service changed: pods in it that are going may go on. */
void pod_slice_changed(struct node_agent *a, const struct object *slice);

/* -- container.c ------------------------------------------------------------------------------- */

/* Reads what the engine knows; finds containers of an earlier daemon by their labels. */
void container_look(struct pod_container *c);
void container_adopt(struct pod *p);
/* Towards running: creates and starts, unless it waits, runs or has ended for good. */
void container_advance(struct pod_container *c, const struct json *spec);
void container_stop(struct pod_container *c, int64_t grace_s);
void container_remove(struct pod_container *c);
void container_kill(struct pod_container *c); /* it had its time */
/* Its probes begin when it runs, and end when it does not. */
void container_probe(struct pod_container *c, const struct json *spec);
/* Calls off what goes on beside the engine: probes, hooks, reading. */
void container_forget(struct pod_container *c);
/* Its words in the pod as it is now, while that is still this pod; NULL. Borrowed for this turn. */
const struct json *container_spec_now(const struct pod_container *c);
char *container_words_path(const struct pod_container *c);	  /* of its termination message */
struct json *container_terminated(const struct pod_container *c); /* {"terminated": ...} */
bool container_runs(const struct pod_container *c);
bool container_ended(const struct pod_container *c); /* its present incarnation ran and ended */
bool container_done(const struct pod_container *c, const char *policy); /* and will not run again */
void container_wait(struct pod_container *c, const char *reason, const char *message);
void container_clear(struct pod_container *c);

/* The image is here; false: it is on its way, or will not come. */
bool pull_ensure(struct pod_container *c, const struct json *spec);
/* It waits for a reason, and is tried again later and later. */
void container_failed(struct pod_container *c, const char *reason, const char *text);

/* -- action.c, probe.c ------------------------------------------------------------------------- */

/* good: well. text: its output, or why not. The action is gone. Never from inside the call. */
typedef void action_done(void *ctx, bool good, const char *text);
struct action *action_start(struct pod_container *c, const struct json *spec,
			    const struct json *handler, int64_t timeout_ms, action_done *done,
			    void *ctx);
struct action *action_cancel(struct action *a); /* NULL allowed; returns NULL */
void action_exec_ended(struct node_agent *a, const char *exec_id, int code);

void probes_start(struct pod_container *c, const struct json *spec);
void probes_stop(struct pod_container *c);

/* -- container_spec.c, pod_env.c --------------------------------------------------------------- */

/* Docker's create body for a container of a pod. ERR_*: a reference leads nowhere. */
int container_spec(struct pod *p, const struct pod_container *c, const struct json *spec,
		   const struct json *pod, struct json **ret, struct err *e) must_use;
int pod_env(struct pod *p, const struct json *pod, const struct json *container, char ***ret,
	    struct err *e) must_use;
/* "$(NAME)" by the variables at hand; "$$" is a dollar. The caller's. */
char *pod_expand(const char *text, char *const *env);
/* A field of the pod as the downward API names it; the caller's, NULL: there is none. */
char *pod_field(const struct pod *p, const struct json *pod, const char *path);
char *pod_resource(const struct pod *p, const struct json *pod, const struct json *container,
		   const struct json *ref);

/* -- pod_volumes.c ----------------------------------------------------------------------------- */

int pod_volumes_make(struct pod *p, const struct json *pod, struct err *e) must_use;
void pod_volumes_remove(struct pod *p);
/* Where a volume lies on the host; the caller's. NULL: the pod has no such volume. */
char *pod_volume_path(const struct pod *p, const struct json *pod, const char *name);
/* Whether a part of it may be made that is not there. */
bool pod_volume_is_writable(const struct json *pod, const char *name);

/* -- pod_mounts.c ------------------------------------------------------------------------------ */

/* The part `sub` of the volume at `base`, pinned at a path of its own, the caller's. */
int pod_mount_part(const struct pod_container *c, size_t index, const char *base, const char *sub,
		   bool may_make, char **ret, struct err *e) must_use;
/* Unmounts all that is mounted below a folder. */
void pod_mounts_detach(const char *below);

/* -- claims.c ---------------------------------------------------------------------------------- */

/* The local disk as a storage class: binds claims, makes their volumes, removes them. */
void claims_start(struct node_agent *a);

int pod_files(struct pod *p, const struct json *pod, const char *ip, struct err *e) must_use;

/* -- pod_token.c ------------------------------------------------------------------------------- */

/* The token, NULL: it was asked for and the pod will be looked at again. */
const char *pod_token(struct pod *p, const struct json *pod, const struct json *source);

/* -- pod_status.c ------------------------------------------------------------------------------ */

struct json *status_of_pod(struct pod *p, const struct json *pod);
void status_write(struct pod *p, const struct object *o);

/* -- node_object.c ----------------------------------------------------------------------------- */

void node_register(struct node_agent *a);
void node_beat(void *agent);

/* -- the rest ---------------------------------------------------------------------------------- */

void node_event(struct pod *p, const char *type, const char *reason, const char *container,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* node_log.c, node_exec.c: what the API asks; node_ops.h says what each does. */
int node_find(struct node_agent *a, const struct node_target *t, struct pod_container **ret,
	      struct err *e) must_use;
int node_log(void *node, const struct node_target *t, const struct node_log_options *o,
	     const struct node_sink *sink, struct node_stream **ret, struct err *e) must_use;
void node_stats(void *node, node_json_done *done, void *ctx);
void session_exec_ended(struct node_agent *a, const char *exec_id, int code);
void session_attach_ended(struct node_agent *a, const char *container_id);
extern const struct node_ops agent_ops;
