/* What goes with its owners, and namespaces with all that is in them. */
#include "cluster/controllers/place_fixture.h"

static void make_deployment(struct place *p)
{
	place_create(
		p, "deployments",
		place_json("{'metadata':{'name':'web'},'spec':{'replicas':2,'selector':{"
			   "'matchLabels':{'app':'web'}},'template':{'metadata':{'labels':{"
			   "'app':'web'}},'spec':{'containers':[{'name':'c','image':'i'}]}}}}"));
}

static void in_the_background(void **state)
{
	struct place *p = *state;

	make_deployment(p);
	assert_int_equal(place_count(p, "pods"), 2);
	place_delete(p, "deployments", "web", PROPAGATE_BACKGROUND);
	assert_int_equal(place_count(p, "replicasets"), 0);
	assert_int_equal(place_count(p, "pods"), 0);
}

static void in_the_foreground(void **state)
{
	struct place *p = *state;

	make_deployment(p);
	place_delete(p, "deployments", "web", PROPAGATE_FOREGROUND);
	assert_int_equal(place_count(p, "pods"), 0);
	assert_int_equal(place_count(p, "replicasets"), 0);
	assert_int_equal(place_count(p, "deployments"), 0);
}

static void waits_for_what_blocks(void **state)
{
	struct place *p = *state;
	auto_free char *pod = NULL;

	make_deployment(p);
	pod = mem_dup_text(place_name(json_at(place_list(p, "pods"), 0)));
	place_patch(p, "pods", pod, NULL, place_json("{'metadata':{'finalizers':['test/hold']}}"));
	place_delete(p, "deployments", "web", PROPAGATE_FOREGROUND);
	assert_int_equal(place_count(p, "pods"), 1);
	assert_int_equal(place_count(p, "replicasets"), 1);
	assert_int_equal(place_count(p, "deployments"), 1);
	place_patch(p, "pods", pod, NULL, place_json("{'metadata':{'finalizers':null}}"));
	assert_int_equal(place_count(p, "pods"), 0);
	assert_int_equal(place_count(p, "deployments"), 0);
}

static void orphans(void **state)
{
	struct place *p = *state;
	const struct json *set;

	make_deployment(p);
	place_delete(p, "deployments", "web", PROPAGATE_ORPHAN);
	assert_int_equal(place_count(p, "deployments"), 0);
	set = json_at(place_list(p, "replicasets"), 0);
	assert_non_null(set);
	assert_int_equal(json_len(json_get(json_get(set, "metadata"), "ownerReferences")), 0);
	assert_int_equal(place_count(p, "pods"), 2);
}

static void collects_what_names_nobody(void **state)
{
	struct place *p = *state;

	place_create(p, "configmaps",
		     place_json("{'metadata':{'name':'left','ownerReferences':[{'apiVersion':'v1',"
				"'kind':'Pod','name':'gone','uid':'1-2-3'}]}}"));
	assert_null(place_get(p, "configmaps", "left"));
	place_create(p, "configmaps",
		     place_json("{'metadata':{'name':'odd','ownerReferences':[{'apiVersion':"
				"'x.org/v1','kind':'Odd','name':'o','uid':'1-2-3'}]}}"));
	assert_non_null(place_get(p, "configmaps", "odd"));
}

static void looks_at_uids(void **state)
{
	struct place *p = *state;

	place_create(p, "configmaps", place_json("{'metadata':{'name':'owner'}}"));
	place_create(p, "configmaps",
		     place_json("{'metadata':{'name':'heir','ownerReferences':[{'apiVersion':'v1',"
				"'kind':'ConfigMap','name':'owner','uid':'another'}]}}"));
	assert_null(place_get(p, "configmaps", "heir"));
	assert_non_null(place_get(p, "configmaps", "owner"));
}

static void survives_a_stop_in_the_middle(void **state)
{
	struct place *p = *state;

	make_deployment(p);
	place_down(p);
	place_delete(p, "deployments", "web", PROPAGATE_BACKGROUND);
	place_up(p);
	assert_int_equal(place_count(p, "pods"), 0);
}

static void namespaces_take_all_along(void **state)
{
	struct place *p = *state;
	struct client_target t = {place_kind("configmaps"), "other"};
	struct client_target pods = {place_kind("pods"), "other"};
	struct client_target held = {place_kind("pods"), "other", "a"};

	place_create(p, "namespaces", place_json("{'metadata':{'name':'other'}}"));
	p->called = false;
	client_create(&p->client, &t, place_json("{'metadata':{'name':'a'}}"), NULL, place_ended,
		      p);
	place_settle(p);
	p->called = false;
	client_create(&p->client, &pods,
		      place_json("{'metadata':{'name':'a','finalizers':['test/hold']},'spec':{"
				 "'containers':[{'name':'c','image':'i'}]}}"),
		      NULL, place_ended, p);
	place_settle(p);
	assert_int_equal(p->error.kind, ERR_NONE);
	place_delete(p, "namespaces", "other", PROPAGATE_DEFAULT);
	assert_string_equal(place_condition(place_status(p, "namespaces", "other"),
					    "NamespaceContentRemaining", "reason"),
			    "SomeResourcesRemain");
	p->called = false;
	client_patch(&p->client, &held, PATCH_MERGE, place_json("{'metadata':{'finalizers':null}}"),
		     NULL, place_ended, p);
	place_settle(p);
	assert_null(place_get(p, "namespaces", "other"));
}

static void namespaces_have_an_account(void **state)
{
	struct place *p = *state;

	assert_non_null(place_get(p, "serviceaccounts", "default"));
	assert_non_null(place_get(p, "configmaps", "kube-root-ca.crt"));
	place_delete(p, "serviceaccounts", "default", PROPAGATE_DEFAULT);
	assert_non_null(place_get(p, "serviceaccounts", "default"));
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(in_the_background),
		IN_PLACE(in_the_foreground),
		IN_PLACE(waits_for_what_blocks),
		IN_PLACE(orphans),
		IN_PLACE(collects_what_names_nobody),
		IN_PLACE(looks_at_uids),
		IN_PLACE(survives_a_stop_in_the_middle),
		IN_PLACE(namespaces_take_all_along),
		IN_PLACE(namespaces_have_an_account),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
