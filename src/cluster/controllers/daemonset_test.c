/* Daemon sets on nodes that come, go and have taints. */
#include "cluster/controllers/place_fixture.h"

static void make_node(struct place *p, const char *name, const char *more)
{
	place_create(p, "nodes",
		     place_json("{'metadata':{'name':'%s','labels':{'disk':'%s'}},'spec':{%s}}",
				name, name, more));
}

static void make_set(struct place *p, const char *pod, const char *more)
{
	place_create(p, "daemonsets",
		     place_json("{'metadata':{'name':'agent'},'spec':{'selector':{'matchLabels':{"
				"'app':'agent'}},%s'template':{'metadata':{'labels':{'app':"
				"'agent'}},'spec':{%s'containers':[{'name':'c','image':'one'}]}}}}",
				more, pod));
}

static int64_t number(struct place *p, const char *key)
{
	return json_get_i64(place_status(p, "daemonsets", "agent"), key, 0);
}

static void runs_on_every_node(void **state)
{
	struct place *p = *state;
	const struct json *spec;

	make_node(p, "n1", "");
	make_set(p, "", "");
	assert_int_equal(place_count(p, "pods"), 1);
	spec = json_get(json_at(p->list, 0), "spec");
	assert_non_null(json_get(json_get(spec, "affinity"), "nodeAffinity"));
	assert_true(json_len(json_get(spec, "tolerations")) >= 6);
	make_node(p, "n2", "");
	assert_int_equal(place_count(p, "pods"), 2);
	assert_int_equal(number(p, "desiredNumberScheduled"), 2);
	assert_int_equal(number(p, "numberReady"), 0);
	place_run_all(p);
	assert_int_equal(number(p, "numberAvailable"), 2);
	assert_int_equal(number(p, "updatedNumberScheduled"), 2);
}

static void stays_away_from_taints(void **state)
{
	struct place *p = *state;

	make_node(p, "n1", "'taints':[{'key':'a','value':'b','effect':'NoSchedule'}]");
	make_node(p, "n2", "'unschedulable':true");
	make_set(p, "", "");
	assert_int_equal(place_count(p, "pods"), 1);
	place_patch(p, "nodes", "n2", NULL,
		    place_json("{'spec':{'taints':[{'key':'a','effect':'NoExecute'}]}}"));
	assert_int_equal(place_count(p, "pods"), 0);
}

static void keeps_to_its_selector(void **state)
{
	struct place *p = *state;

	make_node(p, "n1", "");
	make_node(p, "n2", "");
	make_set(p, "'nodeSelector':{'disk':'n2'},", "");
	assert_int_equal(place_count(p, "pods"), 1);
	place_patch(p, "nodes", "n2", NULL, place_json("{'metadata':{'labels':{'disk':'x'}}}"));
	assert_int_equal(place_count(p, "pods"), 0);
}

static void set_image(struct place *p)
{
	place_patch(p, "daemonsets", "agent", NULL,
		    place_json("{'spec':{'template':{'spec':{'containers':[{'name':'c','image':"
			       "'two'}]}}}}"));
}

static void rolls_one_by_one(void **state)
{
	struct place *p = *state;

	make_node(p, "n1", "");
	make_node(p, "n2", "");
	make_node(p, "n3", "");
	make_set(p, "", "");
	place_run_all(p);
	set_image(p);
	assert_int_equal(place_count(p, "controllerrevisions"), 2);
	assert_int_equal(number(p, "updatedNumberScheduled"), 1);
	assert_int_equal(number(p, "numberAvailable"), 2);
	place_run_all(p);
	assert_int_equal(number(p, "updatedNumberScheduled"), 2);
	place_run_all(p);
	place_run_all(p);
	assert_int_equal(number(p, "updatedNumberScheduled"), 3);
	assert_int_equal(number(p, "numberAvailable"), 3);
}

static void surges(void **state)
{
	struct place *p = *state;

	make_node(p, "n1", "");
	make_set(p, "", "'updateStrategy':{'rollingUpdate':{'maxSurge':1,'maxUnavailable':0}},");
	place_run_all(p);
	set_image(p);
	assert_int_equal(place_count(p, "pods"), 2);
	place_run_all(p);
	assert_int_equal(place_count(p, "pods"), 1);
	assert_int_equal(number(p, "updatedNumberScheduled"), 1);
}

static void waits_for_deletion(void **state)
{
	struct place *p = *state;
	auto_free char *pod = NULL;

	make_node(p, "n1", "");
	make_set(p, "", "'updateStrategy':{'type':'OnDelete'},");
	place_run_all(p);
	set_image(p);
	assert_int_equal(number(p, "updatedNumberScheduled"), 0);
	pod = mem_dup_text(place_name(json_at(place_list(p, "pods"), 0)));
	place_delete(p, "pods", pod, PROPAGATE_DEFAULT);
	assert_int_equal(number(p, "updatedNumberScheduled"), 1);
}

static void replaces_what_failed(void **state)
{
	struct place *p = *state;
	auto_free char *pod = NULL;

	make_node(p, "n1", "");
	make_set(p, "", "");
	pod = mem_dup_text(place_name(json_at(place_list(p, "pods"), 0)));
	place_end(p, pod, "Failed", 1);
	assert_int_equal(place_count(p, "pods"), 1);
	assert_string_not_equal(place_name(json_at(p->list, 0)), pod);
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(runs_on_every_node),
		IN_PLACE(stays_away_from_taints),
		IN_PLACE(keeps_to_its_selector),
		IN_PLACE(rolls_one_by_one),
		IN_PLACE(surges),
		IN_PLACE(waits_for_deletion),
		IN_PLACE(replaces_what_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
