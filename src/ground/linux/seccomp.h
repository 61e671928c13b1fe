/*
 * Seccomp filters: from the OCI description to a finished BPF program, and the program into the
 * kernel. libseccomp compiles in a throw-away forked process, so that its memory never belongs to
 * the caller, and the result is kept on disk: a filter that was compiled once costs one small read.
 *
 *	struct seccomp_program p = {0};
 *	seccomp_compile(&config, "/run/hull-oci/seccomp-cache", &p, e);
 *	... in the child, after no_new_privs or with CAP_SYS_ADMIN, last before exec ...
 *	seccomp_install(&p, &listener_fd, e);
 *	seccomp_program_done(&p);
 *
 * Names and meaning: runtime-spec config-linux.md "Seccomp". Unknown system calls are skipped as
 * the spec's users expect; unknown actions, operators, architectures and flags are errors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

struct seccomp_arg {
	uint32_t index;
	uint64_t value, value_two;
	const char *op; /* "SCMP_CMP_EQ" ... "SCMP_CMP_MASKED_EQ" */
};

struct seccomp_syscall {
	char *const *names; /* NULL-terminated */
	const char *action; /* "SCMP_ACT_ERRNO" ... */
	const uint32_t *errno_ret;
	const struct seccomp_arg *args;
	size_t args_n;
};

struct seccomp_config {
	const char *default_action;
	const uint32_t *default_errno_ret;
	char *const *architectures; /* "SCMP_ARCH_X86_64" ...; NULL: the native one */
	char *const *flags;	    /* "SECCOMP_FILTER_FLAG_LOG" ...; NULL: none */
	const struct seccomp_syscall *syscalls;
	size_t syscalls_n;
};

#define SECCOMP_SYSCALLS_MAX 4096 /* entries of one configuration */
#define SECCOMP_INSNS_MAX    4096 /* the kernel's own limit, BPF_MAXINSNS */

struct seccomp_insn { /* struct sock_filter */
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};

struct seccomp_program {
	struct seccomp_insn *insns; /* owned */
	uint32_t n;		    /* 0: nothing to install */
	uint32_t flags;		    /* SECCOMP_FILTER_FLAG_* for the kernel */
	bool notifies;		    /* some rule is SCMP_ACT_NOTIFY: a listener must be asked for */
};

/*
 * cache_dir may be NULL (no cache); it is made with mode 0700 when missing. A cache that cannot be
 * used is no error: the filter is compiled again.
 */
int seccomp_compile(const struct seccomp_config *c, const char *cache_dir,
		    struct seccomp_program *ret, struct err *e) must_use;
void seccomp_program_done(struct seccomp_program *p);

/*
 * Puts the program on the calling thread. ret_listener_fd may be NULL when the program does not
 * notify; otherwise it receives the listener (close-on-exec), or -1. Allocates nothing; safe after
 * fork.
 */
int seccomp_install(const struct seccomp_program *p, int *ret_listener_fd, struct err *e) must_use;

/*
 * Hands descriptors to a seccomp agent: connects to the unix stream socket at `path`, sends `state`
 * (the container process state as JSON) with the descriptors attached, and closes.
 */
int seccomp_notify_send(const char *path, struct str state, const int *fds, size_t fds_n,
			struct err *e) must_use;

/* What this build knows, for `features`: NULL-terminated lists of OCI names. */
extern const char *const seccomp_actions[];
extern const char *const seccomp_operators[];
extern const char *const seccomp_archs[];
extern const char *const seccomp_flags[];
