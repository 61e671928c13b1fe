/*
 * The machine kind of isolation: hull-keeper runs hull-mate, which starts hull-vm and stands for
 * the guest. What hull-mate must know is written to <root>/container/ID/machine.json at each start;
 * its keys are those of cmd/hull-mate/spec.c.
 *
 * A request for a machine has HostConfig.Machine, an object: Accel, Cpus, Memory, Kernel (a path,
 * or what `hull vm kernel ls` shows; the newest one when it is absent), Initrd, Append, Disks
 * [{Path, Format, Bus, ReadOnly}], DiskSize, Net, Tap, Publish ["tcp:ADDRESS:HOST:GUEST"],
 * Loopback. With an image its layers become the root and the agent runs its command; without one
 * the machine is its kernel, its disks and a console.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"
#include "ground/store/digest.h"
#include "ground/store/folder.h"

#define ABOUT_BYTES_MAX	   65536
#define MEMORY_DEFAULT	   (512ll << 20)
#define MIB		   (1024 * 1024)
#define MEMORY_LEAST	   (32ll << 20)
#define MEMORY_MOST	   (64ll << 30)
#define DISK_DEFAULT	   (4ll << 30)
#define DISK_LEAST	   (16ll << 20)
#define DISK_MOST	   (16ll << 40)
#define CPUS_MOST	   32
#define KERNEL_ID_CHARS	   12
#define KERNEL_NAMES_LEAST 4
#define DISKS_MOST	   8

static const char *const names[] = {"hull-vm", NULL};

static const struct json *machine_of(const struct workload *w)
{
	return w->request.host.machine;
}

static bool has_image(const struct workload *w)
{
	return *w->image_id != '\0';
}

/* ---- kernels ---- */

struct kernel_choice {
	char *dir;
	int64_t added;
	unsigned found;
};

/* By id, the beginning of one, or version; NULL takes all, and the newest wins. */
static bool kernel_matches(const struct json *about, const char *id, const char *asked)
{
	if (!asked)
		return true;
	return text_eq(json_get_text(about, "Version"), asked) ||
	       (strlen(asked) >= KERNEL_NAMES_LEAST && text_starts(id, asked));
}

static void look_at_kernel(const char *store, const char *id, const char *asked, struct arena *a,
			   struct kernel_choice *c)
{
	auto_free char *path = mem_printf("%s/%s/about.json", store, id);
	auto_json struct json *about = NULL;

	if (strlen(id) != KERNEL_ID_CHARS ||
	    json_read_file(AT_FDCWD, path, ABOUT_BYTES_MAX, &about, NULL) < 0 ||
	    !kernel_matches(about, id, asked))
		return;
	c->found++;
	if (c->dir && json_get_i64(about, "Added", 0) <= c->added)
		return;
	c->added = json_get_i64(about, "Added", 0);
	c->dir = arena_printf(a, "%s/%s", store, id);
}

static int find_kernel(struct engine *g, const char *asked, struct arena *a, char **ret_dir,
		       struct err *e)
{
	const char *store = engine_path(g, a, "kernel");
	auto_closedir DIR *d = opendir(store);
	struct kernel_choice c = {0};
	struct dirent *x;

	while (d && (x = readdir(d)))
		look_at_kernel(store, x->d_name, asked, a, &c);
	if (!c.dir && asked)
		return err_set(e, ERR_INVALID,
			       "no kernel '%s'; 'hull vm kernel ls' lists them, and a path holds a "
			       "slash",
			       asked);
	if (!c.dir)
		return err_set(e, ERR_INVALID,
			       "there is no kernel for machines yet; add one with 'hull vm kernel "
			       "add PACKAGE.deb' (a linux-image-*-cloud-amd64)");
	*ret_dir = c.dir;
	return 0;
}

static int check_readable(const char *path, const char *what, struct err *e)
{
	if (*path != '/')
		return err_set(e, ERR_INVALID, "%s '%s' is not an absolute path", what, path);
	return access(path, R_OK) < 0 ? err_sys(e, "cannot read %s '%s'", what, path) : 0;
}

