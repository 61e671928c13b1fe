/*
 * The OCI description into libseccomp and out of it as BPF. Runs in a throw-away process:
 * libseccomp keeps a database of a megabyte for a usual profile.
 *
 * Beyond libseccomp: system calls newer than every one the profile names answer ENOSYS instead of
 * the profile's refusal, so that a C library falls back to what the profile's author knew (an old
 * profile that answers EPERM to clone3 stops every new program). The filter is a binary tree
 * (libseccomp's "optimize 2"): the kernel runs it once for each system call number when it is
 * installed.
 */
#include "ground/linux/seccomp_priv.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

struct named {
	const char *name;
	uint32_t value;
};

static const struct named actions[] = {
	{"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
	{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
	{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
	{"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
	{"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)},
	{"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
	{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
	{"SCMP_ACT_LOG", SCMP_ACT_LOG},
	{"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
};

const char *const seccomp_actions[] = {"SCMP_ACT_KILL",	       "SCMP_ACT_KILL_PROCESS",
				       "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
				       "SCMP_ACT_ERRNO",       "SCMP_ACT_TRACE",
				       "SCMP_ACT_ALLOW",       "SCMP_ACT_LOG",
				       "SCMP_ACT_NOTIFY",      NULL};

static const struct named operators[] = {
	{"SCMP_CMP_NE", SCMP_CMP_NE},
	{"SCMP_CMP_LT", SCMP_CMP_LT},
	{"SCMP_CMP_LE", SCMP_CMP_LE},
	{"SCMP_CMP_EQ", SCMP_CMP_EQ},
	{"SCMP_CMP_GE", SCMP_CMP_GE},
	{"SCMP_CMP_GT", SCMP_CMP_GT},
	{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

const char *const seccomp_operators[] = {"SCMP_CMP_NE",	       "SCMP_CMP_LT", "SCMP_CMP_LE",
					 "SCMP_CMP_EQ",	       "SCMP_CMP_GE", "SCMP_CMP_GT",
					 "SCMP_CMP_MASKED_EQ", NULL};

const char *const seccomp_archs[] = {
	"SCMP_ARCH_X86",     "SCMP_ARCH_X86_64",   "SCMP_ARCH_X32",	    "SCMP_ARCH_ARM",
	"SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",	   "SCMP_ARCH_MIPS64",	    "SCMP_ARCH_MIPS64N32",
	"SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",
	"SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",  "SCMP_ARCH_S390",	    "SCMP_ARCH_S390X",
	"SCMP_ARCH_PARISC",  "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",	    NULL};

/* Named by the specification, unknown to this libseccomp: nothing of theirs can run here. */
static const char *const foreign_archs[] = {"SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",
					    "SCMP_ARCH_SH", "SCMP_ARCH_SHEB", NULL};

static const struct named flags[] = {
	{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
	{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
	{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
};

const char *const seccomp_flags[] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
				     "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
				     "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", NULL};

static bool find_named(const struct named *table, size_t n, const char *name, uint32_t *ret)
{
	for (size_t i = 0; i < n; i++) {
		if (!text_eq(table[i].name, name))
			continue;
		*ret = table[i].value;
		return true;
	}
	return false;
}

int seccomp_flags_of(const struct seccomp_config *c, uint32_t *ret, struct err *e)
{
	uint32_t all = 0, one = 0;

	for (size_t i = 0; c->flags && c->flags[i]; i++) {
		if (!find_named(flags, array_len(flags), c->flags[i], &one))
			return err_set(e, ERR_INVALID, "unknown seccomp flag '%s'", c->flags[i]);
		all |= one;
	}
	*ret = all;
	return 0;
}

static int action_of(const char *name, const uint32_t *errno_ret, uint32_t *ret, struct err *e)
{
	uint32_t value = errno_ret ? *errno_ret : EPERM;

	if (!name)
		return err_set(e, ERR_INVALID, "a seccomp action is missing");
	if (!find_named(actions, array_len(actions), name, ret))
		return err_set(e, ERR_INVALID, "unknown seccomp action '%s'", name);
	if (*ret != SCMP_ACT_ERRNO(0) && *ret != SCMP_ACT_TRACE(0)) {
		if (errno_ret)
			return err_set(e, ERR_INVALID, "the seccomp action '%s' takes no errnoRet",
				       name);
		return 0;
	}
	if (value > 0xffff)
		return err_set(e, ERR_INVALID, "seccomp errnoRet %u is larger than 65535", value);
	*ret |= value;
	return 0;
}

static int add_archs(scmp_filter_ctx ctx, const struct seccomp_config *c, struct err *e)
{
	for (size_t i = 0; c->architectures && c->architectures[i]; i++) {
		const char *name = c->architectures[i];
		char lower[24] = "";
		uint32_t token = 0;
		int r = 0;

		if (text_in(name, (char *const *)foreign_archs))
			continue;
		if (!text_in(name, (char *const *)seccomp_archs))
			return err_set(e, ERR_INVALID, "unknown seccomp architecture '%s'", name);
		name += strlen("SCMP_ARCH_");
		for (size_t k = 0; name[k] && k + 1 < sizeof lower; k++)
			lower[k] = (char)tolower((unsigned char)name[k]);
		token = seccomp_arch_resolve_name(lower);
		r = token ? seccomp_arch_add(ctx, token) : 0;
		if (r < 0 && r != -EEXIST && r != -EDOM) /* EDOM: other byte order, cannot run */
			return err_set(e, ERR_SYSTEM, "cannot add the seccomp architecture '%s'",
				       c->architectures[i]);
	}
	return 0;
}

static int compare_of(const struct seccomp_arg *a, struct scmp_arg_cmp *ret, struct err *e)
{
	uint32_t op = 0;

	if (a->index > 5)
		return err_set(e, ERR_INVALID, "a system call has no argument %u", a->index);
	if (!a->op || !find_named(operators, array_len(operators), a->op, &op))
		return err_set(e, ERR_INVALID, "unknown seccomp operator '%s'", a->op ? a->op : "");
	*ret = (struct scmp_arg_cmp){a->index, (enum scmp_compare)op, a->value, a->value_two};
	/* In the specification "value" is the mask's place, "valueTwo" the datum, as in libseccomp.
	 */
	return 0;
}

/* All conditions of a rule must hold; if one argument is named twice, any of them is enough. */
static int add_rule(scmp_filter_ctx ctx, uint32_t action, int number,
		    const struct scmp_arg_cmp *cmps, unsigned int n)
{
	bool seen[6] = {false}, twice = false;
	int r = 0;

	for (unsigned int i = 0; i < n; i++) {
		assert(cmps[i].arg < array_len(seen));
		twice |= seen[cmps[i].arg];
		seen[cmps[i].arg] = true;
	}
	if (!twice)
		return seccomp_rule_add_array(ctx, action, number, n, cmps);
	for (unsigned int i = 0; i < n && r == 0; i++)
		r = seccomp_rule_add_array(ctx, action, number, 1, &cmps[i]);
	return r;
}

static int add_syscall(scmp_filter_ctx ctx, const struct seccomp_syscall *s, uint32_t otherwise,
		       struct seccomp_program *ret, struct err *e)
{
	struct scmp_arg_cmp cmps[6] = {0};
	uint32_t action = 0;
	int r = action_of(s->action, s->errno_ret, &action, e);

	if (r == 0 && s->args_n > array_len(cmps))
		r = err_set(e, ERR_INVALID, "a seccomp rule has %zu conditions, six are allowed",
			    s->args_n);
	for (size_t i = 0; r == 0 && i < s->args_n; i++)
		r = compare_of(&s->args[i], &cmps[i], e);
	if (r < 0 || action == otherwise)
		return r; /* libseccomp refuses rules that say what holds anyway */
	ret->notifies |= action == SCMP_ACT_NOTIFY;
	for (size_t i = 0; s->names && s->names[i]; i++) {
		int number = seccomp_syscall_resolve_name(s->names[i]);

		if (number == __NR_SCMP_ERROR)
			continue;
		r = add_rule(ctx, action, number, cmps, (unsigned int)s->args_n);
		if (r < 0 && r != -EEXIST) {
			errno = -r;
			return err_sys(e, "cannot add the seccomp rule for '%s'", s->names[i]);
		}
	}
	return 0;
}

static int highest_named(const struct seccomp_config *c)
{
	int highest = -1;

	for (size_t i = 0; i < c->syscalls_n; i++) {
		char *const *names = c->syscalls[i].names;

		for (size_t k = 0; names && names[k]; k++) {
			int number = seccomp_syscall_resolve_name(names[k]);

			highest = number > highest ? number : highest;
		}
	}
	return highest;
}

#if defined(__x86_64__)
#define NATIVE_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_AUDIT_ARCH AUDIT_ARCH_AARCH64
#else
#define NATIVE_AUDIT_ARCH 0
#endif
#define X32_BIT 0x40000000u

/* ENOSYS for what is newer than the profile; only where the profile refuses with an errno. */
static size_t newer_stub(const struct seccomp_config *c, uint32_t otherwise,
			 struct sock_filter *out)
{
	int highest = highest_named(c);
	bool refuses = (otherwise & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO;
	const struct sock_filter stub[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_AUDIT_ARCH, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)highest, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};

	if (!refuses || highest < 0 || NATIVE_AUDIT_ARCH == 0)
		return 0;
	memcpy(out, stub, sizeof stub);
	return array_len(stub);
}

static int build_in(scmp_filter_ctx ctx, const struct seccomp_config *c, uint32_t otherwise,
		    int out_fd, struct seccomp_program *ret, struct err *e)
{
	struct sock_filter stub[8];
	ssize_t stub_size = 0;
	int r = add_archs(ctx, c, e);

	for (size_t i = 0; r == 0 && i < c->syscalls_n; i++)
		r = add_syscall(ctx, &c->syscalls[i], otherwise, ret, e);
	if (r < 0)
		return r;
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	stub_size = (ssize_t)(newer_stub(c, otherwise, stub) * sizeof stub[0]);
	if (write(out_fd, stub, (size_t)stub_size) != stub_size)
		return err_sys(e, "cannot hand over the seccomp filter");
	r = seccomp_export_bpf(ctx, out_fd);
	errno = -r;
	return r < 0 ? err_sys(e, "cannot compile the seccomp filter") : 0;
}

int seccomp_build(const struct seccomp_config *c, int out_fd, struct seccomp_program *ret,
		  struct err *e)
{
	uint32_t otherwise = 0;
	scmp_filter_ctx ctx = NULL;
	int r = seccomp_flags_of(c, &ret->flags, e);

	if (r == 0)
		r = action_of(c->default_action, c->default_errno_ret, &otherwise, e);
	if (r < 0)
		return r;
	if (otherwise == SCMP_ACT_NOTIFY)
		return err_set(e, ERR_INVALID,
			       "SCMP_ACT_NOTIFY cannot be the default action: nothing "
			       "would be left to start the program with");
	(void)seccomp_api_set(6); /* the caller installs it itself: the kernel need not be asked */
	ctx = seccomp_init(otherwise);
	if (!ctx)
		return err_set(e, ERR_SYSTEM, "cannot start a seccomp filter");
	r = build_in(ctx, c, otherwise, out_fd, ret, e);
	seccomp_release(ctx);
	return r;
}
