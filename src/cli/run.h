/*
 * Containers made and entered from the command line: run, exec, attach, and the options that they
 * share with create.
 */
#pragma once

#include "cli/cli.h"
#include "ground/format/json.h"

struct run_options {
	bool detach, interactive, tty, remove, init, privileged, read_only, no_healthcheck,
		publish_all, quiet;
	const char *name, *workdir, *user, *network, *hostname, *entrypoint, *restart, *cpus,
		*cpuset, *ip, *stop_signal, *health_cmd, *pull, *platform, *runtime, *pid, *ipc,
		*log_driver;
	char **env, **env_file, **volume, **tmpfs, **publish, **expose, **cap_add, **cap_drop,
		**security_opt, **ulimit, **label, **add_host, **dns, **network_alias, **log_opt,
		**group_add, **device, **sysctl;
	int64_t memory, memory_swap, memory_reservation, pids_limit, cpu_shares, stop_timeout,
		shm_size, health_interval, health_timeout, health_retries;
};

extern const struct option_table run_table;

int run_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
/* Creates from a body, pulling `image` (NULL: none) where it is missing and that is wanted. */
struct create_how {
	const char *image, *name, *platform, *pull;
	bool quiet;
};
int run_create(const struct context *c, const struct create_how *how, const struct json *body,
	       char **ret_id, struct err *e) must_use;
/* Starts; positive: the exit code of a start that failed, which was said already. */
int run_start(const struct context *c, const char *id, bool removed, struct err *e) must_use;
int create_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);

struct exec_options {
	bool detach, interactive, tty, privileged;
	const char *workdir, *user;
	char **env;
};

int exec_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);

struct attach_options {
	bool no_stdin;
};

int attach_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);

/* `hull start -a` shares run's attached part: starts `name` and returns its exit code. */
struct attach_how {
	bool interactive, tty, removed;
	const char *keys; /* that leave it, as in "ctrl-]"; NULL: ctrl-p,ctrl-q */
};
int run_attached(const struct context *c, const char *name, const struct attach_how *how,
		 struct err *e) must_use;
