/*
 * The seam below the engine: what runs a workload. Containers answer it through their keepers
 * (keeper_runtime.c); virtual machines will answer it through hull-vm, which speaks the same
 * protocol, so that the rest of the engine sees no difference.
 *
 * A task exists from start() or adopt() until its exited() or failed(); release() only lets go of
 * it.
 */
#pragma once

#include "engine/exec.h"

struct runtime_task; /* one running workload */

/* News from below; every call is on the loop's thread, never from inside a runtime_ops call. */
struct runtime_events {
	/* Its network namespace is there, nothing runs yet: plug it (netlink_fd lives inside,
	 * borrowed), then runtime_ops.go_on(). */
	void (*plug)(void *ctx, int netlink_fd);
	/* It runs: pid of its first process. */
	void (*started)(void *ctx, int pid);
	/* It could not be started: nothing is left. exit_code 125, 126 or 127. */
	void (*failed)(void *ctx, int exit_code, const struct err *e);
	/* It ended and all is released; comes once, after started. */
	void (*exited)(void *ctx, int exit_code, bool oom_killed, int64_t at_ns, const char *why);
	void (*oom)(void *ctx);
	void (*health)(void *ctx, const struct health_view *h);
	void (*exec_exited)(void *ctx, const char *exec_id, int exit_code);
};

struct runtime_ops {
	const char *name;
	/* `dir` is <root>/container/ID with everything the runtime needs written into it. */
	int (*start)(void *runtime, const char *id, const char *dir,
		     const struct runtime_events *events, void *ctx, struct runtime_task **ret,
		     struct err *e);
	/* Finds a task that a daemon before us started; ERR_NOT_FOUND: it is gone, and how it ended
	 * is in its exit record. */
	int (*adopt)(void *runtime, const char *id, const char *dir,
		     const struct runtime_events *events, void *ctx, struct runtime_task **ret,
		     struct err *e);
	void (*go_on)(struct runtime_task *t, const struct err *plug_failed);
	void (*signal)(struct runtime_task *t, int signal, engine_done *done, void *ctx);
	void (*pause)(struct runtime_task *t, bool pause, engine_done *done, void *ctx);
	void (*attach)(struct runtime_task *t, const struct attach_options *o, int fd,
		       struct str early, engine_done *done, void *ctx);
	void (*resize)(struct runtime_task *t, const char *exec_id, unsigned int rows,
		       unsigned int columns, engine_done *done, void *ctx);
	void (*exec)(struct runtime_task *t, const char *exec_id, const char *process_json, int fd,
		     struct str early, engine_done *done, void *ctx);
	void (*update)(struct runtime_task *t, const char *resources_json, engine_done *done,
		       void *ctx);
	void (*release)(struct runtime_task *t);
};
