/*
 * Networks, as an API sees them: virt/network does the work, the engine keeps the records, says the
 * events, and knows which containers want to be on them.
 */
#include "engine/engine_priv.h"

#define N(key, kind, member, ...)                                                  \
	{                                                                          \
		key, kind, offsetof(struct network_request, member), ##__VA_ARGS__ \
	}
static const struct json_field ipam_fields[] = {
	{"Subnet", JSON_TEXT, offsetof(struct ipam_config, subnet)},
	{"IPRange", JSON_TEXT, offsetof(struct ipam_config, ip_range)},
	{"Gateway", JSON_TEXT, offsetof(struct ipam_config, gateway)},
	{"AuxiliaryAddresses", JSON_TEXT_MAP, offsetof(struct ipam_config, aux_addresses)},
};
static const struct json_shape ipam_shape = JSON_SHAPE(struct ipam_config, ipam_fields);

static const struct json_field request_fields[] = {
	N("Name", JSON_TEXT, name),
	N("Driver", JSON_TEXT, driver),
	N("Internal", JSON_FLAG, internal),
	N("Attachable", JSON_FLAG, attachable),
	N("Ingress", JSON_FLAG, ingress),
	N("ConfigOnly", JSON_FLAG, config_only),
	N("EnableIPv4", JSON_OPT_FLAG, enable_ipv4),
	N("Options", JSON_TEXT_MAP, options),
	N("Labels", JSON_TEXT_MAP, labels),
};
static const struct json_shape request_shape = JSON_SHAPE(struct network_request, request_fields);

int network_request_read(const struct json *body, struct arena *a, struct network_request *ret,
			 struct err *e)
{
	const struct json *ipam = json_get(body, "IPAM"), *configs = json_get(ipam, "Config");
	struct network_request r;

	if (json_kind(body) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "the request's body is not a JSON object");
	if (json_decode(body, &request_shape, "request", a, &r, e) < 0)
		return -ERR_INVALID;
	r.enable_ipv6 = json_get_bool(body, "EnableIPv6", false);
	r.ipam_driver = arena_dup_text(a, json_get_text(ipam, "Driver"));
	r.ipam = arena_new_array(a, struct ipam_config, json_len(configs) + 1);
	for (size_t i = 0; i < json_len(configs); i++) {
		if (json_decode(json_at(configs, i), &ipam_shape, "IPAM.Config", a, &r.ipam[i], e) <
		    0)
			return -ERR_INVALID;
		r.ipam_n = i + 1;
	}
	if (!r.name || !*r.name)
		return err_set(e, ERR_INVALID, "the network's name is missing");
	*ret = r;
	return 0;
}

void engine_network_save(struct engine *g, const struct network *n, record_done *done, void *ctx)
{
	auto_json struct json *j = network_encode(n);
	auto_strbuf struct strbuf text = {0};

	json_write(j, &text);
	record_put(g->records, "network", network_spec(n)->id, strbuf_str(&text), done, ctx);
}

/* The three built-in networks are everybody's. */
static bool builtin(const struct network_spec *s)
{
	return text_eq(s->name, "bridge") || text_eq(s->name, "host") || text_eq(s->name, "none");
}

static bool visible(const struct user *u, const struct network_spec *s)
{
	return builtin(s) || text_eq(s->owner, owner_name(u->owner));
}

static int find(struct user *u, const char *ref, struct network **ret, struct err *e)
{
	struct network *n;

	if (network_find(u->engine->net, ref ? ref : "", &n, e) < 0)
		return -ERR_NOT_FOUND;
	if (!visible(u, network_spec(n)))
		return err_set(e, ERR_NOT_FOUND, "network %s not found", ref);
	*ret = n;
	return 0;
}

struct network_op {
	struct engine *engine;
	engine_done *done;
	engine_network_made *made;
	void *ctx;
	char id[ENGINE_ID_HEX + 1];
	struct err error;
};

static void op_end(struct network_op *op, const struct err *e)
{
	if (op->made)
		op->made(op->ctx, e ? NULL : op->id, "", e);
	else
		op->done(op->ctx, e);
	free(op);
}

static void op_deferred(void *arg)
{
	struct network_op *op = arg;

	op_end(op, op->error.kind ? &op->error : NULL);
}

