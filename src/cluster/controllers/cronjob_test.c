/* Schedules, time zones and cron jobs. */
#include "cluster/controllers/place_fixture.h"
#include "cluster/controllers/schedule.h"
#include "cluster/controllers/zone.h"

#define RFC(s) moment(s)

static int64_t moment(const char *text)
{
	int64_t ns = 0;
	struct err e;

	assert_int_equal(rfc3339_parse(text, &ns, &e), 0);
	return ns / 1000000000;
}

static void check_next(const char *schedule, const char *zone, const char *after, const char *want)
{
	struct zone *z = NULL;
	struct schedule s;
	struct err e;
	char got[RFC3339_CHARS + 1];
	int64_t at;

	if (schedule_parse(schedule, &s, &e) < 0)
		fail_msg("%s", e.text);
	if (zone && timezone_open(zone, &z, &e) < 0)
		fail_msg("%s", e.text);
	at = schedule_next(&s, z, RFC(after));
	assert_string_equal(at ? rfc3339_text(at * 1000000000, got) : "never", want);
	z = timezone_free(z);
}

static void schedules_go_on(void **state)
{
	static const struct {
		const char *schedule, *zone, *after, *want;
	} rows[] = {
		{"* * * * *", NULL, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"},
		{"*/15 * * * *", NULL, "2026-01-01T00:16:10Z", "2026-01-01T00:30:00Z"},
		{"5/20 * * * *", NULL, "2026-01-01T00:06:00Z", "2026-01-01T00:25:00Z"},
		{"0 05 * * *", NULL, "2026-01-01T06:00:00Z", "2026-01-02T05:00:00Z"},
		{"30 9-17 * * mon-fri", NULL, "2026-01-02T17:30:00Z", "2026-01-05T09:30:00Z"},
		{"0 0 29 2 *", NULL, "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 13 * fri", NULL, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
		{"0 0 1,15 * *", NULL, "2026-01-02T00:00:00Z", "2026-01-15T00:00:00Z"},
		{"0 12 * * 7", NULL, "2026-01-01T00:00:00Z", "2026-01-04T12:00:00Z"},
		{"0 0 30 feb *", NULL, "2026-01-01T00:00:00Z", "never"},
		{"@hourly", NULL, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"},
		{"@yearly", NULL, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"@every 90m", NULL, "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"},
		{"0 9 * * *", "Europe/Berlin", "2026-01-01T08:00:00Z", "2026-01-02T08:00:00Z"},
		{"0 9 * * *", "Europe/Berlin", "2026-07-01T08:00:00Z", "2026-07-02T07:00:00Z"},
		/* over the change of the clock */
		{"0 9 * * *", "Europe/Berlin", "2026-03-28T09:00:00Z", "2026-03-29T07:00:00Z"},
		{"0 0 * * *", "America/New_York", "2026-03-08T06:00:00Z", "2026-03-09T04:00:00Z"},
		{"0 0 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T18:30:00Z"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(rows); i++)
		check_next(rows[i].schedule, rows[i].zone, rows[i].after, rows[i].want);
}

static void refuses_nonsense(void **state)
{
	static const char *const bad[] = {
		"",	     "* * * *",	   "* * * * * *",  "60 * * * *",  "* 24 * * *",
		"* * 0 * *", "* * * 13 *", "* * * * 8",	   "*/0 * * * *", "5-3 * * * *",
		"a * * * *", "@never",	   "1,,2 * * * *", "- * * * *"};
	struct schedule s;
	struct zone *z;
	struct err e;

	(void)state;
	for (size_t i = 0; i < array_len(bad); i++)
		if (schedule_parse(bad[i], &s, &e) == 0)
			fail_msg("'%s' was taken", bad[i]);
	assert_true(timezone_open("../../etc/passwd", &z, &e) < 0);
	assert_true(timezone_open("Mars/Olympus", &z, &e) < 0);
	assert_true(timezone_open("Europe", &z, &e) < 0);
}

static void make_cron(struct place *p, const char *more)
{
	place_create(p, "cronjobs",
		     place_json("{'metadata':{'name':'tick'},'spec':{'schedule':'* * * * *',%s"
				"'jobTemplate':{'spec':{'template':{'spec':{'restartPolicy':'Never'"
				",'containers':[{'name':'c','image':'i'}]}}}}}}",
				more));
}

static void pass(struct place *p, int64_t seconds)
{
	static int n;

	p->now_s += seconds;
	place_patch(p, "cronjobs", "tick", NULL,
		    place_json("{'metadata':{'annotations':{'look':'%d'}}}", n++));
}

static void end_jobs(struct place *p)
{
	auto_json struct json *pods = json_copy(place_list(p, "pods"));

	for (size_t i = 0; i < json_len(pods); i++)
		place_end(p, place_name(json_at(pods, i)), "Succeeded", 0);
}

static void runs_by_the_clock(void **state)
{
	struct place *p = *state;

	make_cron(p, "");
	assert_int_equal(place_count(p, "jobs"), 0);
	pass(p, 60);
	assert_int_equal(place_count(p, "jobs"), 1);
	assert_int_equal(json_len(json_get(place_status(p, "cronjobs", "tick"), "active")), 1);
	assert_non_null(json_get_text(place_status(p, "cronjobs", "tick"), "lastScheduleTime"));
	pass(p, 1);
	assert_int_equal(place_count(p, "jobs"), 1);
	pass(p, 60);
	assert_int_equal(place_count(p, "jobs"), 2);
	end_jobs(p);
	assert_int_equal(json_len(json_get(place_status(p, "cronjobs", "tick"), "active")), 0);
	assert_non_null(json_get_text(place_status(p, "cronjobs", "tick"), "lastSuccessfulTime"));
}

static void misses_only_the_latest(void **state)
{
	struct place *p = *state;

	make_cron(p, "");
	pass(p, 3600 * 5);
	assert_int_equal(place_count(p, "jobs"), 1);
}

static void forbids_and_replaces(void **state)
{
	struct place *p = *state;
	auto_free char *first = NULL;

	make_cron(p, "'concurrencyPolicy':'Forbid',");
	pass(p, 60);
	pass(p, 60);
	assert_int_equal(place_count(p, "jobs"), 1);
	first = mem_dup_text(place_name(json_at(p->list, 0)));
	place_patch(p, "cronjobs", "tick", NULL,
		    place_json("{'spec':{'concurrencyPolicy':'Replace'}}"));
	pass(p, 60);
	assert_int_equal(place_count(p, "jobs"), 1);
	assert_string_not_equal(place_name(json_at(p->list, 0)), first);
}

static void keeps_a_short_history(void **state)
{
	struct place *p = *state;

	make_cron(p, "'successfulJobsHistoryLimit':1,");
	for (int i = 0; i < 3; i++) {
		pass(p, 60);
		end_jobs(p);
	}
	assert_int_equal(place_count(p, "jobs"), 1);
}

static void counts_the_same_news(void **state)
{
	struct place *p = *state;
	const struct json *events;
	int64_t count = 0, n = 0;

	make_cron(p, "'timeZone':'Nowhere/At_All',");
	pass(p, 1);
	pass(p, 1);
	place_create(p, "configmaps", place_json("{'metadata':{'name':'behind'}}"));
	events = place_list(p, "events");
	for (size_t i = 0; i < json_len(events); i++)
		if (text_eq(json_get_text(json_at(events, i), "reason"), "UnknownTimeZone")) {
			count = json_get_i64(json_at(events, i), "count", 0);
			n++;
		}
	assert_int_equal(n, 1);
	assert_int_equal(count, 3);
	assert_int_equal(place_count(p, "jobs"), 0);
}

static void rests(void **state)
{
	struct place *p = *state;

	make_cron(p, "'suspend':true,");
	pass(p, 120);
	assert_int_equal(place_count(p, "jobs"), 0);
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, place_set_up, place_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schedules_go_on), cmocka_unit_test(refuses_nonsense),
		IN_PLACE(runs_by_the_clock),	   IN_PLACE(misses_only_the_latest),
		IN_PLACE(forbids_and_replaces),	   IN_PLACE(keeps_a_short_history),
		IN_PLACE(counts_the_same_news),	   IN_PLACE(rests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
