/*
 * Routes: the version prefix, and patterns against paths. Pure.
 */
#include <assert.h>
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/parse.h"

int route_version(const char **path, unsigned *ret_minor, struct err *e)
{
	const char *p = *path;
	const char *end;
	struct str major, rest;
	uint32_t a = 0, b = 0;

	*ret_minor = DOCKER_API_MINOR;
	if (p[0] != '/' || p[1] != 'v' || p[2] < '0' || p[2] > '9')
		return 0;
	end = strchr(p + 1, '/');
	if (!end)
		return 0;
	rest = (struct str){p + 2, (size_t)(end - p - 2)};
	if (!str_cut(&rest, '.', &major) || parse_u32(major, "version", &a, NULL) < 0 ||
	    parse_u32(rest, "version", &b, NULL) < 0)
		return 0; /* no version, hence no route */
	if (a < 1 || (a == 1 && b < DOCKER_API_MINOR_MIN))
		return err_set(e, ERR_INVALID,
			       "client version %u.%u is too old. Minimum supported API version is "
			       "1.%d, please upgrade your client to a newer version",
			       a, b, DOCKER_API_MINOR_MIN);
	if (a > 1 || b > DOCKER_API_MINOR)
		return err_set(e, ERR_INVALID,
			       "client version %u.%u is too new. Maximum supported API version is "
			       "1.%d",
			       a, b, DOCKER_API_MINOR);
	*ret_minor = b;
	*path = end;
	return 0;
}

/* The rest of a path behind a greedy parameter must end with `tail`; what is before it is the
 * value. */
static bool match_greedy(const char *path, const char *tail, struct str *ret)
{
	size_t n = strlen(path), t = strlen(tail);

	if (n <= t || strcmp(path + n - t, tail) != 0)
		return false;
	*ret = (struct str){path, n - t};
	return true;
}

static bool match(const char *pattern, const char *path, struct str values[ROUTE_PARAMS_MAX],
		  size_t *ret_n)
{
	size_t n = 0;

	*ret_n = 0;
	while (*pattern) {
		if (strncmp(pattern, "{*}", 3) == 0) {
			assert(n < ROUTE_PARAMS_MAX);
			if (!match_greedy(path, pattern + 3, &values[n]))
				return false;
			*ret_n = n + 1;
			return true;
		}
		if (strncmp(pattern, "{}", 2) == 0) {
			size_t len = strcspn(path, "/");

			assert(n < ROUTE_PARAMS_MAX);
			if (len == 0)
				return false;
			values[n++] = (struct str){path, len};
			path += len;
			pattern += 2;
			continue;
		}
		if (*pattern++ != *path++)
			return false;
	}
	*ret_n = n;
	return *path == '\0';
}

const struct route *route_find(const struct route *table, size_t n, const char *method,
			       const char *path, struct arena *a,
			       const char *ret_params[ROUTE_PARAMS_MAX])
{
	for (size_t i = 0; i < n; i++) {
		struct str values[ROUTE_PARAMS_MAX];
		size_t values_n;

		if (strcmp(table[i].method, method) != 0 && strcmp(table[i].method, "*") != 0)
			continue;
		if (!match(table[i].pattern, path, values, &values_n))
			continue;
		for (size_t k = 0; k < ROUTE_PARAMS_MAX; k++)
			ret_params[k] = k < values_n ? arena_dup(a, values[k]) : NULL;
		return &table[i];
	}
	return NULL;
}
