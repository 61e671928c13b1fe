/* Jobs: success, failure, numbers, time, and pods that are counted once. */
#include "cluster/controllers/place_fixture.h"

static void make_job(struct place *p, const char *more)
{
	place_create(p, "jobs",
		     place_json("{'metadata':{'name':'sum'},'spec':{%s'template':{'spec':{"
				"'restartPolicy':'Never','containers':[{'name':'c','image':'i'}]}}}"
				"}",
				more));
}

static const struct json *status(struct place *p)
{
	return place_status(p, "jobs", "sum");
}

static int64_t number(struct place *p, const char *key)
{
	return json_get_i64(status(p), key, 0);
}

/* A pod that goes on; NULL. */
static char *active(struct place *p)
{
	const struct json *pods = place_list(p, "pods");

	for (size_t i = 0; i < json_len(pods); i++) {
		const char *phase = json_get_text(json_get(json_at(pods, i), "status"), "phase");

		if (!text_eq(phase, "Succeeded") && !text_eq(phase, "Failed") &&
		    !json_get(json_get(json_at(pods, i), "metadata"), "deletionTimestamp"))
			return mem_dup_text(place_name(json_at(pods, i)));
	}
	return NULL;
}

static void end_one(struct place *p, const char *phase, int code)
{
	auto_free char *pod = active(p);

	assert_non_null(pod);
	place_end(p, pod, phase, code);
}

static void look_again(struct place *p)
{
	static int n;

	place_patch(p, "jobs", "sum", NULL,
		    place_json("{'metadata':{'annotations':{'look':'%d'}}}", n++));
}

static void completes(void **state)
{
	struct place *p = *state;
	const struct json *pod;

	make_job(p, "");
	assert_int_equal(place_count(p, "pods"), 1);
	pod = json_at(p->list, 0);
	assert_int_equal(json_len(json_get(json_get(pod, "metadata"), "finalizers")), 1);
	assert_non_null(json_get_text(status(p), "startTime"));
	place_run_all(p);
	assert_int_equal(number(p, "active"), 1);
	assert_int_equal(number(p, "ready"), 1);
	end_one(p, "Succeeded", 0);
	assert_int_equal(number(p, "succeeded"), 1);
	assert_int_equal(number(p, "active"), 0);
	assert_string_equal(place_condition(status(p), "Complete", "status"), "True");
	assert_non_null(json_get_text(status(p), "completionTime"));
	pod = json_at(place_list(p, "pods"), 0);
	assert_int_equal(json_len(json_get(json_get(pod, "metadata"), "finalizers")), 0);
}

static void runs_some_at_a_time(void **state)
{
	struct place *p = *state;

	make_job(p, "'completions':3,'parallelism':2,");
	assert_int_equal(place_count(p, "pods"), 2);
	end_one(p, "Succeeded", 0);
	assert_int_equal(place_count(p, "pods"), 3);
	end_one(p, "Succeeded", 0);
	assert_int_equal(place_count(p, "pods"), 3);
	end_one(p, "Succeeded", 0);
	assert_int_equal(number(p, "succeeded"), 3);
	assert_string_equal(place_condition(status(p), "Complete", "status"), "True");
}

static void gives_up(void **state)
{
	struct place *p = *state;

	make_job(p, "'backoffLimit':1,");
	end_one(p, "Failed", 1);
	assert_null(active(p)); /* it waits a while */
	p->now_s += 60;
	look_again(p);
	end_one(p, "Failed", 1);
	assert_int_equal(number(p, "failed"), 2);
	assert_string_equal(place_condition(status(p), "Failed", "reason"), "BackoffLimitExceeded");
	assert_int_equal(place_count(p, "pods"), 2);
}

