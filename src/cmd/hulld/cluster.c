/*
 * The cluster's parts: see cluster.h. A part that needs another is made after it and freed
 * before.
 */
#include "cluster.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/kube/kube.h"
#include "cluster/controllers/controllers.h"
#include "cluster/node/agent.h"
#include "cluster/node/services.h"
#include "cluster/objects/direct.h"
#include "cluster/scheduler/scheduler.h"
#include "engine/cluster_net.h"
#include "engine/system.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/store/keys.h"
#include "ground/wire/loop.h"
#include "virt/network/pod.h"

#define POD_CIDR      "10.244.0.0/16" /* of the cluster; this node's is its first /24 */
#define POD_RANGE     "10.244.0.0/24"
#define SERVICE_CIDR  "10.96.0.0/16"
#define SERVICE_IP    "10.96.0.1"
#define DNS_IP	      "10.96.0.10"
#define DNS_DOMAIN    "cluster.local"
#define BALANCER_POOL "10.98.0.0/24" /* where addresses of load balancers come from */
#define LISTEN_CHARS  128
#define BACKLOG	      511

struct cluster {
	struct cluster_options o;
	char *listen, *folder;
	struct keys *keys;
	struct objects *objects;
	struct client api; /* the API server's own */
	struct kube *kube;
	struct informers *informers; /* of every loop in this process */
	struct controllers *controllers;
	struct scheduler *scheduler;
	struct node_agent *agent;
	struct client for_services; /* who asks for services and writes their addresses */
	struct node_services *services;
	struct node_directory nodes;
	char *node_name;
};

char *cluster_wanted(const char *root)
{
	auto_free char *path = mem_printf("%s/kube/listen", root);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[LISTEN_CHARS];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (n <= 0)
		return NULL;
	return str_dup(str_trim((struct str){text, (size_t)n}));
}

static int sign_token(void *ctx, const struct object *account, const struct json *spec,
		      struct json **ret_status, struct err *e)
{
	struct cluster *c = ctx;

	return kube_sign_token(c->kube, account, spec, ret_status, e);
}

static int open_store(struct cluster *c, struct err *e)
{
	auto_free char *path = mem_printf("%s/cluster.db", c->o.root);
	struct keys_options o = {.loop = c->o.loop,
				 .path = path,
				 .index = objects_index,
				 .index_free = objects_index_free};

	return keys_open(&o, &c->keys, e);
}

static int open_objects(struct cluster *c, struct err *e)
{
	struct objects_options o = {.loop = c->o.loop,
				    .keys = c->keys,
				    .service_cidr = SERVICE_CIDR,
				    .sign_token = sign_token,
				    .ctx = c};

	if (objects_new(&o, &c->objects, e) < 0)
		return -ERR_INTERNAL;
	c->api = objects_client(c->objects, (struct identity){.user = "system:apiserver"});
	return 0;
}

