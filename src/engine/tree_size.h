/*
 * Walks over directory trees of ours, for pool threads.
 */
#pragma once

#include "engine/workload.h"

#define CHANGES_MAX 1000000

enum { CHANGE_MODIFIED, CHANGE_ADDED, CHANGE_DELETED };

/* Bytes of files below a directory, each inode once; what cannot be read counts 0. */
int64_t tree_size(const char *path);

/* Bytes of the log files of one container below <root>/container. */
int64_t logs_size(const char *containers, const char *id);

struct changes {
	struct change *list;
	size_t n, room;
};

/* What the upper directory changes in what lies below, sorted by path. */
void changes_find(const char *upper, char *const *lower, struct changes *ret);
/* Takes out what was only made to be mounted over, and directories that hold nothing else. */
void changes_drop(struct changes *c, char *const *mounted);
void changes_done(struct changes *c);
