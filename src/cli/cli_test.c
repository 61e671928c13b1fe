/* Unit tests of the command line: requests from options, words, references. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/request.h"
#include "cli/words.h"
#include "ground/base/mem.h"

static struct json *made(const struct run_options *o)
{
	char *const command[] = {"echo", "hi", NULL};
	struct json *j = NULL;
	struct err e = {0};

	if (request_make(o, "busybox", command, &j, &e) < 0)
		fail_msg("%s", e.text);
	return j;
}

static void ports_become_bindings(void **state)
{
	char *publish[] = {"8080:80", "127.0.0.1:53:53/udp", "[::1]:9000-9001:90-91", "7", NULL};
	const struct run_options o = {.publish = publish};
	auto_json struct json *j = made(&o);
	const struct json *b = json_get(json_get(j, "HostConfig"), "PortBindings");

	(void)state;
	assert_string_equal(json_get_text(json_at(json_get(b, "80/tcp"), 0), "HostPort"), "8080");
	assert_string_equal(json_get_text(json_at(json_get(b, "53/udp"), 0), "HostIp"),
			    "127.0.0.1");
	assert_string_equal(json_get_text(json_at(json_get(b, "91/tcp"), 0), "HostPort"), "9001");
	assert_string_equal(json_get_text(json_at(json_get(b, "91/tcp"), 0), "HostIp"), "::1");
	assert_string_equal(json_get_text(json_at(json_get(b, "7/tcp"), 0), "HostPort"), "");
	assert_non_null(json_get(json_get(j, "ExposedPorts"), "53/udp"));
}

static void assert_refused(const struct run_options *o, const char *message)
{
	struct json *j = NULL;
	struct err e = {0};

	assert_true(request_make(o, "x", NULL, &j, &e) < 0);
	assert_string_equal(e.text, message);
}

static void bad_options_are_named(void **state)
{
	char *range[] = {"80-82:90-91", NULL}, *port[] = {"70000:1", NULL},
	     *limit[] = {"nofile", NULL};

	(void)state;
	assert_refused(&(struct run_options){.publish = range},
		       "option --publish '80-82:90-91': the two ranges have different lengths");
	assert_refused(
		&(struct run_options){.publish = port},
		"option --publish '70000:1': invalid port '70000': ports go from 0 to 65535");
	assert_refused(&(struct run_options){.ulimit = limit},
		       "option --ulimit 'nofile': say NAME=SOFT[:HARD]");
	assert_refused(&(struct run_options){.cpus = "two"},
		       "option --cpus 'two': say a number, as in 1.5");
}

static void options_become_members(void **state)
{
	char *env[] = {"A=1", "SURELY_NOT_SET_HERE", NULL}, *label[] = {"k=v", "flag", NULL};
	const struct run_options o = {.env = env,
				      .label = label,
				      .cpus = "1.5",
				      .memory = 1 << 20,
				      .restart = "on-failure:3",
				      .network = "web",
				      .entrypoint = "/bin/sh"};
	auto_json struct json *j = made(&o);
	const struct json *host = json_get(j, "HostConfig");

	(void)state;
	assert_int_equal(json_len(json_get(j, "Env")), 1);
	assert_string_equal(json_get_text(json_get(j, "Labels"), "flag"), "");
	assert_true(json_get_i64(host, "NanoCpus", 0) == 1500000000);
	assert_int_equal(json_get_i64(host, "Memory", 0), 1 << 20);
	assert_int_equal(json_get_i64(json_get(host, "RestartPolicy"), "MaximumRetryCount", 0), 3);
	assert_non_null(
		json_get(json_get(json_get(j, "NetworkingConfig"), "EndpointsConfig"), "web"));
	assert_string_equal(json_text(json_at(json_get(j, "Cmd"), 1)), "hi");
}

static void numbers_are_said_in_words(void **state)
{
	static const struct {
		int64_t n;
		const char *text;
	} rows[] = {{0, "0B"}, {999, "999B"}, {4200000, "4.20MB"}, {123456789, "123MB"}};

	(void)state;
	for (size_t i = 0; i < array_len(rows); i++) {
		auto_free char *text = words_bytes(rows[i].n);

		assert_string_equal(text, rows[i].text);
	}
	auto_free char *age = words_ago(100, 100 + 7260);

	assert_string_equal(age, "2 hours ago");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_become_bindings),
		cmocka_unit_test(bad_options_are_named),
		cmocka_unit_test(options_become_members),
		cmocka_unit_test(numbers_are_said_in_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
