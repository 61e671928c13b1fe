/*
 * The processes of a cgroup: listing, signalling and killing them, and removing the directories
 * once they are gone. A cgroup includes everything below it: containers make cgroups of their own.
 */
#include "ground/linux/cgroup_priv.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"

#define DEPTH_MAX 64

void cgroup_pause_ms(int ms)
{
	(void)poll(NULL, 0, ms);
}

struct pid_list {
	pid_t *p;
	size_t n, room;
};

static int add_pids(struct pid_list *list, struct str text, struct err *e)
{
	struct str line = {0};

	while (str_cut(&text, '\n', &line)) {
		uint32_t pid = 0;

		if (line.n == 0)
			continue;
		if (parse_u32(line, "process id", &pid, e) < 0)
			return -ERR_INVALID;
		if (pid == 0)
			continue; /* of a pid namespace that this one cannot see */
		if (list->n == CGROUP_PIDS_MAX)
			return err_set(e, ERR_EXHAUSTED, "more than %d processes", CGROUP_PIDS_MAX);
		mem_grow(list->p, list->n + 1, list->room);
		list->p[list->n++] = (pid_t)pid;
	}
	return 0;
}

/* Calls visit on every directory below `path`, the deepest first; names that vanish are skipped. */
static int walk(const char *path, int depth,
		int (*visit)(void *ctx, const char *path, struct err *e), void *ctx, struct err *e)
{
	auto_closedir DIR *dir = depth < DEPTH_MAX ? opendir(path) : NULL;

	for (struct dirent *at = NULL; dir && (at = readdir(dir));) {
		auto_free char *below = NULL;
		int r = 0;

		if (at->d_type != DT_DIR || at->d_name[0] == '.')
			continue;
		below = mem_printf("%s/%s", path, at->d_name);
		r = walk(below, depth + 1, visit, ctx, e);
		if (r < 0)
			return r;
	}
	return visit(ctx, path, e);
}

/* A cgroup directory has two links more than directories in it: 2 means none, and saves the walk.
 */
static bool has_below(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 || st.st_nlink != 2;
}

static int visit_pids(void *ctx, const char *path, struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	int r = cgroup_slurp(path, "cgroup.procs", &b);

	if (r == -ENOENT || r == -ENODEV)
		return 0;
	if (r == -EOPNOTSUPP) /* a threaded cgroup: its processes are listed above it */
		return 0;
	errno = -r;
	if (r < 0)
		return err_sys(e, "cannot list the processes of the cgroup '%s'", path);
	return add_pids(ctx, strbuf_str(&b), e);
}

/* The hierarchy that knows every process: on v1 any that is always made, the freezer first. */
static const struct cgroup_dir *listing_dir(struct cgroup *cg)
{
	static const enum cgroup_controller order[] = {CGROUP_FREEZER, CGROUP_DEVICES, CGROUP_PIDS,
						       CGROUP_CPU,     CGROUP_MEMORY,  CGROUP_NAMED,
						       CGROUP_UNIFIED};
	const struct cgroup_dir *d = NULL;

	for (size_t i = 0; i < array_len(order) && !d; i++)
		d = cgroup_dir_made(cg, order[i]);
	for (size_t i = 0; i < cg->n && !d; i++)
		d = cg->dirs[i].lazy ? NULL : &cg->dirs[i];
	return d;
}

int cgroup_pids(struct cgroup *cg, pid_t **ret, size_t *ret_n, struct err *e)
{
	const struct cgroup_dir *d = listing_dir(cg);
	struct pid_list list = {0};
	int r = 0;

	assert(cg->magic == CGROUP_MAGIC);
	assert(ret && ret_n);
	if (d)
		r = has_below(d->path) ? walk(d->path, 0, visit_pids, &list, e)
				       : visit_pids(&list, d->path, e);
	if (r < 0) {
		free(list.p);
		return r;
	}
	*ret = list.p;
	*ret_n = list.n;
	return 0;
}

int cgroup_signal(struct cgroup *cg, int signal, struct err *e)
{
	auto_free pid_t *pids = NULL;
	size_t n = 0;
	int r = cgroup_pids(cg, &pids, &n, e);

	assert(signal >= 0);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (kill(pids[i], signal) < 0 && errno != ESRCH)
			r = err_sys(e, "cannot send signal %d to process %d", signal, (int)pids[i]);
	return r;
}

static size_t kill_round(struct cgroup *cg, int *ret, struct err *e)
{
	auto_free pid_t *pids = NULL;
	size_t n = 0;

	*ret = cgroup_pids(cg, &pids, &n, e);
	for (size_t i = 0; *ret == 0 && i < n; i++)
		(void)kill(pids[i], SIGKILL);
	return n;
}

int cgroup_kill_listed(struct cgroup *cg, struct err *e)
{
	bool frozen = cgroup_is_frozen(cg);
	size_t n = 0;
	int r = 0;

	n = kill_round(cg, &r, e);
	if (r < 0 || (n <= 1 && !frozen))
		return r;
	/* Several: one may have forked between the list and its end. Stand still, then nobody can.
	 */
	if (!frozen && cgroup_freeze(cg, true, 200, NULL) < 0) {
		for (int round = 0; round < 20 && n > 0 && r == 0; round++)
			n = kill_round(cg, &r, e);
		return r;
	}
	(void)kill_round(cg, &r, e);
	(void)!cgroup_freeze(cg, false, 1000, NULL);
	return r;
}

static int visit_remove(void *ctx, const char *path, struct err *e)
{
	if (rmdir(path) == 0 || errno == ENOENT)
		return 0;
	return err_sys(e, "cannot remove the cgroup '%s'", path);
}

static int remove_dir(const char *path, struct err *e)
{
	if (rmdir(path) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY && errno != ENOTEMPTY)
		return err_sys(e, "cannot remove the cgroup '%s'", path);
	return walk(path, 0, visit_remove, NULL, e);
}

int cgroup_delete(struct cgroup *cg, int timeout_ms, struct err *e)
{
	int worst = 0;

	assert(cg->magic == CGROUP_MAGIC);
	assert(timeout_ms >= 0);
	for (size_t i = 0; i < cg->n; i++) {
		int r = remove_dir(cg->dirs[i].path, e);

		/* Processes that were killed need a moment to leave; longer and longer naps. */
		for (int nap = 1; r == -ERR_BUSY && timeout_ms > 0;) {
			err_clear(e);
			cgroup_pause_ms(nap);
			timeout_ms -= nap;
			nap = nap < 50 ? nap * 2 : 50;
			r = remove_dir(cg->dirs[i].path, e);
		}
		worst = worst < 0 ? worst : r;
	}
	return worst;
}

int cgroup_end(struct cgroup *cg, int timeout_ms, struct err *e)
{
	int r = cgroup_delete(cg, 0, NULL);

	if (r == 0)
		return 0;
	r = r == -ERR_BUSY ? cgroup_kill(cg, e) : 0;
	return r < 0 ? r : cgroup_delete(cg, timeout_ms, e);
}
