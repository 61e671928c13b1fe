/*
 * Races among the processors whose outcomes the manual forbids (SDM volume 3, §8.2.3 "store
 * buffering", "message passing" and the rest; §4.8 accessed and dirty flags; §4.10.5 shootdown;
 * §8.1.3 cross-modifying code). A round runs a row of independent slots, so that the processors meet in
 * different places; the first one looks at what came of it.
 */
#include "guest.h"

#define CPUS	 4u
#define SLOTS	 512u
#define ROUNDS	 60u
#define SHOTS	 400u
#define PATCHES	 400u
#define PRESENT	 1u
#define WRITABLE 2u
#define ACCESSED 0x20u
#define DIRTY	 0x40u
#define OURS	 0x200u /* bits 9 and 10 of an entry are the software's */
#define THEIRS	 0x400u
#define SHOT_IPI 11
#define MOMENT	 100000u /* ticks of the TSC */
#define ENTRIES	 512u

struct slot {
	volatile uint32_t x __attribute__((aligned(64)));
	volatile uint32_t y __attribute__((aligned(64)));
	volatile uint32_t r[4] __attribute__((aligned(64)));
};

bool probe_write(volatile uint8_t *p, uint8_t v);

static struct slot slots[SLOTS];
static volatile uint64_t *entries; /* the page table of MAPPED */
static volatile unsigned phase, waiting;
static volatile uint64_t confirmed, finished, moment;
static volatile uint64_t wrong[CPUS];

/* All go on at one moment, a little later: who waits in PAUSE may have lost its host processor. */
static void barrier(void)
{
	unsigned now = phase;

	if (__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST) == CPUS) {
		waiting = 0;
		moment = rdtsc() + MOMENT;
		__atomic_store_n(&phase, now + 1, __ATOMIC_SEQ_CST);
	}
	while (__atomic_load_n(&phase, __ATOMIC_SEQ_CST) == now)
		pause_a_bit();
	while (rdtsc() < moment)
		;
}

/* ---- memory order: what each processor does with a slot ---- */

static void store_buffer(unsigned cpu, struct slot *s)
{
	if (cpu == 0) {
		s->x = 1;
		s->r[0] = s->y;
	} else if (cpu == 1) {
		s->y = 1;
		s->r[1] = s->x;
	}
}

static void store_fence(unsigned cpu, struct slot *s)
{
	if (cpu == 0) {
		s->x = 1;
		__asm__ volatile("mfence" ::: "memory");
		s->r[0] = s->y;
	} else if (cpu == 1) {
		s->y = 1;
		__asm__ volatile("mfence" ::: "memory");
		s->r[1] = s->x;
	}
}

static void store_locked(unsigned cpu, struct slot *s)
{
	if (cpu == 0) {
		(void)__atomic_exchange_n(&s->x, 1, __ATOMIC_SEQ_CST);
		s->r[0] = s->y;
	} else if (cpu == 1) {
		(void)__atomic_exchange_n(&s->y, 1, __ATOMIC_SEQ_CST);
		s->r[1] = s->x;
	}
}

static bool both_missed(const struct slot *s)
{
	return s->r[0] == 0 && s->r[1] == 0;
}

static void message(unsigned cpu, struct slot *s)
{
	if (cpu == 0) {
		s->x = 1;
		s->y = 1;
	} else if (cpu == 1) {
		s->r[0] = s->y;
		s->r[1] = s->x;
	}
}

static bool overtaken(const struct slot *s)
{
	return s->r[0] == 1 && s->r[1] == 0;
}

static void load_buffer(unsigned cpu, struct slot *s)
{
	if (cpu == 0) {
		s->r[0] = s->x;
		s->y = 1;
	} else if (cpu == 1) {
		s->r[1] = s->y;
		s->x = 1;
	}
}

static bool both_foresaw(const struct slot *s)
{
	return s->r[0] == 1 && s->r[1] == 1;
}

static void independent(unsigned cpu, struct slot *s)
{
	if (cpu == 0) {
		s->x = 1;
	} else if (cpu == 1) {
		s->y = 1;
	} else if (cpu == 2) {
		s->r[0] = s->x;
		s->r[1] = s->y;
	} else {
		s->r[2] = s->y;
		s->r[3] = s->x;
	}
}

static bool disagree(const struct slot *s)
{
	return s->r[0] == 1 && s->r[1] == 0 && s->r[2] == 1 && s->r[3] == 0;
}

static void coherent(unsigned cpu, struct slot *s)
{
	if (cpu == 0) {
		s->x = 1;
		s->x = 2;
	} else {
		uint32_t a = s->x, b = s->x;

		s->r[cpu] = b < a;
	}
}

