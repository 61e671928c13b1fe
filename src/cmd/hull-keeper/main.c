/*
 * hull-keeper: supervises one container. It is started by hulld with a connected packet socket as
 * descriptor 3, from which its orders come; it has no command line. Wiring only: virt/keeper does
 * the work.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "ground/linux/process.h"
#include "virt/keeper/files.h"
#include "virt/keeper/sandbox.h"
#include "virt/keeper/supervisor.h"

#define ORDERS_FD 3
#define NETNS_FD  4

/* sandbox DIRECTORY HOSTNAME own|host [INIT] */
static int make_sandbox(int argc, char **argv, struct err *e)
{
	bool host = argc > 4 && strcmp(argv[4], "host") == 0;

	return sandbox_child(ORDERS_FD, argv[2], argv[3], host, argc > 5 ? argv[5] : NULL, e);
}

int main(int argc, char **argv)
{
	struct err e = {0};
	bool files = argc == 2 && strcmp(argv[1], "files") == 0;
	bool sandbox = argc >= 4 && strcmp(argv[1], "sandbox") == 0;
	bool reach = argc == 3 && strcmp(argv[1], "connect") == 0;
	int r;

	if (argc != 1 && !files && !sandbox && !reach) {
		(void)fprintf(stderr, "%s is started by hulld and takes no arguments\n", argv[0]);
		return 2;
	}
	log_setup("hull-keeper", 2, LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	if (files) {
		r = files_child(ORDERS_FD, &e);
	} else if (reach) {
		r = sandbox_connect_child(ORDERS_FD, NETNS_FD, argv[2], &e);
	} else if (sandbox) {
		r = make_sandbox(argc, argv, &e);
	} else {
		/* What runs in a container must not reach this program's file through /proc. */
		r = process_protect_exe(argv, &e);
		if (r == 0)
			r = supervisor_run(ORDERS_FD, &world_real, &e);
	}
	if (r < 0)
		log_error("%s", e.text);
	/* At once: whatever a library does last would do it in the namespaces just made. */
	if (sandbox || reach)
		_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
