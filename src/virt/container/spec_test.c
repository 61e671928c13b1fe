/*
 * Tests of what is read: configurations, mount options, sysctls, users, and why a program cannot
 * run.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/mount.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "virt/container/explain.h"
#include "virt/container/job.h"
#include "virt/container/mount_options.h"
#include "virt/container/spec.h"
#include "virt/container/state.h"
#include "virt/container/user.h"

static int decode(const char *text, struct arena *a, struct spec **ret, struct json **ret_tree,
		  struct err *e)
{
	int r = json_parse(str_of(text), "config.json", ret_tree, e);

	return r < 0 ? r : spec_decode(*ret_tree, "config.json", a, ret, e);
}

#define MINIMAL                                                                         \
	"\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [\"x\"], \"cwd\": \"/\"}, " \
	"\"root\": {\"path\": \"r\"}"

static void a_configuration_is_decoded(void **state)
{
	static const char text[] =
		"{" MINIMAL ", \"hostname\": \"h\", \"annotations\": {\"a\": \"b\"},"
		"\"mounts\": [{\"destination\": \"/p\", \"type\": \"proc\", \"options\": "
		"[\"ro\"]}],"
		"\"linux\": {\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"network\", "
		"\"path\": \"/n\"}, {\"type\": \"ipc\", \"path\": \"\"}],"
		"\"resources\": {\"memory\": {\"limit\": 5}, \"pids\": {\"limit\": -1}},"
		"\"seccomp\": {\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": "
		"[\"kill\"], \"action\": \"SCMP_ACT_ERRNO\", \"args\": [{\"index\": 1, \"value\": "
		"18446744073709551615, \"op\": \"SCMP_CMP_EQ\"}]}]}}}";
	auto_arena struct arena a = {0};
	auto_json struct json *tree = NULL;
	struct spec *s = NULL;
	struct err e = {0};

	assert_int_equal(decode(text, &a, &s, &tree, &e), 0);
	assert_string_equal(s->process->args[0], "x");
	assert_string_equal(s->mounts[0].options[0], "ro");
	assert_string_equal(spec_namespace(s, "network")->path, "/n");
	assert_null(spec_namespace(s, "ipc")->path);
	assert_null(spec_namespace(s, "user"));
	assert_int_equal(*s->os.resources->memory->limit, 5);
	assert_null(s->os.resources->memory->swap);
	assert_int_equal(*s->os.resources->pids->limit, -1);
	assert_true(s->os.seccomp->rules[0].args[0].value == UINT64_MAX);
	assert_string_equal(spec_annotation(s, "a"), "b");
	assert_null(spec_annotation(s, "b"));
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{}", "ociVersion"},
		{"{\"ociVersion\": \"2.0\"}", "2.0"},
		{"{\"ociVersion\": \"1.0.0\", \"process\": {\"cwd\": \"/\"}}", "process.args"},
		{"{\"ociVersion\": \"1.0.0\", \"process\": {\"args\": [\"x\"], \"cwd\": \"x\"}}",
		 "process.cwd"},
		{"{\"ociVersion\": \"1.0.0\", \"process\": {\"args\": [1], \"cwd\": \"/\"}}",
		 "args"},
		{"{" MINIMAL ", \"linux\": {\"namespaces\": [{\"type\": \"net\"}]}}", "'net'"},
		{"{" MINIMAL ", \"linux\": {\"namespaces\": [{\"type\": \"pid\"}, {\"type\": "
		 "\"pid\"}]}}",
		 "twice"},
		{"{" MINIMAL ", \"linux\": {\"devices\": [{\"path\": \"x\", \"type\": \"c\"}]}}",
		 "devices[0]"},
		{"{" MINIMAL ", \"hooks\": {\"poststart\": [{\"path\": \"x\"}]}}",
		 "poststart[0].path"},
		{"{" MINIMAL ", \"hooks\": {\"prestart\": [{\"path\": \"/x\", \"timeout\": 0}]}}",
		 "timeout"},
		{"{" MINIMAL ", \"mounts\": [{}]}", "mounts[0].destination"},
		{"{\"ociVersion\": \"1.0.0\", \"process\": {\"args\": [\"x\"], \"cwd\": \"/\", "
		 "\"user\": {\"uid\": 4294967296}}}",
		 "uid"},
		{"{\"ociVersion\": \"1.0.0\", \"process\": {\"args\": [\"x\"], \"cwd\": \"/\", "
		 "\"user\": {\"additionalGids\": [-1]}}}",
		 "additionalGids[0]"},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_arena struct arena a = {0};
		auto_json struct json *tree = NULL;
		struct spec *s = NULL;
		struct err e = {0};

		assert_true(decode(rows[i].text, &a, &s, &tree, &e) < 0);
		if (!strstr(e.text, rows[i].says))
			fail_msg("'%s' does not name '%s'", e.text, rows[i].says);
	}
}

static void mount_words_mean_what_they_say(void **state)
{
	static const struct {
		const char *words[6];
		uint64_t set, clear, rec_set, propagation;
		bool bind, recursive;
		size_t data;
	} rows[] = {
		{{"ro", "nosuid"}, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0, false, false, 0},
		{{"ro", "rw"}, 0, MOUNT_ATTR_RDONLY, 0, 0, false, false, 0},
		{{"rbind", "rro", "rslave"}, 0, 0, MOUNT_ATTR_RDONLY, 1 << 19, true, true, 0},
		{{"bind", "rprivate"}, 0, 0, 0, 1 << 18, true, false, 0},
		{{"mode=755", "size=64k", "nodev"}, MOUNT_ATTR_NODEV, 0, 0, 0, false, false, 2},
		{{"newinstance", "noexec"}, MOUNT_ATTR_NOEXEC, 0, 0, 0, false, false, 1},
		{{"noatime", "strictatime"}, MOUNT_ATTR_STRICTATIME, 0, 0, 0, false, false, 0},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_arena struct arena a = {0};
		struct spec_mount m = {.destination = "/x", .options = (char **)rows[i].words};
		struct mount_options o;
		struct err e = {0};

		assert_int_equal(mount_options_parse(&m, &a, &o, &e), 0);
		assert_int_equal(o.set, rows[i].set);
		assert_int_equal(o.clear, rows[i].clear);
		assert_int_equal(o.rec_set, rows[i].rec_set);
		assert_int_equal(o.propagation, rows[i].propagation);
		assert_int_equal(o.bind, rows[i].bind);
		assert_int_equal(o.recursive, rows[i].recursive);
		assert_int_equal(o.data_n, rows[i].data);
	}
}

static void mount_words_are_sorted(void **state)
{
	for (size_t i = 1; mount_options_name(i); i++)
		assert_true(strcmp(mount_options_name(i - 1), mount_options_name(i)) < 0);
}

static void sysctls_of_the_host_are_refused(void **state)
{
	const unsigned int own = NAMESPACE_BIT(NAMESPACE_NETWORK) | NAMESPACE_BIT(NAMESPACE_IPC);
	static const struct {
		const char *key;
		int result;
	} rows[] = {
		{"net.ipv4.ip_forward", 0},
		{"net/ipv4/conf/eth0.100/forwarding", 0},
		{"kernel.msgmax", 0},
		{"fs.mqueue.msg_max", 0},
		{"kernel.core_pattern", -ERR_FORBIDDEN},
		{"vm.swappiness", -ERR_FORBIDDEN},
		{"kernel.hostname", -ERR_FORBIDDEN}, /* no uts namespace here */
		{"net/../kernel/core_pattern", -ERR_INVALID},
		{"net.ipv4+net.", -ERR_INVALID},
		{"/net/x", -ERR_INVALID},
		{"", -ERR_INVALID},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct json_pair pairs[] = {{(char *)rows[i].key, "1"}, {NULL, NULL}};
		struct spec s = {.os.sysctl = pairs};
		struct err e = {0};

		assert_int_equal(sysctls_check(&s, own, &e), rows[i].result);
	}
}

