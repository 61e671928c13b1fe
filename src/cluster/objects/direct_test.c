/*
 * The pipeline through its client: what clients see of create, update, patch, delete, lists and
 * watches, with a store in a file below.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

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
	struct client client;
	/* the last outcome */
	struct err error;
	int http_status;
	struct json *tree, *body, *details;
	struct strbuf names;
	char *next;
	int64_t remaining;
	uint64_t revision;
	struct strbuf events;
};

static void open_place(struct place *p)
{
	struct keys_options o = {.loop = p->loop,
				 .path = p->path,
				 .index = objects_index,
				 .index_free = objects_index_free};
	struct objects_options oo = {.loop = p->loop, .service_cidr = "10.96.0.0/24"};
	struct err e;

	if (keys_open(&o, &p->keys, &e) < 0)
		fail_msg("%s", e.text);
	oo.keys = p->keys;
	assert_int_equal(objects_new(&oo, &p->objects, &e), 0);
	p->client = objects_client(p->objects, (struct identity){.user = "tester"});
}

static void close_place(struct place *p)
{
	p->objects = objects_free(p->objects);
	p->keys = keys_close(p->keys);
}

static void ended(void *ctx, const struct outcome *o)
{
	struct place *p = ctx;

	p->error = o->error ? *o->error : (struct err){0};
	p->http_status = o->http_status;
	p->tree = json_free(p->tree);
	p->body = json_free(p->body);
	p->details = json_free(p->details);
	if (o->object)
		p->tree = object_copy(o->object);
	if (o->body)
		p->body = json_copy(o->body);
	if (o->details)
		p->details = json_copy(o->details);
	loop_stop(p->loop);
}

static void listed(void *ctx, const struct list_outcome *l)
{
	struct place *p = ctx;
	char key[OBJECT_KEY_MAX];

	p->error = l->error ? *l->error : (struct err){0};
	strbuf_clear(&p->names);
	for (size_t i = 0; i < l->n; i++)
		strbuf_printf(&p->names, "%s ", object_key(l->items[i], key));
	free(p->next);
	p->next = mem_dup_text(l->next);
	p->remaining = l->remaining;
	p->revision = l->revision;
	loop_stop(p->loop);
}

static struct json *read_json(const char *text)
{
	struct json *j = NULL;
	struct err e;

	if (json_parse(str_of(text), "test", &j, &e) < 0)
		fail_msg("%s", e.text);
	return j;
}

static const struct kind *kind(const char *word)
{
	const struct kind *k = kind_of_word(word);

	assert_non_null(k);
	return k->stored;
}

static enum err_kind create(struct place *p, const char *word, const char *ns, const char *text)
{
	client_create(&p->client, &(struct client_target){kind(word), ns}, read_json(text), NULL,
		      ended, p);
	loop_run(p->loop);
	return p->error.kind;
}

static enum err_kind get(struct place *p, const char *word, const char *ns, const char *name)
{
	client_get(&p->client, &(struct client_target){kind(word), ns, name}, NULL, ended, p);
	loop_run(p->loop);
	return p->error.kind;
}

static enum err_kind delete (struct place *p, const char *word, const char *ns, const char *name) {
	client_delete(&p->client, &(struct client_target){kind(word), ns, name}, NULL, ended, p);
	loop_run(p->loop);
	return p->error.kind;
}

static enum err_kind patch(struct place *p, const char *word, const char *name, const char *sub,
			   enum patch_type type, const char *text)
{
	client_patch(&p->client, &(struct client_target){kind(word), "default", name, sub}, type,
		     read_json(text), NULL, ended, p);
	loop_run(p->loop);
	return p->error.kind;
}

static enum err_kind list(struct place *p, const char *word, const char *ns,
			  const struct list_query *q)
{
	client_list(&p->client, &(struct client_target){kind(word), ns}, q, listed, p);
	loop_run(p->loop);
	return p->error.kind;
}

