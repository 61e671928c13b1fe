/*
 * The engine's birth and end: directories, locks, stores, users. What was running before is found
 * in adopt.c; this file only opens what everybody stands on, lowest first, and closes it the other
 * way round.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "engine/cluster_net.h"
#include "engine/engine_priv.h"
#include "virt/network/pod.h"

static const char *const owner_names[] = {"docker", "kube", "cli"};
static_assert(array_len(owner_names) == OWNERS, "one name per owner");
static_assert((int)OWNER_DOCKER == (int)IMAGE_OWNER_DOCKER && (int)OWNERS == (int)IMAGE_OWNERS,
	      "an owner here is the same owner there");

const char *owner_name(enum owner owner)
{
	assert(owner < OWNERS);
	return owner_names[owner];
}

struct finish {
	engine_done *done;
	void *ctx;
	bool failed;
	struct err e;
};

static void finish_now(void *arg)
{
	struct finish *f = arg;

	f->done(f->ctx, f->failed ? &f->e : NULL);
	free(f);
}

void engine_finish(struct engine *g, engine_done *done, void *ctx, const struct err *e)
{
	struct finish *f;

	if (!done)
		return;
	f = mem_new(struct finish);
	f->done = done;
	f->ctx = ctx;
	f->failed = e != NULL;
	if (e)
		f->e = *e;
	loop_defer(g->loop, finish_now, f);
}

char *engine_path(struct engine *g, struct arena *a, const char *below_root)
{
	return arena_printf(a, "%s/%s", g->root, below_root);
}

/* Programs lie beside hulld in a build tree and in libexec when installed: the caller named one. */
const char *engine_program(struct engine *g, struct arena *a, const char *name)
{
	return arena_printf(a, "%s/%s", g->libexec, name);
}

static int make_dir(const char *path, mode_t mode, struct err *e)
{
	auto_free char *copy = mem_dup_text(path);

	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return err_sys(e, "cannot make the directory '%s'", copy);
		*slash = '/';
	}
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make the directory '%s'", path);
	return 0;
}

static int make_dirs(struct engine *g, struct err *e)
{
	static const struct {
		bool in_run;
		const char *name;
		mode_t mode;
	} dirs[] = {
		{false, "", 0710},     {false, "/container", 0710},
		{false, "/tmp", 0700}, {false, "/seccomp", 0700},
		{true, "", 0711},      {true, "/keeper", 0700},
		{true, "/exec", 0700}, {true, "/endpoint", 0700},
	};

	for (size_t i = 0; i < array_len(dirs); i++) {
		auto_free char *path =
			mem_printf("%s%s", dirs[i].in_run ? g->run : g->root, dirs[i].name);

		if (make_dir(path, dirs[i].mode, e) < 0)
			return -ERR_SYSTEM;
	}
	return 0;
}

/*
 * A record lock is the process's own. An flock() would go on in a child that was forked and has not
 * executed anything yet: after a kill in that moment, the next hulld would find the place taken.
 */
static int lock_dir(const char *dir, const char *what, int *ret, struct err *e)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	auto_free char *path = mem_printf("%s/hulld.lock", dir);
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_sys(e, "cannot open the lock '%s'", path);
	if (fcntl(fd, F_SETLK, &lock) < 0) {
		if (errno != EAGAIN && errno != EACCES)
			return err_sys(e, "cannot lock '%s'", path);
		return err_set(
			e, ERR_BUSY,
			"another hulld is already running on the %s directory '%s'; stop it, or "
			"choose another with --%s",
			what, dir, what);
	}
	*ret = take_fd(&fd);
	return 0;
}

/* The id of this Hull: made once, kept in the root. */
static int read_id(struct engine *g, struct err *e)
{
	auto_free char *path = mem_printf("%s/id", g->root);
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		return err_sys(e, "cannot open '%s'", path);
	if (read(fd, g->id, 32) == 32 && strspn(g->id, "0123456789abcdef") == 32)
		return 0;
	world_random_hex(g->world, g->id, 32);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, g->id, 32, 0) != 32)
		return err_sys(e, "cannot write '%s'", path);
	return 0;
}

/* --insecure-registry and --registry-mirror ("[REGISTRY=]URL") in the store's words. */
static struct json *registries_of(const struct engine *g)
{
	struct json *all = json_new_object(), *mirrors = json_new_object();

	json_set(all, "insecure", json_new_texts(g->insecure));
	json_set(all, "mirrors", mirrors);
	for (char **m = g->mirrors; m && *m; m++) {
		const char *url = strstr(*m, "=http");
		auto_free char *host = url ? str_dup((struct str){*m, (size_t)(url - *m)})
					   : mem_dup_text("docker.io");

		if (!json_get(mirrors, host))
			json_set(mirrors, host, json_new_array());
		json_append(json_get(mirrors, host), json_new_text(url ? url + 1 : *m));
	}
	return all;
}

