/*
 * A walk through exceptions: each step does one thing that must or must not fault and prints what
 * came of it, so that two machines can be compared line by line: vector, error code, address, flags
 * (without RF, which QEMU's translator does not push; what it does not check at
 * all is left out by the word `tcg`), and what is changed in page tables and debug registers.
 */
#include "guest.h"

#define FRESH	   0 /* entries of the page table: see map_walk() */
#define USER_CODE  64
#define ABSENT	   100
#define FLAG_RF	   0x10000u
#define EFER	   0xc0000080u
#define STAR	   0xc0000081u
#define LSTAR	   0xc0000082u
#define SFMASK	   0xc0000084u
#define FLAGS_MASK (~(uint64_t)FLAG_RF)
#define NX	   (1ull << 63)
#define CR0_WP	   (1u << 16)

extern const char user_code[], user_code_end[], syscall_came[];
extern char trap_stack_end[];
extern uint64_t gdt_all[];

static volatile uint64_t *entries;
static uint8_t *frame;

static volatile uint8_t *page(unsigned i)
{
	return (volatile uint8_t *)(MAPPED + (uint64_t)i * PAGE);
}

static uint64_t cr2(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}

static void tell(const char *name, bool faulted)
{
	say("%s: ", name);
	if (!faulted) {
		say("goes on\n");
		return;
	}
	say("vector %u error %x cs %x flags %x", fault.vector, fault.error, fault.cs,
	    fault.flags & FLAGS_MASK);
	if (fault.vector == 14)
		say(" address %x", cr2());
	say("\n");
}

/* ---- ring 0 ---- */

#define STEP(name, ...)                        \
	static void name(void *p)              \
	{                                      \
		(void)p;                       \
		__asm__ volatile(__VA_ARGS__); \
	}

STEP(divide, "xor %%edx, %%edx; xor %%ecx, %%ecx; mov $1, %%eax; div %%ecx" ::: "eax", "ecx", "edx")
STEP(divide_large, "mov $0x7fffffff, %%edx; mov $3, %%ecx; idiv %%ecx" ::: "eax", "ecx", "edx")
STEP(undefined, "ud2")
STEP(breakpoint, "int3")
STEP(software, "int $0x80")
STEP(read_byte, "mov (%0), %%al" ::"r"(p) : "eax")
STEP(write_byte, "movb $1, (%0)" ::"r"(p))
STEP(add_byte, "lock addb $1, (%0)" ::"r"(p))
STEP(execute, "call *%0" ::"r"(p))
STEP(read_across, "mov (%0), %%rax" ::"r"(p) : "rax")
STEP(stack_wild, "mov %%rsp, %%rbx; mov %0, %%rsp; push %%rax; mov %%rbx, %%rsp" ::"r"(p) : "rbx")
STEP(bad_selector, "mov $0x1234, %%eax; mov %%eax, %%ds" ::: "eax")
STEP(system_selector, "mov $0x30, %%eax; mov %%eax, %%es" ::: "eax")
STEP(absent_selector, "mov $0x40, %%eax; mov %%eax, %%es" ::: "eax")
STEP(null_stack, "mov $3, %%eax; mov %%eax, %%ss" ::: "eax")
STEP(far_return, "push $0x77; push $0; lretq")
STEP(far_data, "push $0x18; push $0; lretq")
STEP(return_wild, "push $0x18; push %%rsp; pushf; push $0x10; push %0; iretq" ::"r"(p))
STEP(return_selector, "push $0x18; push %%rsp; pushf; push $0x50; push $0; iretq" ::)
STEP(busy_task, "mov $0x30, %%eax; ltr %%ax" ::: "eax")
STEP(bad_table, "mov $0x18, %%eax; lldt %%ax" ::: "eax")
STEP(bad_msr, "mov $0x12345, %%ecx; rdmsr" ::: "eax", "ecx", "edx")
STEP(bad_efer, "mov $0xc0000080, %%ecx; mov $-1, %%eax; mov $-1, %%edx; wrmsr" ::
	     : "eax", "ecx", "edx")
STEP(bad_lstar, "mov $0xc0000082, %%ecx; mov $0, %%eax; mov $0x800000, %%edx; wrmsr" ::
	     : "eax", "ecx", "edx")