static void op_recorded(void *ctx, const struct err *e)
{
	op_end(ctx, e);
}

static struct network_op *op_new(struct user *u, engine_done *done, void *ctx)
{
	struct network_op *op = mem_new(struct network_op);

	op->engine = u->engine;
	op->done = done;
	op->ctx = ctx;
	return op;
}

static int create(struct user *u, const struct network_request *r, struct network **ret,
		  struct err *e)
{
	struct network_subnet subnets[8] = {0};
	char now[RFC3339_CHARS + 1];
	struct network_spec spec = {
		.name = r->name,
		.driver = r->driver && *r->driver ? r->driver : (char *)"bridge",
		.created = rfc3339_text(world_now_ns(u->engine->world), now),
		.owner = (char *)owner_name(u->owner),
		.internal = r->internal,
		.attachable = r->attachable,
		.ipv6 = r->enable_ipv6,
		.subnets = subnets,
		.subnets_n = r->ipam_n,
		.labels = r->labels,
		.options = r->options,
	};

	if (r->ipam_n > array_len(subnets))
		return err_set(e, ERR_INVALID, "a network has at most %zu subnets",
			       array_len(subnets));
	if (!text_eq(spec.driver, "bridge"))
		return err_set(e, ERR_UNSUPPORTED,
			       "network driver '%s' is not supported; 'bridge' is (host and none "
			       "are there)",
			       spec.driver);
	for (size_t i = 0; i < r->ipam_n; i++) {
		const struct ipam_config *c = &r->ipam[i];

		subnets[i] = (struct network_subnet){
			.subnet = c->subnet && *c->subnet ? c->subnet : NULL,
			.gateway = c->gateway && *c->gateway ? c->gateway : NULL,
			.ip_range = c->ip_range && *c->ip_range ? c->ip_range : NULL,
			.aux = c->aux_addresses,
		};
	}
	return network_create(u->engine->net, &spec, ret, e);
}

void engine_network_create(struct user *u, const struct network_request *r,
			   engine_network_made *made, void *ctx)
{
	struct network_op *op = op_new(u, NULL, ctx);
	struct network *n;

	op->made = made;
	if (create(u, r, &n, &op->error) < 0) {
		loop_defer(u->engine->loop, op_deferred, op);
		return;
	}
	memcpy(op->id, network_spec(n)->id, sizeof(op->id));
	event_network(u->engine, u->owner, "create", n, NULL);
	engine_network_save(u->engine, n, op_recorded, op);
}

/* A running container on it is an active endpoint. */
static int insist_unused(struct user *u, struct network *n, struct err *e)
{
	struct network_endpoint *ep = network_endpoint_next(u->engine->net, n, NULL);

	if (builtin(network_spec(n)))
		return err_set(e, ERR_FORBIDDEN,
			       "%s is a pre-defined network and cannot be removed",
			       network_spec(n)->name);
	if (ep)
		return err_set(e, ERR_FORBIDDEN,
			       "error while removing network: network %s id %s has active "
			       "endpoints",
			       network_spec(n)->name, network_spec(n)->id);
	return 0;
}

static int remove_network(struct user *u, struct network *n, record_done *done, void *ctx,
			  struct err *e)
{
	auto_free char *id = mem_dup_text(network_spec(n)->id);

	event_network(u->engine, u->owner, "destroy", n, NULL);
	if (network_remove(u->engine->net, n, e) < 0)
		return -ERR_CONFLICT;
	record_delete(u->engine->records, "network", id, done, ctx);
	return 0;
}

void engine_network_remove(struct user *u, const char *ref, engine_done *done, void *ctx)
{
	struct network_op *op = op_new(u, done, ctx);
	struct network *n;

	if (find(u, ref, &n, &op->error) < 0 || insist_unused(u, n, &op->error) < 0 ||
	    remove_network(u, n, op_recorded, op, &op->error) < 0)
		loop_defer(u->engine->loop, op_deferred, op);
}

/* -- connect and disconnect
 * ------------------------------------------------------------------------ */

static int append_endpoint(struct workload *w, const struct endpoint_request *r, const char *name,
			   struct err *e)
{
	struct container_request *q = &w->request;
	auto_json struct json *copy = request_endpoint_json(r);
	struct endpoint_request *all;

