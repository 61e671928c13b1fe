/*
 * Building, finding and killing traces. See trace.h.
 */
#include "virt/vm/cpu/trace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/mmu.h"
#include "virt/vm/cpu/sys_priv.h"
#include "virt/vm/cpu/world.h"

#define UNIT		32u
#define HASH_BUCKETS	65536u
#define TRACE_BYTES_MAX (sizeof(struct trace) + DECODE_OPS_MAX * sizeof(struct op))
#define NO_RAM		UINT64_MAX

static_assert(CODE_BYTES_MIN >= UNIT + TRACE_BYTES_MAX, "an empty arena holds any trace");

struct code {
	pthread_mutex_t lock;
	uint8_t *arena; /* traces are named by their offset in units */
	size_t bytes;	/* of the arena */
	uint32_t used;	/* units; 0 is no trace */
	uint32_t *hash;
	uint32_t *pages; /* first trace of each page of RAM */
	uint64_t page_count;
	uint64_t epoch;
	struct code_stats stats;
};

/* ---- memory ---- */

static void *reserve(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int code_new(struct cpu_world *w, size_t bytes, struct code **ret, struct err *e)
{
	struct code *k = mem_new(struct code);

	(void)pthread_mutex_init(&k->lock, NULL);
	k->page_count = w->ram->size_bytes >> RAM_PAGE_SHIFT;
	k->used = 1;
	k->bytes = bytes == 0 ? CODE_BYTES_MAX : bytes;
	assert(k->bytes >= CODE_BYTES_MIN && k->bytes <= CODE_BYTES_MAX);
	k->arena = reserve(k->bytes);
	k->hash = reserve(HASH_BUCKETS * sizeof(*k->hash));
	k->pages = reserve(k->page_count * sizeof(*k->pages));
	if (!k->arena || !k->hash || !k->pages) {
		int r = err_sys(e, "cannot reserve memory for decoded code");

		code_free(k);
		return r;
	}
	*ret = k;
	return 0;
}

struct code *code_free(struct code *k)
{
	if (!k)
		return NULL;
	if (k->arena)
		(void)munmap(k->arena, k->bytes);
	if (k->hash)
		(void)munmap(k->hash, HASH_BUCKETS * sizeof(*k->hash));
	if (k->pages)
		(void)munmap(k->pages, k->page_count * sizeof(*k->pages));
	(void)pthread_mutex_destroy(&k->lock);
	free(k);
	return NULL;
}

static struct trace *trace_of(const struct code *k, uint32_t name)
{
	return name ? (struct trace *)(void *)(k->arena + (size_t)name * UNIT) : NULL;
}

static uint32_t name_of(const struct code *k, const struct trace *t)
{
	return (uint32_t)(((const uint8_t *)t - k->arena) / UNIT);
}

static uint32_t *bucket_of(const struct code *k, uint64_t physical, uint32_t mode)
{
	uint64_t h = (physical ^ (uint64_t)mode << 40) * 0x9e3779b97f4a7c15ull;

	return &k->hash[h >> 48 & (HASH_BUCKETS - 1)];
}

uint64_t code_epoch(const struct cpu_world *w)
{
	return __atomic_load_n(&w->code->epoch, __ATOMIC_RELAXED);
}

struct code_stats code_stats(const struct cpu_world *w)
{
	return w->code->stats;
}

/* ---- killing ---- */

static OP(dead)
{
	c->rip = op_rip(c, o);
	LEAVE(CPU_STOP_NONE);
}

static bool is_dead(const struct trace *t)
{
	return op_handler(t->op) == op_dead;
}

static void unhash(struct code *k, const struct trace *t)
{
	uint32_t *at = bucket_of(k, t->physical, t->mode), name = name_of(k, t);

	while (*at != name) {
		assert(*at != 0);
		at = &trace_of(k, *at)->next_in_hash;
	}
	*at = t->next_in_hash;
}

/* Does a trace of the page hold one of the bytes? `from` and `to` are offsets in the page. */
static bool any_within(const struct code *k, uint64_t page, uint64_t from, uint64_t to)
{
	for (struct trace *t = trace_of(k, k->pages[page]); t; t = trace_of(k, t->next_in_page)) {
		uint64_t begin = t->physical & 0xfff;

		if (begin < to && from < begin + t->bytes)
			return true;
	}
	return false;
}

static void kill_page(struct cpu_world *w, uint64_t page)
{
	struct code *k = w->code;

	for (struct trace *t = trace_of(k, k->pages[page]); t; t = trace_of(k, t->next_in_page)) {
		unhash(k, t);
		__atomic_store_n(&t->op[0].run, op_dead, __ATOMIC_RELAXED);
		k->stats.killed++;
	}
	k->pages[page] = 0;
	(void)ram_flags_clear(w->ram, page << RAM_PAGE_SHIFT, RAM_CODE);
}

void code_written(struct cpu_world *w, uint64_t ram_offset, uint64_t n)
{
	uint64_t first = ram_offset >> RAM_PAGE_SHIFT,
		 last = (ram_offset + n - 1) >> RAM_PAGE_SHIFT;

	assert(n > 0 && last < w->code->page_count);
	(void)pthread_mutex_lock(&w->code->lock);
	for (uint64_t page = first; page <= last; page++) {
		uint64_t from = page == first ? ram_offset & 0xfff : 0;
		uint64_t to = page == last ? ((ram_offset + n - 1) & 0xfff) + 1 : RAM_PAGE_BYTES;

		if (any_within(w->code, page, from, to))
			kill_page(w, page);
	}
	(void)pthread_mutex_unlock(&w->code->lock);
}

/* Throws everything away. The world is stopped; the lock keeps devices out. */
static void flush(struct cpu_world *w)
{
	struct code *k = w->code;

	for (uint64_t page = 0; page < k->page_count; page++)
		if (k->pages[page] != 0) {
			k->pages[page] = 0;
			(void)ram_flags_clear(w->ram, page << RAM_PAGE_SHIFT, RAM_CODE);
		}
	memset(k->hash, 0, HASH_BUCKETS * sizeof(*k->hash));
	k->used = 1;
	for (unsigned i = 0; i < w->cpus; i++)
		memset(w->cpu[i]->jumps, 0xff, CPU_JUMPS * sizeof(*w->cpu[i]->jumps));
	k->stats.flushes++;
	__atomic_add_fetch(&k->epoch, 1, __ATOMIC_RELAXED);
}

/* ---- building ---- */

/*
 * Gives decoded ops their place. A link remembers where it stands in its trace: `at` is its index.
 */
static void place(struct trace *t, const struct decoded *d, uint64_t physical, uint32_t mode)
{
	assert(d->ops > 0 && d->ops <= DECODE_OPS_MAX);
	*t = (struct trace){.physical = physical,
			    .mode = mode,
			    .ops = (uint16_t)d->ops,
			    .bytes = (uint16_t)d->bytes};
	decode_place(d, t->op);
	for (unsigned i = 0; i < d->ops; i++)
		if (t->op[i].id == OPI_LINK)
			t->op[i].at = (uint16_t)i;
}

static const struct trace *trace_of_link(const struct op *link)
{
	return (const struct trace *)(const void *)((const char *)(link - link->at) -
						    offsetof(struct trace, op));
}

/* ---- one use ---- */

static unsigned fetch(struct cpu *c, uint64_t linear, uint64_t physical, uint8_t *ret)
{
	uint64_t page_left = RAM_PAGE_BYTES - (linear & 0xfff);
	unsigned n = page_left < DECODE_LENGTH_MAX ? (unsigned)page_left : DECODE_LENGTH_MAX;

	if (!ram_read(c->ram, (struct gpa){physical}, ret, n))
		memset(ret, 0xff, n); /* nobody answers */
	return n;
}

static uint64_t linear_rip(const struct cpu *c)
{
	return (c->mode & MODE_CODE64) != 0 ? c->rip
					    : (c->rip + c->segment[VCPU_CS].base) & 0xffffffff;
}

struct lone *lone_new(void)
{
	struct lone *slots = mem_new_array(struct lone, LONE_SLOTS);

	for (unsigned i = 0; i < LONE_SLOTS; i++)
		slots[i].trace =
			mem_new_bytes(1, sizeof(struct trace) + LONE_OPS * sizeof(struct op));
	return slots;
}

struct lone *lone_free(struct lone *slots)
{
	for (unsigned i = 0; slots && i < LONE_SLOTS; i++)
		free(slots[i].trace);
	free(slots);
	return NULL;
}

static struct lone *lone_of(const struct cpu *c)
{
	return &c->lones[(c->rip ^ c->rip >> 12) % LONE_SLOTS];
}

static bool lone_known(const struct cpu *c, const struct lone *l, uint64_t linear)
{
	return l->length != 0 && l->rip == c->rip && l->linear == linear && l->mode == c->mode;
}

/* The bytes behind the page's end. False: a fault. */
static bool fetch_rest(struct cpu *c, uint64_t linear, uint8_t *bytes, unsigned *n)
{
	uint64_t next = (linear | 0xfff) + 1, physical;

	if (!mmu_code(c, sys_long(c) ? next : next & 0xffffffff, &physical))
		return false;
	*n += fetch(c, next, physical, bytes + *n);
	return true;
}

struct trace *trace_lone(struct cpu *c)
{
	uint64_t linear = linear_rip(c), physical;
	uint8_t bytes[2 * DECODE_LENGTH_MAX];
	struct lone *l = lone_of(c);
	struct decoded d;
	unsigned n, first;

	if (!mmu_code(c, linear, &physical))
		return NULL;
	n = first = fetch(c, linear, physical, bytes);
	c->gpr[REG_PAGE] = c->rip - (linear & 0xfff);
	c->lone = l->trace;
	if (lone_known(c, l, linear) &&
	    memcmp(l->bytes, bytes, l->length < n ? l->length : n) == 0) {
		if (l->straddles && !fetch_rest(c, linear, bytes, &n))
			return NULL;
		if (memcmp(l->bytes, bytes, l->length) == 0)
			return c->lone;
		n = first;
	}
	if (!decode_trace(bytes, n, linear & 0xfff, c->mode, 1, &d)) {
		assert(n < DECODE_LENGTH_MAX);
		if (!fetch_rest(c, linear, bytes, &n))
			return NULL;
		if (!decode_trace(bytes, n, linear & 0xfff, c->mode, 1, &d))
			abort(); /* 15 bytes are enough for any answer */
	}
	assert(d.ops <= LONE_OPS && d.bytes <= sizeof(l->bytes));
	place(l->trace, &d, physical, c->mode);
	*l = (struct lone){.rip = c->rip,
			   .linear = linear,
			   .mode = c->mode,
			   .straddles = d.bytes > first,
			   .length = d.bytes,
			   .trace = l->trace};
	memcpy(l->bytes, bytes, d.bytes);
	return c->lone;
}

/* ---- finding ---- */

static struct trace *lookup(const struct code *k, uint64_t physical, uint32_t mode)
{
	for (struct trace *t = trace_of(k, *bucket_of(k, physical, mode)); t;
	     t = trace_of(k, t->next_in_hash))
		if (t->physical == physical && t->mode == mode)
			return t;
	return NULL;
}

/* Takes fast writes to the page away from everybody. At a safepoint, without the lock. */
static void claim_page(struct cpu *c, uint64_t offset, uint64_t physical)
{
	struct cpu_world *w = c->world;

	world_stop(c);
	(void)ram_flags_set(w->ram, offset, RAM_CODE);
	for (unsigned i = 0; i < w->cpus; i++)
		mmu_revoke_writes(w->cpu[i], physical & PAGE_TAG);
	world_go(c);
}

static void flush_stopped(struct cpu *c)
{
	struct code *k = c->world->code;

	world_stop(c);
	(void)pthread_mutex_lock(&k->lock);
	flush(c->world);
	(void)pthread_mutex_unlock(&k->lock);
	world_go(c);
}

enum made { MADE, MADE_LONE, MADE_UNCLAIMED, MADE_FULL };

/* Under the lock. */
static enum made find_or_build(struct cpu *c, uint64_t offset, uint64_t physical,
			       struct trace **ret)
{
	struct code *k = c->world->code;
	struct trace *t = lookup(k, physical, c->mode);
	unsigned in_page = (unsigned)(offset & 0xfff);
	struct decoded d;
	uint32_t *bucket;

	*ret = t;
	if (t)
		return MADE;
	if ((ram_flags(c->ram, offset) & RAM_CODE) == 0)
		return MADE_UNCLAIMED;
	if ((uint64_t)k->used * UNIT + TRACE_BYTES_MAX > k->bytes)
		return MADE_FULL;
	t = trace_of(k, k->used);
	if (!decode_trace(c->ram->host + offset, RAM_PAGE_BYTES - in_page, in_page, c->mode,
			  (c->mode & MODE_ONE) != 0 ? 1 : DECODE_INSTRUCTIONS_MAX, &d))
		return MADE_LONE;
	place(t, &d, physical, c->mode);
	k->stats.traces++;
	k->stats.ops += d.instructions;
	bucket = bucket_of(k, physical, c->mode);
	t->next_in_hash = *bucket;
	t->next_in_page = k->pages[offset >> RAM_PAGE_SHIFT];
	*bucket = k->pages[offset >> RAM_PAGE_SHIFT] = k->used;
	k->used += (uint32_t)(sizeof(*t) / UNIT) + d.ops;
	*ret = t;
	return MADE;
}

static struct jump *jump_of(const struct cpu *c, uint64_t rip)
{
	return &c->jumps[(rip ^ rip >> 12) & (CPU_JUMPS - 1)];
}

static struct trace *find_slowly(struct cpu *c, uint64_t linear)
{
	struct code *k = c->world->code;
	struct trace *t = NULL;
	uint64_t physical, offset;
	enum made made;

	if ((c->mode & MODE_CODE64) == 0 && c->rip > c->segment[VCPU_CS].limit) {
		(void)sys_fault(c, VECTOR_GP, 0);
		return NULL;
	}
	if (!mmu_code(c, linear, &physical))
		return NULL;
	offset = ram_offset(c->ram, (struct gpa){physical & PAGE_TAG}, RAM_PAGE_BYTES);
	if (offset == NO_RAM || (lone_known(c, lone_of(c), linear) && lone_of(c)->straddles))
		return trace_lone(c);
	offset += physical & 0xfff;
	do {
		(void)pthread_mutex_lock(&k->lock);
		made = find_or_build(c, offset, physical, &t);
		(void)pthread_mutex_unlock(&k->lock);
		if (made == MADE_UNCLAIMED)
			claim_page(c, offset, physical);
		else if (made == MADE_FULL)
			flush_stopped(c);
	} while (made == MADE_UNCLAIMED || made == MADE_FULL);
	if (made == MADE_LONE)
		return trace_lone(c);
	c->gpr[REG_PAGE] = c->rip - (linear & 0xfff);
	*jump_of(c, c->rip) = (struct jump){c->rip, c->jump_tag, t};
	return t;
}

struct trace *trace_find(struct cpu *c)
{
	const struct jump *j = jump_of(c, c->rip);

	if (j->rip == c->rip && j->tag == c->jump_tag && !is_dead(j->trace)) {
		c->gpr[REG_PAGE] = c->rip - j->trace->op[0].at;
		return j->trace;
	}
	return find_slowly(c, linear_rip(c));
}

/* ---- from trace to trace ---- */

OP(enter)
{
	if (unlikely(cpu_attention_wanted(c))) {
		c->rip = op_rip(c, o);
		LEAVE(CPU_STOP_ATTENTION);
	}
	c->executed += o->imm;
	NEXT;
}

void op_exit_jump(struct cpu *c)
{
	const struct jump *j = jump_of(c, c->rip);

	/* What runs by itself ends here: no trace may stop the world, or write its own page. */
	if (likely(j->rip == c->rip && j->tag == c->jump_tag) &&
	    likely(((c->mode & MODE_ONE) | c->lone_runs) == 0)) {
		const struct op *first = j->trace->op;

		c->gpr[REG_PAGE] = c->rip - first->at;
		GO(first);
	}
	LEAVE(CPU_STOP_NONE);
}

static OP(link_first)
{
	const struct trace *from = trace_of_link(o);
	uint64_t epoch = code_epoch(c->world), page = c->gpr[REG_PAGE];
	bool inside = o->disp >= 0 && o->disp < (int32_t)RAM_PAGE_BYTES;
	struct trace *t;

	c->rip = page + (uint64_t)(int64_t)o->disp;
	if (unlikely(o->dst != 0))
		c->rip = o->dst == LINK_FAR ? c->rip + (1ull << 32) : c->rip & 0xffff;
	if ((c->mode & MODE_CODE64) == 0)
		c->rip &= UINT32_MAX;
	if (!inside)
		return op_exit_jump(c);
	if (cpu_attention_wanted(c) || (c->mode & MODE_ONE) != 0 || from == c->lone)
		LEAVE(CPU_STOP_NONE);
	t = trace_find(c);
	if (!t)
		LEAVE(CPU_STOP_FAULT);
	if (t == c->lone)
		LEAVE(CPU_STOP_NONE);
	/* While the world was stopped for a new page, all may have been thrown away. */
	if (epoch == code_epoch(c->world) && c->gpr[REG_PAGE] == page && t->mode == from->mode &&
	    ((t->physical ^ from->physical) & PAGE_TAG) == 0)
		__atomic_store_n(&((struct op *)(uintptr_t)o)->imm, (uint64_t)(uintptr_t)t->op,
				 __ATOMIC_RELEASE);
	GO(t->op);
}

/* Behind a branch only the first time; at the end of a trace that was cut, each time. */
OP(link)
{
	const struct op *next = op_linked(o);

	if (likely(next != o))
		GO(next);
	return op_link_first(c, o);
}
