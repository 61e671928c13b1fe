/*
 * Drawing, running on both sides, comparing (diff.h). Cases of many forms share a batch. A form
 * gets its first few states with all others; those that are #UD everywhere on both sides get no
 * more.
 */
#include "virt/vm/check/diff.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "ground/base/mem.h"
#include "virt/vm/check/guest.h"

#define STATES_FIRST  8
#define STATES_MORE   32 /* at once, for a handler that ran too rarely */
#define ROUNDS_MAX    256
#define FORM_SLOTS    12
#define VECTOR_UD     6
#define VECTOR_GP     13
#define VECTOR_PF     14
#define VECTOR_AC     17
#define PAGE_BYTES    4096u
#define USER_END      0x7ffffffff000ull /* TASK_SIZE_MAX: the last page is nobody's */
#define SHORT_ADDRESS 0x67
#define PREFIXES      3		/* a segment, 67, LOCK */
#define OPERAND_MAX   512u	/* FXSAVE's */
#define FLAGS_CASE    0x244cd5u /* CF PF AF ZF SF DF OF NT AC ID */

struct diff {
	const struct diff_options *o;
	struct native *native;
	struct guest *guest;
	struct chance chance;
	struct kind *forms;
	size_t n;
	size_t form_of[NATIVE_CASES_MAX]; /* of each case of the batch */
	uint32_t pending;
	unsigned *failed;	       /* differences of each form */
	uint16_t (*slots)[FORM_SLOTS]; /* coverage slots + 1 that a form has used */
	struct strbuf *report;
	struct diff_totals totals;
};

/* ---- telling ---- */

static const char *const register_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
					       "rsi", "rdi", "r8",  "r9",  "r10", "r11",
					       "r12", "r13", "r14", "r15"};

static void tell_bytes(struct strbuf *b, const uint8_t *p, size_t n, bool reverse)
{
	for (size_t i = 0; i < n; i++)
		strbuf_printf(b, "%02x", p[reverse ? n - 1 - i : i]);
}

static void tell_state(struct strbuf *b, const struct native_case *c)
{
	const struct native_state *s = &c->before;

	strbuf_printf(b, "    rip %llx rflags %llx", (unsigned long long)s->rip,
		      (unsigned long long)s->rflags);
	for (unsigned i = 0; i < 16; i++)
		strbuf_printf(b, "%s%s %llx", i % 8 == 0 ? "\n    " : " ", register_names[i],
			      (unsigned long long)s->gpr[i]);
	strbuf_add_text(b, "\n    fcw fsw ftw mxcsr ");
	tell_bytes(b, s->fx, 2, true);
	strbuf_add_char(b, ' ');
	tell_bytes(b, s->fx + 2, 2, true);
	strbuf_add_char(b, ' ');
	tell_bytes(b, s->fx + 4, 1, true);
	strbuf_add_char(b, ' ');
	tell_bytes(b, s->fx + 24, 4, true);
	strbuf_printf(b, "\n    memory at %x: ", c->patch_at);
	tell_bytes(b, c->patch, c->patch_bytes < 64 ? c->patch_bytes : 64, false);
	strbuf_add_char(b, '\n');
}

struct place {
	const char *what;
	unsigned index;
	const uint8_t *native, *guest;
	size_t n;
};

static void tell(struct diff *d, uint32_t i, const struct place *p)
{
	const struct native_case *c = &d->native->batch->cases[i];
	char name[64];

	d->totals.differences++;
	if (d->failed[d->form_of[i]]++ == 0)
		d->totals.forms_different++;
	if (d->totals.differences > d->o->failures_max ||
	    d->failed[d->form_of[i]] > d->o->per_form_max)
		return;
	kind_name(&d->forms[d->form_of[i]], name);
	strbuf_printf(d->report, "%s: %s", name, p->what);
	if (p->index != ~0u)
		strbuf_printf(d->report, " %u", p->index);
	strbuf_add_text(d->report, " native ");
	tell_bytes(d->report, p->native, p->n, true);
	strbuf_add_text(d->report, " guest ");
	tell_bytes(d->report, p->guest, p->n, true);
	strbuf_printf(d->report, " (#%d, %d) code ",
		      c->after.verdict == NATIVE_FAULTED ? c->after.vector : -1,
		      (int)c->after.verdict);
	tell_bytes(d->report, c->code, c->code_bytes, false);
	strbuf_add_char(d->report, '\n');
	tell_state(d->report, c);
}