static int listen_on(const char *text, int *ret, struct err *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	struct str rest = str_of(text), host;
	auto_free char *address = NULL;
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	uint32_t port = 0;
	int one = 1;

	(void)str_cut(&rest, ':', &host);
	address = str_dup(host);
	if (parse_u32(rest, "port", &port, e) < 0 || port == 0 || port > 65535 ||
	    inet_pton(AF_INET, address, &a.sin_addr) != 1)
		return err_set(e, ERR_INVALID,
			       "invalid address '%s' of the Kubernetes API: ADDRESS:PORT is "
			       "expected, as 127.0.0.1:6443",
			       text);
	a.sin_port = htons((uint16_t)port);
	if (fd < 0)
		return err_sys(e, "cannot make a socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
		return err_sys(e, "cannot listen on %s for the Kubernetes API", text);
	*ret = take_fd(&fd);
	return 0;
}

/* The only node that can be reached from here is this one. */
static const struct node_ops *find_node(void *ctx, const char *name, void **ret_node)
{
	const struct cluster *c = ctx;

	if (!c->agent || !text_eq(name, c->node_name))
		return NULL;
	*ret_node = c->agent;
	return node_agent_ops();
}

static int open_api(struct cluster *c, struct err *e)
{
	struct kube_options o = {.loop = c->o.loop,
				 .client = &c->api,
				 .folder = c->folder,
				 .address = c->listen,
				 .service_ip = SERVICE_IP,
				 .nodes = &c->nodes,
				 .version = HULL_VERSION};
	int fd = -1;

	if (kube_new(&o, &c->kube, e) < 0 || listen_on(c->listen, &fd, e) < 0)
		return -ERR_SYSTEM;
	return kube_listen(c->kube, fd, e);
}

static void start_loops(struct cluster *c)
{
	c->informers = informers_new(c->o.loop, &c->api);
	kube_use_informers(c->kube, c->informers);
	c->controllers =
		controllers_new(&(struct controllers_options){.loop = c->o.loop,
							      .client = &c->api,
							      .informers = c->informers,
							      .ca_pem = kube_ca_pem(c->kube),
							      .nodes = &c->nodes});
	c->scheduler = scheduler_new(&(struct scheduler_options){
		.loop = c->o.loop, .client = &c->api, .informers = c->informers});
}

static int start_node(struct cluster *c, struct err *e)
{
	struct node_agent_options o = {.loop = c->o.loop,
				       .engine = c->o.engine,
				       .client = &c->api,
				       .informers = c->informers,
				       .node_name = c->node_name,
				       .root = c->o.root,
				       .address = "127.0.0.1",
				       .dns_ip = DNS_IP,
				       .version = HULL_VERSION};

	return node_agent_new(&o, &c->agent, e);
}

static int start_services(struct cluster *c, struct err *e)
{
	static const char *const dns[] = {DNS_IP, NULL};
	struct node_services_options o = {.loop = c->o.loop,
					  .client = &c->for_services,
					  .net = engine_cluster_net(c->o.engine),
					  .node = c->node_name,
					  .domain = DNS_DOMAIN,
					  .dns = dns,
					  .pool = BALANCER_POOL,
					  .api = c->listen};

	c->for_services =
		objects_client(c->objects, (struct identity){.user = "system:kube-proxy"});
	return node_services_new(&o, &c->services, e);
}

static void booted(void *ctx)
{
	struct cluster *c = ctx;
	struct err e;

	start_loops(c);
	if (start_node(c, &e) < 0)
		log_error("this node runs no pods: %s", e.text);
	if (start_services(c, &e) < 0)
		log_error("this node serves no services: %s", e.text);
	log_info("the Kubernetes API listens on https://%s", c->listen);
}

/* The machine's name in lower case: what the node is called. */
static char *host_name(void)
{
	char name[256] = "node";

	(void)gethostname(name, sizeof(name) - 1);
	for (char *p = name; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p == '_' ? '-' : *p);
	return mem_dup_text(name[0] ? name : "node");
}

int cluster_new(const struct cluster_options *o, struct cluster **ret, struct err *e)
{
	struct cluster *c = mem_new(struct cluster);

	assert(o->loop && o->engine && o->listen);
	c->o = *o;
	c->listen = mem_dup_text(o->listen);
	c->folder = mem_printf("%s/kube", o->root);
	c->node_name = host_name();
	c->nodes = (struct node_directory){find_node, c};
	if (open_store(c, e) < 0 || open_objects(c, e) < 0 || open_api(c, e) < 0) {
		(void)cluster_free(c);
		return -(int)e->kind;
	}
	kube_bootstrap(c->kube, booted, c);
	*ret = c;
	return 0;
}

void cluster_quiet(struct cluster *c)
{
	if (c && c->agent)
		node_agent_quiet(c->agent);
}

void cluster_stopped(struct cluster *c)
{
	if (c && c->agent)
		node_agent_unmount(c->agent);
}

struct cluster *cluster_free(struct cluster *c)
{
	if (!c)
		return NULL;
	c->services = node_services_free(c->services);
	if (c->kube)
		kube_use_informers(c->kube, NULL);
	c->informers = informers_free(c->informers);
	c->agent = node_agent_free(c->agent);
	c->scheduler = scheduler_free(c->scheduler);
	c->controllers = controllers_free(c->controllers);
	c->kube = kube_free(c->kube);
	c->objects = objects_free(c->objects);
	c->keys = keys_close(c->keys);
	free(c->listen);
	free(c->node_name);
	free(c->folder);
	free(c);
	return NULL;
}

const struct network_pods_options *cluster_pods(void)
{
	static const char *const nets[] = {POD_CIDR, SERVICE_CIDR, NULL};
	static const struct network_pods_options pods = {
		.range4 = POD_RANGE, .cluster = nets, .services = nets + 1};

	return &pods;
}
