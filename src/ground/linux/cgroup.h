/*
 * A cgroup is one directory in every cgroup hierarchy of the host: nine and more on cgroup v1,
 * one on v2, both kinds on a hybrid host. `struct cgroup` hides the difference; "no cgroups at
 * all" (rootless without delegation, or asked for) is a null object that accepts joins, has no
 * process of its own and refuses limits. cgroup v1: Documentation/admin-guide/cgroup-v1, v2:
 * admin-guide/cgroup-v2.rst.
 *
 *	struct cgroup_want want = {.path = spec_path, .id = id, .need = resources_need(r)};
 *	cgroup_make(&want, &cg, e);		the directories exist now, without a process
 *	resources_apply(cg, r, e);		(virt/container) limits first
 *	cgroup_late_open(cg, &late, e);		while the host's files are still reachable
 *	clone3(... cgroup_clone_fd(cg) >= 0 ? CLONE_INTO_CGROUP : 0 ...)
 *	  child: cgroup_join_self(cg, e);	all but memory where that costs nothing: the child's
 *						set-up is not charged to the container
 *	  child: ... namespaces, mounts, pivot_root ...
 *	  child: cgroup_join_late(&late, e);	then unshare(CLONE_NEWCGROUP), seccomp, exec
 *	cgroup_save(cg, &text);			into the state file; later commands: cgroup_load
 *
 * Owner: the caller, freed with cgroup_free. No threads. Nothing is written to the log. Every error
 * names the controller, the file and the value. A controller that the host lacks is an error only
 * if the caller named it in `need` or writes to it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/err.h"
#include "ground/base/own.h"
#include "ground/base/str.h"

enum cgroup_mode {
	CGROUP_MODE_NONE,   /* the null object */
	CGROUP_MODE_V1,	    /* v1 hierarchies only */
	CGROUP_MODE_HYBRID, /* v1 hierarchies, and v2 beside them for what v1 does not hold */
	CGROUP_MODE_V2,
};

/* Controllers by their v1 names; on v2 CPUACCT is CPU, BLKIO is "io", DEVICES and FREEZER are core.
 */
enum cgroup_controller {
	CGROUP_CPU,
	CGROUP_CPUACCT,
	CGROUP_CPUSET,
	CGROUP_MEMORY,
	CGROUP_DEVICES,
	CGROUP_FREEZER,
	CGROUP_BLKIO,
	CGROUP_PIDS,
	CGROUP_HUGETLB,
	CGROUP_NET_CLS,
	CGROUP_NET_PRIO,
	CGROUP_PERF,
	CGROUP_RDMA,
	CGROUP_MISC,
	CGROUP_NAMED,	/* v1 name=systemd, and other hierarchies without a controller */
	CGROUP_UNIFIED, /* the v2 directory itself: cgroup.kill, cgroup.freeze, memory.pressure ...
			 */
	CGROUP_CONTROLLERS
};

#define CGROUP_BIT(controller) (1u << (controller))

#define CGROUP_DIRS_MAX	 32
#define CGROUP_VALUE_MAX 4096 /* of one value written */
#define CGROUP_FILE_MAX	 (8 << 20)
#define CGROUP_PIDS_MAX	 (1 << 22)

struct cgroup;

struct cgroup_want {
	const char
		*path;	/* linux.cgroupsPath: absolute, relative to the caller's own cgroup, NULL */
	const char *id; /* the last name where path is empty */
	bool systemd;	/* path may be "slice:prefix:name": translated, there being no systemd */
	bool disabled;	/* the null object */
	bool find;	/* make nothing: take what exists, with whoever is in it */
	unsigned int need; /* CGROUP_BITs that the configuration asks for */
};

/* Finds the hierarchies and makes the directories (parents too). What exists already is used. */
int cgroup_make(const struct cgroup_want *want, struct cgroup **ret, struct err *e) must_use;

/* A null object, for code that has no cgroup to hand on. Never fails. */
struct cgroup *cgroup_none(void);

/*
 * One line per directory ("memory /sys/fs/cgroup/memory/x"), for the state file. cgroup_load trusts
 * its text no further than its shape: absolute clean paths. It makes nothing, and looks only
 * whether what was left out has been made since.
 */
