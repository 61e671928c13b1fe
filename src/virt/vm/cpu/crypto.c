/*
 * AES, PCLMULQDQ and SHA on the host's own instructions, and which of them there are (crypto.h).
 * An immediate is part of the instruction's bytes, so each of its values is a stub of its own.
 */
#include "virt/vm/cpu/crypto.h"

#include <assert.h>
#include <cpuid.h>
#include <stddef.h>

#define STUB_BYTES 16

extern const uint8_t crypto_keygen_stub[], crypto_pclmul_stub[], crypto_sha1rnds4_stub[];

__asm__(".pushsection .text, \"ax\", @progbits\n"
	".macro crypto_stubs name:req, insn:req, count:req\n"
	".p2align 4\n"
	"\\name:\n"
	".set crypto_i, 0\n"
	".rept \\count\n"
	".p2align 4\n"
	"	endbr64\n"
	"	\\insn $crypto_i, %xmm1, %xmm0\n"
	"	ret\n"
	".set crypto_i, crypto_i + 1\n"
	".endr\n"
	".endm\n"
	"crypto_stubs crypto_keygen_stub, aeskeygenassist, 256\n"
	"crypto_stubs crypto_pclmul_stub, pclmulqdq, 32\n"
	"crypto_stubs crypto_sha1rnds4_stub, sha1rnds4, 4\n"
	".popsection\n");

typedef vec (*stub)(vec a, vec b);

static stub stub_at(const uint8_t *table, unsigned i)
{
	return (stub)(uintptr_t)(table + (size_t)i * STUB_BYTES);
}

#define HOST(name)                                           \
	static vec host_##name(vec a, vec b)                 \
	{                                                    \
		__asm__(#name " %1, %0" : "+x"(a) : "x"(b)); \
		return a;                                    \
	}

HOST(aesenc)
HOST(aesenclast)
HOST(aesdec)
HOST(aesdeclast)
HOST(aesimc)
HOST(sha1nexte)
HOST(sha1msg1)
HOST(sha1msg2)
HOST(sha256msg1)
HOST(sha256msg2)

static vec host_aeskeygenassist(vec old, vec from, unsigned imm)
{
	return stub_at(crypto_keygen_stub, imm & 0xff)(old, from);
}

static vec host_pclmulqdq(vec a, vec b, unsigned imm)
{
	return stub_at(crypto_pclmul_stub, imm & 0x11)(a, b);
}

static vec host_sha1rnds4(vec a, vec b, unsigned imm)
{
	return stub_at(crypto_sha1rnds4_stub, imm & 3)(a, b);
}

static vec host_sha256rnds2(vec a, vec b, vec wk)
{
	register vec xmm0 __asm__("xmm0") = wk;

	__asm__("sha256rnds2 %1, %0" : "+x"(a) : "x"(b), "x"(xmm0));
	return a;
}

const struct crypto crypto_host = {
	.aesenc = host_aesenc,
	.aesenclast = host_aesenclast,
	.aesdec = host_aesdec,
	.aesdeclast = host_aesdeclast,
	.aesimc = host_aesimc,
	.aeskeygenassist = host_aeskeygenassist,
	.pclmulqdq = host_pclmulqdq,
	.sha1rnds4 = host_sha1rnds4,
	.sha1nexte = host_sha1nexte,
	.sha1msg1 = host_sha1msg1,
	.sha1msg2 = host_sha1msg2,
	.sha256rnds2 = host_sha256rnds2,
	.sha256msg1 = host_sha256msg1,
	.sha256msg2 = host_sha256msg2,
};

struct crypto crypto;
static_assert(sizeof(struct crypto) == 14 * sizeof(void *), "crypto_choose() knows them all");

struct crypto_host_has crypto_host_has(void)
{
	struct crypto_host_has has = {0};
	unsigned a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d)) {
		has.aes = c & bit_AES;
		has.pclmul = c & bit_PCLMUL;
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
		has.sha = b & bit_SHA;
	return has;
}

void crypto_choose(void)
{
	struct crypto_host_has has = crypto_host_has();
	struct crypto chosen = crypto_host;

	if (!has.aes) {
		chosen.aesenc = crypto_plain.aesenc;
		chosen.aesenclast = crypto_plain.aesenclast;
		chosen.aesdec = crypto_plain.aesdec;
		chosen.aesdeclast = crypto_plain.aesdeclast;
		chosen.aesimc = crypto_plain.aesimc;
		chosen.aeskeygenassist = crypto_plain.aeskeygenassist;
	}
	if (!has.pclmul)
		chosen.pclmulqdq = crypto_plain.pclmulqdq;
	if (!has.sha) {
		chosen.sha1rnds4 = crypto_plain.sha1rnds4;
		chosen.sha1nexte = crypto_plain.sha1nexte;
		chosen.sha1msg1 = crypto_plain.sha1msg1;
		chosen.sha1msg2 = crypto_plain.sha1msg2;
		chosen.sha256rnds2 = crypto_plain.sha256rnds2;
		chosen.sha256msg1 = crypto_plain.sha256msg1;
		chosen.sha256msg2 = crypto_plain.sha256msg2;
	}
	assert(chosen.aesenc && chosen.pclmulqdq && chosen.sha256rnds2);
	crypto = chosen;
}
