/* The words of a pod's status, from containers as the engine tells them; and names in texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

struct fixture {
	struct node_agent agent;
	struct pod pod;
	struct pod_container containers[3];
	struct json *object, *status;
};

/* JSON with single quotes. */
static struct json *parse(const char *text)
{
	auto_free char *copy = mem_dup_text(text);
	struct json *j = NULL;
	struct err e;

	for (char *p = copy; *p; p++)
		*p = (char)(*p == '\'' ? '"' : *p);
	assert_int_equal(json_parse(str_of(copy), "test", &j, &e), 0);
	return j;
}

static void set_up(struct fixture *f, const char *spec, size_t n)
{
	auto_free char *text = mem_printf("{'metadata':{},'spec':%s}", spec);
	static char names[3][2] = {"a", "b", "c"}, key[] = "default/web";

	*f = (struct fixture){.agent = {.magic = AGENT_MAGIC, .world = &world_real}};
	f->agent.o.address = "192.0.2.1";
	f->pod = (struct pod){.magic = POD_MAGIC,
			      .agent = &f->agent,
			      .key = key,
			      .containers = f->containers,
			      .n = n,
			      .started_ns = 1};
	for (size_t i = 0; i < n; i++) {
		f->containers[i] =
			(struct pod_container){.pod = &f->pod, .name = names[i], .part = PART_MAIN};
		list_init(&f->containers[i].probes);
	}
	f->object = parse(text);
}

static const struct json *look(struct fixture *f)
{
	(void)json_free(f->status);
	f->status = status_of_pod(&f->pod, f->object);
	return f->status;
}

static void tear_down(struct fixture *f)
{
	for (size_t i = 0; i < f->pod.n; i++) {
		container_clear(&f->containers[i]);
		free(f->containers[i].last_words);
		(void)json_free(f->containers[i].last_state);
	}
	(void)json_free(f->status);
	(void)json_free(f->object);
}

static void runs(struct pod_container *c)
{
	c->exists = c->started = c->ready = true;
	c->state = WORKLOAD_RUNNING;
	c->id[0] = '1';
}

static void ends(struct pod_container *c, int code)
{
	c->exists = true;
	c->started = c->ready = false;
	c->state = WORKLOAD_EXITED;
	c->id[0] = '1';
	c->exit_code = code;
	c->started_ns = 1;
	c->finished_ns = 2;
}

static const char *phase(struct fixture *f)
{
	return json_get_text(look(f), "phase");
}

static const struct json *condition_of(struct fixture *f, const char *type)
{
	const struct json *list = json_get(look(f), "conditions");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "type"), type))
			return json_at(list, i);
	fail_msg("no condition %s", type);
	return NULL;
}

static const char *is(struct fixture *f, const char *type)
{
	return json_get_text(condition_of(f, type), "status");
}

/* A member of the state of the first main container. */
static const struct json *state_of(struct fixture *f, const char *member)
{
	const struct json *first = json_at(json_get(look(f), "containerStatuses"), 0);

	return json_get(json_get(first, "state"), member);
}

static void tells_a_pod_that_runs(void **state)
{
	struct fixture f;

	set_up(&f, "{'restartPolicy':'Always','containers':[{'name':'a'},{'name':'b'}]}", 2);
	assert_string_equal(phase(&f), "Pending");
	assert_string_equal(json_get_text(state_of(&f, "waiting"), "reason"), "ContainerCreating");
	runs(&f.containers[0]);
	assert_string_equal(phase(&f), "Pending");
	runs(&f.containers[1]);
	assert_string_equal(phase(&f), "Running");
	assert_string_equal(is(&f, "Ready"), "True");
	f.containers[1].ready = false;
	assert_string_equal(is(&f, "Ready"), "False");
	assert_string_equal(json_get_text(condition_of(&f, "Ready"), "message"),
			    "containers with unready status: [b]");
	f.containers[1].ready = true;
	f.pod.stopping = true; /* who goes is ready no longer, whatever its containers say */
	assert_string_equal(is(&f, "Ready"), "False");
	tear_down(&f);
}

static void tells_a_crash_loop(void **state)
{
	struct fixture f;
	const struct json *s;

	set_up(&f, "{'restartPolicy':'Always','containers':[{'name':'a'}]}", 1);
	ends(&f.containers[0], 137);
	f.containers[0].oom_killed = true;
	f.containers[0].last_words = mem_dup_text("too much");
	s = state_of(&f, "terminated");
	assert_string_equal(json_get_text(s, "reason"), "OOMKilled");
	assert_string_equal(json_get_text(s, "message"), "too much");
	assert_int_equal(json_get_i64(s, "exitCode", 0), 137);
	assert_int_equal(json_get_i64(s, "signal", 0), 9);
	f.containers[0].last_state = container_terminated(&f.containers[0]);
	f.containers[0].exists = false;
	f.containers[0].attempt = 3;
	container_wait(&f.containers[0], "CrashLoopBackOff", "back-off 20s");
	assert_string_equal(phase(&f), "Running");
	assert_string_equal(json_get_text(state_of(&f, "waiting"), "reason"), "CrashLoopBackOff");
	s = json_at(json_get(look(&f), "containerStatuses"), 0);
	assert_int_equal(json_get_i64(s, "restartCount", 0), 2);
	assert_non_null(json_get(json_get(s, "lastState"), "terminated"));
	tear_down(&f);
}

