/* The life of nodes: silence, taints, and the pods that leave. */
#include "cluster/controllers/place_fixture.h"

static void beat(struct place *p)
{
	const struct client_target t = {place_kind("leases"), "kube-node-lease", "n"};
	char now[RFC3339_CHARS + 1];

	p->called = false;
	client_update(&p->client, &t,
		      place_json("{'metadata':{'name':'n'},'spec':{'holderIdentity':'n',"
				 "'leaseDurationSeconds':40,'renewTime':'%s'}}",
				 rfc3339_text_padded(place_now(p), now)),
		      &(struct write_options){.upsert = true}, place_ended, p);
	place_settle(p);
	if (p->error.kind)
		fail_msg("%s", p->error.text);
}

static void set_condition(struct place *p, const char *type, const char *value)
{
	place_patch(
		p, "nodes", "n", "status",
		place_json("{'status':{'conditions':[{'type':'%s','status':'%s'}]}}", type, value));
}

static void make_node(struct place *p)
{
	place_create(p, "namespaces", place_json("{'metadata':{'name':'kube-node-lease'}}"));
	place_create(p, "nodes", place_json("{'metadata':{'name':'n'}}"));
	set_condition(p, "Ready", "True");
	beat(p);
}

/* A change of the node is a reason to look: time alone moves no queue here. */
static void look(struct place *p)
{
	static int n;

	place_patch(p, "nodes", "n", NULL,
		    place_json("{'metadata':{'labels':{'look':'%d'}}}", ++n));
}

static bool has_taint(struct place *p, const char *key, const char *effect)
{
	const struct json *list = json_get(json_get(place_get(p, "nodes", "n"), "spec"), "taints");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "key"), key) &&
		    text_eq(json_get_text(json_at(list, i), "effect"), effect))
			return true;
	return false;
}

static void make_pod(struct place *p, const char *name, const char *more)
{
	place_create(p, "pods",
		     place_json("{'metadata':{'name':'%s'},'spec':{'nodeName':'n',%s"
				"'terminationGracePeriodSeconds':0,'containers':[{'name':'c',"
				"'image':'i'}]}}",
				name, more));
	place_run(p, name, true);
}

static bool is_there(struct place *p, const char *pod)
{
	const struct json *o = place_get(p, "pods", pod);

	return o && !json_get(json_get(o, "metadata"), "deletionTimestamp");
}

static void silence_is_noticed(void **state)
{
	struct place *p = *state;
	const struct json *status;

	make_node(p);
	make_pod(p, "a", "");
	p->now_s += 30;
	beat(p);
	p->now_s += 39;
	look(p);
	status = place_status(p, "nodes", "n");
	assert_string_equal(place_condition(status, "Ready", "status"), "True");
	p->now_s += 2;
	look(p);
	status = place_status(p, "nodes", "n");
	assert_string_equal(place_condition(status, "Ready", "status"), "Unknown");
	assert_string_equal(place_condition(status, "Ready", "reason"), "NodeStatusUnknown");
	assert_true(has_taint(p, "node.kubernetes.io/unreachable", "NoExecute"));
	assert_true(has_taint(p, "node.kubernetes.io/unreachable", "NoSchedule"));
	status = place_status(p, "pods", "a");
	assert_string_equal(place_condition(status, "Ready", "status"), "False");
	beat(p);
	set_condition(p, "Ready", "True");
	assert_false(has_taint(p, "node.kubernetes.io/unreachable", "NoExecute"));
	p->now_s += 301;
	beat(p);
	look(p);
	assert_true(is_there(p, "a"));
}

static void pods_leave_after_their_time(void **state)
{
	struct place *p = *state;

	make_node(p);
	make_pod(p, "short",
		 "'tolerations':[{'key':'node.kubernetes.io/not-ready','operator':"
		 "'Exists','effect':'NoExecute','tolerationSeconds':10}],");
	make_pod(p, "long", "");
	make_pod(p, "ever", "'tolerations':[{'operator':'Exists'}],");
	set_condition(p, "Ready", "False");
	assert_true(has_taint(p, "node.kubernetes.io/not-ready", "NoExecute"));
	assert_true(is_there(p, "short"));
	p->now_s += 11;
	beat(p);
	look(p);
	assert_false(is_there(p, "short"));
	assert_true(is_there(p, "long"));
	p->now_s += 300;
	beat(p);
	look(p);
	assert_false(is_there(p, "long"));
	assert_true(is_there(p, "ever"));
}

static void taints_of_users_evict(void **state)
{
	struct place *p = *state;

	make_node(p);
	make_pod(p, "a", "");
	place_patch(
		p, "nodes", "n", NULL,
		place_json("{'spec':{'taints':[{'key':'k','value':'v','effect':'NoExecute'}]}}"));
	assert_false(is_there(p, "a"));
	place_patch(p, "nodes", "n", NULL, place_json("{'spec':{'unschedulable':true}}"));
	assert_true(has_taint(p, "node.kubernetes.io/unschedulable", "NoSchedule"));
	assert_true(has_taint(p, "k", "NoExecute"));
	place_patch(p, "nodes", "n", NULL, place_json("{'spec':{'unschedulable':null}}"));
	assert_false(has_taint(p, "node.kubernetes.io/unschedulable", "NoSchedule"));
	set_condition(p, "MemoryPressure", "True");
	assert_true(has_taint(p, "node.kubernetes.io/memory-pressure", "NoSchedule"));
}

int main(void)
{
#define placed(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)
	const struct CMUnitTest tests[] = {
		placed(silence_is_noticed),
		placed(pods_leave_after_their_time),
		placed(taints_of_users_evict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
