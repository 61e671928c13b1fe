/*
 * Tables: ages, the words of a pod's status, and a whole Table as kubectl reads it. Every column of
 * every kind is filled from an empty object: none may need what is not there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/objects/table.h"
#include "ground/base/mem.h"

#define S INT64_C(1000000000)

static void test_ages(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} cases[] = {
		{0, "0s"},
		{119, "119s"},
		{120, "2m"},
		{123, "2m3s"},
		{600, "10m"},
		{3 * 3600, "3h"},
		{3 * 3600 + 60, "3h1m"},
		{8 * 3600, "8h"},
		{2 * 86400, "2d"},
		{5 * 86400 + 7200, "5d2h"},
		{9 * 86400, "9d"},
		{-5, "<invalid>"},
		{800LL * 86400, "2y70d"},
	};
	char text[TABLE_AGE_CHARS];

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++)
		assert_string_equal(table_age(cases[i].seconds * S, text), cases[i].text);
}

static struct json *row_of(const char *text, const char *kind)
{
	auto_json struct json *object = NULL, *table = NULL;
	struct table_how how = {"meta.k8s.io/v1", TABLE_OBJECT_METADATA, false, 1700000000 * S};
	const struct kind *k = kind_of_word(kind);
	struct json *row;

	assert_int_equal(json_parse(str_of(text), "object", &object, NULL), 0);
	table = table_new(k, &how);
	table_add(table, k, object, &how);
	row = json_at(json_get(table, "rows"), 0);
	assert_int_equal(json_len(json_get(row, "cells")),
			 json_len(json_get(table, "columnDefinitions")));
	return json_ref(json_get(row, "cells"));
}

#define STATUS(text)                                                                  \
	"{\"spec\":{\"containers\":[{\"name\":\"c\"}],\"initContainers\":[{\"name\":" \
	"\"i\"}]},\"status\":{\"phase\":\"Pending\"," text "}}"

static void test_pod_status(void **state)
{
	static const char *const cases[][3] = {
		{STATUS("\"containerStatuses\":[{\"state\":{\"waiting\":{\"reason\":"
			"\"CrashLoopBackOff\"}},\"restartCount\":3,\"lastState\":{\"terminated\":{"
			"\"finishedAt\":\"2023-11-14T22:12:20Z\"}}}]"),
		 "CrashLoopBackOff", "3 (60s ago)"},
		{STATUS("\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"running\":{}}}]"),
		 "Init:0/1", "0"},
		{STATUS("\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"terminated\":{"
			"\"exitCode\":2}}}]"),
		 "Init:ExitCode:2", "0"},
		{STATUS("\"containerStatuses\":[{\"state\":{\"terminated\":{\"reason\":"
			"\"Completed\"}}}]"),
		 "Completed", "0"},
		{"{\"metadata\":{\"deletionTimestamp\":\"2023-11-14T22:12:20Z\"},\"status\":{"
		 "\"phase\":\"Running\"}}",
		 "Terminating", "0"},
		{"{\"status\":{\"phase\":\"Failed\",\"reason\":\"Evicted\"}}", "Evicted", "0"},
		{"{\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"ready\":true,"
		 "\"state\":{\"running\":{}}}]}}",
		 "Running", "0"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		auto_json struct json *cells = row_of(cases[i][0], "pod");

		assert_string_equal(json_text(json_at(cells, 2)), cases[i][1]);
		assert_string_equal(json_text(json_at(cells, 3)), cases[i][2]);
	}
}

static void test_rows(void **state)
{
	static const char *const cases[][3] = {
		{"deployment",
		 "{\"metadata\":{\"name\":\"d\",\"creationTimestamp\":\"2023-11-14T22:12:20Z\"},"
		 "\"spec\":{\"replicas\":3,\"selector\":{\"matchLabels\":{\"a\":\"b\"}},"
		 "\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}},"
		 "\"status\":{\"readyReplicas\":2,\"updatedReplicas\":3}}",
		 "[\"d\",\"2/3\",3,0,\"60s\",\"c\",\"i\",\"a=b\"]"},
		{"service",
		 "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"type\":\"LoadBalancer\",\"clusterIP\":"
		 "\"10.0.0.1\",\"ports\":[{\"port\":80,\"nodePort\":30080,\"protocol\":\"TCP\"}]}}",
		 "[\"s\",\"LoadBalancer\",\"10.0.0.1\",\"<pending>\",\"80:30080/"
		 "TCP\",\"<unknown>\","
		 "\"<none>\"]"},
		{"configmap", "{\"metadata\":{\"name\":\"m\"},\"data\":{\"a\":\"b\"}}",
		 "[\"m\",\"1\",\"<unknown>\"]"},
		{"replicaset", "{\"metadata\":{\"name\":\"r\"},\"spec\":{\"replicas\":2}}",
		 "[\"r\",2,0,0,\"<unknown>\",\"<none>\",\"<none>\",\"<none>\"]"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		auto_json struct json *cells = row_of(cases[i][1], cases[i][0]);
		auto_strbuf struct strbuf b = {0};

		json_write(cells, &b);
		assert_string_equal(strbuf_text(&b), cases[i][2]);
	}
}

static void test_all_kinds(void **state)
{
	struct table_how how = {"meta.k8s.io/v1", TABLE_OBJECT_NONE, true, 0};
	const struct kind *k;

	(void)state;
	for (size_t i = 0; (k = kind_at(i)); i++) {
		auto_json struct json *table = table_new(k, &how);
		auto_json struct json *object = json_new_object();

		table_add(table, k, object, &how);
		assert_int_equal(json_len(json_get(table, "columnDefinitions")), 0);
		assert_int_equal(json_len(json_get(table, "rows")), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_pod_status),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_all_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
