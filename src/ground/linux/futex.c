/*
 * The futex system call: see futex.h. glibc has no wrapper of its own.
 */
#include "ground/linux/futex.h"

#include <assert.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

/* #syscalls futex */
void futex_wait(const _Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
	const struct timespec at = {
		.tv_sec = (time_t)(deadline_ns / NS_PER_S),
		.tv_nsec = (long)(deadline_ns % NS_PER_S),
	};

	assert(word);
	/* FUTEX_WAIT_BITSET takes an absolute time, on the monotonic clock by default. */
	(void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
		      deadline_ns == FUTEX_NEVER ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(const _Atomic uint32_t *word, unsigned n)
{
	assert(word);
	assert(n > 0);
	(void)syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n, NULL, NULL, 0);
}