static int set_up(void **state)
{
	struct place *p = mem_new(struct place);
	struct err e = {0};

	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/hull-direct-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/keys.db", p->dir);
	assert_int_equal(loop_new(&p->loop, &e), 0);
	open_place(p);
	*state = p;
	assert_int_equal(create(p, "namespaces", NULL, "{\"metadata\":{\"name\":\"default\"}}"),
			 ERR_NONE);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"keys.db", "keys.db-wal", "keys.db-shm"};
	struct place *p = *state;

	close_place(p);
	for (size_t i = 0; i < array_len(names); i++) {
		auto_free char *path = mem_printf("%s/%s", p->dir, names[i]);

		(void)unlink(path);
	}
	(void)rmdir(p->dir);
	(void)loop_free(p->loop);
	(void)json_free(p->tree);
	(void)json_free(p->body);
	(void)json_free(p->details);
	strbuf_done(&p->names);
	strbuf_done(&p->events);
	free(p->next);
	free(p);
	return 0;
}

static const char *text_at(const struct json *j, const char *a, const char *b)
{
	return json_get_text(json_get(j, a), b);
}

static void makes_and_reads(void **state)
{
	struct place *p = *state;

	assert_int_equal(create(p, "configmaps", "default",
				"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\","
				"\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"}}"),
			 ERR_NONE);
	assert_string_equal(text_at(p->tree, "metadata", "namespace"), "default");
	assert_non_null(text_at(p->tree, "metadata", "uid"));
	assert_non_null(text_at(p->tree, "metadata", "resourceVersion"));
	assert_int_equal(create(p, "configmaps", "default", "{\"metadata\":{\"name\":\"a\"}}"),
			 ERR_EXISTS);
	assert_string_equal(p->error.text, "configmaps \"a\" already exists");
	assert_int_equal(create(p, "configmaps", "none", "{\"metadata\":{\"name\":\"a\"}}"),
			 ERR_NOT_FOUND);
	assert_string_equal(p->error.text, "namespaces \"none\" not found");
	assert_int_equal(
		create(p, "configmaps", "default", "{\"metadata\":{\"generateName\":\"g-\"}}"),
		ERR_NONE);
	assert_int_equal(strlen(text_at(p->tree, "metadata", "name")), 7);
	assert_int_equal(create(p, "configmaps", "default", "{\"metadata\":{\"name\":\"A_b\"}}"),
			 ERR_INVALID);
	assert_int_equal(p->http_status, 422);
	assert_int_equal(json_len(json_get(p->details, "causes")), 1);
	assert_int_equal(get(p, "configmaps", "default", "zz"), ERR_NOT_FOUND);
	assert_string_equal(p->error.text, "configmaps \"zz\" not found");
	close_place(p);
	open_place(p);
	assert_int_equal(get(p, "configmaps", "default", "a"), ERR_NONE);
	assert_string_equal(text_at(p->tree, "data", "k"), "v");
}

static void changes(void **state)
{
	struct place *p = *state;
	struct json *seen, *stale;

	assert_int_equal(create(p, "configmaps", "default", "{\"metadata\":{\"name\":\"a\"}}"),
			 ERR_NONE);
	stale = json_copy(p->tree);
	assert_int_equal(patch(p, "configmaps", "a", NULL, PATCH_MERGE, "{\"data\":{\"x\":\"1\"}}"),
			 ERR_NONE);
	assert_string_equal(text_at(p->tree, "data", "x"), "1");
	seen = json_copy(p->tree);
	json_set_text(json_get(seen, "data"), "x", "2");
	client_update(&p->client, &(struct client_target){kind("configmaps"), "default", "a"}, seen,
		      NULL, ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_NONE);
	assert_string_equal(text_at(p->tree, "data", "x"), "2");
	client_update(&p->client, &(struct client_target){kind("configmaps"), "default", "a"},
		      stale, NULL, ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_CONFLICT);
	assert_string_equal(p->error.text,
			    "Operation cannot be fulfilled on configmaps \"a\": the object has "
			    "been modified; please apply your changes to the latest version and "
			    "try again");
}

