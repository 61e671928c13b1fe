/* Autoscalers: what metrics ask for, windows and policies, and what is said of it. */
#include "cluster/controllers/autoscaler_priv.h"
#include "cluster/controllers/place_fixture.h"

/* -- pace -------------------------------------------------------------------------------------- */

static int64_t paced(struct pace *p, const char *spec, int64_t now_s, int64_t current,
		     int64_t wanted, const char *limit)
{
	auto_json struct json *tree = place_json("%s", spec);
	struct pace_question q = {tree, now_s, current, wanted};
	struct pace_answer a;

	pace_ask(p, &q, &a);
	assert_string_equal(a.limit, limit);
	if (a.replicas != current)
		pace_scaled(p, now_s, current, a.replicas);
	return a.replicas;
}

static void grows_by_the_defaults(void **state)
{
	const char *spec = "{'minReplicas':1,'maxReplicas':100}";
	struct pace *p = pace_new();

	(void)state;
	assert_int_equal(paced(p, spec, 1000, 1, 50, "ScaleUpLimit"), 5);
	assert_int_equal(paced(p, spec, 1002, 5, 50, "ScaleUpLimit"), 5);
	assert_int_equal(paced(p, spec, 1016, 5, 50, "ScaleUpLimit"), 10);
	assert_int_equal(paced(p, spec, 1032, 10, 12, "DesiredWithinRange"), 12);
	assert_int_equal(paced(p, spec, 1090, 60, 150, "TooManyReplicas"), 100);
	(void)pace_free(p);
}

static void shrinks_after_its_window(void **state)
{
	const char *spec = "{'minReplicas':2,'maxReplicas':9}";
	struct pace *p = pace_new();

	(void)state;
	assert_int_equal(paced(p, spec, 1000, 8, 8, "DesiredWithinRange"), 8);
	assert_int_equal(paced(p, spec, 1100, 8, 3, "DesiredWithinRange"), 8);
	assert_int_equal(paced(p, spec, 1200, 8, 5, "DesiredWithinRange"), 8);
	assert_int_equal(paced(p, spec, 1301, 8, 1, "DesiredWithinRange"), 5);
	assert_int_equal(paced(p, spec, 1601, 5, 0, "TooFewReplicas"), 2);
	(void)pace_free(p);
}

static void keeps_to_policies(void **state)
{
	const char *spec = "{'minReplicas':1,'maxReplicas':50,'behavior':{'scaleUp':{'selectPolicy'"
			   ":'Min','stabilizationWindowSeconds':10,'policies':[{'type':'Pods',"
			   "'value':2,'periodSeconds':60},{'type':'Percent','value':100,"
			   "'periodSeconds':60}]},'scaleDown':{'stabilizationWindowSeconds':0,"
			   "'policies':[{'type':'Percent','value':50,'periodSeconds':30}]}}}";
	const char *never = "{'maxReplicas':50,'behavior':{'scaleDown':{'selectPolicy':'Disabled',"
			    "'stabilizationWindowSeconds':0}}}";
	struct pace *p = pace_new();

	(void)state;
	assert_int_equal(paced(p, spec, 1000, 4, 40, "DesiredWithinRange"), 4);
	assert_int_equal(paced(p, spec, 1011, 4, 40, "ScaleUpLimit"), 6);
	assert_int_equal(paced(p, spec, 1030, 6, 40, "ScaleUpLimit"), 6);
	assert_int_equal(paced(p, spec, 1072, 6, 40, "ScaleUpLimit"), 8);
	assert_int_equal(paced(p, spec, 2000, 8, 1, "ScaleDownLimit"), 4);
	assert_int_equal(paced(p, spec, 2010, 4, 1, "ScaleDownLimit"), 4);
	assert_int_equal(paced(p, spec, 2031, 4, 1, "ScaleDownLimit"), 2);
	assert_int_equal(paced(p, never, 2100, 2, 1, "ScaleDownLimit"), 2);
	(void)pace_free(p);
}

/* -- the whole --------------------------------------------------------------------------------- */

/* What the only node says of each pod, in nanocores and bytes; -1: it says nothing. */
static struct place *the_place;
static int64_t burnt, held;

