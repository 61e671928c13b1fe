/*
 * What a keeper leaves on disk.
 *
 * `<run>/keeper/ID/record`: who supervises what, while it runs. JSON, replaced whole (temporary
 * file and rename), so that a reader sees the old or the new one. Not synced: /run does not survive
 * a boot usefully, and the boot id tells when it did.
 *
 * `<container>/exit.json`: how the container's latest run ended. Written durably (fsync of file and
 * directory) before anybody is told; removed by nobody: `started_at` tells which run it is of.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/keeper/protocol.h"

#define RECORD_BYTES_MAX 65536

struct keeper_record {
	uint32_t version; /* KEEPER_PROTOCOL_VERSION */
	char *id;
	char *boot_id;	    /* /proc/sys/kernel/random/boot_id */
	int64_t pid;	    /* the keeper's */
	int64_t start_time; /* its, clock ticks since boot */
	int64_t init_pid;   /* the container's first process, 0: none */
	int64_t init_start_time;
	int64_t started_at_ns;
	uint32_t restart_count;
	char *cgroup_path;
	char *cgroup_dirs; /* the directories themselves, as cgroup_save() says them; NULL: none yet
			    */
	char *container_dir;
	char *phase; /* "preparing" "creating" "running" "paused" "restarting" "ended" */
};

struct exit_record {
	uint32_t version;
	char *id;
	int64_t pid;
	uint32_t exit_code;
	uint32_t signal;
	bool oom_killed;
	bool stopped;	 /* asked for: the restart policy does not apply */
	bool restarting; /* not final: the keeper was about to start it again */
	bool supervisor_killed;
	int64_t started_at_ns, finished_at_ns;
	uint32_t restart_count;
	char *sentence; /* or NULL */
};

/* Reading; texts live in the arena. ERR_NOT_FOUND when there is none, ERR_INVALID when it is torn.
 */
int keeper_record_read(const char *run_dir, struct arena *a, struct keeper_record *ret,
		       struct err *e) must_use;
int exit_record_read(const char *container_dir, struct arena *a, struct exit_record *ret,
		     struct err *e) must_use;

/* Writing: atomic; the exit record is durable when this returns. */
int keeper_record_write(const char *run_dir, const struct keeper_record *r, struct err *e) must_use;
int exit_record_write(const char *container_dir, const struct exit_record *r,
		      struct err *e) must_use;

/* True when the recorded keeper process is alive: same boot, same pid, same start time. */
bool keeper_record_lives(const struct keeper_record *r);
