/*
 * The accelerator on this host's KVM, with guests of a few instructions: see the test's names.
 * Skipped where there is no /dev/kvm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "virt/vm/kvm/probe.h"

static void probes(void **state)
{
	struct kvm_verdict v, w;

	kvm_probe(&v);
	kvm_probe(&w);
	print_message("present %d usable %d in %u us, kernel %u ps: %s\n", v.present, v.usable,
		      v.took_us, v.kernel_ps, v.reason);
	assert_int_equal(v.usable, w.usable);
	assert_int_equal(v.usable, v.reason[0] == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(probes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
