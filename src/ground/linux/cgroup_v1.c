/*
 * cgroup v1, alone or with a v2 hierarchy beside it.
 *
 * Joining is where the time goes: a write to cgroup.procs takes a lock of the whole machine and
 * waits for an RCU grace period (4 to 16 ms measured on 6.18), a write of "0" to `tasks` by a
 * process with one thread does not (kernel/cgroup/cgroup.c, cgroup_procs_write_start): 20 us per
 * hierarchy. For the v2 directory of a hybrid host the same is had by clone3's CLONE_INTO_CGROUP.
 *
 * The memory hierarchy is joined last of all, right before exec, so that namespaces, mounts and
 * page tables of the set-up are not charged to the container: with it a limit of 1 MiB starts a
 * program.
 */
#include "ground/linux/cgroup_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/eventfd.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"
#include "ground/linux/devices_bpf.h"

static int v1_join_self(struct cgroup *cg, bool in_clone_fd, struct err *e)
{
	for (size_t i = 0; i < cg->n; i++) {
		const struct cgroup_dir *d = &cg->dirs[i];
		int r = 0;

		if (d->lazy || (d->controllers & CGROUP_BIT(CGROUP_MEMORY)))
			continue;
		/* The v2 directory is worth its price only for a controller that v1 does not have.
		 */
		if (d->v2 && (in_clone_fd || d->controllers == CGROUP_BIT(CGROUP_UNIFIED)))
			continue;
		r = cgroup_spit(d->path, d->v2 ? "cgroup.procs" : "tasks", "0", 1);
		errno = -r;
		if (r < 0)
			return err_sys(e, "cannot join the cgroup '%s'", d->path);
	}
	return 0;
}

static int v1_late_open(struct cgroup *cg, struct cgroup_late *ret, struct err *e)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_MEMORY);
	int fd = -1;

	ret->fd = -1;
	if (!d || d->v2)
		return 0;
	fd = cgroup_open_file(d, "tasks", O_WRONLY);
	errno = -fd;
	if (fd < 0)
		return err_sys(e, "cannot open '%s/tasks' to join it", d->path);
	ret->fd = fd;
	return 0;
}

static bool freezer_is(const struct cgroup_dir *d, const char *state)
{
	auto_strbuf struct strbuf b = {0};

	return cgroup_slurp(d->path, "freezer.state", &b) == 0 &&
	       str_is(str_trim(strbuf_str(&b)), state);
}

/*
 * A process that forks while the freezer works can leave it FREEZING for ever: a short thaw and a
 * new try help (known of every v1 kernel). A timeout thaws again: half paused is worse than
 * running.
 */
static int v1_freeze(struct cgroup *cg, bool freeze, int timeout_ms, struct err *e)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_FREEZER);
	const char *state = freeze ? "FROZEN" : "THAWED";

	if (d && d->v2)
		return cgroup_ops_v2.freeze(cg, freeze, timeout_ms, e);
	if (!d)
		return err_set(e, ERR_UNSUPPORTED,
			       "cannot %s: the cgroup controller 'freezer' is not available here",
			       freeze ? "pause" : "resume");
	for (int waited = 0, step = 1; waited <= timeout_ms; waited += step) {
		int r = cgroup_spit(d->path, "freezer.state", state, strlen(state));

		errno = -r;
		if (r < 0)
			return err_sys(e, "cannot write '%s' to '%s/freezer.state'", state,
				       d->path);
		if (freezer_is(d, state))
			return 0;
		if (freeze && waited % 50 == 49)
			(void)cgroup_spit(d->path, "freezer.state", "THAWED", 6);
		cgroup_pause_ms(step);
	}
	(void)cgroup_spit(d->path, "freezer.state", "THAWED", 6);
	return err_set(e, ERR_TIMEOUT, "the processes of '%s' did not stand still within %d ms",
		       d->path, timeout_ms);
}

static bool v1_is_frozen(struct cgroup *cg)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_FREEZER);

	if (d && d->v2)
		return cgroup_ops_v2.is_frozen(cg);
	return d && !freezer_is(d, "THAWED") && access(d->path, F_OK) == 0;
}

static int v1_kill(struct cgroup *cg, struct err *e)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_UNIFIED);

	/* One atomic stroke where there is one; an exec that could not be put there is listed
	 * below. */
	if (d)
		(void)cgroup_spit(d->path, "cgroup.kill", "1", 1);
	return cgroup_kill_listed(cg, e);
}

/*
 * Device rules as the kernel keeps them: a default and exceptions to it. Rules of the configuration
 * are folded into that shape first, so that "later rules win" holds also where v1 itself would
 * ignore one.
 */
