/*
 * Inside of cgroup*.c: one container's directories, and what differs between the cgroup versions
 * behind one table of operations. Not for other rooms.
 */
#pragma once

#include "ground/linux/cgroup.h"

/* One hierarchy's directory of the cgroup. */
struct cgroup_dir {
	unsigned int controllers; /* CGROUP_BITs */
	char *path;		  /* "<mount>/<path within>": clean, absolute */
	size_t mount_n;		  /* length of <mount> in path */
	bool v2;
	bool lazy;  /* not made, as nobody asked for its controllers */
	bool fresh; /* made by this process just now: its files hold what the kernel puts there */
};

struct cgroup_ops {
	enum cgroup_mode mode;
	int (*join_self)(struct cgroup *cg, bool in_clone_fd, struct err *e);
	int (*late_open)(struct cgroup *cg, struct cgroup_late *ret, struct err *e);
	int (*freeze)(struct cgroup *cg, bool freeze, int timeout_ms, struct err *e);
	bool (*is_frozen)(struct cgroup *cg);
	int (*kill)(struct cgroup *cg, struct err *e);
	int (*devices)(struct cgroup *cg, const struct cgroup_device *rules, size_t n,
		       struct err *e);
	int (*oom_open)(struct cgroup *cg, int *ret_fd, struct err *e);
	uint64_t (*oom_kills)(struct cgroup *cg);
};

extern const struct cgroup_ops cgroup_ops_none, cgroup_ops_v1, cgroup_ops_v2;

#define CGROUP_MAGIC 0x63677270u

struct cgroup {
	unsigned int magic;
	const struct cgroup_ops *ops;
	struct cgroup_dir dirs[CGROUP_DIRS_MAX];
	size_t n;
	int clone_fd;
};

/* The host's hierarchies, found by cgroup_host_read: .path is the mount point alone. */
struct cgroup_host {
	struct cgroup_dir dirs[CGROUP_DIRS_MAX];
	char *roots[CGROUP_DIRS_MAX]; /* the mount's root within the hierarchy */
	char *own[CGROUP_DIRS_MAX]; /* the caller's path within the mount; NULL: not seen from it */
	size_t n;
	enum cgroup_mode mode;
};

int cgroup_host_read(struct cgroup_host *ret, bool want_own, struct err *e) must_use;
/* The two parsers alone, over text (fuzzed); settle drops repeats and finds the mode. */
void cgroup_host_parse_mounts(struct cgroup_host *h, struct str mountinfo);
void cgroup_host_settle(struct cgroup_host *h);
void cgroup_host_parse_own(struct cgroup_host *h, struct str proc_cgroup);
void cgroup_host_done(struct cgroup_host *h);

/* CGROUP_BIT of a name ("memory", "name=systemd" and unknown ones: NAMED), v2 names too. */
unsigned int cgroup_bit_of(struct str name);

/* linux.cgroupsPath to a clean path below a hierarchy ("/a/b"); *ret_relative: below the own one.
 */
int cgroup_path_resolve(const struct cgroup_want *want, char **ret, bool *ret_relative,
			struct err *e) must_use;
/* "a/../b//c" to "/a/b/c" without ever leaving the top; NULL and an error for what no name can be.
 */
char *cgroup_path_clean(const char *path, struct err *e);

/* Takes path over; the rest of d is copied. */
void cgroup_add_dir(struct cgroup *cg, const struct cgroup_dir *d, char *path);

/* The directory of c, made or not; NULL when there is none. */
struct cgroup_dir *cgroup_dir_of(struct cgroup *cg, enum cgroup_controller c);
struct cgroup_dir *cgroup_dir_made(struct cgroup *cg, enum cgroup_controller c);

int cgroup_open_file(const struct cgroup_dir *d, const char *file, int flags);
/* Reads a whole small file; -errno. */
int cgroup_slurp(const char *dir, const char *file, struct strbuf *out);
/* One write(2) of the text; -errno. */
int cgroup_spit(const char *dir, const char *file, const char *text, size_t n);
void cgroup_pause_ms(int ms);
/* Kills by listing, freezing in between so that forks do not win. */
int cgroup_kill_listed(struct cgroup *cg, struct err *e) must_use;