static bool went_back(const struct slot *s)
{
	return s->r[1] || s->r[2] || s->r[3];
}

static void sums(unsigned cpu, struct slot *s)
{
	(void)__atomic_fetch_add(&s->x, 1, __ATOMIC_SEQ_CST);
	(void)__atomic_fetch_xor(&s->y, 1u << cpu, __ATOMIC_SEQ_CST);
}

static bool lost(const struct slot *s)
{
	return s->x != CPUS || s->y != (1u << CPUS) - 1;
}

static const struct {
	const char *name;
	void (*act)(unsigned cpu, struct slot *s);
	bool (*seen)(const struct slot *s);
	bool allowed;
} races[] = {
	{"store buffering", store_buffer, both_missed, true},
	{"store buffering with fences", store_fence, both_missed, false},
	{"store buffering with locked stores", store_locked, both_missed, false},
	{"message passing", message, overtaken, false},
	{"load buffering", load_buffer, both_foresaw, false},
	{"independent reads of independent writes", independent, disagree, false},
	{"coherence of one word", coherent, went_back, false},
	{"locked sums", sums, lost, false},
};

/* Every other processor goes through blocks of slots backwards: they meet in each, not always just miss. */
static void race(unsigned cpu, size_t i)
{
	uint64_t seen = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned backwards = cpu & 1 ? (1u << round % 8) - 1 : 0;

		if (cpu == 0)
			memset(slots, 0, sizeof(slots));
		barrier();
		for (unsigned k = 0; k < SLOTS; k++)
			races[i].act(cpu, &slots[k ^ backwards]);
		barrier();
		for (unsigned k = 0; cpu == 0 && k < SLOTS; k++)
			seen += races[i].seen(&slots[k]);
	}
	if (cpu != 0)
		return;
	if (races[i].allowed)
		say("%s: %u of %u slots, which is allowed\n", races[i].name, seen,
		    (uint64_t)ROUNDS * SLOTS);
	else
		check(seen == 0, "%s: the forbidden was seen in %u of %u slots", races[i].name,
		      seen, (uint64_t)ROUNDS * SLOTS);
}

/* ---- page tables ---- */

static volatile uint8_t *page_at(unsigned i)
{
	return (volatile uint8_t *)(MAPPED + (uint64_t)i * PAGE);
}

/* Two set bits of their own in entries whose flags the others' accesses set. */
static void flags_are_kept(unsigned cpu, uint64_t frame)
{
	uint64_t bad = 0;

	for (unsigned round = 0; round < ROUNDS / 4; round++) {
		for (unsigned k = 0; cpu == 0 && k < ENTRIES; k++)
			entries[k] = frame | PRESENT | WRITABLE;
		barrier();
		forget_all();
		barrier();
		for (unsigned k = 0; k < ENTRIES; k++) {
			if (cpu == 0)
				(void)__atomic_fetch_or(&entries[k], OURS, __ATOMIC_SEQ_CST);
			else if (cpu == 1)
				(void)__atomic_fetch_or(&entries[k], THEIRS, __ATOMIC_SEQ_CST);
			else if (cpu == 2)
				(void)*page_at(k);
			else
				*page_at(k) = 1;
		}
		barrier();
		for (unsigned k = 0; cpu == 0 && k < ENTRIES; k++)
			bad += (entries[k] & 0xfff) !=
			       (PRESENT | WRITABLE | ACCESSED | DIRTY | OURS | THEIRS);
	}
	if (cpu == 0)
		check(bad == 0,
		      "accessed and dirty flags beside the software's: %u entries lost one", bad);
}

/* One takes entries away while others write: no entry comes back, none that was written is clean. */
static void entries_stay_away(unsigned cpu, uint64_t frame)
{
	uint64_t back = 0, clean = 0, hit = 0;

	for (unsigned round = 0; round < ROUNDS / 4; round++) {
		for (unsigned k = 0; cpu == 0 && k < ENTRIES; k++)
			entries[k] = frame | PRESENT | WRITABLE;
		if (cpu == 0)
			memset(slots, 0, sizeof(slots));
		barrier();
		forget_all();
		barrier();
		for (unsigned k = 0; k < ENTRIES; k++) {
			if (cpu == 0)
				slots[k].x = (uint32_t)__atomic_exchange_n(&entries[k], 0,
									   __ATOMIC_SEQ_CST);
			else
				slots[k].r[cpu] = probe_write(page_at(k), 1);
		}
		barrier();
		for (unsigned k = 0; cpu == 0 && k < ENTRIES; k++) {
			bool written = slots[k].r[1] || slots[k].r[2] || slots[k].r[3];

			back += entries[k] != 0;
			hit += written;
			clean += written && !(slots[k].x & DIRTY);
		}
	}
	forget_all();
	if (cpu == 0)
		check(back == 0 && clean == 0,
		      "entries taken away under writes: %u came back, %u of %u were written but "
		      "clean",
		      back, clean, hit);
}

