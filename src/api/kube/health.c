/*
 * Pages about the server itself: its version, its health, its counters; and which pages anybody may
 * see.
 */
#include <assert.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define LEVEL_MINOR "33"
#define LEVEL	    "v1.33.0"

static void version_page(struct kube_request *r)
{
	const char *const rows[][2] = {
		{"major", "1"},
		{"minor", LEVEL_MINOR},
		{"gitVersion", LEVEL "+hull"},
		{"gitCommit", r->kube->o.version},
		{"gitTreeState", "clean"},
		{"buildDate", "1970-01-01T00:00:00Z"},
		{"goVersion", "none"},
		{"compiler", "gcc"},
		{"platform", "linux/amd64"},
	};
	struct json *j = json_new_object();

	for (size_t i = 0; i < array_len(rows); i++)
		json_set_text(j, rows[i][0], rows[i][1]);
	answer_json(r, 200, j);
}

static void ready_page(struct kube_request *r, const char *path)
{
	bool ready = r->kube->ready || text_starts(path, "/livez");
	auto_strbuf struct strbuf out = {0};

	if (http_request_query(r->http, "verbose") || !ready)
		strbuf_printf(&out, "[+]ping ok\n[+]store ok\n[%s]bootstrap %s\n%s check %s",
			      r->kube->ready ? "+" : "-", r->kube->ready ? "ok" : "not finished",
			      path + 1, ready ? "passed" : "failed");
	else
		strbuf_add_text(&out, "ok");
	answer_text(r, ready ? 200 : 500, "text/plain; charset=utf-8", strbuf_str(&out));
}

static size_t count(const struct list *l)
{
	size_t n = 0;

	for (const struct list *at = l->next; at != l; at = at->next)
		n++;
	return n;
}

static void metrics_page(struct kube_request *r)
{
	struct loop_stats s = loop_stats(r->kube->loop);
	auto_strbuf struct strbuf out = {0};

	strbuf_printf(
		&out,
		"# TYPE hull_api_requests_total counter\nhull_api_requests_total %llu\n"
		"# TYPE hull_api_errors_total counter\nhull_api_errors_total %llu\n"
		"# TYPE hull_api_watches gauge\nhull_api_watches %zu\n"
		"# TYPE hull_loop_turns_total counter\nhull_loop_turns_total %llu\n"
		"# TYPE hull_loop_slow_calls_total counter\nhull_loop_slow_calls_total %llu\n",
		(unsigned long long)r->kube->served, (unsigned long long)r->kube->failed,
		count(&r->kube->watches), (unsigned long long)s.turns, (unsigned long long)s.slow);
	answer_text(r, 200, "text/plain; version=0.0.4", strbuf_str(&out));
}

bool page_is_open(const char *path)
{
	return text_eq(path, "/version") || text_starts(path, "/healthz") ||
	       text_starts(path, "/livez") || text_starts(path, "/readyz");
}

bool health_page(struct kube_request *r, const char *path)
{
	if (text_eq(path, "/version"))
		version_page(r);
	else if (page_is_open(path))
		ready_page(r, path);
	else if (text_eq(path, "/metrics"))
		metrics_page(r);
	else
		return false;
	return true;
}

static void root_page(struct kube_request *r)
{
	static const char *const paths[] = {"/api",	   "/apis",    "/healthz",
					    "/livez",	   "/metrics", "/openapi/v2",
					    "/openapi/v3", "/readyz",  "/version"};
	struct json *j = json_new_object(), *list = json_new_array();

	for (size_t i = 0; i < array_len(paths); i++)
		json_append(list, json_new_text(paths[i]));
	json_set(j, "paths", list);
	answer_json(r, 200, j);
}

bool page_run(struct kube_request *r, const char *path)
{
	if (text_eq(path, "/")) {
		root_page(r);
		return true;
	}
	return health_page(r, path) || discovery_page(r, path) || documents_page(r, path);
}
