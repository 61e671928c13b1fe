/*
 * The decoder beside Zydis: random bytes, weighed so that prefixes, escapes and every opcode come
 * up, in 16-bit, 32-bit and 64-bit code. What Hull decodes as an instruction has the length that
 * Zydis finds, and a window that ends one byte early is too short for it. Where Zydis knows no
 * instruction, Hull must not know one either, but for what processors execute without a name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ground/format/x86.h"
#include "virt/vm/check/kind.h"
#include "virt/vm/cpu/decode.h"
#include "virt/vm/cpu/opcodes.h"

#define TURNS	     2000000
#define BYTES	     15
#define FAILURES_MAX 20

static const struct {
	unsigned bits;
	uint32_t mode;
} modes[] = {
	{64, MODE_CODE64 | MODE_STACK64 | MODE_RING0 | MODE_FLAT | MODE_FPU | MODE_SSE | MODE_MMX},
	{32, MODE_CODE32 | MODE_STACK32 | MODE_RING0 | MODE_FLAT | MODE_FPU | MODE_SSE | MODE_MMX},
	{16, MODE_RING0 | MODE_FLAT | MODE_FPU | MODE_SSE | MODE_MMX},
};

static void draw(struct chance *r, uint8_t bytes[BYTES])
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x64, 0x48, 0x41, 0xf0};
	unsigned n = 0;

	for (unsigned i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)chance_next(r);
	while (n < 4 && chance_below(r, 3) == 0)
		bytes[n++] = prefixes[chance_below(r, sizeof(prefixes))];
	if (chance_below(r, 2)) {
		bytes[n++] = 0x0f;
		if (chance_below(r, 4) == 0)
			bytes[n] = chance_below(r, 2) ? 0x38 : 0x3a;
	}
}

/* Bytes of the instruction, 0 for none. */
static unsigned hull_length(const uint8_t *bytes, unsigned n, uint32_t mode, bool *ret_short)
{
	struct decoded d;

	*ret_short = !decode_trace(bytes, n, 0, mode, 1, &d);
	if (*ret_short || d.op[1].run == op_ud || d.op[1].run == op_too_long)
		return 0;
	return d.bytes;
}

static bool is_prefix(uint8_t b, unsigned bits)
{
	return memchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3", b, 11) ||
	       (bits == 64 && b >> 4 == 4);
}

/*
 * What Hull decodes and Zydis does not name: aliases of x87 (D9 D8 and its kin), hints with digits
 * that are reserved, and what is #UD only when it is executed (SWAPGS outside of 64-bit mode, moves
 * of registers that do not exist).
 */
static bool unnamed(const uint8_t *bytes, unsigned bits)
{
	unsigned i = 0;

	while (i < 8 && is_prefix(bytes[i], bits))
		i++;
	if ((bytes[i] >= 0xd8 && bytes[i] <= 0xdf) || bytes[i] == 0x8c || bytes[i] == 0x8e)
		return true;
	if (bytes[i++] != 0x0f)
		return false;
	return bytes[i] == 0x01 || bytes[i] == 0x0d || bytes[i] >> 3 == 3 || bytes[i] >> 2 == 8;
}

static void tell(const uint8_t *bytes, unsigned bits, unsigned hull, unsigned zydis)
{
	print_message("%u bits: ", bits);
	for (unsigned i = 0; i < BYTES; i++)
		print_message("%02x", bytes[i]);
	print_message(": Hull %u, Zydis %u\n", hull, zydis);
}

static void test_lengths(void **state)
{
	struct chance r = {20260726};
	unsigned failures = 0, compared = 0;

	if (!x86_oracle())
		skip();
	for (unsigned i = 0; i < TURNS && failures < FAILURES_MAX; i++) {
		unsigned m = i % 3, bits = modes[m].bits, hull, zydis;
		uint8_t bytes[BYTES];
		bool cut;

		draw(&r, bytes);
		hull = hull_length(bytes, BYTES, modes[m].mode, &cut);
		assert_false(cut);
		if (hull == 0)
			continue;
		compared++;
		zydis = x86_length(bytes, BYTES, bits);
		if (hull != zydis && !(zydis == 0 && unnamed(bytes, bits))) {
			tell(bytes, bits, hull, zydis);
			failures++;
		}
		(void)hull_length(bytes, hull - 1, modes[m].mode, &cut);
		assert_true(cut);
	}
	print_message("%u instructions\n", compared);
	assert_int_equal(failures, 0);
	assert_true(compared > TURNS / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
