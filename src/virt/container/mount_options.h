/*
 * Private: the options of a configuration's mounts, as a table: what each word means to the kernel.
 */
#pragma once

#include "ground/linux/mount.h"
#include "virt/container/spec.h"

#define MOUNT_DATA_MAX 64

struct mount_options {
	bool bind, recursive;	     /* bind, rbind */
	uint64_t set, clear;	     /* MOUNT_ATTR_* of the mount itself */
	uint64_t rec_set, rec_clear; /* of it and all below: rro ... */
	uint64_t propagation;	     /* 0: none asked for */
	bool propagation_recursive;
	bool idmap, idmap_recursive;
	bool copy_up;				  /* tmpcopyup */
	struct mount_option data[MOUNT_DATA_MAX]; /* for the file system; into the arena */
	size_t data_n;
};

int mount_options_parse(const struct spec_mount *m, struct arena *a, struct mount_options *ret,
			struct err *e) must_use;

/* Every word known, NULL at the end: for `features`. */
const char *mount_options_name(size_t i);
