/*
 * The processes of a container as ps would show them, read from /proc by the pids of its cgroup:
 * nothing of the container is executed and none of its namespaces entered.
 */
#include <inttypes.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "engine/engine_priv.h"
#include "ground/linux/cgroup.h"

#define TOP_ROWS_MAX 4096
#define COMMAND_MAX  4096
#define TOP_COLUMNS  8

static char *const titles[] = {"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD", NULL};

struct process {
	int pid, ppid;
	uint32_t uid;
	uint64_t ticks, start_ticks;
	char command[COMMAND_MAX];
};

static bool read_text(const char *path, char *out, size_t room, size_t *ret_n)
{
	auto_fclose FILE *f = fopen(path, "re");

	if (!f)
		return false;
	*ret_n = fread(out, 1, room - 1, f);
	out[*ret_n] = '\0';
	return true;
}

static bool read_stat(int pid, struct process *p)
{
	char path[64], text[2048];
	const char *after;
	uint64_t user, system;
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (!read_text(path, text, sizeof(text), &n))
		return false;
	after = strrchr(text, ')'); /* the name may hold anything */
	if (!after || sscanf(after + 1,
			     " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
			     " %*d %*d %*d %*d %*d %*d %" SCNu64,
			     &p->ppid, &user, &system, &p->start_ticks) != 4)
		return false;
	p->pid = pid;
	p->ticks = user + system;
	return true;
}

static void read_command(int pid, struct process *p)
{
	char path[64];
	size_t n = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	if (read_text(path, p->command, sizeof(p->command), &n) && n) {
		for (size_t i = 0; i + 1 < n; i++)
			if (p->command[i] == '\0')
				p->command[i] = ' ';
		return;
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (read_text(path, p->command, sizeof(p->command), &n) && n && p->command[n - 1] == '\n')
		p->command[n - 1] = '\0';
}

static void read_uid(int pid, struct process *p)
{
	char path[64], text[4096];
	const char *line;
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (!read_text(path, text, sizeof(text), &n))
		return;
	line = strstr(text, "\nUid:");
	if (line)
		(void)sscanf(line, "\nUid: %*u %" SCNu32, &p->uid);
}

static char **row_of(const struct process *p, struct arena *a, int64_t now_s)
{
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t seconds = p->ticks / hz;
	struct sysinfo host;
	int64_t started = now_s;
	char **row = arena_new_array(a, char *, TOP_COLUMNS + 1);
	char moment[RFC3339_CHARS + 1];

	if (sysinfo(&host) == 0)
		started = now_s - host.uptime + (int64_t)(p->start_ticks / hz);
	(void)rfc3339_text(started * 1000000000, moment);
	row[0] = p->uid ? arena_printf(a, "%u", p->uid) : arena_dup_text(a, "root");
	row[1] = arena_printf(a, "%d", p->pid);
	row[2] = arena_printf(a, "%d", p->ppid);
	row[3] = arena_dup_text(a, "0");
	row[4] = arena_printf(a, "%.5s", moment + strlen("2006-01-02T"));
	row[5] = arena_dup_text(a, "?");
	row[6] = arena_printf(a, "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64, seconds / 3600,
			      seconds / 60 % 60, seconds % 60);
	row[7] = arena_dup_text(a, p->command);
	return row;
}

struct topping {
	engine_topped *done;
	void *ctx;
	struct arena arena;
	char ***rows;
	size_t n;
	struct err error;
};

static void topped_now(void *arg)
{
	struct topping *t = arg;

	t->done(t->ctx, titles, (char **const *)t->rows, t->n, t->error.kind ? &t->error : NULL);
	arena_done(&t->arena);
	free(t);
}

static int top(struct workload *w, struct topping *t, struct err *e)
{
	auto_cgroup struct cgroup *cg = NULL;
	auto_free pid_t *pids = NULL;
	size_t n = 0;

	if (!workload_runs(w) || !w->pid)
		return err_set(e, ERR_CONFLICT, "container %s is not running", w->id);
	if (!w->cgroup_dirs || cgroup_load(str_of(w->cgroup_dirs), &cg, e) < 0 ||
	    cgroup_pids(cg, &pids, &n, e) < 0)
		return e->kind ? -(int)e->kind : err_set(e, ERR_UNSUPPORTED, "it has no cgroup");
	t->rows = arena_new_array(&t->arena, char **, TOP_ROWS_MAX + 1);
	for (size_t i = 0; i < n && t->n < TOP_ROWS_MAX; i++) {
		struct process p = {0};

		if (!read_stat(pids[i], &p))
			continue;
		read_uid(pids[i], &p);
		read_command(pids[i], &p);
		t->rows[t->n++] =
			row_of(&p, &t->arena, world_now_ns(w->engine->world) / 1000000000);
	}
	return 0;
}

void engine_top(struct user *u, const char *ref, engine_topped *done, void *ctx)
{
	struct topping *t = mem_new(struct topping);
	struct workload *w;

	t->done = done;
	t->ctx = ctx;
	if (workload_find(u, ref, &w, &t->error) >= 0)
		(void)top(w, t, &t->error);
	loop_defer(u->engine->loop, topped_now, t);
}
