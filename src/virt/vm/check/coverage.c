/*
 * Counting handlers, and walking the opcode tables for those that must have been counted
 * (coverage.h).
 */
#include "virt/vm/check/coverage.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/decode.h"
#include "virt/vm/cpu/opcodes.h"
#include "virt/vm/cpu/vector.h"
#include "virt/vm/cpu/vector_ops.h"
#include "virt/vm/cpu/x87.h"

#define MODE_BOTH (MODE_FLAT | MODE_USER | MODE_FPU | MODE_SSE | MODE_MMX)
#define FILLER	  0xcc

static_assert(COVERAGE_HANDLERS_MAX <= VECTOR_ID_ROWS, "keys of handlers and of rows differ");

struct coverage *coverage_new(void)
{
	return mem_new(struct coverage);
}

static unsigned slot_of(const struct coverage *v, op_fn *run)
{
	uint64_t h = (uint64_t)(uintptr_t)run * 0x9e3779b97f4a7c15ull;
	unsigned i = (unsigned)(h >> 32) % COVERAGE_HANDLERS_MAX;

	while (v->handler[i].run && v->handler[i].run != run)
		i = (i + 1) % COVERAGE_HANDLERS_MAX;
	return i;
}

static uint32_t mode_of(const struct native_case *c)
{
	uint32_t mode = MODE_BOTH | (c->end == NATIVE_STEP ? MODE_ONE : 0);

	return mode |
	       (c->mode == NATIVE_LONG ? MODE_CODE64 | MODE_STACK64 : MODE_CODE32 | MODE_STACK32);
}

unsigned coverage_note(struct coverage *v, const struct native_case *c)
{
	uint8_t bytes[2 * NATIVE_CODE_BYTES + 2];
	static struct decoded d;
	unsigned slot;
	bool ok;

	memset(bytes, FILLER, sizeof(bytes));
	memcpy(bytes, c->code, c->code_bytes);
	ok = decode_trace(bytes, sizeof(bytes), 0, mode_of(c), c->end == NATIVE_STEP ? 1 : 8, &d);
	assert(ok);
	slot = slot_of(v, d.op[1].run);
	v->handler[slot].run = d.op[1].run;
	v->handler[slot].count++;
	v->id[d.op[1].id]++;
	return d.op[1].id >= VECTOR_ID_ROWS && d.op[1].id < VECTOR_ID_X87 ? d.op[1].id : slot;
}

bool coverage_undefined(const struct coverage *v, unsigned key)
{
	return key < COVERAGE_HANDLERS_MAX &&
	       (v->handler[key].run == op_ud || v->handler[key].run == op_too_long);
}

uint64_t coverage_count(const struct coverage *v, unsigned key)
{
	return key < COVERAGE_HANDLERS_MAX ? v->handler[key].count : v->id[key];
}

/* ---- what there is ---- */

struct walk {
	const struct coverage *v;
	uint64_t states;
	struct strbuf *report;
	size_t all, missing;
	struct coverage *done; /* handlers that were asked for: rows share them */
	const char *map;
	unsigned opcode, digit;
};

static void ask(struct walk *w, op_fn *run, const char *which, unsigned log2)
{
	unsigned i = slot_of(w->v, run), k = slot_of(w->done, run);

	if (!run || w->done->handler[k].run)
		return;
	w->done->handler[k].run = run;
	w->all++;
	if (w->v->handler[i].run && w->v->handler[i].count >= w->states)
		return;
	w->missing++;
	strbuf_printf(w->report, "%s %02x /%u, %u bits, %s: %llu states\n", w->map, w->opcode,
		      w->digit, 8u << log2, which,
		      (unsigned long long)(w->v->handler[i].run ? w->v->handler[i].count : 0));
}

/* The widths of a row that a user program in 64-bit or 32-bit code can reach. */
static bool reachable(const struct row *r, unsigned log2)
{
	if (r->size == SIZE_B)
		return log2 == 0;
	if (r->size == SIZE_ADDR)
		return log2 >= 2;
	if (r->mem == &form_movsx32_rm && log2 == 1)
		return false; /* decoded as MOV */
	if (log2 == 3 && (r->flags & ROW_NOT64) != 0)
		return false;
	return log2 > 0;
}

static void ask_form(struct walk *w, const struct row *r, const struct form *f)
{
	for (unsigned log2 = 0; f && log2 < 4; log2++) {
		if (!reachable(r, log2))
			continue;
		ask(w, f->run[log2], "any", log2);
		ask(w, f->quiet[log2], "quiet", log2);
		ask(w, f->plain[log2], "plain", log2);
		ask(w, f->plain_quiet[log2], "plain and quiet", log2);
	}
}

static void ask_row(struct walk *w, const struct row *r)
{
	if (r->enc == ENC_GROUP) {
		for (w->digit = 0; w->digit < 8; w->digit++)
			ask_row(w, &r->group[w->digit]);
		w->digit = 0;
		return;
	}
	if (r->enc == ENC_NONE || r->enc == ENC_SYSTEM || r->enc == ENC_VECTOR)
		return;
	if ((r->flags & ROW_MEMORY) == 0)
		ask_form(w, r, r->reg);
	ask_form(w, r, r->mem);
	ask_form(w, r, r->lock);
}

static void ask_integers(struct walk *w)
{
	static const char *const maps[] = {"", "0f", "0f 38", "0f 3a"};

	for (unsigned map = MAP_ONE; map <= MAP_0F38; map++)
		for (unsigned i = 0; i < 256 * 6; i++) {
			struct decoder d = {.map = (uint8_t)map,
					    .opcode = (uint8_t)i,
					    .mode = i & 256 ? MODE_CODE64 : MODE_CODE32,
					    .rep = i >> 9 == 1,
					    .repne = i >> 9 == 2};

			w->map = maps[map];
			w->opcode = i & 255;
			ask_row(w, opcode_row(&d));
		}
}

struct ids {
	struct walk *w;
};

static bool seen_id(void *ctx, unsigned id)
{
	struct ids *i = ctx;

	if (i->w->v->id[id] >= i->w->states)
		return true;
	strbuf_printf(i->w->report, "vector row %u %s: %llu states\n", (id - VECTOR_ID_ROWS) / 2,
		      id & 1 ? "mem" : "reg", (unsigned long long)i->w->v->id[id]);
	return false;
}

static void ask_x87(struct walk *w)
{
	for (unsigned code = 0; code < 0x800; code++) {
		uint64_t n = 0;

		if (x87_form(code).kind == X87_INVALID || (code & 0xc7) < 0xc0)
			continue;
		n = w->v->id[VECTOR_ID_X87 + code];
		w->all++;
		if (n >= w->states / 8) /* eight registers are one form */
			continue;
		w->missing++;
		strbuf_printf(w->report, "x87 %02x %02x: %llu states\n", 0xd8 + (code >> 8),
			      code & 255, (unsigned long long)n);
	}
}

size_t coverage_missing(const struct coverage *v, uint64_t states, struct strbuf *report,
			size_t *ret_all)
{
	struct coverage *done = coverage_new();
	struct walk w = {.v = v, .states = states, .report = report, .done = done};
	struct ids ids = {&w};
	unsigned missing;

	ask_integers(&w);
	w.all += vector_ids(seen_id, &ids, &missing);
	w.missing += missing;
	ask_x87(&w);
	free(done);
	*ret_all = w.all;
	return w.missing;
}
