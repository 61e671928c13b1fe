/* Unit tests of native.c: what the oracle says about instructions that everybody knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "virt/vm/check/native.h"

enum { RAX, RCX, RDX, RBX, RSP };

static struct native *oracle(void)
{
	struct err e = {0};
	struct native *n = native_new(&e);

	if (!n)
		fail_msg("%s", e.text);
	return n;
}

static struct native_case *put(struct native *n, uint32_t i, const char *code, uint8_t bytes)
{
	struct native_case *c = &n->batch->cases[i];

	memset(c, 0, sizeof(*c));
	memcpy(c->code, code, bytes);
	c->code_bytes = bytes;
	c->before.rip = NATIVE_CODE + 0x100;
	c->before.rflags = 2;
	c->before.gpr[RSP] = NATIVE_DATA + 0x1000;
	c->before.fx[0] = 0x7f;
	c->before.fx[1] = 3;
	c->before.fx[24] = 0x80;
	c->before.fx[25] = 0x1f;
	return c;
}

static void run(struct native *n, uint32_t count)
{
	struct err e = {0};

	if (native_run(n, count, &e) < 0)
		fail_msg("%s", e.text);
}

static void test_steps_one_instruction(void **state)
{
	struct native *n = oracle();
	struct native_case *c = put(n, 0, "\x48\x01\xd8\x48\x01\xd8", 6); /* add rax, rbx; twice */
	struct native_case *p = put(n, 1, "\x50", 1);			  /* push rax */

	c->before.gpr[RAX] = 0xffffffffffffffffull;
	c->before.gpr[RBX] = 1;
	p->before.gpr[RAX] = 77;
	run(n, 2);
	assert_int_equal(c->after.verdict, NATIVE_RAN);
	assert_int_equal(c->after.state.gpr[RAX], 0);
	assert_int_equal(c->after.state.rip, c->before.rip + 3);
	assert_int_equal(c->after.state.rflags & 0x8d5, 0x55); /* ZF PF AF CF */
	assert_int_equal(c->after.words, 0);
	assert_int_equal(p->after.verdict, NATIVE_RAN);
	assert_int_equal(p->after.words, 1);
	assert_int_equal(p->after.word[0].index, 0x1ff);
	assert_int_equal(p->after.word[0].value, 77);
	assert_null(native_free(n));
}

static void test_reports_faults(void **state)
{
	struct native *n = oracle();
	struct native_case *div = put(n, 0, "\xf7\xf1", 2);	     /* div ecx */
	struct native_case *hole = put(n, 1, "\x8b\x03", 2);	     /* mov eax, [rbx] */
	struct native_case *ro = put(n, 2, "\x89\x03", 2);	     /* mov [rbx], eax */
	struct native_case *far = put(n, 3, "\x8b\x03", 2);	     /* not canonical */
	struct native_case *ud = put(n, 4, "\x0f\x0b", 2);	     /* ud2 */
	struct native_case *call = put(n, 5, "\x0f\x05", 2);	     /* syscall */
	struct native_case *fine = put(n, 6, "\x66\x0f\xef\xc0", 4); /* pxor xmm0, xmm0 */
	struct native_case *xm = put(n, 7, "\xf3\x0f\x5e\xc1", 4);   /* divss xmm0, xmm1 */

	hole->before.gpr[RBX] = NATIVE_DATA + NATIVE_DATA_BYTES - 2;
	ro->before.gpr[RBX] = NATIVE_DATA + (uint64_t)NATIVE_DATA_WRITE * NATIVE_PAGE - 2;
	far->before.gpr[RBX] = 0x8000000000000000ull;
	memset(fine->before.fx + 160, 0xaa, 16);
	xm->before.fx[24] = xm->before.fx[25] = 0;
	run(n, 8);
	assert_int_equal(div->after.vector, 0);
	assert_int_equal(hole->after.vector, 14);
	assert_int_equal(hole->after.error, 4);
	assert_int_equal(hole->after.address, NATIVE_DATA + NATIVE_DATA_BYTES);
	assert_int_equal(ro->after.vector, 14);
	assert_int_equal(ro->after.error, 7);
	assert_int_equal(ro->after.words, 0);
	assert_int_equal(far->after.vector, 13);
	assert_int_equal(ud->after.vector, 6);
	assert_int_equal(call->after.verdict, NATIVE_FAULTED);
	assert_int_equal(call->after.vector, 255);
	assert_int_equal(fine->after.verdict, NATIVE_RAN);
	assert_int_equal(fine->after.state.fx[160], 0);
	assert_int_equal(xm->after.vector, 19);
	assert_null(native_free(n));
}

static void test_break_and_compat(void **state)
{
	struct native *n = oracle();
	struct native_case *rep = put(n, 0, "\xf3\xaa", 2); /* rep stosb */
	struct native_case *inc = put(n, 1, "\x40", 1);	    /* inc eax */

	rep->end = NATIVE_BREAK;
	rep->before.gpr[RCX] = 9;
	rep->before.gpr[RAX] = 0x5a;
	rep->before.gpr[7] = NATIVE_DATA + 8;
	inc->mode = NATIVE_COMPAT;
	inc->before.gpr[RAX] = 0xffffffff;
	run(n, 2);
	assert_int_equal(rep->after.verdict, NATIVE_RAN);
	assert_int_equal(rep->after.words, 2);
	assert_int_equal(rep->after.word[0].value, 0x5a5a5a5a5a5a5a5aull);
	assert_int_equal(inc->after.verdict, NATIVE_RAN);
	assert_int_equal(inc->after.state.gpr[RAX], 0);
	assert_int_equal(inc->after.state.rip, inc->before.rip + 1);
	assert_null(native_free(n));
}

/* Every case starts from the same memory, however many went before. */
static void test_batch_is_clean(void **state)
{
	struct native *n = oracle();

	for (uint32_t i = 0; i < NATIVE_CASES_MAX; i++) {
		struct native_case *c = put(n, i, "\x48\xff\x03", 3); /* inc qword [rbx] */

		c->before.gpr[RBX] = NATIVE_DATA + 0x800;
		c->patch_at = 0x800;
		c->patch_bytes = i & 1 ? 4 : 0;
		c->patch[0] = 7;
	}
	n->batch->background[0x800] = 3;
	for (int turn = 0; turn < 4; turn++)
		run(n, NATIVE_CASES_MAX);
	for (uint32_t i = 0; i < NATIVE_CASES_MAX; i++) {
		const struct native_result *r = &n->batch->cases[i].after;

		assert_int_equal(r->verdict, NATIVE_RAN);
		assert_int_equal(r->words, 1);
		assert_int_equal(r->word[0].value, i & 1 ? 8 : 4);
	}
	assert_null(native_free(n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps_one_instruction),
		cmocka_unit_test(test_reports_faults),
		cmocka_unit_test(test_break_and_compat),
		cmocka_unit_test(test_batch_is_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
