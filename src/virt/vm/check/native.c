/*
 * The real processor as an oracle (native.h).
 *
 * Theory of operation. The child has four things at fixed places: the code pages (executable here,
 * written through a second view of the same memfd), the data pages (the same), a signal stack, and
 * FS and GS bases that cases use. From the first trap on it has no thread-local storage any more:
 * everything that runs then is written without libc's and without stack protectors. The handler
 *
 *	keeps the state that the kernel saved in the frame -> case `at`
 *	puts the state of case `at + 1` into the frame, its bytes into the pages
 *	returns, which loads that state and single-steps it
 *
 * so a case costs one trap. After the last it leaves by exit_group. The seccomp filter allows
 * rt_sigreturn and exit_group; any other system call is a SIGSYS, that is: a result.
 */
#include "virt/vm/check/native.h"

#include <asm/prctl.h>
#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

#define MAGIC		  0x6e617476u
#define BATCH_WAIT_MS	  20000
#define CASE_CPU_S	  5
#define SIGNAL_STACK	  65536
#define FX_BYTES	  464	   /* behind them lies what the kernel keeps in the frame */
#define FLAGS_CASE	  0x40cd5u /* CF PF AF ZF SF DF OF AC */
#define FLAG_TF		  0x100u
#define CS_LONG		  0x33
#define CS_COMPAT	  0x23
#define VECTOR_DEBUG	  1
#define VECTOR_BREAK	  3
#define FILLER		  0xcc
#define XSTATE_BV	  512 /* behind the legacy area: which components are not initial */
#define VECTOR_OF_SYSCALL 255 /* no exception: a system call was stopped */

/* Code that runs without thread-local storage. */
#define BARE __attribute__((no_stack_protector, no_sanitize("address", "undefined"), noinline))

/* The child's; one per process. */
static struct {
	struct native_batch *batch;
	uint8_t *code, *data; /* the second views */
	bool first;
} child;

BARE static void copy(void *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

BARE static bool differs(const uint64_t *a, const uint64_t *b)
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) |
		(a[5] ^ b[5]) | (a[6] ^ b[6]) | (a[7] ^ b[7])) != 0;
}

/* The word of the case's initial memory. */
BARE static uint64_t word_before(const struct native_batch *b, const struct native_case *c,
				 uint32_t index)
{
	uint8_t bytes[8];
	uint64_t v;

	copy(bytes, b->background + (size_t)index * 8, 8);
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t at = index * 8 + i - c->patch_at;

		if (at < c->patch_bytes)
			bytes[i] = c->patch[at];
	}
	copy(&v, bytes, 8);
	return v;
}

BARE static void word_add(struct native_result *r, uint32_t index, uint64_t value)
{
	if (r->words == NATIVE_WORDS_MAX) {
		r->words_cut = true;
		return;
	}
	r->word[r->words].index = index;
	r->word[r->words++].value = value;
}

BARE void native_words(const struct native_batch *b, const struct native_case *c,
		       const uint8_t *data, struct native_result *ret)
{
	const uint64_t *now = (const void *)data;
	const uint64_t *old = (const void *)b->background;

	ret->words = 0;
	ret->words_cut = false;
	for (uint32_t i = 0; i < NATIVE_DATA_BYTES / 8; i += 8) {
		bool patched = i * 8 + 64 > c->patch_at && i * 8 < c->patch_at + c->patch_bytes;

		if (!patched && !differs(now + i, old + i))
			continue;
		for (uint32_t k = i; k < i + 8; k++)
			if (now[k] != word_before(b, c, k))
				word_add(ret, k, now[k]);
	}
}

/* ---- the child, in its handler ---- */

BARE static void keep(const ucontext_t *u, int sig, struct native_result *r)
{
	static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				      REG_RSI, REG_RDI, REG_R8,	 REG_R9,  REG_R10, REG_R11,
				      REG_R12, REG_R13, REG_R14, REG_R15};
	const struct native_case *c = &child.batch->cases[child.batch->at];
	const greg_t *g = u->uc_mcontext.gregs;

	for (int i = 0; i < 16; i++)
		r->state.gpr[i] = (uint64_t)g[order[i]];
	r->state.rip = (uint64_t)g[REG_RIP];
	r->state.rflags = (uint64_t)g[REG_EFL] & ~(uint64_t)FLAG_TF;
	copy(r->state.fx, u->uc_mcontext.fpregs, FX_BYTES);
	r->vector = (uint8_t)g[REG_TRAPNO];
	r->error = (uint32_t)g[REG_ERR];
	r->address = r->vector == 14 ? (uint64_t)g[REG_CR2] : 0;
	r->verdict = NATIVE_FAULTED;
	if (sig == SIGSYS)
		r->vector = VECTOR_OF_SYSCALL;
	if (sig == SIGTRAP && r->vector == VECTOR_DEBUG && c->end == NATIVE_STEP)
		r->verdict = NATIVE_RAN;
	if (sig == SIGTRAP && r->vector == VECTOR_BREAK && c->end == NATIVE_BREAK &&
	    r->state.rip - (c->before.rip + c->code_bytes + 1) <= 1)
		r->verdict = NATIVE_RAN;
	native_words(child.batch, c, child.data, r);
}

