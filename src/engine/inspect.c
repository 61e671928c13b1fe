/*
 * What is known about a container, as one view in the asker's arena, and lists of them.
 */
#include "engine/engine_priv.h"
#include "ground/base/parse.h"

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

static void view_command(const struct container_config *c, struct container_view *v,
			 struct arena *a)
{
	size_t n = 0, total = mem_count_texts(c->entrypoint) + mem_count_texts(c->cmd);
	char **all = arena_new_array(a, char *, total + 1);

	for (char **p = c->entrypoint; p && *p; p++)
		all[n++] = *p;
	for (char **p = c->cmd; p && *p; p++)
		all[n++] = *p;
	v->path = n ? all[0] : "";
	v->args = n ? all + 1 : all;
}

/* Its own name, aliases and short id: what other containers may call it. */
static char **dns_names(const struct workload *w, const struct endpoint_request *r, struct arena *a)
{
	size_t n = 0;
	char **names = arena_new_array(a, char *, mem_count_texts(r ? r->aliases : NULL) + 3);

	names[n++] = w->name;
	for (char **p = r ? r->aliases : NULL; p && *p; p++)
		if (!text_in(*p, names))
			names[n++] = *p;
	names[n++] = arena_dup(a, (struct str){w->id, 12});
	return names;
}

static const struct network_endpoint_info *plugged(const struct workload *w,
						   const struct endpoint_request *r)
{
	for (size_t i = 0; i < w->plugs_n; i++)
		if (w->plugs[i].request == r && w->plugs[i].endpoint)
			return network_endpoint_info(w->plugs[i].endpoint);
	return NULL;
}

static void view_endpoints(struct workload *w, struct container_view *v, struct arena *a)
{
	const struct container_request *r = &w->request;
	struct endpoint_view *list = arena_new_array(a, struct endpoint_view, r->endpoints_n + 1);

	for (size_t i = 0; i < r->endpoints_n; i++) {
		const struct network_endpoint_info *info = plugged(w, &r->endpoints[i]);
		struct endpoint_view *one = &list[i];
		struct network *n;
		struct err ignored = {0};

		*one = (struct endpoint_view){
			.network_name = r->endpoints[i].network,
			.network_id = "",
			.endpoint_id = info ? info->id : "",
			.ipv4 = info ? info->ipv4 : "",
			.gateway4 = info ? info->gateway4 : "",
			.ipv6 = info ? info->ipv6 : "",
			.gateway6 = info ? info->gateway6 : "",
			.mac = info ? info->mac : "",
			.prefix4 = info ? info->prefix4 : 0,
			.prefix6 = info ? info->prefix6 : 0,
			.aliases = r->endpoints[i].aliases,
			.links = r->endpoints[i].links,
			.request = &r->endpoints[i],
		};
		if (network_find(w->engine->net, r->endpoints[i].network, &n, &ignored) >= 0) {
			one->network_id = network_spec(n)->id;
			if (network_has_names(n))
				one->dns_names = dns_names(w, &r->endpoints[i], a);
		}
	}
	v->endpoints = list;
	v->endpoints_n = r->endpoints_n;
}

struct ports {
	struct port_view *list;
	size_t n, room;
};

static void add_port(struct ports *p, const struct port_view *one)
{
	mem_grow(p->list, p->n + 1, p->room);
	p->list[p->n++] = *one;
}

/* "80/tcp". */
static bool exposed_port(const char *key, struct port_view *ret, struct arena *a)
{
	struct str rest = str_of(key), number;
	struct err ignored = {0};
	uint32_t port;

	(void)str_cut(&rest, '/', &number);
	if (parse_u32(number, "port", &port, &ignored) < 0 || port == 0 || port > 65535)
		return false;
	ret->container_port = (uint16_t)port;
	ret->protocol = rest.n ? arena_dup(a, rest) : "tcp";
	return true;
}

static void exposed_only(const struct container_config *c, struct ports *all, struct arena *a)
{
	struct json_iter it = {0};
	const char *key;
	struct json *value;
	size_t published = all->n;

	while (json_next(c->exposed_ports, &it, &key, &value)) {
		struct port_view one = {.host_ip = ""};
		bool there = false;

		if (!exposed_port(key, &one, a))
			continue;
		for (size_t i = 0; i < published; i++)
			there = there || (all->list[i].container_port == one.container_port &&
					  text_eq(all->list[i].protocol, one.protocol));
		if (!there)
			add_port(all, &one);
	}
}

