/*
 * A container and its networks: which it joins, plugging it in between the keeper's `ready` and
 * `go`, taking it out, and keeping what a later daemon must know in <run>/endpoint/ID
 * (it dies with the boot, as the endpoints do, so it needs no sync).
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"

#define NETWORK_FILE_MAX (1 << 20)

bool workload_has_own_net(const struct workload *w)
{
	const char *mode = w->request.host.network_mode;

	return !text_eq(mode, "host") && !sandbox_mode(mode) &&
	       !(mode && text_starts(mode, "container:"));
}

/* After this every endpoint names a real network, and a mode that is a network has its endpoint. */
int plug_normalise(struct workload *w, struct err *e)
{
	struct container_request *r = &w->request;
	const char *mode = r->host.network_mode;
	struct endpoint_request *all;
	bool found = false;

	if (!mode || !*mode || text_eq(mode, "default"))
		mode = r->host.network_mode = arena_dup_text(&w->arena, "bridge");
	if (r->endpoints_n > WORKLOAD_ENDPOINTS_MAX)
		return err_set(e, ERR_INVALID, "more than %d networks", WORKLOAD_ENDPOINTS_MAX);
	if (sandbox_mode(mode)) {
		auto_free char *path = NULL;

		r->endpoints_n = 0;
		return sandbox_path(w->engine, mode, "net", &path, e);
	}
	if (text_starts(mode, "container:")) {
		struct workload *other;

		r->endpoints_n = 0;
		return workload_find(&w->engine->users[w->owner], mode + 10, &other, e);
	}
	for (size_t i = 0; i < r->endpoints_n; i++) {
		struct network *n;

		if (text_eq(r->endpoints[i].network, "default"))
			r->endpoints[i].network = arena_dup_text(&w->arena, mode);
		if (network_find(w->engine->net, r->endpoints[i].network, &n, e) < 0)
			return -ERR_NOT_FOUND;
		r->endpoints[i].network = arena_dup_text(&w->arena, network_spec(n)->name);
		found = found || text_eq(network_spec(n)->name, mode) ||
			text_eq(network_spec(n)->id, mode);
	}
	if (found)
		return 0;
	all = arena_new_array(&w->arena, struct endpoint_request, r->endpoints_n + 1);
	if (r->endpoints_n)
		memcpy(all + 1, r->endpoints, r->endpoints_n * sizeof(*all));
	all[0].network = arena_dup_text(&w->arena, mode);
	r->endpoints = all;
	r->endpoints_n++;
	struct network *n;
	return network_find(w->engine->net, mode, &n, e);
}

/* "container:alias" of the request's links, as pairs for the endpoint. */
static struct json_pair *links_of(const struct workload *w, const struct endpoint_request *r,
				  struct arena *a)
{
	char *const *lists[] = {r->links, w->request.host.links};
	size_t n = 0;
	struct json_pair *pairs = arena_new_array(
		a, struct json_pair, mem_count_texts(lists[0]) + mem_count_texts(lists[1]) + 1);

	for (size_t i = 0; i < array_len(lists); i++)
		for (char *const *l = lists[i]; l && *l; l++) {
			struct str rest = str_of(*l), name;

			(void)str_cut(&rest, ':', &name);
			pairs[n].key = arena_dup(a, name);
			pairs[n++].value = arena_dup(a, rest.n ? rest : name);
		}
	return pairs;
}

/* The endpoint that carries the default route and the published ports. */
static size_t gateway_index(const struct workload *w)
{
	const struct container_request *r = &w->request;
	size_t best = r->endpoints_n;

	for (size_t i = 0; i < r->endpoints_n; i++) {
		struct network *n;
		struct err ignored = {0};

		if (network_find(w->engine->net, r->endpoints[i].network, &n, &ignored) < 0 ||
		    network_spec(n)->internal)
			continue;
		if (best == r->endpoints_n ||
		    r->endpoints[i].gateway_priority > r->endpoints[best].gateway_priority)
			best = i;
	}
	return best < r->endpoints_n ? best : 0;
}

static struct network_ns ns_of(const struct workload *w)
{
	return (struct network_ns){
		.netns = w->fds.fds[KEEPER_FD_NETNS],
		.route = w->fds.fds[KEEPER_FD_ROUTE],
		.netfilter = w->fds.fds[KEEPER_FD_NETFILTER],
		.dns_udp = w->fds.fds[KEEPER_FD_DNS_UDP],
		.dns_tcp = w->fds.fds[KEEPER_FD_DNS_TCP],
	};
}

static struct plug *plug_add(struct workload *w, struct endpoint_request *r)
{
	struct plug *p;

	w->plugs = realloc(w->plugs, (w->plugs_n + 1) * sizeof(*w->plugs));
	assert(w->plugs);
	p = &w->plugs[w->plugs_n++];
	*p = (struct plug){.request = r};
	return p;
}

int plug_one(struct workload *w, struct endpoint_request *r, bool gateway, struct err *e)
{
	auto_arena struct arena a = {0};
	struct network_ns ns = ns_of(w);
	struct network_join join = {
		.container = w->id,
		.name = w->name,
		.hostname = w->request.config.hostname,
		.aliases = r->aliases,
		.links = links_of(w, r, &a),
		.ipv4 = r->ipv4,
		.ipv6 = r->ipv6,
		.mac = r->mac_address ? r->mac_address : w->request.config.mac_address,
		.gateway = gateway,
		.dns = w->request.host.dns && w->request.host.dns[0] ? w->request.host.dns
								     : w->engine->dns,
	};
	struct network_port *ports = NULL;
	struct network_endpoint *endpoint;
	struct network *n;

	if (join.mac && !*join.mac)
		join.mac = NULL;
	if (network_find(w->engine->net, r->network, &n, e) < 0)
		return -ERR_NOT_FOUND;
	if (gateway && ports_of(&w->request, &a, &ports, &join.ports_n, e) < 0)
		return -ERR_INVALID;
	join.ports = ports;
	if (network_attach(w->engine->net, n, &ns, &join, &endpoint, e) < 0)
		return err_wrap(e, "cannot connect container '%s' to network '%s'", w->name,
				r->network);
	plug_add(w, r)->endpoint = endpoint;
	event_network(w->engine, w->owner, "connect", n, w->id);
	return 0;
}

