/*
 * Blobs, streams and tar on a real file system: what is written whole is found, what is wrong
 * leaves nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/store/blob.h"
#include "ground/store/folder.h"
#include "ground/store/inflate.h"
#include "ground/store/tar.h"

#define EMPTY_SHA "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC_SHA	  "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

struct fixture {
	char top[32];
	struct blob_store *store;
};

static int setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	strncpy(f->top, "/tmp/hull-blob-XXXXXX", sizeof(f->top) - 1);
	*state = f;
	return mkdtemp(f->top) && blob_store_open(f->top, &f->store, NULL) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	auto_close int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	f->store = blob_store_free(f->store);
	r = folder_remove(tmp, f->top + strlen("/tmp/"), NULL);
	free(f);
	return r;
}

static void count(void *arg, const char *digest, uint64_t size)
{
	(void)digest;
	*(uint64_t *)arg += size + 1000;
}

static void test_put_and_get(void **state)
{
	struct fixture *f = *state;
	auto_strbuf struct strbuf b = {0};
	char digest[DIGEST_ROOM];
	uint64_t size = 0;
	struct err e = {0};

	assert_int_equal(blob_put(f->store, STR("abc"), digest, &e), 0);
	assert_string_equal(digest, ABC_SHA);
	assert_true(blob_has(f->store, digest, &size));
	assert_int_equal(size, 3);
	assert_int_equal(blob_get(f->store, digest, 3, &b, &e), 0);
	assert_string_equal(strbuf_text(&b), "abc");
	assert_int_equal(blob_get(f->store, digest, 2, &b, &e), -ERR_INVALID);
	assert_int_equal(blob_verify(f->store, digest, &e), 0);
	assert_int_equal(blob_get(f->store, EMPTY_SHA, 3, &b, &e), -ERR_NOT_FOUND);
	assert_int_equal(blob_get(f->store, "sha256:../../../etc/passwd", 3, &b, &e), -ERR_INVALID);
	size = 0;
	assert_int_equal(blob_each(f->store, count, &size, &e), 0);
	assert_int_equal(size, 1003);
	assert_int_equal(blob_delete(f->store, digest, &e), 0);
	assert_false(blob_has(f->store, digest, NULL));
}

static void test_mismatch_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct blob_writer *w = NULL;
	struct err e = {0};
	uint64_t sum = 0;

	assert_int_equal(blob_begin(f->store, &w, &e), 0);
	assert_int_equal(blob_write(w, "abd", 3, &e), 0);
	assert_int_equal(blob_finish(w, ABC_SHA, NULL, &e), -ERR_INVALID);
	assert_non_null(strstr(e.text, "digest mismatch"));
	(void)blob_abort(w);
	assert_int_equal(blob_each(f->store, count, &sum, &e), 0);
	assert_int_equal(sum, 0);
}

static void test_append_and_hash(void **state)
{
	struct fixture *f = *state;
	struct blob_writer *w = NULL;
	struct err e = {0};

	assert_int_equal(blob_begin(f->store, &w, &e), 0);
	assert_int_equal(blob_append(w, "a", 1, &e), 0);
	assert_int_equal(blob_hash(w, 1, &e), 0);
	assert_int_equal(blob_append(w, "bc", 2, &e), 0);
	assert_int_equal(blob_finish(w, ABC_SHA, NULL, &e), 0);
	assert_int_equal(blob_publish(w, true, &e), 0);
	assert_true(blob_has(f->store, ABC_SHA, NULL));
}

static void test_digests(void **state)
{
	static const char *const bad[] = {
		"",
		"sha256:",
		"sha256:abc",
		"md5:d41d8cd98f00b204e9800998ecf8427e",
		"sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85/",
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550",
	};

	(void)state;
	assert_true(digest_valid(STR(EMPTY_SHA)));
	for (size_t i = 0; i < array_len(bad); i++)
		assert_false(digest_valid(str_of(bad[i])));
}

/* ---- Streams ---- */

struct bytes {
	struct str left;
	size_t step; /* hands out that much at once */
};

static int64_t read_bytes(void *arg, void *p, size_t n, struct err *e)
{
	struct bytes *b = arg;

	(void)e;
	n = n < b->step ? n : b->step;
	n = n < b->left.n ? n : b->left.n;
	memcpy(p, b->left.p, n);
	b->left.p += n;
	b->left.n -= n;
	return (int64_t)n;
}

static int inflate_all(struct str in, size_t step, struct strbuf *out, struct err *e)
{
	struct bytes b = {in, step};
	struct inflate_source source = {read_bytes, &b};
	auto_inflate struct inflate *i = NULL;
	const void *p;
	int64_t n;
	int r = inflate_new(&source, &i, e);

	if (r < 0)
		return r;
	while ((n = inflate_next(i, &p, e)) > 0)
		strbuf_add(out, p, (size_t)n);
	return (int)n;
}

