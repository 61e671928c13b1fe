/* Unit tests of the volume room, in a temporary directory. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cmocka.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/folder.h"
#include "virt/volume/volume_priv.h"

#define ok(call)                                \
	do {                                    \
		if ((call) < 0)                 \
			fail_msg("%s", e.text); \
	} while (0)

static char root[] = "/tmp/hull-volume-test-XXXXXX";
static int root_fd = -1;

static struct volume_store *open_store(void)
{
	struct volume_store *s = NULL;
	struct err e = {0};

	ok(volume_store_open(root, &world_real, &s, &e));
	return s;
}

static void put(int dir, const char *path, const char *text)
{
	auto_close int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void volumes_are_made_once_and_kept(void **state)
{
	struct volume_store *s = open_store();
	struct json_pair size[] = {
		{(char *)"type", (char *)"tmpfs"}, {(char *)"device", (char *)"tmpfs"}, {0}};
	struct volume_spec spec = {.name = (char *)"data"};
	struct volume *v, *again, *anonymous;
	auto_json struct json *record = NULL;
	struct err e = {0};

	(void)state;
	ok(volume_create(s, &spec, &v, &e));
	ok(volume_create(s, &spec, &again, &e));
	assert_ptr_equal(v, again);
	assert_int_equal(access(volume_path(v), F_OK), 0);
	spec.options = size;
	assert_int_equal(volume_create(s, &spec, &again, &e), -ERR_CONFLICT);
	ok(volume_create(s, &(struct volume_spec){0}, &anonymous, &e));
	assert_int_equal(strlen(volume_spec(anonymous)->name), 64);
	assert_true(volume_spec(anonymous)->anonymous);
	volume_use(v, "c1");
	assert_int_equal(volume_remove(s, v, &e), -ERR_CONFLICT);
	assert_non_null(strstr(e.text, "in use - [c1]"));
	volume_release(v, "c1");
	record = volume_encode(v);
	(void)volume_store_free(s);

	s = open_store();
	ok(volume_load(s, record, &v, &e));
	ok(volume_sweep(s, &e)); /* the anonymous one was empty and is forgotten */
	ok(volume_find(s, "data", &v, &e));
	ok(volume_remove(s, v, &e));
	assert_int_equal(volume_find(s, "data", &v, &e), -ERR_NOT_FOUND);
	auto_free char *dir = mem_printf("%s/volume", root);
	assert_int_equal(rmdir(dir), 0);
	(void)volume_store_free(s);
}

static void bad_names_are_refused(void **state)
{
	static const char *const bad[] = {"..", ".x", "a/b", "-a", "a b", "\xc3\xa4"};
	struct volume_store *s = open_store();
	struct volume *v;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < array_len(bad); i++)
		assert_int_equal(
			volume_create(s, &(struct volume_spec){.name = (char *)bad[i]}, &v, &e),
			-ERR_INVALID);
	assert_int_equal(
		volume_create(s,
			      &(struct volume_spec){.name = (char *)"x", .driver = (char *)"nfs"},
			      &v, &e),
		-ERR_NOT_FOUND);
	(void)volume_store_free(s);
}