static int add_kernel(const struct workload *w, struct arena *a, struct json *j, struct err *e)
{
	const char *asked = json_get_text(machine_of(w), "Kernel");
	const char *initrd = json_get_text(machine_of(w), "Initrd");
	char *dir = NULL;
	const char *file = asked;

	if (asked && strchr(asked, '/')) {
		if (check_readable(asked, "kernel", e) < 0)
			return -ERR_INVALID;
	} else {
		if (find_kernel(w->engine, asked, a, &dir, e) < 0)
			return -ERR_INVALID;
		assert(dir);
		file = arena_printf(a, "%s/vmlinux", dir);
	}
	json_set_text(j, "kernel", file);
	if (initrd && check_readable(initrd, "initrd", e) < 0)
		return -ERR_INVALID;
	if (initrd)
		json_set_text(j, "initrd", initrd);
	else if (dir && has_image(w))
		json_set_text(j, "initrd", arena_printf(a, "%s/initrd", dir));
	else if (has_image(w))
		return err_set(
			e, ERR_INVALID,
			"an image needs a kernel with its initrd: leave --kernel out, or name "
			"one of 'hull vm kernel ls'");
	return 0;
}

/* ---- checks at creation ---- */

static int check_disk(const struct json *d, struct err *e)
{
	static const char *const formats[] = {"raw", "qcow2", NULL};
	static const char *const buses[] = {"virtio", "nvme", NULL};
	const char *path = json_get_text(d, "Path"), *format = json_get_text(d, "Format");
	const char *bus = json_get_text(d, "Bus");

	if (!path || *path != '/' || strchr(path, ','))
		return err_set(e, ERR_INVALID,
			       "disk '%s': an absolute path without a comma is expected",
			       path ? path : "");
	if (!format || !text_in(format, (char *const *)formats))
		return err_set(e, ERR_INVALID,
			       "disk '%s': its format is named, never guessed: format=raw or "
			       "format=qcow2",
			       path);
	if (bus && !text_in(bus, (char *const *)buses))
		return err_set(e, ERR_INVALID, "disk '%s': unknown bus '%s': virtio or nvme", path,
			       bus);
	return access(path, R_OK) < 0 ? err_sys(e, "cannot read disk '%s'", path) : 0;
}

static int check_range(const struct json *m, const char *key, int64_t least, int64_t most,
		       const char *what, struct err *e)
{
	int64_t value = json_get_i64(m, key, least);

	if (json_get(m, key) && (value < least || value > most))
		return err_set(e, ERR_INVALID, "invalid %s %lld: %lld to %lld is possible", what,
			       (long long)value, (long long)least, (long long)most);
	return 0;
}

/* The same for bytes, told in MiB. */
static int check_bytes(const struct json *m, const char *key, int64_t least, int64_t most,
		       const char *what, struct err *e)
{
	int64_t value = json_get_i64(m, key, least);

	if (json_get(m, key) && (value < least || value > most))
		return err_set(e, ERR_INVALID,
			       "invalid %s of %.1f MiB: %lld to %lld MiB is possible", what,
			       (double)value / MIB, (long long)(least / MIB),
			       (long long)(most / MIB));
	return 0;
}

static int check_words(const struct json *m, struct err *e)
{
	static const char *const accels[] = {"auto", "kvm", "cpu", NULL};
	static const char *const nets[] = {"user", "tap", "none", NULL};
	const char *accel = json_get_text(m, "Accel"), *net = json_get_text(m, "Net");

	if (accel && !text_in(accel, (char *const *)accels))
		return err_set(e, ERR_INVALID, "unknown accelerator '%s': auto, kvm or cpu", accel);
	if (net && !text_in(net, (char *const *)nets))
		return err_set(e, ERR_INVALID, "unknown network '%s': user, tap=NAME or none", net);
	if (json_len(json_get(m, "Publish")) > 0 && net && !text_eq(net, "user"))
		return err_set(e, ERR_INVALID, "ports are published by the user network only");
	return 0;
}

/* What only a container has, so far. */
static int check_possible(const struct host_config *h, struct err *e)
{
	if (h->binds || h->mounts_n || h->volumes_from || h->tmpfs)
		return err_set(e, ERR_UNSUPPORTED,
			       "a machine has disks: volumes, binds and tmpfs mounts are not "
			       "possible yet");
	if (json_len(h->port_bindings))
		return err_set(
			e, ERR_UNSUPPORTED,
			"a machine's ports are published by 'hull vm run --publish' only, so "
			"far");
	return 0;
}