/* A gzip of `size` bytes that hold little surprise, through deflate_file. */
static void make_gzip(struct fixture *f, size_t size, struct strbuf *plain, struct strbuf *gzip)
{
	struct blob_writer *in = NULL, *out = NULL;
	char digest[DIGEST_ROOM];
	struct err e = {0};

	for (size_t i = 0; plain->n < size; i++)
		strbuf_printf(plain, "%zu,", i * i);
	assert_int_equal(blob_begin(f->store, &in, &e), 0);
	assert_int_equal(blob_write(in, plain->p, plain->n, &e), 0);
	assert_int_equal(blob_begin(f->store, &out, &e), 0);
	assert_int_equal(deflate_file(blob_writer_fd(in), out, &e), 0);
	assert_int_equal(blob_finish(out, NULL, digest, &e), 0);
	assert_int_equal(blob_publish(out, false, &e), 0);
	assert_int_equal(blob_get(f->store, digest, 100 << 20, gzip, &e), 0);
	(void)blob_abort(in);
}

static void test_inflate(void **state)
{
	struct fixture *f = *state;
	auto_strbuf struct strbuf plain = {0}, gzip = {0}, two = {0}, out = {0};
	struct err e = {0};

	make_gzip(f, 3000000, &plain, &gzip);
	assert_true(gzip.n < plain.n);
	for (size_t step = 1; step < 1000000; step = step * 37 + 1) {
		strbuf_clear(&out);
		assert_int_equal(inflate_all(strbuf_str(&gzip), step, &out, &e), 0);
		assert_int_equal(out.n, plain.n);
		assert_memory_equal(out.p, plain.p, plain.n);
	}
	/* Two members are one stream. */
	strbuf_add(&two, gzip.p, gzip.n);
	strbuf_add(&two, gzip.p, gzip.n);
	strbuf_clear(&out);
	assert_int_equal(inflate_all(strbuf_str(&two), 65536, &out, &e), 0);
	assert_int_equal(out.n, 2 * plain.n);
}

static void test_inflate_damaged(void **state)
{
	struct fixture *f = *state;
	auto_strbuf struct strbuf plain = {0}, gzip = {0}, out = {0};
	struct err e = {0};

	make_gzip(f, 300000, &plain, &gzip);
	assert_int_equal(inflate_all((struct str){gzip.p, gzip.n / 2}, 4096, &out, &e),
			 -ERR_INVALID);
	assert_non_null(strstr(e.text, "cut off"));
	gzip.p[gzip.n - 6] ^= 1; /* the checksum */
	assert_int_equal(inflate_all(strbuf_str(&gzip), 4096, &out, &e), -ERR_INVALID);
	assert_non_null(strstr(e.text, "damaged gzip"));
	strbuf_clear(&out);
	assert_int_equal(inflate_all(STR("plain"), 2, &out, &e), 0);
	assert_string_equal(strbuf_text(&out), "plain");
	strbuf_clear(&out);
	assert_int_equal(inflate_all(STR(""), 2, &out, &e), 0);
	assert_int_equal(out.n, 0);
}

static void test_tar_round(void **state)
{
	struct fixture *f = *state;
	auto_free char *path = mem_printf("%s/t.tar", f->top);
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	auto_free struct tar_item *item = mem_new(struct tar_item);
	auto_tar_writer struct tar_writer *w = NULL;
	auto_tar_reader struct tar_reader *r = NULL;
	auto_inflate struct inflate *i = NULL;
	auto_strbuf struct strbuf bytes = {0}, out = {0};
	struct bytes b;
	struct inflate_source source = {read_bytes, &b};
	char step[4096], name[300];
	const void *p;
	int64_t offset;
	struct err e = {0};
	size_t got;

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(tar_writer_new(fd, &w, &e), 0);
	*item = (struct tar_item){.name = name,
				  .mode = S_IFREG | 04755,
				  .uid = 3000000,
				  .gid = 7,
				  .size_bytes = 5,
				  .mtime_s = 12345,
				  .xattrs = {{"user.a", "v", 1}},
				  .xattrs_n = 1};
	assert_int_equal(tar_put(w, item, &e), 0);
	assert_int_equal(tar_write(w, "hello", 5, &e), 0);
	assert_int_equal(tar_end(w, &e), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	for (ssize_t n; (n = read(fd, step, sizeof(step))) > 0;)
		strbuf_add(&bytes, step, (size_t)n);
	b = (struct bytes){strbuf_str(&bytes), 1000};
	assert_int_equal(inflate_new(&source, &i, &e), 0);
	assert_int_equal(tar_reader_new(i, &r, &e), 0);
	assert_int_equal(tar_next(r, item, &e), 1);
	assert_string_equal(item->name, name);
	assert_int_equal(item->mode, S_IFREG | 04755);
	assert_int_equal(item->uid, 3000000);
	assert_int_equal(item->mtime_s, 12345);
	assert_int_equal(item->xattrs_n, 1);
	assert_string_equal(item->xattrs[0].name, "user.a");
	while (tar_data(r, &p, &got, &offset, &e) > 0)
		strbuf_add(&out, p, got);
	assert_string_equal(strbuf_text(&out), "hello");
	assert_int_equal(tar_next(r, item, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_put_and_get, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mismatch_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_append_and_hash, setup, teardown),
		cmocka_unit_test(test_digests),
		cmocka_unit_test_setup_teardown(test_inflate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_inflate_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tar_round, setup, teardown),
	};

	return cmocka_run_group_tests_name("blob", tests, NULL, NULL);
}
