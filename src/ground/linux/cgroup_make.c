/*
 * Making a cgroup's directories: where they lie in each hierarchy, parents, the cpuset that must be
 * filled by hand on v1, the controllers that must be handed down level by level on v2.
 *
 * What fails for want of a right and was not asked for is left out: a container without limits runs
 * where cgroups are read-only.
 */
#include "ground/linux/cgroup_priv.h"

#include <assert.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"

/*
 * Made only for who asks: a cpuset costs half as much as all other hierarchies together (its
 * creation rebuilds masks, and it must be filled by hand), the others have no use without a
 * setting.
 */
#define LAZY                                                                                    \
	(CGROUP_BIT(CGROUP_CPUSET) | CGROUP_BIT(CGROUP_NET_CLS) | CGROUP_BIT(CGROUP_NET_PRIO) | \
	 CGROUP_BIT(CGROUP_PERF) | CGROUP_BIT(CGROUP_RDMA) | CGROUP_BIT(CGROUP_MISC))

/* What a v2 directory can do without any controller. */
#define V2_CORE                                                                                 \
	(CGROUP_BIT(CGROUP_UNIFIED) | CGROUP_BIT(CGROUP_DEVICES) | CGROUP_BIT(CGROUP_FREEZER) | \
	 CGROUP_BIT(CGROUP_CPUACCT) | CGROUP_BIT(CGROUP_PERF))

/* An empty v1 cpuset admits no process: every level takes over what its parent has. */
static int fill_cpuset(char *path, size_t mount_n, const char *file)
{
	auto_strbuf struct strbuf b = {0};
	int r = cgroup_slurp(path, file, &b);
	char *slash = strrchr(path, '/');

	if (r < 0 || str_trim(strbuf_str(&b)).n > 0 || strlen(path) <= mount_n)
		return r;
	assert(slash);
	*slash = '\0';
	r = fill_cpuset(path, mount_n, file);
	strbuf_clear(&b);
	if (r == 0)
		r = cgroup_slurp(path, file, &b);
	*slash = '/';
	if (r < 0)
		return r;
	return cgroup_spit(path, file, strbuf_text(&b), b.n);
}

