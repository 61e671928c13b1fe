/*
 * hull-unpack: the confined child between hulld and an archive from outside. Wiring only; the work
 * is virt/image/unpack.c. Not for people: it gets its orders on descriptor 3.
 */
#include "virt/image/unpack.h"

#ifdef __SANITIZE_ADDRESS__
/* Looking for leaks at the end needs /proc and ptrace, which the confined child does not have. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

int main(void)
{
	return unpack_main();
}
