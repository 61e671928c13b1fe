/*
 * Hooks: programs that a configuration wants run at six moments of a container's life
 * (runtime-spec config.md, "POSIX-platform Hooks"). Each gets the container's state on standard
 * input.
 */
#pragma once

#include "virt/container/spec.h"

/*
 * Runs n hooks in order; the first failure ends it: the error says which hook and how it ended.
 * A hook without a timeout may run for ever; one that passes its
 * timeout is killed. `what` names the moment ("poststart"). stdio of the hooks: state, caller's 1
 * and 2.
 */
int hook_run(const struct spec_hook *hooks, size_t n, const char *what, const char *state,
	     struct err *e) must_use;