/* Two patches of one turn: neither loses. A patch that changes nothing writes nothing. */
static void patches_do_not_lose_each_other(void **state)
{
	struct place *p = *state;
	const struct client_target t = {kind("configmaps"), "default", "a"};
	uint64_t revision;

	assert_int_equal(create(p, "configmaps", "default", "{\"metadata\":{\"name\":\"a\"}}"),
			 ERR_NONE);
	client_patch(&p->client, &t, PATCH_MERGE, read_json("{\"data\":{\"x\":\"1\"}}"), NULL, NULL,
		     NULL);
	client_patch(&p->client, &t, PATCH_MERGE, read_json("{\"data\":{\"y\":\"2\"}}"), NULL,
		     ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_NONE);
	assert_string_equal(text_at(p->tree, "data", "x"), "1");
	assert_string_equal(text_at(p->tree, "data", "y"), "2");
	revision = objects_revision(p->objects);
	assert_int_equal(patch(p, "configmaps", "a", NULL, PATCH_MERGE, "{\"data\":{\"y\":\"2\"}}"),
			 ERR_NONE);
	assert_int_equal(objects_revision(p->objects), revision);
}

static void lists_in_pages(void **state)
{
	struct place *p = *state;
	struct list_query q = {.limit = 2};
	auto_arena struct arena a = {0};
	struct selector s;
	struct err e;

	for (int i = 0; i < 5; i++) {
		auto_free char *text =
			mem_printf("{\"metadata\":{\"name\":\"c%d\",\"labels\":{\"odd\":\"%s\"}}}",
				   i, i % 2 ? "yes" : "no");

		assert_int_equal(create(p, "configmaps", "default", text), ERR_NONE);
	}
	assert_int_equal(list(p, "configmaps", "default", &q), ERR_NONE);
	assert_string_equal(strbuf_text(&p->names), "default/c0 default/c1 ");
	assert_int_equal(p->remaining, 3);
	assert_int_equal(delete (p, "configmaps", "default", "c3"), ERR_NONE);
	{
		auto_free char *next = mem_dup_text(p->next);

		q.next = next;
		assert_int_equal(list(p, "configmaps", NULL, &q), -0);
		assert_string_equal(strbuf_text(&p->names), "default/c2 default/c3 ");
	}
	q.next = "bm9uc2Vuc2U=";
	assert_int_equal(list(p, "configmaps", "default", &q), ERR_INVALID);
	assert_int_equal(selector_parse_labels("odd=yes", &a, &s, &e), 0);
	q = (struct list_query){.labels = &s};
	assert_int_equal(list(p, "configmaps", "default", &q), ERR_NONE);
	assert_string_equal(strbuf_text(&p->names), "default/c1 ");
}

static void note(void *ctx, const struct watch_event *v)
{
	struct place *p = ctx;

	strbuf_printf(&p->events, "%c%s ", "+~-B"[v->type], v -> object ? v -> object -> name : "");
}

static void watch_ended(void *ctx, const struct err *e)
{
	struct place *p = ctx;

	strbuf_printf(&p->events, "!%d ", e->kind);
}

static void watches_a_selection(void **state)
{
	struct place *p = *state;
	struct watch_sink sink = {note, watch_ended, p};
	struct client_watch *w = NULL;
	auto_arena struct arena a = {0};
	struct selector s;
	struct watch_query q = {.labels = &s};
	struct err e;

	assert_int_equal(selector_parse_labels("x=1", &a, &s, &e), 0);
	assert_int_equal(create(p, "configmaps", "default",
				"{\"metadata\":{\"name\":\"a\",\"labels\":{\"x\":\"1\"}}}"),
			 ERR_NONE);
	client_watch(&p->client, &(struct client_target){kind("configmaps"), "default"}, &q, &sink,
		     &w);
	assert_int_equal(create(p, "configmaps", "default", "{\"metadata\":{\"name\":\"b\"}}"),
			 ERR_NONE);
	assert_int_equal(patch(p, "configmaps", "b", NULL, PATCH_MERGE,
			       "{\"metadata\":{\"labels\":{\"x\":\"1\"}}}"),
			 ERR_NONE);
	assert_int_equal(patch(p, "configmaps", "b", NULL, PATCH_MERGE, "{\"data\":{\"k\":\"1\"}}"),
			 ERR_NONE);
	assert_int_equal(patch(p, "configmaps", "b", NULL, PATCH_MERGE,
			       "{\"metadata\":{\"labels\":{\"x\":\"2\"}}}"),
			 ERR_NONE);
	assert_int_equal(delete (p, "configmaps", "default", "a"), ERR_NONE);
	assert_string_equal(strbuf_text(&p->events), "+a +b ~b -b -a ");
	client_unwatch(&p->client, w);
}

