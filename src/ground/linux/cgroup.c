/*
 * One container's cgroup: finding, making, saving and loading its directories, and reading and
 * writing their files. What differs between the versions stands in cgroup_v1.c and cgroup_v2.c,
 * killing and removing in cgroup_procs.c, memory's kills in cgroup_oom.c.
 *
 * Paths are host paths: three components below a mount point cost less to look up than keeping a
 * dozen descriptors open and handing them through every clone.
 */
#include "ground/linux/cgroup_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"

static int no_join(struct cgroup *cg, bool in_clone_fd, struct err *e)
{
	return 0;
}

static int no_late(struct cgroup *cg, struct cgroup_late *ret, struct err *e)
{
	ret->fd = -1;
	return 0;
}

static int no_freeze(struct cgroup *cg, bool freeze, int timeout_ms, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "cannot %s: the container has no cgroup",
		       freeze ? "pause" : "resume");
}

static bool no_frozen(struct cgroup *cg)
{
	return false;
}

static int no_kill(struct cgroup *cg, struct err *e)
{
	return 0;
}

static int no_devices(struct cgroup *cg, const struct cgroup_device *rules, size_t n, struct err *e)
{
	return 0;
}

static int no_oom_open(struct cgroup *cg, int *ret_fd, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "cannot watch memory: the container has no cgroup");
}

static uint64_t no_oom_kills(struct cgroup *cg)
{
	return 0;
}

const struct cgroup_ops cgroup_ops_none = {
	.mode = CGROUP_MODE_NONE,
	.join_self = no_join,
	.late_open = no_late,
	.freeze = no_freeze,
	.is_frozen = no_frozen,
	.kill = no_kill,
	.devices = no_devices,
	.oom_open = no_oom_open,
	.oom_kills = no_oom_kills,
};

struct cgroup *cgroup_none(void)
{
	struct cgroup *cg = mem_new(struct cgroup);

	cg->magic = CGROUP_MAGIC;
	cg->ops = &cgroup_ops_none;
	cg->clone_fd = -1;
	return cg;
}

struct cgroup *cgroup_free(struct cgroup *cg)
{
	if (!cg)
		return NULL;
	assert(cg->magic == CGROUP_MAGIC);
	for (size_t i = 0; i < cg->n; i++)
		free(cg->dirs[i].path);
	(void)fd_close(cg->clone_fd);
	cg->magic = 0;
	free(cg);
	return NULL;
}

void cgroup_add_dir(struct cgroup *cg, const struct cgroup_dir *d, char *path)
{
	assert(cg->n < CGROUP_DIRS_MAX);
	cg->dirs[cg->n] = *d;
	cg->dirs[cg->n++].path = path;
	if (!d->v2)
		cg->ops = &cgroup_ops_v1;
	else if (cg->ops == &cgroup_ops_none)
		cg->ops = &cgroup_ops_v2;
}

/* Files. */

int cgroup_slurp(const char *dir, const char *file, struct strbuf *out)
{
	char path[PATH_MAX], chunk[16384];
	auto_close int fd = -1;
	int n = snprintf(path, sizeof path, "%s/%s", dir, file);

	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t got = read(fd, chunk, sizeof chunk);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return 0;
		if (out->n + (size_t)got > CGROUP_FILE_MAX)
			return -EFBIG;
		strbuf_add(out, chunk, (size_t)got);
	}
}