/* ---- comparing ---- */

static bool same(struct diff *d, uint32_t i, struct place p)
{
	if (memcmp(p.native, p.guest, p.n) == 0)
		return true;
	tell(d, i, &p);
	return false;
}

#define SAME(what_, field)                                        \
	same(d, i,                                                \
	     (struct place){.what = (what_),                      \
			    .index = ~0u,                         \
			    .native = (const uint8_t *)&n->field, \
			    .guest = (const uint8_t *)&g->field,  \
			    .n = sizeof(n->field)})

/* Linux says "present" of every address that is not a user's, and tells of it nothing else. */
static bool is_kernel(const struct native_result *n)
{
	return n->verdict == NATIVE_FAULTED && n->vector == VECTOR_PF && n->address >= USER_END;
}

/* Mapped in this process (a sanitizer's shadow is, nearly everywhere; the stack and the vDSO are,
 * near the end of the user's half), absent in the guest: no fault, or one with another error code.
 */
static bool is_ours(const struct native_result *n, const struct native_result *g)
{
	unsigned char in_core;

	if (n->verdict == NATIVE_FAULTED && (n->vector != VECTOR_PF || n->error == g->error))
		return false;
	return g->verdict == NATIVE_FAULTED && g->vector == VECTOR_PF &&
	       mincore((void *)(uintptr_t)(g->address & ~(uint64_t)(PAGE_BYTES - 1)), PAGE_BYTES,
		       &in_core) == 0;
}

static bool is_nowhere(uint64_t at)
{
	return (at < NATIVE_DATA || at >= NATIVE_DATA + NATIVE_DATA_BYTES) &&
	       (at < NATIVE_CODE || at >= NATIVE_CODE + NATIVE_CODE_PAGES * NATIVE_PAGE);
}

/* An operand that lies on two absent pages: the manual does not say which of them is told. */
static bool is_across(const struct native_result *n, const struct native_result *g)
{
	uint64_t apart =
		n->address < g->address ? g->address - n->address : n->address - g->address;

	return n->vector == VECTOR_PF && apart < OPERAND_MAX &&
	       n->address / PAGE_BYTES != g->address / PAGE_BYTES && is_nowhere(n->address) &&
	       is_nowhere(g->address);
}

/* FXSAVE at the end of 32-bit offsets in 64-bit code: whether its last byte lies behind it or at 0,
 * where it is there, is open. */
static bool is_wrapped(const struct native_case *c, const struct native_result *n,
		       const struct native_result *g)
{
	return n->vector == VECTOR_PF && c->mode == NATIVE_LONG &&
	       memchr(c->code, SHORT_ADDRESS, PREFIXES) && is_nowhere(n->address) &&
	       n->address + OPERAND_MAX - 1 == g->address;
}

/* A misaligned FXSAVE is #AC or #GP as the processor likes: SDM volume 2. */
static bool is_either(const struct kind *f, const struct native_result *n,
		      const struct native_result *g)
{
	return f->map == FORM_0F && f->opcode == 0xae && f->digit < 2 && f->memory &&
	       n->vector + g->vector == VECTOR_GP + VECTOR_AC &&
	       (n->vector == VECTOR_GP || n->vector == VECTOR_AC);
}

static bool same_end(struct diff *d, uint32_t i, const struct native_result *n,
		     const struct native_result *g)
{
	if (!SAME("verdict", verdict))
		return false;
	if (n->verdict == NATIVE_RAN || is_either(&d->forms[d->form_of[i]], n, g))
		return true;
	if (!SAME("vector", vector))
		return false;
	return (is_kernel(n) || SAME("error code", error)) &&
	       (is_across(n, g) || is_wrapped(&d->native->batch->cases[i], n, g) ||
		SAME("fault address", address));
}