	for (size_t i = 0; i < q->endpoints_n; i++)
		if (text_eq(q->endpoints[i].network, name))
			return err_set(e, ERR_FORBIDDEN,
				       "endpoint with name %s already exists in network %s",
				       w->name, name);
	if (q->endpoints_n >= WORKLOAD_ENDPOINTS_MAX)
		return err_set(e, ERR_INVALID, "more than %d networks", WORKLOAD_ENDPOINTS_MAX);
	all = arena_new_array(&w->arena, struct endpoint_request, q->endpoints_n + 1);
	if (q->endpoints_n)
		memcpy(all, q->endpoints, q->endpoints_n * sizeof(*all));
	for (size_t i = 0; i < w->plugs_n; i++)
		if (w->plugs[i].request)
			w->plugs[i].request = all + (w->plugs[i].request - q->endpoints);
	if (request_read_endpoint(copy, name, &w->arena, &all[q->endpoints_n], e) < 0)
		return -ERR_INVALID;
	q->endpoints = all;
	q->endpoints_n++;
	return 0;
}

struct connection {
	struct network_op *op;
	struct workload *workload;
	char network[NETWORK_NAME_MAX + 1];
	bool disconnect;
};

static void drop_endpoint(struct workload *w, const char *network)
{
	struct container_request *q = &w->request;

	for (size_t i = 0; i < q->endpoints_n; i++) {
		if (!text_eq(q->endpoints[i].network, network))
			continue;
		for (size_t k = 0; k < w->plugs_n; k++)
			if (w->plugs[k].request && w->plugs[k].request > &q->endpoints[i])
				w->plugs[k].request--;
		memmove(&q->endpoints[i], &q->endpoints[i + 1],
			(q->endpoints_n - i - 1) * sizeof(*q->endpoints));
		q->endpoints_n--;
		return;
	}
}

static int unplug_network(struct workload *w, const char *network, const struct keeper_ready *ready,
			  struct err *e)
{
	struct network_ns ns = {ready->fds[KEEPER_FD_NETNS], ready->fds[KEEPER_FD_ROUTE],
				ready->fds[KEEPER_FD_NETFILTER], ready->fds[KEEPER_FD_DNS_UDP],
				ready->fds[KEEPER_FD_DNS_TCP]};

	for (size_t i = 0; i < w->plugs_n; i++) {
		struct network_endpoint *ep = w->plugs[i].endpoint;
		bool gateway;

		if (!text_eq(network_spec(network_endpoint_network(ep))->name, network))
			continue;
		gateway = network_endpoint_info(ep)->gateway;
		event_network(w->engine, w->owner, "disconnect", network_endpoint_network(ep),
			      w->id);
		memmove(&w->plugs[i], &w->plugs[i + 1], (w->plugs_n - i - 1) * sizeof(*w->plugs));
		w->plugs_n--;
		if (network_detach(w->engine->net, ep, &ns, e) < 0)
			return -ERR_SYSTEM;
		if (gateway && w->plugs_n)
			return network_endpoint_make_gateway(w->engine->net, w->plugs[0].endpoint,
							     &ns, e);
		return 0;
	}
	return 0;
}

/* The namespace's descriptors came: plug or unplug while it runs. */
static void descriptors_arrived(void *ctx, const void *answer, const struct err *why, int exit_code)
{
	struct connection *c = ctx;
	struct workload *w = c->workload;
	struct network_op *op = c->op;
	int bad = 0;

	if (why)
		op->error = *why;
	else if (c->disconnect)
		bad = unplug_network(w, c->network, answer, &op->error);
	else {
		struct keeper_ready kept = w->fds;

		w->fds = *(const struct keeper_ready *)answer;
		bad = plug_one(w, &w->request.endpoints[w->request.endpoints_n - 1],
			       w->plugs_n == 0, &op->error);
		w->fds = kept;
	}
	if (why || bad < 0) {
		if (!c->disconnect)
			drop_endpoint(w, c->network);
		op_end(op, &op->error);
	} else {
		if (c->disconnect)
			drop_endpoint(w, c->network);
		plug_save(w);
		workload_save(w, op_recorded, op);
	}
	free(c);
}

static void change_running(struct workload *w, const char *network, bool disconnect,
			   struct network_op *op)
{
	struct connection *c = mem_new(struct connection);

