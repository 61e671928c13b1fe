/* Disruption budgets and quotas: what their status says, and what evictions make of it. */
#include "cluster/controllers/place_fixture.h"

static void make_web(struct place *p, int replicas)
{
	place_create(p, "deployments",
		     place_json("{'metadata':{'name':'web'},'spec':{'replicas':%d,'selector':{"
				"'matchLabels':{'app':'web'}},'template':{'metadata':{'labels':{"
				"'app':'web'}},'spec':{'containers':[{'name':'c','image':'i'}]}}}}",
				replicas));
	place_run_all(p);
}

static void budget(struct place *p, const char *spec)
{
	place_create(p, "poddisruptionbudgets",
		     place_json("{'metadata':{'name':'web'},'spec':{'selector':{'matchLabels':{"
				"'app':'web'}},%s}}",
				spec));
}

static int64_t number(struct place *p, const char *key)
{
	return json_get_i64(place_status(p, "poddisruptionbudgets", "web"), key, -1);
}

static void says(struct place *p, int expected, int healthy, int desired, int allowed)
{
	const char *reason;

	assert_int_equal(number(p, "expectedPods"), expected);
	assert_int_equal(number(p, "currentHealthy"), healthy);
	assert_int_equal(number(p, "desiredHealthy"), desired);
	assert_int_equal(number(p, "disruptionsAllowed"), allowed);
	reason = place_condition(place_status(p, "poddisruptionbudgets", "web"),
				 "DisruptionAllowed", "reason");
	assert_string_equal(reason, allowed ? "SufficientPods" : "InsufficientPods");
}

static char *first_pod(struct place *p)
{
	const struct json *list = place_list(p, "pods");

	for (size_t i = 0; i < json_len(list); i++)
		if (!json_get(json_get(json_at(list, i), "metadata"), "deletionTimestamp"))
			return mem_dup_text(place_name(json_at(list, i)));
	fail_msg("no pod");
	return NULL;
}

/* 0, or the kind of the refusal. */
static int evict(struct place *p, const char *pod)
{
	const struct client_target t = {place_kind("pods"), "default", pod, "eviction"};

	p->called = false;
	client_create(&p->client, &t,
		      place_json("{'apiVersion':'policy/v1','kind':'Eviction','metadata':{'name':"
				 "'%s'}}",
				 pod),
		      NULL, place_ended, p);
	place_settle(p);
	return (int)p->error.kind;
}

static void counts_a_number(void **state)
{
	struct place *p = *state;

	make_web(p, 3);
	budget(p, "'minAvailable':2");
	says(p, 3, 3, 2, 1);
	place_patch(p, "poddisruptionbudgets", "web", NULL,
		    place_json("{'spec':{'minAvailable':3}}"));
	says(p, 3, 3, 3, 0);
	assert_int_equal(number(p, "observedGeneration"), 2);
}

static void counts_shares_of_the_scale(void **state)
{
	struct place *p = *state;

	make_web(p, 4);
	budget(p, "'maxUnavailable':'30%'");
	says(p, 4, 4, 2, 2);
	place_patch(p, "deployments", "web", NULL, place_json("{'spec':{'replicas':8}}"));
	says(p, 8, 4, 5, 0);
	place_run_all(p);
	says(p, 8, 8, 5, 3);
}

static void evictions_spend_it(void **state)
{
	struct place *p = *state;
	auto_free char *pod = NULL, *other = NULL;

	make_web(p, 2);
	budget(p, "'minAvailable':1");
	pod = first_pod(p);
	assert_int_equal(evict(p, pod), 0);
	says(p, 2, 1, 1, 0);
	for (size_t i = 0; i < 2; i++) {
		const struct json *one = json_at(place_list(p, "pods"), i);

		if (text_eq(place_condition(json_get(one, "status"), "Ready", "status"), "True")) {
			free(other);
			other = mem_dup_text(place_name(one));
		}
	}
	assert_non_null(other);
	assert_int_equal(evict(p, other), ERR_BUSY);
	assert_string_equal(p->error.text, "Cannot evict pod as it would violate the pod's "
					   "disruption budget.");
	place_run_all(p);
	says(p, 2, 2, 1, 1);
}

static void unready_pods_may_go(void **state)
{
	struct place *p = *state;
	auto_free char *pod = NULL;

	make_web(p, 1);
	pod = first_pod(p);
	place_run(p, pod, false);
	budget(p, "'minAvailable':1");
	assert_int_equal(evict(p, pod), ERR_BUSY);
	place_patch(p, "poddisruptionbudgets", "web", NULL,
		    place_json("{'spec':{'unhealthyPodEvictionPolicy':'AlwaysAllow'}}"));
	assert_int_equal(evict(p, pod), 0);
}

static const char *used(struct place *p, const char *name)
{
	const char *text =
		json_get_text(json_get(place_status(p, "resourcequotas", "all"), "used"), name);

	return text ? text : "";
}

static void quotas_follow_what_there_is(void **state)
{
	struct place *p = *state;

	place_create(
		p, "resourcequotas",
		place_json("{'metadata':{'name':'all'},'spec':{'hard':{'pods':'5',"
			   "'requests.cpu':'2','count/deployments.apps':'3','services':'1'}}}"));
	assert_string_equal(used(p, "pods"), "0");
	place_create(p, "pods",
		     place_json("{'metadata':{'name':'a'},'spec':{'containers':[{'name':'c','image'"
				":'i','resources':{'requests':{'cpu':'300m'}}}]}}"));
	assert_string_equal(used(p, "pods"), "1");
	assert_string_equal(used(p, "requests.cpu"), "300m");
	assert_string_equal(used(p, "services"), "0");
	place_end(p, "a", "Succeeded", 0);
	assert_string_equal(used(p, "pods"), "0");
	place_delete(p, "pods", "a", PROPAGATE_DEFAULT);
	assert_string_equal(used(p, "requests.cpu"), "0");
	place_patch(p, "resourcequotas", "all", NULL,
		    place_json("{'spec':{'hard':{'services':null}}}"));
	assert_string_equal(used(p, "services"), "");
}

int main(void)
{
#define placed(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)
	const struct CMUnitTest tests[] = {
		placed(counts_a_number),
		placed(counts_shares_of_the_scale),
		placed(evictions_spend_it),
		placed(unready_pods_may_go),
		placed(quotas_follow_what_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
