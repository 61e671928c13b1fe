/*
 * The software CPU beside the real one (diff.h): every form of every instruction that both have, in
 * 64-bit and in 32-bit code, and not one difference. The short run is part of the unit tests; the
 * long one is `make fuzz`:
 *
 *	HULL_DIFF_STATES	states of each form (default 200)
 *	HULL_DIFF_SEED		another seed draws other states
 *	HULL_DIFF_ONLY		forms whose name begins so, "66 0f 58"
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ground/base/parse.h"
#include "virt/vm/check/diff.h"

#define STATES	     200
#define SEED	     20260726
#define FORMS_AT_ALL 4000 /* of a mode, that the host has: fewer mean that the enumeration broke */

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t v = otherwise;

	if (text && parse_u64(str_of(text), name, 1, UINT64_MAX, &v, NULL) < 0)
		fail_msg("%s is not a number", name);
	return v;
}

static void compare(enum native_mode mode)
{
	auto_strbuf struct strbuf report = {0};
	struct diff_options o = {
		.seed = number_of("HULL_DIFF_SEED", SEED),
		.mode = mode,
		.states = (unsigned)number_of("HULL_DIFF_STATES", STATES),
		.only = getenv("HULL_DIFF_ONLY"),
		.failures_max = 40,
		.per_form_max = 2,
	};
	struct diff_totals t;
	struct err e = {0};

	if (diff_run(&o, &t, &report, &e) == -ERR_UNSUPPORTED)
		skip();
	if (e.kind != ERR_NONE)
		fail_msg("%s\n%s", e.text, strbuf_text(&report));
	print_message("%zu forms, %zu of them undefined on both sides; %llu states, %llu faults\n",
		      t.forms, t.forms_invalid, (unsigned long long)t.cases,
		      (unsigned long long)t.faults);
	if (t.differences)
		fail_msg("%llu differences in %zu forms\n%s", (unsigned long long)t.differences,
			 t.forms_different, strbuf_text(&report));
	if (!o.only)
		assert_true(t.forms - t.forms_invalid > FORMS_AT_ALL * (mode == NATIVE_LONG ? 1 : 0) / 1);
	free(t.seen);
}

static void test_64_bits(void **state)
{
	compare(NATIVE_LONG);
}

static void test_32_bits(void **state)
{
	compare(NATIVE_COMPAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_64_bits),
		cmocka_unit_test(test_32_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
