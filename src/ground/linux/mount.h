/*
 * Mounts by descriptor, with the kernel's new interface (fsopen(2), open_tree(2), move_mount(2),
 * mount_setattr(2); Linux 5.12 and newer). A mount is made detached, adjusted, and then attached to
 * a descriptor that says where: no path is resolved a second time between check and use.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/err.h"

/* A detached copy of what stands at dirfd/path ("" is dirfd itself). O_NOFOLLOW semantics: never
 * follows a final link unless `follow`. */
int mount_clone(int dirfd, const char *path, bool recursive, bool follow, int *ret,
		struct err *e) must_use;

struct mount_option {
	const char *key;
	const char *value; /* NULL: a flag */
};

/* A new file system, detached. attrs are MOUNT_ATTR_*. `what` is the source column, may be NULL. */
int mount_new(const char *fstype, const char *what, const struct mount_option *options, size_t n,
	      uint64_t attrs, int *ret, struct err *e) must_use;

/* A new overlay, detached. Layers topmost first. NULL upper: read-only. */
int mount_new_overlay(char *const *lower, const char *upper, const char *work, bool in_userns,
		      int *ret, struct err *e) must_use;

/* Puts a detached (or attached) mount onto the target descriptor. */
int mount_attach(int mnt, int target, struct err *e) must_use;

/* Attributes: set and clear are MOUNT_ATTR_*, propagation is MS_PRIVATE... or 0. */
struct mount_change {
	uint64_t set, clear, propagation;
	bool recursive;
	int userns_fd; /* id-mapped to this namespace when `idmap` */
	bool idmap;
};
int mount_change(int mnt, const struct mount_change *c, struct err *e) must_use;

/* Makes root (a mount's root) the process's root; the old one is gone after. */
int mount_pivot(int root, struct err *e) must_use;
/* The same where pivot_root is impossible (the root is the initramfs): moves root over /. */
int mount_move_root(int root, struct err *e) must_use;
