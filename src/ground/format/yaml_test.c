/*
 * YAML to JSON: what plain words are worth, the forms of lists and objects, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/format/json.h"
#include "ground/format/yaml.h"

static void becomes(const char *yaml, const char *json)
{
	auto_strbuf struct strbuf b = {0};
	auto_json struct json *j = NULL;
	struct err e = {0};

	if (yaml_to_json(str_of(yaml), "it", &b, &e) < 0)
		fail_msg("%s: %s", yaml, e.text);
	assert_string_equal(strbuf_text(&b), json);
	assert_int_equal(json_parse(strbuf_str(&b), "it", &j, &e), 0);
}

static void refused(const char *yaml, const char *why)
{
	auto_strbuf struct strbuf b = {0};
	struct err e = {0};

	assert_true(yaml_to_json(str_of(yaml), "it", &b, &e) < 0);
	assert_string_equal(e.text, why);
}

static void test_words(void **state)
{
	static const char *const rows[][2] = {
		{"a", "\"a\""},
		{"\"1\"", "\"1\""},
		{"'yes'", "\"yes\""},
		{"yes", "true"},
		{"Off", "false"},
		{"~", "null"},
		{"null", "null"},
		{"17", "17"},
		{"-17", "-17"},
		{"+5", "5"},
		{"017", "15"},
		{"0o17", "15"},
		{"0x1F", "31"},
		{"-0b101", "-5"},
		{"0x1_0", "16"},
		{"08", "8"},
		{"0", "0"},
		{"-0", "-0"},
		{"1.50", "1.50"},
		{".5", "0.5"},
		{"5.", "5"},
		{"1e3", "1e3"},
		{"1.5E-3", "1.5e-3"},
		{"1e", "\"1e\""},
		{"0x", "\"0x\""},
		{"1_000", "\"1_000\""},
		{"1.2.3", "\"1.2.3\""},
		{"100m", "\"100m\""},
		{"!!str 5", "\"5\""},
		{".", "\".\""},
		{"2026-11-27", "\"2026-11-27\""},
		{"18446744073709551615", "18446744073709551615"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(rows); i++)
		becomes(rows[i][0], rows[i][1]);
}

static void test_forms(void **state)
{
	(void)state;
	becomes("a: 1\nb: [x, {c: d}]\n", "{\"a\":1,\"b\":[\"x\",{\"c\":\"d\"}]}");
	becomes("- a\n- b:\n    c:\n", "[\"a\",{\"b\":{\"c\":null}}]");
	becomes("a: |\n  one\n  \"two\"\n", "{\"a\":\"one\\n\\\"two\\\"\\n\"}");
	becomes("1: a\nyes: b\n", "{\"1\":\"a\",\"yes\":\"b\"}");
	becomes("a: 1\na: 2\n", "{\"a\":1,\"a\":2}");
	becomes("# words\n---\na: b\n---\nc: d\n", "{\"a\":\"b\"}");
	becomes("{\"a\": [1, true, null]}", "{\"a\":[1,true,null]}");
	becomes("[]", "[]");
}

static void test_refused(void **state)
{
	auto_strbuf struct strbuf deep = {0};

	(void)state;
	refused("", "it: not YAML: line 1, column 1: there is nothing");
	refused("a: &x 1\nb: *x\n", "it: not YAML: line 1, column 4: anchors are not taken");
	refused("a: *x\n", "it: not YAML: line 1, column 4: aliases are not taken");
	refused("a: !!binary aGk=\n", "it: not YAML: line 1, column 4: tags are not taken");
	refused("[a]: b\n",
		"it: not YAML: line 1, column 1: a key has to be a plain word or a text");
	refused("a:\n\t- b\n",
		"it: not YAML: line 2, column 1: found character that cannot start any token");
	refused("\xff", "it: not YAML: it is not UTF-8");
	for (int i = 0; i <= JSON_DEPTH_MAX; i++)
		strbuf_add_char(&deep, '[');
	refused(strbuf_text(&deep), "it: not YAML: line 1, column 65: it is nested too deeply");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
