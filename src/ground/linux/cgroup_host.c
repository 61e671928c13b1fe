/*
 * The host's cgroup hierarchies: which are mounted where, and in which cgroup the caller is. Read
 * from /proc/self/mountinfo and /proc/self/cgroup, once per cgroup that is made; later commands
 * have the result in their state file. Parsing is apart from reading, so that it can be tested and
 * fuzzed.
 *
 * Not done: mounting hierarchies that are not mounted.
 */
#include "ground/linux/cgroup_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "ground/base/mem.h"

static const struct {
	const char *name;
	unsigned int bit;
} controller_names[] = {
	{"cpu", CGROUP_BIT(CGROUP_CPU)},	   {"cpuacct", CGROUP_BIT(CGROUP_CPUACCT)},
	{"cpuset", CGROUP_BIT(CGROUP_CPUSET)},	   {"memory", CGROUP_BIT(CGROUP_MEMORY)},
	{"devices", CGROUP_BIT(CGROUP_DEVICES)},   {"freezer", CGROUP_BIT(CGROUP_FREEZER)},
	{"blkio", CGROUP_BIT(CGROUP_BLKIO)},	   {"pids", CGROUP_BIT(CGROUP_PIDS)},
	{"hugetlb", CGROUP_BIT(CGROUP_HUGETLB)},   {"net_cls", CGROUP_BIT(CGROUP_NET_CLS)},
	{"net_prio", CGROUP_BIT(CGROUP_NET_PRIO)}, {"perf_event", CGROUP_BIT(CGROUP_PERF)},
	{"rdma", CGROUP_BIT(CGROUP_RDMA)},	   {"misc", CGROUP_BIT(CGROUP_MISC)},
	{"named", CGROUP_BIT(CGROUP_NAMED)},	   {"unified", CGROUP_BIT(CGROUP_UNIFIED)},
};

static_assert(array_len(controller_names) == CGROUP_CONTROLLERS, "one name per controller");

const char *cgroup_controller_name(enum cgroup_controller c)
{
	assert(c < CGROUP_CONTROLLERS);
	return controller_names[c].name;
}