static bool same_registers(struct diff *d, uint32_t i, const struct native_result *n,
			   const struct native_result *g, uint64_t undefined)
{
	uint64_t mask = FLAGS_CASE & ~undefined, nf = n->state.rflags & mask,
		 gf = g->state.rflags & mask;
	bool compat = d->native->batch->cases[i].mode == NATIVE_COMPAT;

	if (!SAME("rip", state.rip))
		return false;
	for (unsigned k = 0; k < (compat ? 8 : 16); k++)
		if (!same(d, i,
			  (struct place){.what = register_names[k],
					 .index = ~0u,
					 .native = (const uint8_t *)&n->state.gpr[k],
					 .guest = (const uint8_t *)&g->state.gpr[k],
					 .n = compat ? 4 : 8}))
			return false;
	return same(d, i,
		    (struct place){.what = "rflags",
				   .index = ~0u,
				   .native = (const uint8_t *)&nf,
				   .guest = (const uint8_t *)&gf,
				   .n = 4});
}

static bool same_fx(struct diff *d, uint32_t i, const struct native_result *n,
		    const struct native_result *g)
{
	static const struct {
		const char *what;
		uint16_t at, bytes, stride, count;
	} parts[] = {{"fcw", 0, 2, 0, 1},    {"fsw", 2, 2, 0, 1},   {"ftw", 4, 1, 0, 1},
		     {"fop", 6, 2, 0, 1},    {"fip", 8, 8, 0, 1},   {"fdp", 16, 8, 0, 1},
		     {"mxcsr", 24, 4, 0, 1}, {"st", 32, 10, 16, 8}, {"xmm", 160, 16, 16, 16}};

	for (size_t k = 0; k < array_len(parts); k++)
		for (unsigned r = 0; r < parts[k].count; r++) {
			size_t at = parts[k].at + (size_t)parts[k].stride * r;

			if (!same(d, i,
				  (struct place){.what = parts[k].what,
						 .index = parts[k].stride ? r : ~0u,
						 .native = n->state.fx + at,
						 .guest = g->state.fx + at,
						 .n = parts[k].bytes}))
				return false;
		}
	return true;
}

static bool same_memory(struct diff *d, uint32_t i, const struct native_result *n,
			const struct native_result *g)
{
	if (!SAME("words changed", words))
		return false;
	for (uint32_t k = 0; k < n->words; k++)
		if (!SAME("memory index", word[k].index) || !SAME("memory", word[k].value))
			return false;
	return true;
}

static void compare(struct diff *d, uint32_t i, const struct native_result *g)
{
	const struct native_case *c = &d->native->batch->cases[i];
	const struct native_result *n = &c->after;
	const struct kind *f = &d->forms[d->form_of[i]];
	bool result = false;
	uint64_t undefined = case_undefined(f, c, &result);

	if (is_ours(n, g))
		return;
	d->totals.cases++;
	if (n->verdict == NATIVE_FAULTED)
		d->totals.faults++;
	if (n->verdict == NATIVE_RAN || n->vector != VECTOR_UD)
		d->totals.seen[d->form_of[i]] = 1;
	if (g->verdict == NATIVE_RAN || g->vector != VECTOR_UD)
		d->totals.seen[d->form_of[i]] = 1;
	if (!same_end(d, i, n, g) || result)
		return;
	if (same_registers(d, i, n, g, undefined) && same_fx(d, i, n, g))
		(void)same_memory(d, i, n, g);
}

/* ---- running ---- */

static int flush(struct diff *d, struct err *e)
{
	static struct native_result r;
	struct native_batch *b = d->native->batch;

	if (d->pending == 0)
		return 0;
	if (native_run(d->native, d->pending, e) < 0)
		return -ERR_SYSTEM;
	for (uint32_t i = 0; i < d->pending; i++) {
		if (guest_run(d->guest, b, &b->cases[i], &r, e) < 0) {
			char name[64];

			kind_name(&d->forms[d->form_of[i]], name);
			tell_bytes(d->report, b->cases[i].code, b->cases[i].code_bytes, false);
			return err_wrap(e, "%s", name);
		}
		compare(d, i, &r);
	}
	d->pending = 0;
	case_background(&d->chance, b);
	guest_background(d->guest, b);
	return 0;
}

