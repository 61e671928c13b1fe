/*
 * Tests of paths in a stranger's root: every way out that has been tried elsewhere stays inside.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/inroot.h"

/* DIR/out/secret is the host's; DIR/root is the container's, full of links. */
struct place {
	char dir[64];
	int top, root;
};

static void put(int dir, const char *path, const char *text)
{
	auto_close int fd = openat(dir, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static int set_up(void **state)
{
	static const struct {
		const char *target, *name;
	} links[] = {
		{"../out", "up"},
		{"../../../../../../out", "far"},
		{"/out", "absolute"},
		{"/etc/passwd", "account"},
		{"/dangling/deep", "dang"},
		{"loop2", "loop1"},
		{"loop1", "loop2"},
		{"/proc/self/root", "magic"},
		{"up/../../out/secret", "mixed"},
	};
	struct place *p = mem_new(struct place);

	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/inroot.XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	p->top = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(p->top, "out", 0755), 0);
	assert_int_equal(mkdirat(p->top, "root", 0755), 0);
	put(p->top, "out/secret", "host");
	p->root = openat(p->top, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < array_len(links); i++)
		assert_int_equal(symlinkat(links[i].target, p->root, links[i].name), 0);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;
	char *command = mem_printf("%s", p->dir);
	pid_t pid = fork();

	if (pid == 0) {
		(void)execlp("rm", "rm", "-rf", command, (char *)NULL);
		_exit(1);
	}
	(void)fd_close(p->top);
	(void)fd_close(p->root);
	free(command);
	free(p);
	return 0;
}

static bool has(int dir, const char *path)
{
	struct stat s;

	return fstatat(dir, path, &s, AT_SYMLINK_NOFOLLOW) == 0;
}

static void links_out_do_not_open(void **state)
{
	static const char *const tries[] = {"up/secret", "far/secret",	       "absolute/secret",
					    "mixed",	 "../out/secret",      "/../out/secret",
					    "account",	 "./../../out/secret", "loop1"};
	struct place *p = *state;

	for (size_t i = 0; i < array_len(tries); i++) {
		int fd = -1;

		assert_true(inroot_open(p->root, tries[i], O_RDONLY, 0, &fd, NULL) < 0);
		assert_int_equal(fd, -1);
	}
}

static void magic_links_do_not_open(void **state)
{
	auto_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char path[64];
	struct err e;
	int fd = -1;

	assert_true(inroot_open(proc, "self/root/etc", O_PATH, 0, &fd, &e) < 0);
	(void)snprintf(path, sizeof(path), "%d/cwd", getpid());
	assert_true(inroot_open(proc, path, O_PATH | O_DIRECTORY, 0, &fd, &e) < 0);
}

static void making_stays_inside(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	int fd = -1;

	/* Links lead where they would lead a process inside: the root's own /out. */
	assert_int_equal(inroot_make(p->root, "absolute/made/here", true, 0755, &fd, &e), 0);
	fd = fd_close(fd);
	assert_true(has(p->root, "out/made/here"));
	assert_int_equal(inroot_make(p->root, "far/file", false, 0644, &fd, &e), 0);
	fd = fd_close(fd);
	assert_true(has(p->root, "out/file"));
	assert_int_equal(inroot_make(p->root, "dang/x", true, 0755, &fd, &e), 0);
	fd = fd_close(fd);
	assert_true(has(p->root, "dangling/deep/x"));
	assert_int_equal(inroot_make(p->root, "/../../a/../b/./c", false, 0644, &fd, &e), 0);
	fd = fd_close(fd);
	assert_true(has(p->root, "b/c"));
	assert_false(has(p->top, "out/made"));
	assert_false(has(p->top, "out/file"));
	assert_false(has(p->top, "b"));
}

static void what_cannot_be_made_is_told(void **state)
{
	struct place *p = *state;
	char name[600];
	struct err e = {0};
	int fd = -1;

	put(p->root, "plain", "x");
	assert_true(inroot_make(p->root, "plain/below", true, 0755, &fd, &e) < 0);
	assert_true(inroot_make(p->root, "loop1/x", true, 0755, &fd, &e) < 0);
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_true(inroot_make(p->root, name, true, 0755, &fd, &e) < 0);
	assert_non_null(e.text[0] ? e.text : NULL);
	assert_int_equal(fd, -1);
}

static void no_links_means_none(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	int fd = -1;

	assert_int_equal(mkdirat(p->root, "real", 0755), 0);
	assert_int_equal(symlinkat("real", p->root, "alias"), 0);
	assert_int_equal(inroot_open_nolinks(p->root, "real", O_PATH, &fd, &e), 0);
	fd = fd_close(fd);
	assert_int_equal(inroot_open_nolinks(p->root, "alias", O_PATH | O_DIRECTORY, &fd, &e),
			 -ERR_FORBIDDEN);
}

static void the_parent_is_found(void **state)
{
	struct place *p = *state;
	const char *name = NULL;
	struct err e = {0};
	int dir = -1;

	assert_int_equal(inroot_make_parent(p->root, "/new/dir/node", &dir, &name, &e), 0);
	assert_string_equal(name, "node");
	assert_int_equal(mkdirat(dir, name, 0700), 0);
	dir = fd_close(dir);
	assert_true(has(p->root, "new/dir/node"));
	assert_int_equal(inroot_make_parent(p->root, "/new/..", &dir, &name, &e), -ERR_INVALID);
	assert_int_equal(inroot_make_parent(p->root, "/", &dir, &name, &e), -ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(links_out_do_not_open, set_up, tear_down),
		cmocka_unit_test(magic_links_do_not_open),
		cmocka_unit_test_setup_teardown(making_stays_inside, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_cannot_be_made_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_links_means_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_parent_is_found, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("ground/linux/inroot", tests, NULL, NULL);
}
