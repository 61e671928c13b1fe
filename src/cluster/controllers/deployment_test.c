/* Replica sets and deployments, played out against the whole pipeline. */
#include "cluster/controllers/place_fixture.h"

#define TEMPLATE                                                                            \
	"'template':{'metadata':{'labels':{'app':'%s'}},'spec':{'containers':[{'name':'c'," \
	"'image':'%s'}]}}"

static void make_set(struct place *p, const char *name, int replicas)
{
	place_create(p, "replicasets",
		     place_json("{'metadata':{'name':'%s'},'spec':{'replicas':%d,'selector':{"
				"'matchLabels':{'app':'%s'}}," TEMPLATE "}}",
				name, replicas, name, name, "one"));
}

static void make_deployment(struct place *p, const char *more)
{
	place_create(p, "deployments",
		     place_json("{'metadata':{'name':'web'},'spec':{%s'selector':{"
				"'matchLabels':{'app':'web'}}," TEMPLATE "}}",
				more, "web", "one"));
}

static int64_t number(struct place *p, const char *word, const char *name, const char *key)
{
	return json_get_i64(place_status(p, word, name), key, 0);
}

static void keeps_a_number_of_pods(void **state)
{
	struct place *p = *state;
	const struct json *pod, *owner;

	make_set(p, "web", 5);
	assert_int_equal(place_count(p, "pods"), 5);
	pod = json_at(p->list, 0);
	owner = json_at(json_get(json_get(pod, "metadata"), "ownerReferences"), 0);
	assert_string_equal(json_get_text(owner, "kind"), "ReplicaSet");
	assert_true(json_get_bool(owner, "controller", false));
	assert_int_equal(number(p, "replicasets", "web", "replicas"), 5);
	assert_int_equal(number(p, "replicasets", "web", "readyReplicas"), 0);
	place_run_all(p);
	assert_int_equal(number(p, "replicasets", "web", "availableReplicas"), 5);
	place_patch(p, "replicasets", "web", NULL, place_json("{'spec':{'replicas':2}}"));
	assert_int_equal(place_count(p, "pods"), 2);
	assert_int_equal(number(p, "replicasets", "web", "observedGeneration"), 2);
}

static void replaces_what_goes_and_what_ends(void **state)
{
	struct place *p = *state;
	auto_free char *first = NULL;

	make_set(p, "web", 2);
	first = mem_dup_text(place_name(json_at(place_list(p, "pods"), 0)));
	place_delete(p, "pods", first, PROPAGATE_DEFAULT);
	assert_int_equal(place_count(p, "pods"), 2);
	free(first);
	first = mem_dup_text(place_name(json_at(place_list(p, "pods"), 0)));
	place_end(p, first, "Failed", 1);
	assert_int_equal(place_count(p, "pods"), 3);
	assert_int_equal(number(p, "replicasets", "web", "replicas"), 2);
}

static void takes_and_lets_go_by_labels(void **state)
{
	struct place *p = *state;
	auto_free char *name = NULL;

	place_create(p, "pods",
		     place_json("{'metadata':{'name':'own','labels':{'app':'web'}},'spec':{"
				"'containers':[{'name':'c','image':'i'}]}}"));
	make_set(p, "web", 2);
	assert_int_equal(place_count(p, "pods"), 2);
	assert_int_equal(json_len(json_get(json_get(place_get(p, "pods", "own"), "metadata"),
					   "ownerReferences")),
			 1);
	place_patch(p, "pods", "own", NULL, place_json("{'metadata':{'labels':{'app':'x'}}}"));
	assert_int_equal(place_count(p, "pods"), 3);
	assert_int_equal(json_len(json_get(json_get(place_get(p, "pods", "own"), "metadata"),
					   "ownerReferences")),
			 0);
}

static void deletes_what_hurts_least(void **state)
{
	struct place *p = *state;
	auto_free char *ready = NULL;

	make_set(p, "web", 3);
	ready = mem_dup_text(place_name(json_at(place_list(p, "pods"), 1)));
	place_run(p, ready, true);
	place_patch(p, "replicasets", "web", NULL, place_json("{'spec':{'replicas':1}}"));
	assert_int_equal(place_count(p, "pods"), 1);
	assert_string_equal(place_name(json_at(p->list, 0)), ready);
}

