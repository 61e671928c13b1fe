/*
 * Ownership: every acquiring local is declared with its release, and hand-over is visible.
 *
 *	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
 *	auto_free char *text = mem_dup_text("x");
 *	*ret_fd = take_fd(&fd);
 *	return take(text);
 *
 * -1 is the only "no descriptor": 0 is a valid one. A type of one's own gets its attribute with
 * own_define(): `own_define(blob, struct blob *, blob_free)` makes `auto_blob`'s function, used as
 * `#define auto_blob own_auto(blob)`.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define own_auto(name) __attribute__((cleanup(own_##name##_release)))

#define own_define(name, type, release)                  \
	static inline void own_##name##_release(type *p) \
	{                                                \
		if (*p)                                  \
			release(*p);                     \
	}                                                \
	struct own_##name##_semicolon

static inline void own_free_release(void *p)
{
	free(*(void **)p);
}

/* Closes and keeps errno, so that an error path can close first and report after. Returns -1. */
static inline int fd_close(int fd)
{
	int sys = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = sys;
	return -1;
}

static inline void own_close_release(const int *fd)
{
	(void)fd_close(*fd);
}

static inline void own_fclose_release(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

static inline void own_closedir_release(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

#define auto_free     own_auto(free)
#define auto_close    own_auto(close)
#define auto_fclose   own_auto(fclose)
#define auto_closedir own_auto(closedir)

/* Gives the pointer away and leaves NULL behind. */
#define take(p)                              \
	__extension__({                      \
		__auto_type own_taken = (p); \
		(p) = NULL;                  \
		own_taken;                   \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}
