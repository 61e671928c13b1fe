/*
 * Where a static program that enters containers begins: before the C library is set up, its file is
 * exchanged for a read-only clone and the program executed anew from that (what
 * process_protect_exe() does, and why: CVE-2019-5736). Here it costs four system calls; from main
 * it would cost the start of a C library that is thrown away at once: a tenth of a container's
 * start.
 *
 * Nothing is reported: whatever fails here is tried again, and told, by process_protect_exe().
 * There is no stack protector, no thread and no errno yet; only what is inlined may be called.
 */
#include <asm/unistd.h>
#include <elf.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/linux/process.h"

#ifdef __x86_64__

#define READONLY 1 /* ST_RDONLY in statfs's f_flags: statfs(2) */

/* The entry point: `-Wl,-e,sealed_start`. The stack is as the kernel left it: argc, argv, ... */
__asm__(".pushsection .text\n"
	".globl sealed_start\n"
	".type sealed_start, @function\n"
	"sealed_start:\n"
	"	endbr64\n"
	"	mov %rdx, %r12\n"
	"	mov %rsp, %rbx\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call seal_early\n"
	"	mov %rbx, %rsp\n"
	"	mov %r12, %rdx\n"
	"	xor %ebp, %ebp\n"
	"	jmp _start\n"
	".popsection\n");

struct kernel_statfs { /* asm-generic/statfs.h */
	long type, bsize, blocks, bfree, bavail, files, ffree;
	int fsid[2];
	long namelen, frsize, flags, spare[4];
};

static inline __attribute__((always_inline)) long call5(long number, long a, long b, long c, long d,
							long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

static inline __attribute__((always_inline)) bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* A keeper has no arguments; of a runtime's verbs these enter containers. */
static inline __attribute__((always_inline)) bool enters(long argc, char **argv)
{
	for (long i = 1; i < argc; i++)
		if (same(argv[i], "run") || same(argv[i], "create") || same(argv[i], "exec"))
			return true;
	return argc == 1;
}

static inline __attribute__((always_inline)) bool is_root(char **envp)
{
	const Elf64_auxv_t *aux;

	while (*envp)
		envp++;
	for (aux = (const Elf64_auxv_t *)(envp + 1); aux->a_type != AT_NULL; aux++)
		if (aux->a_type == AT_EUID)
			return aux->a_un.a_val == 0;
	return false;
}

__attribute__((used, no_stack_protector)) void seal_early(long *stack);

void seal_early(long *stack)
{
	char **argv = (char **)(stack + 1), **envp = argv + stack[0] + 1;
	struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
	struct kernel_statfs s;
	long tree;

	if (!enters(stack[0], argv) || !is_root(envp))
		return;
	if (call5(__NR_statfs, (long)"/proc/self/exe", (long)&s, 0, 0, 0) < 0 || s.flags & READONLY)
		return;
	tree = call5(__NR_open_tree, AT_FDCWD, (long)"/proc/self/exe",
		     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, 0, 0);
	if (tree < 0)
		return;
	if (call5(__NR_mount_setattr, tree, (long)"", AT_EMPTY_PATH, (long)&readonly,
		  sizeof(readonly)) == 0)
		(void)call5(__NR_execveat, tree, (long)"", (long)argv, (long)envp, AT_EMPTY_PATH);
	(void)call5(__NR_close, tree, 0, 0, 0, 0);
}

#else

__asm__(".globl sealed_start\n.set sealed_start, _start\n");

#endif
