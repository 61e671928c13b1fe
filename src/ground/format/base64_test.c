/*
 * Base64 by the examples of RFC 4648 §10, and what is not base64.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/format/base64.h"

static void test_examples(void **state)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
		{"\xff\xef\xbe", "/+++"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		auto_strbuf struct strbuf text = {0};
		auto_strbuf struct strbuf back = {0};

		base64_encode(str_of(cases[i][0]), &text);
		assert_string_equal(strbuf_text(&text), cases[i][1]);
		assert_int_equal(base64_decode(strbuf_str(&text), &back, NULL), 0);
		assert_string_equal(strbuf_text(&back), cases[i][0]);
	}
}

static void test_other_spellings(void **state)
{
	auto_strbuf struct strbuf a = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(base64_decode(STR("_-7-"), &a, &e), 0);
	assert_memory_equal(a.p, "\xff\xee\xfe", 3);
	strbuf_clear(&a);
	assert_int_equal(base64_decode(STR("Zg"), &a, &e), 0);
	assert_string_equal(strbuf_text(&a), "f");
	strbuf_clear(&a);
	assert_int_equal(base64_decode(STR("Zg==="), &a, &e), -ERR_INVALID);
	assert_int_equal(base64_decode(STR("Z g="), &a, &e), -ERR_INVALID);
	assert_int_equal(base64_decode(STR("Z"), &a, &e), -ERR_INVALID);
	assert_int_equal(a.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_other_spellings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