struct exceptions {
	bool allow_all;
	struct cgroup_device list[CGROUP_DEVICES_MAX];
	size_t n;
};

static bool covers(int64_t wide, int64_t narrow)
{
	return wide == -1 || wide == narrow;
}

static bool same_device(const struct cgroup_device *a, const struct cgroup_device *b)
{
	return a->type == b->type && a->major == b->major && a->minor == b->minor;
}

static bool overlaps(const struct cgroup_device *a, const struct cgroup_device *b)
{
	return a->type == b->type && (covers(a->major, b->major) || covers(b->major, a->major)) &&
	       (covers(a->minor, b->minor) || covers(b->minor, a->minor)) &&
	       ((a->read && b->read) || (a->write && b->write) || (a->mknod && b->mknod));
}

static void add_exception(struct exceptions *x, const struct cgroup_device *r)
{
	for (size_t i = 0; i < x->n; i++) {
		struct cgroup_device *at = &x->list[i];

		if (!same_device(at, r))
			continue;
		at->read |= r->read;
		at->write |= r->write;
		at->mknod |= r->mknod;
		return;
	}
	assert(x->n < CGROUP_DEVICES_MAX);
	x->list[x->n++] = *r;
}

/* A rule that agrees with the default takes back what earlier exceptions said. */
static int drop_exceptions(struct exceptions *x, const struct cgroup_device *r, struct err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < x->n; i++) {
		struct cgroup_device *at = &x->list[i];

		if (overlaps(at, r)) {
			if (!covers(r->major, at->major) || !covers(r->minor, at->minor))
				return err_set(e, ERR_UNSUPPORTED,
					       "cgroup v1 cannot hold the device rule '%c "
					       "%" PRId64 ":%" PRId64
					       "': it takes back a part of an earlier, wider rule",
					       r->type, r->major, r->minor);
			at->read &= !r->read;
			at->write &= !r->write;
			at->mknod &= !r->mknod;
		}
		if (at->read || at->write || at->mknod)
			x->list[n++] = *at;
	}
	x->n = n;
	return 0;
}

static int fold_rules(const struct cgroup_device *rules, size_t n, struct exceptions *x,
		      struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct cgroup_device *r = &rules[i];

		if (r->type == 'a') {
			x->allow_all = r->allow;
			x->n = 0;
		} else if (r->allow != x->allow_all) {
			add_exception(x, r);
		} else {
			int bad = drop_exceptions(x, r, e);

			if (bad < 0)
				return bad;
		}
	}
	return 0;
}

static int device_text(const struct cgroup_device *r, char *buf, size_t size)
{
	char major[24] = "*", minor[24] = "*";

	if (r->major >= 0)
		(void)snprintf(major, sizeof major, "%" PRId64, r->major);
	if (r->minor >= 0)
		(void)snprintf(minor, sizeof minor, "%" PRId64, r->minor);
	return snprintf(buf, size, "%c %s:%s %s%s%s", r->type, major, minor, r->read ? "r" : "",
			r->write ? "w" : "", r->mknod ? "m" : "");
}

static int write_rules(const struct cgroup_dir *d, const char *file,
		       const struct cgroup_device *rules, size_t n, struct err *e)
{
	auto_close int fd = -1;

	if (n == 0)
		return 0;
	fd = cgroup_open_file(d, file, O_WRONLY);
	errno = fd < 0 ? -fd : 0;
	if (fd < 0)
		return err_sys(e, "cannot open '%s/%s' (cgroup controller 'devices')", d->path,
			       file);
	for (size_t i = 0; i < n; i++) {
		char text[80];
		int len = device_text(&rules[i], text, sizeof text);

		if (write(fd, text, (size_t)len) < 0)
			return err_sys(e,
				       "cannot write '%s' to '%s/%s' (cgroup controller 'devices')",
				       text, d->path, file);
	}
	return 0;
}

static bool parse_number(struct str text, int64_t *ret)
{
	*ret = -1;
	return str_is(text, "*") || parse_i64(text, "device number", ret, NULL) == 0;
}

/* "c 1:3 rwm" of devices.list. */
static bool parse_listed(struct str line, struct cgroup_device *ret)
{
	struct str type = {0}, major = {0}, minor = {0};

	if (!str_cut(&line, ' ', &type) || type.n != 1 || !str_cut(&line, ':', &major) ||
	    !str_cut(&line, ' ', &minor) || line.n == 0)
		return false;
	*ret = (struct cgroup_device){
		.type = type.p[0],
		.read = memchr(line.p, 'r', line.n),
		.write = memchr(line.p, 'w', line.n),
		.mknod = memchr(line.p, 'm', line.n),
	};
	return parse_number(major, &ret->major) && parse_number(minor, &ret->minor);
}

