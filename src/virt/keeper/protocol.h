/*
 * The keeper's protocol: what hulld and a keeper say to each other, as structs.
 *
 * Transport: a SOCK_SEQPACKET unix socket; one packet is one message with up to KEEPER_FDS_MAX
 * descriptors. The first connection is a socketpair given at birth; later ones come through
 * <run>/keeper/ID/sock (mode 0600; a keeper accepts root and its own user only) and begin with the
 * keeper's `state`. One connection is served at a time: a newer one replaces the older.
 *
 * A packet is "HK", version u16, type u16, serial u32, then fields of tag u16, length u32, bytes
 * (little endian). Unknown tags and types are skipped, absent fields are zero: one release back and
 * one ahead understand each other. message.h does the packing; the tables stand in protocol.c.
 *
 * Requests carry a serial that their answer repeats; events have serial 0. Text fields are owned by
 * the arena they were decoded into, or by the sender.
 *
 *	hulld                                  keeper
 *	orders [joined netns]           -->    checks, makes the network namespace
 *	                                <--    ready [netns, route, netfilter, dns udp, dns tcp]
 *	plugs the network; attach [client socket] ...
 *	go                              -->    creates and starts the container
 *	                                <--    started | failed (and the keeper ends)
 *	exec attach resize signal stop pause resume update descriptors
 *	                                <--    ok | fault, and events: died health exec_died
 *	                                       oom detached
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"

#define KEEPER_PROTOCOL_VERSION 1
#define KEEPER_FDS_MAX		8
#define KEEPER_PACKET_MAX	131072 /* bytes; longer lists of arguments are refused */
#define KEEPER_CLIENTS_MAX	64     /* attached clients of one container, execs included */
#define KEEPER_EXECS_MAX	256    /* execs running at once in one container */
#define KEEPER_NEWS_MAX		128    /* events kept while no hulld listens; the oldest go first */
#define KEEPER_EXEC_ENDS	32     /* ends of execs that a state repeats */
#define KEEPER_HEALTH_LOG	5      /* results kept */
#define KEEPER_HEALTH_OUTPUT	4096   /* bytes of output kept per result */

enum keeper_type {
	/* hulld -> keeper */
	KEEPER_ORDERS =
		1,     /* struct keeper_orders; fd: the namespace to join, with KEEPER_NET_JOIN */
	KEEPER_GO,     /* the network is plugged: start */
	KEEPER_EXEC,   /* struct keeper_exec; fd: the client's socket, none when detached */
	KEEPER_ATTACH, /* struct keeper_attach; fd: the client's socket */
	KEEPER_RESIZE, /* struct keeper_resize */
	KEEPER_SIGNAL, /* struct keeper_signal */
	KEEPER_STOP,   /* struct keeper_stop; answered at once, `died` follows */
	KEEPER_PAUSE,
	KEEPER_RESUME,
	KEEPER_UPDATE,	    /* struct keeper_update */
	KEEPER_DESCRIPTORS, /* answered by ok with the five descriptors of `ready` */
	KEEPER_FORGET,	    /* not wanted any more: what never started leaves */

	/* keeper -> hulld, answers */
	KEEPER_OK = 64,
	KEEPER_FAULT,	     /* struct keeper_fault */
	KEEPER_EXEC_STARTED, /* struct keeper_started */

	/* keeper -> hulld, events */
	KEEPER_STATE = 128, /* struct keeper_state: first on every later connection */
	KEEPER_READY,	    /* fds as in enum keeper_ready_fd */
	KEEPER_STARTED,	    /* struct keeper_started */
	KEEPER_FAILED,	    /* struct keeper_fault: not started, the keeper ends */
	KEEPER_DIED,	    /* struct keeper_died */
	KEEPER_HEALTH,	    /* struct keeper_health: one result */
	KEEPER_EXEC_DIED,   /* struct keeper_exec_died */
	KEEPER_OOM,	    /* a process of the container was killed for memory */
	KEEPER_DETACHED,    /* struct keeper_detached */
};

