/*
 * The other side of the comparison: a guest on the software CPU whose user mode looks like the
 * oracle's (native.h): the same pages at the same addresses with the same rights, the same
 * selectors and segment bases, exceptions enabled as Linux has them. A case runs at privilege 3
 * with the trap flag set; every exception leads to a stub of the guest's kernel that writes its
 * vector to a port, which ends the run; state, error code and address are read from there.
 *
 * Only the public door of the accelerator is used, so that delivery of exceptions is tested, too.
 */
#pragma once

#include "ground/base/err.h"
#include "virt/vm/check/native.h"

struct guest;

struct guest *guest_new(struct err *e) must_use;
struct guest *guest_free(struct guest *g);

/* Gives the guest the batch's background; before guest_run(). */
void guest_background(struct guest *g, const struct native_batch *b);

/* Runs one case of the batch and returns its result; the memory is the background again after. */
int guest_run(struct guest *g, const struct native_batch *b, const struct native_case *c,
	      struct native_result *ret, struct err *e) must_use;
