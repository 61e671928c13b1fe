/*
 * Tests of seccomp: filters are compiled and run against a process of ours; the cache is filled,
 * used, damaged and bounded.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/seccomp_priv.h"

static const uint32_t errno_7 = 7, errno_9 = 9;
static char *const getppid_names[] = {"getppid", "no_such_call_ever", NULL};
static char *const personality_names[] = {"personality", NULL};
static char *const native[] = {"SCMP_ARCH_X86_64",  "SCMP_ARCH_X86",	     "SCMP_ARCH_X32",
			       "SCMP_ARCH_AARCH64", "SCMP_ARCH_LOONGARCH64", NULL};
static const struct seccomp_arg is_8[] = {{0, 8, 0, "SCMP_CMP_EQ"},
					  {0, 0x100, 0x100, "SCMP_CMP_MASKED_EQ"}};
static const struct seccomp_syscall two_rules[] = {
	{getppid_names, "SCMP_ACT_ERRNO", &errno_7, NULL, 0},
	{personality_names, "SCMP_ACT_ERRNO", &errno_9, is_8, 2},
};
static const struct seccomp_config deny_some = {
	.default_action = "SCMP_ACT_ALLOW",
	.architectures = native,
	.syscalls = two_rules,
	.syscalls_n = 2,
};

/* Runs `body` in a child under the program; its exit status is the answer. */
static int under(const struct seccomp_program *p, int (*body)(void))
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    seccomp_install(p, NULL, NULL) < 0)
			_exit(99);
		_exit(body());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int body_two_rules(void)
{
	errno = 0;
	if (syscall(SYS_getppid) != -1 || errno != 7)
		return 1;
	if (syscall(SYS_personality, 8) != -1 || errno != 9)
		return 2;
	if (syscall(SYS_personality, 0x100) != -1 || errno != 9) /* the second condition alone */
		return 3;
	if (syscall(SYS_personality, 0xffffffff) != -1 || errno != 9) /* holds the masked bit */
		return 4;
	return syscall(SYS_personality, 0) < 0 ? 5 : 0;
}

static void test_rules(void **state)
{
	struct seccomp_program p = {0};
	struct err e = {0};

	assert_int_equal(seccomp_compile(&deny_some, NULL, &p, &e), 0);
	assert_false(p.notifies);
	assert_int_equal(under(&p, body_two_rules), 0);
	seccomp_program_done(&p);
}

static char *const allowed_names[] = {"exit_group", "exit", "write", "rt_sigreturn", NULL};
static const struct seccomp_syscall allow_few[] = {
	{allowed_names, "SCMP_ACT_ALLOW", NULL, NULL, 0}};

static int body_newer(void)
{
	if (syscall(SYS_getppid) != -1 || errno != EPERM)
		return 1;
	return syscall(5000) == -1 && errno == ENOSYS ? 0 : 2;
}

static int body_getppid(void)
{
	return syscall(SYS_getppid) < 0;
}

/* A sanitizer's own calls would be refused too. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static void test_default(void **state)
{
	struct seccomp_config c = {
		.default_action = "SCMP_ACT_ERRNO", .syscalls = allow_few, .syscalls_n = 1};
	struct seccomp_program p = {0};

	if (SANITIZED)
		skip();
	assert_int_equal(seccomp_compile(&c, NULL, &p, NULL), 0);
	assert_int_equal(under(&p, body_newer), 0);
	seccomp_program_done(&p);
	c.default_action = "SCMP_ACT_KILL_PROCESS";
	assert_int_equal(seccomp_compile(&c, NULL, &p, NULL), 0);
	assert_int_equal(under(&p, body_getppid), -SIGSYS);
	seccomp_program_done(&p);
	c.default_action = "SCMP_ACT_ALLOW"; /* every rule says what holds anyway */
	assert_int_equal(seccomp_compile(&c, NULL, &p, NULL), 0);
	assert_int_equal(under(&p, body_getppid), 0);
	seccomp_program_done(&p);
}

