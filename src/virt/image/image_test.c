/*
 * The text half of the room: references, manifests, configs, challenges, credentials. What needs a
 * registry or the confined child is tested from outside (test/image).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "virt/image/image_priv.h"
#include "virt/image/registry.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct name_case {
	const char *text, *full, *familiar; /* full NULL: refused, familiar: part of the message */
};

static const struct name_case names[] = {
	{"alpine", "docker.io/library/alpine:latest", "alpine:latest"},
	{"alpine:3.19", "docker.io/library/alpine:3.19", "alpine:3.19"},
	{"docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"},
	{"index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"},
	{"me/app", "docker.io/me/app:latest", "me/app:latest"},
	{"localhost/app", "localhost/app:latest", "localhost/app:latest"},
	{"localhost:5000/a/b-c_d__e.f:T.a-g", "localhost:5000/a/b-c_d__e.f:T.a-g",
	 "localhost:5000/a/b-c_d__e.f:T.a-g"},
	{"reg.lan/x@sha256:" HEX, "reg.lan/x@sha256:" HEX, "reg.lan/x@sha256:" HEX},
	{"[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"},
	{"", NULL, "empty"},
	{"Alpine", NULL, "must be lowercase"},
	{"a/Bc", NULL, "must be lowercase"},
	{HEX, NULL, "64-byte hexadecimal"},
	{"alpine:", NULL, "tag"},
	{"alpine:-x", NULL, "tag"},
	{"a//b", NULL, "repository name"},
	{"a/", NULL, "repository name"},
	{"a..b", NULL, "repository name"},
	{"a___b", NULL, "repository name"},
	{"-a", NULL, "repository name"},
	{"a b", NULL, "repository name"},
	{"../x", NULL, "host"},
	{"x@sha256:abc", NULL, "digest"},
	{"x@md5:abc", NULL, "digest"},
	{":tag", NULL, "empty"},
	{"reg.lan:port/x", NULL, "host"},
};

static void test_references(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(names); i++) {
		auto_free char *full = NULL, *familiar = NULL;
		struct err e = {0};
		int r = image_reference_normal(names[i].text, &full, &familiar, &e);

		if (names[i].full) {
			assert_int_equal(r, 0);
			assert_string_equal(full, names[i].full);
			assert_string_equal(familiar, names[i].familiar);
		} else {
			assert_int_equal(r, -ERR_INVALID);
			assert_non_null(strstr(e.text, names[i].familiar));
		}
	}
}

static void test_long_tag(void **state)
{
	char text[300] = "x:";
	struct err e = {0};

	(void)state;
	memset(text + 2, 'a', 128);
	assert_int_equal(image_reference_normal(text, NULL, NULL, &e), 0);
	memset(text + 2, 'a', 129);
	assert_int_equal(image_reference_normal(text, NULL, NULL, &e), -ERR_INVALID);
}

#define PART(digest) "{\"mediaType\":\"x\",\"size\":3,\"digest\":\"" digest "\"}"

struct manifest_case {
	const char *json, *message; /* NULL: fine */
};