/* The descriptors of `ready`, in this order. */
enum keeper_ready_fd {
	KEEPER_FD_NETNS,     /* the network namespace */
	KEEPER_FD_ROUTE,     /* NETLINK_ROUTE socket inside */
	KEEPER_FD_NETFILTER, /* NETLINK_NETFILTER socket inside */
	KEEPER_FD_DNS_UDP, /* bound to 127.0.0.11 inside, a free port; both protocols have the same
			    */
	KEEPER_FD_DNS_TCP, /* listening there */
	KEEPER_FD_READY_N
};

enum keeper_net {
	KEEPER_NET_NEW,	 /* a namespace of its own, lo up; the five descriptors come with `ready` */
	KEEPER_NET_HOST, /* the host's; `ready` has none */
	KEEPER_NET_JOIN, /* the one whose descriptor comes with the orders; `ready` has none */
};

enum keeper_restart {
	KEEPER_RESTART_NO,
	KEEPER_RESTART_ALWAYS,
	KEEPER_RESTART_UNLESS_STOPPED,
	KEEPER_RESTART_ON_FAILURE,
};

/* All a keeper must know. Zero is a sensible default everywhere. */
struct keeper_orders {
	char *id;	     /* container id */
	char *container_dir; /* exit.json is written here */
	char *run_dir;	     /* <run>/keeper/ID, made by the keeper with its parents, 0700 */
	char *config_path;   /* the OCI spec; read by a child at each start and exec */

	/* Root: an overlay when `lower` is set, else the directory `root_path` as it is. */
	char **lower; /* layer directories, topmost first */
	char *upper, *work;
	char *root_path;

	/* Standard streams. */
	bool tty;
	bool open_stdin; /* else standard input is /dev/null */
	bool stdin_once; /* closed when the first client that had it ends */
	uint32_t rows, columns;

	/* Log. */
	char *log_path;		/* NULL: nothing is logged */
	int64_t log_bytes_max;	/* of one file; 0: 20 MB, -1: never rotated */
	uint32_t log_files_max; /* the current one included; 0: 5 */

	/* Restart policy. */
	uint32_t restart;	/* enum keeper_restart */
	uint32_t restart_max;	/* of on-failure; 0: for ever */
	uint32_t restart_count; /* restarts so far, when a new keeper continues an old one's work */

	/* Health check; none without `health_test`. */
	char **health_test;		  /* an argument list, no shell implied */
	int64_t health_interval_ns;	  /* 0: 30 s */
	int64_t health_timeout_ns;	  /* 0: 30 s */
	int64_t health_start_period_ns;	  /* 0: none */
	int64_t health_start_interval_ns; /* 0: 5 s */
	uint32_t health_retries;	  /* 0: 3 */

	uint32_t net;	 /* enum keeper_net */
	bool wait_go;	 /* start only at `go`, which may follow the orders at once */
	char *init_path; /* hull-init on the host: it becomes pid 1 in front of the program; or NULL
			  */
	char *cgroup_path; /* as in the spec's cgroupsPath; recorded, for burying */
	char *seccomp_dir; /* where compiled filters are cached; NULL: no cache */

	/*
	 * A machine in a container's place: this program of the host (argument list, [0] is its
	 * path) is run with the streams instead, and execs are `exec_args` with options and the
	 * command behind (hull-mate; machine.c). NULL: a container.
	 */
	char **run_args, **exec_args;
};

struct keeper_started {
	int64_t pid;	       /* on the host */
	int64_t start_time;    /* of that process, clock ticks since boot (proc(5), field 22) */
	int64_t started_at_ns; /* wall clock */
	uint32_t restart_count;
	/* The container's cgroup, for cgroup_load(): statistics are read without asking the keeper.
	 */
	char *cgroup_dirs;
};

/* Why something did not work: an error of the peer, with the exit code that tells it to a shell. */
struct keeper_fault {
	uint32_t kind;	    /* enum err_kind */
	uint32_t exit_code; /* 126, 127 where the program is to blame, else 128 (125 for a request)
			     */
	char *text;
};

struct keeper_died {
	int64_t pid;
	uint32_t exit_code; /* 128 + signal for a signal */
	uint32_t signal;    /* 0: exited by itself */
	bool oom_killed;
	bool restarting; /* by policy, after delay_ns */
	bool stopped;	 /* somebody asked for it (stop, a last signal) */
	int64_t delay_ns;
	int64_t started_at_ns, finished_at_ns;
	uint32_t restart_count;
	char *sentence; /* why, for people: "killed for memory: limit of 1.0 MiB reached"; or NULL
			 */
};

