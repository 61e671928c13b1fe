/*
 * Private: what the two sides of a creation share. A `struct job` is filled by the caller's side
 * (create.c), inherited over clone by the container's first process (init.c), and each side then
 * talks through `sock` with notes (note.h). Descriptors are close-on-exec on both sides.
 */
#pragma once

#include "ground/linux/caps.h"
#include "ground/linux/namespace.h"
#include "ground/linux/seccomp.h"
#include "virt/container/container.h"
#include "virt/container/spec.h"

/* All that the last steps before exec need: shared by the first process and by execs. */
struct launch {
	const struct spec_process *p;
	struct caps caps; /* from p's names, looked up before anything can fail */
	uint32_t *gids;
	size_t gids_n;
	const char *user; /* looked up inside; NULL: p's ids */
	uint32_t uid, gid;
	char **args, **env;
	const char *path;	     /* what execve gets; set by launch_find */
	uint64_t self_dev, self_ino; /* this runtime's own file: never executed inside */
	struct seccomp_program seccomp;
	const char *seccomp_listener, *seccomp_metadata;
	int seccomp_sock; /* connected to the agent, -1: none */
	int stdio[3];
	int tty; /* the terminal's slave, -1: none */
	unsigned int preserve_fds;
	int procfd; /* a private procfs, -1 until needed */
	bool no_new_keyring;
	bool keep_groups; /* the caller's additional groups stay (podman's keep-groups) */
	const char *id, *bundle;
	struct json_pair *annotations;
	pid_t host_pid; /* as the caller sees it; 0: not known */
};

struct job {
	const struct container_order *o;
	struct arena *a;
	struct spec *s;
	struct launch launch;
	unsigned int made_bits;	      /* NAMESPACE_BITs to make */
	unsigned int join_bits;	      /* to join */
	int join_fd[NAMESPACE_KINDS]; /* -1 where not joined */
	bool userns;		      /* made or joined: the first process is not the host's root */
	int *sources;		      /* per spec mount: a mount prepared outside, or -1 */
	int root_source;	      /* the root prepared outside, or -1 */
	int sock[2];		      /* [0] the caller's, [1] the first process's */
	int root;		      /* of the container, inside the first process */
	int console_master;
	struct cgroup *cgroup; /* each side its own copy */
	bool born_in_cgroup;
	bool cgroup_ready;  /* inside: joined already */
	const char *rootfs; /* absolute path of the root, where it has one */
};

/* create.c */
char *job_state(const struct job *j, const char *status, pid_t pid); /* the OCI state, for hooks */

/* init.c: never returns. */
_Noreturn void init_run(struct job *j);

/* root.c */
int root_prepare(struct job *j, struct err *e) must_use; /* the root is mounted, j->root open */
int root_finish(struct job *j, struct err *e) must_use;	 /* masks, read-only, pivot */

/* source.c, outside: mounts that the first process may not make itself. */
int sources_prepare(struct job *j, struct err *e) must_use;
void sources_close(struct job *j);

/* mounts.c */
int mounts_make(struct job *j, struct err *e) must_use;
int mounts_make_binds(struct job *j, struct err *e) must_use;

/* device.c */
int devices_make(struct job *j, struct err *e) must_use;
int devices_console(struct job *j, struct err *e) must_use; /* opens the pty, fills launch.tty */

/* mask.c */
int masks_apply(struct job *j, struct err *e) must_use;

/* sysctl.c */
int sysctls_check(const struct spec *s, unsigned int made_or_joined, struct err *e) must_use;
int sysctls_apply(struct job *j, struct err *e) must_use;

/* cgroup_join.c, inside: waits for the caller's word on the cgroup and joins it, once. */
int job_join_cgroup(struct job *j, struct err *e) must_use;

/* launch.c */
int launch_init(struct launch *l, const struct spec_process *p, struct arena *a,
		struct err *e) must_use;
int launch_seccomp(struct launch *l, const struct spec_seccomp *s, const char *cache_dir,
		   struct arena *a, struct err *e) must_use;
void launch_done(struct launch *l);
int launch_priority(const struct launch *l, struct err *e) must_use; /* while still privileged */
int launch_personality(const struct spec_personality *p, struct err *e) must_use;
int launch_user(struct launch *l, int root, struct arena *a, struct err *e) must_use;
int launch_own_terminal(const struct launch *l, struct err *e) must_use;
int launch_cwd(const struct launch *l, struct err *e) must_use;
int launch_privileges(struct launch *l,
		      struct err *e) must_use; /* seccomp or caps, then the user */
int launch_find(struct launch *l, struct arena *a, struct err *e) must_use;
/* Standard streams in place, all else closed but `keep` (-1s allowed) and what is to be preserved.
 */
#define LAUNCH_KEEP_MAX 8
int launch_descriptors(struct launch *l, const int *keep, size_t n, struct err *e) must_use;
/* The last act: returns only on failure. */
int launch_exec(struct launch *l, struct err *e) must_use;
