/*
 * events: statistics once (--stats) or every interval, and one line for each out-of-memory kill.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/linux/cgroup.h"
#include "virt/container/resources.h"

struct events_args {
	int64_t interval;
	bool stats;
};

static const struct option_row options[] = {
	{0, "interval", OPTION_DURATION, offsetof(struct events_args, interval), "TIME",
	 "between two statistics (5s)"},
	{0, "stats", OPTION_FLAG, offsetof(struct events_args, stats), NULL, "print them once"},
};

static int print_stats(const struct record *rec, struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	struct json *data = NULL;
	int r = resources_stats(rec->cgroup, &data, e);

	if (r < 0)
		return r;
	resources_event("stats", rec->id, data, &b);
	(void)printf("%s%s", strbuf_text(&b), text_ends(strbuf_text(&b), "\n") ? "" : "\n");
	(void)fflush(stdout);
	return 0;
}

static void print_oom(const struct record *rec)
{
	auto_strbuf struct strbuf b = {0};

	resources_event("oom", rec->id, NULL, &b);
	(void)printf("%s%s", strbuf_text(&b), text_ends(strbuf_text(&b), "\n") ? "" : "\n");
	(void)fflush(stdout);
}

static int follow(const struct record *rec, int64_t interval_ns, struct err *e)
{
	auto_close int pidfd = -1;
	auto_close int oom = -1;
	uint64_t kills = cgroup_oom_kills(rec->cgroup);
	int r = process_open((pid_t)rec->state.pid, rec->state.start_time, &pidfd, e);

	if (r < 0)
		return r;
	if (cgroup_oom_open(rec->cgroup, &oom, NULL) < 0)
		oom = -1; /* a host without the memory controller has no such events */
	for (;;) {
		struct pollfd p[] = {{.fd = pidfd, .events = POLLIN},
				     {.fd = oom, .events = POLLIN | POLLPRI}};
		int n = poll(p, array_len(p), (int)(interval_ns / 1000000));

		if (n < 0 && errno != EINTR)
			return err_sys(e, "cannot wait for events");
		if (p[0].revents)
			return 0;
		if (p[1].revents)
			cgroup_oom_drain(oom);
		if (cgroup_oom_kills(rec->cgroup) > kills) {
			kills = cgroup_oom_kills(rec->cgroup);
			print_oom(rec);
		}
		if (n == 0 && (r = print_stats(rec, e)) < 0)
			return r;
	}
}

int verb_events(struct oci *o, int argc, char **argv, struct err *e)
{
	struct events_args a = {.interval = 5000000000};
	auto_record struct record rec = RECORD_INIT;
	const char *id = "";
	int first, r;

	r = options_parse(options, array_len(options), &a, argc, argv, false, &first, e);
	if (r == 0)
		r = oci_one_id(argc, argv, first, &id, e);
	if (r == 0)
		r = record_open(o, id, &rec, e);
	if (r < 0)
		return r;
	if (a.interval < 1000000 || a.interval > 1000000000000)
		return err_set(e, ERR_INVALID, "events: an interval is 1ms to 1000s");
	if (!strcmp(rec.status, "stopped"))
		return err_set(e, ERR_CONFLICT, "container '%s' is not running", id);
	return a.stats ? print_stats(&rec, e) : follow(&rec, a.interval, e);
}
