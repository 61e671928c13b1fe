/*
 * OpenAPI: what kubectl looks for in the documents is there, every reference has its schema, and
 * the protobuf form is made of whole messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/objects/openapi.h"
#include "ground/base/cursor.h"
#include "ground/format/protobuf.h"

static void check_references(const struct json *schemas, const struct json *j, const char *prefix)
{
	const char *reference = json_get_text(j, "$ref");
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	if (reference) {
		assert_true(text_starts(reference, prefix));
		assert_non_null(json_get(schemas, reference + strlen(prefix)));
	}
	while (json_kind(j) == JSON_OBJECT && json_next(j, &it, &key, &value))
		check_references(schemas, value, prefix);
	for (size_t i = 0; json_kind(j) == JSON_ARRAY && i < json_len(j); i++)
		check_references(schemas, json_at(j, i), prefix);
}

static void test_v3(void **state)
{
	auto_json struct json *doc = openapi_v3("apps", "v1");
	struct json *schemas = json_get(json_get(doc, "components"), "schemas");
	struct json *path = json_get(json_get(doc, "paths"),
				     "/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
	struct json *schema = json_get(schemas, "io.k8s.api.apps.v1.Deployment");
	struct json *gvk = json_at(json_get(schema, "x-kubernetes-group-version-kind"), 0);

	(void)state;
	assert_non_null(path);
	assert_string_equal(
		json_get_text(json_get(json_get(path, "patch"), "x-kubernetes-group-version-kind"),
			      "kind"),
		"Deployment");
	assert_string_equal(json_get_text(gvk, "group"), "apps");
	check_references(schemas, doc, "#/components/schemas/");
	assert_null(openapi_v3("apps", "v9"));
}

static void test_v2(void **state)
{
	auto_json struct json *doc = openapi_v2();
	struct json *schemas = json_get(doc, "definitions");
	struct json *spec = json_get(schemas, "io.k8s.api.core.v1.PodSpec");
	struct json *list = json_get(json_get(spec, "properties"), "containers");

	(void)state;
	assert_string_equal(json_get_text(list, "x-kubernetes-patch-merge-key"), "name");
	assert_string_equal(json_get_text(list, "x-kubernetes-patch-strategy"), "merge");
	check_references(schemas, doc, "#/definitions/");
}

/* Counts the fields of a message, which must be whole. */
static size_t fields_of(struct str bytes, uint32_t number, struct str *ret_last)
{
	struct cursor c = cursor_of(bytes.p, bytes.n);
	struct protobuf_field f;
	size_t n = 0;
	int r;

	while ((r = protobuf_next(&c, &f, NULL)) > 0) {
		if (f.number != number)
			continue;
		n++;
		*ret_last = f.bytes;
	}
	assert_int_equal(r, 0);
	return n;
}

static void test_protobuf(void **state)
{
	auto_strbuf struct strbuf b = {0};
	struct str definitions, paths, last;

	(void)state;
	openapi_v2_protobuf(&b);
	assert_int_equal(fields_of(strbuf_str(&b), 9, &definitions), 1);
	assert_int_equal(fields_of(definitions, 1, &last), types_built_in_n + 4);
	assert_int_equal(fields_of(strbuf_str(&b), 8, &paths), 1);
	assert_true(fields_of(paths, 2, &last) > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v3),
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_protobuf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