static int mkdir_parents(char *path, size_t mount_n, bool *ret_fresh)
{
	*ret_fresh = mkdir(path, 0755) == 0;
	if (*ret_fresh || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return -errno;
	for (char *at = path + mount_n + 1; *at; at++) {
		int r = 0;

		if (*at != '/')
			continue;
		*at = '\0';
		r = mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : -errno;
		*at = '/';
		if (r < 0)
			return r;
	}
	return mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : -errno;
}

static unsigned int v2_available(const char *path, const char *file)
{
	auto_strbuf struct strbuf b = {0};
	struct str rest = {0}, name = {0};
	unsigned int bits = 0;

	if (cgroup_slurp(path, file, &b) < 0)
		return 0;
	rest = str_trim(strbuf_str(&b));
	while (str_cut(&rest, ' ', &name))
		bits |= cgroup_bit_of(name);
	return bits;
}

/* Hands the controllers `bits` on to the children of `path`: all at once, else one by one. */
static void v2_hand_on(const char *path, unsigned int bits)
{
	auto_strbuf struct strbuf b = {0};

	for (unsigned int c = 0; c < CGROUP_CONTROLLERS; c++)
		if (bits & CGROUP_BIT(c))
			strbuf_printf(&b, "%s+%s", b.n ? " " : "",
				      c == CGROUP_BLKIO ? "io" : cgroup_controller_name(c));
	if (b.n == 0 || cgroup_spit(path, "cgroup.subtree_control", strbuf_text(&b), b.n) == 0)
		return;
	for (unsigned int c = 0; c < CGROUP_CONTROLLERS; c++) {
		if (!(bits & CGROUP_BIT(c)))
			continue;
		strbuf_clear(&b);
		strbuf_printf(&b, "+%s", c == CGROUP_BLKIO ? "io" : cgroup_controller_name(c));
		(void)cgroup_spit(path, "cgroup.subtree_control", strbuf_text(&b), b.n);
	}
}

/*
 * Controllers reach a v2 directory level by level. What cannot be handed on (a level with processes
 * in it) shows later, when a limit finds no file, as an error of that limit.
 */
static void v2_controllers(struct cgroup_dir *d, unsigned int wanted)
{
	unsigned int missing = wanted & ~v2_available(d->path, "cgroup.controllers");

	for (char *at = d->path + d->mount_n; missing && at; at = strchr(at + 1, '/')) {
		unsigned int here = 0;

		*at = '\0';
		here = v2_available(d->path, "cgroup.controllers") & wanted;
		v2_hand_on(d->path, here & ~v2_available(d->path, "cgroup.subtree_control"));
		*at = '/';
	}
	d->controllers = V2_CORE | v2_available(d->path, "cgroup.controllers");
}

static int make_dir(struct cgroup_dir *d, unsigned int wanted)
{
	int r = mkdir_parents(d->path, d->mount_n, &d->fresh);

	assert(d->mount_n > 0 && d->path[d->mount_n] == '/');
	d->lazy = false;
	if (r == 0 && d->v2)
		v2_controllers(d, wanted);
	if (r == 0 && !d->v2 && (d->controllers & CGROUP_BIT(CGROUP_CPUSET))) {
		r = fill_cpuset(d->path, d->mount_n, "cpuset.cpus");
		if (r == 0)
			r = fill_cpuset(d->path, d->mount_n, "cpuset.mems");
	}
	return r;
}

/* Where a cgroup of that name lies in one hierarchy. */
static char *place(const struct cgroup_host *h, size_t i, const char *name, bool relative)
{
	const struct cgroup_dir *d = &h->dirs[i];
	const char *own = relative && h->own[i] ? h->own[i] : "/";
	struct str base = str_of(own);

	/*
	 * On v2 the caller sits in its own cgroup as a process, so that no controller can be handed
	 * on from there: containers lie beside it.
	 */
	if (d->v2)
		while (base.n > 0 && base.p[base.n - 1] != '/')
			base.n--;
	while (base.n > 0 && base.p[base.n - 1] == '/')
		base.n--;
	return mem_printf("%s%.*s%s", d->path, (int)base.n, base.p, name);
}

/*
 * A directory that was there before us is used only if nobody is in it: what is done to this
 * container (limits, pausing, killing at its end) would be done to them too.
 */
static int check_empty(const struct cgroup_dir *d, struct err *e)
{
	auto_strbuf struct strbuf b = {0};

	if (d->lazy || d->fresh || cgroup_slurp(d->path, "cgroup.procs", &b) < 0 ||
	    str_trim(strbuf_str(&b)).n == 0)
		return 0;
	return err_set(e, ERR_CONFLICT,
		       "the cgroup '%s' has processes in it already; each container needs its own",
		       d->path);
}

static bool lacks_right(int r)
{
	return r == -EACCES || r == -EPERM || r == -EROFS || r == -ENOENT;
}

static unsigned int v1_bits(const struct cgroup_host *h)
{
	unsigned int bits = 0;

	for (size_t i = 0; i < h->n; i++)
		if (!h->dirs[i].v2)
			bits |= h->dirs[i].controllers;
	return bits;
}

/* What the configuration sets a limit of must be there. */
static int check_needs(const struct cgroup_want *want, const struct cgroup *cg, struct err *e)
{
	for (unsigned int c = 0; c < CGROUP_CONTROLLERS; c++)
		if ((want->need & CGROUP_BIT(c)) && !cgroup_has(cg, c))
			return err_set(e, ERR_UNSUPPORTED,
				       "the configuration sets a limit of the cgroup controller "
				       "'%s', which is not available here",
				       cgroup_controller_name(c));
	return 0;
}

/* The directories of that name which exist, whoever is in them. */
static void find_all(const struct cgroup_host *h, const char *name, bool relative,
		     struct cgroup *cg)
{
	unsigned int in_v1 = v1_bits(h);

	for (size_t i = 0; i < h->n; i++) {
		struct cgroup_dir d = h->dirs[i];

		d.path = place(h, i, name, relative);
		if (d.v2)
			d.controllers &= ~in_v1;
		if (access(d.path, F_OK) == 0)
			cgroup_add_dir(cg, &d, d.path);
		else
			free(d.path);
	}
}

static int make_all(const struct cgroup_want *want, const struct cgroup_host *h, const char *name,
		    bool relative, struct cgroup *cg, struct err *e)
{
	const unsigned int v2_all = CGROUP_BIT(CGROUP_CPU) | CGROUP_BIT(CGROUP_CPUSET) |
				    CGROUP_BIT(CGROUP_BLKIO) | CGROUP_BIT(CGROUP_MEMORY) |
				    CGROUP_BIT(CGROUP_HUGETLB) | CGROUP_BIT(CGROUP_PIDS) |
				    CGROUP_BIT(CGROUP_RDMA) | CGROUP_BIT(CGROUP_MISC);
	unsigned int in_v1 = v1_bits(h);
	unsigned int v2_want = h->mode == CGROUP_MODE_V2 ? v2_all : want->need & v2_all & ~in_v1;

	for (size_t i = 0; i < h->n; i++) {
		struct cgroup_dir d = h->dirs[i];
		int r = 0;

		d.path = place(h, i, name, relative);
		d.lazy = d.v2 ? h->mode == CGROUP_MODE_HYBRID && v2_want == 0
			      : !(d.controllers & ~LAZY) && !(d.controllers & want->need);
		if (!d.lazy)
			r = make_dir(&d, v2_want);
		if (d.v2)
			d.controllers &= ~in_v1;
		if (r < 0 && lacks_right(r) && !(d.controllers & want->need)) {
			free(d.path);
			continue;
		}
		cgroup_add_dir(cg, &d, d.path);
		errno = -r;
		if (r < 0)
			return err_sys(e, "cannot make the cgroup '%s'", d.path);
		r = check_empty(&d, e);
		if (r < 0)
			return r;
	}
	return check_needs(want, cg, e);
}

/* What was there before stays. */
static void unmake(struct cgroup *cg)
{
	for (size_t i = 0; i < cg->n; i++)
		if (cg->dirs[i].fresh)
			(void)rmdir(cg->dirs[i].path);
}

int cgroup_make(const struct cgroup_want *want, struct cgroup **ret, struct err *e)
{
	struct cgroup_host h = {0};
	auto_cgroup struct cgroup *cg = cgroup_none();
	auto_free char *name = NULL;
	bool relative = false;
	int r = 0;

	assert(want && ret);
	if (want->disabled) {
		*ret = take(cg);
		return 0;
	}
	r = cgroup_path_resolve(want, &name, &relative, e);
	if (r == 0)
		r = cgroup_host_read(&h, relative, e);
	if (r == 0 && want->find)
		find_all(&h, name, relative, cg);
	else if (r == 0)
		r = make_all(want, &h, name, relative, cg, e);
	cgroup_host_done(&h);
	if (r < 0) {
		unmake(cg);
		return r;
	}
	*ret = take(cg);
	return 0;
}

int cgroup_sweep(const char *path, int timeout_ms, struct err *e)
{
	const struct cgroup_want want = {.path = path, .find = true};
	auto_cgroup struct cgroup *cg = NULL;
	int r = cgroup_make(&want, &cg, e);

	if (r < 0)
		return r;
	r = cgroup_kill(cg, e);
	return r < 0 ? r : cgroup_delete(cg, timeout_ms, e);
}

int cgroup_want_controller(struct cgroup *cg, enum cgroup_controller c, struct err *e)
{
	struct cgroup_dir *d = cgroup_dir_of(cg, c);
	auto_free pid_t *pids = NULL;
	unsigned int was = 0;
	size_t n = 0;
	int r = 0;

	if (!d)
		return err_set(e, ERR_UNSUPPORTED,
			       "the cgroup controller '%s' is not available here",
			       cgroup_controller_name(c));
	if (!d->lazy)
		return 0;
	r = cgroup_pids(cg, &pids, &n, e);
	if (r < 0)
		return r;
	was = d->controllers; /* of a hybrid host's v2 directory: v1 holds the others */
	r = make_dir(d, 0);
	d->controllers = was;
	for (size_t i = 0; r == 0 && i < n; i++) {
		char text[24];
		int len = snprintf(text, sizeof text, "%d", (int)pids[i]);

		r = cgroup_spit(d->path, "cgroup.procs", text, (size_t)len);
		r = r == -ESRCH ? 0 : r;
	}
	if (r == 0)
		return 0;
	errno = -r;
	return err_sys(e, "cannot make the cgroup '%s' and move the container there", d->path);
}