static const struct manifest_case manifests[] = {
	{"{\"schemaVersion\":2,\"config\":" PART("sha256:" HEX) ",\"layers\":[" PART(
		 "sha256:" HEX) "]}",
	 NULL},
	{"{\"schemaVersion\":2,\"manifests\":[" PART("sha256:" HEX) "]}", NULL},
	{"{\"schemaVersion\":1,\"fsLayers\":[]}", "schema 1"},
	{"{\"schemaVersion\":2,\"layers\":[],\"manifests\":[],\"config\":" PART("sha256:" HEX) "}",
	 "both"},
	{"{\"schemaVersion\":2}", "neither"},
	{"{\"schemaVersion\":2,\"layers\":[]}", "config"},
	{"{\"schemaVersion\":2,\"config\":" PART("sha256:../../etc/passwd") ",\"layers\":[]}",
	 "digest"},
	{"{\"schemaVersion\":2,\"config\":" PART("sha256:" HEX) ",\"layers\":[" PART("md5:1") "]}",
	 "layers[0].digest"},
	{"{\"schemaVersion\":2,\"config\":" PART(
		 "sha256:" HEX) ",\"layers\":[{\"size\":-1,\"digest\":\"sha256:" HEX "\"}]}",
	 "layers[0].size"},
	{"{\"schemaVersion\":2,\"config\":" PART(
		 "sha256:" HEX) ",\"layers\":[{\"size\":1,\"urls\":[\"http://evil/"
				"\"],\"digest\":\"sha256:" HEX "\"}]}",
	 "foreign"},
	{"{\"schemaVersion\":2,\"config\":" PART("sha256:" HEX) ",\"layers\":[{\"size\":\"1\"}]}",
	 "layers[0]"},
	{"{\"schemaVersion\":2,\n\"layers\":[}", "line 2"},
	{"[]", "schemaVersion"},
};

static void test_manifests(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(manifests); i++) {
		auto_arena struct arena a = {0};
		struct manifest m;
		struct err e = {0};
		int r = manifest_parse(str_of(manifests[i].json), "manifest of x", NULL, &a, &m,
				       &e);

		if (!manifests[i].message) {
			assert_int_equal(r, 0);
			continue;
		}
		assert_true(r < 0);
		assert_non_null(strstr(e.text, manifests[i].message));
		assert_non_null(strstr(e.text, "manifest of x"));
	}
}

static void test_platforms(void **state)
{
	static const char json[] =
		"{\"schemaVersion\":2,\"manifests\":["
		"{\"size\":1,\"digest\":\"sha256:" HEX
		"\",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\","
		"\"variant\":\"v6\"}},"
		"{\"size\":2,\"digest\":\"sha256:" HEX
		"\",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\","
		"\"variant\":\"v7\"}},"
		"{\"size\":3,\"digest\":\"sha256:" HEX
		"\",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}]}";
	auto_arena struct arena a = {0};
	const struct manifest_part *part = NULL;
	struct manifest_platform want;
	struct manifest m;
	struct err e = {0};

	(void)state;
	assert_int_equal(manifest_parse(str_of(json), "x", NULL, &a, &m, &e), 0);
	assert_int_equal(manifest_platform_parse("linux/arm", &a, &want, &e), 0);
	assert_int_equal(manifest_choose(&m, &want, "x", &part, &e), 0);
	assert_int_equal(part->size_bytes, 2);
	assert_int_equal(manifest_platform_parse("linux/arm/v6", &a, &want, &e), 0);
	assert_int_equal(manifest_choose(&m, &want, "x", &part, &e), 0);
	assert_int_equal(part->size_bytes, 1);
	assert_int_equal(manifest_platform_parse("linux/s390x", &a, &want, &e), 0);
	assert_int_equal(manifest_choose(&m, &want, "x", &part, &e), -ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "linux/amd64"));
	assert_int_equal(manifest_platform_parse("a/b/c/d", &a, &want, &e), -ERR_INVALID);
}

