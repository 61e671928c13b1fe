/*
 * The mounts of the OCI spec: Docker's defaults, what the container asked for (parents before
 * children), and the three files of /etc that the engine writes.
 */
#include <sys/stat.h>

#include "engine/engine_priv.h"

#define SHM_BYTES (64 << 20)

static const struct {
	const char *target, *type, *source;
	const char *options; /* separated by spaces */
	bool read_only;	     /* unless privileged */
} defaults[] = {
	{"/proc", "proc", "proc", "nosuid noexec nodev", false},
	{"/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k", false},
	{"/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5",
	 false},
	{"/sys", "sysfs", "sysfs", "nosuid noexec nodev", true},
	{"/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime", true},
	{"/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev", false},
};

static struct json *mount_new(const char *target, const char *type, const char *source,
			      const char *options)
{
	struct json *m = json_new_object(), *list = json_new_array();
	struct str rest = str_of(options), one;

	while (str_cut(&rest, ' ', &one))
		if (one.n)
			json_append(list, json_new_str(one));
	json_set_text(m, "destination", target);
	json_set_text(m, "type", type);
	json_set_text(m, "source", source);
	json_set(m, "options", list);
	return m;
}

static bool asked_for(const struct workload *w, const char *target)
{
	for (size_t i = 0; i < w->mounts_n; i++)
		if (text_eq(w->mounts[i].target, target))
			return true;
	return false;
}

static void add_defaults(const struct workload *w, struct json *mounts)
{
	const struct host_config *h = &w->request.host;

	for (size_t i = 0; i < array_len(defaults); i++) {
		struct json *m;

		if (asked_for(w, defaults[i].target))
			continue;
		m = mount_new(defaults[i].target, defaults[i].type, defaults[i].source,
			      defaults[i].options);
		json_append(json_get(m, "options"),
			    json_new_text(defaults[i].read_only && !h->privileged ? "ro" : "rw"));
		json_append(mounts, m);
	}
}

/* Shared memory: the host's, another container's (a directory of the run directory), or its own. */
static int add_shm(struct workload *w, struct json *mounts, struct err *e)
{
	const struct host_config *h = &w->request.host;
	const char *mode = h->ipc_mode ? h->ipc_mode : "";
	auto_free char *options = NULL, *shared = NULL;

	if (asked_for(w, "/dev/shm") || text_eq(mode, "none"))
		return 0;
	if (text_eq(mode, "host")) {
		json_append(mounts, mount_new("/dev/shm", "bind", "/dev/shm", "rbind rprivate rw"));
		return 0;
	}
	if (text_starts(mode, "container:")) {
		struct workload *other;

		if (workload_find(&w->engine->users[w->owner], mode + 10, &other, e) < 0)
			return err_wrap(e, "cannot join the ipc namespace of a container");
		shared = mem_printf("%s/shm/%s", w->engine->run, other->id);
	} else if (text_eq(mode, "shareable")) {
		shared = mem_printf("%s/shm/%s", w->engine->run, w->id);
		auto_free char *parent = mem_printf("%s/shm", w->engine->run);

		if ((mkdir(parent, 0711) < 0 && errno != EEXIST) ||
		    (mkdir(shared, 01777) < 0 && errno != EEXIST) || chmod(shared, 01777) < 0)
			return err_sys(e, "cannot make shared memory '%s'", shared);
	}
	if (shared) {
		json_append(mounts, mount_new("/dev/shm", "bind", shared,
					      "rbind rprivate rw nosuid noexec nodev"));
		return 0;
	}
	options = mem_printf("nosuid noexec nodev mode=1777 size=%lld",
			     (long long)(h->shm_size ? h->shm_size : SHM_BYTES));
	json_append(mounts, mount_new("/dev/shm", "tmpfs", "shm", options));
	return 0;
}

static size_t depth(const char *path)
{
	size_t n = 0;

	for (; *path; path++)
		n += path[0] == '/' && path[1] && path[1] != '/';
	return n;
}

static int by_depth(const void *a, const void *b)
{
	const struct volume_mount *const *x = a, *const *y = b;
	size_t dx = depth((*x)->target), dy = depth((*y)->target);

	if (dx != dy)
		return dx < dy ? -1 : 1;
	return strcmp((*x)->target, (*y)->target);
}

static int add_asked(struct workload *w, struct json *mounts, struct err *e)
{
	struct volume_mount **sorted = mem_new_array(struct volume_mount *, w->mounts_n + 1);
	int bad = 0;

	for (size_t i = 0; i < w->mounts_n; i++)
		sorted[i] = &w->mounts[i];
	qsort(sorted, w->mounts_n, sizeof(*sorted), by_depth);
	for (size_t i = 0; i < w->mounts_n && bad >= 0; i++) {
		struct volume *v = NULL;
		struct json *one = NULL;

		if (sorted[i]->kind == VOLUME_NAMED)
			bad = volume_find(w->engine->volumes, sorted[i]->source, &v, e);
		if (bad >= 0)
			bad = volume_oci_mount(sorted[i], v, &one, e);
		if (bad >= 0)
			json_append(mounts, one);
	}
	free(sorted);
	return bad;
}

/* Whose /etc/hosts is it: the container's own, or that of the one whose network it joins. */
static const char *files_dir(struct workload *w)
{
	const char *mode = w->request.host.network_mode;
	struct workload *other;
	struct err ignored = {0};

	if (mode && text_starts(mode, "container:") &&
	    workload_find(&w->engine->users[w->owner], mode + 10, &other, &ignored) >= 0)
		return other->dir;
	return w->dir;
}

static void add_files(struct workload *w, struct json *mounts)
{
	static const char *const names[] = {"resolv.conf", "hostname", "hosts"};
	const char *dir = files_dir(w);

	for (size_t i = 0; i < array_len(names); i++) {
		auto_free char *target = mem_printf("/etc/%s", names[i]);
		auto_free char *source = mem_printf("%s/%s", dir, names[i]);

		if (!asked_for(w, target))
			json_append(mounts, mount_new(target, "bind", source,
						      w->request.host.readonly_rootfs
							      ? "rbind rprivate ro"
							      : "rbind rprivate rw"));
	}
}

int oci_mounts(struct workload *w, struct json *mounts, struct err *e)
{
	int bad;

	add_defaults(w, mounts);
	bad = add_shm(w, mounts, e);
	if (bad >= 0)
		add_files(w, mounts);
	if (bad >= 0)
		bad = add_asked(w, mounts, e);
	return bad;
}
