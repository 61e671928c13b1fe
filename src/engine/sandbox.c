/*
 * Sandboxes: see sandbox.h. A short-lived hull-keeper makes and pins the namespaces below
 * <run>/sandbox/ID; the network plugs them in; the record says what a later daemon must know. A
 * sandbox whose pins are gone (a reboot) is forgotten.
 */
#include "engine/sandbox.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"
#include "ground/wire/unix.h"
#include "virt/keeper/sandbox.h"
#include "virt/network/pod.h"

#define SANDBOX_MAGIC 0x53414e44u

struct sandbox {
	uint32_t magic;
	struct engine *engine;
	enum owner owner;
	char id[ENGINE_ID_HEX + 1];
	char *name, *uid, *hostname, *dir;
	bool host_network, shared_pid, hidden; /* hidden: not durable yet, or going */
	struct network_port *ports;	       /* until it is plugged in */
	size_t ports_n;
	struct network_endpoint *endpoint;
	struct sandbox_view view;
	int netns, route, sock;
	engine_sandbox_made *made;
	engine_done *done;
	void *ctx;
};

static struct sandbox *sandbox_new(struct engine *g, const char *id)
{
	struct sandbox *s = mem_new(struct sandbox);

	s->magic = SANDBOX_MAGIC;
	s->engine = g;
	if (id)
		(void)snprintf(s->id, sizeof(s->id), "%s", id);
	else
		world_random_hex(g->world, s->id, ENGINE_ID_HEX);
	s->dir = mem_printf("%s/sandbox/%s", g->run, s->id);
	s->netns = s->route = s->sock = -1;
	(void)map_put(&g->sandboxes, s->id, s);
	return s;
}

void sandbox_free(struct sandbox *s)
{
	assert(s->magic == SANDBOX_MAGIC);
	(void)map_remove(&s->engine->sandboxes, s->id);
	(void)fd_close(s->netns);
	(void)fd_close(s->route);
	(void)fd_close(s->sock);
	free(s->name);
	free(s->uid);
	free(s->ports);
	free(s->hostname);
	free(s->dir);
	s->magic = 0;
	free(s);
}

static const struct sandbox_view *view_of(struct sandbox *s)
{
	const struct network_endpoint_info *i =
		s->endpoint ? network_endpoint_info(s->endpoint) : NULL;

	s->view = (struct sandbox_view){.id = s->id,
					.name = s->name,
					.uid = s->uid,
					.ipv4 = i ? i->ipv4 : "",
					.ipv6 = i ? i->ipv6 : "",
					.host_network = s->host_network,
					.netns = s->netns};
	return &s->view;
}

/* Ends the first process of its pid namespace, if it is still that: with it go all others. */
static void end_processes(const struct sandbox *s)
{
	auto_free char *note = mem_printf("%s/init", s->dir), *pin = mem_printf("%s/pid", s->dir);
	auto_free char *theirs = NULL;
	auto_close int fd = open(note, O_RDONLY | O_CLOEXEC);
	char text[16];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));
	struct stat a, b;
	uint32_t pid = 0;
	struct err e;

	if (n > 0 && parse_u32((struct str){text, (size_t)n}, "pid", &pid, &e) == 0) {
		theirs = mem_printf("/proc/%u/ns/pid", pid);
		if (stat(theirs, &a) == 0 && stat(pin, &b) == 0 && a.st_ino == b.st_ino &&
		    a.st_dev == b.st_dev)
			(void)kill((pid_t)pid, SIGKILL);
	}
	(void)umount2(pin, MNT_DETACH);
	(void)unlink(pin);
	(void)unlink(note);
}

/* Takes everything off the host; the folder goes last. */
static void unpin(struct sandbox *s)
{
	struct err e = {0};

	if (s->endpoint && network_detach(s->engine->net, s->endpoint, NULL, &e) < 0)
		log_warn("sandbox %.12s: %s", s->id, e.text);
	s->endpoint = NULL;
	end_processes(s);
	for (size_t i = 0; sandbox_files[i]; i++) {
		auto_free char *path = mem_printf("%s/%s", s->dir, sandbox_files[i]);

		(void)umount2(path, MNT_DETACH);
		(void)unlink(path);
	}
	(void)rmdir(s->dir);
}

/* -- making ------------------------------------------------------------------------------------ */

