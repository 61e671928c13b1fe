/*
 * Memory's kills, told to people: which limit was hit, how high it is, how much was used, whom the
 * kernel chose. The limit that was hit may belong to a cgroup above the container's: on v1 its fail
 * counter has moved, on v2 memory.events.local counts at the level whose limit it was.
 */
#include "ground/linux/cgroup_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/inotify.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"

/* The names of one version's files. */
struct oom_files {
	const char *limit, *peak, *swap_limit;
};

static const struct oom_files files_v1 = {"memory.limit_in_bytes", "memory.max_usage_in_bytes",
					  "memory.memsw.limit_in_bytes"};
static const struct oom_files files_v2 = {"memory.max", "memory.peak", "memory.swap.max"};

void cgroup_oom_drain(int fd)
{
	char unused[sizeof(struct inotify_event) * 16];

	while (read(fd, unused, sizeof unused) == (ssize_t)sizeof unused)
		;
}

static bool number_in(const char *dir, const char *file, uint64_t *ret)
{
	auto_strbuf struct strbuf b = {0};
	struct str text = {0};

	if (cgroup_slurp(dir, file, &b) < 0)
		return false;
	text = str_trim(strbuf_str(&b));
	*ret = UINT64_MAX;
	return str_is(text, "max") || parse_u64(text, file, ret, NULL) == 0;
}

static uint64_t key_in(const char *dir, const char *file, const char *key)
{
	auto_strbuf struct strbuf b = {0};
	struct str rest = {0}, line = {0}, name = {0};
	uint64_t n = 0;

	if (cgroup_slurp(dir, file, &b) < 0)
		return 0;
	rest = strbuf_str(&b);
	while (str_cut(&rest, '\n', &line))
		if (str_cut(&line, ' ', &name) && str_is(name, key))
			return parse_u64(str_trim(line), key, &n, NULL) == 0 ? n : 0;
	return 0;
}

/* v1 says "no limit" with the largest multiple of the page size; nothing is that large. */
#define UNLIMITED (UINT64_C(1) << 60)

/* Memory is charged in lots of 64 pages: the peak may stay that much below a limit that was hit. */
#define LOT_BYTES (64 * 4096)

/*
 * Was the limit of this very directory reached? Some v1 kernels (6.17 and later) do not count
 * failures of the limit on memory and swap together: there the peak tells.
 */
static bool was_reached(const struct cgroup_dir *d, const char *dir)
{
	uint64_t n = 0, limit = UINT64_MAX, peak = 0;

	if (d->v2)
		return key_in(dir, "memory.events.local", "oom") > 0;
	if (number_in(dir, "memory.failcnt", &n) && n > 0)
		return true;
	if (number_in(dir, "memory.memsw.failcnt", &n) && n > 0)
		return true;
	return number_in(dir, files_v1.limit, &limit) && limit < UNLIMITED &&
	       number_in(dir, files_v1.peak, &peak) && peak + LOT_BYTES >= limit;
}

static void add_bytes(struct strbuf *out, uint64_t n)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
	size_t unit = 0;

	while (unit + 1 < array_len(units) && n >= 1024 && n % 1024 == 0) {
		n /= 1024;
		unit++;
	}
	if (n >= 10240 && unit + 1 < array_len(units))
		strbuf_printf(out, "%.1f %s", (double)n / 1024, units[unit + 1]);
	else
		strbuf_printf(out, "%" PRIu64 " %s", n, units[unit]);
}

static void add_limit(const struct cgroup_dir *d, const char *dir, struct strbuf *out)
{
	const struct oom_files *f = d->v2 ? &files_v2 : &files_v1;
	uint64_t limit = UINT64_MAX, peak = 0, swap = UINT64_MAX;
	bool own = strlen(dir) == strlen(d->path);

	assert(strlen(dir) >= d->mount_n);
	(void)number_in(dir, f->limit, &limit);
	strbuf_add_text(out, ": limit ");
	if (limit < UNLIMITED)
		add_bytes(out, limit);
	else
		strbuf_add_text(out, "none");
	strbuf_printf(out, " (%s of %scgroup '%s')", f->limit, own ? "its " : "the parent ",
		      dir + d->mount_n);
	if (number_in(dir, f->swap_limit, &swap) && swap < UNLIMITED && swap != limit && swap > 0) {
		strbuf_printf(out, ", %s ", d->v2 ? "swap" : "memory and swap");
		add_bytes(out, swap);
	}
	if (number_in(dir, f->peak, &peak)) {
		strbuf_add_text(out, ", peak ");
		add_bytes(out, peak);
	}
}

/* Who was killed, as the kernel's log names it. */
struct victim {
	char name[64];
	int pid; /* as the host numbers it; 0: not known */
};

/* "...oom-kill:constraint=...,oom_memcg=/x,task_memcg=/x/y,task=sh,pid=12,uid=0" */
static void look_at_record(const char *record, const char *within, struct victim *ret)
{
	const char *memcg = strstr(record, ",task_memcg="), *at = NULL, *task = NULL;
	size_t n = strlen(within);
	struct victim v = {0};

	assert(within[0] == '/');
	if (!strstr(record, ";oom-kill:") || !memcg)
		return;
	memcg += strlen(",task_memcg=");
	task = strstr(memcg, ",task=");
	/* Seen from a cgroup namespace our path is the end of theirs; deeper cgroups are ours too.
	 */
	at = strstr(memcg, within);
	if (!task || !at || at >= task || (at[n] != ',' && at[n] != '/'))
		return;
	if (sscanf(task, ",task=%63[^,],pid=%d", v.name, &v.pid) == 2)
		*ret = v;
}

#define RECORDS_MAX 200000

/* The last one that the log tells of; needs the right to read it. One read is one record. */
static struct victim find_victim(const char *within)
{
	struct victim v = {0};
	char record[8192];
	auto_close int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < RECORDS_MAX; i++) {
		ssize_t n = read(fd, record, sizeof record - 1);

		if (n < 0 && (errno == EPIPE || errno == EINTR)) /* EPIPE: overwritten meanwhile */
			continue;
		if (n <= 0)
			break;
		record[n] = '\0';
		look_at_record(record, within, &v);
	}
	return v;
}

static void add_victim(const struct cgroup_dir *d, const char *who, pid_t pid, struct strbuf *out)
{
	struct victim v = who ? (struct victim){.pid = pid} : find_victim(d->path + d->mount_n);

	if (!who && v.pid)
		who = v.name;
	if (who && v.pid > 0)
		strbuf_printf(out, ", process '%s' (%d)", who, v.pid);
	else if (who)
		strbuf_printf(out, ", process '%s'", who);
}

bool cgroup_oom_explain(struct cgroup *cg, const char *who, pid_t pid, struct strbuf *out)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_MEMORY);
	uint64_t kills = cgroup_oom_kills(cg);
	auto_free char *dir = NULL;
	char *slash = NULL;

	assert(out);
	if (!d || kills == 0)
		return false;
	strbuf_add_text(out, "killed for memory");
	dir = mem_dup_text(d->path);
	while (!was_reached(d, dir) && (slash = strrchr(dir, '/')) &&
	       (size_t)(slash - dir) > d->mount_n)
		*slash = '\0';
	if (was_reached(d, dir))
		add_limit(d, dir, out);
	else
		strbuf_add_text(out, ": the host itself had none left");
	add_victim(d, who, pid, out);
	if (kills > 1)
		strbuf_printf(out, ", %" PRIu64 " processes in all", kills);
	return true;
}
