/* Selectors of labels and of fields: what they select, how they are written, what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/format/selector.h"

static void test_labels(void **state)
{
	static const struct {
		const char *selector, *written;
		bool matches;
	} cases[] = {
		{"", "", true},
		{"a=1", "a=1", true},
		{"a==1", "a=1", true},
		{"a=2", "a=2", false},
		{"a!=2", "a!=2", true},
		{"x!=2", "x!=2", true},
		{"a in (1, 2)", "a in (1,2)", true},
		{"a notin (1,2)", "a notin (1,2)", false},
		{"a,b", "a,b", true},
		{"!a", "!a", false},
		{" ! x , a = 1", "!x,a=1", true},
		{"n>4", "n>4", true},
		{"n<4", "n<4", false},
		{"a>0,b>0", "a>0,b>0", false},
		{"a=", "a=", false},
	};
	auto_json struct json *labels = json_new_object();

	(void)state;
	json_set_text(labels, "a", "1");
	json_set_text(labels, "b", "two");
	json_set_text(labels, "n", "5");
	for (size_t i = 0; i < array_len(cases); i++) {
		auto_arena struct arena a = {0};
		auto_strbuf struct strbuf b = {0};
		struct selector s;

		assert_int_equal(selector_parse_labels(cases[i].selector, &a, &s, NULL), 0);
		assert_int_equal(selector_matches(&s, labels), cases[i].matches);
		selector_write(&s, &b);
		assert_string_equal(strbuf_text(&b), cases[i].written);
	}
}

static void test_fields(void **state)
{
	static const struct {
		const char *selector;
		bool matches;
	} cases[] = {
		{"metadata.name=x", true},	 {"metadata.name!=x", false},
		{"spec.nodeName=", true},	 {"spec.nodeName!=", false},
		{"spec.hostNetwork=true", true}, {"metadata.name=x,status.phase!=Failed", true},
		{"metadata.name==y", false},	 {"a=b\\,c", false},
	};
	auto_json struct json *object = NULL;

	(void)state;
	assert_int_equal(json_parse(STR("{\"metadata\":{\"name\":\"x\"},\"spec\":{\"hostNetwork\":"
					"true}}"),
				    "object", &object, NULL),
			 0);
	for (size_t i = 0; i < array_len(cases); i++) {
		auto_arena struct arena a = {0};
		struct selector s;

		assert_int_equal(selector_parse_fields(cases[i].selector, &a, &s, NULL), 0);
		assert_int_equal(selector_matches_fields(&s, object), cases[i].matches);
	}
}

static void test_none(void **state)
{
	static const char *const labels[] = {"a in",  "a in (", "a in (b", "=", "a=b,",
					     "a b c", "a>x",	"a=b c",   "!", "a,,b"};
	static const char *const fields[] = {"a", "a=b=c", "a=\\x", "a>b"};
	auto_arena struct arena a = {0};
	struct selector s;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < array_len(labels); i++)
		assert_int_equal(selector_parse_labels(labels[i], &a, &s, &e), -ERR_INVALID);
	for (size_t i = 0; i < array_len(fields); i++)
		assert_int_equal(selector_parse_fields(fields[i], &a, &s, &e), -ERR_INVALID);
}

static void test_json(void **state)
{
	auto_arena struct arena a = {0};
	auto_strbuf struct strbuf b = {0};
	auto_json struct json *j = NULL;
	struct selector s;

	(void)state;
	assert_int_equal(json_parse(STR("{\"matchLabels\":{\"a\":\"b\"},\"matchExpressions\":[{"
					"\"key\":\"c\",\"operator\":\"In\",\"values\":[\"d\",\"e\"]"
					"},{\"key\":\"f\",\"operator\":\"Exists\"}]}"),
				    "selector", &j, NULL),
			 0);
	assert_int_equal(selector_of_json(j, &a, &s, NULL), 0);
	selector_write(&s, &b);
	assert_string_equal(strbuf_text(&b), "a=b,c in (d,e),f");
	assert_int_equal(selector_of_json(NULL, &a, &s, NULL), 0);
	assert_int_equal(s.n, 0);
	json_set_text(json_at(json_get(j, "matchExpressions"), 0), "operator", "Near");
	assert_int_equal(selector_of_json(j, &a, &s, NULL), -ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