/* The pages are the background again. */
BARE static void restore(const struct native_case *c)
{
	const struct native_result *r = &c->after;
	size_t at = c->before.rip - NATIVE_CODE;

	copy(child.data + c->patch_at, child.batch->background + c->patch_at, c->patch_bytes);
	for (uint32_t i = 0; i < r->words; i++)
		copy(child.data + (size_t)r->word[i].index * 8,
		     child.batch->background + (size_t)r->word[i].index * 8, 8);
	if (r->words_cut)
		copy(child.data, child.batch->background, NATIVE_DATA_BYTES);
	for (size_t i = at; i < at + c->code_bytes && i < (size_t)NATIVE_CODE_PAGES * NATIVE_PAGE;
	     i++)
		child.code[i] = FILLER;
}

BARE static void load(ucontext_t *u, const struct native_case *c)
{
	static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				      REG_RSI, REG_RDI, REG_R8,	 REG_R9,  REG_R10, REG_R11,
				      REG_R12, REG_R13, REG_R14, REG_R15};
	greg_t *g = u->uc_mcontext.gregs;
	uint8_t *fx = (void *)u->uc_mcontext.fpregs;
	uint64_t components, flags = c->before.rflags & FLAGS_CASE;
	size_t at = c->before.rip - NATIVE_CODE;
	uint16_t cs = c->mode == NATIVE_COMPAT ? CS_COMPAT : CS_LONG;

	for (int i = 0; i < 16; i++)
		g[order[i]] = (greg_t)c->before.gpr[i];
	g[REG_RIP] = (greg_t)c->before.rip;
	g[REG_EFL] = (greg_t)(flags | (c->end == NATIVE_STEP ? FLAG_TF : 0));
	copy(&g[REG_CSGSFS], &cs, sizeof(cs));
	copy(fx, c->before.fx, 28); /* not the mask of MXCSR */
	copy(fx + 32, c->before.fx + 32, FX_BYTES - 32);
	copy(&components, fx + XSTATE_BV, 8);
	components |= 3;
	copy(fx + XSTATE_BV, &components, 8);
	copy(child.data + c->patch_at, c->patch, c->patch_bytes);
	for (size_t i = 0; i < c->code_bytes; i++)
		if (at + i < (size_t)NATIVE_CODE_PAGES * NATIVE_PAGE)
			child.code[at + i] = c->code[i];
}

BARE __attribute__((noreturn)) static void leave(void)
{
	for (;;)
		__asm__ volatile("syscall"
				 :
				 : "a"(SYS_exit_group), "D"(0)
				 : "rcx", "r11", "memory");
}

BARE static void on_signal(int sig, siginfo_t *info, void *context)
{
	struct native_batch *b = child.batch;

	(void)info;
	/* NT and ID are not the frame's to restore: they stay as they are now. */
	__asm__ volatile("lea -128(%%rsp), %%rsp; push $2; popfq; lea 128(%%rsp), %%rsp"
			 :
			 :
			 : "cc", "memory");
	if (!child.first) {
		struct native_case *c = &b->cases[b->at];

		keep(context, sig, &c->after);
		restore(c);
		b->at++;
	}
	child.first = false;
	if (b->at >= b->count)
		leave();
	load(context, &b->cases[b->at]);
}

/* ---- the child, before ---- */

static int view(int fd, uint64_t at, size_t pages, int prot, uint8_t **ret)
{
	int fixed = at ? MAP_FIXED_NOREPLACE : 0;
	void *p = mmap((void *)at, pages * NATIVE_PAGE, prot, MAP_SHARED | MAP_POPULATE | fixed, fd,
		       0);

	if (p == MAP_FAILED || (at && p != (void *)at))
		return -1;
	*ret = p;
	return 0;
}