STEP(no_paging, "mov %%cr0, %%rax; btr $31, %%rax; mov %%rax, %%cr0" ::: "rax")
STEP(no_cache_through, "mov %%cr0, %%rax; bts $29, %%rax; mov %%rax, %%cr0" ::: "rax")
STEP(no_pae, "mov %%cr4, %%rax; btr $5, %%rax; mov %%rax, %%cr4" ::: "rax")
STEP(reserved_cr4, "mov %%cr4, %%rax; bts $30, %%rax; mov %%rax, %%cr4" ::: "rax")
STEP(priority_9, "mov $0x10, %%eax; mov %%rax, %%cr8" ::: "rax")
STEP(fpu_off, "mov %%cr0, %%rax; bts $3, %%rax; mov %%rax, %%cr0; fnop" ::: "rax")
STEP(sse_off, "xorps %%xmm0, %%xmm0" ::)
STEP(fpu_on, "clts; fninit; fnop" ::)
STEP(x87_fault, "fninit; fldcw (%0); fldz; fld1; fdivp; fwait" ::"r"(p))
STEP(sse_fault, "ldmxcsr (%0); xorps %%xmm0, %%xmm0; divss %%xmm0, %%xmm0" ::"r"(p))
STEP(sse_calm, "ldmxcsr (%0)" ::"r"(p))
STEP(sse_reserved, "ldmxcsr (%0)" ::"r"(p))
STEP(unaligned, "movaps 1(%0), %%xmm0" ::"r"(p))
STEP(pair_unaligned, "cmpxchg16b 8(%0)" ::"r"(p) : "rax", "rbx", "rcx", "rdx")
STEP(trap_flag, "pushf; orl $0x100, (%%rsp); popf; nop; nop" ::: "cc")
STEP(task_flag, "pushf; orl $0x4000, (%%rsp); popf; iretq" ::: "cc")

static const struct {
	uint32_t offset;
	uint16_t selector;
} far_wild = {1, 0x1234}, far_good = {0x12345678, 0x18};
static uint8_t two_bytes[2];

STEP(far_load_wild, "lfs %0, %%eax" ::"m"(far_wild) : "eax")
STEP(far_load, "lfs %0, %%eax; cmp $0x12345678, %%eax; jne 1f; mov %%fs, %%eax; cmp $0x18, %%eax; "
	       "jne 1f; xor %%eax, %%eax; mov %%eax, %%fs; jmp 2f; 1: ud2; 2:" ::"m"(far_good)
     : "eax")
STEP(port_strings,
     "mov $0x80, %%edx; mov %0, %%rsi; mov $2, %%ecx; cld; rep outsb; cmp %1, %%rsi; jne 1f; "
     "mov $2, %%ecx; mov %0, %%rdi; rep insb; cmp %1, %%rdi; je 2f; 1: ud2; 2:" ::"r"(two_bytes),
     "r"(two_bytes + 2)
     : "ecx", "edx", "rsi", "rdi", "memory")
STEP(port_string_wild, "mov $0x80, %%edx; mov %0, %%rsi; outsb" ::"r"(page(ABSENT)) : "edx", "rsi")
STEP(machine_word, "smsw %%eax; lmsw %%ax" ::: "eax")
STEP(write_back, "wbinvd")
STEP(time_and_number, "rdtscp; cpuid" ::: "eax", "ebx", "ecx", "edx")

static void steps(const void *wild)
{
	static uint8_t control[64] __attribute__((aligned(64)));
	static const struct {
		const char *name;
		void (*run)(void *);
		bool lax; /* QEMU's translator does not look */
	} rows[] = {{"divide by zero", divide},
		    {"a quotient too large", divide_large},
		    {"ud2", undefined},
		    {"int3", breakpoint},
		    {"int 0x80 behind the table's end", software, true},
		    {"a selector behind the table", bad_selector},
		    {"a selector of a task", system_selector},
		    {"a selector of code in ES, absent", absent_selector},
		    {"a null stack of ring 3", null_stack, true},
		    {"a far return behind the table", far_return, true},
		    {"a far return to data", far_data},
		    {"iret behind the table", return_selector},
		    {"ltr of a busy task", busy_task},
		    {"lldt of data", bad_table},
		    {"an unknown msr", bad_msr, true},
		    {"reserved bits of efer", bad_efer, true},
		    {"a wild lstar", bad_lstar, true},
		    {"paging off in long mode", no_paging, true},
		    {"not-write-through without cache off", no_cache_through, true},
		    {"pae off in long mode", no_pae, true},
		    {"reserved bits of cr4", reserved_cr4, true},
		    {"a priority above 15", priority_9, true},
		    {"x87 with ts", fpu_off},
		    {"sse with ts", sse_off},
		    {"x87 again", fpu_on},
		    {"one step", trap_flag},
		    {"iret with nt", task_flag},
		    {"lfs of a wild selector", far_load_wild},
		    {"lfs", far_load},
		    {"outs and ins", port_strings},
		    {"outs of an absent page", port_string_wild},
		    {"lmsw", machine_word},
		    {"wbinvd", write_back},
		    {"rdtscp and cpuid", time_and_number}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!rows[i].lax || !words_have("tcg"))
			tell(rows[i].name, attempt(rows[i].run, NULL));
	tell("a wild load", attempt(read_byte, (void *)wild));
	tell("a wild call", attempt(execute, (void *)wild));
	if (!words_have("tcg")) {
		tell("a wild stack", attempt(stack_wild, (void *)wild));
		tell("iret to nowhere", attempt(return_wild, (void *)wild));
	}
	tell("movaps unaligned", attempt(unaligned, control));
	tell("cmpxchg16b unaligned", attempt(pair_unaligned, control));
	*(uint16_t *)control = 0x37b;
	tell("x87 divides by zero", attempt(x87_fault, control));
	tell("x87 is calm", attempt(fpu_on, NULL));
	if (words_have("tcg"))
		return;
	*(uint32_t *)control = 0x1f00; /* invalid operations unmasked */
	tell("sse divides zero by zero", attempt(sse_fault, control));
	*(uint32_t *)control = 0x1f80;
	tell("sse is calm", attempt(sse_calm, control));
	*(uint32_t *)control = 0x10000;
	tell("reserved bits of mxcsr", attempt(sse_reserved, control));
}

