/*
 * An error is a value: a kind, an errno, the place it was set and one sentence, held on the
 * caller's stack and passed as the last parameter. Nothing is allocated, nothing is released.
 *
 * The function that first notices a failure sets it once; on the way up callers only put context
 * in front of it with err_wrap(). Messages are lower case, have no full stop, quote names, and say
 * what failed, on what, why and, where there is something to do, what to do.
 *
 *	int open_config(const char *path, int *ret_fd, struct err *e)
 *	{
 *		int fd = open(path, O_RDONLY | O_CLOEXEC);
 *		if (fd < 0)
 *			return err_sys(e, "cannot open '%s'", path);
 *		*ret_fd = fd;
 *		return 0;
 *	}
 *
 * Every failing function returns a negative kind (-ERR_NOT_FOUND), so that `return err_set(...)`
 * and `if (r < 0) return err_wrap(e, ...)` read as one line.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#define must_use __attribute__((warn_unused_result))

enum err_kind {
	ERR_NONE,
	ERR_NOT_FOUND,	 /* the named thing does not exist */
	ERR_EXISTS,	 /* a thing of that name is there already */
	ERR_INVALID,	 /* the input is wrong; the same call will never succeed */
	ERR_CONFLICT,	 /* the thing's state forbids it now */
	ERR_FORBIDDEN,	 /* the caller lacks the right */
	ERR_UNSUPPORTED, /* this host or this build cannot do it */
	ERR_BUSY,	 /* somebody else holds it; try again */
	ERR_TIMEOUT,
	ERR_GONE,	 /* it was there, and will not come back */
	ERR_EXHAUSTED,	 /* a limit is reached: memory, disk, descriptors, a quota */
	ERR_UNAVAILABLE, /* a peer or service does not answer */
	ERR_SYSTEM,	 /* the kernel said no, in a way not covered above */
	ERR_INTERNAL,	 /* a bug of ours that was caught */
	ERR_KINDS
};

struct err {
	enum err_kind kind;
	int sys; /* errno at the origin, 0 when there was none */
	const char *file;
	int line;
	char text[1024]; /* long enough for two paths and a sentence */
};

/* How one kind is told to each audience; the one table behind every API's error mapping. */
struct err_kind_info {
	const char *name;	 /* "not found" */
	int http_status;	 /* 404 */
	const char *kube_reason; /* "NotFound" */
	int exit_code;		 /* of the command line: 125 where nothing closer applies */
};

const struct err_kind_info *err_kind_info(enum err_kind kind);

/* Maps an errno to the closest kind; ERR_SYSTEM where none is close. */
enum err_kind err_kind_of_errno(int sys);

/* Sets the error and returns -kind. `e` may be NULL: the return value alone is the error then. */
int err_set_at(struct err *e, const char *file, int line, enum err_kind kind, int sys,
	       const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* Puts "context: " before the text, keeps kind, errno and place; returns -kind. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define err_set(e, kind, ...) err_set_at((e), __FILE__, __LINE__, (kind), 0, __VA_ARGS__)

/* Sets the error from errno: the kind follows from it and its description is appended. */
#define err_sys(e, ...) err_sys_at((e), __FILE__, __LINE__, __VA_ARGS__)
int err_sys_at(struct err *e, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Forgets an error that was handled. */
void err_clear(struct err *e);
