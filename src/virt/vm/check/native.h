/*
 * The real processor as an oracle: one instruction runs in user mode of the host, from a state
 * that is given whole (registers, flags, x87, SSE, memory), and the state after it is handed
 * back, or the exception with its error code and address. The software CPU is compared with it.
 *
 * A batch of cases lies in memory that is shared with a forked child. The child maps the pages
 * below at fixed addresses, so that a case means the same there and in a guest with page tables
 * alike, and then lives in its signal handler: the trap of a single step ends one case and returns
 * into the next. It may make no system call but that return, so no instruction of a case can do
 * harm; one that never ends is killed with its child, and the batch goes on behind it.
 *
 * Not for production: nothing but tests links it. x86-64 Linux only.
 *
 *	struct native *n = native_new(&e);
 *	n->batch->cases[0] = (struct native_case){...};
 *	if (native_run(n, 1, &e) < 0) ...
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"

#define NATIVE_CASES_MAX  512
#define NATIVE_CODE_BYTES 15 /* the longest instruction */
#define NATIVE_PATCH_MAX  576
#define NATIVE_WORDS_MAX  96

/* Two pages of code, nothing behind; two pages to write and one to read, nothing around. */
#define NATIVE_CODE	  0x10000000ull
#define NATIVE_CODE_PAGES 2u
#define NATIVE_DATA	  0x10010000ull
#define NATIVE_DATA_WRITE 2u
#define NATIVE_DATA_PAGES 3u
#define NATIVE_PAGE	  4096u
#define NATIVE_DATA_BYTES (NATIVE_DATA_PAGES * NATIVE_PAGE)
#define NATIVE_FS_BASE	  (NATIVE_DATA + 0x40)
#define NATIVE_GS_BASE	  (NATIVE_DATA + 0x1080)

enum native_mode {
	NATIVE_LONG,   /* 64-bit code */
	NATIVE_COMPAT, /* 32-bit code */
};

/* How the case ends: by single-stepping, or by a breakpoint behind the code, where stepping shows
 * (REP traps at every turn, PUSHF stores the flag) or more than one instruction is wanted. The
 * last one may have taken the first breakpoint's byte for its own. */
enum native_end { NATIVE_STEP, NATIVE_BREAK };

enum native_verdict {
	NATIVE_RAN,	/* no exception */
	NATIVE_FAULTED, /* vector, error, address */
	NATIVE_LOST,	/* never ended, or took its child along */
};

struct native_state {
	uint64_t gpr[16]; /* in encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8… */
	uint64_t rip, rflags;
	uint8_t fx[512] __attribute__((aligned(16))); /* FXSAVE64; bytes 464… are not compared */
};

/* A word of the data pages that the instruction changed. */
struct native_word {
	uint32_t index; /* in units of 8 bytes from NATIVE_DATA */
	uint64_t value;
};

struct native_result {
	enum native_verdict verdict;
	uint8_t vector;
	uint32_t error;
	uint64_t address; /* CR2, of a page fault */
	struct native_state state;
	uint32_t words;
	bool words_cut; /* more changed than fits */
	struct native_word word[NATIVE_WORDS_MAX];
};

struct native_case {
	enum native_mode mode;
	enum native_end end;
	uint8_t code[NATIVE_CODE_BYTES];
	uint8_t code_bytes;
	struct native_state before; /* .rip: where the code lies, within the code pages */
	uint32_t patch_at;	    /* memory is the batch's background but for this */
	uint32_t patch_bytes;
	uint8_t patch[NATIVE_PATCH_MAX];
	struct native_result after;
};

struct native_batch {
	uint32_t at, count; /* `at`: the case that runs */
	uint8_t background[NATIVE_DATA_BYTES] __attribute__((aligned(64)));
	struct native_case cases[NATIVE_CASES_MAX];
};

struct native {
	unsigned magic;
	int code_fd, data_fd;
	struct native_batch *batch; /* shared with the child */
};

struct native *native_new(struct err *e) must_use;
struct native *native_free(struct native *n);

/* Runs cases [0, count); each result is in its case. An error means the machine, not a case. */
int native_run(struct native *n, uint32_t count, struct err *e) must_use;

/* What changed in `data`, laid out as the data pages, against the case's memory: fills words. The
 * software CPU's side uses it too. */
void native_words(const struct native_batch *b, const struct native_case *c, const uint8_t *data,
		  struct native_result *ret);
