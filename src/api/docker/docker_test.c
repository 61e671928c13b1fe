/*
 * What can be said without an engine: routes and versions, times and durations, shapes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

static void first(struct call *c)
{
	(void)c;
}

static void second(struct call *c)
{
	(void)c;
}

static const struct route table[] = {
	{"GET", "/images/json", first, BODY_NONE},
	{"GET", "/images/{*}/json", second, BODY_NONE},
	{"DELETE", "/images/{*}", first, BODY_NONE},
	{"GET", "/containers/{}/json", first, BODY_NONE},
	{"*", "/swarm/{*}", second, BODY_NONE},
};

static void test_routes(void **state)
{
	static const struct {
		const char *method, *path;
		int row; /* -1: none */
		const char *param;
	} cases[] = {
		{"GET", "/images/json", 0, NULL},
		{"GET", "/images/host:5000/a/b:c/json", 1, "host:5000/a/b:c"},
		{"GET", "/images/json/json", 1, "json"},
		{"GET", "/images//json", -1, NULL},
		{"DELETE", "/images/a/b@sha256:00", 2, "a/b@sha256:00"},
		{"DELETE", "/images/", -1, NULL},
		{"GET", "/containers/x/json", 3, "x"},
		{"GET", "/containers/x/y/json", -1, NULL},
		{"GET", "/containers//json", -1, NULL},
		{"GET", "/containers/x/jso", -1, NULL},
		{"GET", "/containers/x/jsonx", -1, NULL},
		{"POST", "/containers/x/json", -1, NULL},
		{"PUT", "/swarm/init", 4, "init"},
		{"GET", "", -1, NULL},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		auto_arena struct arena a = {0};
		const char *params[ROUTE_PARAMS_MAX] = {0};
		const struct route *r = route_find(table, array_len(table), cases[i].method,
						   cases[i].path, &a, params);

		assert_ptr_equal(r, cases[i].row < 0 ? NULL : &table[cases[i].row]);
		if (r && cases[i].param)
			assert_string_equal(params[0], cases[i].param);
		else if (r)
			assert_null(params[0]);
	}
}

static void test_every_route_can_be_reached(void **state)
{
	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		auto_arena struct arena a = {0};
		auto_strbuf struct strbuf path = {0};
		const char *params[ROUTE_PARAMS_MAX];

		for (const char *p = routes[i].pattern; *p; p++) {
			if (*p == '{')
				strbuf_add_text(&path, "name");
			p += strspn(p, "{*}");
			if (*p)
				strbuf_add_char(&path, *p);
			else
				break;
		}
		assert_ptr_equal(route_find(routes, routes_n, routes[i].method, strbuf_text(&path),
					    &a, params),
				 &routes[i]);
	}
}

static void test_versions(void **state)
{
	static const struct {
		const char *path, *rest;
		unsigned minor;
		const char *why; /* NULL: accepted */
	} cases[] = {
		{"/v1.41/info", "/info", 41, NULL},
		{"/v1.24/info", "/info", 24, NULL},
		{"/info", "/info", 51, NULL},
		{"/version", "/version", 51, NULL},
		{"/volumes/v1.2/x", "/volumes/v1.2/x", 51, NULL},
		{"/v1.23/info", "/v1.23/info", 51, "client version 1.23 is too old."},
		{"/v1.99/info", "/v1.99/info", 51, "client version 1.99 is too new."},
		{"/v2.0/info", "/v2.0/info", 51, "client version 2.0 is too new."},
		{"/v1.4x/info", "/v1.4x/info", 51, NULL},
		{"/v1.99999999999/info", "/v1.99999999999/info", 51, NULL},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		const char *path = cases[i].path;
		unsigned minor = 0;
		struct err e = {0};
		int r = route_version(&path, &minor, &e);

		assert_int_equal(r, cases[i].why ? -ERR_INVALID : 0);
		assert_string_equal(path, cases[i].rest);
		assert_int_equal(minor, cases[i].minor);
		if (cases[i].why)
			assert_true(text_starts(e.text, cases[i].why));
	}
}

