/* The hull command line: everything is in the cli room. */
#include <signal.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	(void)sigaction(SIGPIPE, &ignore, NULL);
	return cli_main(argc, argv);
}
