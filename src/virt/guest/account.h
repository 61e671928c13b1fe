/*
 * Who a process in the guest runs as: "name|uid[:group|gid]" looked up in the guest's own
 * /etc/passwd and /etc/group, by the rules a container follows (a number needs no entry; groups that
 * list the user are added when no group was given).
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"

#define ACCOUNT_GROUPS_MAX 256
#define ACCOUNT_FILE_MAX   (4u << 20)

struct account {
	uid_t uid;
	gid_t gid;
	gid_t groups[ACCOUNT_GROUPS_MAX];
	size_t groups_n;
	const char *home;
};

/* `etc` is the directory of passwd and group ("/etc"); text NULL or "" is root. */
int account_find(const char *etc, const char *text, struct arena *a, struct account *ret,
		 struct err *e) must_use;