static void watches_news_only(void **state)
{
	struct place *p = *state;
	struct watch_sink sink = {note, watch_ended, p};
	struct client_watch *w = NULL;
	struct watch_query q = {.revision = "0", .news_only = true};

	assert_int_equal(create(p, "configmaps", "default", "{\"metadata\":{\"name\":\"a\"}}"),
			 ERR_NONE);
	client_watch(&p->client, &(struct client_target){kind("configmaps"), "default"}, &q, &sink,
		     &w);
	assert_int_equal(create(p, "configmaps", "default", "{\"metadata\":{\"name\":\"b\"}}"),
			 ERR_NONE);
	assert_string_equal(strbuf_text(&p->events), "+b ");
	client_unwatch(&p->client, w);
}

static void finalizers_hold(void **state)
{
	struct place *p = *state;

	assert_int_equal(create(p, "configmaps", "default",
				"{\"metadata\":{\"name\":\"a\",\"finalizers\":[\"x.io/held\"]}}"),
			 ERR_NONE);
	assert_int_equal(delete (p, "configmaps", "default", "a"), ERR_NONE);
	assert_non_null(text_at(p->tree, "metadata", "deletionTimestamp"));
	assert_int_equal(get(p, "configmaps", "default", "a"), ERR_NONE);
	assert_int_equal(patch(p, "configmaps", "a", NULL, PATCH_MERGE,
			       "{\"metadata\":{\"finalizers\":null}}"),
			 ERR_NONE);
	assert_int_equal(get(p, "configmaps", "default", "a"), ERR_NOT_FOUND);
}

#define POD                                                                                   \
	"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":" \
	"\"i\"}]}}"

static void a_pod_needs_its_account_and_gets_grace(void **state)
{
	struct place *p = *state;
	const struct json *spec;

	assert_int_equal(create(p, "pods", "default", POD), ERR_FORBIDDEN);
	assert_string_equal(p->error.text,
			    "pods \"p\" is forbidden: error looking up service account "
			    "default/default: serviceaccount \"default\" not found");
	assert_int_equal(
		create(p, "serviceaccounts", "default", "{\"metadata\":{\"name\":\"default\"}}"),
		ERR_NONE);
	assert_int_equal(create(p, "pods", "default", POD), ERR_NONE);
	spec = json_get(p->tree, "spec");
	assert_int_equal(json_len(json_get(spec, "tolerations")), 2);
	assert_int_equal(json_len(json_get(spec, "volumes")), 1);
	client_create(&p->client, &(struct client_target){kind("pods"), "default", "p", "binding"},
		      read_json("{\"target\":{\"name\":\"n1\"}}"), NULL, ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_NONE);
	assert_string_equal(text_at(p->tree, "spec", "nodeName"), "n1");
	assert_int_equal(delete (p, "pods", "default", "p"), ERR_NONE);
	assert_int_equal(get(p, "pods", "default", "p"), ERR_NONE);
	client_delete(&p->client, &(struct client_target){kind("pods"), "default", "p"},
		      &(struct delete_options){.grace_s = 0}, ended, p);
	loop_run(p->loop);
	assert_int_equal(get(p, "pods", "default", "p"), ERR_NOT_FOUND);
}

static void services_get_addresses(void **state)
{
	struct place *p = *state;
	auto_free char *first = NULL;

	assert_int_equal(create(p, "services", "default",
				"{\"metadata\":{\"name\":\"s\"},\"spec\":{\"type\":\"NodePort\","
				"\"ports\":[{\"port\":80}]}}"),
			 ERR_NONE);
	first = mem_dup_text(text_at(p->tree, "spec", "clusterIP"));
	assert_non_null(first);
	assert_true(text_starts(first, "10.96.0."));
	assert_true(json_get_i64(json_at(json_get(json_get(p->tree, "spec"), "ports"), 0),
				 "nodePort", 0) >= 30000);
	{
		auto_free char *text =
			mem_printf("{\"metadata\":{\"name\":\"t\"},\"spec\":{"
				   "\"clusterIP\":\"%s\",\"ports\":[{\"port\":80}]}}",
				   first);

		assert_int_equal(create(p, "services", "default", text), ERR_INVALID);
		assert_int_equal(delete (p, "services", "default", "s"), ERR_NONE);
		assert_int_equal(create(p, "services", "default", text), ERR_NONE);
	}
	assert_string_equal(text_at(p->tree, "spec", "clusterIP"), first);
}

