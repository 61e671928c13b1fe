/*
 * The loop: the one place where a process waits. Timers, descriptors, deferred and cross-thread
 * calls, jobs on a thread pool, child processes and signals, all delivered as callbacks on the
 * loop's thread.
 *
 * A turn is: due timers, ready descriptors and finished jobs, then everything deferred, then the
 * turn-end hooks (where writes of one turn are committed together), then sleep. A loop with nothing
 * to do sleeps in the kernel without time limit. Callbacks never re-enter their caller: completion
 * is deferred. Everything is for the loop's thread, except loop_post().
 *
 * Objects are owned by their maker and are freed from any callback, also from their own. A callback
 * is never called after its object was freed. `arg` must outlive the object.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/err.h"

struct loop;
struct loop_timer;
struct loop_watch;
struct loop_process;
struct loop_signal;

typedef void loop_fn(void *arg);

/* Also makes the process ignore SIGPIPE (loop_spawn gives children the default back). */
int loop_new(struct loop **ret, struct err *e) must_use;
struct loop *loop_free(struct loop *l); /* waits for running jobs; returns NULL */

void loop_run(struct loop *l);	/* until loop_stop() */
void loop_stop(struct loop *l); /* the turn under way is completed, turn-end hooks included */
int64_t loop_now_ms(const struct loop *l); /* monotonic, as of this turn's start */

/* How often a callback held the loop for more than 1 ms, and the longest hold, since birth. */
struct loop_stats {
	uint64_t turns, slow;
	int64_t longest_us;
};
struct loop_stats loop_stats(const struct loop *l);

/*
 * Calls fn(arg) in this turn, after the callback that is running, in the order asked for.
 * loop_defer_cancel forgets all calls of fn with arg that did not happen yet.
 */
void loop_defer(struct loop *l, loop_fn *fn, void *arg);
void loop_defer_cancel(struct loop *l, loop_fn *fn, void *arg);

/* From any thread: fn(arg) is called on the loop's thread soon, in order of posting. */
void loop_post(struct loop *l, loop_fn *fn, void *arg);
/* On the loop's thread: forgets all posts of fn with arg that were not called yet. */
void loop_post_cancel(struct loop *l, loop_fn *fn, void *arg);

/*
 * Calls fn(arg) once at the end of each turn, after all deferred calls, before sleeping; what it
 * defers is still called before the sleep. Taken back by _cancel, not from inside a hook.
 */
void loop_turn_end(struct loop *l, loop_fn *fn, void *arg);
void loop_turn_end_cancel(struct loop *l, loop_fn *fn, void *arg);

/* Runs work(arg) on a pool thread, then done(arg) on the loop. Jobs run side by side, up to the
 * pool's size (4, or UV_THREADPOOL_SIZE); work shares nothing with the loop but what arg hands
 * over. */
void loop_job(struct loop *l, loop_fn *work, loop_fn *done, void *arg);

/* A timer, born unset. repeat_ms 0: once. Setting a set timer moves it. */
struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg);
void loop_timer_set(struct loop_timer *t, int64_t delay_ms, int64_t repeat_ms);
void loop_timer_unset(struct loop_timer *t);
struct loop_timer *loop_timer_free(struct loop_timer *t); /* returns NULL */

/*
 * Watches a pollable descriptor (socket, pipe, pidfd, eventfd, inotify, epoll), level-triggered.
 * The descriptor stays the caller's, is made non-blocking, may have one watch at a time per loop,
 * and is closed only after its watch was freed. Wanting nothing (0) rests the watch. LOOP_HUP: the
 * peer closed, at least its sending side. LOOP_ERROR is told unasked, and unsets the watch.
 */
enum loop_ready { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HUP = 4, LOOP_ERROR = 8 };
typedef void loop_watch_fn(void *arg, unsigned ready);

int loop_watch_new(struct loop *l, int fd, unsigned want, loop_watch_fn *fn, void *arg,
		   struct loop_watch **ret, struct err *e) must_use;
void loop_watch_want(struct loop_watch *w, unsigned want);
struct loop_watch *loop_watch_free(struct loop_watch *w); /* returns NULL */

/*
 * Spawns a program. The child shares the parent's memory until it executes (posix_spawn), so a big
 * daemon pays no more than a small one. fds[i] becomes descriptor i of the child, -1 becomes
 * /dev/null; nothing else is inherited. Signal mask and dispositions are the defaults. The caller's
 * descriptors stay the caller's. `exited` is called once, on the loop, with an exit code or a
 * signal.
 */
#define LOOP_SPAWN_FDS_MAX 32

struct loop_exit {
	int code;   /* exit code, -1 when killed by a signal */
	int signal; /* 0, or what killed it */
};

struct loop_spawn_options {
	const char *program; /* a path; there is no search */
	char *const *argv;   /* NULL-terminated */
	char *const *envp;   /* NULL-terminated; NULL: empty */
	const int *fds;
	size_t fds_n;	  /* below 3: 0 to 2 are /dev/null */
	const char *cwd;  /* NULL: "/" */
	bool new_session; /* setsid: outlives the terminal's hang-up */
	void (*exited)(void *arg, struct loop_exit how); /* NULL: nobody asks */
	void *arg;
};

/* ret may be NULL: the process is forgotten by itself once `exited` was called. */
int loop_spawn(struct loop *l, const struct loop_spawn_options *o, struct loop_process **ret,
	       struct err *e) must_use;
pid_t loop_process_pid(const struct loop_process *p);
int loop_process_fd(const struct loop_process *p); /* its pidfd, borrowed */
int loop_process_kill(struct loop_process *p, int sig, struct err *e) must_use;
/* Forgets the process: it goes on, and is still reaped when it ends. Also after it ended. NULL. */
struct loop_process *loop_process_free(struct loop_process *p);

/* fn(arg) on each arrival of the signal (SIGTERM, SIGINT, SIGHUP ...; not SIGCHLD). */
int loop_signal_new(struct loop *l, int sig, loop_fn *fn, void *arg, struct loop_signal **ret,
		    struct err *e) must_use;
struct loop_signal *loop_signal_free(struct loop_signal *s); /* returns NULL */
