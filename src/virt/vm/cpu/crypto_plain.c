/*
 * AES, PCLMULQDQ and SHA in plain C, for hosts without the instructions (crypto.h). FIPS 197 and
 * FIPS 180-4 by way of SDM volume 2; written to be seen right, not to be fast. The S-box is
 * computed from its definition when it is first needed: inversion in GF(2^8), then the affine map.
 */
#include <assert.h>
#include <string.h>

#include "virt/vm/cpu/crypto.h"

struct bytes {
	uint8_t b[16];
};

struct words {
	uint32_t w[4]; /* w[0] is the lowest */
};

static struct bytes bytes_of(vec v)
{
	struct bytes r;

	memcpy(&r, &v, sizeof(r));
	return r;
}

static vec of_bytes(struct bytes b)
{
	vec r;

	memcpy(&r, &b, sizeof(r));
	return r;
}

static struct words words_of(vec v)
{
	struct words r;

	memcpy(&r, &v, sizeof(r));
	return r;
}

static vec of_words(struct words w)
{
	vec r;

	memcpy(&r, &w, sizeof(r));
	return r;
}

/* ---- AES ---- */

/* Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
static uint8_t times(uint8_t a, uint8_t b)
{
	unsigned product = 0, x = a;

	for (unsigned i = 0; i < 8; i++) {
		if (b >> i & 1)
			product ^= x;
		x = x << 1 ^ (x & 0x80 ? 0x11b : 0);
	}
	return (uint8_t)product;
}

static uint8_t rotate8(uint8_t v, unsigned n)
{
	return (uint8_t)(v << n | v >> (8 - n));
}

static uint8_t inverse(uint8_t a)
{
	uint8_t r = 1;

	for (unsigned i = 0; i < 254; i++) /* a^254 = a^-1, and 0 stays 0 */
		r = times(r, a);
	return r;
}

struct boxes {
	uint8_t sub[256], back[256];
};

