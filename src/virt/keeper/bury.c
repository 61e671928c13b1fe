/*
 * Burial: what hulld does for a keeper that was killed. The container's processes are found through
 * the cgroup that the record names; a record of another boot names nothing that still runs.
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/world.h"
#include "ground/linux/cgroup.h"
#include "ground/linux/process.h"
#include "virt/keeper/keeper.h"
#include "virt/keeper/record.h"

#define CGROUP_END_MS	  2000
#define DEATH_MS	  500
#define SUPERVISOR_KILLED 137

/*
 * The directories themselves are recorded once the container runs. A keeper killed earlier may have
 * left what its maker began: the path from its orders leads there.
 */
static int end_cgroup(const struct keeper_record *r, struct err *e)
{
	auto_cgroup struct cgroup *cg = NULL;
	int got;

	if (!r->cgroup_dirs || !r->cgroup_dirs[0])
		return r->cgroup_path ? cgroup_sweep(r->cgroup_path, CGROUP_END_MS, e) : 0;
	got = cgroup_load(str_of(r->cgroup_dirs), &cg, e);
	if (got == 0)
		got = cgroup_kill(cg, e);
	return got < 0 ? got : cgroup_delete(cg, CGROUP_END_MS, e);
}

/* Kills by cgroup, and the first process by pid where there is no cgroup. */
static int kill_container(const struct keeper_record *r, struct err *e)
{
	auto_close int pidfd = -1;
	char boot[BOOT_ID_SIZE];
	int got = process_boot_id(boot, e);

	if (got < 0)
		return got;
	if (!text_eq(boot, r->boot_id))
		return 0;
	if (r->init_pid > 0 &&
	    process_open((pid_t)r->init_pid, (uint64_t)r->init_start_time, &pidfd, NULL) == 0)
		(void)!process_signal(pidfd, SIGKILL, NULL);
	return end_cgroup(r, e);
}

/* A final record of this very run stands already: the keeper died after its work was done. */
static bool end_is_recorded(const struct keeper_record *r, const char *container_dir)
{
	auto_arena struct arena a = {0};
	struct exit_record x;

	if (exit_record_read(container_dir, &a, &x, NULL) < 0 || x.restarting)
		return false;
	return x.started_at_ns == r->started_at_ns && x.restart_count == r->restart_count;
}

static int write_end(const struct keeper_record *r, const char *container_dir, struct err *e)
{
	struct exit_record x = {
		.version = KEEPER_PROTOCOL_VERSION,
		.id = r->id,
		.pid = r->init_pid,
		.exit_code = SUPERVISOR_KILLED,
		.signal = SIGKILL,
		.supervisor_killed = true,
		.started_at_ns = r->started_at_ns,
		.finished_at_ns = world_now_ns(&world_real),
		.restart_count = r->restart_count,
		.sentence = "supervisor killed",
	};

	return exit_record_write(container_dir, &x, e);
}

static void remove_place(const char *run_dir)
{
	static const char *const names[] = {"sock", "record"};

	for (size_t i = 0; i < array_len(names); i++) {
		auto_free char *path = mem_printf("%s/%s", run_dir, names[i]);

		(void)unlink(path);
	}
	(void)rmdir(run_dir);
}

/* A killed process closes its socket a moment before it is dead: that moment is waited for. */
static bool still_lives(const struct keeper_record *r)
{
	auto_close int pidfd = -1;
	struct pollfd p = {.events = POLLIN};

	if (!keeper_record_lives(r))
		return false;
	if (process_open((pid_t)r->pid, (uint64_t)r->start_time, &pidfd, NULL) < 0)
		return false;
	p.fd = pidfd;
	return poll(&p, 1, DEATH_MS) != 1;
}

int keeper_bury(const char *run_dir, const char *container_dir, struct err *e)
{
	auto_arena struct arena a = {0};
	struct keeper_record r;
	int got = keeper_record_read(run_dir, &a, &r, e);

	/* Killed before it wrote anything: nothing of it runs. A burial repeated finds nothing,
	 * too. */
	if (got == -ERR_NOT_FOUND || got == -ERR_INVALID) {
		err_clear(e);
		remove_place(run_dir);
		return 0;
	}
	if (got < 0)
		return got;
	if (still_lives(&r))
		return err_set(e, ERR_BUSY, "the supervisor of '%s' (process %lld) lives", r.id,
			       (long long)r.pid);
	got = kill_container(&r, e);
	if (got < 0)
		return err_wrap(e, "ending container '%s' whose supervisor was killed", r.id);
	if (!end_is_recorded(&r, container_dir))
		got = write_end(&r, container_dir, e);
	if (got == 0)
		remove_place(run_dir);
	return got;
}