	c->op = op;
	c->workload = w;
	c->disconnect = disconnect;
	(void)snprintf(c->network, sizeof(c->network), "%s", network);
	keeper_descriptors(w->keeper, (struct keeper_done){descriptors_arrived, c});
}

void engine_network_connect(struct user *u, const char *ref, const char *container,
			    const struct endpoint_request *r, engine_done *done, void *ctx)
{
	struct network_op *op = op_new(u, done, ctx);
	struct workload *w;
	struct network *n;

	if (find(u, ref, &n, &op->error) < 0 || workload_find(u, container, &w, &op->error) < 0)
		goto refuse;
	if (!workload_has_own_net(w)) {
		(void)err_set(&op->error, ERR_FORBIDDEN,
			      "container sharing network namespace with another container or host "
			      "cannot be "
			      "connected to any other network");
		goto refuse;
	}
	if (append_endpoint(w, r, network_spec(n)->name, &op->error) < 0)
		goto refuse;
	if (workload_runs(w) && w->keeper)
		change_running(w, network_spec(n)->name, false, op);
	else
		workload_save(w, op_recorded, op);
	return;
refuse:
	loop_defer(u->engine->loop, op_deferred, op);
}

void engine_network_disconnect(struct user *u, const char *ref, const char *container, bool force,
			       engine_done *done, void *ctx)
{
	struct network_op *op = op_new(u, done, ctx);
	struct workload *w;
	struct network *n;
	bool there = false;

	if (find(u, ref, &n, &op->error) < 0 || workload_find(u, container, &w, &op->error) < 0)
		goto refuse;
	for (size_t i = 0; i < w->request.endpoints_n; i++)
		there = there || text_eq(w->request.endpoints[i].network, network_spec(n)->name);
	if (!there) {
		(void)err_set(&op->error, ERR_FORBIDDEN,
			      "container %s is not connected to network %s", w->id,
			      network_spec(n)->name);
		goto refuse;
	}
	if (workload_runs(w) && w->keeper) {
		change_running(w, network_spec(n)->name, true, op);
		return;
	}
	drop_endpoint(w, network_spec(n)->name);
	workload_save(w, op_recorded, op);
	return;
refuse:
	loop_defer(u->engine->loop, op_deferred, op);
}

/* -- looking
 * ---------------------------------------------------------------------------------------- */

static const char *with_prefix(struct arena *a, const char *address, unsigned int prefix)
{
	return address[0] ? arena_printf(a, "%s/%u", address, prefix) : "";
}

static void view_members(struct user *u, struct network *n, struct network_view *v, struct arena *a)
{
	struct network_endpoint *ep = NULL;
	size_t count = 0;
	struct network_member *list;

	while ((ep = network_endpoint_next(u->engine->net, n, ep)) != NULL)
		count++;
	list = arena_new_array(a, struct network_member, count + 1);
	while (v->members_n < count &&
	       (ep = network_endpoint_next(u->engine->net, n, ep)) != NULL) {
		const struct network_endpoint_info *info = network_endpoint_info(ep);
		const struct workload *w = map_get(&u->engine->workloads, info->container);

		list[v->members_n++] = (struct network_member){
			.container_id = info->container,
			.name = w ? w->name : "",
			.endpoint_id = info->id,
			.mac = info->mac,
			.ipv4 = with_prefix(a, info->ipv4, info->prefix4),
			.ipv6 = with_prefix(a, info->ipv6, info->prefix6),
		};
	}
	v->members = list;
}

static struct network_view *view(struct user *u, struct network *n, struct arena *a)
{
	const struct network_spec *s = network_spec(n);
	struct network_view *v = arena_new(a, struct network_view);
	struct ipam_config *ipam = arena_new_array(a, struct ipam_config, s->subnets_n + 1);
	struct err ignored = {0};

	for (size_t i = 0; i < s->subnets_n; i++)
		ipam[i] = (struct ipam_config){s->subnets[i].subnet, s->subnets[i].ip_range,
					       s->subnets[i].gateway, s->subnets[i].aux};
	*v = (struct network_view){
		.id = s->id,
		.name = s->name,
		.driver = text_eq(s->driver, "none") ? "null" : s->driver,
		.scope = "local",
		.internal = s->internal,
		.attachable = s->attachable,
		.enable_ipv4 = true,
		.enable_ipv6 = s->ipv6,
		.ipam_driver = "default",
		.ipam = ipam,
		.ipam_n = s->subnets_n,
		.options = s->options,
		.labels = s->labels,
	};
	if (s->created)
		(void)!rfc3339_parse(s->created, &v->created_ns, &ignored);
	view_members(u, n, v, a);
	return v;
}

