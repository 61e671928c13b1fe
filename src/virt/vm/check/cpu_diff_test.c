/*
 * The software CPU beside the real one (diff.h): every form of every instruction that both have,
 * in 64-bit and in 32-bit code, and not one difference; and nothing in the opcode tables that was
 * not run. The short run is part of the unit tests, the long one is `make fuzz`:
 *
 *	HULL_DIFF_STATES	states of each handler (200, sanitized 60), a fifth of each form
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

#ifdef __SANITIZE_ADDRESS__
#define STATES 60 /* three times as slow */
#else
#define STATES 200
#endif
#define SEED 20260726

static struct coverage *coverage;

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t v = otherwise;

	if (text && parse_u64(str_of(text), name, &v, NULL) < 0)
		fail_msg("%s is not a number", name);
	return v;
}

static void compare(enum native_mode mode)
{
	auto_strbuf struct strbuf report = {0};
	unsigned states = (unsigned)number_of("HULL_DIFF_STATES", STATES);
	struct diff_options o = {
		.seed = number_of("HULL_DIFF_SEED", SEED),
		.mode = mode,
		.states = states,
		.states_form = states / 5,
		.coverage = coverage,
		.only = getenv("HULL_DIFF_ONLY"),
		.failures_max = 100,
		.per_form_max = 2,
	};
	struct diff_totals t;
	struct err e = {0};
	int r = diff_run(&o, &t, &report, &e);

	free(t.seen);
	if (r < 0 && e.kind == ERR_UNSUPPORTED)
		skip();
	if (r < 0)
		fail_msg("%s\n%s", e.text, strbuf_text(&report));
	print_message("%zu forms, %zu undefined on both sides; %llu states, %llu of them faults\n",
		      t.forms, t.forms_invalid, (unsigned long long)t.cases,
		      (unsigned long long)t.faults);
	if (t.differences) {
		(void)fputs(strbuf_text(&report), stdout); /* cmocka's messages are short */
		fail_msg("%llu differences in %zu forms", (unsigned long long)t.differences,
			 t.forms_different);
	}
}

static void test_64_bits(void **state)
{
	compare(NATIVE_LONG);
}

static void test_32_bits(void **state)
{
	compare(NATIVE_COMPAT);
}

/* After the two above. */
static void test_nothing_was_left_out(void **state)
{
	auto_strbuf struct strbuf report = {0};
	uint64_t states = number_of("HULL_DIFF_STATES", STATES);
	size_t missing, all;

	if (getenv("HULL_DIFF_ONLY"))
		skip();
	missing = coverage_missing(coverage, states, &report, &all);
	print_message("%zu handlers and rows of the opcode tables, %zu of them not run enough\n",
		      all, missing);
	if (missing)
		fail_msg("%s", strbuf_text(&report));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_64_bits),
		cmocka_unit_test(test_32_bits),
		cmocka_unit_test(test_nothing_was_left_out),
	};
	int failed;

	coverage = coverage_new();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(coverage);
	return failed;
}