static void waits_for_min_ready_seconds(void **state)
{
	struct place *p = *state;

	make_set(p, "web", 1);
	place_patch(p, "replicasets", "web", NULL, place_json("{'spec':{'minReadySeconds':30}}"));
	place_run_all(p);
	assert_int_equal(number(p, "replicasets", "web", "readyReplicas"), 1);
	assert_int_equal(number(p, "replicasets", "web", "availableReplicas"), 0);
	p->now_s += 31;
	place_patch(p, "replicasets", "web", NULL, place_json("{'metadata':{'labels':{'a':'b'}}}"));
	assert_int_equal(number(p, "replicasets", "web", "availableReplicas"), 1);
}

static void says_why_it_cannot(void **state)
{
	struct place *p = *state;
	const struct json *status;

	place_create(p, "resourcequotas",
		     place_json("{'metadata':{'name':'q'},'spec':{'hard':{'pods':'1'}}}"));
	make_set(p, "web", 3);
	status = place_status(p, "replicasets", "web");
	assert_string_equal(place_condition(status, "ReplicaFailure", "reason"), "FailedCreate");
}

static void runs_replication_controllers(void **state)
{
	struct place *p = *state;

	place_create(p, "replicationcontrollers",
		     place_json("{'metadata':{'name':'rc'},'spec':{'replicas':2,'selector':{"
				"'app':'rc'}," TEMPLATE "}}",
				"rc", "one"));
	assert_int_equal(place_count(p, "pods"), 2);
	assert_int_equal(number(p, "replicationcontrollers", "rc", "replicas"), 2);
}

/* -- deployments ------------------------------------------------------------------------------- */

static void set_image(struct place *p, const char *image)
{
	place_patch(p, "deployments", "web", NULL,
		    place_json("{'spec':{'template':{'spec':{'containers':[{'name':'c','image':"
			       "'%s'}]}}}}",
			       image));
}

static int64_t active(struct place *p)
{
	const struct json *pods = place_list(p, "pods");
	int64_t n = 0;

	for (size_t i = 0; i < json_len(pods); i++)
		n += !json_get(json_get(json_at(pods, i), "metadata"), "deletionTimestamp");
	return n;
}

static void rolls_out(void **state)
{
	struct place *p = *state;
	const struct json *status;

	make_deployment(p, "'replicas':4,");
	assert_int_equal(active(p), 4);
	status = place_status(p, "deployments", "web");
	assert_string_equal(place_condition(status, "Available", "status"), "False");
	assert_string_equal(place_condition(status, "Progressing", "status"), "True");
	place_run_all(p);
	status = place_status(p, "deployments", "web");
	assert_int_equal(json_get_i64(status, "availableReplicas", 0), 4);
	assert_string_equal(place_condition(status, "Progressing", "reason"),
			    "NewReplicaSetAvailable");
	set_image(p, "two");
	assert_int_equal(place_count(p, "replicasets"), 2);
	assert_int_equal(active(p), 5); /* one more than wanted, one fewer that serves */
	status = place_status(p, "deployments", "web");
	assert_int_equal(json_get_i64(status, "updatedReplicas", 0), 2);
	assert_int_equal(json_get_i64(status, "availableReplicas", 0), 3);
	for (int i = 0; i < 6; i++)
		place_run_all(p);
	status = place_status(p, "deployments", "web");
	assert_int_equal(json_get_i64(status, "updatedReplicas", 0), 4);
	assert_int_equal(json_get_i64(status, "replicas", 0), 4);
	assert_string_equal(place_condition(status, "Progressing", "reason"),
			    "NewReplicaSetAvailable");
	assert_int_equal(active(p), 4);
	assert_string_equal(
		json_get_text(json_get(json_get(place_get(p, "deployments", "web"), "metadata"),
				       "annotations"),
			      "deployment.kubernetes.io/revision"),
		"2");
}

static void goes_back(void **state)
{
	struct place *p = *state;

	make_deployment(p, "'replicas':1,");
	place_run_all(p);
	set_image(p, "two");
	for (int i = 0; i < 3; i++)
		place_run_all(p);
	set_image(p, "one");
	for (int i = 0; i < 3; i++)
		place_run_all(p);
	assert_int_equal(place_count(p, "replicasets"), 2);
	assert_string_equal(
		json_get_text(json_get(json_get(place_get(p, "deployments", "web"), "metadata"),
				       "annotations"),
			      "deployment.kubernetes.io/revision"),
		"3");
	assert_int_equal(active(p), 1);
}

static void recreates(void **state)
{
	struct place *p = *state;

	make_deployment(p, "'replicas':2,'strategy':{'type':'Recreate'},");
	place_run_all(p);
	set_image(p, "two");
	assert_int_equal(active(p), 2);
	assert_int_equal(number(p, "deployments", "web", "updatedReplicas"), 2);
}