static void test_refusals(void **state)
{
	static char *const bad_arch[] = {"SCMP_ARCH_VAX", NULL};
	static char *const bad_flag[] = {"SECCOMP_FILTER_FLAG_FAST", NULL};
	static const struct seccomp_arg bad_index[] = {{6, 0, 0, "SCMP_CMP_EQ"}};
	static const struct seccomp_arg bad_op[] = {{0, 0, 0, "=="}};
	static const uint32_t huge = 70000;
	const struct seccomp_syscall bad_rules[] = {
		{getppid_names, "SCMP_ACT_MAYBE", NULL, NULL, 0},
		{getppid_names, "SCMP_ACT_ERRNO", &huge, NULL, 0},
		{getppid_names, "SCMP_ACT_KILL", &errno_7, NULL, 0},
		{getppid_names, "SCMP_ACT_ERRNO", NULL, bad_index, 1},
		{getppid_names, "SCMP_ACT_ERRNO", NULL, bad_op, 1},
		{getppid_names, NULL, NULL, NULL, 0},
	};
	const struct seccomp_config bad[] = {
		{.default_action = "SCMP_ACT_NOTIFY"},
		{.default_action = NULL},
		{.default_action = "SCMP_ACT_ALLOW", .architectures = bad_arch},
		{.default_action = "SCMP_ACT_ALLOW", .flags = bad_flag},
	};
	struct seccomp_program p = {0};
	struct err e = {0};

	for (size_t i = 0; i < array_len(bad); i++)
		assert_int_equal(seccomp_compile(&bad[i], NULL, &p, &e), -ERR_INVALID);
	for (size_t i = 0; i < array_len(bad_rules); i++) {
		struct seccomp_config c = {.default_action = "SCMP_ACT_ALLOW",
					   .syscalls = &bad_rules[i],
					   .syscalls_n = 1};

		assert_int_equal(seccomp_compile(&c, NULL, &p, &e), -ERR_INVALID);
		assert_true(text_starts(e.text, "seccomp: "));
	}
}

static char dir_path[80], top_path[64];

static size_t entries(char *ret_first, size_t room)
{
	auto_strbuf struct strbuf b = {0};
	size_t n = 0;
	auto_closedir DIR *d = opendir(dir_path);

	for (struct dirent *at = NULL; d && (at = readdir(d));) {
		if (at->d_name[0] == '.')
			continue;
		n++;
		if (ret_first)
			(void)snprintf(ret_first, room, "%s/%s", dir_path, at->d_name);
	}
	return n;
}

static void remove_all(void)
{
	char name[400];

	while (entries(name, sizeof name) > 0)
		assert_int_equal(unlink(name), 0);
	(void)rmdir(dir_path);
	assert_int_equal(rmdir(top_path), 0);
}

static void test_cache(void **state)
{
	struct seccomp_program p = {0}, q = {0};
	auto_strbuf struct strbuf canonical = {0};
	char name[400];
	auto_close int fd = -1;

	(void)snprintf(top_path, sizeof top_path, "/tmp/hull-seccomp-XXXXXX");
	assert_non_null(mkdtemp(top_path));
	(void)snprintf(dir_path, sizeof dir_path, "%s/cache", top_path);
	seccomp_canonical(&deny_some, &canonical);
	assert_false(seccomp_cache_load(dir_path, strbuf_str(&canonical), &q));
	assert_int_equal(seccomp_compile(&deny_some, dir_path, &p, NULL), 0);
	assert_int_equal(entries(name, sizeof name), 1);
	assert_true(seccomp_cache_load(dir_path, strbuf_str(&canonical), &q));
	assert_int_equal(p.n, q.n);
	assert_memory_equal(p.insns, q.insns, p.n * sizeof *p.insns);
	assert_int_equal(under(&q, body_two_rules), 0);
	seccomp_program_done(&q);
	/* Writable by others, and damaged: not used. */
	assert_int_equal(chmod(name, 0666), 0);
	assert_false(seccomp_cache_load(dir_path, strbuf_str(&canonical), &q));
	assert_int_equal(chmod(name, 0600), 0);
	fd = open(name, O_WRONLY);
	assert_int_equal(pwrite(fd, "\xff", 1, 25), 1);
	assert_false(seccomp_cache_load(dir_path, strbuf_str(&canonical), &q));
	assert_int_equal(truncate(name, 30), 0);
	assert_false(seccomp_cache_load(dir_path, strbuf_str(&canonical), &q));
	/* A link in its place is not followed. */
	assert_int_equal(unlink(name), 0);
	assert_int_equal(symlink("/etc/passwd", name), 0);
	assert_false(seccomp_cache_load(dir_path, strbuf_str(&canonical), &q));
	assert_int_equal(unlink(name), 0);
	/* Bounded. */
	for (int i = 0; i < 70; i++) {
		auto_free char *other = mem_printf("other %d", i);

		seccomp_cache_store(dir_path, str_of(other), &p);
	}
	assert_int_equal(entries(NULL, 0), 64);
	seccomp_program_done(&p);
	remove_all();
}

