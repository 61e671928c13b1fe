/*
 * Eats memory: touches as many MiB as asked, or without end, then says so and ends with 0.
 * usage: eat [MIB]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	long want = argc > 1 ? strtol(argv[1], NULL, 10) : -1;

	for (long i = 0; i != want; i++) {
		char *p = malloc(1 << 20);
		if (p == NULL)
			return 3;
		memset(p, (int)i + 1, 1 << 20);
	}
	puts("eaten");
	return 0;
}
