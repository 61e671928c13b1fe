/*
 * The keeper: supervisor of one container, seen from hulld. A `struct keeper` is hulld's end of one
 * supervisor process: it is born by keeper_spawn() or found again by keeper_adopt(), tells its news
 * through struct keeper_events, and takes requests that are answered by callback.
 *
 *	static const struct keeper_events events = {.ready = on_ready, .started = on_started, ...};
 *	r = keeper_spawn(loop, "/usr/libexec/hull/hull-keeper", &orders, -1, &events, c,
 *			 &c->keeper, &e);
 *	... in on_ready: plug the network through r->fds, then keeper_go(k)
 *
 * All calls and callbacks happen on the loop's thread; a callback never runs inside a call. The
 * keeper process outlives this object and hulld. keeper_free() only closes the connection.
 * Requests still open at keeper_free() or at the end of the connection are answered with
 * ERR_UNAVAILABLE (not at free).
 *
 * When `lost` comes, the process is gone or does not speak: read what it left with
 * exit_record_read() (virt/keeper/record.h); without a final record call keeper_bury(), which kills
 * what is left of the container and writes 137 "supervisor killed"; then restart_next()
 * (virt/keeper/restart.h) decides.
 */
#pragma once

#include <sys/types.h>

#include "virt/keeper/protocol.h"

struct keeper;
struct loop;

struct keeper_ready {
	int fds[KEEPER_FD_READY_N]; /* taken by the callee with take_fd(), the rest is closed; or -1
				     */
};

/* What a keeper tells. Any may be NULL. Pointers are valid during the call only. */
struct keeper_events {
	void (*ready)(void *ctx, struct keeper_ready *ready);
	void (*started)(void *ctx, const struct keeper_started *started);
	void (*failed)(void *ctx, const struct keeper_fault *fault); /* the keeper ends */
	void (*state)(void *ctx, const struct keeper_state *state);  /* after keeper_adopt() */
	void (*died)(void *ctx, const struct keeper_died *died);
	void (*health)(void *ctx, const struct keeper_health *health);
	void (*exec_died)(void *ctx, const struct keeper_exec_died *died);
	void (*oom)(void *ctx);
	void (*detached)(void *ctx, const struct keeper_detached *detached);
	void (*lost)(void *ctx, const struct err *why); /* the connection ended; last of all */
};

/*
 * Starts the program `path` in a session of its own and gives it the orders. `join_fd` is the
 * network namespace for KEEPER_NET_JOIN, borrowed, else -1. Returns when the process exists and has
 * its orders in the socket; all else comes by events. `orders` is not needed after.
 */
int keeper_spawn(struct loop *loop, const char *path, const struct keeper_orders *orders,
		 int join_fd, const struct keeper_events *events, void *ctx, struct keeper **ret,
		 struct err *e) must_use;

/*
 * Connects to the keeper that lives in `run_dir` (<run>/keeper/ID). `state` is its first event.
 * ERR_GONE when no living keeper is there (its record's process is dead, of another boot, or the
 * socket refuses): then read the exit record or bury it.
 */
int keeper_adopt(struct loop *loop, const char *run_dir, const struct keeper_events *events,
		 void *ctx, struct keeper **ret, struct err *e) must_use;

struct keeper *keeper_free(struct keeper *k); /* takes NULL, returns NULL */
pid_t keeper_pid(const struct keeper *k);

/* An answer: `why` is NULL on success. `answer` is the struct named at the request, or NULL. */
typedef void keeper_done_fn(void *ctx, const void *answer, const struct err *why, int exit_code);

struct keeper_done {
	keeper_done_fn *fn; /* may be NULL */
	void *ctx;
};

/*
 * Requests. Each returns at once; failure to send is answered through `done` too. Descriptors are
 * borrowed: the caller closes its own after the call.
 */
void keeper_go(struct keeper *k);
void keeper_attach(struct keeper *k, const struct keeper_attach *how, int client_fd,
		   struct keeper_done done);
/* answer: struct keeper_started. client_fd -1: detached. On failure exit_code is 126, 127 or 125,
 * and the client, where there is one, has been told and closed. */
void keeper_exec(struct keeper *k, const struct keeper_exec *what, int client_fd,
		 struct keeper_done done);
void keeper_resize(struct keeper *k, const struct keeper_resize *size, struct keeper_done done);
void keeper_signal(struct keeper *k, const struct keeper_signal *what, struct keeper_done done);
void keeper_stop(struct keeper *k, const struct keeper_stop *how, struct keeper_done done);
void keeper_pause(struct keeper *k, struct keeper_done done);
void keeper_resume(struct keeper *k, struct keeper_done done);
void keeper_update(struct keeper *k, const struct keeper_update *what, struct keeper_done done);
void keeper_forget(struct keeper *k); /* a keeper that waits for `go` leaves instead */
void keeper_descriptors(struct keeper *k,
			struct keeper_done done); /* answer: struct keeper_ready */

/*
 * The end of a killed keeper's container: kills every process of the cgroup named in
 * `run_dir`/record (nothing when the record is of another boot), removes the cgroup, writes
 * `container_dir`/exit.json with 137 "supervisor killed" unless a final record is there already,
 * and removes run_dir. Safe to repeat. ERR_BUSY when the keeper lives. May wait up to 2 s for the
 * processes' end: call it from a job.
 */
int keeper_bury(const char *run_dir, const char *container_dir, struct err *e) must_use;