int cgroup_open_file(const struct cgroup_dir *d, const char *file, int flags)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof path, "%s/%s", d->path, file);
	int fd = -1;

	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int cgroup_spit(const char *dir, const char *file, const char *text, size_t n)
{
	const struct cgroup_dir d = {.path = (char *)dir};
	auto_close int fd = cgroup_open_file(&d, file, O_WRONLY);

	if (fd < 0)
		return fd;
	for (;;) {
		if (write(fd, text, n) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

struct cgroup_dir *cgroup_dir_of(struct cgroup *cg, enum cgroup_controller c)
{
	assert(cg->magic == CGROUP_MAGIC);
	for (size_t i = 0; i < cg->n; i++)
		if (cg->dirs[i].controllers & CGROUP_BIT(c))
			return &cg->dirs[i];
	return NULL;
}

struct cgroup_dir *cgroup_dir_made(struct cgroup *cg, enum cgroup_controller c)
{
	struct cgroup_dir *d = cgroup_dir_of(cg, c);

	return d && !d->lazy ? d : NULL;
}

enum cgroup_mode cgroup_mode(const struct cgroup *cg)
{
	bool v1 = false, v2 = false;

	for (size_t i = 0; i < cg->n; i++) {
		v1 |= !cg->dirs[i].v2;
		v2 |= cg->dirs[i].v2;
	}
	return v1 && v2 ? CGROUP_MODE_HYBRID
	       : v1	? CGROUP_MODE_V1
	       : v2	? CGROUP_MODE_V2
			: CGROUP_MODE_NONE;
}

bool cgroup_has(const struct cgroup *cg, enum cgroup_controller c)
{
	return cgroup_dir_of((struct cgroup *)cg, c) != NULL;
}

bool cgroup_is_v2(const struct cgroup *cg, enum cgroup_controller c)
{
	const struct cgroup_dir *d = cgroup_dir_of((struct cgroup *)cg, c);

	return d && d->v2;
}

const char *cgroup_dir(const struct cgroup *cg, enum cgroup_controller c)
{
	const struct cgroup_dir *d = cgroup_dir_made((struct cgroup *)cg, c);

	return d ? d->path : NULL;
}

int cgroup_write(struct cgroup *cg, enum cgroup_controller c, const char *file, const char *value,
		 struct err *e)
{
	size_t n = strlen(value);
	int r = 0;

	assert(file && !strchr(file, '/'));
	if (n > CGROUP_VALUE_MAX)
		return err_set(e, ERR_INVALID, "the value for '%s' is longer than %d bytes", file,
			       CGROUP_VALUE_MAX);
	if (!cgroup_dir_of(cg, c))
		return err_set(e, ERR_UNSUPPORTED,
			       "cannot set '%s' to '%s': the cgroup controller '%s' is not "
			       "available here",
			       file, value, cgroup_controller_name(c));
	r = cgroup_want_controller(cg, c, e);
	if (r < 0)
		return r;
	r = cgroup_spit(cgroup_dir(cg, c), file, value, n);
	if (r == 0)
		return 0;
	if (r == -ENOENT && access(cgroup_dir(cg, c), F_OK) == 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "cannot set '%s' to '%s': this kernel's cgroup controller '%s' has "
			       "no such file in '%s'",
			       file, value, cgroup_controller_name(c), cgroup_dir(cg, c));
	errno = -r;
	return err_sys(e, "cannot write '%s' to '%s/%s' (cgroup controller '%s')", value,
		       cgroup_dir(cg, c), file, cgroup_controller_name(c));
}

int cgroup_write_u64(struct cgroup *cg, enum cgroup_controller c, const char *file, uint64_t value,
		     struct err *e)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%" PRIu64, value);
	return cgroup_write(cg, c, file, text, e);
}

int cgroup_write_i64(struct cgroup *cg, enum cgroup_controller c, const char *file, int64_t value,
		     struct err *e)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%" PRId64, value);
	return cgroup_write(cg, c, file, text, e);
}

bool cgroup_file_exists(struct cgroup *cg, enum cgroup_controller c, const char *file)
{
	const char *dir = cgroup_dir(cg, c);
	char path[PATH_MAX];

	if (!dir || snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path)
		return false;
	return access(path, F_OK) == 0;
}

int cgroup_read(struct cgroup *cg, enum cgroup_controller c, const char *file, struct strbuf *out,
		struct err *e)
{
	const char *dir = cgroup_dir(cg, c);
	int r = 0;

	if (!dir)
		return err_set(e, ERR_UNSUPPORTED,
			       "cannot read '%s': the cgroup controller '%s' is not available here",
			       file, cgroup_controller_name(c));
	r = cgroup_slurp(dir, file, out);
	if (r == 0)
		return 0;
	errno = -r;
	return err_sys(e, "cannot read '%s/%s' (cgroup controller '%s')", dir, file,
		       cgroup_controller_name(c));
}

int cgroup_read_u64(struct cgroup *cg, enum cgroup_controller c, const char *file, uint64_t *ret,
		    struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	struct str text = {0};
	int r = cgroup_read(cg, c, file, &b, e);

	if (r < 0)
		return r;
	text = str_trim(strbuf_str(&b));
	if (str_is(text, "max") || str_is(text, "-1")) {
		*ret = UINT64_MAX;
		return 0;
	}
	return parse_u64(text, file, ret, e);
}

bool cgroup_read_key(struct cgroup *cg, enum cgroup_controller c, const char *file, const char *key,
		     uint64_t *ret)
{
	auto_strbuf struct strbuf b = {0};
	struct str rest = {0}, line = {0}, name = {0};

	if (cgroup_read(cg, c, file, &b, NULL) < 0)
		return false;
	rest = strbuf_str(&b);
	while (str_cut(&rest, '\n', &line))
		if (str_cut(&line, ' ', &name) && str_is(name, key))
			return parse_u64(str_trim(line), key, ret, NULL) == 0;
	return false;
}

/* Saving. "<?>names mount//within": the double slash, which no clean path has, keeps mount_n. */

void cgroup_save(const struct cgroup *cg, struct strbuf *out)
{
	assert(cg->magic == CGROUP_MAGIC);
	for (size_t i = 0; i < cg->n; i++) {
		const struct cgroup_dir *d = &cg->dirs[i];
		const char *comma = "";

		strbuf_printf(out, "%s%s", d->lazy ? "?" : "", d->v2 ? "@" : "");
		for (unsigned int c = 0; c < CGROUP_CONTROLLERS; c++) {
			if (!(d->controllers & CGROUP_BIT(c)))
				continue;
			strbuf_printf(out, "%s%s", comma, cgroup_controller_name(c));
			comma = ",";
		}
		strbuf_printf(out, " %.*s/%s\n", (int)d->mount_n, d->path, d->path + d->mount_n);
	}
}

static int load_line(struct cgroup *cg, struct str line, struct err *e)
{
	struct cgroup_dir d = {0};
	struct str names = {0}, name = {0};
	auto_free char *path = NULL;
	auto_free char *clean = NULL;
	char *twice = NULL;

	d.lazy = str_starts(line, "?");
	line = (struct str){line.p + d.lazy, line.n - d.lazy};
	d.v2 = str_starts(line, "@");
	line = (struct str){line.p + d.v2, line.n - d.v2};
	if (!str_cut(&line, ' ', &names) || line.n == 0 || line.p[0] != '/' ||
	    memchr(line.p, '\0', line.n) || cg->n == CGROUP_DIRS_MAX)
		return err_set(e, ERR_INVALID, "the saved cgroup is not one");
	while (str_cut(&names, ',', &name))
		d.controllers |= cgroup_bit_of(name);
	path = str_dup(line);
	twice = strstr(path, "//");
	clean = cgroup_path_clean(path, e);
	if (!clean)
		return -ERR_INVALID;
	if (!twice || d.controllers == 0)
		return err_set(e, ERR_INVALID, "the saved cgroup is not one");
	d.mount_n = (size_t)(twice - path);
	memmove(twice, twice + 1, strlen(twice));
	if (!text_eq(path, clean) || d.mount_n == 0 || d.mount_n + 1 >= strlen(clean))
		return err_set(e, ERR_INVALID, "the saved cgroup's path '%s' is not clean", path);
	/* An update may have made it since. */
	d.lazy = d.lazy && access(clean, F_OK) < 0;
	cgroup_add_dir(cg, &d, take(clean));
	return 0;
}

int cgroup_load(struct str text, struct cgroup **ret, struct err *e)
{
	auto_cgroup struct cgroup *cg = cgroup_none();
	struct str line = {0};

	while (str_cut(&text, '\n', &line)) {
		int r = line.n ? load_line(cg, line, e) : 0;

		if (r < 0)
			return r;
	}
	*ret = take(cg);
	return 0;
}

int cgroup_sub(const struct cgroup *cg, const char *path, struct cgroup **ret, struct err *e)
{
	auto_cgroup struct cgroup *sub = cgroup_none();
	auto_free char *clean = NULL;
	size_t found = 0;

	for (struct str rest = str_of(path), name = {0}; str_cut(&rest, '/', &name);)
		if (str_is(name, ".."))
			return err_set(e, ERR_INVALID,
				       "invalid sub-cgroup '%.200s': '..' is not "
				       "allowed",
				       path);
	clean = cgroup_path_clean(path, e);
	if (!clean)
		return -ERR_INVALID;
	for (size_t i = 0; i < cg->n; i++) {
		auto_free char *full =
			mem_printf("%s%s", cg->dirs[i].path, text_eq(clean, "/") ? "" : clean);
		bool there = !cg->dirs[i].lazy && access(full, F_OK) == 0;

		/* A hierarchy without it: the container's own cgroup, so that its limits hold. */
		found += there;
		cgroup_add_dir(sub, &cg->dirs[i],
			       there ? take(full) : mem_dup_text(cg->dirs[i].path));
	}
	if (found == 0 && cg->n > 0)
		return err_set(e, ERR_NOT_FOUND, "the container has no sub-cgroup '%s'", path);
	*ret = take(sub);
	return 0;
}

/* Joining and the operations that differ. */

/* Below this a v2 container is joined late: what a child needs until exec would not fit. */
#define SMALL_BYTES (8u << 20)

int cgroup_clone_fd(struct cgroup *cg)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_UNIFIED);
	uint64_t limit = UINT64_MAX;

	if (!d)
		return -1;
	if (cg->ops == &cgroup_ops_v2 && (d->controllers & CGROUP_BIT(CGROUP_MEMORY)) &&
	    cgroup_read_u64(cg, CGROUP_MEMORY, "memory.max", &limit, NULL) == 0 &&
	    limit < SMALL_BYTES)
		return -1;
	if (cg->clone_fd < 0)
		cg->clone_fd = open(d->path, O_DIRECTORY | O_PATH | O_CLOEXEC);
	return cg->clone_fd;
}

