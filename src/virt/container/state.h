/*
 * State: what is known of a container from outside its process. Two forms: the OCI state that
 * hooks, seccomp agents and `state` show, and the record on disk by which later commands find the
 * container.
 *
 *	<root>/<id>/state.json	the record, replaced atomically
 *	<root>/<id>/start	the gate's socket, until started
 *
 * A record names its process by pid, start time and boot id: whether it lives is asked of the
 * kernel each time, never stored.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "ground/base/arena.h"
#include "ground/format/json.h"
#include "ground/linux/process.h"

#define STATE_SIZE_MAX (1u << 20)
#define STATE_ID_MAX   1024

struct state {
	char *id;
	const char *status; /* not stored: state_status() */
	int64_t pid;
	uint64_t start_time;
	char *boot_id;
	char *bundle, *rootfs, *config;
	char *created; /* RFC 3339 */
	int64_t created_ns;
	char *owner;
	char *cgroup; /* as cgroup_save writes it */
	bool systemd_cgroup;
	bool terminal;
	struct json_pair *annotations;
};

/* Ids name directories: [A-Za-z0-9_+-][A-Za-z0-9_+.-]*, at most STATE_ID_MAX. */
int state_check_id(const char *id, struct err *e) must_use;

/* The OCI state as one line of JSON; the caller frees it. pid is left out where it is 0. */
char *state_oci_text(const struct state *s);
/* The same as a tree, with runc's additions (rootfs, created, owner) where they are set. */
struct json *state_oci(const struct state *s);

/* Below dirfd, the container's own directory. state_read decodes into the arena. */
int state_write(int dirfd, const struct state *s, struct err *e) must_use;
int state_read(int dirfd, struct arena *a, struct state *ret, struct err *e) must_use;

/* "creating" "created" "running" "paused" or "stopped"; `gate` says that its socket still exists.
 */
const char *state_status(const struct state *s, bool gate, bool frozen);
