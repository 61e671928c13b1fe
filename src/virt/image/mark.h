/*
 * How the directory of a layer says what is gone from below: marks as the kernel's overlay reads
 * them, and, on a disk that takes none of those, marks of our own, which only a copied root needs.
 *
 * All run in the confined child. Archives cannot bring marks of either kind (extract.c).
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

/* Hides `name` of the layers below. 0, or -1 and errno: EEXIST when the layer has the name. */
int mark_whiteout(int dirfd, const char *name);
/* st is what fstatat said of the name. */
bool mark_is_whiteout(int dirfd, const char *name, const struct stat *st);

/* Hides what the layers below have in this folder; by user.* where trusted.* is not ours. */
int mark_opaque(int fd, bool by_user);
bool mark_is_opaque(int fd);

/* An attribute that is one of the marks. */
bool mark_is_xattr(const char *name);