static void made_end(struct sandbox *s, const struct err *e)
{
	engine_sandbox_made *made = s->made;

	s->made = NULL;
	if (!e) {
		s->hidden = false;
		made(s->ctx, view_of(s), NULL);
		return;
	}
	unpin(s);
	made(s->ctx, NULL, e);
	sandbox_free(s);
}

static void recorded(void *ctx, const struct err *e)
{
	made_end(ctx, e);
}

static void save(struct sandbox *s)
{
	auto_json struct json *j = json_new_object();
	auto_strbuf struct strbuf text = {0};

	json_set_text(j, "name", s->name);
	json_set_text(j, "uid", s->uid);
	json_set_text(j, "hostname", s->hostname);
	json_set_text(j, "owner", owner_name(s->owner));
	json_set_bool(j, "hostNetwork", s->host_network);
	if (s->endpoint)
		json_set(j, "endpoint", network_endpoint_encode(s->endpoint));
	json_write(j, &text);
	record_put(s->engine->records, "sandbox", s->id, strbuf_str(&text), recorded, s);
}

static int plug(struct sandbox *s, struct err *e)
{
	struct network_ns ns = {s->netns, s->route, -1, -1, -1};
	struct network_join join = {.container = s->id, .name = s->name, .gateway = true};
	struct network *n;

	if (s->host_network)
		return 0;
	if (network_pods_configured(s->engine->net))
		return network_pod_attach(s->engine->net, &ns,
					  &(struct network_pod_join){.sandbox = s->id,
								     .name = s->name,
								     .ports = s->ports,
								     .ports_n = s->ports_n},
					  &s->endpoint, e);
	if (network_find(s->engine->net, "bridge", &n, e) < 0)
		return -ERR_NOT_FOUND;
	return network_attach(s->engine->net, n, &ns, &join, &s->endpoint, e);
}

static int take_descriptors(struct sandbox *s, struct err *e)
{
	int fds[SANDBOX_FDS] = {-1, -1};
	char word[8];
	size_t n = 0, fds_n = SANDBOX_FDS;

	if (unix_receive(s->sock, word, sizeof(word), &n, fds, &fds_n, e) != 0 || n == 0)
		return err_set(e, ERR_INTERNAL, "the sandbox's maker left without a word");
	s->netns = fds[0];
	s->route = fds[1];
	return 0;
}

static void maker_ended(void *ctx, struct loop_exit how)
{
	struct sandbox *s = ctx;
	struct err e = {0};
	int bad = 0;

	assert(s->magic == SANDBOX_MAGIC);
	if (how.code != 0)
		bad = err_set(&e, ERR_SYSTEM,
			      "cannot make the namespaces of pod %s; the daemon's log says why",
			      s->name);
	if (bad == 0)
		bad = take_descriptors(s, &e);
	if (bad == 0)
		bad = plug(s, &e);
	s->route = fd_close(s->route);
	s->sock = fd_close(s->sock);
	if (bad < 0)
		made_end(s, &e);
	else
		save(s);
}

static int spawn_maker(struct sandbox *s, struct err *e)
{
	auto_arena struct arena a = {0};
	const char *program = engine_program(s->engine, &a, "hull-keeper");
	char *const argv[] = {"hull-keeper",
			      "sandbox",
			      s->dir,
			      s->hostname,
			      s->host_network ? "host" : "own",
			      s->shared_pid ? (char *)engine_program(s->engine, &a, "hull-init")
					    : NULL,
			      NULL};
	int ends[2], bad;

	if (unix_pair(SOCK_SEQPACKET, ends, e) < 0)
		return -ERR_SYSTEM;
	s->sock = ends[0];
	bad = loop_spawn(s->engine->loop,
			 &(struct loop_spawn_options){.program = program,
						      .argv = argv,
						      .fds = (int[]){-1, -1, 2, ends[1]},
						      .fds_n = 4,
						      .exited = maker_ended,
						      .arg = s},
			 NULL, e);
	(void)fd_close(ends[1]);
	return bad;
}

static int make_dir(struct sandbox *s, struct err *e)
{
	auto_free char *parent = mem_printf("%s/sandbox", s->engine->run);

	if ((mkdir(parent, 0700) < 0 && errno != EEXIST) || mkdir(s->dir, 0700) < 0)
		return err_sys(e, "cannot make '%s'", s->dir);
	return 0;
}

struct late_error {
	struct sandbox *sandbox;
	struct err error;
};