/* ---- paging ---- */

static void entry(unsigned i, uint64_t bits)
{
	entries[i] = bits ? (uint64_t)frame | bits : 0;
	__asm__ volatile("invlpg (%0)" ::"r"(page(i)) : "memory");
}

static void paging(void)
{
	static const struct {
		const char *name;
		uint64_t bits;
	} kinds[] = {{"absent", 0},
		     {"read-only", 1},
		     {"writable", 3},
		     {"user's read-only", 5},
		     {"user's writable", 7},
		     {"no-execute", 3 | NX},
		     {"user's no-execute", 7 | NX},
		     {"reserved bit", 3 | 1ull << 51},
		     {"absent, reserved bit", 1ull << 51}};
	static const struct {
		const char *name;
		void (*run)(void *);
		unsigned at;
	} acts[] = {{"read", read_byte, 8},
		    {"write", write_byte, 8},
		    {"locked add", add_byte, 8},
		    {"execute", execute, 0},
		    {"read into the next page", read_across, PAGE - 3}};

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (size_t a = 0; a < sizeof(acts) / sizeof(acts[0]); a++) {
			/* It reports no P with RSVD, and a locked write first as a read. */
			if (words_have("tcg") && (a == 2 || k >= 7))
				continue;
			entry(FRESH, 3);
			entry(FRESH + 1, kinds[k].bits);
			say("%s, ", kinds[k].name);
			tell(acts[a].name,
			     attempt(acts[a].run,
				     (void *)(page(acts[a].at > 100 ? FRESH : FRESH + 1) +
					      acts[a].at)));
			say("  entries %x %x\n", entries[FRESH] & 0xfff,
			    entries[FRESH + 1] & 0xfff);
		}
	}
}

static void set_cr0(uint64_t clear, uint64_t set)
{
	uint64_t v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	__asm__ volatile("mov %0, %%cr0" ::"r"((v & ~clear) | set) : "memory");
}

static void write_protection(void)
{
	set_cr0(CR0_WP, 0);
	entry(FRESH, 1);
	tell("a write to read-only without wp", attempt(write_byte, (void *)(page(FRESH) + 8)));
	say("  entry %x\n", entries[FRESH] & 0xfff);
	set_cr0(0, CR0_WP);
	entry(FRESH, 1);
	tell("... with wp", attempt(write_byte, (void *)(page(FRESH) + 8)));
	say("  entry %x\n", entries[FRESH] & 0xfff);
}

/* ---- debug registers ---- */

static void set_debug(uint64_t address, uint64_t control)
{
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr6; mov %2, %%dr7" ::"r"(address),
			 "r"(0xffff0ff0ull), "r"(control));
}

static uint64_t dr6(void)
{
	uint64_t v;

	__asm__ volatile("mov %%dr6, %0" : "=r"(v));
	return v;
}

STEP(touch_debug, "mov %%dr0, %%rax" ::: "rax")