static int map_pages(const struct native *n)
{
	size_t writable = (size_t)NATIVE_DATA_WRITE * NATIVE_PAGE;
	uint8_t *at;

	if (view(n->code_fd, 0, NATIVE_CODE_PAGES, PROT_READ | PROT_WRITE, &child.code) < 0 ||
	    view(n->data_fd, 0, NATIVE_DATA_PAGES, PROT_READ | PROT_WRITE, &child.data) < 0 ||
	    view(n->code_fd, NATIVE_CODE, NATIVE_CODE_PAGES, PROT_READ | PROT_EXEC, &at) < 0 ||
	    view(n->data_fd, NATIVE_DATA, NATIVE_DATA_PAGES, PROT_READ | PROT_WRITE, &at) < 0)
		return -1;
	memset(child.code, FILLER, (size_t)NATIVE_CODE_PAGES * NATIVE_PAGE);
	memcpy(child.data, n->batch->background, NATIVE_DATA_BYTES);
	return mprotect(at + writable, NATIVE_DATA_BYTES - writable, PROT_READ);
}

static int catch_signals(void)
{
	static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
	struct sigaction sa = {.sa_sigaction = on_signal,
			       .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	stack_t stack = {.ss_size = SIGNAL_STACK};

	stack.ss_sp = mmap(NULL, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL) < 0)
		return -1;
	for (size_t i = 0; i < array_len(signals); i++)
		if (sigaction(signals[i], &sa, NULL) < 0)
			return -1;
	return 0;
}

static int forbid_syscalls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	struct sock_fprog prog = {.len = array_len(filter), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

BARE __attribute__((noreturn)) static void child_main(const struct native *n)
{
	struct rlimit cpu = {.rlim_cur = CASE_CPU_S, .rlim_max = CASE_CPU_S};

	child.batch = n->batch;
	child.first = true;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || setrlimit(RLIMIT_CPU, &cpu) < 0 ||
	    map_pages(n) < 0 || catch_signals() < 0 ||
	    syscall(SYS_arch_prctl, ARCH_SET_GS, NATIVE_GS_BASE) < 0 || forbid_syscalls() < 0)
		_exit(1);
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0x2b));
	__asm__ volatile("wrfsbase %0" : : "r"(NATIVE_FS_BASE));
	__asm__ volatile("int3");
	leave();
}

/* ---- the parent ---- */

static int page_file(const char *name, size_t pages, int *ret, struct err *e)
{
	auto_close int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)(pages * NATIVE_PAGE)) < 0)
		return err_sys(e, "cannot make %zu pages for '%s'", pages, name);
	*ret = take_fd(&fd);
	return 0;
}

struct native *native_free(struct native *n)
{
	if (!n)
		return NULL;
	assert(n->magic == MAGIC);
	n->magic = 0;
	(void)fd_close(n->code_fd);
	(void)fd_close(n->data_fd);
	if (n->batch)
		(void)munmap(n->batch, sizeof(*n->batch));
	free(n);
	return NULL;
}

struct native *native_new(struct err *e)
{
	struct native *n = mem_new(struct native);
	void *p;

	n->magic = MAGIC;
	n->code_fd = n->data_fd = -1;
	if (page_file("native-code", NATIVE_CODE_PAGES, &n->code_fd, e) < 0 ||
	    page_file("native-data", NATIVE_DATA_PAGES, &n->data_fd, e) < 0)
		return native_free(n);
	p = mmap(NULL, sizeof(*n->batch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		 0);
	if (p == MAP_FAILED) {
		(void)err_sys(e, "cannot map %zu bytes of cases", sizeof(*n->batch));
		return native_free(n);
	}
	n->batch = p;
	return n;
}

/* Waits for the child; one that takes too long is killed. Returns its wait status. */
static int reap(pid_t pid, int *ret_status, struct err *e)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int ready;

	do
		ready = poll(&p, 1, BATCH_WAIT_MS);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		(void)kill(pid, SIGKILL);
	if (waitpid(pid, ret_status, 0) != pid)
		return err_sys(e, "cannot wait for the oracle's child %d", (int)pid);
	return 0;
}

int native_run(struct native *n, uint32_t count, struct err *e)
{
	struct native_batch *b = n->batch;
	uint32_t again = UINT32_MAX; /* a case that was lost once: a busy host is no result */
	int status = 0;

	assert(n->magic == MAGIC);
	assert(count <= NATIVE_CASES_MAX);
	b->count = count;
	for (b->at = 0; b->at < count;) {
		pid_t pid = fork();

		if (pid < 0)
			return err_sys(e, "cannot fork the oracle's child");
		if (pid == 0)
			child_main(n);
		if (reap(pid, &status, e) < 0)
			return -ERR_SYSTEM;
		if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
			return err_set(e, ERR_UNSUPPORTED,
				       "the oracle's child cannot set itself up on this host");
		if (b->at == again && b->at < count)
			b->cases[b->at++].after.verdict = NATIVE_LOST;
		again = b->at;
	}
	return 0;
}