/*
 * A container that runs keeps its devices while its rules change: new exceptions are written first,
 * then what is listed and no longer wanted is taken back. Only a new default starts from nothing.
 */
static int replace_listed(const struct cgroup_dir *d, const struct exceptions *x, bool *ret_done,
			  struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	struct str rest = {0}, line = {0};
	const char *take_back = x->allow_all ? "devices.allow" : "devices.deny";
	int r = cgroup_slurp(d->path, "devices.list", &b);

	*ret_done = false;
	if (r < 0 || x->allow_all || str_starts(strbuf_str(&b), "a"))
		return 0;
	r = write_rules(d, "devices.allow", x->list, x->n, e);
	rest = str_trim(strbuf_str(&b));
	while (r == 0 && str_cut(&rest, '\n', &line)) {
		struct cgroup_device old = {0};

		if (!parse_listed(line, &old))
			continue;
		for (size_t i = 0; i < x->n; i++) {
			if (!same_device(&x->list[i], &old))
				continue;
			old.read &= !x->list[i].read;
			old.write &= !x->list[i].write;
			old.mknod &= !x->list[i].mknod;
		}
		if (old.read || old.write || old.mknod)
			r = write_rules(d, take_back, &old, 1, e);
	}
	*ret_done = r == 0;
	return r;
}

static int v1_devices(struct cgroup *cg, const struct cgroup_device *rules, size_t n, struct err *e)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_DEVICES);
	const struct cgroup_device all = {
		.type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true};
	auto_free struct exceptions *x = NULL;
	bool done = false;
	int r = 0;

	if (!d)
		return err_set(e, ERR_UNSUPPORTED,
			       "the configuration has device rules, but the cgroup controller "
			       "'devices' is not available here");
	if (d->v2)
		return devices_bpf_replace(d->path, rules, n, e);
	x = mem_new(struct exceptions);
	r = fold_rules(rules, n, x, e);
	if (r == 0 && !d->fresh)
		r = replace_listed(d, x, &done, e);
	if (r < 0 || done)
		return r;
	assert(x->n <= CGROUP_DEVICES_MAX);
	r = write_rules(d, x->allow_all ? "devices.allow" : "devices.deny", &all, 1, e);
	if (r < 0)
		return r;
	return write_rules(d, x->allow_all ? "devices.deny" : "devices.allow", x->list, x->n, e);
}

/* An eventfd that the kernel signals at every OOM of the cgroup, and when the cgroup is removed. */
static int v1_oom_open(struct cgroup *cg, int *ret_fd, struct err *e)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_MEMORY);
	auto_close int event = -1;
	auto_close int control = -1;
	char text[48];
	int n = 0, r = 0;

	if (!d)
		return err_set(e, ERR_UNSUPPORTED,
			       "the cgroup controller 'memory' is not available here");
	if (d->v2)
		return cgroup_ops_v2.oom_open(cg, ret_fd, e);
	control = cgroup_open_file(d, "memory.oom_control", O_RDONLY);
	errno = control < 0 ? -control : 0;
	if (control < 0)
		return err_sys(e, "cannot open '%s/memory.oom_control'", d->path);
	event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event < 0)
		return err_sys(e, "cannot make an eventfd");
	n = snprintf(text, sizeof text, "%d %d", event, control);
	r = cgroup_spit(d->path, "cgroup.event_control", text, (size_t)n);
	errno = -r;
	if (r < 0)
		return err_sys(e, "cannot watch '%s/memory.oom_control'", d->path);
	*ret_fd = take_fd(&event);
	return 0;
}

static uint64_t v1_oom_kills(struct cgroup *cg)
{
	const struct cgroup_dir *d = cgroup_dir_made(cg, CGROUP_MEMORY);
	uint64_t n = 0;

	if (d && d->v2)
		return cgroup_ops_v2.oom_kills(cg);
	return cgroup_read_key(cg, CGROUP_MEMORY, "memory.oom_control", "oom_kill", &n) ? n : 0;
}

const struct cgroup_ops cgroup_ops_v1 = {
	.mode = CGROUP_MODE_V1,
	.join_self = v1_join_self,
	.late_open = v1_late_open,
	.freeze = v1_freeze,
	.is_frozen = v1_is_frozen,
	.kill = v1_kill,
	.devices = v1_devices,
	.oom_open = v1_oom_open,
	.oom_kills = v1_oom_kills,
};
