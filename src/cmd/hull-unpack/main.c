/*
 * hull-unpack: the confined child between hulld and an archive from outside. Wiring only; the work
 * is virt/image/unpack.c. Not for people: it gets its orders on descriptor 3.
 */
#include "virt/image/unpack.h"

int main(void)
{
	return unpack_main();
}
