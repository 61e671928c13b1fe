/*
 * The log: what the writer writes is Docker's json-file format line by line, rotation keeps the
 * right files, and the reader gives back the same bytes through tail, since, until, follow,
 * rotation and torn lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "virt/keeper/log_file.h"
#include "virt/keeper/log_line.h"
#include "virt/keeper/log_reader.h"

struct fixture {
	char dir[64];
	char path[96];
	int64_t now_ns;
	struct world world;
};

static int64_t fake_now(void *ctx)
{
	return ((struct fixture *)ctx)->now_ns;
}

static int setup(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/hull-log-test.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
	f->now_ns = 1767323045123456789; /* 2026-01-02T03:04:05.123456789Z */
	f->world = (struct world){fake_now, fake_now, NULL, f};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	DIR *d = opendir(f->dir);
	struct dirent *entry;

	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(d), entry->d_name, 0);
	(void)closedir(d);
	(void)rmdir(f->dir);
	free(f);
	return 0;
}

static struct log_file *open_log(struct fixture *f, int64_t bytes_max, uint32_t files_max)
{
	struct log_file *l = NULL;
	struct err e = {0};

	if (log_file_open(f->path, bytes_max, files_max, &f->world, &l, &e) < 0)
		fail_msg("%s", e.text);
	return l;
}

static void add(struct log_file *l, enum log_stream stream, const char *text)
{
	assert_int_equal(log_file_add(l, stream, text, strlen(text), NULL), 0);
}

static char *file_text(const char *path)
{
	struct strbuf b = {0};
	char block[4096];
	size_t n;
	FILE *in = fopen(path, "r");

	if (!in)
		return NULL;
	while ((n = fread(block, 1, sizeof(block), in)) > 0)
		strbuf_add(&b, block, n);
	(void)fclose(in);
	return strbuf_take(&b);
}

static void put_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "a");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

/* All lines the query gives, joined with '|' in front of each. */
static char *read_all(struct log_reader *r)
{
	struct strbuf b = {0};
	struct log_line line;
	struct err e = {0};
	int got;

	while ((got = log_reader_next(r, &line, &e)) == LOG_LINE || got == LOG_AGAIN) {
		if (got == LOG_AGAIN)
			continue;
		strbuf_add_char(&b, '|');
		strbuf_add(&b, line.text, line.text_n);
	}
	assert_true(got >= 0);
	(void)strbuf_text(&b);
	return strbuf_take(&b);
}

static void expect_query(const struct log_query *q, const char *want)
{
	struct log_reader *r = NULL;
	struct err e = {0};
	char *text;

	if (log_reader_open(q, &r, &e) < 0)
		fail_msg("%s", e.text);
	text = read_all(r);
	assert_string_equal(text, want);
	free(text);
	(void)log_reader_free(r);
}

static void test_format(void **state)
{
	struct fixture *f = *state;
	struct log_file *l = open_log(f, 0, 0);
	char *text;

	add(l, LOG_STREAM_STDOUT, "one \"two\" \\ \t\x1b[0m h\xc3\xa9\n");
	add(l, LOG_STREAM_STDERR, "half");
	add(l, LOG_STREAM_STDERR, " and half\nbad \xff\xfe byte\n");
	add(l, LOG_STREAM_STDOUT, "no newline");
	(void)log_file_free(l);
	text = file_text(f->path);
	assert_string_equal(
		text, "{\"log\":\"one \\\"two\\\" \\\\ \\t\\u001b[0m "
		      "h\xc3\xa9\\n\",\"stream\":\"stdout\","
		      "\"time\":\"2026-01-02T03:04:05.123456789Z\"}\n"
		      "{\"log\":\"half and half\\n\",\"stream\":\"stderr\","
		      "\"time\":\"2026-01-02T03:04:05.123456789Z\"}\n"
		      "{\"log\":\"bad \xef\xbf\xbd\xef\xbf\xbd byte\\n\",\"stream\":\"stderr\","
		      "\"time\":\"2026-01-02T03:04:05.123456789Z\"}\n"
		      "{\"log\":\"no newline\",\"stream\":\"stdout\","
		      "\"time\":\"2026-01-02T03:04:05.123456789Z\"}\n");
	free(text);
}