static int check(struct workload *w, struct err *e)
{
	struct host_config *h = &w->request.host;
	const struct json *m = machine_of(w), *disks = json_get(m, "Disks");
	auto_arena struct arena a = {0};
	auto_json struct json *j = json_new_object();

	if (check_possible(h, e) < 0)
		return -ERR_UNSUPPORTED;
	if (check_range(m, "Cpus", 1, CPUS_MOST, "number of CPUs", e) < 0 ||
	    check_bytes(m, "Memory", MEMORY_LEAST, MEMORY_MOST, "memory size", e) < 0 ||
	    check_bytes(m, "DiskSize", DISK_LEAST, DISK_MOST, "disk size", e) < 0 ||
	    check_words(m, e) < 0)
		return -ERR_INVALID;
	if (json_len(disks) > DISKS_MOST)
		return err_set(e, ERR_INVALID, "more than %d disks", DISKS_MOST);
	for (size_t i = 0; i < json_len(disks); i++)
		if (check_disk(json_at(disks, i), e) < 0)
			return -ERR_INVALID;
	if (has_image(w) && !w->request.config.cmd && !w->request.config.entrypoint)
		return err_set(e, ERR_INVALID, "no command specified");
	/* hull-vm has no network of the engine's: hull-slirp or a tap is its own. */
	h->network_mode = arena_dup_text(&w->arena, "host");
	w->request.endpoints_n = 0;
	return add_kernel(w, &a, j, e);
}

/* ---- a start ---- */

static void add_disks(const struct json *from, struct json *j)
{
	const struct json *list = json_get(from, "Disks");
	struct json *out = json_new_array();

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *d = json_at(list, i);
		struct json *one = json_new_object();

		json_set_text(one, "path", json_get_text(d, "Path"));
		json_set_text(one, "format", json_get_text(d, "Format"));
		if (json_get_text(d, "Bus"))
			json_set_text(one, "bus", json_get_text(d, "Bus"));
		json_set_bool(one, "readOnly", json_get_bool(d, "ReadOnly", false));
		json_append(out, one);
	}
	json_set(j, "disks", out);
}

static struct json *process_json(const struct container_config *c)
{
	struct json *p = json_new_object(), *args = json_new_array();

	for (char **t = c->entrypoint; t && *t; t++)
		json_append(args, json_new_text(*t));
	for (char **t = c->cmd; t && *t; t++)
		json_append(args, json_new_text(*t));
	json_set(p, "args", args);
	if (c->env)
		json_set(p, "env", json_new_texts(c->env));
	if (c->working_dir && *c->working_dir)
		json_set_text(p, "cwd", c->working_dir);
	if (c->user && *c->user)
		json_set_text(p, "user", c->user);
	json_set_bool(p, "tty", c->tty);
	json_set_bool(p, "stdin", c->open_stdin);
	return p;
}

