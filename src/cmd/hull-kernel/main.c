/*
 * hull-kernel: keeps kernels for machines below <root>/kernel/ID/ (ID: 12 digits of the vmlinux's
 * digest): `vmlinux` unpacked once, `initrd` made of hull-init and the modules that a machine of Hull
 * needs, `about.json`. Run by `hull vm kernel`; it is a program of its own because it reads packages.
 *
 *	hull-kernel add ROOT INIT PACKAGE.deb|installed	prints the ID
 *	hull-kernel ls ROOT				prints one JSON object a line
 *	hull-kernel rm ROOT ID...
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

int main(int argc, char **argv)
{
	struct err e = {0};
	int r = -1;

	if (argc == 5 && text_eq(argv[1], "add"))
		r = kernel_add(argv[2], argv[3], argv[4], &e);
	else if (argc == 3 && text_eq(argv[1], "ls"))
		r = kernel_list(argv[2], &e);
	else if (argc >= 4 && text_eq(argv[1], "rm"))
		r = kernel_remove(argv[2], argv + 3, &e);
	else
		(void)err_set(&e, ERR_INVALID, "this program is run by 'hull vm kernel'");
	if (r < 0)
		(void)fprintf(stderr, "hull: %s\n", e.text);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
