/*
 * Inside of seccomp*.c: the canonical text that names a filter, the compiler proper, the check of a
 * program, and the cache. Not for other rooms.
 */
#pragma once

#include "ground/linux/seccomp.h"

/* Everything that decides about the program, as bytes: equal texts mean equal programs. */
void seccomp_canonical(const struct seccomp_config *c, struct strbuf *out);

/* In a forked child: the program into `out`, flags and notifies into *ret. */
int seccomp_build(const struct seccomp_config *c, int out_fd, struct seccomp_program *ret,
		  struct err *e) must_use;

/* Flags for the kernel, and names checked, without libseccomp. */
int seccomp_flags_of(const struct seccomp_config *c, uint32_t *ret, struct err *e) must_use;

/* Is it a classic BPF program that the kernel would run: jumps inside, a return at the end? */
bool seccomp_program_sound(const struct seccomp_insn *insns, size_t n);

/* The cache. Absence, damage and foreign owners answer false; storing may fail silently. */
bool seccomp_cache_load(const char *dir, struct str canonical, struct seccomp_program *ret);
void seccomp_cache_store(const char *dir, struct str canonical, const struct seccomp_program *p);
/* One entry's bytes (fuzzed): does it hold `canonical` and a sound program? */
bool seccomp_cache_decode(struct str entry, struct str canonical, struct seccomp_program *ret);
