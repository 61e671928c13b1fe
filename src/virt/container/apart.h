/*
 * Private: creations and execs whose preparation happens in a forked child, so that a small
 * supervisor never holds a decoded configuration. See struct container_order.apart.
 */
#pragma once

#include "virt/container/container.h"

int apart_create(const struct container_order *o, struct container *ret, struct err *e) must_use;

/* create.c: the same in this very process. */
int container_create_here(const struct container_order *o, struct container *ret,
			  struct err *e) must_use;
