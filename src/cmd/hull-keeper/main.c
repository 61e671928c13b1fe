/*
 * hull-keeper: supervises one container. It is started by hulld with a connected packet socket as
 * descriptor 3, from which its orders come; it has no command line. Wiring only: virt/keeper does
 * the work.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ground/base/log.h"
#include "ground/linux/process.h"
#include "virt/keeper/supervisor.h"

#define ORDERS_FD 3

int main(int argc, char **argv)
{
	struct err e = {0};

	if (argc != 1) {
		(void)fprintf(stderr, "%s is started by hulld and takes no arguments\n", argv[0]);
		return 2;
	}
	log_setup("hull-keeper", 2, LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	/* What runs in a container must not reach this program's file through /proc. */
	if (process_protect_exe(argv, &e) < 0 || supervisor_run(ORDERS_FD, &world_real, &e) < 0) {
		log_error("%s", e.text);
		return 1;
	}
	return EXIT_SUCCESS;
}
