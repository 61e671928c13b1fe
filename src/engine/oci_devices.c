/*
 * Devices: which ones a container may use. Everybody gets the harmless few of /dev; --device adds
 * nodes of the host, --device-cgroup-rule adds rules, --privileged gives all.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"

#define DEVICES_MAX 4096

static const struct {
	char type;
	int major, minor; /* -1: every one */
	const char *access;
} defaults[] = {
	{'c', -1, -1, "m"}, {'b', -1, -1, "m"}, {'c', 1, 3, "rwm"},    {'c', 1, 5, "rwm"},
	{'c', 1, 7, "rwm"}, {'c', 1, 8, "rwm"}, {'c', 1, 9, "rwm"},    {'c', 5, 0, "rwm"},
	{'c', 5, 2, "rwm"}, {'c', 5, 1, "rwm"}, {'c', 136, -1, "rwm"},
};

static void add_rule(struct json *rules, bool allow, char type, int64_t major, int64_t minor,
		     const char *access)
{
	struct json *r = json_new_object();
	const char text[] = {type, '\0'};

	json_set_bool(r, "allow", allow);
	json_set_text(r, "type", text);
	if (major >= 0)
		json_set_i64(r, "major", major);
	if (minor >= 0)
		json_set_i64(r, "minor", minor);
	json_set_text(r, "access", access);
	json_append(rules, r);
}

static void add_node(struct json *nodes, const char *path, const struct stat *st)
{
	struct json *d = json_new_object();

	json_set_text(d, "path", path);
	json_set_text(d, "type", S_ISBLK(st->st_mode) ? "b" : "c");
	json_set_i64(d, "major", major(st->st_rdev));
	json_set_i64(d, "minor", minor(st->st_rdev));
	json_set_i64(d, "fileMode", st->st_mode & 0777);
	json_set_i64(d, "uid", st->st_uid);
	json_set_i64(d, "gid", st->st_gid);
	json_append(nodes, d);
}

static bool is_device(const struct stat *st)
{
	return S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode);
}

/* Terminals and shared memory are the container's own even when it is privileged. */
static bool skipped(const char *name)
{
	static const char *const own[] = {"pts",  "shm",  "fd",	   "mqueue", "console", "ptmx",
					  ".lxc", "core", "stdin", "stdout", "stderr",	NULL};

	return *name == '.' || text_in(name, (char *const *)own);
}

/* Every device below a directory of /dev; `path` is how it is called inside. */
static void add_tree(struct json *nodes, int dirfd, const char *path, int depth)
{
	auto_closedir DIR *dir = fdopendir(dirfd);
	struct dirent *d;

	if (!dir) {
		(void)fd_close(dirfd);
		return;
	}
	while ((d = readdir(dir)) != NULL && json_len(nodes) < DEVICES_MAX) {
		auto_free char *inside = mem_printf("%s/%s", path, d->d_name);
		struct stat st;
		int sub;

		if (skipped(d->d_name) || fstatat(dirfd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (is_device(&st))
			add_node(nodes, inside, &st);
		if (!S_ISDIR(st.st_mode) || depth == 0)
			continue;
		sub = openat(dirfd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0)
			add_tree(nodes, sub, inside, depth - 1);
	}
}

static int add_asked(const struct device_request *d, struct json *nodes, struct json *rules,
		     struct err *e)
{
	const char *inside = d->path_in_container && *d->path_in_container ? d->path_in_container
									   : d->path_on_host;
	const char *access =
		d->cgroup_permissions && *d->cgroup_permissions ? d->cgroup_permissions : "rwm";
	struct stat st;
	int fd;

	if (!d->path_on_host || stat(d->path_on_host, &st) < 0)
		return err_sys(e, "cannot give the device '%s' to the container",
			       d->path_on_host ? d->path_on_host : "");
	if (strspn(access, "rwm") != strlen(access))
		return err_set(e, ERR_INVALID, "invalid device mode '%s': r, w and m are allowed",
			       access);
	if (S_ISDIR(st.st_mode)) {
		size_t before = json_len(nodes);

		fd = open(d->path_on_host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return err_sys(e, "cannot read the devices of '%s'", d->path_on_host);
		add_tree(nodes, fd, inside, 4);
		for (size_t i = before; i < json_len(nodes); i++) {
			const struct json *node = json_at(nodes, i);

			add_rule(rules, true, json_get_text(node, "type")[0],
				 json_get_i64(node, "major", 0), json_get_i64(node, "minor", 0),
				 access);
		}
		return 0;
	}
	if (!is_device(&st))
		return err_set(e, ERR_INVALID,
			       "error gathering device information while adding custom "
			       "device '%s': not a device node",
			       d->path_on_host);
	add_node(nodes, inside, &st);
	add_rule(rules, true, S_ISBLK(st.st_mode) ? 'b' : 'c', major(st.st_rdev), minor(st.st_rdev),
		 access);
	return 0;
}

/* "c 1:3 rwm", "b 8:* r", "a *:* rwm". */
static int add_rule_text(const char *text, struct json *rules, struct err *e)
{
	struct str rest = str_of(text), type = {0}, numbers = {0}, major_text, minor_text;
	auto_free char *access = NULL;
	int64_t numbers_of[2] = {-1, -1};

	(void)str_cut(&rest, ' ', &type);
	(void)str_cut(&rest, ' ', &numbers);
	access = str_dup(rest);
	minor_text = numbers;
	(void)str_cut(&minor_text, ':', &major_text);
	if (type.n != 1 || !strchr("abc", type.p[0]) || !rest.n || strspn(access, "rwm") != rest.n)
		return err_set(e, ERR_INVALID, "invalid device cgroup rule format: '%s'", text);
	if (!str_is(major_text, "*") && parse_i64(major_text, "device rule", &numbers_of[0], e) < 0)
		return -ERR_INVALID;
	if (!str_is(minor_text, "*") && parse_i64(minor_text, "device rule", &numbers_of[1], e) < 0)
		return -ERR_INVALID;
	add_rule(rules, true, type.p[0], numbers_of[0], numbers_of[1], access);
	return 0;
}

int oci_devices(const struct host_config *h, struct json *linux_part, struct json *resources,
		struct err *e)
{
	struct json *rules = json_new_array(), *nodes = json_new_array();
	int bad = 0;

	json_set(resources, "devices", rules);
	json_set(linux_part, "devices", nodes);
	if (h->privileged) {
		int fd = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0)
			add_tree(nodes, fd, "/dev", 4);
		add_rule(rules, true, 'a', -1, -1, "rwm");
		return 0;
	}
	add_rule(rules, false, 'a', -1, -1, "rwm");
	for (size_t i = 0; i < array_len(defaults); i++)
		add_rule(rules, true, defaults[i].type, defaults[i].major, defaults[i].minor,
			 defaults[i].access);
	for (size_t i = 0; i < h->devices_n && bad >= 0; i++)
		bad = add_asked(&h->devices[i], nodes, rules, e);
	for (char **r = h->device_cgroup_rules; r && *r && bad >= 0; r++)
		bad = add_rule_text(*r, rules, e);
	return bad;
}