static void pauses(void **state)
{
	struct place *p = *state;

	make_deployment(p, "'replicas':2,");
	place_run_all(p);
	place_patch(p, "deployments", "web", NULL, place_json("{'spec':{'paused':true}}"));
	set_image(p, "two");
	assert_int_equal(place_count(p, "replicasets"), 1);
	place_patch(p, "deployments", "web", NULL, place_json("{'spec':{'replicas':3}}"));
	assert_int_equal(active(p), 3);
	assert_string_equal(
		place_condition(place_status(p, "deployments", "web"), "Progressing", "reason"),
		"DeploymentPaused");
	place_patch(p, "deployments", "web", NULL, place_json("{'spec':{'paused':false}}"));
	assert_int_equal(place_count(p, "replicasets"), 2);
}

static void scales_in_proportion(void **state)
{
	struct place *p = *state;
	const struct json *sets;
	int64_t total = 0;

	make_deployment(p, "'replicas':10,'strategy':{'rollingUpdate':{'maxSurge':3,"
			   "'maxUnavailable':2}},");
	place_run_all(p);
	set_image(p, "two");
	sets = place_list(p, "replicasets");
	for (size_t i = 0; i < 2; i++)
		total += json_get_i64(json_get(json_at(sets, i), "spec"), "replicas", 0);
	assert_int_equal(total, 13);
	place_patch(p, "deployments", "web", NULL, place_json("{'spec':{'replicas':15}}"));
	sets = place_list(p, "replicasets");
	total = 0;
	for (size_t i = 0; i < 2; i++)
		total += json_get_i64(json_get(json_at(sets, i), "spec"), "replicas", 0);
	assert_int_equal(total, 18);
}

static void keeps_a_short_history(void **state)
{
	struct place *p = *state;
	static const char *const images[] = {"two", "three", "four"};

	make_deployment(p, "'replicas':1,'revisionHistoryLimit':1,");
	for (size_t i = 0; i < array_len(images); i++) {
		place_run_all(p);
		set_image(p, images[i]);
		place_run_all(p);
	}
	assert_int_equal(place_count(p, "replicasets"), 2);
}

static void tells_a_missed_deadline(void **state)
{
	struct place *p = *state;
	const struct json *status;

	make_deployment(p, "'replicas':1,'progressDeadlineSeconds':10,");
	p->now_s += 60;
	place_patch(p, "deployments", "web", NULL, place_json("{'metadata':{'labels':{'a':'b'}}}"));
	status = place_status(p, "deployments", "web");
	assert_string_equal(place_condition(status, "Progressing", "reason"),
			    "ProgressDeadlineExceeded");
	assert_string_equal(place_condition(status, "Progressing", "status"), "False");
}

/* More pods than trees are kept at a time. */
static void keeps_hundreds(void **state)
{
	struct place *p = *state;

	make_deployment(p, "'replicas':300,");
	assert_int_equal(active(p), 300);
	place_run_all(p);
	assert_int_equal(number(p, "deployments", "web", "availableReplicas"), 300);
	place_patch(p, "deployments", "web", NULL, place_json("{'spec':{'replicas':10}}"));
	assert_int_equal(active(p), 10);
}

static void begins_again_in_the_middle(void **state)
{
	struct place *p = *state;

	make_deployment(p, "'replicas':3,");
	place_down(p);
	set_image(p, "two");
	place_up(p);
	for (int i = 0; i < 5; i++)
		place_run_all(p);
	assert_int_equal(active(p), 3);
	assert_int_equal(number(p, "deployments", "web", "updatedReplicas"), 3);
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(keeps_a_number_of_pods),
		IN_PLACE(replaces_what_goes_and_what_ends),
		IN_PLACE(takes_and_lets_go_by_labels),
		IN_PLACE(deletes_what_hurts_least),
		IN_PLACE(waits_for_min_ready_seconds),
		IN_PLACE(says_why_it_cannot),
		IN_PLACE(runs_replication_controllers),
		IN_PLACE(rolls_out),
		IN_PLACE(goes_back),
		IN_PLACE(recreates),
		IN_PLACE(pauses),
		IN_PLACE(scales_in_proportion),
		IN_PLACE(keeps_a_short_history),
		IN_PLACE(tells_a_missed_deadline),
		IN_PLACE(begins_again_in_the_middle),
		IN_PLACE(keeps_hundreds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