struct asking {
	node_json_done *done;
	void *ctx;
};

static void answer(void *arg)
{
	struct asking *a = arg;
	char now[RFC3339_CHARS + 1];
	auto_json struct json *j = json_new_object();
	struct json *pods = json_make_array(j, "pods");

	for (int i = 0; burnt >= 0 && i < 9; i++)
		json_append(pods, place_json("{'namespace':'default','name':'web-%d','containers':["
					     "{'name':'c','cpu':%lld,'memory':%lld}]}",
					     i, (long long)burnt, (long long)held));
	json_set_text(j, "time", rfc3339_text(place_now(the_place), now));
	json_set_i64(j, "window_s", 1);
	a->done(a->ctx, j, NULL);
	free(a);
}

static void stats(void *node, node_json_done *done, void *ctx)
{
	struct asking *a = mem_new(struct asking);

	(void)node;
	*a = (struct asking){done, ctx};
	loop_defer(the_place->loop, answer, a);
}

static const struct node_ops *find(void *ctx, const char *name, void **ret_node)
{
	static const struct node_ops ops = {.stats = stats};

	(void)ctx;
	(void)name;
	*ret_node = NULL;
	return &ops;
}

/* A stateful set: its pods have names that the node's answer knows. */
static void make(struct place *p, const char *requests)
{
	static const struct node_directory nodes = {find, NULL};

	the_place = p;
	place_down(p);
	place_up_with(p, &nodes);
	place_create(p, "nodes", place_json("{'metadata':{'name':'n'}}"));
	place_create(p, "statefulsets",
		     place_json("{'metadata':{'name':'web'},'spec':{'replicas':2,'serviceName':"
				"'web','podManagementPolicy':'Parallel','selector':{'matchLabels':{"
				"'app':'web'}},'template':{'metadata':{'labels':{'app':'web'}},"
				"'spec':{'containers':[{'name':'c','image':'i'%s}]}}}}",
				requests));
	place_run_all(p);
	p->now_s += 60;
}

static void run_since(struct place *p, const char *pod, int64_t s)
{
	char when[RFC3339_CHARS + 1];

	place_run(p, pod, true);
	place_patch(p, "pods", pod, "status",
		    place_json("{'status':{'startTime':'%s'}}",
			       rfc3339_text((p->now_s - s) * 1000000000, when)));
}

static void run_both(struct place *p)
{
	run_since(p, "web-0", 600);
	run_since(p, "web-1", 600);
	p->now_s += 2;
}

static void autoscale(struct place *p, const char *metric)
{
	place_create(p, "horizontalpodautoscalers",
		     place_json("{'metadata':{'name':'web'},'spec':{'maxReplicas':5,"
				"'scaleTargetRef':{'apiVersion':'apps/v1','kind':'StatefulSet',"
				"'name':'web'},'behavior':{'scaleDown':{"
				"'stabilizationWindowSeconds':0}},'metrics':[%s]}}",
				metric));
}

/* A user's change of the spec is a reason to look. */
static void look(struct place *p)
{
	static int minimum;

	minimum = 3 - minimum; /* 3, 0, ... */
	place_patch(
		p, "horizontalpodautoscalers", "web", NULL,
		place_json("{'spec':{'behavior':{'scaleUp':{'stabilizationWindowSeconds':%d}}}}",
			   minimum ? 0 : 1));
}

static const char *said(struct place *p, const char *type, const char *member)
{
	const char *text =
		place_condition(place_status(p, "horizontalpodautoscalers", "web"), type, member);

	return text ? text : "";
}

static int64_t replicas(struct place *p)
{
	return json_get_i64(json_get(place_get(p, "statefulsets", "web"), "spec"), "replicas", 0);
}

static const char cpu[] = "{'type':'Resource','resource':{'name':'cpu','target':{'type':"
			  "'Utilization','averageUtilization':50}}}";
static const char asks[] = ",'resources':{'requests':{'cpu':'100m','memory':'64Mi'}}";

