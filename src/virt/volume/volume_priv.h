/*
 * What the files of this room share: the store of volumes, and copying a tree by descriptor.
 */
#pragma once

#include "ground/base/arena.h"
#include "ground/base/list.h"
#include "ground/base/map.h"
#include "virt/volume/volume.h"

struct volume_store {
	char *dir; /* <root>/volume */
	int fd;
	const struct world *world;
	struct list volumes; /* in order of making */
	struct map by_name;
};

struct volume {
	struct list link;
	struct volume_store *store;
	struct arena arena; /* holds spec */
	struct volume_spec spec;
	char *path; /* <root>/volume/NAME/_data */
	struct map users;
};

/* The local driver's options, read: what the mount of a volume with options is. */
struct volume_device {
	const char *type; /* NULL: a plain directory */
	const char *device;
	const char *o;
};
int volume_device(const struct volume_spec *s, struct volume_device *ret, struct err *e) must_use;

/* Copies everything below src (a directory) into dst (an empty one), dst's own attributes included.
 */
int copy_tree(int src, int dst, struct err *e) must_use;