int plug_all(struct workload *w, struct err *e)
{
	struct container_request *r = &w->request;
	size_t gateway = gateway_index(w);

	assert(w->plugs_n == 0);
	for (size_t i = 0; i < r->endpoints_n; i++)
		if (plug_one(w, &r->endpoints[i], i == gateway, e) < 0) {
			unplug_all(w);
			return -ERR_CONFLICT;
		}
	return 0;
}

/* What a later daemon need not know any more. The keeper removes the directory, if it is later. */
static void plug_forget(const struct workload *w)
{
	auto_free char *path = mem_printf("%s/network.json", w->run_dir);

	(void)unlink(path);
	(void)rmdir(w->run_dir);
}

void unplug_all(struct workload *w)
{
	auto_free char *path = mem_printf("%s/endpoint/%s", w->engine->run, w->id);

	for (size_t i = 0; i < w->plugs_n; i++) {
		struct err e = {0};
		struct network *n;

		if (!w->plugs[i].endpoint)
			continue;
		n = network_endpoint_network(w->plugs[i].endpoint);
		event_network(w->engine, w->owner, "disconnect", n, w->id);
		if (network_detach(w->engine->net, w->plugs[i].endpoint, NULL, &e) < 0)
			log_warn("container %.12s: %s", w->id, e.text);
	}
	(void)unlink(path);
	free(w->plugs);
	w->plugs = NULL;
	w->plugs_n = 0;
	plug_forget(w);
}

/* -- across a restart of the daemon */

void plug_save(struct workload *w)
{
	auto_json struct json *all = json_new_array();
	auto_strbuf struct strbuf text = {0};
	auto_free char *path = mem_printf("%s/endpoint/%s", w->engine->run, w->id);
	auto_free char *fresh = mem_printf("%s/endpoint/%s.new", w->engine->run, w->id);
	auto_close int fd = -1;

	for (size_t i = 0; i < w->plugs_n; i++)
		json_append(all, network_endpoint_encode(w->plugs[i].endpoint));
	json_write(all, &text);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, strbuf_text(&text), text.n) != (ssize_t)text.n ||
	    rename(fresh, path) < 0)
		log_warn("container %.12s: cannot write '%s': %s", w->id, path, strerror(errno));
}

static struct endpoint_request *request_for(struct workload *w, const char *network)
{
	for (size_t i = 0; i < w->request.endpoints_n; i++)
		if (text_eq(w->request.endpoints[i].network, network))
			return &w->request.endpoints[i];
	return NULL;
}

void plug_load(struct workload *w)
{
	auto_free char *path = mem_printf("%s/endpoint/%s", w->engine->run, w->id);
	auto_json struct json *all = NULL;
	struct err e = {0};

	assert(w->plugs_n == 0);
	if (json_read_file(AT_FDCWD, path, NETWORK_FILE_MAX, &all, &e) < 0) {
		if (e.kind != ERR_NOT_FOUND)
			log_warn("container %.12s: %s", w->id, e.text);
		return;
	}
	for (size_t i = 0; i < json_len(all); i++) {
		struct network_endpoint *endpoint;
		struct network *n;

		if (network_endpoint_load(w->engine->net, json_at(all, i), &endpoint, &e) < 0) {
			log_warn("container %.12s: %s", w->id, e.text);
			continue;
		}
		n = network_endpoint_network(endpoint);
		plug_add(w, request_for(w, network_spec(n)->name))->endpoint = endpoint;
	}
}

/* hull-net lost this container's DNS sockets: its keeper gives new ones. */

struct names_order {
	struct engine *engine;
	char id[ENGINE_ID_HEX + 1];
};

static void names_arrived(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	struct names_order *o = ctx;
	const struct keeper_ready *ready = answer;
	struct workload *w = map_get(&o->engine->workloads, o->id);
	struct err e = {0};

	if (why || !w || !ready) {
		log_warn("container %.12s: its names are not served: %s", o->id,
			 why ? why->text : "it is gone");
		free(o);
		return;
	}
	struct network_ns ns = {ready->fds[KEEPER_FD_NETNS], ready->fds[KEEPER_FD_ROUTE],
				ready->fds[KEEPER_FD_NETFILTER], ready->fds[KEEPER_FD_DNS_UDP],
				ready->fds[KEEPER_FD_DNS_TCP]};
	if (network_names_serve(o->engine->net, o->id, &ns, &e) < 0)
		log_warn("container %.12s: %s", o->id, e.text);
	free(o);
}

void plug_names_wanted(void *ctx, const char *container_id)
{
	struct engine *g = ctx;
	struct workload *w = map_get(&g->workloads, container_id);
	struct names_order *o;

	if (!w || !w->keeper)
		return;
	o = mem_new(struct names_order);
	o->engine = g;
	memcpy(o->id, w->id, sizeof(o->id));
	keeper_descriptors(w->keeper, (struct keeper_done){names_arrived, o});
}