unsigned int cgroup_bit_of(struct str name)
{
	if (str_is(name, "io"))
		return CGROUP_BIT(CGROUP_BLKIO);
	for (size_t i = 0; i < array_len(controller_names); i++)
		if (str_is(name, controller_names[i].name))
			return controller_names[i].bit;
	return str_starts(name, "name=") ? CGROUP_BIT(CGROUP_NAMED) : 0;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static char *unescaped(struct str text)
{
	struct strbuf b = {0};

	for (size_t i = 0; i < text.n; i++) {
		const char *p = text.p + i;

		if (*p != '\\' || text.n - i < 4) {
			strbuf_add_char(&b, *p);
			continue;
		}
		strbuf_add_char(&b, (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0')));
		i += 3;
	}
	return strbuf_take(&b);
}

static unsigned int bits_of_list(struct str list)
{
	unsigned int bits = 0;
	struct str name = {0};

	while (str_cut(&list, ',', &name))
		bits |= cgroup_bit_of(name);
	return bits;
}

/* One line: "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:1 - tmpfs tmpfs rw,mode=755" */
static void parse_mount(struct cgroup_host *h, struct str line)
{
	struct str fields[5] = {0}, tail = line, word = {0}, type = {0}, options = {0};
	char *path = NULL;

	for (size_t i = 0; i < array_len(fields); i++)
		if (!str_cut(&tail, ' ', &fields[i]))
			return;
	while (str_cut(&tail, ' ', &word) && !str_is(word, "-"))
		;
	if (!str_cut(&tail, ' ', &type) || !str_cut(&tail, ' ', &word))
		return;
	options = tail;
	if (!str_is(type, "cgroup") && !str_is(type, "cgroup2"))
		return;
	if (h->n == CGROUP_DIRS_MAX || fields[4].n == 0 || fields[4].p[0] != '/')
		return;
	path = unescaped(fields[4]);
	h->dirs[h->n] = (struct cgroup_dir){
		.path = path,
		.mount_n = strlen(path),
		.v2 = str_is(type, "cgroup2"),
		.controllers = str_is(type, "cgroup2") ? CGROUP_BIT(CGROUP_UNIFIED)
						       : bits_of_list(options),
	};
	h->roots[h->n++] = unescaped(fields[3]);
}

void cgroup_host_parse_mounts(struct cgroup_host *h, struct str mountinfo)
{
	struct str line = {0};

	while (str_cut(&mountinfo, '\n', &line))
		parse_mount(h, line);
}

static void drop(struct cgroup_host *h, size_t i)
{
	free(h->dirs[i].path);
	free(h->roots[i]);
	h->n--;
	memmove(h->dirs + i, h->dirs + i + 1, (h->n - i) * sizeof h->dirs[0]);
	memmove(h->roots + i, h->roots + i + 1, (h->n - i) * sizeof h->roots[0]);
}

/* A mount point mounted over: the later one shows. A hierarchy mounted twice: the first is enough.
 */
static bool is_repeat(const struct cgroup_host *h, size_t i)
{
	const struct cgroup_dir *d = &h->dirs[i];

	for (size_t k = 0; k < h->n; k++) {
		if (k > i && text_eq(h->dirs[k].path, d->path))
			return true;
		if (k < i && h->dirs[k].controllers == d->controllers &&
		    d->controllers != CGROUP_BIT(CGROUP_NAMED))
			return true;
	}
	return d->controllers == 0;
}

/* mountinfo also lists what lies hidden below a later mount. */
static void drop_hidden(struct cgroup_host *h)
{
	for (size_t i = h->n; i-- > 0;) {
		struct statfs fs;

		if (statfs(h->dirs[i].path, &fs) < 0 ||
		    fs.f_type != (h->dirs[i].v2 ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC))
			drop(h, i);
	}
}

void cgroup_host_settle(struct cgroup_host *h)
{
	size_t v1 = 0, v2 = 0;

	for (size_t i = 0; i < h->n;)
		if (is_repeat(h, i))
			drop(h, i);
		else
			i++;
	for (size_t i = 0; i < h->n; i++)
		*(h->dirs[i].v2 ? &v2 : &v1) += 1;
	h->mode = v1 && v2 ? CGROUP_MODE_HYBRID
		  : v1	   ? CGROUP_MODE_V1
		  : v2	   ? CGROUP_MODE_V2
			   : CGROUP_MODE_NONE;
}

/* The caller's path in terms of the mount: what the mount's root hides is cut off. */
static char *own_within(const char *root, struct str own)
{
	size_t n = strlen(root);

	if (n == 1)
		return str_dup(own);
	if (own.n < n || memcmp(own.p, root, n) != 0 || (own.n > n && own.p[n] != '/'))
		return NULL;
	return own.n == n ? mem_dup_text("/") : str_dup((struct str){own.p + n, own.n - n});
}

/* Lines "4:memory:/a/b", and "0::/a/b" for v2. */
void cgroup_host_parse_own(struct cgroup_host *h, struct str proc_cgroup)
{
	struct str line = {0};

	while (str_cut(&proc_cgroup, '\n', &line)) {
		struct str number = {0}, names = {0};
		unsigned int bits = 0;

		if (!str_cut(&line, ':', &number) || !str_cut(&line, ':', &names) || line.n == 0)
			continue;
		bits = names.n ? bits_of_list(names) : CGROUP_BIT(CGROUP_UNIFIED);
		for (size_t i = 0; i < h->n; i++)
			if ((h->dirs[i].controllers & bits) && !h->own[i])
				h->own[i] = own_within(h->roots[i], line);
	}
}

void cgroup_host_done(struct cgroup_host *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->dirs[i].path);
		free(h->roots[i]);
		free(h->own[i]);
	}
	*h = (struct cgroup_host){0};
}

bool cgroup_host_is_v2(void)
{
	struct statfs fs;

	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int cgroup_host_read(struct cgroup_host *ret, bool want_own, struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	int r = cgroup_slurp("/proc/self", "mountinfo", &b);

	if (r < 0) {
		errno = -r;
		return err_sys(e, "cannot read '/proc/self/mountinfo' to find the cgroups");
	}
	cgroup_host_parse_mounts(ret, strbuf_str(&b));
	drop_hidden(ret);
	cgroup_host_settle(ret);
	if (!want_own || ret->n == 0)
		return 0;
	strbuf_clear(&b);
	r = cgroup_slurp("/proc/self", "cgroup", &b);
	if (r < 0) {
		cgroup_host_done(ret);
		errno = -r;
		return err_sys(e, "cannot read '/proc/self/cgroup'");
	}
	cgroup_host_parse_own(ret, strbuf_str(&b));
	return 0;
}

char *cgroup_path_clean(const char *path, struct err *e)
{
	struct str rest = str_of(path), name = {0};
	struct strbuf b = {0};

	while (str_cut(&rest, '/', &name)) {
		if (name.n == 0 || str_is(name, "."))
			continue;
		if (str_is(name, "..")) {
			while (b.n > 0 && b.p[b.n - 1] != '/')
				b.n--;
			b.n -= b.n > 0;
			continue;
		}
		if (name.n > NAME_MAX || memchr(name.p, '\n', name.n) ||
		    b.n + name.n + 2 > PATH_MAX / 2) {
			strbuf_done(&b);
			(void)err_set(e, ERR_INVALID,
				      "invalid cgroup path '%.200s': a name is too long or holds a "
				      "newline",
				      path);
			return NULL;
		}
		strbuf_add_char(&b, '/');
		strbuf_add(&b, name.p, name.n);
	}
	if (b.n == 0)
		strbuf_add_char(&b, '/');
	return strbuf_take(&b);
}

/* "a-b.slice" lies in "a.slice": every prefix that ends before a dash is a directory of its own. */
static int add_slice(struct strbuf *b, struct str slice, struct err *e)
{
	static const char suffix[] = ".slice";
	size_t n = slice.n;

	if (n == 0 || str_is(slice, "-.slice"))
		return 0;
	if (!str_ends(slice, suffix) || n == sizeof suffix - 1 || memchr(slice.p, '/', n))
		return err_set(e, ERR_INVALID, "invalid slice '%.*s' in the cgroup path",
			       (int)(n < 200 ? n : 200), slice.p);
	n -= sizeof suffix - 1;
	for (size_t i = 1; i <= n; i++) {
		if (i < n && slice.p[i] != '-')
			continue;
		strbuf_add_char(b, '/');
		strbuf_add(b, slice.p, i);
		strbuf_add_text(b, suffix);
	}
	return 0;
}

/* There is no systemd to ask: its names become the directories it would have made. */
static int resolve_systemd(const char *path, char **ret, struct err *e)
{
	auto_strbuf struct strbuf b = {0};
	struct str rest = str_of(path), slice = {0}, prefix = {0};
	int r = 0;

	if (!str_cut(&rest, ':', &slice) || !str_cut(&rest, ':', &prefix) || rest.n == 0 ||
	    memchr(rest.p, ':', rest.n) || memchr(rest.p, '/', rest.n) ||
	    (prefix.n && memchr(prefix.p, '/', prefix.n)))
		return err_set(e, ERR_INVALID,
			       "invalid cgroup path '%.200s': with systemd names it must be "
			       "\"slice:prefix:name\"",
			       path);
	r = add_slice(&b, slice.n ? slice : STR("system.slice"), e);
	if (r < 0)
		return r;
	strbuf_add_char(&b, '/');
	if (prefix.n) {
		strbuf_add(&b, prefix.p, prefix.n);
		strbuf_add_char(&b, '-');
	}
	strbuf_add(&b, rest.p, rest.n);
	if (!str_ends(rest, ".slice"))
		strbuf_add_text(&b, ".scope");
	*ret = cgroup_path_clean(strbuf_text(&b), e);
	return *ret ? 0 : -ERR_INVALID;
}

int cgroup_path_resolve(const struct cgroup_want *want, char **ret, bool *ret_relative,
			struct err *e)
{
	bool empty = !want->path || !*want->path;

	assert(want->id || !empty);
	if (want->systemd) {
		auto_free char *named = empty ? mem_printf(":hull:%s", want->id) : NULL;

		*ret_relative = false;
		return resolve_systemd(empty ? named : want->path, ret, e);
	}
	*ret_relative = empty || want->path[0] != '/';
	*ret = cgroup_path_clean(empty ? want->id : want->path, e);
	if (!*ret)
		return -ERR_INVALID;
	if (text_eq(*ret, "/")) {
		free(*ret);
		*ret = NULL;
		return err_set(e, ERR_INVALID,
			       "invalid cgroup path '%.200s': it names the top of the hierarchy",
			       empty ? want->id : want->path);
	}
	return 0;
}