static void test_long_lines_are_cut(void **state)
{
	struct fixture *f = *state;
	struct log_file *l = open_log(f, 0, 0);
	struct log_reader *r = NULL;
	struct strbuf back = {0};
	struct log_line line;
	char *big = mem_new_bytes(1, 40001);
	int pieces = 0;

	/* Two-byte characters behind one byte: the cut would fall into a character. */
	big[0] = 'x';
	for (size_t i = 1; i + 2 < 40000; i += 2)
		memcpy(big + i, "\xc3\xa9", 2);
	big[39999] = '\n';
	for (size_t at = 0; at < 40000; at += 777)
		assert_int_equal(log_file_add(l, LOG_STREAM_STDOUT, big + at,
					      40000 - at < 777 ? 40000 - at : 777, NULL),
				 0);
	(void)log_file_free(l);
	assert_int_equal(
		log_reader_open(&(struct log_query){.path = f->path, .tail = -1}, &r, NULL), 0);
	while (log_reader_next(r, &line, NULL) == LOG_LINE) {
		pieces++;
		assert_true(line.text_n <= LOG_LINE_MAX);
		strbuf_add(&back, line.text, line.text_n);
	}
	assert_int_equal(pieces, 3);
	assert_int_equal(back.n, 40000);
	big[39998] =
		'\0'; /* 39999 is odd: the last character before the newline is one byte, NUL */
	assert_memory_equal(back.p, big, 39998);
	(void)log_reader_free(r);
	strbuf_done(&back);
	free(big);
}

static void test_rotation(void **state)
{
	struct fixture *f = *state;
	struct log_file *l = open_log(f, 400, 3);
	char path[128], text[16];
	struct stat st;

	for (int i = 0; i < 30; i++) {
		(void)snprintf(text, sizeof(text), "%02d\n", i);
		add(l, LOG_STREAM_STDOUT, text);
	}
	for (int i = 1; i <= 2; i++) {
		(void)snprintf(path, sizeof(path), "%s.%d", f->path, i);
		assert_int_equal(stat(path, &st), 0);
		assert_true(st.st_size <= 400);
		assert_true(st.st_size > 300);
	}
	(void)snprintf(path, sizeof(path), "%s.3", f->path);
	assert_int_equal(stat(path, &st), -1);
	/* A line is 76 bytes: five in a file, three files. */
	expect_query(&(struct log_query){.path = f->path, .tail = -1},
		     "|15\n|16\n|17\n|18\n|19\n|20\n|21\n|22\n|23\n|24\n|25\n|26\n|27\n|28\n|29\n");
	expect_query(&(struct log_query){.path = f->path, .tail = 7},
		     "|23\n|24\n|25\n|26\n|27\n|28\n|29\n");
	expect_query(&(struct log_query){.path = f->path, .tail = 5}, "|25\n|26\n|27\n|28\n|29\n");
	expect_query(&(struct log_query){.path = f->path, .tail = 0}, "");
	(void)log_file_free(l);
}

static void test_one_call_over_many_files(void **state)
{
	struct fixture *f = *state;
	struct log_file *l = open_log(f, 200, 4);
	struct strbuf many = {0};

	for (int i = 0; i < 10; i++)
		strbuf_printf(&many, "%d\n", i);
	assert_int_equal(log_file_add(l, LOG_STREAM_STDOUT, many.p, many.n, NULL), 0);
	expect_query(&(struct log_query){.path = f->path, .tail = -1},
		     "|2\n|3\n|4\n|5\n|6\n|7\n|8\n|9\n");
	strbuf_done(&many);
	(void)log_file_free(l);
}

static void test_filters(void **state)
{
	struct fixture *f = *state;
	struct log_file *l = open_log(f, 0, 0);
	int64_t start = f->now_ns;
	struct log_reader *r = NULL;
	struct log_line line;

	for (int i = 0; i < 6; i++) {
		char text[8];

		f->now_ns = start + i * 1000000000LL;
		(void)snprintf(text, sizeof(text), "%d\n", i);
		add(l, i % 2 ? LOG_STREAM_STDERR : LOG_STREAM_STDOUT, text);
	}
	expect_query(&(struct log_query){.path = f->path, .tail = -1, .no_stderr = true},
		     "|0\n|2\n|4\n");
	expect_query(&(struct log_query){.path = f->path, .tail = 3, .no_stdout = true},
		     "|3\n|5\n");
	expect_query(
		&(struct log_query){.path = f->path, .tail = -1, .since_ns = start + 2000000000LL},
		"|2\n|3\n|4\n|5\n");
	assert_int_equal(log_reader_open(&(struct log_query){.path = f->path,
							     .tail = -1,
							     .until_ns = start + 1000000000LL},
					 &r, NULL),
			 0);
	assert_int_equal(log_reader_next(r, &line, NULL), LOG_LINE);
	assert_int_equal(log_reader_next(r, &line, NULL), LOG_LINE);
	assert_int_equal(line.stream, LOG_STREAM_STDERR);
	assert_int_equal(line.time_ns, start + 1000000000LL);
	assert_int_equal(log_reader_next(r, &line, NULL), LOG_END);
	(void)log_reader_free(r);
	(void)log_file_free(l);
}