enum keeper_health_status {
	KEEPER_HEALTH_NONE,
	KEEPER_HEALTH_STARTING,
	KEEPER_HEALTH_HEALTHY,
	KEEPER_HEALTH_UNHEALTHY,
};

struct keeper_health {
	uint32_t status; /* enum keeper_health_status, after this result */
	bool changed;
	uint32_t failing_streak;
	uint32_t exit_code; /* of this probe; its end by time-out is 4294967295 (-1) */
	int64_t started_at_ns, finished_at_ns;
	char *output; /* at most KEEPER_HEALTH_OUTPUT bytes */
};

/*
 * A client: an upgraded connection handed over as a descriptor. The keeper speaks to it from then
 * on: output goes out raw (tty) or in frames of Docker's multiplexed form; input is raw. A client
 * that does not read holds the container's output back (as Docker does) once KEEPER_BACKLOG bytes
 * wait for it, until it reads, leaves, or the container ends; the log gets every byte before the
 * clients do.
 */
struct keeper_attach {
	char *session; /* repeated in `detached` */
	bool want_stdin, want_stdout, want_stderr;
	bool multiplexed;
	bool logs;	   /* replay the log first */
	bool no_stream;	   /* only the replay, then close */
	char *detach_keys; /* the bytes themselves, at most 16; NULL: none. Only looked for on ttys
			    */
	char *early;	   /* input that hulld had read already, early_n bytes */
	size_t early_n;
};

struct keeper_exec {
	char *id;
	char **args;
	char **env; /* NAME=VALUE, added to the container's */
	char *cwd;  /* NULL: the container's */
	char *user; /* "name", "uid", "uid:gid" ...; NULL: the container's */
	bool tty;
	bool privileged;
	uint32_t rows, columns;
	struct keeper_attach client; /* used when a descriptor comes along */
};

struct keeper_exec_died {
	char *id;
	int64_t pid;
	uint32_t exit_code;
	int64_t finished_at_ns;
};

struct keeper_detached {
	char *session;
	bool by_keys; /* else the client left, or all was said */
};

struct keeper_resize {
	char *exec_id; /* NULL: the container's own terminal */
	uint32_t rows, columns;
};

struct keeper_signal {
	uint32_t signal;
	bool last;     /* the end that follows counts as asked for: no restart */
	char *exec_id; /* NULL: the container's first process */
};

struct keeper_stop {
	uint32_t signal;   /* 0: SIGTERM */
	int32_t timeout_s; /* then SIGKILL; negative: never */
};

/* What is absent (has_... false, NULL) stays. */
struct keeper_update {
	char *resources_json; /* linux.resources as in the OCI spec; what it names is changed */
	bool has_restart;
	uint32_t restart, restart_max;
};

struct keeper_exec_state {
	char *id;
	int64_t pid;
};

enum keeper_phase {
	KEEPER_PREPARING, /* orders taken, `go` awaited */
	KEEPER_CREATING,  /* a child makes the container */
	KEEPER_RUNNING,
	KEEPER_PAUSED,
	KEEPER_RESTARTING, /* dead, will start again after the back-off */
	KEEPER_ENDED,	   /* final */
};

/* Everything, told first on a new connection; undelivered events follow it. */
struct keeper_state {
	char *id;
	uint32_t phase;		       /* enum keeper_phase */
	struct keeper_started started; /* pid 0 when not running */
	bool has_died;
	struct keeper_died died; /* the latest end */
	bool has_fault;
	struct keeper_fault fault; /* why it could not be started */
	uint32_t health;	   /* enum keeper_health_status */
	uint32_t health_streak;
	char **exec_ids;  /* running execs */
	char **exec_ends; /* \"ID CODE\" of the latest ends, oldest first: told already, maybe to a
			     dying hulld */
	uint32_t restart, restart_max;
	int64_t news_lost; /* events dropped because more than KEEPER_NEWS_MAX waited */
};
