/* Fuzz: a cache entry from arbitrary bytes; what is accepted must be sound. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "ground/linux/seccomp_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seccomp_program p = {0};

	if (seccomp_cache_decode((struct str){(const char *)data, size}, STR("x"), &p)) {
		assert(seccomp_program_sound(p.insns, p.n));
		seccomp_program_done(&p);
	}
	return 0;
}
