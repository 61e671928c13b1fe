/* Unit tests of the base: errors, text, numbers, maps, arenas. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ground/base/arena.h"
#include "ground/base/cursor.h"
#include "ground/base/err.h"
#include "ground/base/list.h"
#include "ground/base/map.h"
#include "ground/base/options.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/base/rfc3339.h"
#include "ground/base/utf8.h"
#include "ground/base/world.h"

static void error_is_wrapped_outside_in(void **state)
{
	struct err e = {0};
	int r;

	(void)state;
	errno = ENOENT;
	r = err_sys(&e, "cannot open '%s'", "x");
	assert_int_equal(r, -ERR_NOT_FOUND);
	r = err_wrap(&e, "starting '%s'", "c1");
	assert_int_equal(r, -ERR_NOT_FOUND);
	assert_string_equal(e.text, "starting 'c1': cannot open 'x': No such file or directory");
	assert_int_equal(e.sys, ENOENT);
}

static void numbers_are_strict(void **state)
{
	struct err e = {0};
	uint32_t u = 7;
	int64_t i = 7;

	(void)state;
	assert_int_equal(parse_u32(STR("4294967295"), "uid", &u, &e), 0);
	assert_int_equal(u, UINT32_MAX);
	assert_true(parse_u32(STR("4294967296"), "uid", &u, &e) < 0);
	assert_true(parse_u32(STR(" 1"), "uid", &u, &e) < 0);
	assert_true(parse_u32(STR("1x"), "uid", &u, &e) < 0);
	assert_true(parse_u32(STR(""), "uid", &u, &e) < 0);
	assert_true(parse_u32(STR("-1"), "uid", &u, &e) < 0);
	assert_string_equal(e.text, "invalid uid '-1': it is not a whole number");
	assert_int_equal(u, UINT32_MAX);
	assert_int_equal(parse_i64(STR("-9223372036854775808"), "x", &i, &e), 0);
	assert_true(i == INT64_MIN);
	assert_true(parse_i64(STR("9223372036854775808"), "x", &i, &e) < 0);
}

static void sizes_and_durations(void **state)
{
	struct err e = {0};
	int64_t v = 0;

	(void)state;
	assert_int_equal(parse_size(STR("1.5g"), "size", &v, &e), 0);
	assert_true(v == 1610612736);
	assert_int_equal(parse_size(STR("512"), "size", &v, &e), 0);
	assert_true(v == 512);
	assert_int_equal(parse_size(STR("64 KiB"), "size", &v, &e), 0);
	assert_true(v == 65536);
	assert_true(parse_size(STR("12q"), "size", &v, &e) < 0);
	assert_true(parse_size(STR("9999999999t"), "size", &v, &e) < 0);
	assert_int_equal(parse_duration(STR("1m30.5s"), "time", &v, &e), 0);
	assert_true(v == 90500000000);
	assert_true(parse_duration(STR("5"), "time", &v, &e) < 0);
}

static void map_keeps_order_and_survives_removal(void **state)
{
	auto_map struct map m = {0};
	char key[16];
	size_t seen = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(key, sizeof(key), "k%d", i);
		assert_null(map_put(&m, key, (void *)(uintptr_t)(i + 1)));
	}
	for (int i = 0; i < 1000; i += 2) {
		(void)snprintf(key, sizeof(key), "k%d", i);
		assert_non_null(map_remove(&m, key));
		assert_null(map_get(&m, key));
	}
	assert_int_equal(m.count, 500);
	map_each (&m, it)
		assert_int_equal((uintptr_t)it->value, 2 * seen++ + 2);
	assert_int_equal(seen, 500);
	assert_ptr_equal(map_put(&m, "k1", (void *)9), (void *)2);
}

static void text_is_cut_and_joined(void **state)
{
	struct str rest = STR("a,b,,c"), head;
	auto_strbuf struct strbuf b = {0};

	(void)state;
	while (str_cut(&rest, ',', &head))
		strbuf_printf(&b, "[%.*s]", (int)head.n, head.p);
	assert_string_equal(strbuf_text(&b), "[a][b][][c]");
	strbuf_drop_front(&b, 3);
	assert_string_equal(strbuf_text(&b), "[b][][c]");
	assert_true(str_is(str_trim(STR("  x \n")), "x"));
}

static void arena_gives_zeroed_aligned_pieces(void **state)
{
	auto_arena struct arena a = {0};

	(void)state;
	for (size_t n = 1; n < 9000; n = n * 3 + 1) {
		char *p = arena_new_bytes(&a, n);

		assert_int_equal((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, n);
	}
	assert_string_equal(arena_printf(&a, "%d-%s", 4, "x"), "4-x");
}

static void cursor_stays_inside(void **state)
{
	struct cursor c = cursor_of("\x01\x02\x03", 3);

	(void)state;
	assert_int_equal(cursor_be16(&c), 0x0102);
	assert_int_equal(cursor_be16(&c), 0);
	assert_true(c.bad);
	assert_int_equal(cursor_u8(&c), 0);
}

struct item {
	int n;
	struct list link;
};

static void list_allows_removal_while_walking(void **state)
{
	struct list head;
	struct item items[4] = {{0}, {1}, {2}, {3}};
	int sum = 0;

	(void)state;
	list_init(&head);
	for (size_t i = 0; i < 4; i++)
		list_append(&head, &items[i].link);
	list_each (&head, struct item, link, it) {
		sum += it->n;
		list_remove(&it->link);
	}
	assert_int_equal(sum, 6);
	assert_true(list_empty(&head));
}

struct args {
	bool detach, tty;
	const char *name;
	char **env;
	int64_t memory;
};

static const struct option_row rows[] = {
	{'d', "detach", OPTION_FLAG, offsetof(struct args, detach), NULL, "run in the background"},
	{'t', "tty", OPTION_FLAG, offsetof(struct args, tty), NULL, "give it a terminal"},
	{'n', "name", OPTION_TEXT, offsetof(struct args, name), "NAME", "name it"},
	{'e', "env", OPTION_TEXTS, offsetof(struct args, env), "K=V", "set a variable"},
	{'m', "memory", OPTION_SIZE, offsetof(struct args, memory), "BYTES", "limit memory"},
};

static void options_are_read_from_a_table(void **state)
{
	char *argv[] = {"run",	 "-dt", "--name=x", "img", "-e", "A=1",
			"-eB=2", "-m",	"1k",	    "--",  "-z"};
	struct args a = {0};
	struct err e = {0};
	int first = 0;

	(void)state;
	assert_int_equal(options_parse(rows, array_len(rows), &a, 11, argv, false, &first, &e), 0);
	assert_true(a.detach && a.tty);
	assert_string_equal(a.name, "x");
	assert_string_equal(a.env[1], "B=2");
	assert_int_equal(a.memory, 1024);
	assert_string_equal(argv[first], "img");
	assert_string_equal(argv[first + 1], "-z");
	assert_int_equal(first, 9);
	options_free(rows, array_len(rows), &a);
	assert_null(a.env);
}

static void unknown_options_name_the_closest(void **state)
{
	char *argv[] = {"run", "--nmae", "x"};
	struct args a = {0};
	struct err e = {0};
	int first = 0;

	(void)state;
	assert_true(options_parse(rows, array_len(rows), &a, 3, argv, true, &first, &e) < 0);
	assert_string_equal(e.text, "unknown option '--nmae'; did you mean '--name'?");
	argv[1] = "--name";
	assert_true(options_parse(rows, array_len(rows), &a, 2, argv, true, &first, &e) < 0);
	assert_string_equal(e.text, "option '--name' needs a value: --name NAME");
}

static void moments_go_both_ways(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} moments[] = {
		{"2023-11-14T22:13:20Z", 1700000000000000000},
		{"2024-02-29T23:59:59.5Z", 1709251199500000000},
		{"1969-12-31T23:59:59.999999999Z", -1},
	};
	char text[RFC3339_CHARS + 1];
	struct err e = {0};
	int64_t ns = 0;

	(void)state;
	for (size_t i = 0; i < array_len(moments); i++) {
		assert_string_equal(rfc3339_text(moments[i].ns, text), moments[i].text);
		assert_int_equal(rfc3339_parse(moments[i].text, &ns, &e), 0);
		assert_true(ns == moments[i].ns);
	}
	assert_string_equal(rfc3339_text_padded(moments[0].ns, text),
			    "2023-11-14T22:13:20.000000000Z");
	assert_string_equal(rfc3339_text(0, text), "0001-01-01T00:00:00Z");
	assert_int_equal(rfc3339_parse("2023-11-15T00:13:20+02:00", &ns, &e), 0);
	assert_true(ns == moments[0].ns);
	assert_true(rfc3339_parse("2023-13-15T00:13:20Z", &ns, &e) < 0);
	assert_true(rfc3339_parse("2023-11-15T00:13:20", &ns, &e) < 0);
	assert_true(rfc3339_parse("2023-11-15T00:13:20Z ", &ns, &e) < 0);
}

static void test_utf8(void **state)
{
	static const char *const texts[] = {
		"", "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"};
	static const char *const others[] = {"\x80",
					     "\xc3",
					     "\xc0\x80",
					     "\xe2\x82",
					     "\xed\xa0\x80",
					     "\xf4\x90\x80\x80",
					     "\xf0\x80\x80\x80",
					     "\xff",
					     "a\xc3z"};

	(void)state;
	for (size_t i = 0; i < array_len(texts); i++)
		assert_true(utf8_is(str_of(texts[i])));
	for (size_t i = 0; i < array_len(others); i++)
		assert_false(utf8_is(str_of(others[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(error_is_wrapped_outside_in),
		cmocka_unit_test(numbers_are_strict),
		cmocka_unit_test(sizes_and_durations),
		cmocka_unit_test(map_keeps_order_and_survives_removal),
		cmocka_unit_test(text_is_cut_and_joined),
		cmocka_unit_test(arena_gives_zeroed_aligned_pieces),
		cmocka_unit_test(cursor_stays_inside),
		cmocka_unit_test(moments_go_both_ways),
		cmocka_unit_test(list_allows_removal_while_walking),
		cmocka_unit_test(options_are_read_from_a_table),
		cmocka_unit_test(unknown_options_name_the_closest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
