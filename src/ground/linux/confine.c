/*
 * Confinement by plain system calls. The filter is built here as a row of comparisons, without
 * libseccomp: the list is short and fixed, and building it costs microseconds.
 */
#include "ground/linux/confine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/own.h"

#ifdef __x86_64__
#define CONFINE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define CONFINE_ARCH AUDIT_ARCH_AARCH64
#else
#error "which AUDIT_ARCH is this?"
#endif

#define CONFINE_SYSCALLS_MAX 200
#define CONFINE_ONLY_MAX     32
#define CONFINE_NR	     offsetof(struct seccomp_data, nr)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "where is the lower half of an argument?"
#endif
#define CONFINE_ARG(i) (offsetof(struct seccomp_data, args) + (i) * sizeof(uint64_t))
#define CONFINE_SPACES \
	(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWPID)
/* From sys/mount.h, which does not agree with linux/mount.h in one file. */
#define CONFINE_DETACH	    2
#define CONFINE_PRIVATE_ALL ((1ul << 18) | (1ul << 14)) /* MS_PRIVATE | MS_REC */

/* The outer process has nothing left to do but to end as its child ends. */
static _Noreturn void wait_and_end(pid_t child)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/*
 * The inner process ends with the outer one. Who is killed between fork and prctl sends no signal,
 * and getppid() is always 0 in a pid namespace of one's own: a descriptor made before tells.
 */
static int end_with(int outer, struct err *e)
{
	struct pollfd p = {.fd = outer, .events = POLLIN};

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_sys(e, "cannot ask to die with the parent");
	if (poll(&p, 1, 0) != 0)
		_exit(128 + SIGKILL);
	return 0;
}

int confine_namespaces(bool required, struct err *e)
{
	auto_close int outer = -1;
	pid_t child, parent = getppid();

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_sys(e, "cannot ask to die with the parent");
	if (getppid() != parent)
		return err_set(e, ERR_GONE, "the parent is gone");
	if (unshare(CONFINE_SPACES) < 0) {
		if (errno == EPERM && !required)
			return 0;
		return err_sys(e, "cannot make own namespaces");
	}
	if (syscall(SYS_mount, NULL, "/", NULL, CONFINE_PRIVATE_ALL, NULL) < 0)
		return err_sys(e, "cannot keep mounts to ourselves");
	outer = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (outer < 0)
		return err_sys(e, "cannot open the own process");
	child = fork();
	if (child < 0)
		return err_sys(e, "cannot fork into the pid namespace");
	if (child > 0)
		wait_and_end(child);
	return end_with(outer, e);
}

static int root_by_chroot(int dirfd, struct err *e)
{
	if (fchdir(dirfd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_sys(e, "cannot make the directory the root");
	return 0;
}

int confine_root(int dirfd, struct err *e)
{
	struct mount_attr attr = {.attr_set =
					  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
	auto_close int tree =
		(int)syscall(SYS_open_tree, dirfd, "",
			     AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return root_by_chroot(dirfd, e);
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "cannot restrict the mount of the directory");
	/* Over our own root, not over the directory: that may itself be attached nowhere. */
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return root_by_chroot(dirfd, e);
	if (fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    syscall(SYS_umount2, ".", CONFINE_DETACH) < 0 || chdir("/") < 0)
		return err_sys(e, "cannot make the directory the root");
	return 0;
}

static int limit(int what, uint64_t most, const char *name, struct err *e)
{
	struct rlimit now, want = {most, most};

	if (getrlimit(what, &now) < 0)
		return err_sys(e, "cannot read the limit on %s", name);
	if (most == UINT64_MAX || (now.rlim_max != RLIM_INFINITY && now.rlim_max < most))
		return 0;
	if (setrlimit(what, &want) < 0)
		return err_sys(e, "cannot limit %s", name);
	return 0;
}

/*
 * A sanitized build, which only tests, needs terabytes of address space, /proc and calls of its
 * own: there these limits are left out, and leaks are not looked for once a process is confined.
 */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int confined;

int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
	return confined;
}

static int limits(const struct confine_rights *r, struct err *e)
{
	int failed = limit(RLIMIT_CORE, 0, "core dumps", e);

	if (failed == 0 && r->memory_max && !SANITIZED)
		failed = limit(RLIMIT_AS, r->memory_max, "memory", e);
	if (failed == 0 && r->file_max)
		failed = limit(RLIMIT_FSIZE, r->file_max, "file size", e);
	if (failed == 0 && r->descriptors_max)
		failed = limit(RLIMIT_NOFILE, r->descriptors_max, "descriptors", e);
	return failed;
}

static int drop_capabilities(const struct confine_rights *r, struct err *e)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct now[2] = {0}, want[2] = {0};
	uint64_t keep = 0;

	for (size_t i = 0; i < r->capabilities_n; i++)
		keep |= 1ull << r->capabilities[i];
	if (syscall(SYS_capget, &head, now) < 0)
		return err_sys(e, "cannot read capabilities");
	for (int cap = 0; cap < 64; cap++) {
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
			return err_sys(e, "cannot drop capability %d", cap);
	}
	for (int half = 0; half < 2; half++) {
		want[half].permitted = now[half].permitted & (uint32_t)(keep >> (32 * half));
		want[half].effective = want[half].permitted;
	}
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, want) < 0)
		return err_sys(e, "cannot drop capabilities");
	return 0;
}

/* nr is the row's → load argument → allow if it is the row's → nr again, for what follows */
static unsigned short add_only(struct sock_filter *code, unsigned short n,
			       const struct confine_only *only)
{
	assert(only->index < 6);
	code[n++] =
		(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)only->call, 0, 4);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 (uint32_t)CONFINE_ARG(only->index));
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, only->value, 0, 1);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, CONFINE_NR);
	return n;
}

/* arch is ours → load nr → one comparison for each allowed call → rows of `only` → kill. */
static int install_filter(const struct confine_rights *r, struct err *e)
{
	struct sock_filter code[CONFINE_SYSCALLS_MAX * 2 + CONFINE_ONLY_MAX * 5 + 5];
	struct sock_fprog program = {0, code};
	unsigned short n = 0;

	assert(r->syscalls_n <= CONFINE_SYSCALLS_MAX);
	assert(r->only_n <= CONFINE_ONLY_MAX);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, arch));
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CONFINE_ARCH, 1, 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, CONFINE_NR);
	for (size_t i = 0; i < r->syscalls_n; i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							 (uint32_t)r->syscalls[i], 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	for (size_t i = 0; i < r->only_n; i++)
		n = add_only(code, n, &r->only[i]);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	program.len = n;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return err_sys(e, "cannot install the system call filter");
	return 0;
}

int confine_rights(const struct confine_rights *r, struct err *e)
{
	int failed = limits(r, e);

	confined = 1;
	if (failed == 0)
		failed = drop_capabilities(r, e);
	if (failed == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		failed = err_sys(e, "cannot forbid new privileges");
	if (failed == 0 && r->syscalls_n > 0 && !SANITIZED)
		failed = install_filter(r, e);
	return failed;
}
