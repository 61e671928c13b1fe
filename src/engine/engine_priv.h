/*
 * The inside of the engine: its structs and the functions its files share. Nobody outside sees it.
 *
 * Ownership: the engine owns all containers (map by id); a container owns its waiters, waiting
 * clients and execs. Names are maps of their own per owner, borrowed pointers. Files: engine.c
 * (birth, lock, users), adopt.c (finding again), workload.c (the struct and its record),
 * workload_create.c, workload_start.c, workload_life.c (stop, kill, pause, end), workload_remove.c,
 * wait.c, attach.c, exec.c, names.c, events.c, filters.c, list.c, inspect.c, oci*.c (the spec),
 * identity.c (passwd), files.c, logs.c, stats.c, top.c, images.c, networks.c, volumes.c, system.c,
 * prune.c.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/events.h"
#include "engine/exec.h"
#include "engine/images.h"
#include "engine/networks.h"
#include "engine/runtime.h"
#include "engine/system.h"
#include "engine/volumes.h"
#include "engine/workload.h"
#include "ground/base/list.h"
#include "ground/base/log.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/base/rfc3339.h"
#include "ground/store/record.h"
#include "ground/wire/loop.h"
#include "virt/image/image.h"
#include "virt/keeper/keeper.h"
#include "virt/network/network.h"
#include "virt/volume/volume.h"

#define ENGINE_MAGIC   0x454e4749u
#define WORKLOAD_MAGIC 0x434f4e54u
#define EXEC_MAGIC     0x45584543u
#define STREAM_MAGIC   0x5354524du

#define WORKLOAD_RECORD_VERSION 1
#define WORKLOAD_ENDPOINTS_MAX	64
#define WORKLOAD_ATTACHES_MAX	64 /* clients waiting for a start */

struct user {
	struct engine *engine;
	enum owner owner;
	struct map names; /* name -> struct workload *, borrowed */
};

struct event_ring;

struct engine {
	uint32_t magic;
	struct loop *loop;
	const struct world *world;
	char *root, *run, *libexec;
	char **dns, **insecure, **mirrors, **pools;
	bool debug, closing, shutting_down;
	int run_lock, root_lock;
	char id[33]; /* stable per root */
	struct records *records;
	struct image_store *images;
	struct network_host *net;
	struct volume_store *volumes;
	struct map workloads;  /* id -> struct workload * */
	struct map execs;      /* id -> struct exec * */
	struct map sandboxes;  /* id -> struct sandbox * */
	struct map unreadable; /* ids of records that could not be read: left alone */
	struct user users[OWNERS];
	struct event_ring *events;
	engine_done *ready;
	void *ready_ctx;
	size_t recovering; /* things still awaited before `ready` */
};

/* A client that attached before the start. */
struct waiting_client {
	struct list link;
	int fd;
	struct attach_options options;
	char keys[17];
	struct strbuf early;
	char session[33];
};

/* What happens when the container's end (or start) is known. */
struct end_hook {
	struct list link;
	void (*fn)(void *ctx, struct workload *w, const struct err *e);
	void *ctx;
};

/* Where a started container stands on one network. */
struct plug {
	struct network_endpoint *endpoint; /* NULL: not plugged now */
	struct endpoint_request *request;
};

struct workload {
	uint32_t magic;
	struct engine *engine;
	char id[ENGINE_ID_HEX + 1];
	char *name;
	enum owner owner;
	bool hidden; /* its record is not durable yet, or it is going */
	int64_t created_ns;
	struct arena arena;		  /* what follows up to `mounts` */
	struct container_request request; /* merged with the image's config */
	struct json *borrowed[5];	  /* subtrees that the request points into */
	struct volume_mount *mounts;
	size_t mounts_n;
	char image_id[IMAGE_DIGEST_CHARS + 1];
	char *image_ref;
	const struct runtime_ops *runtime;
	char *dir, *run_dir;
	/* durable */
	enum workload_state state;
	int exit_code;
	bool oom_killed, stopped_by_user, started_once;
	char *error;
	int64_t started_ns, finished_ns;
	int restart_count;
	/* while it runs */
	struct image_hold *hold;
	char **lower;
	struct keeper *keeper;
	int pid;
	int64_t pid_start;
	bool starting, failing, stopping, removing; /* failing: a start that is being told so */
	bool ran; /* this start's process ran: whatever comes now is an end, not a failure */
	bool recovering, was_running; /* at the daemon's start */
	void (*remove_when_lost)(struct workload *w);
	void *removal;
	bool start_when_lost; /* the former run's keeper has to leave first */
	struct keeper_ready fds;
	struct plug *plugs;
	size_t plugs_n;
	char *cgroup_dirs; /* for cgroup_load(): statistics, top */
	struct health_view health;
	struct health_result health_log[KEEPER_HEALTH_LOG];
	bool health_known;
	struct loop_timer *restart_timer;
	bool restart_planned; /* by us, after a supervisor was killed */
	struct list start_hooks, end_hooks, waiters, clients, execs, followers;
};

/* engine.c: */