void cgroup_save(const struct cgroup *cg, struct strbuf *out);
int cgroup_load(struct str text, struct cgroup **ret, struct err *e) must_use;

struct cgroup *
cgroup_free(struct cgroup *cg); /* forgets, removes nothing; NULL is fine; returns NULL */
own_define(cgroup, struct cgroup *, (void)cgroup_free);
#define auto_cgroup own_auto(cgroup)

/* The sub-cgroup `path` of cg for `exec --cgroup`; refuses "..". It must exist in one
 * hierarchy; in those without it, it is the container's own. */
int cgroup_sub(const struct cgroup *cg, const char *path, struct cgroup **ret,
	       struct err *e) must_use;

enum cgroup_mode cgroup_mode(const struct cgroup *cg);
bool cgroup_has(const struct cgroup *cg, enum cgroup_controller c);
bool cgroup_is_v2(const struct cgroup *cg,
		  enum cgroup_controller c);		      /* which names its files have */
const char *cgroup_controller_name(enum cgroup_controller c); /* v1 name: "memory" */
/* The directory that holds controller c, borrowed; NULL when the host or the right lacks. */
const char *cgroup_dir(const struct cgroup *cg, enum cgroup_controller c);

/*
 * A directory that nobody needed when the cgroup was made (cpuset, net_cls ...) is left out: it
 * costs as much as all others together. cgroup_want_controller makes it now and moves what runs
 * into it.
 */
int cgroup_want_controller(struct cgroup *cg, enum cgroup_controller c, struct err *e) must_use;

/*
 * Is the host's own mount pure v2? One statfs. There a process is best born inside (a late join is
 * slow), so that the cgroup is made before it; on v1 both are made side by side.
 */
bool cgroup_host_is_v2(void);

/*
 * Joining. cgroup_clone_fd answers the descriptor for clone3's CLONE_INTO_CGROUP (owned by cg; on
 * hybrid hosts the v2 directory's), or -1: on v1, and where a small memory limit makes a late join
 * better: so ask after the limits are written. cgroup_join_self moves the
 * calling (single-threaded) process into every directory but the late one, without the global lock
 * that a write to cgroup.procs takes; `in_clone_fd` says that CLONE_INTO_CGROUP was used already.
 * cgroup_join moves another process into all of them.
 */
int cgroup_clone_fd(struct cgroup *cg);
int cgroup_join_self(struct cgroup *cg, bool in_clone_fd, struct err *e) must_use;
int cgroup_join(struct cgroup *cg, pid_t pid, struct err *e) must_use;

/* The late part: memory, charged from the moment of cgroup_join_late only. Closes the descriptor.
 */
struct cgroup_late {
	int fd; /* -1: nothing to do */
};
int cgroup_late_open(struct cgroup *cg, struct cgroup_late *ret, struct err *e) must_use;
int cgroup_join_late(struct cgroup_late *late, struct err *e) must_use;

/* Files. `file` is the name on the mode at hand ("memory.limit_in_bytes" or "memory.max"). */
int cgroup_write(struct cgroup *cg, enum cgroup_controller c, const char *file, const char *value,
		 struct err *e) must_use;
int cgroup_write_u64(struct cgroup *cg, enum cgroup_controller c, const char *file, uint64_t value,
		     struct err *e) must_use;
int cgroup_write_i64(struct cgroup *cg, enum cgroup_controller c, const char *file, int64_t value,
		     struct err *e) must_use;
bool cgroup_file_exists(struct cgroup *cg, enum cgroup_controller c, const char *file);
int cgroup_read(struct cgroup *cg, enum cgroup_controller c, const char *file, struct strbuf *out,
		struct err *e) must_use;
/* One number; "max" is UINT64_MAX. */
int cgroup_read_u64(struct cgroup *cg, enum cgroup_controller c, const char *file, uint64_t *ret,
		    struct err *e) must_use;
/* The number behind `key` in a "key value" file; false when it is not there. */
bool cgroup_read_key(struct cgroup *cg, enum cgroup_controller c, const char *file, const char *key,
		     uint64_t *ret);