static int open_images(struct engine *g, struct err *e)
{
	auto_arena struct arena a = {0};
	auto_json struct json *registries = registries_of(g);
	struct image_options o = {
		.root = g->root,
		.loop = g->loop,
		.world = g->world,
		.unpack_program = engine_program(g, &a, "hull-unpack"),
		.registries = registries,
	};

	return image_store_open(&o, &g->images, e);
}

static int open_network(struct engine *g, const struct network_pods_options *pods, struct err *e)
{
	auto_arena struct arena a = {0};
	struct network_host_options o = {
		.root = g->root,
		.run = g->run,
		.loop = g->loop,
		.net_program = engine_program(g, &a, "hull-net"),
		.world = g->world,
		.pools = g->pools,
		.names_wanted = plug_names_wanted,
		.ctx = g,
	};

	int bad = network_host_open(&o, &g->net, e);

	return bad == 0 && pods ? network_pods_configure(g->net, pods, e) : bad;
}

static int open_all(struct engine *g, const struct network_pods_options *pods, struct err *e)
{
	auto_free char *db = mem_printf("%s/hull.db", g->root);
	int bad = make_dirs(g, e);

	if (bad >= 0)
		bad = lock_dir(g->root, "root", &g->root_lock, e);
	if (bad >= 0)
		bad = lock_dir(g->run, "run", &g->run_lock, e);
	if (bad >= 0)
		bad = read_id(g, e);
	if (bad >= 0)
		bad = records_open(g->loop, db, &g->records, e);
	if (bad >= 0)
		bad = open_images(g, e);
	if (bad >= 0)
		bad = volume_store_open(g->root, g->world, &g->volumes, e);
	if (bad >= 0)
		bad = open_network(g, pods, e);
	if (bad >= 0)
		bad = adopt_all(g, e);
	return bad;
}

int engine_new(const struct engine_options *o, engine_done *ready, void *ctx, struct engine **ret,
	       struct err *e)
{
	struct engine *g = mem_new(struct engine);
	int bad;

	assert(o && o->loop && o->root && o->run && o->libexec && ready && ret);
	g->magic = ENGINE_MAGIC;
	g->loop = o->loop;
	g->world = o->world ? o->world : &world_real;
	g->root = mem_dup_text(o->root);
	g->run = mem_dup_text(o->run);
	g->libexec = mem_dup_text(o->libexec);
	g->dns = mem_dup_texts(o->dns);
	g->insecure = mem_dup_texts(o->insecure_registries);
	g->mirrors = mem_dup_texts(o->mirrors);
	g->pools = mem_dup_texts(o->address_pools);
	g->debug = o->debug;
	g->run_lock = g->root_lock = -1;
	g->ready = ready;
	g->ready_ctx = ctx;
	g->events = events_new(g);
	for (int i = 0; i < OWNERS; i++)
		g->users[i] = (struct user){.engine = g, .owner = (enum owner)i};
	bad = open_all(g, o->pods, e);
	if (bad < 0) {
		(void)engine_free(g);
		return bad;
	}
	*ret = g;
	return 0;
}

struct engine *engine_free(struct engine *g)
{
	if (!g)
		return NULL;
	assert(g->magic == ENGINE_MAGIC);
	g->closing = true;
	g->images = g->images ? image_store_close(g->images) : NULL;
	g->records = records_close(g->records);
	map_each (&g->workloads, it)
		(void)workload_free(it->value);
	map_done(&g->workloads);
	map_done(&g->execs);
	map_done(&g->unreadable);
	map_each (&g->sandboxes, it)
		sandbox_free(it->value);
	map_done(&g->sandboxes);
	for (int i = 0; i < OWNERS; i++)
		map_done(&g->users[i].names);
	if (g->net)
		(void)network_host_free(g->net);
	if (g->volumes)
		(void)volume_store_free(g->volumes);
	g->events = events_free(g->events);
	(void)fd_close(g->run_lock);
	(void)fd_close(g->root_lock);
	g->dns = mem_free_texts(g->dns);
	g->insecure = mem_free_texts(g->insecure);
	g->mirrors = mem_free_texts(g->mirrors);
	g->pools = mem_free_texts(g->pools);
	free(g->root);
	free(g->run);
	free(g->libexec);
	g->magic = 0;
	free(g);
	return NULL;
}

struct user *engine_user(struct engine *g, enum owner owner)
{
	assert(g->magic == ENGINE_MAGIC);
	assert(owner < OWNERS);
	return &g->users[owner];
}

struct network_host *engine_cluster_net(struct engine *g)
{
	assert(g->magic == ENGINE_MAGIC && g->net);
	return g->net;
}
