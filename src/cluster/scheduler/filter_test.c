/*
 * Filters, one by one and together: where a pod goes, and what is said when it goes nowhere.
 */
#include "cluster/scheduler/place_fixture.h"

#define RESOURCES(text) "'containers':[{'name':'c','resources':{'requests':{" text "}}}]"
#define CPU(n)		RESOURCES("'cpu':'" n "'")
#define NEAR(how, app, key)                                                           \
	"'affinity':{'" how "':{'requiredDuringSchedulingIgnoredDuringExecution':[{'" \
	"labelSelector':{'matchLabels':{'app':'" app "'}},'topologyKey':'" key "'}]}}"
#define SPREAD(when)                                                                    \
	"'topologySpreadConstraints':[{'maxSkew':1,'topologyKey':'zone','whenUnsatisfi" \
	"able':'" when "','labelSelector':{'matchLabels':{'app':'w'}}}]"

static void says_why_not(void **state)
{
	struct place *p = *state;

	assert_string_equal(place_pick(p, "", ""), "");
	assert_string_equal(strbuf_text(&p->why), "no nodes available to schedule pods");
	(void)place_node(p, "a", "", "", 1);
	(void)place_node(p, "b", "", "'taints':[{'key':'k','value':'v','effect':'NoSchedule'}]", 4);
	(void)place_node(p, "c", "", "'unschedulable':true", 4);
	assert_string_equal(place_pick(p, "", CPU("2")), "");
	assert_string_equal(
		strbuf_text(&p->why),
		"0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated "
		"taint {k: v}, 1 node(s) were unschedulable.");
	assert_true(p->helped_by & QUEUE_POD_GONE);
	assert_string_equal(
		place_pick(p, "", CPU("2") ",'tolerations':[{'key':'k','operator':'Exists'}]"),
		"b");
	assert_string_equal(place_pick(p, "", CPU("9")), "");
	assert_string_equal(strbuf_text(&p->help), "cpu of at most 1000m");
}

static void counts_extended_resources(void **state)
{
	struct place *p = *state;

	(void)place_node(p, "a", "", "", 1);
	place_put(p, "default/1", "", RESOURCES("'example.com/gpu':'2'"), "a");
	assert_string_equal(place_pick(p, "", RESOURCES("'example.com/gpu':'1'")), "");
	assert_string_equal(strbuf_text(&p->why),
			    "0/1 nodes are available: 1 Insufficient example.com/gpu.");
	assert_true(snapshot_unplace(p->s, "default/1"));
	assert_string_equal(place_pick(p, "", RESOURCES("'example.com/gpu':'1'")), "a");
}

static void keeps_to_node_affinity(void **state)
{
	struct place *p = *state;

	(void)place_node(p, "a", "'disk':'hdd'", "", 1);
	(void)place_node(p, "b", "'disk':'ssd'", "", 1);
	assert_string_equal(place_pick(p, "", "'nodeSelector':{'disk':'ssd'}"), "b");
	assert_string_equal(
		place_pick(p, "",
			   "'affinity':{'nodeAffinity':{'requiredDuringSchedulingIgnoredDuring"
			   "Execution':{'nodeSelectorTerms':[{'matchFields':[{'key':'metadata.name'"
			   ",'operator':'In','values':['a']}]}]}}}"),
		"a");
	assert_string_equal(place_pick(p, "", "'nodeSelector':{'disk':'tape'}"), "");
	assert_string_equal(
		strbuf_text(&p->why),
		"0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.");
}

