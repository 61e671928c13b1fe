/* hull cp: files between here and a container, as a tar stream over the archive calls. */
#pragma once

#include "cli/cli.h"

struct copy_options {
	bool archive, follow;
};

int copy_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