/* Remembers which handlers the form's cases have. */
static void note(struct diff *d, size_t form, const struct native_case *c)
{
	unsigned key = coverage_note(d->o->coverage, c);
	uint16_t slot = (uint16_t)(key + 1);

	if (coverage_undefined(d->o->coverage, key))
		return;
	for (unsigned i = 0; i < FORM_SLOTS; i++) {
		if (d->slots[form][i] == 0)
			d->slots[form][i] = slot;
		if (d->slots[form][i] == slot)
			return;
	}
}

/* Has one of the form's handlers run less than it should? */
static bool hungry(const struct diff *d, size_t form)
{
	for (unsigned i = 0; i < FORM_SLOTS && d->slots[form][i]; i++)
		if (coverage_count(d->o->coverage, d->slots[form][i] - 1u) < d->o->states)
			return true;
	return false;
}

static int run_form(struct diff *d, size_t form, unsigned states, struct err *e)
{
	for (unsigned i = 0; i < states; i++) {
		if (d->pending == NATIVE_CASES_MAX && flush(d, e) < 0)
			return -ERR_SYSTEM;
		d->form_of[d->pending] = form;
		case_make(&d->chance, &d->forms[form], &d->native->batch->cases[d->pending]);
		note(d, form, &d->native->batch->cases[d->pending++]);
	}
	return 0;
}

static bool wanted(const struct diff *d, size_t form)
{
	char name[64];

	kind_name(&d->forms[form], name);
	return !d->o->only || text_starts(name, d->o->only);
}

/* The first states of all; then the rest of those that are an instruction at all. */
static int run_forms(struct diff *d, struct err *e)
{
	unsigned rest = d->o->states_form > STATES_FIRST ? d->o->states_form - STATES_FIRST : 0;

	for (size_t i = 0; i < d->n; i++)
		if (wanted(d, i) && run_form(d, i, STATES_FIRST, e) < 0)
			return -ERR_SYSTEM;
	if (flush(d, e) < 0)
		return -ERR_SYSTEM;
	for (size_t i = 0; i < d->n; i++) {
		if (!wanted(d, i))
			continue;
		d->totals.forms++;
		if (!d->totals.seen[i])
			d->totals.forms_invalid++;
		else if (run_form(d, i, rest, e) < 0)
			return -ERR_SYSTEM;
	}
	return flush(d, e);
}

/* More for those whose handlers nobody else runs. */
static int run_hungry(struct diff *d, struct err *e)
{
	bool any = true;

	for (unsigned round = 0; any && round < ROUNDS_MAX; round++) {
		any = false;
		for (size_t i = 0; i < d->n; i++) {
			if (!wanted(d, i) || !d->totals.seen[i] || !hungry(d, i))
				continue;
			any = true;
			if (run_form(d, i, STATES_MORE + d->o->states / 64, e) < 0)
				return -ERR_SYSTEM;
		}
	}
	return flush(d, e);
}

static int run_all(struct diff *d, struct err *e)
{
	case_background(&d->chance, d->native->batch);
	guest_background(d->guest, d->native->batch);
	return run_forms(d, e) < 0 || run_hungry(d, e) < 0 ? -ERR_SYSTEM : 0;
}

int diff_run(const struct diff_options *o, struct diff_totals *ret, struct strbuf *report,
	     struct err *e)
{
	struct diff d = {.o = o, .chance = {o->seed}, .report = report};
	int r = -ERR_SYSTEM;

	d.forms = mem_new_array(struct kind, FORMS_MAX);
	d.failed = mem_new_array(unsigned, FORMS_MAX);
	d.slots = mem_new_bytes(FORMS_MAX, sizeof(*d.slots));
	d.totals.seen = mem_new_array(uint8_t, FORMS_MAX);
	d.n = kind_list(o->mode, d.forms);
	d.native = native_new(e);
	d.guest = d.native ? guest_new(e) : NULL;
	if (d.guest)
		r = run_all(&d, e);
	(void)native_free(d.native);
	(void)guest_free(d.guest);
	free(d.forms);
	free(d.failed);
	free(d.slots);
	*ret = d.totals;
	return r;
}
