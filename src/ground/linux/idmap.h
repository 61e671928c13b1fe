/*
 * User and group id maps of user namespaces: written to another process, kept as a descriptor for
 * id-mapped mounts, and asked whether an id is covered. user_namespaces(7), newuidmap(1).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ground/base/err.h"

struct idmap_range {
	uint32_t inside, outside, size;
};

#define IDMAP_RANGES_MAX 340

/*
 * Writes the maps of `pid`, whose user namespace is new: directly where the caller may, otherwise
 * with newuidmap and newgidmap (setuid programs that know /etc/subuid); a single own id is mapped
 * directly.
 */
int idmap_write(pid_t pid, const struct idmap_range *uids, size_t uids_n,
		const struct idmap_range *gids, size_t gids_n, struct err *e) must_use;

/* A user namespace with these maps, as a descriptor (for MOUNT_ATTR_IDMAP). Nobody runs in it. */
int idmap_namespace(const struct idmap_range *uids, size_t uids_n, const struct idmap_range *gids,
		    size_t gids_n, int *ret_fd, struct err *e) must_use;
