/* Quantities: what is read, how it is written again, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/format/quantity.h"

static void test_values(void **state)
{
	static const struct {
		const char *text, *again;
		int64_t whole, milli;
	} cases[] = {
		{"0", "0", 0, 0},
		{"1", "1", 1, 1000},
		{"1000m", "1", 1, 1000},
		{"0.5", "500m", 1, 500},
		{"1500m", "1500m", 2, 1500},
		{"100m", "100m", 1, 100},
		{"1Ki", "1Ki", 1024, 1024000},
		{"1.5Gi", "1536Mi", 1610612736, 1610612736000},
		{"0.5Ki", "512", 512, 512000},
		{"1024Mi", "1Gi", 1073741824, 1073741824000},
		{"1000k", "1M", 1000000, 1000000000},
		{"12e3", "12e3", 12000, 12000000},
		{"1E", "1E", 1000000000000000000, INT64_MAX},
		{"-1.5", "-1500m", -1, -1500},
		{"+3", "3", 3, 3000},
		{"1n", "1n", 1, 1},
		{"0.0000000001", "1n", 1, 1}, /* rounded up */
		{"9999999999999999999E", NULL, INT64_MAX, INT64_MAX},
		{"10Ei", NULL, INT64_MAX, INT64_MAX},
		{".5", "500m", 1, 500},
		{"5.", "5", 5, 5000},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char text[QUANTITY_CHARS];
		struct quantity q;

		assert_int_equal(quantity_parse(str_of(cases[i].text), &q, NULL), 0);
		assert_int_equal(quantity_whole(&q), cases[i].whole);
		assert_int_equal(quantity_milli(&q), cases[i].milli);
		if (cases[i].again)
			assert_string_equal(quantity_text(&q, text), cases[i].again);
	}
}

static void test_none(void **state)
{
	static const char *const cases[] = {"",	  "x",	"1x",  "1 ",  "1.2.3", "-",  "Ki", "1KiB",
					    "1e", "e3", "1e+", "--1", "0x1",   " 1", ".",  "1ki"};
	struct quantity q;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++)
		assert_int_equal(quantity_parse(str_of(cases[i]), &q, &e), -ERR_INVALID);
	assert_non_null(strstr(e.text, "quantities must match the regular expression"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