/* The page moves between two frames; who was told must not see the old one. */
static void shootdown(unsigned cpu, volatile uint64_t *frames[2])
{
	if (cpu == 0) {
		*frames[0] = 0;
		entries[0] = (uint64_t)frames[0] | PRESENT | WRITABLE;
		confirmed = 0;
		finished = 0;
		interrupts[SHOT_IPI] = 0;
	}
	barrier();
	forget_all();
	__asm__ volatile("sti");
	for (uint64_t k = 1; cpu == 0 && k <= SHOTS; k++) {
		*frames[k & 1] = k;
		entries[0] = (uint64_t)frames[k & 1] | PRESENT | WRITABLE;
		__asm__ volatile("invlpg (%0)" ::"r"(page_at(0)) : "memory");
		wrmsr(MSR_ICR, 0xc0000u | (VECTOR_FIRST + SHOT_IPI)); /* to all but self */
		(void)wait_for(interrupts[SHOT_IPI] >= k * (CPUS - 1));
		confirmed = k;
	}
	if (cpu == 0)
		finished = 1;
	while (!finished) {
		uint64_t least = confirmed;

		wrong[cpu] += *(volatile uint64_t *)page_at(0) < least;
	}
	barrier();
	if (cpu == 0)
		check(wrong[1] + wrong[2] + wrong[3] == 0 &&
			      interrupts[SHOT_IPI] == SHOTS * (CPUS - 1),
		      "shootdown: %u stale reads behind %u interrupts",
		      wrong[1] + wrong[2] + wrong[3], interrupts[SHOT_IPI]);
}

/* ---- code ---- */

static uint8_t code[PAGE] __attribute__((aligned(PAGE)));

static uint32_t call_code(void)
{
	uint32_t v;

	__asm__ volatile("call *%1" : "=a"(v) : "r"(code + 3) : "memory");
	return v;
}

static void serialize(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)::"memory");
}

/*
 * One patches the immediate of a MOV (aligned, one store); the others call it all the while. Who
 * serializes after being told must not run what was replaced; who does not may, but nothing that
 * never stood there, and what is new in the end (§8.1.3).
 */
static void cross_modify(unsigned cpu, bool serializing)
{
	volatile uint32_t *immediate = (volatile uint32_t *)(code + 4);
	uint32_t last = 0;

	if (cpu == 0) {
		code[3] = 0xb8; /* mov $0, %eax; ret */
		*immediate = 0;
		code[8] = 0xc3;
		confirmed = 0;
		finished = 0;
	}
	wrong[cpu] = 0;
	barrier();
	serialize();
	for (uint32_t k = 1; cpu == 0 && k <= PATCHES; k++) {
		*immediate = k;
		confirmed = k;
		serialize();
		wrong[0] += call_code() != k;
		for (unsigned i = 0; i < 50; i++)
			pause_a_bit();
	}
	if (cpu == 0)
		finished = 1;
	while (!finished) {
		uint64_t told = confirmed;
		uint32_t v;

		if (serializing)
			serialize();
		v = call_code();
		wrong[cpu] += v > PATCHES || (serializing && (v < told || v < last));
		last = v;
	}
	barrier();
	serialize();
	wrong[cpu] += call_code() != PATCHES;
	barrier();
	if (cpu == 0)
		check(wrong[0] + wrong[1] + wrong[2] + wrong[3] == 0,
		      "cross-modifying code, %s: %u calls ran what they must not",
		      serializing ? "serializing" : "unsynchronized",
		      wrong[0] + wrong[1] + wrong[2] + wrong[3]);
}

static void run_all(unsigned cpu)
{
	static volatile uint64_t *frames[2];

	if (cpu == 0) {
		entries = map_page_table(0);
		frames[0] = fresh_pages(1);
		frames[1] = fresh_pages(1);
	}
	barrier();
	for (size_t i = 0; i < sizeof(races) / sizeof(races[0]); i++)
		race(cpu, i);
	flags_are_kept(cpu, (uint64_t)frames[0]);
	entries_stay_away(cpu, (uint64_t)frames[0]);
	shootdown(cpu, frames);
	cross_modify(cpu, true);
	cross_modify(cpu, false);
}

void litmus(void)
{
	check(processors() == CPUS, "litmus wants %u processors", (uint64_t)CPUS);
	if (processors() != CPUS)
		return;
	start_others(CPUS - 1, run_all);
	run_all(0);
}