void engine_finish(struct engine *g, engine_done *done, void *ctx, const struct err *e);
size_t engine_running(const struct engine *g);
char *engine_path(struct engine *g, struct arena *a, const char *below_root);
const char *engine_program(struct engine *g, struct arena *a, const char *name);

/* adopt.c: */

int adopt_all(struct engine *g, struct err *e) must_use;
/* Its supervisor is gone: bury, record the end, apply the restart policy. */
void adopt_bury(struct workload *w);
void adopt_state(void *ctx, const struct keeper_state *s);

/* runtime_vm.c: */

/* Removes the file systems that were made of images which are gone. */
void erofs_sweep(struct engine *g);

/* workload.c: */

struct workload *workload_new(struct engine *g, const char *id, enum owner owner, const char *name);
struct workload *workload_free(struct workload *w);
struct workload *as_workload(void *p);
/* Keeps only what the request points into of the tree it was read from. */
void workload_keep_json(struct workload *w);
void workload_save(struct workload *w, record_done *done, void *ctx);
int workload_decode(struct engine *g, const char *id, struct str record, struct workload **ret,
		    struct err *e) must_use;
/* What keeper orders say of the root file system: lower, upper, work or root_path. */
void workload_root_orders(struct workload *w, struct arena *a, struct keeper_orders *ret);
/* What keeper orders say of the log. */
void workload_log_orders(const struct workload *w, struct arena *a, struct keeper_orders *ret);
void workload_close_fds(struct workload *w);
bool workload_runs(const struct workload *w); /* running, paused or restarting */
void workload_set_error(struct workload *w, const char *text);

/* names.c: */

int name_check(const char *name, struct err *e) must_use;
char *name_invent(struct user *u);
/* By name, id or unique prefix, among the user's own. */
int workload_find(struct user *u, const char *ref, struct workload **ret, struct err *e) must_use;

/* start, life, remove: */

extern const struct keeper_events workload_keeper_events;

typedef void workload_hook(void *ctx, struct workload *w, const struct err *e);
/* Begins a start; the hook tells its outcome, later. */
void workload_start(struct workload *w, workload_hook *fn, void *ctx);
void workload_started(struct workload *w, const struct keeper_started *s);
void workload_on_end(struct workload *w, workload_hook *fn, void *ctx);
void workload_on_start(struct workload *w, workload_hook *fn, void *ctx); /* of a start under way */
void workload_run_hooks(struct list *hooks, struct workload *w, const struct err *e);
/* The end as the keeper or the exit record tells it; final ones release everything. */
void workload_ended(struct workload *w, const struct keeper_died *d);
void workload_release(struct workload *w); /* networks, holds, descriptors of a run */
/* Removes a container that does not run. done may be NULL. */
void workload_remove(struct workload *w, bool volumes, engine_done *done, void *ctx);
/* Removes <root>/container/ID on a pool thread; done may be NULL. */
void workload_remove_files(struct engine *g, const char *id, engine_done *done, void *ctx);
/* Health as the keeper tells it. */
void health_news(void *ctx, const struct keeper_health *h);
void health_set(struct workload *w, uint32_t status, uint32_t streak);
void health_forget(struct workload *w);

/* plugging.c: */

int plug_all(struct workload *w, struct err *e) must_use;
void unplug_all(struct workload *w);
int plug_normalise(struct workload *w, struct err *e) must_use;
int plug_one(struct workload *w, struct endpoint_request *r, bool gateway, struct err *e) must_use;
void plug_save(struct workload *w);				  /* <run>/endpoint/ID */
void plug_load(struct workload *w);				  /* takes it back at adoption */
int plug_write_files(struct workload *w, struct err *e) must_use; /* hosts, hostname, resolv.conf */
bool workload_has_own_net(const struct workload *w);
void plug_names_wanted(void *ctx, const char *container_id);

/* sandbox.c: */

struct sandbox;
void sandbox_free(struct sandbox *s);
bool sandbox_mode(const char *mode); /* "sandbox:ID" */
/* Where a namespace of the sandbox is pinned; the caller's. */
int sandbox_path(struct engine *g, const char *mode, const char *file, char **ret,
		 struct err *e) must_use;
void sandbox_adopt(void *engine, const char *id, struct str record);
void sandbox_unpin_all(struct engine *g);

/* ports.c: */

int ports_of(const struct container_request *r, struct arena *a, struct network_port **ret,
	     size_t *ret_n, struct err *e) must_use;

/* mounts.c: */

int mounts_resolve(struct workload *w, struct err *e) must_use;
void mounts_release(struct workload *w);
struct json *mounts_encode(const struct workload *w);
int mounts_decode(struct workload *w, const struct json *j, struct err *e) must_use;
void mounts_copy_up(struct workload *w, engine_done *done, void *ctx);
void engine_network_save(struct engine *g, const struct network *n, record_done *done, void *ctx);
void engine_volume_save(struct engine *g, const struct volume *v, record_done *done, void *ctx);

/* request_check.c, merge.c: */

