/*
 * Any bytes as what a registry says about credentials: a challenge, a list of errors; and as the
 * header in which a client hands over its own. A challenge that is understood names a realm of a
 * known scheme, and what is written into a query can be told from the query's own signs.
 */
#include <assert.h>
#include <string.h>

#include "virt/image/registry.h"

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n);

static void check_query(const char *value)
{
	auto_strbuf struct strbuf b = {0};

	registry_query(&b, "key", value);
	assert(strspn(strbuf_text(&b) + 4,
		      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%") ==
	       b.n - 4);
}

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n)
{
	auto_arena struct arena a = {0};
	struct str bytes = {(const char *)p, n};
	const char *text = arena_dup(&a, bytes);
	struct registry_challenge c;
	struct image_auth auth;

	if (registry_challenge(text, &a, &c) && c.bearer) {
		assert(strncmp(c.realm, "https://", 8) == 0 || strncmp(c.realm, "http://", 7) == 0);
		if (c.scope)
			check_query(c.scope);
	}
	image_auth_decode(text, &a, &auth);
	assert(!auth.username || auth.username[0]);
	assert(registry_error_text(bytes, &a));
	assert(strstr(registry_basic(text, text, &a), "Basic ") != NULL);
	(void)registry_loopback(text);
	return 0;
}
