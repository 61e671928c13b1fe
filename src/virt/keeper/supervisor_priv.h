/*
 * What the parts of a keeper share. Not for other rooms.
 *
 *	PREPARING   orders taken, network made, nothing runs          -- go --> CREATING
 *	CREATING    a maker is at work (s->making)                    -- done --> RUNNING
 *	                                                              -- failed --> ENDED
 *	RUNNING     init_pid lives, io is live                        -- pause --> PAUSED
 *	            its end: kill the cgroup, read the streams        -- policy --> RESTARTING
 *	            out, record, tell                                 -- else --> ENDED
 *	PAUSED      as RUNNING, frozen                                -- resume --> RUNNING
 *	RESTARTING  nothing runs, restart_timer is set                -- due --> CREATING
 *	                                                              -- stop --> ENDED
 *	ENDED       recorded and told; stays until clients have drained, then the loop stops
 *
 * Files: supervisor.c (birth), life.c (the edges above), execs.c (execs and health probes), news.c
 * (the connection), requests.c (what hulld asks).
 */
#pragma once

#include "ground/linux/cgroup.h"
#include "ground/linux/netns.h"
#include "virt/keeper/health.h"
#include "virt/keeper/log_file.h"
#include "virt/keeper/maker.h"
#include "virt/keeper/protocol.h"
#include "virt/keeper/restart.h"
#include "virt/keeper/streams.h"
#include "virt/keeper/turn.h"

#define ORPHANS_MAX 64

/* A message that waits for its reader. */
struct news_item {
	struct list link;
	bool event; /* kept for the next hulld; answers are for this one only */
	size_t n;
	char bytes[];
};

struct news {
	struct turn_watch link;	  /* to hulld; fd -1: nobody is there */
	struct turn_watch listen; /* <run>/keeper/ID/sock */
	struct list items;
	size_t items_n;
	int64_t lost;
};

/* A child that ended before anybody knew its pid: a maker's answer may still name it. */
struct orphan {
	pid_t pid;
	int status;
};

struct supervisor;

struct exec {
	uint32_t magic;
	struct list link;
	struct supervisor *owner;
	struct arena arena;
	struct keeper_exec order;
	struct streams io;
	uint32_t serial; /* of the request */
	int child_ends[3];
	struct maker *making;
	pid_t pid; /* 0: not yet */
	int pidfd;
	bool ended, told;
	uint32_t exit_code;
	int64_t finished_at_ns;
	/* A health probe has no client and no news of its own. */
	bool probe, timed_out;
	struct strbuf output;
	int64_t probe_began_ns, probe_began_wall_ns;
	struct turn_timer timer; /* of a probe that takes too long; then of the burial */
};

struct supervisor {
	uint32_t magic;
	struct turn turn;
	const struct world *world;
	struct arena arena; /* of the orders */
	struct keeper_orders orders;
	enum keeper_phase phase;
	struct news news;
	struct netns_sockets net;
	int netns_fd; /* what the container joins, -1: as the configuration says */
	char boot_id[37];
	uint64_t own_start_time;

	/* One run. */
	struct streams io;
	struct log_file *log;
	int child_ends[3]; /* given to the maker */
	struct maker *making;
	pid_t init_pid; /* 0: none */
	int init_pidfd;
	uint64_t init_start_time;
	int64_t started_at_ns, started_monotonic_ns;
	char *cgroup_text;
	struct cgroup *cgroup;
	struct turn_watch oom;
	uint64_t oom_kills; /* told so far in this run */
	int wait_status;

	struct restart restart;
	struct turn_timer restart_timer, stop_timer;
	bool stop_asked;
	bool has_died;
	struct keeper_died died; /* its sentence is `sentence` */
	char *sentence;
	bool has_fault;
	struct keeper_fault fault; /* its text is `fault_text` */
	char *fault_text;

	struct list execs;
	char *exec_ends[KEEPER_EXEC_ENDS + 1]; /* "ID CODE", oldest first, NULL behind the last */
	struct orphan orphans[ORPHANS_MAX];
	size_t orphans_n;

	struct health health;
	struct turn_timer health_timer;
	struct exec *probe;
};

struct supervisor *as_supervisor(void *p);
void supervisor_record(struct supervisor *s); /* writes <run>/keeper/ID/record */
/* Stops the loop when nothing is left to do. */
void supervisor_leave_if_done(struct supervisor *s);
/* Remembers a child's end for a maker that will name it; takes it back: true and the status. */
void orphan_keep(struct supervisor *s, pid_t pid, int status);
bool orphan_take(struct supervisor *s, pid_t pid, int *ret_status);
uint32_t status_code(int status); /* 128 + signal for a signal */

/* life.c */
void life_create(struct supervisor *s);
void life_child_ended(struct supervisor *s, int status);
void life_stop(struct supervisor *s, const struct keeper_stop *how);
void life_restart_due(void *ctx);
void life_stop_due(void *ctx);
void life_streams_ended(void *ctx);
void life_abandon(struct supervisor *s);
int life_signal(struct supervisor *s, int sig, struct err *e) must_use;

/* execs.c */
int exec_start(struct supervisor *s, struct str body, uint32_t serial, int client_fd,
	       struct err *e) must_use;
bool exec_child_ended(struct supervisor *s, pid_t pid, int status);
struct exec *exec_find(struct supervisor *s, const char *id);
void exec_end_all(struct supervisor *s); /* the container has ended */
void exec_probe(void *ctx);

/* news.c */
int news_open(struct supervisor *s, int sock, struct err *e) must_use;
void news_close(struct supervisor *s);
void news_event(struct supervisor *s, enum keeper_type type, const void *in);
void news_answer(struct supervisor *s, enum keeper_type type, uint32_t serial, const void *in,
		 const int *fds, size_t fds_n);
void news_ok(struct supervisor *s, uint32_t serial);
void news_fault(struct supervisor *s, uint32_t serial, const struct err *e, int exit_code);

/* requests.c */
void request_handle(struct supervisor *s, struct str packet, int *fds, size_t fds_n);