static void follows_the_load(void **state)
{
	struct place *p = *state;
	const struct json *status, *metric;

	make(p, asks);
	run_both(p);
	burnt = 90000000;
	autoscale(p, cpu);
	assert_int_equal(replicas(p), 4); /* 90 of 50 percent: 1.8 times 2 */
	status = place_status(p, "horizontalpodautoscalers", "web");
	metric = json_get(json_at(json_get(status, "currentMetrics"), 0), "resource");
	assert_int_equal(json_get_i64(json_get(metric, "current"), "averageUtilization", 0), 90);
	assert_string_equal(json_get_text(json_get(metric, "current"), "averageValue"), "90m");
	assert_int_equal(json_get_i64(status, "desiredReplicas", 0), 4);
	assert_non_null(json_get_text(status, "lastScaleTime"));
	assert_string_equal(said(p, "AbleToScale", "reason"), "SucceededRescale");
	assert_string_equal(said(p, "ScalingActive", "reason"), "ValidMetricFound");
	for (int i = 0; i < 4; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "web-%d", i);
		run_since(p, name, 600);
	}
	p->now_s += 20;
	burnt = 20000000;
	look(p);
	assert_int_equal(replicas(p), 2);
	burnt = 52000000; /* within the tolerance */
	look(p);
	assert_int_equal(replicas(p), 2);
	assert_string_equal(said(p, "AbleToScale", "reason"), "ReadyForNewScale");
}

static void does_not_trust_young_pods(void **state)
{
	struct place *p = *state;

	make(p, asks);
	run_since(p, "web-0", 600);
	run_since(p, "web-1", 10); /* ready in this second: measured before it was */
	burnt = 90000000;
	autoscale(p, cpu);
	assert_int_equal(replicas(p), 2);
	p->now_s += 2;
	look(p);
	assert_int_equal(replicas(p), 4);
}

static void tells_what_is_missing(void **state)
{
	struct place *p = *state;

	make(p, "");
	run_both(p);
	burnt = 90000000;
	autoscale(p, cpu);
	assert_int_equal(replicas(p), 2);
	assert_string_equal(said(p, "ScalingActive", "reason"), "FailedGetResourceMetric");
	assert_non_null(strstr(said(p, "ScalingActive", "message"),
			       "missing request for cpu in container c of Pod web-"));
	burnt = -1;
	place_patch(p, "horizontalpodautoscalers", "web", NULL,
		    place_json("{'spec':{'metrics':[{'type':'Resource','resource':{'name':'cpu',"
			       "'target':{'type':'AverageValue','averageValue':'50m'}}}]}}"));
	assert_non_null(strstr(said(p, "ScalingActive", "message"), "no metrics returned"));
	place_delete(p, "statefulsets", "web", PROPAGATE_DEFAULT);
	look(p);
	assert_string_equal(said(p, "AbleToScale", "reason"), "FailedGetScale");
}

static void measures_one_container(void **state)
{
	struct place *p = *state;

	make(p, asks);
	run_both(p);
	held = 96 << 20;
	burnt = 0;
	autoscale(p, "{'type':'ContainerResource','containerResource':{'name':'memory',"
		     "'container':'c','target':{'type':'AverageValue','averageValue':'64Mi'}}}");
	assert_int_equal(replicas(p), 3);
}

static void keeps_the_bounds(void **state)
{
	struct place *p = *state;

	make(p, asks);
	burnt = -1;
	place_patch(p, "statefulsets", "web", NULL, place_json("{'spec':{'replicas':8}}"));
	autoscale(p, cpu);
	assert_int_equal(replicas(p), 5);
	place_patch(p, "statefulsets", "web", NULL, place_json("{'spec':{'replicas':0}}"));
	look(p);
	assert_int_equal(replicas(p), 0);
	assert_string_equal(said(p, "ScalingActive", "reason"), "ScalingDisabled");
}

int main(void)
{
#define placed(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_by_the_defaults), cmocka_unit_test(shrinks_after_its_window),
		cmocka_unit_test(keeps_to_policies),	 placed(follows_the_load),
		placed(does_not_trust_young_pods),	 placed(tells_what_is_missing),
		placed(measures_one_container),		 placed(keeps_the_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
