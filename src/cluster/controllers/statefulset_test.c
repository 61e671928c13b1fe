/* Stateful sets: numbers, order, claims and updates; and pods that nobody ends. */
#include "cluster/controllers/place_fixture.h"

static void make_set(struct place *p, int replicas, const char *more)
{
	place_create(
		p, "statefulsets",
		place_json("{'metadata':{'name':'db'},'spec':{'replicas':%d,'serviceName':'db',%s"
			   "'selector':{'matchLabels':{'app':'db'}},'template':{'metadata':{"
			   "'labels':{'app':'db'}},'spec':{'containers':[{'name':'c','image':'one'"
			   "}]}},'volumeClaimTemplates':[{'metadata':{'name':'data'},'spec':{"
			   "'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':"
			   "'1Gi'}}}}]}}",
			   replicas, more));
}

static int64_t number(struct place *p, const char *key)
{
	return json_get_i64(place_status(p, "statefulsets", "db"), key, 0);
}

static void scale(struct place *p, int n)
{
	place_patch(p, "statefulsets", "db", NULL, place_json("{'spec':{'replicas':%d}}", n));
}

static void set_image(struct place *p)
{
	place_patch(p, "statefulsets", "db", NULL,
		    place_json("{'spec':{'template':{'spec':{'containers':[{'name':'c','image':"
			       "'two'}]}}}}"));
}

static const char *image(struct place *p, const char *pod)
{
	const struct json *spec = json_get(place_get(p, "pods", pod), "spec");

	return json_get_text(json_at(json_get(spec, "containers"), 0), "image");
}

static void counts_up_in_order(void **state)
{
	struct place *p = *state;
	const struct json *spec;

	make_set(p, 3, "");
	assert_int_equal(place_count(p, "pods"), 1);
	spec = json_get(place_get(p, "pods", "db-0"), "spec");
	assert_string_equal(json_get_text(spec, "hostname"), "db-0");
	assert_string_equal(json_get_text(spec, "subdomain"), "db");
	assert_non_null(place_get(p, "persistentvolumeclaims", "data-db-0"));
	place_run(p, "db-0", true);
	assert_int_equal(place_count(p, "pods"), 2);
	place_run(p, "db-1", true);
	place_run(p, "db-2", true);
	assert_int_equal(number(p, "readyReplicas"), 3);
	assert_int_equal(number(p, "currentReplicas"), 3);
	scale(p, 1);
	assert_int_equal(place_count(p, "pods"), 1);
	assert_int_equal(place_count(p, "persistentvolumeclaims"), 3);
}

static void counts_in_parallel(void **state)
{
	struct place *p = *state;

	make_set(p, 3, "'podManagementPolicy':'Parallel',");
	assert_int_equal(place_count(p, "pods"), 3);
}

static void updates_from_the_top(void **state)
{
	struct place *p = *state;
	const struct json *status;

	make_set(p, 2, "'podManagementPolicy':'Parallel',");
	place_run_all(p);
	set_image(p);
	assert_string_equal(image(p, "db-1"), "two");
	assert_string_equal(image(p, "db-0"), "one");
	place_run_all(p);
	assert_string_equal(image(p, "db-0"), "two");
	place_run_all(p);
	assert_int_equal(number(p, "updatedReplicas"), 2);
	status = place_status(p, "statefulsets", "db");
	assert_string_equal(json_get_text(status, "currentRevision"),
			    json_get_text(status, "updateRevision"));
}

static void stops_at_the_partition(void **state)
{
	struct place *p = *state;

	make_set(p, 3, "'updateStrategy':{'rollingUpdate':{'partition':2}},");
	for (int i = 0; i < 3; i++)
		place_run_all(p);
	set_image(p);
	for (int i = 0; i < 3; i++)
		place_run_all(p);
	assert_string_equal(image(p, "db-2"), "two");
	assert_string_equal(image(p, "db-1"), "one");
	place_delete(p, "pods", "db-1", PROPAGATE_DEFAULT); /* it comes back as it was */
	assert_string_equal(image(p, "db-1"), "one");
}

static void takes_claims_along(void **state)
{
	struct place *p = *state;
	const struct json *claim;

	make_set(p, 2,
		 "'podManagementPolicy':'Parallel','persistentVolumeClaimRetentionPolicy':{"
		 "'whenDeleted':'Delete','whenScaled':'Delete'},");
	place_run_all(p);
	claim = place_get(p, "persistentvolumeclaims", "data-db-0");
	assert_int_equal(json_len(json_get(json_get(claim, "metadata"), "ownerReferences")), 1);
	scale(p, 1);
	claim = place_get(p, "persistentvolumeclaims", "data-db-1");
	if (claim) /* held by its protection until somebody sees that it is unused */
		assert_non_null(json_get(json_get(claim, "metadata"), "deletionTimestamp"));
	claim = place_get(p, "persistentvolumeclaims", "data-db-0");
	assert_null(json_get(json_get(claim, "metadata"), "deletionTimestamp"));
}

static void replaces_what_failed(void **state)
{
	struct place *p = *state;

	make_set(p, 1, "");
	place_end(p, "db-0", "Failed", 1);
	assert_null(json_get_text(place_status(p, "pods", "db-0"), "reason"));
	assert_string_not_equal(json_get_text(place_status(p, "pods", "db-0"), "phase"), "Failed");
}

static void waits_until_available(void **state)
{
	struct place *p = *state;

	make_set(p, 2, "'minReadySeconds':20,");
	place_run(p, "db-0", true);
	assert_int_equal(place_count(p, "pods"), 1);
	assert_int_equal(number(p, "readyReplicas"), 1);
	assert_int_equal(number(p, "availableReplicas"), 0);
	p->now_s += 21;
	place_patch(p, "statefulsets", "db", NULL, place_json("{'metadata':{'labels':{'a':'b'}}}"));
	assert_int_equal(place_count(p, "pods"), 2);
}

static void pods_of_lost_nodes_go(void **state)
{
	struct place *p = *state;

	place_create(p, "nodes", place_json("{'metadata':{'name':'n1'}}"));
	place_create(p, "pods",
		     place_json("{'metadata':{'name':'a'},'spec':{'nodeName':'n1','containers':[{"
				"'name':'c','image':'i'}]}}"));
	assert_non_null(place_get(p, "pods", "a"));
	place_delete(p, "nodes", "n1", PROPAGATE_DEFAULT);
	assert_non_null(place_get(p, "pods", "a")); /* it may come back */
	p->now_s += 41;
	place_patch(p, "pods", "a", NULL, place_json("{'metadata':{'labels':{'a':'b'}}}"));
	assert_null(place_get(p, "pods", "a"));
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(counts_up_in_order),	 IN_PLACE(counts_in_parallel),
		IN_PLACE(updates_from_the_top),	 IN_PLACE(stops_at_the_partition),
		IN_PLACE(takes_claims_along),	 IN_PLACE(replaces_what_failed),
		IN_PLACE(waits_until_available), IN_PLACE(pods_of_lost_nodes_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
