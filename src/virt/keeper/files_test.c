/*
 * The files of a container, as root on a real kernel: a stopped one's overlay and volumes as one
 * detached tree, a running process's root, and names that try to lead out. Skipped without the
 * right to mount.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/fdpass.h"
#include "ground/linux/inroot.h"
#include "ground/linux/mount.h"
#include "ground/linux/process.h"
#include "virt/keeper/files.h"

static char dir[64];

static char *at(const char *name)
{
	static char path[4][160];
	static int i;

	i = (i + 1) % 4;
	(void)snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
	return path[i];
}

static void put(const char *name, const char *text)
{
	FILE *out = fopen(at(name), "w");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void expect_text(int root, const char *path, const char *want)
{
	auto_close int fd = -1;
	char text[64] = "";
	struct err e = {0};

	if (inroot_open(root, path, O_RDONLY, 0, &fd, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	assert_string_equal(text, want);
}

static int setup(void **state)
{
	static const char *const dirs[] = {"lower", "lower/etc", "upper", "work", "volume"};

	(void)state;
	/* Not on /tmp, which may be an overlay itself. */
	(void)snprintf(dir, sizeof(dir), "%s", "/dev/shm/hull-files-test.XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < array_len(dirs); i++)
		assert_int_equal(mkdir(at(dirs[i]), 0755), 0);
	put("lower/etc/name", "lower");
	put("upper/new", "upper");
	put("volume/data", "volume");
	assert_int_equal(symlink("/etc/name", at("lower/absolute")), 0);
	assert_int_equal(symlink("../../../../../../etc/name", at("lower/dots")), 0);
	assert_int_equal(symlink("/proc/self/root/etc/passwd", at("lower/magic")), 0);
	return 0;
}

static int remove_all(const char *path)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		(void)execl("/bin/rm", "rm", "-rf", path, (char *)NULL);
		_exit(1);
	}
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static int teardown(void **state)
{
	(void)state;
	return remove_all(dir);
}

static void test_stopped_with_volume(void **state)
{
	char *lower[] = {mem_dup_text(at("lower")), NULL};
	struct keeper_orders o = {.id = "c",
				  .lower = lower,
				  .upper = mem_dup_text(at("upper")),
				  .work = mem_dup_text(at("work"))};
	struct files_bind bind = {.source = mem_dup_text(at("volume")), .target = "/data/in"};
	struct files_query q = {.orders = &o, .binds = &bind, .binds_n = 1};
	auto_close int root = -1, fd = -1;
	struct err e = {0};

	(void)state;
	if (files_open(&q, &root, &e) < 0) {
		if (e.kind == ERR_FORBIDDEN || e.sys == EINVAL)
			skip();
		fail_msg("%s", e.text);
	}
	expect_text(root, "/etc/name", "lower");
	expect_text(root, "/new", "upper");
	expect_text(root, "/data/in/data", "volume");
	expect_text(root, "/absolute", "lower");
	expect_text(root, "/dots", "lower");
	assert_true(inroot_open(root, "/magic", O_RDONLY, 0, &fd, &e) < 0);
	assert_int_equal(inroot_open(root, "/written", O_WRONLY | O_CREAT, 0644, &fd, &e), 0);
	assert_int_equal(access(at("upper/written"), F_OK), 0);
	free(lower[0]);
	free(o.upper);
	free(o.work);
	free(bind.source);
}

static void test_child_assembles(void **state)
{
	auto_close int root = -1, volume = -1, tree = -1;
	struct err e = {0};
	size_t n, fds_n;
	int pair[2], status;
	char word[64];
	pid_t pid;

	(void)state;
	if (mount_clone(AT_FDCWD, at("lower"), false, true, &root, &e) < 0)
		skip();
	assert_int_equal(mount_clone(AT_FDCWD, at("volume"), false, true, &volume, &e), 0);
	assert_int_equal(fdpass_pair(SOCK_SEQPACKET, pair, &e), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(pair[0]);
		_exit(files_child(pair[1], &e) < 0);
	}
	(void)close(pair[1]);
	assert_int_equal(fdpass_send(pair[0], "r", 1, &root, 1, &e), 0);
	assert_int_equal(fdpass_send(pair[0], "d/etc", 5, &volume, 1, &e), 0);
	assert_int_equal(shutdown(pair[0], SHUT_WR), 0);
	assert_int_equal(fdpass_recv(pair[0], word, sizeof(word) - 1, &tree, 1, &n, &fds_n, &e), 0);
	word[n] = '\0';
	if (fds_n == 0)
		fail_msg("%s", word);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* The child is gone, its namespace too; the tree is not. */
	expect_text(tree, "/etc/data", "volume");
	(void)close(pair[0]);
}

static void test_running(void **state)
{
	struct files_query q = {.pid = getpid()};
	auto_close int root = -1;
	uint64_t start = 0;
	struct err e = {0};

	(void)state;
	assert_int_equal(process_start_time(getpid(), &start, NULL, &e), 0);
	q.start_time = (int64_t)start + 1;
	assert_int_equal(files_open(&q, &root, &e), -ERR_GONE);
	q.start_time = (int64_t)start;
	if (files_open(&q, &root, &e) < 0)
		fail_msg("%s", e.text);
	expect_text(root, at("volume/data"), "volume");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stopped_with_volume),
		cmocka_unit_test(test_child_assembles),
		cmocka_unit_test(test_running),
	};

	return cmocka_run_group_tests_name("files", tests, setup, teardown);
}
