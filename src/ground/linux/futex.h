/*
 * A word that threads of one process sleep on: the kernel's futex, private, with absolute deadlines
 * on the monotonic clock. Whoever waits looks at the word again afterwards: waking up early, for a
 * signal or for nothing, is no promise.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define FUTEX_NEVER UINT64_MAX

/* Sleeps while *word is `expected`, until woken or `deadline_ns` has come. */
void futex_wait(const _Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns);
/* Wakes at most n sleepers; the word has been changed before. */
void futex_wake(const _Atomic uint32_t *word, unsigned n);
