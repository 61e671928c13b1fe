/*
 * The body of a create call from run's options: Docker's Config, HostConfig and NetworkingConfig.
 * Only grammar is checked here; what the words mean is the daemon's to judge.
 */
#pragma once

#include "cli/run.h"
#include "ground/format/json.h"

/* `image` and the command behind it; *ret is the caller's. Errors name the option. */
int request_make(const struct run_options *o, const char *image, char *const *command,
		 struct json **ret, struct err *e) must_use;