void request_merge(struct workload *w, const struct image *image);
int signal_of(const char *text, int *ret, struct err *e) must_use; /* "TERM", "SIGTERM", "15" */
int request_check(const struct container_request *r, struct err *e) must_use;

/* oci*.c: the OCI spec */

struct identity {
	uint32_t uid, gid;
	uint32_t *groups;
	size_t groups_n;
	const char *home;
};
int identity_resolve(const char *user, char *const *group_add, char *const *roots, struct arena *a,
		     struct identity *ret, struct err *e) must_use;
int oci_build(struct workload *w, const struct identity *user, struct json **ret,
	      struct err *e) must_use;
int oci_resources(const struct host_config *h, struct json *resources, struct err *e) must_use;
char *oci_cgroup_path(const struct workload *w, struct arena *a);
bool oci_security_option(const struct host_config *h, const char *key, const char **ret_value);
struct json *oci_seccomp_profile(const struct json *given, char *const *capabilities);
int oci_resources_check(const struct host_config *h, struct err *e) must_use;
int oci_capabilities(const struct host_config *h, struct arena *a, char ***ret,
		     struct err *e) must_use;
struct json *oci_seccomp(char *const *capabilities);
int oci_security_check(const struct host_config *h, struct err *e) must_use;
int oci_mounts(struct workload *w, struct json *mounts, struct err *e) must_use;
int oci_devices(const struct host_config *h, struct json *linux_part, struct json *resources,
		struct err *e) must_use;

/* wait.c, attach.c, exec.c, events.c: */

void wait_ended(struct workload *w);
void wait_drop_all(struct workload *w);
void wait_removed(struct workload *w);
void wait_start_failed(struct workload *w);
uint32_t restart_policy_of(const struct host_config *h); /* enum keeper_restart */
void attach_hand_over(struct workload *w);
void attach_drop_all(struct workload *w);
void attach_ended(void *ctx, const struct keeper_detached *d);
uint16_t attach_keys(const char *text, char ret[17]); /* "ctrl-p,ctrl-q" as bytes */
void exec_ended(struct engine *g, const struct keeper_exec_died *d);
void exec_drop_all(struct workload *w);
void exec_adopt(struct workload *w, const struct keeper_state *s);
struct exec;
char **exec_ids(const struct workload *w, struct arena *a);

struct event_ring *events_new(struct engine *g);
struct event_ring *events_free(struct event_ring *r);
/* pairs: key, value, key, value, NULL. */
void event_container(struct workload *w, const char *action, ...) __attribute__((sentinel));
void event_say(struct engine *g, enum owner owner, const char *type, const char *action,
	       const char *id, const struct json_pair *attributes);
void event_volume(struct engine *g, enum owner owner, const char *action, const char *name);
void event_network(struct engine *g, enum owner owner, const char *action, const struct network *n,
		   const char *container_id);
void event_image(struct engine *g, enum owner owner, const char *action, const char *id,
		 const char *name);
int events_listeners(const struct event_ring *r);

void logs_container_ended(struct workload *w);
void logs_container_gone(struct workload *w);
void exec_read_all(struct engine *g);

/* filters.c, inspect.c, streams.c: */

bool filter_has(const struct filters *f, const char *key);
int filters_check(const struct filters *f, const char *const *known, struct err *e) must_use;
/* True when the key is absent or one value equals text. */
bool filter_match(const struct filters *f, const char *key, const char *text);
bool filter_match_prefix(const struct filters *f, const char *key, const char *text);
bool filter_match_glob(const struct filters *f, const char *key, const char *text);
bool filter_match_part(const struct filters *f, const char *key, const char *text);
/* One truth value; `otherwise` when the key is absent. */
int filter_flag(const struct filters *f, const char *key, bool otherwise, bool *ret,
		struct err *e) must_use;
bool filter_match_labels(const struct filters *f, const struct json_pair *labels);
int filter_until(const struct filters *f, const struct world *w, int64_t *ret_ns,
		 struct err *e) must_use;
struct container_view *workload_view(struct workload *w, struct arena *a);

/* A pipe to read from at `fd`, given to a sink; released by end or cancel. */
struct stream *stream_from_fd(struct engine *g, int fd, const struct sink *sink);
/* What the operation behind the pipe says: kept until the pipe is drained, then told by end(). */
void stream_finish(struct stream *s, const struct err *e);
/* Called when the client cancels while the work still runs: the work is to be stopped, and then
 * says stream_finish() as ever. */
void stream_on_cancel(struct stream *s, void (*cancelled)(void *ctx), void *ctx);
/* fd -1: everything is swallowed. */
void feed_on_cancel(struct feed *f, void (*cancelled)(void *ctx), void *ctx);
/* changes.c: Dockerfile lines onto a config (NULL: an empty one); the result is the caller's. */
int changes_apply(const struct json *base, char *const *changes, struct json **ret,
		  struct err *e) must_use;
int changes_merge(const struct json *own, const struct json *given, char *const *changes,
		  struct json **ret, struct err *e) must_use;
struct feed *feed_to_fd(struct engine *g, int fd);
