/*
 * Private to hull-oci: the global options, the verbs, and the records under --root that they share.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/base/options.h"
#include "virt/container/container.h"
#include "virt/container/state.h"

struct oci {
	const char *root;
	const char *log, *log_format, *log_level;
	bool debug, version, help, systemd_cgroup;
	const char *rootless, *cgroup_manager, *criu;
	struct arena arena; /* for everything that lives as long as the command */
};

/* A verb gets its own argv (argv[0] is its name) and returns the program's exit code, or a negative
 * kind. */
typedef int verb_fn(struct oci *o, int argc, char **argv, struct err *e);

verb_fn verb_create, verb_run, verb_start;		 /* run.c */
verb_fn verb_exec;					 /* exec.c */
verb_fn verb_state, verb_list, verb_ps;			 /* query.c */
verb_fn verb_kill, verb_delete, verb_pause, verb_resume; /* control.c */
verb_fn verb_update, verb_events;			 /* update.c, events.c */
verb_fn verb_spec, verb_features;			 /* spec.c, features.c */

/* Exactly one operand, the container's id, is at argv[first]. */
int oci_one_id(int argc, char **argv, int first, const char **ret, struct err *e) must_use;

/* record.c: a container's directory and what is in it. */
struct record {
	const char *id;
	int dir; /* -1: not open */
	struct state state;
	struct cgroup *cgroup;
	bool gate; /* not started yet */
	const char *status;
};

#define RECORD_INIT                     \
	{                               \
		.dir = -1, .status = "" \
	}

void record_done(struct record *r);
/* Makes <root>/<id>; ERR_EXISTS when it is there. */
int record_make(struct oci *o, const char *id, int *ret_dir, struct err *e) must_use;
/* Opens and reads; ERR_NOT_FOUND when there is no such container. */
int record_open(struct oci *o, const char *id, struct record *ret, struct err *e) must_use;
/* Removes the directory of a record, whatever is in it. */
int record_remove(struct oci *o, const char *id, struct err *e) must_use;
/* Every id under the root, NULL-terminated, sorted; in the arena. */
int record_ids(struct oci *o, char ***ret, struct err *e) must_use;
/* Runs hooks of one moment for the container of this record ("poststart", "poststop"). */
int record_hooks(struct oci *o, const struct record *r, const char *moment, struct err *e) must_use;
#define auto_record __attribute__((cleanup(record_done)))

/* process.c: what create, run and exec share of their processes. */
int write_pid_file(const char *path, pid_t pid, struct err *e) must_use;
int send_pidfd(const char *socket_path, int pidfd, struct err *e) must_use;
int connect_console(const char *path, int *ret, struct err *e) must_use;
/* LISTEN_FDS of a service manager adds to --preserve-fds. */
unsigned int listen_fds(void);
/* Waits for the end, passing signals (and, with a master, the terminal) on; the exit code. */
int supervise(const struct container *c, int master, struct err *e) must_use;
