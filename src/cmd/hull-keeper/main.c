/*
 * hull-keeper: supervises one container. It is started by hulld with a connected packet socket as
 * descriptor 3, from which its orders come; it has no command line. Wiring only: virt/keeper does
 * the work.
 */
#include <stdbool.h>
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

/* What runs in a container must not reach this program's file through /proc. */
static int supervise(int argc, char **argv, struct err *e)
{
	int r = process_protect_exe(argv, e);

	return r < 0 ? r : supervisor_run(ORDERS_FD, &world_real, e);
}

static int open_files(int argc, char **argv, struct err *e)
{
	return files_child(ORDERS_FD, e);
}

static int reach(int argc, char **argv, struct err *e)
{
	return sandbox_connect_child(ORDERS_FD, NETNS_FD, argv[2], e);
}

/* What it is started for: the first word, and how many there are. */
static const struct mode {
	const char *word;
	int argc_least, argc_most;
	int (*run)(int argc, char **argv, struct err *e);
	/* Leaves at once: whatever a library does last would do it in the namespaces just made. */
	bool at_once;
} modes[] = {
	{"", 1, 1, supervise, false},
	{"files", 2, 2, open_files, false},
	{"connect", 3, 3, reach, true},
	{"sandbox", 4, 6, make_sandbox, true},
};

int main(int argc, char **argv)
{
	const struct mode *m = NULL;
	struct err e = {0};
	int code;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argc > 1 ? argv[1] : "", modes[i].word) == 0 &&
		    argc >= modes[i].argc_least && argc <= modes[i].argc_most)
			m = &modes[i];
	if (!m) {
		(void)fprintf(stderr, "%s is started by hulld and takes no arguments\n", argv[0]);
		return 2;
	}
	log_setup("hull-keeper", 2, LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	code = m->run(argc, argv, &e) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (code != EXIT_SUCCESS)
		log_error("%s", e.text);
	if (m->at_once)
		_exit(code);
	return code;
}
