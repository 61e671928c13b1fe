/*
 * What a client's address line is taken apart by: version, route, time. The first byte chooses.
 */
#include <assert.h>
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n);

static void route(const char *path)
{
	static const char *const methods[] = {"GET", "POST", "DELETE", "PUT", "HEAD"};
	const char *rest = path;
	unsigned minor = 0;

	if (route_version(&rest, &minor, NULL) < 0)
		return;
	assert(rest >= path);
	assert(minor >= DOCKER_API_MINOR_MIN);
	assert(minor <= DOCKER_API_MINOR);
	for (size_t i = 0; i < array_len(methods); i++) {
		auto_arena struct arena a = {0};
		const char *params[ROUTE_PARAMS_MAX];
		const struct route *r = route_find(routes, routes_n, methods[i], rest, &a, params);

		assert(!r || !params[0] || params[0][0]);
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n)
{
	auto_free char *text = NULL;
	int64_t ns;

	if (n == 0)
		return 0;
	text = str_dup((struct str){(const char *)bytes + 1, n - 1});
	if (bytes[0] & 1)
		route(text);
	else
		(void)param_parse_time(str_of(text), &ns, NULL);
	return 0;
}
