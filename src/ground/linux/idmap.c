/*
 * Id maps: see idmap.h.
 */
#include "ground/linux/idmap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/caps.h"
#include "ground/linux/namespace.h"

static int write_file(pid_t pid, const char *name, const char *text, struct err *e)
{
	char path[64];
	auto_close int fd = -1;
	size_t n = strlen(text);

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot open '%s'", path);
	if (write(fd, text, n) != (ssize_t)n)
		return err_sys(e, "cannot write the %s", name);
	return 0;
}

static char *map_text(const struct idmap_range *map, size_t n)
{
	struct strbuf b = {0};

	for (size_t i = 0; i < n; i++)
		strbuf_printf(&b, "%u %u %u\n", map[i].inside, map[i].outside, map[i].size);
	return strbuf_take(&b);
}

/* newuidmap PID INSIDE OUTSIDE SIZE ... */
static int run_helper(const char *program, pid_t pid, const struct idmap_range *map, size_t n,
		      struct err *e)
{
	char **argv = NULL;
	char number[16];
	pid_t child;
	int status = -1, r;

	mem_append_text(&argv, program);
	(void)snprintf(number, sizeof(number), "%d", pid);
	mem_append_text(&argv, number);
	for (size_t i = 0; i < n; i++) {
		const uint32_t row[] = {map[i].inside, map[i].outside, map[i].size};

		for (size_t k = 0; k < array_len(row); k++) {
			(void)snprintf(number, sizeof(number), "%u", row[k]);
			mem_append_text(&argv, number);
		}
	}
	r = posix_spawnp(&child, program, NULL, NULL, argv, environ);
	argv = (mem_free_texts(argv), NULL);
	if (r) {
		errno = r;
		return err_sys(e, "cannot run '%s', which maps ids for users (package uidmap)",
			       program);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		return err_set(e, ERR_FORBIDDEN,
			       "'%s' refused the id map: see /etc/subuid and /etc/subgid", program);
	return 0;
}

static bool is_own(const struct idmap_range *map, size_t n, uint32_t own)
{
	return n == 1 && map[0].size == 1 && map[0].outside == own;
}

int idmap_write(pid_t pid, const struct idmap_range *uids, size_t uids_n,
		const struct idmap_range *gids, size_t gids_n, struct err *e)
{
	auto_free char *uid_text = map_text(uids, uids_n);
	auto_free char *gid_text = map_text(gids, gids_n);
	int r;

	assert(uids_n <= IDMAP_RANGES_MAX && gids_n <= IDMAP_RANGES_MAX);
	if (caps_have(CAP_SETGID)) {
		r = write_file(pid, "gid_map", gid_text, e);
	} else if (is_own(gids, gids_n, getegid())) {
		r = write_file(pid, "setgroups", "deny", e);
		if (r == 0)
			r = write_file(pid, "gid_map", gid_text, e);
	} else {
		r = run_helper("newgidmap", pid, gids, gids_n, e);
	}
	if (r < 0)
		return r;
	if (caps_have(CAP_SETUID) || is_own(uids, uids_n, geteuid()))
		return write_file(pid, "uid_map", uid_text, e);
	return run_helper("newuidmap", pid, uids, uids_n, e);
}

int idmap_namespace(const struct idmap_range *uids, size_t uids_n, const struct idmap_range *gids,
		    size_t gids_n, int *ret_fd, struct err *e)
{
	char path[64];
	pid_t pid;
	int fd, r;

	r = namespace_clone(CLONE_NEWUSER, -1, &pid, NULL, e);
	if (r < 0)
		return r;
	if (pid == 0)
		for (;;)
			(void)pause();
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	r = idmap_write(pid, uids, uids_n, gids, gids_n, e);
	fd = r < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (r == 0 && fd < 0)
		r = err_sys(e, "cannot open '%s'", path);
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r == 0)
		*ret_fd = fd;
	return r;
}