static void test_config(void **state)
{
	static const char json[] = "{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":"
				   "\"2026-01-02T03:04:05Z\",\"config\":{"
				   "\"Env\":[\"A=b\"],\"Cmd\":[\"sh\"],\"ExposedPorts\":{\"80/"
				   "tcp\":{},\"53/udp\":{}},\"Volumes\":{\"/d\":{}},"
				   "\"Labels\":{\"k\":\"v\"},\"Healthcheck\":{\"Test\":[\"CMD\","
				   "\"x\"],\"Interval\":5000000000}},"
				   "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:" HEX
				   "\"]},\"history\":[{\"created_by\":\"x\"}]}";
	struct image *i = NULL;
	struct err e = {0};

	(void)state;
	assert_int_equal(manifest_config(str_of(json), "config", &i, &e), 0);
	assert_int_equal(i->layers_n, 1);
	assert_int_equal(i->ports_n, 2);
	assert_int_equal(i->ports[1].port, 53);
	assert_string_equal(i->ports[1].protocol, "udp");
	assert_string_equal(i->volumes[0], "/d");
	assert_string_equal(i->labels[0].value, "v");
	assert_int_equal(i->health.interval_ns, 5000000000);
	assert_true(i->created_ns > 0);
	(void)image_unref(i);
	assert_true(manifest_config(STR("{\"rootfs\":{\"diff_ids\":[\"x\"]}}"), "config", &i, &e) <
		    0);
	assert_non_null(strstr(e.text, "rootfs.diff_ids[0]"));
	assert_true(
		manifest_config(STR("{\"config\":{\"ExposedPorts\":{\"99999\":{}}},\"rootfs\":{}}"),
				"config", &i, &e) < 0);
	assert_non_null(strstr(e.text, "99999"));
	assert_true(manifest_config(STR("{}"), "config", &i, &e) < 0);
}

static void test_challenges(void **state)
{
	auto_arena struct arena a = {0};
	struct registry_challenge c;

	(void)state;
	assert_true(registry_challenge(
		"Bearer realm=\"https://auth.x/token\",service=\"reg.x\",scope=\"a,b\"", &a, &c));
	assert_true(c.bearer);
	assert_string_equal(c.realm, "https://auth.x/token");
	assert_string_equal(c.service, "reg.x");
	assert_string_equal(c.scope, "a,b");
	assert_true(registry_challenge("Basic realm=\"x\"", &a, &c));
	assert_false(c.bearer);
	assert_false(registry_challenge("Bearer realm=\"file:///etc/passwd\"", &a, &c));
	assert_false(registry_challenge("Bearer realm=\"https://unterminated", &a, &c));
	assert_false(registry_challenge("Negotiate", &a, &c));
	assert_false(registry_challenge(NULL, &a, &c));
}

static void test_auth(void **state)
{
	auto_arena struct arena a = {0};
	struct image_auth auth;

	(void)state;
	/* {"username":"u","password":"p?>"} in base64url */
	image_auth_decode("eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA_PiJ9", &a, &auth);
	assert_string_equal(auth.username, "u");
	assert_string_equal(auth.password, "p?>");
	image_auth_decode("!!!", &a, &auth);
	assert_null(auth.username);
	image_auth_decode(NULL, &a, &auth);
	assert_null(auth.username);
	assert_string_equal(registry_basic("Aladdin", "open sesame", &a),
			    "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

static void test_insecure(void **state)
{
	char *listed[] = {"reg.lan:5000", NULL};
	struct registry_settings s = {.insecure = listed};

	(void)state;
	assert_true(registry_insecure(&s, "localhost:5000"));
	assert_true(registry_insecure(&s, "127.1.2.3"));
	assert_true(registry_insecure(&s, "reg.lan:5000"));
	assert_false(registry_insecure(&s, "reg.lan"));
	assert_false(registry_insecure(&s, "127.0.0.1.evil.com"));
	assert_false(registry_insecure(&s, "localhost.evil.com"));
}

static void test_query(void **state)
{
	auto_strbuf struct strbuf b = {0};

	(void)state;
	registry_query(&b, "a", "x y&z=1");
	registry_query(&b, "b", "~");
	assert_string_equal(strbuf_text(&b), "a=x%20y%26z%3D1&b=~");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_references), cmocka_unit_test(test_long_tag),
		cmocka_unit_test(test_manifests),  cmocka_unit_test(test_platforms),
		cmocka_unit_test(test_config),	   cmocka_unit_test(test_challenges),
		cmocka_unit_test(test_auth),	   cmocka_unit_test(test_insecure),
		cmocka_unit_test(test_query),
	};

	return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
