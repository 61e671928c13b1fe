/*
 * Roles: who may do what, with roles and bindings in a real store below.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/direct.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys.h"
#include "ground/wire/loop.h"

struct place {
	char dir[64], path[96];
	struct loop *loop;
	struct keys *keys;
	struct objects *objects;
	struct kube kube;
	struct err error;
};

static const char *const objects[][3] = {
	{"namespaces", NULL, "{\"metadata\":{\"name\":\"a\"}}"},
	{"namespaces", NULL, "{\"metadata\":{\"name\":\"b\"}}"},
	{"clusterroles", NULL,
	 "{\"metadata\":{\"name\":\"all\"},\"rules\":[{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],"
	 "\"verbs\":[\"*\"]}]}"},
	{"clusterroles", NULL,
	 "{\"metadata\":{\"name\":\"reader\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":["
	 "\"pods\",\"pods/log\"],\"verbs\":[\"get\",\"list\"]},{\"nonResourceURLs\":[\"/logs\","
	 "\"/logs/*\"],\"verbs\":[\"get\"]}]}"},
	{"clusterroles", NULL,
	 "{\"metadata\":{\"name\":\"gathered\"},\"aggregationRule\":{\"clusterRoleSelectors\":[{"
	 "\"matchLabels\":{\"into\":\"gathered\"}}]},\"rules\":[]}"},
	{"clusterroles", NULL,
	 "{\"metadata\":{\"name\":\"part\",\"labels\":{\"into\":\"gathered\"}},\"rules\":[{"
	 "\"apiGroups\":[\"apps\"],\"resources\":[\"*/scale\"],\"verbs\":[\"patch\"]}]}"},
	{"roles", "a",
	 "{\"metadata\":{\"name\":\"one\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":["
	 "\"secrets\"],\"resourceNames\":[\"s\"],\"verbs\":[\"get\"]}]}"},
	{"clusterrolebindings", NULL,
	 "{\"metadata\":{\"name\":\"g\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\","
	 "\"kind\":\"ClusterRole\",\"name\":\"reader\"},\"subjects\":[{\"kind\":\"Group\","
	 "\"apiGroup\":\"rbac.authorization.k8s.io\",\"name\":\"readers\"}]}"},
	{"clusterrolebindings", NULL,
	 "{\"metadata\":{\"name\":\"s\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\","
	 "\"kind\":\"ClusterRole\",\"name\":\"gathered\"},\"subjects\":[{\"kind\":"
	 "\"ServiceAccount\",\"name\":\"robot\",\"namespace\":\"a\"}]}"},
	{"rolebindings", "a",
	 "{\"metadata\":{\"name\":\"x\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\","
	 "\"kind\":\"Role\",\"name\":\"one\"},\"subjects\":[{\"kind\":\"User\",\"apiGroup\":"
	 "\"rbac.authorization.k8s.io\",\"name\":\"joe\"}]}"},
	{"rolebindings", "a",
	 "{\"metadata\":{\"name\":\"y\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\","
	 "\"kind\":\"ClusterRole\",\"name\":\"all\"},\"subjects\":[{\"kind\":\"User\","
	 "\"apiGroup\":\"rbac.authorization.k8s.io\",\"name\":\"chief\"}]}"},
};

static struct json *read_json(const char *text)
{
	struct json *j = NULL;
	struct err e;

	if (json_parse(str_of(text), "test", &j, &e) < 0)
		fail_msg("%s", e.text);
	return j;
}

static void ended(void *ctx, const struct outcome *o)
{
	struct place *p = ctx;

	p->error = o->error ? *o->error : (struct err){0};
	loop_stop(p->loop);
}

static void create(struct place *p, const char *resource, const char *namespace, const char *text)
{
	const struct kind *k = kind_of_word(resource);

	assert_non_null(k);
	client_create(&p->kube.client, &(struct client_target){k->stored, namespace},
		      read_json(text), NULL, ended, p);
	loop_run(p->loop);
	if (p->error.kind)
		fail_msg("%s", p->error.text);
}

static int setup(void **state)
{
	struct place *p = mem_new(struct place);
	struct keys_options o = {.index = objects_index, .index_free = objects_index_free};
	struct objects_options oo = {.service_cidr = "10.96.0.0/24"};
	struct err e;

	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/rbac-test-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/db", p->dir);
	assert_int_equal(loop_new(&p->loop, &e), 0);
	o.loop = oo.loop = p->loop;
	o.path = p->path;
	assert_int_equal(keys_open(&o, &p->keys, &e), 0);
	oo.keys = p->keys;
	assert_int_equal(objects_new(&oo, &p->objects, &e), 0);
	p->kube.magic = KUBE_MAGIC;
	p->kube.client = objects_client(p->objects, (struct identity){.user = "tester"});
	p->kube.rbac = rbac_new(&p->kube);
	for (size_t i = 0; i < array_len(objects); i++)
		create(p, objects[i][0], objects[i][1], objects[i][2]);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	static const char *const ends[] = {"", "-wal", "-shm"};

	p->kube.rbac = rbac_free(p->kube.rbac);
	p->objects = objects_free(p->objects);
	p->keys = keys_close(p->keys);
	p->loop = loop_free(p->loop);
	for (size_t i = 0; i < array_len(ends); i++) {
		auto_free char *file = mem_printf("%s%s", p->path, ends[i]);

		(void)unlink(file);
	}
	(void)rmdir(p->dir);
	free(p);
	return 0;
}