static int add_image(const struct workload *w, struct arena *a, struct json *j, struct err *e)
{
	const char *digest = strchr(w->image_id, ':'), *store = engine_path(w->engine, a, "erofs");

	if (!w->lower)
		return err_set(e, ERR_GONE, "the layers of machine '%s' are gone with its image",
			       w->name);
	if (mkdir(store, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", store);
	json_set_text(j, "image",
		      arena_printf(a, "%s/%s.erofs", store, digest ? digest + 1 : w->image_id));
	json_set(j, "lower", json_new_texts(w->lower));
	json_set_text(j, "upper", arena_printf(a, "%s/disk.ext4", w->dir));
	json_set_i64(j, "upperBytes", json_get_i64(machine_of(w), "DiskSize", DISK_DEFAULT));
	json_set_text(j, "consoleLog", arena_printf(a, "%s/console.log", w->dir));
	json_set(j, "process", process_json(&w->request.config));
	return 0;
}

static void add_network(const struct workload *w, struct arena *a, struct json *j)
{
	const struct json *m = machine_of(w), *publish = json_get(m, "Publish");
	const char *net = json_get_text(m, "Net");

	if (!net)
		net = has_image(w) || json_len(publish) > 0 ? "user" : "none";
	json_set_text(j, "net", net);
	json_set_text(j, "hullSlirp", engine_program(w->engine, a, "hull-slirp"));
	if (json_get_text(m, "Tap"))
		json_set_text(j, "tap", json_get_text(m, "Tap"));
	if (publish)
		json_set(j, "publish", json_copy(publish));
	json_set_bool(j, "loopback", json_get_bool(m, "Loopback", false));
}

static int build(const struct workload *w, struct arena *a, struct json *j, struct err *e)
{
	const struct json *m = machine_of(w);
	const char *accel = json_get_text(m, "Accel");
	const char *name = w->request.config.hostname;

	json_set_text(j, "dir", arena_printf(a, "%s/machine", w->run_dir));
	json_set_text(j, "hullVm", engine_program(w->engine, a, "hull-vm"));
	json_set_text(j, "accel", accel ? accel : "auto");
	json_set_i64(j, "cpus", json_get_i64(m, "Cpus", 1));
	json_set_i64(j, "memory", json_get_i64(m, "Memory", MEMORY_DEFAULT));
	json_set_text(j, "name", name && *name ? name : arena_printf(a, "%.12s", w->id));
	if (json_get_text(m, "Append"))
		json_set_text(j, "append", json_get_text(m, "Append"));
	add_disks(m, j);
	add_network(w, a, j);
	if (add_kernel(w, a, j, e) < 0)
		return -ERR_INVALID;
	return has_image(w) ? add_image(w, a, j, e) : 0;
}

static int write_spec(const struct workload *w, const struct json *j, struct err *e)
{
	auto_close int dir = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_strbuf struct strbuf text = {0};

	json_write(j, &text);
	if (dir < 0)
		return err_sys(e, "cannot open '%s'", w->dir);
	return folder_put(dir, "machine.json", strbuf_str(&text), 0600, e);
}

void erofs_sweep(struct engine *g)
{
	auto_free char *store = mem_printf("%s/erofs", g->root);
	auto_closedir DIR *d = opendir(store);
	struct dirent *x;

	while (d && (x = readdir(d))) {
		auto_image struct image *known = NULL;
		auto_free char *id = mem_printf("sha256:%.*s", DIGEST_HEX_CHARS, x->d_name);
		struct err ignored = {0};

		if (x->d_name[0] != '.' && image_find(g->images, id, &known, &ignored) < 0)
			(void)unlinkat(dirfd(d), x->d_name, 0);
	}
}

static char **list_of(struct arena *a, const char *first, const char *second, const char *third)
{
	char **list = arena_new_array(a, char *, 4);

	list[0] = arena_dup_text(a, first);
	list[1] = arena_dup_text(a, second);
	list[2] = arena_dup_text(a, third);
	return list;
}

static int prepare(struct workload *w, struct arena *a, struct keeper_orders *o, struct err *e)
{
	const struct container_request *r = &w->request;
	auto_json struct json *j = json_new_object();
	const char *mate = engine_program(w->engine, a, "hull-mate");

	if (build(w, a, j, e) < 0 || write_spec(w, j, e) < 0)
		return e->kind ? -(int)e->kind : -ERR_INTERNAL;
	*o = (struct keeper_orders){
		.id = w->id,
		.container_dir = w->dir,
		.run_dir = w->run_dir,
		.tty = r->config.tty,
		.open_stdin = r->config.open_stdin,
		.stdin_once = r->config.stdin_once,
		.restart = restart_policy_of(&r->host),
		.restart_max = (uint32_t)r->host.restart.maximum_retry_count,
		.restart_count = (uint32_t)w->restart_count,
		.net = KEEPER_NET_HOST,
		.wait_go = true,
		.cgroup_path = oci_cgroup_path(w, a),
		.run_args = list_of(a, mate, "run", arena_printf(a, "%s/machine.json", w->dir)),
	};
	if (has_image(w))
		o->exec_args =
			list_of(a, mate, "exec", arena_printf(a, "%s/machine/vsock", w->run_dir));
	workload_log_orders(w, a, o);
	return 0;
}

const struct runtime_ops runtime_vm = {
	.name = "vm",
	.program = "hull-keeper",
	.aliases = names,
	.prepare = prepare,
	.check = check,
	.machine = true,
};
