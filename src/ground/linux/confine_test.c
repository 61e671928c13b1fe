/*
 * Tests of the rights a confined process keeps: a child confines itself, makes one call, and tells
 * by its end what became of it. A sanitized build has no filter: there nothing is asked.
 */
#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/linux/confine.h"

#define NO_WAY 77 /* the exit code of a child that could not confine itself */

static const int syscalls[] = {__NR_getppid, __NR_exit_group, __NR_rt_sigreturn};
static const struct confine_only only[] = {
	{__NR_socket, 0, AF_INET},
	{__NR_socket, 0, AF_INET6},
	{__NR_openat, 2, O_RDONLY | O_CLOEXEC},
};
static const struct confine_rights rights = {
	.syscalls = syscalls,
	.syscalls_n = array_len(syscalls),
	.only = only,
	.only_n = array_len(only),
};

/* How a confined child that makes this call ends. */
static int end_of(const struct confine_rights *r, const long *call)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (confine_rights(r, NULL) < 0)
			_exit(NO_WAY);
		(void)syscall(call[0], call[1], call[2], call[3]);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void what_is_not_listed_kills(void **state)
{
#define LIVES(...)                   \
	{                            \
		{__VA_ARGS__}, false \
	}
#define DIES(...)                   \
	{                           \
		{__VA_ARGS__}, true \
	}
	static const struct {
		long call[4];
		bool dies;
	} rows[] = {
		LIVES(__NR_getppid),
		LIVES(__NR_socket, AF_INET, SOCK_DGRAM, 0),
		LIVES(__NR_socket, AF_INET6, SOCK_DGRAM, 0),
		LIVES(__NR_socket, AF_INET | 1L << 32, SOCK_DGRAM, 0), /* an int to the kernel */
		LIVES(__NR_openat, AT_FDCWD, 0, O_RDONLY | O_CLOEXEC),
		DIES(__NR_socket, AF_UNIX, SOCK_DGRAM, 0),
		DIES(__NR_socket, AF_NETLINK, SOCK_RAW, 0),
		DIES(__NR_openat, AT_FDCWD, 0, O_RDWR | O_CLOEXEC),
		DIES(__NR_openat, AT_FDCWD, 0, O_RDONLY),
		DIES(__NR_getpid),
		DIES(__NR_execve, 0, 0, 0),
		DIES(__NR_getppid | 1 << 30), /* x32 where that exists, no call elsewhere */
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		int status = end_of(&rights, rows[i].call);

		if (rows[i].dies) {
			assert_true(WIFSIGNALED(status));
			assert_int_equal(WTERMSIG(status), SIGSYS);
		} else {
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), 0);
		}
	}
}

static void without_a_list_there_is_no_filter(void **state)
{
	static const struct confine_rights few = {.file_max = 4096};
	static const long call[4] = {__NR_getpid};

	assert_int_equal(end_of(&few, call), 0);
}

static void limits_and_rights_go(void **state)
{
	static const struct confine_rights few = {.file_max = 4096, .descriptors_max = 20};
	struct rlimit l;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (confine_rights(&few, NULL) < 0)
			_exit(NO_WAY);
		if (getrlimit(RLIMIT_CORE, &l) < 0 || l.rlim_max != 0)
			_exit(1);
		if (getrlimit(RLIMIT_FSIZE, &l) < 0 || l.rlim_max != 4096)
			_exit(2);
		if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_max > 20)
			_exit(3);
		if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
			_exit(5);
		/* without CAP_SETUID nobody becomes another; without root nobody could before */
		_exit(setuid(12345) < 0 && errno == EPERM ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifndef __SANITIZE_ADDRESS__
		cmocka_unit_test(what_is_not_listed_kills),
#endif
		cmocka_unit_test(without_a_list_there_is_no_filter),
		cmocka_unit_test(limits_and_rights_go),
	};

	(void)what_is_not_listed_kills;
	return cmocka_run_group_tests_name("ground/linux/confine", tests, NULL, NULL);
}