/* A root with these files; removed by hand, they are few. */
static int make_root(char dir[32], const char *passwd, const char *group)
{
	const struct {
		const char *path, *text;
	} files[] = {{"etc/passwd", passwd}, {"etc/group", group}};
	int root;

	(void)snprintf(dir, 32, "/tmp/users.XXXXXX");
	assert_non_null(mkdtemp(dir));
	root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(root, "etc", 0755), 0);
	for (size_t i = 0; i < array_len(files); i++) {
		auto_close int fd =
			openat(root, files[i].path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

		assert_int_equal(write(fd, files[i].text, strlen(files[i].text)),
				 (ssize_t)strlen(files[i].text));
	}
	return root;
}

static void users_are_looked_up_strictly(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint32_t uid, gid;
		size_t groups;
	} rows[] = {
		{"web", 0, 33, 44, 2},
		{"33", 0, 33, 44, 2},
		{"web:0", 0, 33, 0, 0},
		{"web:disk", 0, 33, 6, 0},
		{"77", 0, 77, 0, 0},
		{"77:88", 0, 77, 88, 0},
		{"1000", 0, 5, 5, 0},
		{"nobody", -ERR_NOT_FOUND, 0, 0, 0},
		{"web:none", -ERR_NOT_FOUND, 0, 0, 0},
		{"", -ERR_INVALID, 0, 0, 0},
		{":5", -ERR_INVALID, 0, 0, 0},
		{"4294967296", -ERR_INVALID, 0, 0, 0},
		{"12x", -ERR_NOT_FOUND, 0, 0, 0},
		{"-1", -ERR_NOT_FOUND, 0, 0, 0},
	};
	char dir[32];
	auto_close int root = make_root(
		dir,
		"root:x:0:0::/root:/bin/sh\nbroken\nbad:x:99999999999:1::/:\nweb:x:33:44::/srv:\n"
		"1000:x:5:5::/five:\n",
		"disk:x:6:web\nfour:x:44:web\nmore:x:8:you,web\n:::\n");

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_arena struct arena a = {0};
		struct user u = {0};
		struct err e = {0};

		assert_int_equal(user_lookup(root, rows[i].text, &a, &u, &e), rows[i].result);
		assert_int_equal(u.uid, rows[i].uid);
		assert_int_equal(u.gid, rows[i].gid);
		assert_int_equal(u.gids_n, rows[i].groups);
	}
	auto_arena struct arena a = {0};
	assert_string_equal(user_home(root, 33, &a), "/srv");
	assert_null(user_home(root, 1, &a));
	(void)unlinkat(root, "etc/passwd", 0);
	(void)unlinkat(root, "etc/group", 0);
	(void)unlinkat(root, "etc", AT_REMOVEDIR);
	(void)rmdir(dir);
}