static void scales(void **state)
{
	struct place *p = *state;
	const struct client_target t = {kind("deployments"), "default", "d", "scale"};

	assert_int_equal(
		create(p, "deployments", "default",
		       "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{"
		       "\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
		       "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}"),
		ERR_NONE);
	client_get(&p->client, &t, NULL, ended, p);
	loop_run(p->loop);
	assert_string_equal(text_at(p->body, "status", "selector"), "a=b");
	client_patch(&p->client, &t, PATCH_MERGE, read_json("{\"spec\":{\"replicas\":3}}"), NULL,
		     ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_NONE);
	assert_string_equal(json_get_text(p->body, "kind"), "Scale");
	assert_int_equal(get(p, "deployments", "default", "d"), ERR_NONE);
	assert_int_equal(json_get_i64(json_get(p->tree, "spec"), "replicas", 0), 3);
	assert_int_equal(json_get_i64(json_get(p->tree, "metadata"), "generation", 0), 2);
}

static void quotas_count_what_is_on_its_way(void **state)
{
	struct place *p = *state;

	assert_int_equal(create(p, "resourcequotas", "default",
				"{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{"
				"\"count/configmaps\":\"1\"}}}"),
			 ERR_NONE);
	client_create(&p->client, &(struct client_target){kind("configmaps"), "default"},
		      read_json("{\"metadata\":{\"name\":\"a\"}}"), NULL, NULL, NULL);
	assert_int_equal(create(p, "configmaps", "default", "{\"metadata\":{\"name\":\"b\"}}"),
			 ERR_FORBIDDEN);
	assert_string_equal(p->error.text,
			    "configmaps \"b\" is forbidden: exceeded quota: q, requested: "
			    "count/configmaps=1, used: count/configmaps=1, limited: "
			    "count/configmaps=1");
	/* the first one is acknowledged before this */
	assert_int_equal(create(p, "namespaces", NULL, "{\"metadata\":{\"name\":\"z\"}}"),
			 ERR_NONE);
}

static void namespaces_end_when_they_are_finalized(void **state)
{
	struct place *p = *state;

	assert_int_equal(create(p, "namespaces", NULL, "{\"metadata\":{\"name\":\"n\"}}"),
			 ERR_NONE);
	assert_int_equal(delete (p, "namespaces", NULL, "n"), ERR_NONE);
	assert_string_equal(text_at(p->tree, "status", "phase"), "Terminating");
	assert_int_equal(create(p, "configmaps", "n", "{\"metadata\":{\"name\":\"a\"}}"),
			 ERR_FORBIDDEN);
	client_update(&p->client,
		      &(struct client_target){kind("namespaces"), NULL, "n", "finalize"},
		      read_json("{\"metadata\":{\"name\":\"n\"},\"spec\":{}}"), NULL, ended, p);
	loop_run(p->loop);
	assert_int_equal(p->error.kind, ERR_NONE);
	assert_int_equal(get(p, "namespaces", NULL, "n"), ERR_NOT_FOUND);
	assert_int_equal(delete (p, "namespaces", NULL, "default"), ERR_FORBIDDEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(makes_and_reads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(changes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(patches_do_not_lose_each_other, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lists_in_pages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(watches_a_selection, set_up, tear_down),
		cmocka_unit_test_setup_teardown(watches_news_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(finalizers_hold, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_pod_needs_its_account_and_gets_grace, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(services_get_addresses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scales, set_up, tear_down),
		cmocka_unit_test_setup_teardown(quotas_count_what_is_on_its_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(namespaces_end_when_they_are_finalized, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