/* Two threads may compute it at once: both write the same, and `ready` comes last. */
static const struct boxes *boxes(void)
{
	static struct boxes box;
	static bool ready;

	if (__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		return &box;
	for (unsigned i = 0; i < 256; i++) {
		uint8_t x = inverse((uint8_t)i);
		uint8_t s =
			x ^ rotate8(x, 1) ^ rotate8(x, 2) ^ rotate8(x, 3) ^ rotate8(x, 4) ^ 0x63;

		__atomic_store_n(&box.sub[i], s, __ATOMIC_RELAXED);
		__atomic_store_n(&box.back[s], (uint8_t)i, __ATOMIC_RELAXED);
	}
	assert(box.sub[0x53] == 0xed);
	__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
	return &box;
}

/* ShiftRows and SubBytes: byte `row` of column c comes from column c + row, or c - row backwards.
 * */
static struct bytes shift_and_substitute(struct bytes s, bool back)
{
	const uint8_t *box = back ? boxes()->back : boxes()->sub;
	struct bytes r;

	for (unsigned c = 0; c < 4; c++)
		for (unsigned row = 0; row < 4; row++) {
			unsigned from = back ? (c - row) & 3 : (c + row) & 3;

			r.b[4 * c + row] = box[s.b[4 * from + row]];
		}
	return r;
}

static struct bytes mix(struct bytes s, const uint8_t factor[4])
{
	struct bytes r;

	for (unsigned i = 0; i < 16; i++) {
		uint8_t sum = 0;

		for (unsigned k = 0; k < 4; k++)
			sum ^= times(s.b[(i & 12) + ((i + k) & 3)], factor[k]);
		r.b[i] = sum;
	}
	return r;
}

static const uint8_t forward[4] = {2, 3, 1, 1}, backward[4] = {14, 11, 13, 9};

static vec plain_aesenc(vec state, vec key)
{
	return of_bytes(mix(shift_and_substitute(bytes_of(state), false), forward)) ^ key;
}

static vec plain_aesenclast(vec state, vec key)
{
	return of_bytes(shift_and_substitute(bytes_of(state), false)) ^ key;
}

static vec plain_aesdec(vec state, vec key)
{
	return of_bytes(mix(shift_and_substitute(bytes_of(state), true), backward)) ^ key;
}

static vec plain_aesdeclast(vec state, vec key)
{
	return of_bytes(shift_and_substitute(bytes_of(state), true)) ^ key;
}

static vec plain_aesimc(vec old, vec from)
{
	(void)old;
	return of_bytes(mix(bytes_of(from), backward));
}

static uint32_t substitute_word(uint32_t w)
{
	const uint8_t *box = boxes()->sub;

	return (uint32_t)box[w & 0xff] | (uint32_t)box[w >> 8 & 0xff] << 8 |
	       (uint32_t)box[w >> 16 & 0xff] << 16 | (uint32_t)box[w >> 24] << 24;
}

static vec plain_aeskeygenassist(vec old, vec from, unsigned imm)
{
	struct words s = words_of(from);
	uint32_t x1 = substitute_word(s.w[1]), x3 = substitute_word(s.w[3]);
	struct words r = {
		{x1, (x1 >> 8 | x1 << 24) ^ (imm & 0xff), x3, (x3 >> 8 | x3 << 24) ^ (imm & 0xff)}};

	(void)old;
	return of_words(r);
}

static vec plain_pclmulqdq(vec a, vec b, unsigned imm)
{
	uint64_t x = (uint64_t)a[imm & 1], y = (uint64_t)b[imm >> 4 & 1], low = 0, high = 0;

	for (unsigned i = 0; i < 64; i++)
		if (y >> i & 1) {
			low ^= x << i;
			high ^= i ? x >> (64 - i) : 0;
		}
	return (vec){(long long)low, (long long)high};
}

/* ---- SHA ---- */

static uint32_t rol(uint32_t v, unsigned n)
{
	return v << n | v >> (32 - n);
}

static uint32_t ror(uint32_t v, unsigned n)
{
	return v >> n | v << (32 - n);
}

static uint32_t choose(uint32_t x, uint32_t y, uint32_t z)
{
	return (x & y) ^ (~x & z);
}

static uint32_t majority(uint32_t x, uint32_t y, uint32_t z)
{
	return (x & y) ^ (x & z) ^ (y & z);
}

static uint32_t sha1_f(unsigned which, uint32_t b, uint32_t c, uint32_t d)
{
	return which == 0 ? choose(b, c, d) : which == 2 ? majority(b, c, d) : b ^ c ^ d;
}

/* The first word of SHA is the highest of the vector. E is within the first W (SHA1NEXTE). */
static vec plain_sha1rnds4(vec a_, vec b_, unsigned imm)
{
	static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
	struct words s = words_of(a_), w = words_of(b_);
	uint32_t a = s.w[3], b = s.w[2], c = s.w[1], d = s.w[0], e = 0;

	for (unsigned i = 0; i < 4; i++) {
		uint32_t next = sha1_f(imm & 3, b, c, d) + rol(a, 5) + w.w[3 - i] + e + k[imm & 3];

		e = d;
		d = c;
		c = rol(b, 30);
		b = a;
		a = next;
	}
	return of_words((struct words){{d, c, b, a}});
}

static vec plain_sha1nexte(vec a, vec b)
{
	struct words w = words_of(b);

	w.w[3] += rol(words_of(a).w[3], 30);
	return of_words(w);
}

static vec plain_sha1msg1(vec a, vec b)
{
	struct words x = words_of(a), y = words_of(b);

	return of_words((struct words){
		{x.w[0] ^ y.w[2], x.w[1] ^ y.w[3], x.w[2] ^ x.w[0], x.w[3] ^ x.w[1]}});
}

static vec plain_sha1msg2(vec a, vec b)
{
	struct words x = words_of(a), y = words_of(b), r;

	r.w[3] = rol(x.w[3] ^ y.w[2], 1);
	r.w[2] = rol(x.w[2] ^ y.w[1], 1);
	r.w[1] = rol(x.w[1] ^ y.w[0], 1);
	r.w[0] = rol(x.w[0] ^ r.w[3], 1);
	return of_words(r);
}

static vec plain_sha256rnds2(vec a_, vec b_, vec wk)
{
	struct words cdgh = words_of(a_), abef = words_of(b_), w = words_of(wk);
	uint32_t a = abef.w[3], b = abef.w[2], e = abef.w[1], f = abef.w[0];
	uint32_t c = cdgh.w[3], d = cdgh.w[2], g = cdgh.w[1], h = cdgh.w[0];

	for (unsigned i = 0; i < 2; i++) {
		uint32_t t1 = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + choose(e, f, g) + w.w[i];
		uint32_t t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + majority(a, b, c);

		h = g;
		g = f;
		f = e;
		e = d + t1;
		d = c;
		c = b;
		b = a;
		a = t1 + t2;
	}
	return of_words((struct words){{f, e, b, a}});
}

static uint32_t sigma0(uint32_t w)
{
	return ror(w, 7) ^ ror(w, 18) ^ w >> 3;
}

static uint32_t sigma1(uint32_t w)
{
	return ror(w, 17) ^ ror(w, 19) ^ w >> 10;
}

static vec plain_sha256msg1(vec a, vec b)
{
	struct words x = words_of(a);
	uint32_t next = words_of(b).w[0];

	return of_words((struct words){{x.w[0] + sigma0(x.w[1]), x.w[1] + sigma0(x.w[2]),
					x.w[2] + sigma0(x.w[3]), x.w[3] + sigma0(next)}});
}

static vec plain_sha256msg2(vec a, vec b)
{
	struct words x = words_of(a), y = words_of(b), r;

	r.w[0] = x.w[0] + sigma1(y.w[2]);
	r.w[1] = x.w[1] + sigma1(y.w[3]);
	r.w[2] = x.w[2] + sigma1(r.w[0]);
	r.w[3] = x.w[3] + sigma1(r.w[1]);
	return of_words(r);
}

const struct crypto crypto_plain = {
	.aesenc = plain_aesenc,
	.aesenclast = plain_aesenclast,
	.aesdec = plain_aesdec,
	.aesdeclast = plain_aesdeclast,
	.aesimc = plain_aesimc,
	.aeskeygenassist = plain_aeskeygenassist,
	.pclmulqdq = plain_pclmulqdq,
	.sha1rnds4 = plain_sha1rnds4,
	.sha1nexte = plain_sha1nexte,
	.sha1msg1 = plain_sha1msg1,
	.sha1msg2 = plain_sha1msg2,
	.sha256rnds2 = plain_sha256rnds2,
	.sha256msg1 = plain_sha256msg1,
	.sha256msg2 = plain_sha256msg2,
};
