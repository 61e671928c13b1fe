/*
 * The other half of a symlink race: exchanges two names as fast as it can until it is killed.
 * usage: swap A B
 */
#include <fcntl.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	while (argc == 3)
		(void)renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE);
	return 1;
}
