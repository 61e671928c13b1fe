/*
 * Which handlers of the software CPU the cases have run, how often, and which of its opcode tables
 * have not been run at all: the comparison (diff.h) is driven by what the real processor may do,
 * and this says whether that was everything that Hull does.
 *
 * Left out are the system instructions, which a user program cannot execute, and 16-bit addresses.
 */
#pragma once

#include "ground/base/str.h"
#include "virt/vm/check/kind.h"
#include "virt/vm/cpu/op.h"

#define COVERAGE_HANDLERS_MAX 8192 /* a power of two, several times what there are */

struct coverage {
	struct {
		op_fn *run;
		uint64_t count;
	} handler[COVERAGE_HANDLERS_MAX];
	uint64_t id[65536]; /* of ops that have one */
};

struct coverage *coverage_new(void); /* free() it */

/* Counts what the case's instruction is decoded into, and returns a key for it: of the vector row,
 * or of the handler. */
unsigned coverage_note(struct coverage *v, const struct native_case *c);
/* Is it what undefined instructions become? */
bool coverage_undefined(const struct coverage *v, unsigned key);
uint64_t coverage_count(const struct coverage *v, unsigned key);

/* Tells of each handler that the tables name and that ran fewer than `states` times; how many. */
size_t coverage_missing(const struct coverage *v, uint64_t states, struct strbuf *report,
			size_t *ret_all);
