/*
 * Containers: the verbs of their life and what is known about them.
 *
 *	created --start--> running --exit--> exited --start--> running ...
 *	running --pause--> paused --unpause--> running
 *	exited --(restart policy)--> restarting --delay--> running
 *	created, exited --remove--> removing --> gone        (force: from any state, killed first)
 *
 * Exit codes: the process's own, 128+n for signal n, 137 "supervisor killed" when the keeper died,
 * 125/126/127 when it could not be started (start then fails with the reason, too).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/request.h"
#include "engine/stream.h"

/* -- making -------------------------------------------------------------------------------------
 */

/* id and warnings (NULL-terminated, may be NULL) are valid until it returns. */
typedef void engine_created(void *ctx, const char *id, char *const *warnings, const struct err *e);

/*
 * Creates a container: resolves the image (ERR_NOT_FOUND "no such image: x": the client pulls
 * then), merges the image's config, checks every option, writes the record. `r` is used before
 * returning only. ERR_EXISTS: the name is taken (Docker's 409 text). ERR_INVALID: an option is
 * wrong, named.
 */
void engine_create(struct user *u, const struct container_request *r, engine_created *done,
		   void *ctx);

/* -- life ---------------------------------------------------------------------------------------
 */

/*
 * Outcome of verbs that may find nothing to do: `unchanged` true is Docker's 304.
 */
typedef void engine_changed(void *ctx, bool unchanged, const struct err *e);

/*
 * Starts a created or exited container; done when its process runs. A failure carries the kind and
 * the exit code the client should show: see engine_start_exit_code().
 */
void engine_start(struct user *u, const char *ref, engine_changed *done, void *ctx);

/* signal: NULL the container's stop signal; timeout_s: -1 the container's own (10), 0 kill at once.
 */
struct stop_options {
	const char *signal;
	int timeout_s; /* -2: wait without end */
};
void engine_stop(struct user *u, const char *ref, const struct stop_options *o,
		 engine_changed *done, void *ctx);
void engine_restart(struct user *u, const char *ref, const struct stop_options *o,
		    engine_done *done, void *ctx);

/* signal: "KILL", "SIGTERM", "9"; NULL or "": KILL. ERR_CONFLICT when it does not run. */
void engine_kill(struct user *u, const char *ref, const char *signal, engine_done *done, void *ctx);
void engine_pause(struct user *u, const char *ref, engine_done *done, void *ctx);
void engine_unpause(struct user *u, const char *ref, engine_done *done, void *ctx);
void engine_rename(struct user *u, const char *ref, const char *name, engine_done *done, void *ctx);

/* Changes resources and restart policy: `body` as Docker's update; see request_update. */
void engine_update(struct user *u, const char *ref, const struct json *body, engine_done *done,
		   void *ctx);

struct remove_options {
	bool force;   /* kill it first */
	bool volumes; /* its anonymous volumes, too */
	bool link;    /* remove the link, not the container: unsupported */
};
void engine_remove(struct user *u, const char *ref, const struct remove_options *o,
		   engine_done *done, void *ctx);

/* -- waiting ------------------------------------------------------------------------------------
 */

enum wait_condition { WAIT_NOT_RUNNING, WAIT_NEXT_EXIT, WAIT_REMOVED };

/* "" and "not-running", "next-exit", "removed"; ERR_INVALID otherwise. */
int wait_condition_of(const char *text, enum wait_condition *ret, struct err *e) must_use;

/* error: why it could not be started or removed, NULL otherwise. */
typedef void engine_exited(void *ctx, int exit_code, const char *error);

/*
 * Registers a waiter; when this returns it is registered, so headers may be sent. done() comes
 * once, and never after wait_cancel (the client went away). The waiter frees itself with done().
 */
struct waiter;
int engine_wait(struct user *u, const char *ref, enum wait_condition condition, engine_exited *done,
		void *ctx, struct waiter **ret, struct err *e) must_use;
void wait_cancel(struct waiter *w);

/* -- streams ------------------------------------------------------------------------------------
 */

struct attach_options {
	bool stdin_, stdout_, stderr_;
	bool logs;		 /* first what was written so far */
	bool stream;		 /* then what comes */
	const char *detach_keys; /* "ctrl-p,ctrl-q"; NULL: the default; "": none */
};

/*
 * Asked before the API answers 101: whether the container can be attached to, and whether its
 * stream is a terminal (raw) or framed (Docker's 8-byte header). ERR_CONFLICT when paused.
 */
int engine_attach_check(struct user *u, const char *ref, bool *ret_tty, struct err *e) must_use;

