/*
 * A container: the processes, root and cgroup made from an OCI configuration. The door of the room.
 *
 * States and edges (what is true where):
 *
 *	(nothing) -- container_create --> created -- container_start --> running --> ended
 *	                                     |                              |
 *	                                     +------- container_kill -------+--> container_delete
 *
 *	created: namespaces, root and cgroup are complete and the first process waits at its gate;
 *	         the program was looked up already: container_create tells most mistakes
 *	running: the gate has opened and exec succeeded; container_start tells when it did not
 *	ended:   the caller has waited for the first process (its pidfd); container_delete
 *	         removes what is left
 *
 * Owner: struct container belongs to its caller; container_done closes descriptors and frees, it
 * kills nothing. Single-threaded callers only (clone, and helper children that allocate). With
 * `apart` the configuration is read and everything is prepared in a forked child, so that a small
 * supervisor stays small; the first process becomes the caller's child all the same (the caller is
 * made a subreaper).
 *
 * Errors come from wherever they happened, the container's own process included. The kind decides
 * the exit code: container_exit_code() maps it (127 program not found, 126 found but cannot be
 * executed).
 *
 *	struct container_order o = CONTAINER_ORDER_INIT;
 *	struct container c = CONTAINER_INIT;
 *	o.id = "x", o.bundle = "/b", o.stdio[1] = pipe_write_end;
 *	if (container_create(&o, &c, &e) < 0 || container_start(&c, &e) < 0)
 *		return container_exit_code(&e);
 *	... wait for c.pidfd, waitid(P_PIDFD) ...
 *	container_delete(&c, 2000, &e);
 *	container_done(&c);
 *
 * Land registry of this room: container_ (here) spec_ (spec.h) resources_ (resources.h) hook_
 * (hook.h) state_ (state.h) user_ (user.h) explain_ (explain.h); the rest is private.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"

struct cgroup;
struct container;
struct spec;
struct spec_process;

/* A root made of layers, mounted in the container's own mount namespace, never in the host's. */
struct container_overlay {
	char *const *lower;	  /* directories, topmost first, NULL-terminated; at least one */
	const char *upper, *work; /* NULL: no writable layer (the root is read-only then) */
	bool readonly;
};

/* One more mount, from a descriptor or a host path; made after the configuration's mounts. */
struct container_bind {
	int fd;		    /* a detached mount (open_tree), used up by the call; -1: source */
	const char *source; /* a host path */
	const char *target; /* absolute inside; made when it is missing */
	bool readonly;
};

#define CONTAINER_PRESERVE_MAX 256 /* descriptors handed on beside stdio */

/* What to make. All pointers are borrowed for the call. -1 is "none" for every descriptor. */
struct container_order {
	const char *id;
	const char *bundle; /* absolute; relative root paths start here */
	const char *config; /* the OCI configuration; NULL: <bundle>/config.json */
	/* Root: overlay, else root_path, else the configuration's root.path. */
	const struct container_overlay *overlay;
	const char *root_path;
	const struct container_bind *binds;
	size_t binds_n;
	char *const *prefix_args; /* put in front of process.args (an init); NULL: none */
	const char *user;	  /* "name|uid[:group|gid]", looked up in the container's own
				     /etc/passwd and group; replaces process.user; NULL: keep */
	int netns_fd;		  /* joined instead of what the configuration says of the network */
	int stdio[3];	    /* 0, 1, 2; -1: the caller's own. With a terminal they are not used */
	bool want_console;  /* with process.terminal: the pty's master comes back in .console */
	int console_socket; /* with process.terminal: the master is sent here instead */
	int gate_listen;    /* a listening unix socket: who connects there starts the container, see
			       container_start_at; -1: container_start on the struct itself */
	const char *cgroup_path; /* replaces linux.cgroupsPath; NULL: keep */
	bool cgroup_systemd;	 /* read the path as "slice:prefix:name" */
	bool cgroup_disabled;
	const char *seccomp_dir; /* cache of compiled filters; NULL: none */
	bool no_pivot;		 /* move the root over / instead of pivot_root (initramfs) */
	bool no_new_keyring;
	unsigned int preserve_fds; /* descriptors 3 .. 3 + n - 1 stay open */
	bool start;		   /* go through the gate at once: create and start in one step */
	bool apart;		   /* prepare in a forked child, see above */
	/* Called after decoding, in the child when apart: may change the configuration in place. */
	int (*adjust)(void *ctx, struct spec *s, struct arena *a, struct err *e);
	void *adjust_ctx;
	/* Called when the process and its cgroup exist, before it is done with its root; a failure
	 * undoes all. Never called when apart. */
	int (*made)(void *ctx, const struct container *c, struct err *e);
	void *made_ctx;
};