/* The last instruction turned into a jump past the end, and other unsound programs. */
static void test_sound(void **state)
{
	const struct seccomp_insn ret = {6, 0, 0, 0}, far = {0x15, 1, 0, 0}, ja = {5, 0, 0, 9};
	const struct seccomp_insn a[] = {ret}, b[] = {far, ret}, c[] = {ja, ret}, d[] = {ret, far};
	const struct seccomp_insn good[] = {{0x15, 0, 1, 0}, ret, ret};

	assert_true(seccomp_program_sound(a, 1));
	assert_true(seccomp_program_sound(good, 3));
	assert_false(seccomp_program_sound(b, 2));
	assert_false(seccomp_program_sound(c, 2));
	assert_false(seccomp_program_sound(d, 2));
	assert_false(seccomp_program_sound(a, 0));
}

static void test_notify(void **state)
{
	static const struct seccomp_syscall rules[] = {
		{getppid_names, "SCMP_ACT_NOTIFY", NULL, NULL, 0}};
	static char *const both[] = {"SECCOMP_FILTER_FLAG_TSYNC",
				     "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
				     "SECCOMP_FILTER_FLAG_LOG", NULL};
	struct seccomp_config c = {.default_action = "SCMP_ACT_ALLOW",
				   .flags = both,
				   .syscalls = rules,
				   .syscalls_n = 1};
	struct seccomp_program p = {0};
	struct err e = {0};
	int status = 0;
	pid_t pid = 0;

	assert_int_equal(seccomp_compile(&c, NULL, &p, &e), 0);
	assert_true(p.notifies);
	assert_int_equal(p.flags, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
					  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	pid = fork();
	if (pid == 0) {
		int listener = -1;

		(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		_exit(seccomp_install(&p, &listener, &e) == 0 && listener >= 0 &&
				      (fcntl(listener, F_GETFD) & FD_CLOEXEC)
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(under(&p, body_getppid), 99); /* no place for the listener: refused */
	seccomp_program_done(&p);
}

static void test_agent(void **state)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	auto_close int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int got = -1;
	auto_close int passed = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char control[CMSG_SPACE(sizeof(int))], bytes[64] = "";
	struct iovec io = {bytes, sizeof bytes - 1};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof control};
	struct err e = {0};

	(void)snprintf(at.sun_path, sizeof at.sun_path, "/tmp/hull-agent-%d", (int)getpid());
	assert_true(seccomp_notify_send(at.sun_path, STR("{}"), &passed, 1, &e) < 0);
	assert_non_null(strstr(e.text, at.sun_path));
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(seccomp_notify_send(at.sun_path, STR("{\"pid\":1}"), &passed, 1, &e), 0);
	got = accept(listener, NULL, NULL);
	assert_int_equal(recvmsg(got, &m, MSG_CMSG_CLOEXEC), 9);
	assert_string_equal(bytes, "{\"pid\":1}");
	assert_int_equal(CMSG_FIRSTHDR(&m)->cmsg_type, SCM_RIGHTS);
	(void)close(*(int *)(void *)CMSG_DATA(CMSG_FIRSTHDR(&m)));
	assert_int_equal(unlink(at.sun_path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),	 cmocka_unit_test(test_default),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_cache),
		cmocka_unit_test(test_sound),	 cmocka_unit_test(test_notify),
		cmocka_unit_test(test_agent),
	};

	return cmocka_run_group_tests_name("seccomp", tests, NULL, NULL);
}