/*
 * Gives the client's socket to the container (fd is consumed, in every case): its keeper reads and
 * writes it directly from now on, so the stream survives this daemon. A container that is
 * not started yet gets it with its start. `early` are bytes the client sent behind its request.
 * done() when the keeper has it (not when the stream ends).
 */
void engine_attach(struct user *u, const char *ref, const struct attach_options *o, int fd,
		   struct str early, engine_done *done, void *ctx);

void engine_resize(struct user *u, const char *ref, unsigned int rows, unsigned int columns,
		   engine_done *done, void *ctx);

struct log_options {
	bool stdout_, stderr_, follow;
	int64_t since_ns, until_ns; /* 0: none */
	int64_t tail;		    /* -1: all */
};

struct log_entry {
	int64_t time_ns;
	int stream; /* 1 stdout, 2 stderr */
	const char *p;
	size_t n; /* with its newline, if it had one; a part of a long line comes without */
};

/* line() answers 0 for more, 1 full: see engine/stream.h. The stream resumes and cancels the same
 * way. */
struct log_sink {
	int (*line)(void *ctx, const struct log_entry *l);
	void (*end)(void *ctx, const struct err *e);
	void *ctx;
};
int engine_logs(struct user *u, const char *ref, const struct log_options *o,
		const struct log_sink *sink, struct stream **ret, struct err *e) must_use;

/* -- looking inside ------------------------------------------------------------------------------
 */

/* One process per row; columns as ps names them. titles and rows are NULL-terminated lists. */
typedef void engine_topped(void *ctx, char *const *titles, char **const *rows, size_t rows_n,
			   const struct err *e);
void engine_top(struct user *u, const char *ref, engine_topped *done, void *ctx);

struct container_stats {
	const char *id, *name;
	int64_t read_ns, preread_ns; /* wall clock; preread 0: no earlier sample */
	uint64_t cpu_total_ns, cpu_user_ns, cpu_system_ns, system_cpu_ns;
	uint64_t precpu_total_ns, presystem_cpu_ns;
	uint64_t throttled_periods, periods, throttled_ns;
	uint32_t online_cpus;
	uint64_t memory_usage, memory_max, memory_limit, memory_failcnt;
	uint64_t memory_inactive_file, memory_anon, memory_file;
	uint64_t pids_current, pids_limit;
	uint64_t blkio_read_bytes, blkio_write_bytes, blkio_reads, blkio_writes;
	struct interface_stats {
		char name[16];
		uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
		uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
	} interfaces[8];
	size_t interfaces_n;
	bool cgroup_v2;
	bool running; /* false: all numbers are 0 */
};

/* stats() once (one_shot), or each second until cancelled or the container is removed (then end).
 */
struct stats_sink {
	void (*stats)(void *ctx, const struct container_stats *s);
	void (*end)(void *ctx, const struct err *e);
	void *ctx;
};
struct stats_options {
	bool stream;   /* every second */
	bool one_shot; /* without waiting a second for the earlier sample */
};
int engine_stats(struct user *u, const char *ref, const struct stats_options *o,
		 const struct stats_sink *sink, struct stream **ret, struct err *e) must_use;

/* What differs from the image: kind 0 modified, 1 added, 2 deleted (Docker's numbers). */
struct change {
	int kind;
	const char *path;
};
typedef void engine_changes_found(void *ctx, const struct change *c, size_t n, const struct err *e);
void engine_changes(struct user *u, const char *ref, engine_changes_found *done, void *ctx);

struct path_stat {
	const char *name;
	int64_t size;
	uint32_t mode; /* Go's FileMode bits, as Docker's header wants them */
	int64_t mtime_ns;
	const char *link_target; /* "" unless a symbolic link */
};
typedef void engine_stat_found(void *ctx, const struct path_stat *s, const struct err *e);

/* docker cp. get: stat() first (and only) on success, then the tar through the sink. */
void engine_archive_stat(struct user *u, const char *ref, const char *path, engine_stat_found *done,
			 void *ctx);
struct stream *engine_archive_get(struct user *u, const char *ref, const char *path,
				  engine_stat_found *stat, const struct sink *sink);
struct archive_put_options {
	bool no_overwrite_dir_non_dir;
	bool copy_uid_gid;
};
struct feed *engine_archive_put(struct user *u, const char *ref, const char *path,
				const struct archive_put_options *o, engine_done *done, void *ctx);
struct stream *engine_export(struct user *u, const char *ref, const struct sink *sink);

