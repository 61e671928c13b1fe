/*
 * Tests of processes by identity, descriptors over sockets, and capability names.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/caps.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/namespace.h"
#include "ground/linux/process.h"

static void a_process_is_its_start_time(void **state)
{
	uint64_t mine = 0;
	auto_close int pidfd = -1;
	struct err e = {0};
	char letter = 0;
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			(void)pause();
	assert_int_equal(process_start_time(pid, &mine, &letter, &e), 0);
	assert_true(process_alive(pid, mine));
	assert_false(process_alive(pid, mine + 1));
	assert_int_equal(process_open(pid, mine + 1, &pidfd, &e), -ERR_GONE);
	assert_int_equal(process_open(pid, mine, &pidfd, &e), 0);
	assert_int_equal(process_wait(pidfd, 10, NULL, &e), -ERR_TIMEOUT);
	assert_int_equal(process_signal(pidfd, SIGKILL, &e), 0);
	int status = 0;
	assert_int_equal(process_wait(pidfd, 5000, &status, &e), 0);
	assert_int_equal(process_exit_code(status), 137);
	assert_false(process_alive(pid, mine));
}

static void an_exit_code_is_told(void **state)
{
	auto_close int pidfd = -1;
	struct err e = {0};
	int status = 0;
	pid_t pid;

	assert_int_equal(namespace_clone(0, -1, &pid, &pidfd, &e), 0);
	if (pid == 0)
		_exit(41);
	assert_int_equal(process_wait(pidfd, -1, &status, &e), 0);
	assert_int_equal(process_exit_code(status), 41);
}

static void a_boot_has_an_id(void **state)
{
	char id[BOOT_ID_SIZE];
	struct err e = {0};

	assert_int_equal(process_boot_id(id, &e), 0);
	assert_int_equal(strlen(id), 36);
}

static size_t open_descriptors(void)
{
	auto_closedir DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d))
		n++;
	return n;
}

static void descriptors_pass_and_none_leaks(void **state)
{
	struct err e = {0};
	int pair[2], fds[8], got[2];
	char text[16];
	size_t n = 0, got_n = 0, before;

	assert_int_equal(fdpass_pair(SOCK_SEQPACKET, pair, &e), 0);
	for (size_t i = 0; i < array_len(fds); i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fdpass_send(pair[0], "hello", 5, fds, array_len(fds), &e), 0);
	before = open_descriptors();
	/* Room for two of eight: the other six must not stay open. */
	assert_int_equal(fdpass_recv(pair[1], text, sizeof(text), got, 2, &n, &got_n, &e), 0);
	assert_int_equal(n, 5);
	assert_int_equal(got_n, 2);
	assert_int_equal(open_descriptors(), before + 2);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	/* A message that is too long is refused, and its descriptors are closed. */
	assert_int_equal(fdpass_send(pair[0], "much too long a text", 20, fds, 3, &e), 0);
	assert_int_equal(fdpass_recv(pair[1], text, 4, got, 2, &n, &got_n, &e), -ERR_INVALID);
	assert_int_equal(open_descriptors(), before + 2);
	pair[0] = fd_close(pair[0]);
	assert_int_equal(fdpass_recv(pair[1], text, 4, NULL, 0, &n, NULL, &e), 0);
	assert_int_equal(n, 0);
}

static void sockets_have_any_length_of_path(void **state)
{
	char dir[512] = "/tmp/fdpass.XXXXXX", path[800];
	auto_close int listener = -1;
	auto_close int client = -1;
	struct err e = {0};
	struct stat s;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/%0150d", dir, 7);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/%0150d/sock", dir, 7);
	assert_int_equal(fdpass_listen(AT_FDCWD, path, SOCK_STREAM, &listener, &e), 0);
	assert_int_equal(stat(path, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
	assert_int_equal(fdpass_connect(AT_FDCWD, path, SOCK_STREAM, &client, &e), 0);
	assert_int_equal(fdpass_connect(AT_FDCWD, "/nowhere/at/all", SOCK_STREAM, &client, &e),
			 -ERR_NOT_FOUND);
	assert_int_equal(unlink(path), 0);
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void capabilities_have_names(void **state)
{
	char *some[] = {"CAP_CHOWN", "cap_kill", "NET_ADMIN", NULL};
	char *wrong[] = {"CAP_CHOWN", "CAP_CHOWNED", NULL};
	struct err e = {0};
	uint64_t mask = 0;

	assert_int_equal(caps_mask(some, &mask, &e), 0);
	assert_int_equal(mask, 1u << 0 | 1u << 5 | 1u << 12);
	assert_int_equal(caps_mask(wrong, &mask, &e), -ERR_INVALID);
	assert_non_null(strstr(e.text, "CAP_CHOWNED"));
	assert_int_equal(caps_find(caps_name(21)), 21);
	assert_null(caps_name(64));
}

static void namespaces_have_names(void **state)
{
	assert_int_equal(namespace_find("network"), NAMESPACE_NETWORK);
	assert_int_equal(namespace_find("net"), -1);
	assert_string_equal(namespace_info(NAMESPACE_MOUNT)->file, "mnt");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_is_its_start_time),
		cmocka_unit_test(an_exit_code_is_told),
		cmocka_unit_test(a_boot_has_an_id),
		cmocka_unit_test(descriptors_pass_and_none_leaks),
		cmocka_unit_test(sockets_have_any_length_of_path),
		cmocka_unit_test(capabilities_have_names),
		cmocka_unit_test(namespaces_have_names),
	};

	return cmocka_run_group_tests_name("ground/linux/process", tests, NULL, NULL);
}
