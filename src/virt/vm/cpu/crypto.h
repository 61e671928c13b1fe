/*
 * The guest's AES, carry-less multiplication and SHA instructions as functions on vectors. They
 * are executed by the host's own instructions where it has them; where it lacks one, plain C does
 * the same, slowly. The guest is shown all of them on every host.
 *
 * crypto_choose() decides once, before any vCPU runs; both sets stay callable, so that a test can
 * compare them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virt/vm/cpu/vec.h"

struct crypto {
	vec (*aesenc)(vec state, vec key);
	vec (*aesenclast)(vec state, vec key);
	vec (*aesdec)(vec state, vec key);
	vec (*aesdeclast)(vec state, vec key);
	vec (*aesimc)(vec old, vec from);
	vec (*aeskeygenassist)(vec old, vec from, unsigned imm);
	vec (*pclmulqdq)(vec a, vec b, unsigned imm);
	vec (*sha1rnds4)(vec a, vec b, unsigned imm);
	vec (*sha1nexte)(vec a, vec b);
	vec (*sha1msg1)(vec a, vec b);
	vec (*sha1msg2)(vec a, vec b);
	vec (*sha256rnds2)(vec a, vec b, vec wk); /* wk: XMM0 of the instruction */
	vec (*sha256msg1)(vec a, vec b);
	vec (*sha256msg2)(vec a, vec b);
};

/* What the handlers call. */
extern struct crypto crypto;

extern const struct crypto crypto_plain, crypto_host;

/* Which parts of crypto_host this host executes. */
struct crypto_host_has {
	bool aes, pclmul, sha;
};
struct crypto_host_has crypto_host_has(void);

void crypto_choose(void);
