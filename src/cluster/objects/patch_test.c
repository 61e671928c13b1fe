/*
 * Patches: the four kinds by example, each with what it refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/objects/patch.h"
#include "ground/base/mem.h"

struct example {
	const char *object, *patch, *outcome; /* NULL: refused */
};

static void check(enum patch_type type, const struct example *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		auto_json struct json *object = NULL, *patch = NULL, *got = NULL, *want = NULL;
		auto_strbuf struct strbuf b = {0};
		struct err e = {0};
		int r;

		assert_int_equal(json_parse(str_of(x[i].object), "object", &object, NULL), 0);
		assert_int_equal(json_parse(str_of(x[i].patch), "patch", &patch, NULL), 0);
		r = patch_apply(kind_of_word("pod"), object, type, patch, &got, &e);
		if (!x[i].outcome) {
			assert_true(r < 0 && e.text[0]);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(json_parse(str_of(x[i].outcome), "want", &want, NULL), 0);
		json_write(got, &b);
		if (!json_equal(got, want))
			fail_msg("%s + %s = %s", x[i].object, x[i].patch, strbuf_text(&b));
	}
}

static void test_json(void **state)
{
	static const struct example x[] = {
		{"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\",\"value\":[1]}]",
		 "{\"a\":1,\"b\":[1]}"},
		{"{\"a\":[1,3]}", "[{\"op\":\"add\",\"path\":\"/a/1\",\"value\":2}]",
		 "{\"a\":[1,2,3]}"},
		{"{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":2}]",
		 "{\"a\":[1,2]}"},
		{"{\"a\":[{\"b\":1}]}", "[{\"op\":\"replace\",\"path\":\"/a/0/b\",\"value\":2}]",
		 "{\"a\":[{\"b\":2}]}"},
		{"{\"a\":[[1,2]]}", "[{\"op\":\"remove\",\"path\":\"/a/0/0\"}]", "{\"a\":[[2]]}"},
		{"{\"a/b\":1,\"c~\":2}",
		 "[{\"op\":\"remove\",\"path\":\"/a~1b\"},{\"op\":\"remove\","
		 "\"path\":\"/c~0\"}]",
		 "{}"},
		{"{\"a\":1}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/b\"}]", "{\"b\":1}"},
		{"{\"a\":{}}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/b\"}]",
		 "{\"a\":{\"b\":{}}}"},
		{"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":1}]", "{\"a\":1}"},
		{"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", NULL},
		{"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", NULL},
		{"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":1}]", NULL},
		{"{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/01\",\"value\":1}]", NULL},
		{"{\"a\":[1]}", "[{\"op\":\"remove\",\"path\":\"/a/1\"}]", NULL},
		{"{\"a\":{}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]", NULL},
		{"{\"a\":{}}", "[{\"op\":\"turn\",\"path\":\"/a\"}]", NULL},
		{"{}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":1}]", NULL},
		{"{}", "{}", NULL},
	};

	(void)state;
	check(PATCH_JSON, x, array_len(x));
}

static void test_merge(void **state)
{
	static const struct example x[] = {
		{"{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":null,\"d\":3}}",
		 "{\"a\":{\"c\":2,\"d\":3}}"},
		{"{\"a\":[1]}", "{\"a\":[2],\"b\":{\"c\":null}}", "{\"a\":[2],\"b\":{}}"},
		{"{}", "[]", NULL},
	};

	(void)state;
	check(PATCH_MERGE, x, array_len(x));
}

#define SPEC(text) "{\"spec\":{" text "}}"

static void test_strategic(void **state)
{
	static const struct example x[] = {
		{SPEC("\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\"}]"),
		 SPEC("\"containers\":[{\"name\":\"a\",\"image\":\"2\"},{\"name\":\"c\"}]"),
		 SPEC("\"containers\":[{\"name\":\"a\",\"image\":\"2\"},{\"name\":\"b\"},{\"name\":"
		      "\"c\"}]")},
		{SPEC("\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]"),
		 SPEC("\"containers\":[{\"name\":\"a\",\"$patch\":\"delete\"}]"),
		 SPEC("\"containers\":[{\"name\":\"b\"}]")},
		{SPEC("\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]"),
		 SPEC("\"containers\":[{\"$patch\":\"replace\"},{\"name\":\"c\"}]"),
		 SPEC("\"containers\":[{\"name\":\"c\"}]")},
		{SPEC("\"tolerations\":[{\"key\":\"a\"}]"),
		 SPEC("\"tolerations\":[{\"key\":\"b\"}]"),
		 SPEC("\"tolerations\":[{\"key\":\"b\"}]")},
		{SPEC("\"containers\":[{\"name\":\"x\"},{\"name\":\"a\"},{\"name\":\"b\"}]"),
		 SPEC("\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]"),
		 SPEC("\"containers\":[{\"name\":\"x\"},{\"name\":\"b\"},{\"name\":\"a\"}]")},
		{"{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
		 "{\"metadata\":{\"finalizers\":[\"b\",\"c\"],\"$deleteFromPrimitiveList/"
		 "finalizers\":"
		 "[\"a\"]}}",
		 "{\"metadata\":{\"finalizers\":[\"b\",\"c\"]}}"},
		{SPEC("\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]"),
		 SPEC("\"volumes\":[{\"name\":\"v\",\"$retainKeys\":[\"name\",\"hostPath\"],"
		      "\"hostPath\":{\"path\":\"/x\"}}]"),
		 SPEC("\"volumes\":[{\"name\":\"v\",\"hostPath\":{\"path\":\"/x\"}}]")},
		{SPEC("\"nodeSelector\":{\"a\":\"b\"}"),
		 SPEC("\"nodeSelector\":{\"$patch\":\"replace\",\"c\":\"d\"}"),
		 SPEC("\"nodeSelector\":{\"c\":\"d\"}")},
		{SPEC("\"securityContext\":{\"runAsUser\":1}"), SPEC("\"securityContext\":null"),
		 SPEC("")},
		{"{}", SPEC("\"containers\":[{\"image\":\"x\"}]"), NULL},
		{"{}", "{\"$patch\":\"turn\"}", NULL},
	};

	(void)state;
	check(PATCH_STRATEGIC, x, array_len(x));
}

static void test_types(void **state)
{
	enum patch_type type;

	(void)state;
	assert_true(patch_type_of("application/merge-patch+json; charset=utf-8", &type));
	assert_int_equal(type, PATCH_MERGE);
	assert_true(patch_type_of("application/strategic-merge-patch+json", &type));
	assert_int_equal(type, PATCH_STRATEGIC);
	assert_false(patch_type_of("application/json", &type));
	assert_false(patch_type_of(NULL, &type));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_strategic),
		cmocka_unit_test(test_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
