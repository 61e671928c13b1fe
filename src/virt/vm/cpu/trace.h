/*
 * Decoded code: traces of ops, shared by the vCPUs of a machine.
 *
 * Theory of operation. A trace is a row of ops that begins at one physical address in one mode
 * and stays within its page. It is found by {physical address, mode}, so that neither a change of
 * page tables nor another process flushes anything. Inside a page branches link to their target's
 * trace directly; across pages each vCPU remembers where virtual addresses led (struct jump), for
 * as long as its TLB's generation lasts.
 *
 * A page of which something was decoded carries RAM_CODE, and nobody has a fast translation to
 * write it: who decodes the first trace of a page stops the world and takes the others' away. A
 * write then takes the slow path and, once it is done, kills the page's traces. Killing replaces
 * the first op by one that leaves, so that links and jumps to a dead trace need not be found; its
 * memory is used again only after everything was thrown away, with the world stopped. A vCPU that
 * is inside a killed trace runs it to its end, as a processor may run what it has fetched; one
 * that writes its own page begins again behind the write (mmu.c).
 *
 * Instructions that go on in the next page, and code that is not in RAM, are decoded for one use.
 */
#pragma once

#include "virt/vm/cpu/decode.h"

#define CODE_BYTES_MIN (4u << 10)
#define CODE_BYTES_MAX (32u << 20)

struct cpu_world;
struct code;

struct trace {
	uint64_t physical; /* of the first byte */
	uint32_t mode;
	uint32_t next_in_hash, next_in_page; /* in units of 32 bytes, 0: none */
	uint16_t ops, bytes;
	void *native; /* the translator's; unused now */
	struct op op[] __attribute__((aligned(32)));
};

/* Keeps `bytes` of decoded code, 0: CODE_BYTES_MAX. */
int code_new(struct cpu_world *w, size_t bytes, struct code **ret, struct err *e) must_use;
struct code *code_free(struct code *k);

/*
 * The trace at c->rip in c's mode, decoded if need be; sets gpr[REG_PAGE]. At a safepoint. NULL: a
 * fault of fetching it (described).
 */
struct trace *trace_find(struct cpu *c);

/*
 * The op at c->rip by itself, as c->lone: for code that no trace may hold. Each vCPU remembers a
 * few, by address and mode, and believes them when the bytes are still the same. NULL: a fault of
 * fetching it.
 */
#define LONE_SLOTS 64u
#define LONE_OPS   8u /* op_enter, the op, its link, a link behind */

struct lone {
	uint64_t rip, linear;
	uint32_t mode;
	bool straddles; /* the page's end */
	unsigned length;
	uint8_t bytes[15];
	struct trace *trace;
};

struct lone *lone_new(void);
struct lone *lone_free(struct lone *slots);
struct trace *trace_lone(struct cpu *c);

/* Changes when everything was thrown away: links and traces known before are gone then. */
uint64_t code_epoch(const struct cpu_world *w);

/* [offset, offset + n) of RAM was written, by a device or a vCPU: kills what was decoded of it. */
void code_written(struct cpu_world *w, uint64_t ram_offset, uint64_t n);

/* How many traces were decoded, and how often everything was thrown away. */
struct code_stats {
	uint64_t traces, ops, flushes, killed;
};
struct code_stats code_stats(const struct cpu_world *w);
