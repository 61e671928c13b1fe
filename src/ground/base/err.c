/* Errors as values: see err.h. The table below is the only place that translates a kind. */
#include "ground/base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct err_kind_info kinds[] = {
	[ERR_NONE] = {"none", 200, "", 0},
	[ERR_NOT_FOUND] = {"not found", 404, "NotFound", 125},
	[ERR_EXISTS] = {"already exists", 409, "AlreadyExists", 125},
	[ERR_INVALID] = {"invalid", 400, "BadRequest", 125},
	[ERR_CONFLICT] = {"conflict", 409, "Conflict", 125},
	[ERR_FORBIDDEN] = {"forbidden", 403, "Forbidden", 126},
	[ERR_UNSUPPORTED] = {"unsupported", 501, "NotImplemented", 125},
	[ERR_BUSY] = {"busy", 409, "Conflict", 125},
	[ERR_TIMEOUT] = {"timed out", 504, "Timeout", 125},
	[ERR_GONE] = {"gone", 410, "Gone", 125},
	[ERR_EXHAUSTED] = {"exhausted", 507, "InsufficientStorage", 125},
	[ERR_UNAVAILABLE] = {"unavailable", 503, "ServiceUnavailable", 125},
	[ERR_SYSTEM] = {"system error", 500, "InternalError", 125},
	[ERR_INTERNAL] = {"internal error", 500, "InternalError", 125},
};
static_assert(sizeof(kinds) / sizeof(kinds[0]) == ERR_KINDS, "a row for every kind");

const struct err_kind_info *err_kind_info(enum err_kind kind)
{
	assert(kind < ERR_KINDS);
	return &kinds[kind];
}

enum err_kind err_kind_of_errno(int sys)
{
	switch (sys) {
	case ENOENT:
	case ESRCH:
	case ENXIO:
	case ENODEV:
		return ERR_NOT_FOUND;
	case EEXIST:
		return ERR_EXISTS;
	case EINVAL:
	case ENAMETOOLONG:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
		return ERR_INVALID;
	case EPERM:
	case EACCES:
	case EROFS:
		return ERR_FORBIDDEN;
	case ENOSYS:
	case EOPNOTSUPP:
		return ERR_UNSUPPORTED;
	case EBUSY:
	case EAGAIN:
	case ETXTBSY:
	case EADDRINUSE:
		return ERR_BUSY;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case ENOMEM:
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
		return ERR_EXHAUSTED;
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EPIPE:
		return ERR_UNAVAILABLE;
	default:
		return ERR_SYSTEM;
	}
}

static void fill(struct err *e, const char *file, int line, enum err_kind kind, int sys,
		 const char *fmt, va_list ap)
{
	e->kind = kind;
	e->sys = sys;
	e->file = file;
	e->line = line;
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
}

int err_set_at(struct err *e, const char *file, int line, enum err_kind kind, int sys,
	       const char *fmt, ...)
{
	va_list ap;

	assert(kind > ERR_NONE && kind < ERR_KINDS);
	if (e) {
		va_start(ap, fmt);
		fill(e, file, line, kind, sys, fmt, ap);
		va_end(ap);
	}
	return -(int)kind;
}

int err_sys_at(struct err *e, const char *file, int line, const char *fmt, ...)
{
	int sys = errno;
	enum err_kind kind = err_kind_of_errno(sys);
	va_list ap;

	if (e) {
		size_t n;

		va_start(ap, fmt);
		fill(e, file, line, kind, sys, fmt, ap);
		va_end(ap);
		n = strlen(e->text);
		(void)snprintf(e->text + n, sizeof(e->text) - n, ": %s", strerror(sys));
	}
	errno = sys;
	return -(int)kind;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char inner[sizeof(e->text)];
	va_list ap;
	size_t n;

	if (!e)
		return -(int)ERR_INTERNAL;
	assert(e->kind != ERR_NONE);
	memcpy(inner, e->text, sizeof(inner));
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	(void)snprintf(e->text + n, sizeof(e->text) - n, ": %s", inner);
	return -(int)e->kind;
}

void err_clear(struct err *e)
{
	if (e)
		*e = (struct err){0};
}
