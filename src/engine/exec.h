/*
 * Exec: another process in a running container. An exec is created, started once, and remembered
 * until its container stops (its exit code is asked for afterwards).
 */
#pragma once

#include "engine/workload.h"

struct exec_request {
	char **cmd, **env;
	char *user, *working_dir, *detach_keys;
	bool tty, privileged;
	bool attach_stdin, attach_stdout, attach_stderr;
	unsigned int rows, columns; /* 0: unset */
};

/* POST /containers/ID/exec's body. */
int exec_request_read(const struct json *body, struct arena *a, struct exec_request *ret,
		      struct err *e) must_use;

/* ret_id is the exec's id. ERR_CONFLICT: the container is not running or is paused. */
int engine_exec_create(struct user *u, const char *ref, const struct exec_request *r,
		       char ret_id[ENGINE_ID_HEX + 1], struct err *e) must_use;

/* Asked before the 101: ERR_NOT_FOUND, ERR_CONFLICT (it ran already, its container stopped). */
int engine_exec_check(struct user *u, const char *exec_id, bool *ret_tty, struct err *e) must_use;

/*
 * Starts it. fd >= 0: the client's socket, consumed; its streams go there. fd -1: detached.
 * done() when the process runs or could not be started; the reason is then written into the stream,
 * too, and the exec's exit code is 126 or 127.
 */
struct exec_start_options {
	bool tty; /* must agree with the request's */
	unsigned int rows, columns;
};
void engine_exec_start(struct user *u, const char *exec_id, const struct exec_start_options *o,
		       int fd, struct str early, engine_done *done, void *ctx);
void engine_exec_resize(struct user *u, const char *exec_id, unsigned int rows,
			unsigned int columns, engine_done *done, void *ctx);

struct exec_view {
	const char *id, *container_id;
	bool running, started;
	int exit_code; /* valid when started and not running */
	int pid;
	const struct exec_request *request;
};
int engine_exec_inspect(struct user *u, const char *exec_id, struct arena *a,
			struct exec_view **ret, struct err *e) must_use;