static void keeps_pods_apart(void **state)
{
	static const char apart[] = NEAR("podAntiAffinity", "w", HOSTNAME);
	struct place *p = *state;

	(void)place_node(p, "a", "", "", 4);
	(void)place_node(p, "b", "", "", 4);
	place_put(p, "default/1", "'app':'w'", apart, "a");
	assert_string_equal(place_pick(p, "'app':'w'", apart), "b");
	/* one that has no wish itself is kept off by the one that is there */
	assert_string_equal(place_pick(p, "'app':'w'", ""), "b");
	place_put(p, "default/2", "'app':'w'", apart, "b");
	assert_string_equal(place_pick(p, "'app':'w'", apart), "");
	assert_string_equal(
		strbuf_text(&p->why),
		"0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.");
	assert_string_equal(place_pick(p, "'app':'w'", ""), "");
	assert_string_equal(strbuf_text(&p->why), "0/2 nodes are available: 2 node(s) didn't "
						  "satisfy existing pods anti-affinity rules.");
	assert_string_not_equal(place_pick(p, "'app':'other'", ""), "");
}

static void keeps_pods_together(void **state)
{
	static const char together[] = NEAR("podAffinity", "w", "zone");
	struct place *p = *state;

	(void)place_node(p, "a", "'zone':'1'", "", 4);
	(void)place_node(p, "b", "'zone':'2'", "", 4);
	(void)place_node(p, "c", "", "", 4);
	assert_string_equal(place_pick(p, "'app':'x'", together), "");
	assert_false(p->helped_by & QUEUE_VOLUME);
	/* the first of its group goes anywhere that has the label */
	assert_string_not_equal(place_pick(p, "'app':'w'", together), "");
	place_put(p, "default/1", "'app':'w'", "", "b");
	assert_string_equal(place_pick(p, "'app':'x'", together), "b");
}

static void spreads_pods(void **state)
{
	struct place *p = *state;

	(void)place_node(p, "a", "'zone':'1'", "", 4);
	(void)place_node(p, "b", "'zone':'2'", "", 1);
	(void)place_node(p, "c", "", "", 4);
	place_put(p, "default/1", "'app':'w'", "", "a");
	assert_string_equal(place_pick(p, "'app':'w'", SPREAD("DoNotSchedule")), "b");
	assert_string_equal(place_pick(p, "'app':'w'", SPREAD("ScheduleAnyway")), "b");
	assert_string_equal(place_pick(p, "'app':'w'", SPREAD("DoNotSchedule") "," CPU("2")), "");
	assert_string_equal(
		strbuf_text(&p->why),
		"0/3 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology "
		"spread constraints, 1 node(s) didn't match pod topology spread constraints "
		"(missing required label).");
}

/* A class's ranking is kept: it says the same as a look at every node. */
static void keeps_rankings_current(void **state)
{
	struct place *p = *state;
	struct pod_class *c;

	for (int i = 0; i < 8; i++) {
		char name[8] = {'n', (char)('0' + i), 0};

		(void)place_node(p, name, "", "", 2);
	}
	c = place_class(p, "", CPU("500m"));
	c->refs++; /* as if more of them waited */
	for (int i = 0; i < 32; i++) {
		struct node_info *n = pick_node(p->s, c, &p->why, &p->help, &p->helped_by);
		auto_free char *key = mem_printf("default/%d", i);

		assert_non_null(n);
		assert_int_equal(n->used.n[AMOUNT_CPU], 500 * (i / 8));
		snapshot_place(p->s, key, c, n->name);
	}
	assert_null(pick_node(p->s, c, &p->why, &p->help, &p->helped_by));
	assert_true(snapshot_unplace(p->s, "default/3"));
	assert_non_null(pick_node(p->s, c, &p->why, &p->help, &p->helped_by));
	class_drop(p->s, c);
	class_drop(p->s, c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(says_why_not, place_set_up, place_tear_down),
		cmocka_unit_test_setup_teardown(counts_extended_resources, place_set_up,
						place_tear_down),
		cmocka_unit_test_setup_teardown(keeps_to_node_affinity, place_set_up,
						place_tear_down),
		cmocka_unit_test_setup_teardown(keeps_pods_apart, place_set_up, place_tear_down),
		cmocka_unit_test_setup_teardown(keeps_pods_together, place_set_up, place_tear_down),
		cmocka_unit_test_setup_teardown(spreads_pods, place_set_up, place_tear_down),
		cmocka_unit_test_setup_teardown(keeps_rankings_current, place_set_up,
						place_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