static const char *const nobody[] = {"system:authenticated", NULL};
static const char *const readers[] = {"readers", NULL};
static const char *const masters[] = {"system:masters", NULL};
static const struct identity joe = {.user = "joe", .groups = nobody},
			     reader = {.user = "r", .groups = readers},
			     master = {.user = "m", .groups = masters}, chief = {.user = "chief"},
			     robot = {.user = "system:serviceaccount:a:robot"};

static void test_rows(void **state)
{
	const struct place *p = *state;
	static const struct {
		bool yes;
		struct attributes ask;
	} rows[] = {
		{true, {&master, "delete", "apps", "deployments", NULL, "b", "x"}},
		{true, {&master, "get", .path = "/any"}},
		{true, {&reader, "get", "", "pods", NULL, "a", "x"}},
		{true, {&reader, "list", "", "pods", NULL, "", ""}},
		{true, {&reader, "get", "", "pods", "log", "b", "x"}},
		{false, {&reader, "get", "", "pods", "exec", "b", "x"}},
		{false, {&reader, "delete", "", "pods", NULL, "a", "x"}},
		{false, {&reader, "get", "metrics.k8s.io", "pods", NULL, "a", "x"}},
		{true, {&reader, "get", .path = "/logs"}},
		{true, {&reader, "get", .path = "/logs/x"}},
		{false, {&reader, "post", .path = "/logs/x"}},
		{false, {&reader, "get", .path = "/log"}},
		{true, {&joe, "get", "", "secrets", NULL, "a", "s"}},
		{false, {&joe, "get", "", "secrets", NULL, "a", "t"}},
		{false, {&joe, "list", "", "secrets", NULL, "a", ""}},
		{false, {&joe, "get", "", "secrets", NULL, "b", "s"}},
		{true, {&robot, "patch", "apps", "deployments", "scale", "b", "d"}},
		{false, {&robot, "patch", "apps", "deployments", NULL, "b", "d"}},
		{true, {&chief, "delete", "apps", "deployments", NULL, "a", "d"}},
		{false, {&chief, "delete", "apps", "deployments", NULL, "b", "d"}},
		{false, {&chief, "get", "", "nodes", NULL, "", "n"}},
		{false, {&chief, "get", .path = "/logs"}},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_strbuf struct strbuf why = {0};

		if (rbac_allows(p->kube.rbac, &rows[i].ask, &why) != rows[i].yes)
			fail_msg("row %zu: %s is %d", i, rows[i].ask.who->user, !rows[i].yes);
	}
}

/* What somebody may give to others. */
static void test_covers(void **state)
{
	const struct place *p = *state;
	static const struct {
		const struct identity *who;
		const char *namespace, *rules, *missing;
	} rows[] = {
		{&reader, "a",
		 "[{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"get\"]}]", ""},
		{&reader, "a",
		 "[{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"resourceNames\":[\"x\"],"
		 "\"verbs\":[\"get\",\"list\"]}]",
		 ""},
		{&reader, "a",
		 "[{\"apiGroups\":[\"\"],\"resources\":[\"pods\",\"nodes\"],\"verbs\":[\"get\"]}]",
		 "{APIGroups:[\"\"], Resources:[\"pods\" \"nodes\"], Verbs:[\"get\"]}"},
		{&reader, "a", "[{\"apiGroups\":[\"\"],\"resources\":[\"*\"],\"verbs\":[\"get\"]}]",
		 "{APIGroups:[\"\"], Resources:[\"*\"], Verbs:[\"get\"]}"},
		{&reader, "", "[{\"nonResourceURLs\":[\"/logs/x/*\"],\"verbs\":[\"get\"]}]", ""},
		{&reader, "", "[{\"nonResourceURLs\":[\"*\"],\"verbs\":[\"get\"]}]",
		 "{NonResourceURLs:[\"*\"], Verbs:[\"get\"]}"},
		{&joe, "a",
		 "[{\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"verbs\":[\"get\"]}]",
		 "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"},
		{&joe, "a",
		 "[{\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"resourceNames\":[\"s\"],"
		 "\"verbs\":[\"get\"]}]",
		 ""},
		{&chief, "a", "[{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]}]",
		 ""},
		{&chief, "b", "[{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"*\"]}]",
		 "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}"},
		{&master, "b", "[{\"nonResourceURLs\":[\"*\"],\"verbs\":[\"*\"]}]", ""},
		{&joe, "a", "[]", ""},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_json struct json *rules = read_json(rows[i].rules);
		auto_strbuf struct strbuf missing = {0};
		bool yes =
			rbac_covers(p->kube.rbac, rows[i].who, rows[i].namespace, rules, &missing);

		assert_string_equal(strbuf_text(&missing), rows[i].missing);
		assert_int_equal(yes, rows[i].missing[0] == '\0');
	}
}

/* The rules behind a binding: those that a role gathers, too. */
static void test_bound_rules(void **state)
{
	const struct place *p = *state;
	auto_json struct json *binding =
		read_json("{\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"gathered\"}}");
	auto_json struct json *nothing =
		read_json("{\"roleRef\":{\"kind\":\"Role\",\"name\":\"gathered\"}}");
	auto_json struct json *rules = rbac_bound_rules(p->kube.rbac, binding, "a");

	assert_int_equal(json_len(rules), 1);
	assert_null(rbac_bound_rules(p->kube.rbac, nothing, "a"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_bound_rules),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