static void fail_late(void *arg)
{
	struct late_error *l = arg;

	made_end(l->sandbox, &l->error);
	free(l);
}

static struct sandbox *find_name(struct engine *g, enum owner owner, const char *name)
{
	map_each (&g->sandboxes, it) {
		struct sandbox *s = it->value;

		if (s->owner == owner && text_eq(s->name, name))
			return s;
	}
	return NULL;
}

void engine_sandbox_create(struct user *u, const struct sandbox_request *r,
			   engine_sandbox_made *done, void *ctx)
{
	struct late_error *l = mem_new(struct late_error);
	bool there = find_name(u->engine, u->owner, r->name) != NULL;
	struct sandbox *s = sandbox_new(u->engine, NULL);
	int bad = 0;

	s->owner = u->owner;
	s->name = mem_dup_text(r->name);
	s->uid = mem_dup_text(r->uid);
	s->hostname = mem_dup_text(r->hostname);
	s->host_network = r->host_network;
	s->shared_pid = r->shared_pid;
	s->ports = mem_dup_bytes(r->ports, r->ports_n * sizeof(*r->ports));
	s->ports_n = r->ports_n;
	s->hidden = true;
	s->made = done;
	s->ctx = ctx;
	if (there)
		bad = err_set(&l->error, ERR_EXISTS, "a sandbox of pod %s is there", r->name);
	if (bad == 0)
		bad = make_dir(s, &l->error);
	if (bad == 0)
		bad = spawn_maker(s, &l->error);
	l->sandbox = s;
	if (bad < 0)
		loop_defer(u->engine->loop, fail_late, l);
	else
		free(l);
}

/* -- removing ---------------------------------------------------------------------------------- */

static void forgotten(void *ctx, const struct err *e)
{
	struct sandbox *s = ctx;
	engine_done *done = s->done;
	void *done_ctx = s->ctx;

	sandbox_free(s);
	if (done)
		done(done_ctx, e);
}

void engine_sandbox_remove(struct user *u, const char *id, engine_done *done, void *ctx)
{
	struct sandbox *s = map_get(&u->engine->sandboxes, id);
	struct err e;

	if (!s || s->owner != u->owner || s->hidden) {
		(void)err_set(&e, ERR_NOT_FOUND, "no such sandbox: %s", id);
		engine_finish(u->engine, done, ctx, &e);
		return;
	}
	s->hidden = true;
	s->done = done;
	s->ctx = ctx;
	unpin(s);
	record_delete(u->engine->records, "sandbox", s->id, forgotten, s);
}

/* -- finding ----------------------------------------------------------------------------------- */

const struct sandbox_view *engine_sandbox_find(struct user *u, const char *id)
{
	struct sandbox *s = map_get(&u->engine->sandboxes, id);

	return s && s->owner == u->owner && !s->hidden ? view_of(s) : NULL;
}

void engine_sandbox_each(struct user *u, void (*fn)(void *ctx, const struct sandbox_view *v),
			 void *ctx)
{
	map_each (&u->engine->sandboxes, it) {
		struct sandbox *s = it->value;

		if (s->owner == u->owner && !s->hidden)
			fn(ctx, view_of(s));
	}
}

bool sandbox_mode(const char *mode)
{
	return mode && text_starts(mode, "sandbox:");
}

int sandbox_path(struct engine *g, const char *mode, const char *file, char **ret, struct err *e)
{
	const char *id = mode + strlen("sandbox:");
	const struct sandbox *s = map_get(&g->sandboxes, id);

	if (!s || s->hidden)
		return err_set(e, ERR_NOT_FOUND, "no such sandbox: %s", id);
	if (s->host_network && text_eq(file, "net"))
		return err_set(e, ERR_INVALID, "sandbox %.12s has the host's network", id);
	*ret = mem_printf("%s/%s", s->dir, file);
	return 0;
}

/* -- after a restart --------------------------------------------------------------------------- */