static void test_follow_across_rotation(void **state)
{
	struct fixture *f = *state;
	struct log_file *l;
	struct log_reader *r = NULL;
	struct strbuf all = {0};

	/* Following begins before the file is there. */
	assert_int_equal(
		log_reader_open(&(struct log_query){.path = f->path, .tail = -1, .follow = true},
				&r, NULL),
		0);
	assert_true(log_reader_fd(r) >= 0);
	l = open_log(f, 300, 3);
	for (int i = 0; i < 100; i++) {
		char text[8], *got;

		(void)snprintf(text, sizeof(text), "%d\n", i);
		add(l, LOG_STREAM_STDOUT, text);
		if (i % 5 < 3)
			continue;
		log_reader_woke(r);
		got = read_all(r);
		strbuf_add_text(&all, got);
		free(got);
	}
	for (int i = 0, at = 0; i < 100; i++) {
		char want[8];
		int n = snprintf(want, sizeof(want), "|%d\n", i);

		assert_memory_equal(all.p + at, want, n);
		at += n;
	}
	strbuf_done(&all);
	(void)log_reader_free(r);
	(void)log_file_free(l);
}

static void test_torn_lines(void **state)
{
	struct fixture *f = *state;
	struct log_file *l = open_log(f, 0, 0);

	add(l, LOG_STREAM_STDOUT, "whole\n");
	(void)log_file_free(l);
	put_file(f->path, "{\"log\":\"torn by a cra");
	expect_query(&(struct log_query){.path = f->path, .tail = -1}, "|whole\n");
	l = open_log(f, 0, 0);
	add(l, LOG_STREAM_STDOUT, "after\n");
	put_file(f->path, "garbage\n{}\n{\"log\":\"x\",\"stream\":\"stdin\",\"time\":\"\"}\n\n");
	add(l, LOG_STREAM_STDOUT, "end\n");
	expect_query(&(struct log_query){.path = f->path, .tail = -1}, "|whole\n|after\n|end\n");
	(void)log_file_free(l);
}

static void test_absurdly_long_raw_line(void **state)
{
	struct fixture *f = *state;
	struct log_file *l = open_log(f, -1, 0);
	char *big = mem_new_bytes(1, 1 << 20);

	memset(big, 'x', (1 << 20) - 2);
	big[(1 << 20) - 2] = '\n';
	add(l, LOG_STREAM_STDOUT, "a\n");
	put_file(f->path, big);
	add(l, LOG_STREAM_STDOUT, "b\n");
	expect_query(&(struct log_query){.path = f->path, .tail = -1}, "|a\n|b\n");
	(void)log_file_free(l);
	free(big);
}

static void test_foreign_lines(void **state)
{
	static const struct {
		const char *raw, *want; /* NULL: refused */
	} rows[] = {
		{"{\"log\":\"a\\u0041\\u00e9\\ud83d\\ude00\\/\\n\",\"stream\":\"stdout\","
		 "\"time\":\"2026-01-02T03:04:05Z\"}",
		 "aA\xc3\xa9\xf0\x9f\x98\x80/\n"},
		{" { \"time\" : \"2026-01-02T03:04:05Z\" , \"log\" : \"x\" , \"more\":\"y\" , "
		 "\"stream\":\"stderr\" } ",
		 "x"},
		{"{\"log\":\"\\ud83d x\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05Z\"}",
		 "\xef\xbf\xbd x"},
		{"{\"log\":\"a\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05Z\"}x", NULL},
		{"{\"log\":\"a\",\"stream\":\"stdout\"}", NULL},
		{"{\"log\":\"a\\q\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05Z\"}",
		 NULL},
		{"{\"log\":1}", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < array_len(rows); i++) {
		auto_strbuf struct strbuf text = {0};
		struct log_line line;
		bool good = log_line_parse(str_of(rows[i].raw), &text, &line);

		assert_int_equal(good, rows[i].want != NULL);
		if (good)
			assert_string_equal(line.text, rows[i].want);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_format),

		TEST(test_long_lines_are_cut),
		TEST(test_rotation),
		TEST(test_one_call_over_many_files),
		TEST(test_filters),
		TEST(test_follow_across_rotation),
		TEST(test_torn_lines),
		TEST(test_absurdly_long_raw_line),
		TEST(test_foreign_lines),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