static void the_first_copy_is_whole_and_stays_inside(void **state)
{
	struct volume_store *s = open_store();
	struct volume *v, *w;
	auto_close int image = -1, data = -1;
	struct stat a, b;
	struct err e = {0};
	char link[64] = "";

	(void)state;
	assert_int_equal(mkdirat(root_fd, "image", 0755), 0);
	image = openat(root_fd, "image", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(image, "srv", 02750), 0);
	assert_int_equal(fchmodat(image, "srv", 02750, 0), 0);
	assert_int_equal(mkdirat(image, "srv/sub", 0700), 0);
	put(image, "srv/sub/file", "hello");
	assert_int_equal(linkat(image, "srv/sub/file", image, "srv/other", 0), 0);
	assert_int_equal(symlinkat("/etc/shadow", image, "srv/link"), 0);
	assert_int_equal(symlinkat("/etc", image, "out"), 0); /* leads out of the image */
	assert_int_equal(fchownat(image, "srv/other", 7, 8, 0), 0);

	ok(volume_create(s, &(struct volume_spec){.name = (char *)"v"}, &v, &e));
	ok(volume_copy_up(v, image, "/srv", &e));
	assert_true(volume_spec(v)->populated);
	data = open(volume_path(v), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fstat(data, &a), 0);
	assert_int_equal(a.st_mode & 07777, 02750);
	assert_int_equal(fstatat(data, "sub/file", &a, 0), 0);
	assert_int_equal(fstatat(data, "other", &b, 0), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(b.st_uid, 7);
	assert_int_equal(b.st_size, 5);
	assert_true(readlinkat(data, "link", link, sizeof(link) - 1) > 0);
	assert_string_equal(link, "/etc/shadow");

	/* A path that leads out of the image stays inside it: there is no /etc in there. */
	ok(volume_create(s, &(struct volume_spec){.name = (char *)"w"}, &w, &e));
	ok(volume_copy_up(w, image, "/out", &e));
	assert_int_equal(rmdir(volume_path(w)), 0);
	ok(volume_remove(s, v, &e));
	ok(volume_remove(s, w, &e));
	(void)volume_store_free(s);
}

static void binds_are_read_strictly(void **state)
{
	auto_arena struct arena a = {0};
	struct volume_mount m;
	struct err e = {0};

	(void)state;
	ok(volume_parse_bind(STR("/a/../b//c:/x/./y:ro,rshared"), &a, &m, &e));
	assert_int_equal(m.kind, VOLUME_BIND);
	assert_string_equal(m.source, "/b/c");
	assert_string_equal(m.target, "/x/y");
	assert_true(m.read_only && m.create_source);
	assert_string_equal(m.propagation, "rshared");
	ok(volume_parse_bind(STR("data:/x:nocopy"), &a, &m, &e));
	assert_int_equal(m.kind, VOLUME_NAMED);
	assert_string_equal(m.source, "data");
	assert_true(m.no_copy);
	ok(volume_parse_bind(STR("/x"), &a, &m, &e));
	assert_null(m.source);
	static const char *const bad[] = {"",	    ":/x",	   "a:",      "a:x",
					  "a:/",    "a:/../",	   "a:/x:zz", "a:/x:ro:y",
					  "/a:/x:", "a:/x:rshared"};
	for (size_t i = 0; i < array_len(bad); i++)
		if (volume_parse_bind(str_of(bad[i]), &a, &m, &e) != -ERR_INVALID)
			fail_msg("'%s' was taken", bad[i]);
}

static void mounts_become_oci(void **state)
{
	auto_arena struct arena a = {0};
	auto_json struct json *j = NULL, *oci = NULL, *tmpfs = NULL;
	auto_strbuf struct strbuf b = {0};
	struct volume_mount m;
	struct err e = {0};

	(void)state;
	ok(json_parse(STR("{\"Type\":\"bind\",\"Source\":\"/nowhere/at/all\",\"Target\":\"/t\"}"),
		      "m", &j, &e));
	ok(volume_parse_mount(j, &a, &m, &e));
	assert_int_equal(volume_oci_mount(&m, NULL, &oci, &e), -ERR_INVALID);
	assert_non_null(strstr(e.text, "bind source path does not exist: /nowhere/at/all"));
	m.source = root;
	m.read_only = true;
	ok(volume_oci_mount(&m, NULL, &oci, &e));
	json_write(json_get(oci, "options"), &b);
	assert_string_equal(strbuf_text(&b), "[\"rbind\",\"rprivate\",\"ro\"]");
	strbuf_clear(&b);
	ok(volume_parse_tmpfs("/run", "size=1m,exec,mode=755", &a, &m, &e));
	ok(volume_oci_mount(&m, NULL, &tmpfs, &e));
	json_write(json_get(tmpfs, "options"), &b);
	assert_string_equal(strbuf_text(&b), "[\"noexec\",\"nosuid\",\"nodev\",\"size=1048576\","
					     "\"mode=755\",\"exec\"]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(volumes_are_made_once_and_kept),
		cmocka_unit_test(bad_names_are_refused),
		cmocka_unit_test(the_first_copy_is_whole_and_stays_inside),
		cmocka_unit_test(binds_are_read_strictly),
		cmocka_unit_test(mounts_become_oci),
	};
	struct err e = {0};
	int r;

	if (!mkdtemp(root))
		return 1;
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = cmocka_run_group_tests_name("virt/volume", tests, NULL, NULL);
	(void)close(root_fd);
	root_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder_remove(root_fd, strrchr(root, '/') + 1, &e) < 0)
		(void)fprintf(stderr, "%s\n", e.text);
	return r;
}