static void a_failed_exec_is_explained(void **state)
{
	static const struct {
		const char *content;
		size_t n;
		mode_t mode;
		int sys;
		int kind;
		const char *says;
	} rows[] = {
		{"#!/no/interpreter -x\n", 0, 0755, ENOENT, -ERR_NOT_FOUND, "/no/interpreter"},
		{"#!/bin/sh\r\necho\r\n", 0, 0755, ENOENT, -ERR_NOT_FOUND, "CRLF"},
		{"#!\n", 0, 0755, ENOEXEC, -ERR_INVALID, "names no interpreter"},
		{"#! ", 0, 0755, ENOEXEC, -ERR_INVALID, "names no interpreter"},
		{"echo\n", 0, 0755, ENOEXEC, -ERR_INVALID, "neither"},
		{"", 0, 0755, ENOEXEC, -ERR_INVALID, "empty"},
		{"#!/bin/sh\n", 0, 0644, EACCES, -ERR_FORBIDDEN, "mode 0644"},
		{"\177ELF\2\1\1", 0, 0755, ENOEXEC, -ERR_INVALID, "cut off"},
		{"x", 0, 0755, E2BIG, -ERR_INVALID, "too long"},
		{"x", 0, 0755, ENOMEM, -ERR_EXHAUSTED, "memory"},
	};
	char path[] = "/tmp/explain.XXXXXX";
	struct err e = {0};
	Elf64_Ehdr foreign = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB},
			      .e_machine = EM_S390};
	auto_close int fd = mkstemp(path);

	for (size_t i = 0; i < array_len(rows); i++) {
		size_t n = strlen(rows[i].content);

		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, rows[i].content, n, 0), (ssize_t)n);
		assert_int_equal(fchmod(fd, rows[i].mode), 0);
		assert_int_equal(explain_exec(path, rows[i].sys, &e), rows[i].kind);
		if (!strstr(e.text, rows[i].says) || !strstr(e.text, path))
			fail_msg("'%s' does not say '%s'", e.text, rows[i].says);
	}
	assert_int_equal(fchmod(fd, 0755), 0);
	assert_int_equal(pwrite(fd, &foreign, sizeof(foreign), 0), (ssize_t)sizeof(foreign));
	assert_int_equal(explain_exec(path, ENOEXEC, &e), -ERR_INVALID);
	assert_non_null(strstr(e.text, "s390x"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(explain_exec(path, ENOENT, &e), -ERR_NOT_FOUND);
	assert_int_equal(container_exit_code(&e), 127);
	assert_int_equal(explain_exec("/tmp", EACCES, &e), -ERR_FORBIDDEN);
	assert_int_equal(container_exit_code(&e), 126);
}

static void ids_are_names(void **state)
{
	static const char *const good[] = {"a", "A_b+c-d.e", "0123456789abcdef", "_", "-"};
	static const char *const bad[] = {"", ".", "..", ".a", "a/b", "a b", "\xc3\xa4", "a\n"};
	struct err e = {0};

	for (size_t i = 0; i < array_len(good); i++)
		assert_int_equal(state_check_id(good[i], &e), 0);
	for (size_t i = 0; i < array_len(bad); i++)
		assert_int_equal(state_check_id(bad[i], &e), -ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_configuration_is_decoded),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(mount_words_mean_what_they_say),
		cmocka_unit_test(mount_words_are_sorted),
		cmocka_unit_test(sysctls_of_the_host_are_refused),
		cmocka_unit_test(users_are_looked_up_strictly),
		cmocka_unit_test(a_failed_exec_is_explained),
		cmocka_unit_test(ids_are_names),
	};

	return cmocka_run_group_tests_name("virt/container/spec", tests, NULL, NULL);
}
