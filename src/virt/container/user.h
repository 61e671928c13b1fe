/*
 * Users as a container knows them: its own /etc/passwd and /etc/group, read by ourselves (no NSS,
 * which would run the image's code), in-root, bounded. Numbers are strict 32-bit decimal.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"

#define USER_FILE_MAX \
	(1u << 20) /* bytes of passwd or group that are looked at; larger is an error */
#define USER_GROUPS_MAX 4096

struct user {
	uint32_t uid, gid;
	uint32_t *
		gids; /* additional ones, from /etc/group; only when the user was named or listed */
	size_t gids_n;
	char *home; /* NULL: not known */
};

/* "name", "uid", "name:group", "uid:gid" ...: ERR_NOT_FOUND when a name is not in the files. */
int user_lookup(int root, const char *text, struct arena *a, struct user *ret,
		struct err *e) must_use;

/* The home directory of a uid, or NULL. Never fails: files that cannot be read know nobody. */
char *user_home(int root, uint32_t uid, struct arena *a);
