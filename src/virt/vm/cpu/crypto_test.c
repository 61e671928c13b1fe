/* Unit tests of crypto.c and crypto_plain.c: known answers, and plain C beside the host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virt/vm/cpu/crypto.h"

#define TURNS 500

static uint64_t seed = 0x2545f4914f6cdd1dull;

static vec any(void)
{
	vec v;

	for (int i = 0; i < 2; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		v[i] = (long long)seed;
	}
	return v;
}

static void same(const char *what, vec plain, vec host)
{
	if (memcmp(&plain, &host, sizeof(plain)) != 0)
		fail_msg("%s: %016llx%016llx in plain C, %016llx%016llx by the host", what,
			 plain[1], plain[0], host[1], host[0]);
}

#define COMPARE(name, ...) \
	same(#name, crypto_plain.name(__VA_ARGS__), crypto_host.name(__VA_ARGS__))

static void test_aes_like_the_host(void **state)
{
	if (!crypto_host_has().aes)
		skip();
	for (unsigned i = 0; i < TURNS; i++) {
		vec a = any(), b = any();

		COMPARE(aesenc, a, b);
		COMPARE(aesenclast, a, b);
		COMPARE(aesdec, a, b);
		COMPARE(aesdeclast, a, b);
		COMPARE(aesimc, a, b);
		COMPARE(aeskeygenassist, a, b, i);
	}
}

static void test_pclmul_like_the_host(void **state)
{
	if (!crypto_host_has().pclmul)
		skip();
	for (unsigned i = 0; i < TURNS; i++) {
		vec a = any(), b = any();

		COMPARE(pclmulqdq, a, b, i);
	}
}

static void test_sha_like_the_host(void **state)
{
	if (!crypto_host_has().sha)
		skip();
	for (unsigned i = 0; i < TURNS; i++) {
		vec a = any(), b = any(), c = any();

		COMPARE(sha1rnds4, a, b, i);
		COMPARE(sha1nexte, a, b);
		COMPARE(sha1msg1, a, b);
		COMPARE(sha1msg2, a, b);
		COMPARE(sha256rnds2, a, b, c);
		COMPARE(sha256msg1, a, b);
		COMPARE(sha256msg2, a, b);
	}
}

/* FIPS 197, appendix B: the last round's key and state. */
static void test_known_answer(void **state)
{
	static const uint8_t before[16] = {0xeb, 0x40, 0xf2, 0x1e, 0x59, 0x2e, 0x38, 0x84,
					   0x8b, 0xa1, 0x13, 0xe7, 0x1b, 0xc3, 0x42, 0xd2};
	static const uint8_t key[16] = {0xd0, 0x14, 0xf9, 0xa8, 0xc9, 0xee, 0x25, 0x89,
					0xe1, 0x3f, 0x0c, 0xc8, 0xb6, 0x63, 0x0c, 0xa6};
	static const uint8_t after[16] = {0x39, 0x25, 0x84, 0x1d, 0x02, 0xdc, 0x09, 0xfb,
					  0xdc, 0x11, 0x85, 0x97, 0x19, 0x6a, 0x0b, 0x32};
	vec s, k, r;

	memcpy(&s, before, 16);
	memcpy(&k, key, 16);
	r = crypto_plain.aesenclast(s, k);
	assert_memory_equal(&r, after, 16);
	crypto_choose();
	r = crypto.aesenclast(s, k);
	assert_memory_equal(&r, after, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answer),
		cmocka_unit_test(test_aes_like_the_host),
		cmocka_unit_test(test_pclmul_like_the_host),
		cmocka_unit_test(test_sha_like_the_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