struct commit_options {
	const char *reference; /* "repo:tag" or NULL */
	const char *author, *comment;
	bool pause;
	const struct json *config; /* Config members that replace the container's; NULL: none */
	char *const *changes;	   /* Dockerfile lines: CMD, ENV, LABEL, ... */
};
typedef void engine_committed(void *ctx, const char *image_id, const struct err *e);
void engine_commit(struct user *u, const char *ref, const struct commit_options *o,
		   engine_committed *done, void *ctx);

/* -- what is known --------------------------------------------------------------------------------
 */

enum workload_state {
	WORKLOAD_CREATED,
	WORKLOAD_RUNNING,
	WORKLOAD_PAUSED,
	WORKLOAD_RESTARTING,
	WORKLOAD_REMOVING,
	WORKLOAD_EXITED,
	WORKLOAD_DEAD, /* its removal failed */
	WORKLOAD_STATES
};
const char *workload_state_name(enum workload_state s); /* "running" */

struct health_result {
	int64_t start_ns, end_ns;
	int exit_code;
	const char *output;
};

struct health_view {
	const char *status; /* "starting", "healthy", "unhealthy" */
	int failing_streak;
	const struct health_result *log; /* newest last, at most 5 */
	size_t log_n;
};

struct endpoint_view {
	const char *network_name, *network_id, *endpoint_id;
	const char *ipv4, *gateway4, *ipv6, *gateway6, *mac; /* "" when not connected now */
	int prefix4, prefix6;
	char *const *aliases, *const *links, *const *dns_names;
	const struct endpoint_request *request; /* what was asked */
};

struct port_view {
	uint16_t container_port;
	const char *protocol; /* "tcp", "udp", "sctp" */
	const char *host_ip;  /* "" and host_port 0: exposed only */
	uint16_t host_port;
};

struct mount_view {
	const char *type, *name, *source, *destination, *driver, *mode, *propagation;
	bool writable;
};

struct container_view {
	const char *id, *name; /* name without the slash */
	enum owner owner;
	int64_t created_ns;
	const char *path; /* argv[0] and the rest */
	char *const *args;
	enum workload_state state;
	bool oom_killed;
	int pid; /* 0 unless running */
	int exit_code;
	const char *error;		 /* "" */
	int64_t started_ns, finished_ns; /* 0: never */
	int restart_count;
	const struct health_view *health; /* NULL: none */
	const char *image_id;		  /* "sha256:..." */
	const char *image_ref;		  /* as asked */
	const char *platform;
	const char *resolv_conf_path, *hostname_path, *hosts_path, *log_path;
	const char *upper_dir, *work_dir, *lower_dirs; /* of its overlay */
	char *const *exec_ids;
	const struct container_config *config; /* merged with the image's */
	const struct host_config *host;
	const struct endpoint_view *endpoints;
	size_t endpoints_n;
	const struct port_view *ports;
	size_t ports_n;
	const struct mount_view *mounts;
	size_t mounts_n;
	const char *sandbox_key; /* path of its network namespace, "" */
};

/* Everything about one container; lives in the arena. */
int engine_inspect(struct user *u, const char *ref, struct arena *a, struct container_view **ret,
		   struct err *e) must_use;

/* The full id, name and terminal flag only: what most routes need. */
int engine_find(struct user *u, const char *ref, char ret_id[ENGINE_ID_HEX + 1],
		struct err *e) must_use;

struct container_sizes {
	int64_t rw_bytes, root_bytes;
};
typedef void engine_sized(void *ctx, const struct container_sizes *s, const struct err *e);
void engine_sizes(struct user *u, const char *ref, engine_sized *done, void *ctx);

/*
 * Filters, as Docker's JSON decodes: a list of keys with values. Known for containers: id name
 * label label! status ancestor before since exited health network volume publish expose is-task.
 * ERR_INVALID names an unknown key or a wrong value.
 */
struct filter {
	const char *key;
	char *const *values; /* NULL-terminated, any of them matches (label: all) */
};
struct filters {
	const struct filter *list;
	size_t n;
};
/* Reads {"status":["running"]} or {"status":{"running":true}}; NULL or "" text: none. */
int filters_read(struct str text, struct arena *a, struct filters *ret, struct err *e) must_use;

struct list_options {
	bool all;  /* stopped ones, too */
	int limit; /* newest n; 0: no limit */
	struct filters filters;
};
/* Newest first. */
int engine_list(struct user *u, const struct list_options *o, struct arena *a,
		struct container_view ***ret, size_t *ret_n, struct err *e) must_use;

/* Removes what is stopped and matches (until, label, label!). */
typedef void engine_pruned(void *ctx, char *const *removed, int64_t freed_bytes,
			   const struct err *e);
void engine_prune(struct user *u, const struct filters *f, engine_pruned *done, void *ctx);