#define CONTAINER_ORDER_INIT                                                                   \
	{                                                                                      \
		.netns_fd = -1, .stdio = {-1, -1, -1}, .console_socket = -1, .gate_listen = -1 \
	}

/* A process that was made here: a container's first, or an exec's. */
struct container {
	pid_t pid;
	int pidfd;
	uint64_t start_time;   /* of pid, in clock ticks since boot */
	int gate;	       /* created and not started yet; else -1 */
	int console;	       /* the pty's master, else -1; the caller may take it with take_fd */
	struct cgroup *cgroup; /* never NULL after container_create; NULL for an exec */
};

#define CONTAINER_INIT                                            \
	{                                                         \
		.pid = -1, .pidfd = -1, .gate = -1, .console = -1 \
	}

/* Makes everything; on failure nothing is left behind. The first process waits unless o->start. */
int container_create(const struct container_order *o, struct container *ret,
		     struct err *e) must_use;

/* Opens the gate and waits until the program runs or has failed to (then the process is gone). */
int container_start(struct container *c, struct err *e) must_use;

/* The same for a container created with gate_listen: `path` is the socket's. */
int container_start_at(int dirfd, const char *path, struct err *e) must_use;

void container_done(struct container *c); /* closes and frees; c is CONTAINER_INIT after */

/* One more process in a running container. */
struct container_exec_order {
	pid_t pid;		/* the container's first process */
	uint64_t start_time;	/* of pid: checked, pids are reused */
	const char *config;	/* the container's configuration: seccomp, defaults */
	struct cgroup *cgroup;	/* joined; NULL: none */
	const char *cgroup_sub; /* a sub-cgroup of it; NULL: itself */
	const struct spec_process
		*process;	/* whole; NULL: the configuration's with the fields below */
	char **args;		/* NULL: the configuration's */
	char **env;		/* NAME=VALUE, added to the configuration's */
	const char *cwd;	/* NULL: the configuration's */
	const char *user;	/* as in container_order */
	bool terminal;		/* used without `process`; with it, process->terminal */
	bool privileged;	/* every capability */
	uint32_t rows, columns; /* of the terminal; 0: the kernel's choice */
	int stdio[3];
	bool want_console;
	int console_socket;
	const char *seccomp_dir;
	unsigned int preserve_fds;
	bool no_new_keyring;
	int (*adjust)(void *ctx, struct spec_process *p, struct arena *a, struct err *e);
	void *adjust_ctx;
};

#define CONTAINER_EXEC_INIT                                 \
	{                                                   \
		.stdio = {-1, -1, -1}, .console_socket = -1 \
	}

/* Runs it; returns when the program runs. The process is the caller's child. */
int container_exec(const struct container_exec_order *o, struct container *ret,
		   struct err *e) must_use;

/* Sends a signal to the first process, or to every process of the cgroup. */
int container_kill(struct container *c, int sig, bool all, struct err *e) must_use;
int container_pause(struct container *c, struct err *e) must_use;
int container_resume(struct container *c, struct err *e) must_use;

/* Kills what is left in the cgroup and removes it. The first process must have been waited for. */
int container_delete(struct container *c, int timeout_ms, struct err *e) must_use;

/* What a shell expects of a failed start: 127 not found, 126 cannot be executed, else 125. */
int container_exit_code(const struct err *e);