static void view_ports(const struct workload *w, struct container_view *v, struct arena *a)
{
	struct ports all = {0};
	struct port_view *copy;

	for (size_t i = 0; i < w->plugs_n; i++) {
		const struct network_endpoint_info *info =
			w->plugs[i].endpoint ? network_endpoint_info(w->plugs[i].endpoint) : NULL;

		for (size_t k = 0; info && k < info->ports_n; k++)
			add_port(&all, &(struct port_view){
					       .container_port = info->ports[k].port,
					       .protocol = network_proto_name(info->ports[k].proto),
					       .host_ip = info->ports[k].host_ip,
					       .host_port = info->ports[k].host_port,
				       });
	}
	if (workload_runs(w))
		exposed_only(&w->request.config, &all, a);
	copy = arena_new_array(a, struct port_view, all.n + 1);
	if (all.n)
		memcpy(copy, all.list, all.n * sizeof(*copy));
	v->ports = copy;
	v->ports_n = all.n;
	free(all.list);
}

static void view_mounts(const struct workload *w, struct container_view *v, struct arena *a)
{
	static const char *const types[] = {
		[VOLUME_BIND] = "bind", [VOLUME_NAMED] = "volume", [VOLUME_TMPFS] = "tmpfs"};
	struct mount_view *list = arena_new_array(a, struct mount_view, w->mounts_n + 1);

	for (size_t i = 0; i < w->mounts_n; i++) {
		const struct volume_mount *m = &w->mounts[i];
		struct mount_view *one = &list[i];
		struct volume *found;
		struct err ignored = {0};

		*one = (struct mount_view){
			.type = types[m->kind],
			.name = m->kind == VOLUME_NAMED ? or_empty(m->source) : "",
			.source = m->kind == VOLUME_BIND ? or_empty(m->source) : "",
			.destination = m->target,
			.driver = m->kind == VOLUME_NAMED ? "local" : "",
			.mode = "",
			.propagation = m->kind == VOLUME_BIND
					       ? (m->propagation ? m->propagation : "rprivate")
					       : "",
			.writable = !m->read_only,
		};
		if (m->kind == VOLUME_NAMED && m->source &&
		    volume_find(w->engine->volumes, m->source, &found, &ignored) >= 0)
			one->source = volume_path(found);
	}
	v->mounts = list;
	v->mounts_n = w->mounts_n;
}

static void view_files(const struct workload *w, struct container_view *v, struct arena *a)
{
	struct keeper_orders root = {0};
	auto_strbuf struct strbuf lower = {0};

	workload_root_orders((struct workload *)w, a, &root);
	v->resolv_conf_path = arena_printf(a, "%s/resolv.conf", w->dir);
	v->hostname_path = arena_printf(a, "%s/hostname", w->dir);
	v->hosts_path = arena_printf(a, "%s/hosts", w->dir);
	v->log_path =
		text_eq(w->request.host.log.type, "none") ? "" : arena_printf(a, "%s/log", w->dir);
	for (char **p = w->lower; p && *p; p++)
		strbuf_printf(&lower, "%s%s", p == w->lower ? "" : ":", *p);
	v->lower_dirs = arena_dup_text(a, strbuf_text(&lower));
	v->upper_dir = root.upper ? root.upper : root.root_path;
	v->work_dir = or_empty(root.work);
	v->sandbox_key = w->pid ? arena_printf(a, "/proc/%d/ns/net", w->pid) : "";
}

struct container_view *workload_view(struct workload *w, struct arena *a)
{
	struct container_view *v = arena_new(a, struct container_view);

	*v = (struct container_view){
		.id = w->id,
		.name = w->name,
		.owner = w->owner,
		.created_ns = w->created_ns,
		.state = w->state,
		.oom_killed = w->oom_killed,
		.pid = w->pid,
		.exit_code = w->exit_code,
		.error = w->error,
		.started_ns = w->started_ns,
		.finished_ns = w->finished_ns,
		.restart_count = w->restart_count,
		.health = w->health_known ? &w->health : NULL,
		.image_id = w->image_id,
		.image_ref = w->image_ref,
		.platform = w->request.platform ? w->request.platform : "linux",
		.config = &w->request.config,
		.host = &w->request.host,
		.exec_ids = exec_ids(w, a),
	};
	view_command(&w->request.config, v, a);
	view_endpoints(w, v, a);
	view_ports(w, v, a);
	view_mounts(w, v, a);
	view_files(w, v, a);
	return v;
}

int engine_inspect(struct user *u, const char *ref, struct arena *a, struct container_view **ret,
		   struct err *e)
{
	struct workload *w;
	int bad = workload_find(u, ref, &w, e);

	if (bad < 0)
		return bad;
	*ret = workload_view(w, a);
	return 0;
}