static void numbers_its_pods(void **state)
{
	struct place *p = *state;
	const struct json *pod;

	make_job(p, "'completions':3,'parallelism':3,'completionMode':'Indexed',");
	assert_int_equal(place_count(p, "pods"), 3);
	pod = json_at(p->list, 1);
	assert_string_equal(json_get_text(json_get(json_get(pod, "metadata"), "annotations"),
					  "batch.kubernetes.io/job-completion-index"),
			    "1");
	assert_string_equal(json_get_text(json_get(pod, "spec"), "hostname"), "sum-1");
	end_one(p, "Succeeded", 0);
	end_one(p, "Succeeded", 0);
	assert_string_equal(json_get_text(status(p), "completedIndexes"), "0,1");
	end_one(p, "Succeeded", 0);
	assert_string_equal(json_get_text(status(p), "completedIndexes"), "0-2");
	assert_string_equal(place_condition(status(p), "Complete", "status"), "True");
}

static void rests(void **state)
{
	struct place *p = *state;
	auto_free char *none = NULL;

	make_job(p, "");
	place_run_all(p);
	place_patch(p, "jobs", "sum", NULL, place_json("{'spec':{'suspend':true}}"));
	none = active(p);
	assert_null(none);
	assert_string_equal(place_condition(status(p), "Suspended", "status"), "True");
	assert_int_equal(number(p, "failed"), 0);
	assert_null(json_get(status(p), "startTime"));
	place_patch(p, "jobs", "sum", NULL, place_json("{'spec':{'suspend':false}}"));
	none = active(p);
	assert_non_null(none);
	assert_string_equal(place_condition(status(p), "Suspended", "reason"), "JobResumed");
}

static void runs_out_of_time(void **state)
{
	struct place *p = *state;

	make_job(p, "'activeDeadlineSeconds':30,");
	place_run_all(p);
	p->now_s += 31;
	look_again(p);
	assert_string_equal(place_condition(status(p), "Failed", "reason"), "DeadlineExceeded");
	assert_int_equal(number(p, "failed"), 1);
	assert_int_equal(place_count(p, "pods"), 0);
}

static void goes_after_its_end(void **state)
{
	struct place *p = *state;

	make_job(p, "'ttlSecondsAfterFinished':10,");
	end_one(p, "Succeeded", 0);
	assert_non_null(status(p));
	p->now_s += 11;
	look_again(p);
	assert_null(place_get(p, "jobs", "sum"));
	assert_int_equal(place_count(p, "pods"), 0);
}

static void follows_its_failure_policy(void **state)
{
	struct place *p = *state;

	make_job(p, "'podFailurePolicy':{'rules':[{'action':'FailJob','onExitCodes':{'operator':"
		    "'In','values':[42]}},{'action':'Ignore','onExitCodes':{'operator':'In',"
		    "'values':[7]}}]},");
	end_one(p, "Failed", 7);
	p->now_s += 60;
	look_again(p);
	assert_int_equal(number(p, "failed"), 0);
	end_one(p, "Failed", 42);
	assert_string_equal(place_condition(status(p), "Failed", "reason"), "PodFailurePolicy");
}

static void takes_its_pods_along(void **state)
{
	struct place *p = *state;

	make_job(p, "'completions':2,'parallelism':2,");
	end_one(p, "Succeeded", 0);
	place_delete(p, "jobs", "sum", PROPAGATE_BACKGROUND);
	assert_null(place_get(p, "jobs", "sum"));
	assert_int_equal(place_count(p, "pods"), 0);
}

static void counts_once_over_a_stop(void **state)
{
	struct place *p = *state;

	make_job(p, "'completions':2,");
	place_down(p);
	end_one(p, "Succeeded", 0);
	place_up(p);
	place_down(p);
	place_up(p);
	assert_int_equal(number(p, "succeeded"), 1);
	end_one(p, "Succeeded", 0);
	assert_int_equal(number(p, "succeeded"), 2);
	assert_string_equal(place_condition(status(p), "Complete", "status"), "True");
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(completes),
		IN_PLACE(runs_some_at_a_time),
		IN_PLACE(gives_up),
		IN_PLACE(numbers_its_pods),
		IN_PLACE(rests),
		IN_PLACE(runs_out_of_time),
		IN_PLACE(goes_after_its_end),
		IN_PLACE(follows_its_failure_policy),
		IN_PLACE(takes_its_pods_along),
		IN_PLACE(counts_once_over_a_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
