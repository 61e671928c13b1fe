/* Protobuf's wire format: what is written is read, what is cut off or wrong is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/format/protobuf.h"

static void test_round_trip(void **state)
{
	auto_strbuf struct strbuf b = {0};
	struct protobuf_field f;
	struct cursor c;

	(void)state;
	protobuf_put_varint(&b, 1, 0);
	protobuf_put_varint(&b, 2, UINT64_MAX);
	protobuf_put_bytes(&b, 536870911, STR("text"));
	protobuf_put_bytes(&b, 3, STR(""));
	c = cursor_of(b.p, b.n);
	assert_int_equal(protobuf_next(&c, &f, NULL), 1);
	assert_int_equal(f.number, 1);
	assert_int_equal(f.value, 0);
	assert_int_equal(protobuf_next(&c, &f, NULL), 1);
	assert_true(f.value == UINT64_MAX);
	assert_int_equal(protobuf_next(&c, &f, NULL), 1);
	assert_int_equal(f.number, 536870911);
	assert_true(str_is(f.bytes, "text"));
	assert_int_equal(protobuf_next(&c, &f, NULL), 1);
	assert_int_equal(f.bytes.n, 0);
	assert_int_equal(protobuf_next(&c, &f, NULL), 0);
}

static void test_fixed(void **state)
{
	struct cursor c = cursor_of("\x09\x01\x02\x03\x04\x05\x06\x07\x08\x15\x01\0\0\0", 14);
	struct protobuf_field f;

	(void)state;
	assert_int_equal(protobuf_next(&c, &f, NULL), 1);
	assert_true(f.value == 0x0807060504030201);
	assert_int_equal(protobuf_next(&c, &f, NULL), 1);
	assert_int_equal(f.number, 2);
	assert_int_equal(f.value, 1);
	assert_int_equal(protobuf_next(&c, &f, NULL), 0);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} cases[] = {
		{"\x08", 1},					      /* no value */
		{"\x08\x80", 2},				      /* half a value */
		{"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11}, /* more than 64 bits */
		{"\x0a\x05text", 6},				      /* a byte is missing */
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* a length of 2^64 - 1 */
		{"\x00\x00", 2},				      /* field 0 */
		{"\x0b", 1},					      /* a group */
		{"\x0f\x00", 2},				      /* wire type 7 */
		{"\x09\x01", 2},				      /* fixed64 cut off */
		{"\x0d\x01", 2},				      /* fixed32 cut off */
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct cursor c = cursor_of(cases[i].bytes, cases[i].n);
		struct protobuf_field f;
		struct err e = {0};

		assert_int_equal(protobuf_next(&c, &f, &e), -ERR_INVALID);
		assert_true(text_starts(e.text, "protobuf: "));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
