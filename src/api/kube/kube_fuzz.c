/*
 * Fuzz: any bytes on a connection of somebody who may do everything. A whole API server on a store
 * of its own takes them as they come, path, query, headers and body; it answers or hangs up, and it
 * is there for the next.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/kube/kube_priv.h"
#include "cluster/objects/decode.h"
#include "cluster/objects/direct.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys.h"
#include "ground/wire/loop.h"
#include "ground/wire/unix.h"

#define ANSWER_MS 5000

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct place {
	struct loop *loop;
	struct keys *keys;
	struct objects *objects;
	struct client client;
	struct kube *kube;
	struct loop_timer *late;
	char folder[64], db[96], listen[96];
} place;

static void stop(void *arg)
{
	loop_stop(arg);
}

static void too_late(void *arg)
{
	(void)arg;
	abort(); /* neither an answer nor an end */
}

static void made(void *ctx, const struct outcome *o)
{
	assert(!o->error);
	loop_stop(ctx);
}

/* Whoever comes without a name may do everything: no request ends at the door. */
static void let_all_in(struct place *p)
{
	static const char text[] =
		"{\"metadata\":{\"name\":\"all\"},\"roleRef\":{\"apiGroup\":"
		"\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"cluster-admin\"}"
		","
		"\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Group\","
		"\"name\":\"system:unauthenticated\"}]}";
	const struct kind *k =
		kind_of_resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
	struct client_target t = {.kind = k};
	struct json *j = NULL;
	struct err e = {0};

	assert(decode_body(STR(text), k, NULL, NULL, &j, &e) == 0);
	client_create(&p->client, &t, j, NULL, made, p->loop);
	loop_run(p->loop);
}

static void clean(void)
{
	static const char *const files[] = {"db", "db-wal", "db-shm", "listen"};

	for (size_t i = 0; i < array_len(files); i++) {
		auto_free char *path = mem_printf("%s/%s", place.folder, files[i]);

		(void)unlink(path);
	}
}

static void open_place(struct place *p)
{
	const char *tmp = getenv("TMPDIR");
	struct keys_options o = {.index = objects_index, .index_free = objects_index_free};
	struct objects_options oo = {.service_cidr = "10.96.0.0/24"};
	struct kube_options ko = {.service_ip = "10.96.0.1", .version = "1"};
	struct err e = {0};
	int fd = -1;

	(void)snprintf(p->folder, sizeof(p->folder), "%.40s/kube-fuzz.XXXXXX", tmp ? tmp : "/tmp");
	assert(mkdtemp(p->folder));
	(void)snprintf(p->db, sizeof(p->db), "%s/db", p->folder);
	(void)snprintf(p->listen, sizeof(p->listen), "%s/listen", p->folder);
	assert(loop_new(&p->loop, &e) == 0);
	o.loop = oo.loop = ko.loop = p->loop;
	o.path = p->db;
	assert(keys_open(&o, &p->keys, &e) == 0);
	oo.keys = p->keys;
	assert(objects_new(&oo, &p->objects, &e) == 0);
	p->client = objects_client(p->objects, (struct identity){.user = "fuzzer"});
	ko.client = &p->client;
	ko.folder = p->folder;
	ko.address = "127.0.0.1:6443";
	assert(kube_new(&ko, &p->kube, &e) == 0);
	kube_bootstrap(p->kube, stop, p->loop);
	loop_run(p->loop);
	let_all_in(p);
	assert(unix_listen(p->listen, SOCK_STREAM, 0600, &fd, &e) == 0);
	assert(http_server_listen(p->kube->http, fd, &e) == 0);
	p->late = loop_timer_new(p->loop, too_late, NULL);
	(void)atexit(clean);
}

struct caller {
	int fd;
	struct place *place;
	struct loop_watch *watch;
};

static void readable(void *arg, unsigned ready)
{
	struct caller *c = arg;
	char bytes[4096];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	(void)ready;
	if (n <= 0)
		loop_stop(c->place->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct caller c = {.fd = -1, .place = &place};
	struct err e = {0};

	if (!place.loop)
		open_place(&place);
	assert(unix_connect(place.listen, SOCK_STREAM, &c.fd, &e) == 0);
	(void)send(c.fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(c.fd, SHUT_WR);
	assert(loop_watch_new(place.loop, c.fd, LOOP_READ | LOOP_HUP, readable, &c, &c.watch, &e) ==
	       0);
	loop_timer_set(place.late, ANSWER_MS, 0);
	loop_run(place.loop);
	loop_timer_unset(place.late);
	c.watch = loop_watch_free(c.watch);
	(void)fd_close(c.fd);
	return 0;
}