static bool is_pinned(const struct sandbox *s)
{
	auto_free char *path = mem_printf("%s/uts", s->dir);
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

static enum owner owner_of(const char *text)
{
	for (int o = 0; o < OWNERS; o++)
		if (text_eq(owner_name((enum owner)o), text))
			return (enum owner)o;
	return OWNER_KUBE;
}

void sandbox_adopt(void *engine, const char *id, struct str value)
{
	struct engine *g = engine;
	struct sandbox *s = sandbox_new(g, id);
	auto_json struct json *j = NULL;
	auto_free char *net = mem_printf("%s/net", s->dir);
	struct err e = {0};

	if (json_parse(value, "sandbox", &j, &e) < 0)
		log_warn("sandbox %.12s: %s", id, e.text);
	s->name = mem_dup_text(json_get_text(j, "name") ? json_get_text(j, "name") : id);
	s->uid = mem_dup_text(json_get_text(j, "uid") ? json_get_text(j, "uid") : "");
	s->hostname = mem_dup_text(json_get_text(j, "hostname"));
	s->owner = owner_of(json_get_text(j, "owner"));
	s->host_network = json_get_bool(j, "hostNetwork", false);
	if (!is_pinned(s)) { /* the machine was started anew */
		unpin(s);
		record_delete(g->records, "sandbox", s->id, NULL, NULL);
		sandbox_free(s);
		return;
	}
	if (!s->host_network)
		s->netns = open(net, O_RDONLY | O_CLOEXEC);
	if (json_get(j, "endpoint") &&
	    network_endpoint_load(g->net, json_get(j, "endpoint"), &s->endpoint, &e) < 0)
		log_warn("sandbox %.12s: %s", id, e.text);
}

void sandbox_unpin_all(struct engine *g)
{
	map_each (&g->sandboxes, it) {
		struct sandbox *s = it->value;
		auto_free char *parent = mem_printf("%s/sandbox", g->run);

		unpin(s);
		(void)rmdir(parent);
	}
}

/* -- connections into one ---------------------------------------------------------------------- */

struct reaching {
	struct engine *engine;
	int sock;
	uint16_t port;
	engine_sandbox_connected *done;
	void *ctx;
	struct err error;
};

static void reached(struct reaching *r, int fd, const struct err *e)
{
	(void)fd_close(r->sock);
	r->done(r->ctx, fd, e);
	free(r);
}

static void reacher_ended(void *ctx, struct loop_exit how)
{
	struct reaching *r = ctx;
	int fd = -1;
	char word[8];
	size_t n = 0, fds_n = 1;
	struct err e = {0};

	if (how.code == 0 && unix_receive(r->sock, word, sizeof(word), &n, &fd, &fds_n, &e) == 0 &&
	    fd >= 0) {
		reached(r, fd, NULL);
		return;
	}
	(void)err_set(&e, ERR_UNAVAILABLE, "nobody listens on port %u of the pod", r->port);
	reached(r, -1, &e);
}

static void reach_failed(void *arg)
{
	struct reaching *r = arg;
	struct err e = r->error;

	reached(r, -1, &e);
}

static int spawn_reacher(struct reaching *r, int netns, struct err *e)
{
	auto_arena struct arena a = {0};
	char port[8];
	char *const argv[] = {"hull-keeper", "connect", port, NULL};
	int ends[2], bad;

	(void)snprintf(port, sizeof(port), "%u", r->port);
	if (unix_pair(SOCK_SEQPACKET, ends, e) < 0)
		return -ERR_SYSTEM;
	r->sock = ends[0];
	bad = loop_spawn(r->engine->loop,
			 &(struct loop_spawn_options){
				 .program = engine_program(r->engine, &a, "hull-keeper"),
				 .argv = argv,
				 .fds = (int[]){-1, -1, -1, ends[1], netns},
				 .fds_n = 5,
				 .exited = reacher_ended,
				 .arg = r},
			 NULL, e);
	(void)fd_close(ends[1]);
	return bad;
}

void engine_sandbox_connect(struct user *u, const char *id, uint16_t port,
			    engine_sandbox_connected *done, void *ctx)
{
	const struct sandbox *s = map_get(&u->engine->sandboxes, id);
	struct reaching *r = mem_new(struct reaching);
	auto_close int own = -1;
	int bad = 0;

	*r = (struct reaching){
		.engine = u->engine, .sock = -1, .port = port, .done = done, .ctx = ctx};
	if (!s || s->hidden)
		bad = err_set(&r->error, ERR_NOT_FOUND, "no such sandbox: %s", id);
	if (bad == 0 && s->host_network)
		own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (bad == 0)
		bad = spawn_reacher(r, s->host_network ? own : s->netns, &r->error);
	if (bad < 0)
		loop_defer(u->engine->loop, reach_failed, r);
}
