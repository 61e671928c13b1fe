/*
 * hull cp: files between here and a container, as a tar stream over the daemon's archive calls.
 * Copying between two containers is left to two steps.
 */
#pragma once

#include "cli/cli.h"

struct copy_options {
	bool archive, follow;
};

int copy_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