/* One device rule, in the order of the configuration: later rules win. */
struct cgroup_device {
	bool allow;
	char type;     /* 'a', 'b', 'c' */
	int64_t major; /* -1: all */
	int64_t minor; /* -1: all */
	bool read, write, mknod;
};
#define CGROUP_DEVICES_MAX 1024
/* Replaces the cgroup's device rules: devices.allow/deny on v1, an eBPF program on v2. */
int cgroup_devices(struct cgroup *cg, const struct cgroup_device *rules, size_t n,
		   struct err *e) must_use;

/* Freezing waits until every process stands still (or runs again), at most timeout_ms. */
int cgroup_freeze(struct cgroup *cg, bool freeze, int timeout_ms, struct err *e) must_use;
bool cgroup_is_frozen(struct cgroup *cg);

/* Processes of the cgroup and of all below it, as the caller's pid namespace numbers them. */
int cgroup_pids(struct cgroup *cg, pid_t **ret, size_t *ret_n, struct err *e) must_use;
/* Sends SIGKILL to all, frozen ones too, also to those that fork meanwhile; does not wait. */
int cgroup_kill(struct cgroup *cg, struct err *e) must_use;
/* Sends any signal once to each process. */
int cgroup_signal(struct cgroup *cg, int signal, struct err *e) must_use;
/* Removes the directories and those below; waits up to timeout_ms for dying processes. Gone is
 * fine. */
int cgroup_delete(struct cgroup *cg, int timeout_ms, struct err *e) must_use;
/*
 * Kills whoever is in the cgroup of that path and removes it, in every hierarchy that has it: for
 * what a killed process began and nobody wrote down. Nothing there is a success.
 */
int cgroup_sweep(const char *path, int timeout_ms, struct err *e) must_use;
/* Both: kills what is left and removes. One that is empty, as most are, costs its rmdirs alone. */
int cgroup_end(struct cgroup *cg, int timeout_ms, struct err *e) must_use;

/*
 * Out of memory. cgroup_oom_open answers a descriptor that polls readable (v1 eventfd) or with
 * POLLPRI (v2 and hybrid: inotify on memory.events, POLLIN) after an OOM kill or when the cgroup
 * goes away; cgroup_oom_drain empties it. cgroup_oom_kills counts processes killed for memory so
 * far.
 */
int cgroup_oom_open(struct cgroup *cg, int *ret_fd, struct err *e) must_use;
void cgroup_oom_drain(int fd);
uint64_t cgroup_oom_kills(struct cgroup *cg);

/*
 * Says in one sentence whether memory killed something here: which limit, how much, the peak, which
 * process ("killed for memory: limit 1 MiB of cgroup '/x' (memory.limit_in_bytes), peak 1 MiB,
 * process 'sh' (12)"). `who` is the process's name; NULL: the kernel's log is asked, if it may be
 * read. False, and nothing added, when memory killed nobody.
 */
bool cgroup_oom_explain(struct cgroup *cg, const char *who, pid_t pid, struct strbuf *out);

/*
 * How to fill a mount of type "cgroup" inside a container, step by step in this order. On v1: a
 * tmpfs, then per hierarchy a directory with a bind of the container's own directory, and symlinks
 * (cpu -> cpu,cpuacct). On v2: one bind on the mount point itself. Binding the container's own
 * directory shows the same with and without a cgroup namespace, and works in a user namespace.
 * Read-only is the caller's: make the binds (and the tmpfs, last) read-only when the configuration
 * says "ro".
 */
enum cgroup_mount_kind { CGROUP_MOUNT_TMPFS, CGROUP_MOUNT_BIND, CGROUP_MOUNT_SYMLINK };
struct cgroup_mount {
	enum cgroup_mount_kind kind;
	char *name;   /* below the mount point, one component; "" is the mount point itself */
	char *source; /* bind: a directory on the host; symlink: what it points to */
};
struct cgroup_mount_plan {
	struct cgroup_mount steps[CGROUP_DIRS_MAX * 2];
	size_t n;
};
void cgroup_mount_plan(const struct cgroup *cg, struct cgroup_mount_plan *ret);
void cgroup_mount_plan_done(struct cgroup_mount_plan *plan);
