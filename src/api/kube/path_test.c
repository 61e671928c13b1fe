/*
 * Paths: what they name, as rows. The verb is given, so that no request is needed to ask.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/kube/kube_priv.h"

static void read_one(const char *path, const char *want)
{
	struct kube_request r = {.verb = "given"};
	bool is = path_read(&r, path);
	char found[512];

	if (!is)
		(void)snprintf(found, sizeof(found), "none");
	else
		(void)snprintf(found, sizeof(found), "%s|%s|%s|%s|%s|%s|%s|%s%s", r.group,
			       r.version, r.namespace, r.resource, r.name, r.sub ? r.sub : "-",
			       r.rest ? r.rest : "-", r.kind ? r.kind->name : "-",
			       text_eq(r.verb, "watch") ? "|watch" : "");
	assert_string_equal(found, want);
	arena_done(&r.arena);
}

static void test_paths(void **state)
{
	static const char *const rows[][2] = {
		{"/api/v1/pods", "|v1||pods||-|-|Pod"},
		{"/api/v1/namespaces/a/pods", "|v1|a|pods||-|-|Pod"},
		{"/api/v1/namespaces/a/pods/b", "|v1|a|pods|b|-|-|Pod"},
		{"/api/v1/namespaces/a/pods/b/log", "|v1|a|pods|b|log|-|Pod"},
		{"/api/v1/namespaces/a/pods/b/proxy/x/y", "|v1|a|pods|b|proxy|x/y|Pod"},
		{"/api/v1/namespaces", "|v1||namespaces||-|-|Namespace"},
		{"/api/v1/namespaces/a", "|v1||namespaces|a|-|-|Namespace"},
		{"/api/v1/namespaces/a/status", "|v1||namespaces|a|status|-|Namespace"},
		{"/api/v1/namespaces/a/finalize", "|v1||namespaces|a|finalize|-|Namespace"},
		{"/api/v1/nodes/n", "|v1||nodes|n|-|-|Node"},
		{"/apis/apps/v1/deployments", "apps|v1||deployments||-|-|Deployment"},
		{"/apis/apps/v1/namespaces/a/deployments/d/scale",
		 "apps|v1|a|deployments|d|scale|-|Deployment"},
		{"/apis/metrics.k8s.io/v1beta1/nodes",
		 "metrics.k8s.io|v1beta1||nodes||-|-|NodeMetrics"},
		{"/api/v1/watch/namespaces/a/pods", "|v1|a|pods||-|-|Pod|watch"},
		{"/api/v1/nothing", "|v1||nothing||-|-|-"},
		{"/apis/nobody/v1/things/x", "nobody|v1||things|x|-|-|-"},
		{"/api", "none"},
		{"/api/v1", "none"},
		{"/apis/apps", "none"},
		{"/apis/apps/v1", "none"},
		{"/version", "none"},
		{"/", "none"},
		{"", "none"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(rows); i++)
		read_one(rows[i][0], rows[i][1]);
}

static void test_reasons(void **state)
{
	(void)state;
	assert_string_equal(status_reason(404, ERR_NOT_FOUND), "NotFound");
	assert_string_equal(status_reason(409, ERR_EXISTS), "AlreadyExists");
	assert_string_equal(status_reason(409, ERR_CONFLICT), "Conflict");
	assert_string_equal(status_reason(410, ERR_GONE), "Expired");
	assert_string_equal(status_reason(422, ERR_INVALID), "Invalid");
	assert_string_equal(status_reason(299, ERR_INVALID), "");
}

static void test_status(void **state)
{
	struct kube_request r = {.name = "", .group = "apps", .resource = "deployments"};
	auto_strbuf struct strbuf out = {0};
	struct json *j;

	(void)state;
	r.body_name = "web";
	j = status_of(&r, 409, "AlreadyExists", "deployments.apps \"web\" already exists", NULL);
	json_write(j, &out);
	(void)json_free(j);
	assert_string_equal(strbuf_text(&out),
			    "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
			    "\"status\":\"Failure\",\"message\":\"deployments.apps \\\"web\\\" "
			    "already exists\",\"reason\":\"AlreadyExists\",\"details\":{\"name\":"
			    "\"web\",\"group\":\"apps\",\"kind\":\"deployments\"},\"code\":409}");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
