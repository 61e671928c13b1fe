/*
 * Paths inside a root that strangers control. Every name is resolved below the root's descriptor
 * with openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS): "..", absolute links and races with
 * renames cannot lead out. Making missing parts follows (also dangling) links the way a process
 * inside would.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "ground/base/err.h"

#define INROOT_PATH_MAX	 4096
#define INROOT_LINKS_MAX 40

/* As open(2), close-on-exec. */
int inroot_open(int root, const char *path, int flags, mode_t mode, int *ret,
		struct err *e) must_use;

/* The same without following any link, mount crossing allowed: for names that must be what they
 * are. */
int inroot_open_nolinks(int root, const char *path, int flags, int *ret, struct err *e) must_use;

/* Opens `path` with O_PATH; what is missing is made first: directories, or an empty file at the
 * end. */
int inroot_make(int root, const char *path, bool directory, mode_t mode, int *ret,
		struct err *e) must_use;

/* The directory that holds the last component (made when missing), and that component's start in
 * path. */
int inroot_make_parent(int root, const char *path, int *ret_dir, const char **ret_name,
		       struct err *e) must_use;
