/*
 * The comparison of the software CPU with the real one: every form (kind.h) in many states, native
 * beside guest. Not one difference is allowed in registers, defined flags, x87, SSE, memory,
 * exceptions, error codes and fault addresses.
 *
 * A difference is told as one line that names the form, the bytes and what differs, followed by
 * the state before, so that it can be understood without a debugger; the same seed draws it again.
 */
#pragma once

#include "ground/base/str.h"
#include "virt/vm/check/coverage.h"
#include "virt/vm/check/kind.h"

struct diff_options {
	uint64_t seed;
	enum native_mode mode;
	unsigned states;	   /* per form that has a handler to itself, at least */
	unsigned states_form;	   /* per form in any case */
	struct coverage *coverage; /* counts what ran; not NULL */
	const char *only;	   /* forms whose name begins so; NULL: all */
	unsigned failures_max;	   /* told; the rest is counted */
	unsigned per_form_max;	   /* told of one form */
};

struct diff_totals {
	size_t forms, forms_invalid; /* invalid: #UD on both sides in every state */
	uint64_t cases, faults, differences;
	size_t forms_different;
	uint8_t *seen; /* FORMS_MAX long: 1 for a form that ran without #UD */
};

/* Runs it; what differs is appended to `report`. An error means that the comparison cannot run. */
int diff_run(const struct diff_options *o, struct diff_totals *ret, struct strbuf *report,
	     struct err *e) must_use;