static void tells_how_pods_end(void **state)
{
	static const struct {
		const char *policy, *phase;
		int a, b;
	} rows[] = {
		{"Never", "Succeeded", 0, 0},	  {"Never", "Failed", 0, 1},
		{"OnFailure", "Succeeded", 0, 0}, {"OnFailure", "Running", 0, 1},
		{"Always", "Running", 0, 0},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_free char *spec = mem_printf(
			"{'restartPolicy':'%s','containers':[{'name':'a'},{'name':'b'}]}",
			rows[i].policy);
		struct fixture f;

		set_up(&f, spec, 2);
		ends(&f.containers[0], rows[i].a);
		ends(&f.containers[1], rows[i].b);
		assert_string_equal(phase(&f), rows[i].phase);
		tear_down(&f);
	}
}

static void tells_init_and_sidecars(void **state)
{
	struct fixture f;

	set_up(&f,
	       "{'restartPolicy':'Never','initContainers':[{'name':'a'},{'name':'b'}],"
	       "'containers':[{'name':'c'}]}",
	       3);
	f.containers[0].part = PART_INIT;
	f.containers[1].part = PART_SIDECAR;
	assert_string_equal(is(&f, "Initialized"), "False");
	assert_string_equal(json_get_text(state_of(&f, "waiting"), "reason"), "PodInitializing");
	ends(&f.containers[0], 0);
	assert_string_equal(is(&f, "Initialized"), "False");
	runs(&f.containers[1]);
	assert_string_equal(is(&f, "Initialized"), "True");
	runs(&f.containers[2]);
	assert_string_equal(phase(&f), "Running");
	ends(&f.containers[2], 0); /* the sidecar still runs: it holds nothing back */
	assert_string_equal(phase(&f), "Succeeded");
	ends(&f.containers[0], 1);
	assert_string_equal(phase(&f), "Failed");
	tear_down(&f);
}

static void tells_a_deadline(void **state)
{
	struct fixture f;

	set_up(&f, "{'restartPolicy':'Always','containers':[{'name':'a'}]}", 1);
	runs(&f.containers[0]);
	f.pod.failed_reason = "DeadlineExceeded";
	f.pod.failed_message = "too long";
	assert_string_equal(phase(&f), "Failed");
	assert_string_equal(json_get_text(f.status, "reason"), "DeadlineExceeded");
	assert_string_equal(is(&f, "Ready"), "False");
	tear_down(&f);
}

static void judges_qos(void **state)
{
	static const struct {
		const char *resources, *class;
	} rows[] = {
		{"{}", "BestEffort"},
		{"{'requests':{'cpu':'1'}}", "Burstable"},
		{"{'limits':{'cpu':'1'},'requests':{'cpu':'1'}}", "Burstable"},
		{"{'limits':{'cpu':'1','memory':'1Gi'},'requests':{'cpu':'1','memory':'1Gi'}}",
		 "Guaranteed"},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_free char *spec = mem_printf("{'containers':[{'name':'a','resources':%s}]}",
						  rows[i].resources);
		struct fixture f;

		set_up(&f, spec, 1);
		assert_string_equal(json_get_text(look(&f), "qosClass"), rows[i].class);
		tear_down(&f);
	}
}

static void expands_names(void **state)
{
	static char one[] = "A=one", two[] = "B=two words";
	char *const env[] = {one, two, NULL};
	static const struct {
		const char *text, *want;
	} rows[] = {
		{"plain", "plain"},
		{"$(A)", "one"},
		{"x$(A)y$(B)", "xoneytwo words"},
		{"$(NONE)", "$(NONE)"},
		{"$$(A)", "$(A)"},
		{"$A $(A", "$A $(A"},
		{"$", "$"},
		{"$$$$", "$$"},
		{"", ""},
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		auto_free char *got = pod_expand(rows[i].text, env);

		assert_string_equal(got, rows[i].want);
	}
}

static void knows_who_runs_again(void **state)
{
	struct pod_container c = {.part = PART_MAIN};

	assert_false(container_done(&c, "Never")); /* it did not even begin */
	ends(&c, 1);
	assert_true(container_done(&c, "Never"));
	assert_false(container_done(&c, "OnFailure"));
	assert_false(container_done(&c, "Always"));
	ends(&c, 0);
	assert_true(container_done(&c, "OnFailure"));
	c.part = PART_INIT;
	assert_true(container_done(&c, "Always"));
	c.part = PART_SIDECAR;
	assert_false(container_done(&c, "Never"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_a_pod_that_runs), cmocka_unit_test(tells_a_crash_loop),
		cmocka_unit_test(tells_how_pods_end),	 cmocka_unit_test(tells_init_and_sidecars),
		cmocka_unit_test(tells_a_deadline),	 cmocka_unit_test(judges_qos),
		cmocka_unit_test(expands_names),	 cmocka_unit_test(knows_who_runs_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