int cgroup_join_self(struct cgroup *cg, bool in_clone_fd, struct err *e)
{
	return cg->ops->join_self(cg, in_clone_fd, e);
}

int cgroup_join(struct cgroup *cg, pid_t pid, struct err *e)
{
	char text[24];
	int n = snprintf(text, sizeof text, "%d", (int)pid);

	assert(pid > 0);
	for (size_t i = 0; i < cg->n; i++) {
		int r = 0;

		if (cg->dirs[i].lazy)
			continue;
		r = cgroup_spit(cg->dirs[i].path, "cgroup.procs", text, (size_t)n);
		errno = -r;
		if (r < 0)
			return err_sys(e, "cannot move process %d into the cgroup '%s'", (int)pid,
				       cg->dirs[i].path);
	}
	return 0;
}

int cgroup_late_open(struct cgroup *cg, struct cgroup_late *ret, struct err *e)
{
	return cg->ops->late_open(cg, ret, e);
}

int cgroup_join_late(struct cgroup_late *late, struct err *e)
{
	auto_close int fd = take_fd(&late->fd);

	if (fd >= 0 && write(fd, "0", 1) < 0)
		return err_sys(e, "cannot join the container's memory cgroup");
	return 0;
}

int cgroup_freeze(struct cgroup *cg, bool freeze, int timeout_ms, struct err *e)
{
	assert(timeout_ms >= 0);
	return cg->ops->freeze(cg, freeze, timeout_ms, e);
}

