/*
 * kill, delete, pause, resume.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/cgroup.h"

#define FREEZE_TIMEOUT_MS 10000
#define DELETE_TIMEOUT_MS 10000

struct control_args {
	bool all, force, regex;
};

static const struct option_row kill_options[] = {
	{'a', "all", OPTION_FLAG, offsetof(struct control_args, all), NULL,
	 "every process of the container"},
	{'r', "regex", OPTION_FLAG, offsetof(struct control_args, regex), NULL, "not supported"},
};

/* "9", "KILL", "SIGKILL", "RTMIN+3" in any case. */
static int parse_signal(const char *text, int *ret, struct err *e)
{
	const char *name = strncasecmp(text, "SIG", 3) ? text : text + 3;
	uint32_t n;

	if (parse_u32(str_of(text), "signal", &n, NULL) == 0) {
		if (n < 1 || n >= NSIG)
			return err_set(e, ERR_INVALID, "signal %u is not 1 to %d", n, NSIG - 1);
		*ret = (int)n;
		return 0;
	}
	for (int sig = 1; sig < SIGRTMIN; sig++) {
		const char *known = sigabbrev_np(sig);

		if (known && !strcasecmp(known, name)) {
			*ret = sig;
			return 0;
		}
	}
	if (!strncasecmp(name, "RTMIN", 5) &&
	    parse_u32(str_of(name[5] == '+' ? name + 6 : "0"), "signal", &n, NULL) == 0 &&
	    SIGRTMIN + (int)n <= SIGRTMAX) {
		*ret = SIGRTMIN + (int)n;
		return 0;
	}
	return err_set(e, ERR_INVALID, "unknown signal '%s'", text);
}

static int kill_first(const struct record *rec, int sig, struct err *e)
{
	auto_close int pidfd = -1;
	int r;

	if (!strcmp(rec->status, "stopped"))
		return err_set(e, ERR_CONFLICT, "container not running: '%s'", rec->id);
	if (!strcmp(rec->status, "creating"))
		return err_set(e, ERR_CONFLICT, "container not running: '%s' is being made",
			       rec->id);
	r = process_open((pid_t)rec->state.pid, rec->state.start_time, &pidfd, e);
	if (r == 0)
		r = process_signal(pidfd, sig, e);
	/* Frozen processes die of SIGKILL only once they are thawed (cgroup v1). */
	if (r == 0 && sig == SIGKILL && !strcmp(rec->status, "paused"))
		r = cgroup_freeze(rec->cgroup, false, FREEZE_TIMEOUT_MS, e);
	return r;
}

int verb_kill(struct oci *o, int argc, char **argv, struct err *e)
{
	struct control_args a = {0};
	auto_record struct record rec = RECORD_INIT;
	int first, sig = SIGTERM, r;

	r = options_parse(kill_options, array_len(kill_options), &a, argc, argv, true, &first, e);
	if (r < 0)
		return r;
	if (a.regex)
		return err_set(e, ERR_UNSUPPORTED, "kill --regex is not supported");
	if (argc - first < 1 || argc - first > 2)
		return err_set(e, ERR_INVALID, "kill: an id and a signal are needed");
	if (argc - first == 2)
		r = parse_signal(argv[first + 1], &sig, e);
	if (r == 0)
		r = record_open(o, argv[first], &rec, e);
	if (r < 0)
		return r;
	if (!a.all)
		return kill_first(&rec, sig, e);
	return sig == SIGKILL ? cgroup_kill(rec.cgroup, e) : cgroup_signal(rec.cgroup, sig, e);
}

static const struct option_row delete_options[] = {
	{'f', "force", OPTION_FLAG, offsetof(struct control_args, force), NULL,
	 "kill it first; a missing one is no error"},
	{'r', "regex", OPTION_FLAG, offsetof(struct control_args, regex), NULL, "not supported"},
};

static int end_process(const struct record *rec, struct err *e)
{
	auto_close int pidfd = -1;
	int r = process_open((pid_t)rec->state.pid, rec->state.start_time, &pidfd, e);

	if (r == -ERR_GONE)
		return 0;
	if (r == 0)
		r = process_signal(pidfd, SIGKILL, e);
	if (r == 0 && !strcmp(rec->status, "paused"))
		r = cgroup_freeze(rec->cgroup, false, FREEZE_TIMEOUT_MS, e);
	if (r == -ERR_GONE)
		return 0;
	return r < 0 ? r : process_wait(pidfd, DELETE_TIMEOUT_MS, NULL, e);
}

static int delete_record(struct oci *o, struct record *rec, bool force, struct err *e)
{
	bool alive = strcmp(rec->status, "stopped") != 0;
	int r = 0;

	if (alive && !force && strcmp(rec->status, "created") != 0)
		return err_set(e, ERR_CONFLICT,
			       "cannot delete container '%s' that is not stopped: %s", rec->id,
			       rec->status);
	if (alive)
		r = end_process(rec, e);
	if (r == 0)
		r = cgroup_end(rec->cgroup, DELETE_TIMEOUT_MS, e);
	if (r == 0)
		r = record_hooks(o, rec, "poststop", e);
	/* What a hook says does not keep a dead container. */
	if (r == 0 || force)
		r = record_remove(o, rec->id, e);
	return r;
}

int verb_delete(struct oci *o, int argc, char **argv, struct err *e)
{
	struct control_args a = {0};
	auto_record struct record rec = RECORD_INIT;
	const char *id = "";
	int first, r;

	r = options_parse(delete_options, array_len(delete_options), &a, argc, argv, false, &first,
			  e);
	if (r == 0 && a.regex)
		r = err_set(e, ERR_UNSUPPORTED, "delete --regex is not supported");
	if (r == 0)
		r = oci_one_id(argc, argv, first, &id, e);
	if (r < 0)
		return r;
	r = record_open(o, id, &rec, e);
	if (r < 0 && a.force && r != -ERR_FORBIDDEN) {
		err_clear(e);
		return record_remove(o, id, e);
	}
	return r < 0 ? r : delete_record(o, &rec, a.force, e);
}

static int freeze(struct oci *o, int argc, char **argv, bool on, struct err *e)
{
	auto_record struct record rec = RECORD_INIT;
	const char *id = "";
	int r = oci_one_id(argc, argv, 1, &id, e);

	if (r == 0)
		r = record_open(o, id, &rec, e);
	if (r < 0)
		return r;
	if (on && strcmp(rec.status, "running") != 0 && strcmp(rec.status, "created") != 0)
		return err_set(e, ERR_CONFLICT, "cannot pause container '%s': it is %s", id,
			       rec.status);
	if (!on && strcmp(rec.status, "paused") != 0)
		return err_set(e, ERR_CONFLICT, "cannot resume container '%s': it is %s", id,
			       rec.status);
	return cgroup_freeze(rec.cgroup, on, FREEZE_TIMEOUT_MS, e);
}

int verb_pause(struct oci *o, int argc, char **argv, struct err *e)
{
	return freeze(o, argc, argv, true, e);
}

int verb_resume(struct oci *o, int argc, char **argv, struct err *e)
{
	return freeze(o, argc, argv, false, e);
}