int engine_network_inspect(struct user *u, const char *ref, struct arena *a,
			   struct network_view **ret, struct err *e)
{
	struct network *n;

	if (find(u, ref, &n, e) < 0)
		return -ERR_NOT_FOUND;
	*ret = view(u, n, a);
	return 0;
}

static const char *const known[] = {"driver", "id",   "label",	  "label!", "name",
				    "scope",  "type", "dangling", "until",  NULL};

static bool passes(struct user *u, struct network *n, const struct filters *f)
{
	const struct network_spec *s = network_spec(n);
	bool used = network_endpoint_next(u->engine->net, n, NULL) != NULL, dangling;
	struct err ignored = {0};

	if (!visible(u, s) || !filter_match(f, "scope", "local"))
		return false;
	if (!filter_match(f, "driver", text_eq(s->driver, "none") ? "null" : s->driver) ||
	    !filter_match_part(f, "name", s->name) || !filter_match_prefix(f, "id", s->id))
		return false;
	if (!filter_match(f, "type", builtin(s) ? "builtin" : "custom"))
		return false;
	if (filter_has(f, "dangling") &&
	    filter_flag(f, "dangling", false, &dangling, &ignored) >= 0 &&
	    dangling == (used || builtin(s)))
		return false;
	return filter_match_labels(f, s->labels);
}

int engine_networks(struct user *u, const struct filters *f, struct arena *a,
		    struct network_view ***ret, size_t *ret_n, struct err *e)
{
	struct network *n = NULL;
	size_t count = 0, used = 0;

	if (filters_check(f, known, e) < 0)
		return -ERR_INVALID;
	while ((n = network_next(u->engine->net, n)) != NULL)
		count++;
	*ret = arena_new_array(a, struct network_view *, count + 1);
	while ((n = network_next(u->engine->net, n)) != NULL)
		if (passes(u, n, f))
			(*ret)[used++] = view(u, n, a);
	*ret_n = used;
	return 0;
}

/* -- prune
 * ------------------------------------------------------------------------------------------ */

struct pruning {
	engine_pruned *done;
	void *ctx;
	char **names;
	struct err error;
};

static void pruned(void *ctx, const struct err *e)
{
	struct pruning *p = ctx;

	p->done(p->ctx, p->names, 0, p->error.kind ? &p->error : e);
	p->names = mem_free_texts(p->names);
	free(p);
}

static bool wanted_by_a_container(struct engine *g, const char *name)
{
	map_each (&g->workloads, it) {
		const struct workload *w = it->value;

		for (size_t i = 0; i < w->request.endpoints_n; i++)
			if (text_eq(w->request.endpoints[i].network, name))
				return true;
	}
	return false;
}

void engine_network_prune(struct user *u, const struct filters *f, engine_pruned *done, void *ctx)
{
	struct pruning *p = mem_new(struct pruning);
	struct network *n = NULL, *next;
	int64_t until = 0;

	p->done = done;
	p->ctx = ctx;
	p->names = mem_new_array(char *, 1);
	if (filters_check(f, known, &p->error) >= 0 &&
	    filter_until(f, u->engine->world, &until, &p->error) >= 0)
		n = network_next(u->engine->net, NULL);
	for (; n; n = next) {
		const struct network_spec *s = network_spec(n);
		auto_free char *name = mem_dup_text(s->name);
		int64_t made = 0;
		struct err ignored = {0};

		next = network_next(u->engine->net, n);
		if (s->created)
			(void)!rfc3339_parse(s->created, &made, &ignored);
		if (builtin(s) || !passes(u, n, f) || (until && made > until) ||
		    network_endpoint_next(u->engine->net, n, NULL) ||
		    wanted_by_a_container(u->engine, name))
			continue;
		if (remove_network(u, n, NULL, NULL, &ignored) >= 0)
			mem_append_text(&p->names, name);
	}
	record_barrier(u->engine->records, pruned, p);
}