static void test_times_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
		bool bad;
	} cases[] = {
		{"1136073600", 1136073600000000000, false},
		{"1136073600.5", 1136073600500000000, false},
		{"1136073600.000000001", 1136073600000000001, false},
		{"2006-01-02T15:04:05.25Z", 1136214245250000000, false},
		{"2006-01-02T15:04:05+01:00", 1136210645000000000, false},
		{"", 0, true},
		{"yesterday", 0, true},
		{"1.2.3", 0, true},
		{"99999999999999999999", 0, true},
		{"2006-01-02T15:04:05+1", 0, true},
		{"2006-01-02T15:04:05 ", 0, true},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		int64_t ns = 0;
		int r = param_parse_time(str_of(cases[i].text), &ns, NULL);

		assert_int_equal(r < 0, cases[i].bad);
		if (!cases[i].bad)
			assert_int_equal(ns, cases[i].ns);
	}
}

static void test_times_of_logs(void **state)
{
	auto_strbuf struct strbuf b = {0};

	(void)state;
	shape_log_time(&b, 1136214245250000000);
	assert_string_equal(strbuf_text(&b), "2006-01-02T15:04:05.250000000Z ");
}

static void test_durations(void **state)
{
	static const struct {
		int64_t s;
		const char *text;
	} cases[] = {
		{0, "Less than a second"}, {1, "1 second"},	     {59, "59 seconds"},
		{60, "About a minute"},	   {119, "About a minute"},  {120, "2 minutes"},
		{3599, "59 minutes"},	   {3600, "About an hour"},  {7200, "2 hours"},
		{47 * 3600, "47 hours"},   {48 * 3600, "2 days"},    {15 * 86400, "2 weeks"},
		{90 * 86400, "3 months"},  {800 * 86400, "2 years"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		auto_strbuf struct strbuf b = {0};

		shape_duration(&b, cases[i].s * 1000000000);
		assert_string_equal(strbuf_text(&b), cases[i].text);
	}
}

static void test_ports_shape(void **state)
{
	static const struct port_view ports[] = {
		{80, "tcp", "0.0.0.0", 8080},
		{80, "tcp", "::", 8080},
		{53, "udp", "", 0},
	};
	const struct container_view v = {.ports = ports, .ports_n = array_len(ports)};
	auto_json struct json *j = shape_ports(&v);
	auto_strbuf struct strbuf b = {0};

	(void)state;
	json_write(j, &b);
	assert_string_equal(strbuf_text(&b),
			    "{\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"8080\"},"
			    "{\"HostIp\":\"::\",\"HostPort\":\"8080\"}],\"53/udp\":null}");
}

static void test_event_shape(void **state)
{
	static const struct json_pair attributes[] = {{"image", "i"}, {"name", "n"}, {NULL, NULL}};
	const struct event v = {.type = "container",
				.action = "start",
				.actor_id = "abc",
				.attributes = attributes,
				.time_ns = 1500000000};
	auto_json struct json *j = shape_event(&v);
	auto_strbuf struct strbuf b = {0};

	(void)state;
	json_write(j, &b);
	assert_string_equal(
		strbuf_text(&b),
		"{\"status\":\"start\",\"id\":\"abc\",\"from\":\"i\",\"Type\":\"container\","
		"\"Action\":\"start\",\"Actor\":{\"ID\":\"abc\",\"Attributes\":"
		"{\"image\":\"i\",\"name\":\"n\"}},\"scope\":\"local\",\"time\":1,"
		"\"timeNano\":1500000000}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_every_route_can_be_reached),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_times_are_read),
		cmocka_unit_test(test_times_of_logs),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_ports_shape),
		cmocka_unit_test(test_event_shape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