static void debug(void)
{
	static uint64_t word[4] __attribute__((aligned(16)));

	set_debug((uint64_t)&word[0], 0xd0602);
	tell("a write to a watched word", attempt(write_byte, &word[0]));
	say("  dr6 %x\n", dr6());
	set_debug((uint64_t)&word[0], 0xd0602);
	tell("a read of a word watched for writes", attempt(read_byte, &word[0]));
	say("  dr6 %x\n", dr6());
	set_debug((uint64_t)&word[0], 0xf0602);
	tell("a read of a word watched for both", attempt(read_byte, &word[0]));
	say("  dr6 %x\n", dr6());
	set_debug((uint64_t)&word[0], 0xd0602);
	tell("a write beside it", attempt(write_byte, &word[1]));
	say("  dr6 %x\n", dr6());
	set_debug((uint64_t)undefined, 0x602);
	tell("a watched instruction", attempt(undefined, NULL));
	say("  dr6 %x\n", dr6());
	set_debug(0, 0x400);
	tell("one step with nothing watched", attempt(trap_flag, NULL));
	say("  dr6 %x\n", dr6());
	set_debug(0, words_have("tcg") ? 0x400 : 0x2400);
	tell("debug registers under guard", attempt(touch_debug, NULL));
	say("  dr6 %x\n", dr6());
	set_debug(0, 0x400);
}

/* ---- ring 3 ---- */

static void user(void)
{
	static struct {
		uint32_t reserved;
		uint64_t rsp[3], zero, ist[7];
		uint16_t more[5], map;
	} __attribute__((packed, aligned(8))) tss;
	static const char *const names[] = {"read",	     "write",
					    "execute",	     "cli",
					    "hlt",	     "in",
					    "rdmsr",	     "mov from cr0",
					    "mov to dr7",    "lgdt",
					    "int 0x30",	     "swapgs",
					    "rdtsc",	     "ring 0's data",
					    "far return up", "unaligned read",
					    "popf of if",    "syscall",
					    "ud2",	     "wbinvd",
					    "lmsw",	     "invlpg"};
	uint8_t *code = fresh_pages(1), *stack = fresh_pages(1);
	uint64_t at = (uint64_t)&tss;

	tss.rsp[0] = (uint64_t)trap_stack_end;
	tss.ist[0] = (uint64_t)fresh_pages(1) + PAGE;
	gate_own_stack(12);
	tss.map = sizeof(tss);
	gdt_all[6] =
		(sizeof(tss) - 1) | (at & 0xffffff) << 16 | 0x89ull << 40 | (at >> 24 & 0xff) << 56;
	gdt_all[7] = at >> 32;
	__asm__ volatile("ltr %w0" ::"r"(0x30));
	memcpy(code, user_code, (size_t)(user_code_end - user_code));
	entries[USER_CODE] = (uint64_t)code | 5;
	entries[USER_CODE + 1] = (uint64_t)stack | 7;
	wrmsr(EFER, rdmsr(EFER) | 1 | 1u << 11);
	wrmsr(STAR, 0x1bull << 48 | 0x10ull << 32);
	wrmsr(LSTAR, (uint64_t)syscall_came);
	wrmsr(SFMASK, 0x700);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		static const uint64_t kinds[] = {0, 1, 3, 5, 7, 7 | NX};
		bool of_page = i < 3;

		if ((i == 10 || i == 15) && words_have("tcg"))
			continue;

		for (unsigned k = 0; k < (of_page ? sizeof(kinds) / sizeof(kinds[0]) : 1); k++) {
			uint64_t rip = (uint64_t)page(USER_CODE) + 16ull * i;
			bool came;

			entry(FRESH, of_page ? kinds[k] : 7);
			came = attempt_user(rip, (uint64_t)page(FRESH) + (i == 2 ? 0 : 8),
					    i == 15 ? 0x40002 : 2, (uint64_t)page(USER_CODE + 2));
			say("ring 3, entry %x, ", of_page ? kinds[k] & 0xfff : 7);
			tell(names[i], came);
			say("  rip %x ss %x rcx %x r11 %x\n", fault.rip ? fault.rip - rip : 0,
			    fault.ss, i == 16 || i == 17 ? fault.rcx : 0, i == 17 ? fault.r11 : 0);
		}
	}
	say("task %x\n", gdt_all[6] >> 40 & 0xff);
}

void walk(void)
{
	uint64_t cr4;

	__asm__ volatile("cli");
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile(
		"mov %0, %%cr4" ::"r"((cr4 & ~0x300000ull) | 0x600)); /* no SMEP, no SMAP */
	wrmsr(EFER, rdmsr(EFER) | 1u << 11);
	set_cr0(0, CR0_WP | 1u << 5 | 1u << 1 | 1u << 18); /* NE, MP, AM */
	entries = map_page_table(0);
	frame = fresh_pages(1);
	frame[0] = 0xc3; /* ret */
	user();
	steps((const void *)0x800000001000);
	paging();
	write_protection();
	debug();
}