bool cgroup_is_frozen(struct cgroup *cg)
{
	return cg->ops->is_frozen(cg);
}

int cgroup_kill(struct cgroup *cg, struct err *e)
{
	return cg->ops->kill(cg, e);
}

int cgroup_devices(struct cgroup *cg, const struct cgroup_device *rules, size_t n, struct err *e)
{
	if (n > CGROUP_DEVICES_MAX)
		return err_set(e, ERR_INVALID, "%zu device rules are more than %d", n,
			       CGROUP_DEVICES_MAX);
	return cg->ops->devices(cg, rules, n, e);
}

int cgroup_oom_open(struct cgroup *cg, int *ret_fd, struct err *e)
{
	return cg->ops->oom_open(cg, ret_fd, e);
}

uint64_t cgroup_oom_kills(struct cgroup *cg)
{
	return cg->ops->oom_kills(cg);
}

/* Mounting. */

static void plan_add(struct cgroup_mount_plan *p, enum cgroup_mount_kind kind, struct str name,
		     const char *source)
{
	if (p->n == array_len(p->steps))
		return;
	p->steps[p->n++] = (struct cgroup_mount){kind, str_dup(name), mem_dup_text(source)};
}

void cgroup_mount_plan(const struct cgroup *cg, struct cgroup_mount_plan *ret)
{
	assert(cg->magic == CGROUP_MAGIC);
	*ret = (struct cgroup_mount_plan){0};
	if (cg->ops == &cgroup_ops_v2) {
		plan_add(ret, CGROUP_MOUNT_BIND, STR(""), cg->dirs[0].path);
		return;
	}
	plan_add(ret, CGROUP_MOUNT_TMPFS, STR(""), NULL);
	for (size_t i = 0; i < cg->n; i++) {
		const struct cgroup_dir *d = &cg->dirs[i];
		struct str name = {d->path, d->mount_n}, part = {0};
		struct str parts = {0};

		if (d->lazy)
			continue;
		for (const char *slash = NULL; (slash = memchr(name.p, '/', name.n));)
			name = (struct str){slash + 1, name.n - (size_t)(slash + 1 - name.p)};
		plan_add(ret, CGROUP_MOUNT_BIND, name, d->path);
		parts = name;
		if (!memchr(name.p, ',', name.n))
			continue;
		while (str_cut(&parts, ',', &part)) {
			auto_free char *whole = str_dup(name);

			plan_add(ret, CGROUP_MOUNT_SYMLINK, part, whole);
		}
	}
}

void cgroup_mount_plan_done(struct cgroup_mount_plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		free(plan->steps[i].name);
		free(plan->steps[i].source);
	}
	*plan = (struct cgroup_mount_plan){0};
}
