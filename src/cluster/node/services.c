/*
 * From the views of Services and EndpointSlices to one transaction per turn of the loop. See
 * services.h; what a service is made into stands in service_rules.c and names.c.
 */
#include "cluster/node/services.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "cluster/node/services_priv.h"
#include "cluster/objects/informer.h"
#include "ground/base/log.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"
#include "ground/wire/loop.h"

#define SERVICE_LABEL "kubernetes.io/service-name"
#define API_SERVICE   "default/kubernetes"

/* What is known of one service; the objects themselves stay the informers'. */
struct known {
	char *key;
	struct map slices; /* keys of its slices */
	bool dirty;
};

struct node_services {
	struct node_services_options o;
	char *node, *domain;
	char **dns;
	struct network_service_endpoint api; /* port 0: none is known */
	struct informers *informers;
	struct informer *services, *slices;
	struct balancer *balancer; /* NULL: no pool */
	struct map known;	   /* key -> struct known */
	struct known **dirty;
	size_t dirty_n, dirty_room;
	bool settled; /* everything was told once */
	bool waiting; /* flush() is deferred */
};

static void flush(void *arg);

/* ---- what changed ---- */

static struct known *known_of(struct node_services *s, const char *key)
{
	struct known *k = map_get(&s->known, key);

	if (!k) {
		k = mem_new(struct known);
		k->key = mem_dup_text(key);
		(void)map_put(&s->known, key, k);
	}
	return k;
}

static void known_free(struct known *k)
{
	map_done(&k->slices);
	free(k->key);
	free(k);
}

static void mark(struct node_services *s, struct known *k)
{
	if (!k->dirty) {
		k->dirty = true;
		/* pointers are what is kept: NOLINTNEXTLINE(bugprone-sizeof-expression) */
		mem_grow(s->dirty, s->dirty_n + 1, s->dirty_room);
		s->dirty[s->dirty_n++] = k;
	}
	if (s->settled && !s->waiting) {
		s->waiting = true;
		loop_defer(s->o.loop, flush, s);
	}
}

static void service_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct node_services *s = ctx;
	char key[OBJECT_KEY_MAX];

	mark(s, known_of(s, object_key(now ? now : before, key)));
}

/* The service that a slice says it belongs to; NULL: none. */
static struct known *owner_of(struct node_services *s, const struct object *slice)
{
	const char *name = slice ? object_label(slice, SERVICE_LABEL) : NULL;
	char key[OBJECT_KEY_MAX];

	if (!name || snprintf(key, sizeof(key), "%s/%s", slice->namespace, name) >= OBJECT_KEY_MAX)
		return NULL;
	return known_of(s, key);
}

static void slice_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct node_services *s = ctx;
	struct known *is = owner_of(s, now), *was = owner_of(s, before);
	char key[OBJECT_KEY_MAX];

	(void)object_key(now ? now : before, key);
	if (was && was != is) {
		(void)map_remove(&was->slices, key);
		mark(s, was);
	}
	if (is) {
		(void)map_put(&is->slices, key, is);
		mark(s, is);
	}
}

/* ---- telling ---- */

/* One turn's services, as they are told. */
struct turn {
	struct arena arena;
	struct network_service *rules;
	const char **gone;
	size_t rules_n, gone_n;
};

/* The trees are held: more may be walked than the objects keep. */
static const struct json *hold_tree(const struct object *o)
{
	return json_ref((struct json *)object_tree(o));
}

static void collect(struct node_services *s, const struct known *k, const struct object *service,
		    struct arena *a, struct service_objects *ret)
{
	const struct json **slices = arena_new_array(a, const struct json *, k->slices.count + 1);

	*ret = (struct service_objects){.key = k->key,
					.namespace = service->namespace,
					.name = service->name,
					.service = hold_tree(service),
					.slices = slices};
	map_each (&k->slices, it) {
		const struct object *slice = informer_get_key(s->slices, it->key);

		if (slice)
			slices[ret->slices_n++] = hold_tree(slice);
	}
}

static void let_go(const struct service_objects *o)
{
	for (size_t i = 0; i < o->slices_n; i++)
		(void)json_free((struct json *)o->slices[i]);
	(void)json_free((struct json *)o->service);
}

/* Names at the address of the name server itself are hull-net's to answer, not rules'. */
static bool is_name_server(const struct node_services *s, const struct network_service *r)
{
	for (size_t i = 0; i < r->addresses_n; i++)
		for (char **at = s->dns; at && *at; at++)
			if (strcmp(ip_text(&r->addresses[i]).t, *at) == 0)
				return true;
	return false;
}

/* The API's own service, which has no pods. */
static void lead_to_api(const struct node_services *s, struct arena *a, struct network_service *r)
{
	struct network_service_port *port;

	if (!s->api.port || strcmp(r->key, API_SERVICE) != 0 || r->ports_n != 1 ||
	    r->ports[0].endpoints_n)
		return;
	port = arena_new(a, struct network_service_port);
	*port = r->ports[0];
	port->endpoints = &s->api;
	port->endpoints_n = 1;
	r->ports = port;
}

static void set_names(struct node_services *s, const char *key, const struct network_record *r,
		      size_t n)
{
	struct err e = {0};

	if (s->dns && network_zone_set(s->o.net, key, r, n, &e) < 0)
		log_error("names of service '%s': %s", key, e.text);
}

static void look_at(struct node_services *s, struct turn *t, struct known *k)
{
	const struct object *service = informer_get_key(s->services, k->key);
	struct network_service *rules = &t->rules[t->rules_n];
	struct network_record *records = NULL;
	struct service_objects o;
	size_t n;

	if (s->balancer)
		balancer_look(s->balancer, k->key, service);
	if (!service) {
		t->gone[t->gone_n++] = k->key;
		set_names(s, k->key, NULL, 0);
		return;
	}
	collect(s, k, service, &t->arena, &o);
	if (service_rules(&o, s->node, &t->arena, rules) && !is_name_server(s, rules)) {
		lead_to_api(s, &t->arena, rules);
		t->rules_n++;
	} else {
		t->gone[t->gone_n++] = k->key;
	}
	n = service_names(&o, s->domain, &t->arena, &records);
	set_names(s, k->key, records, n);
	let_go(&o);
}

static void forget_gone(struct node_services *s, const struct turn *t)
{
	for (size_t i = 0; i < t->gone_n; i++) {
		struct known *k = map_get(&s->known, t->gone[i]);

		if (!k || informer_get_key(s->services, k->key) || k->slices.count)
			continue;
		(void)map_remove(&s->known, k->key);
		known_free(k);
	}
}

static void flush(void *arg)
{
	struct node_services *s = arg;
	struct turn t = {.rules_n = 0};
	struct err e = {0};
	int r;

	s->waiting = false;
	t.rules = mem_new_array(struct network_service, s->dirty_n + 1);
	t.gone = mem_new_array(const char *, s->dirty_n + 1);
	for (size_t i = 0; i < s->dirty_n; i++) {
		s->dirty[i]->dirty = false;
		look_at(s, &t, s->dirty[i]);
	}
	s->dirty_n = 0;
	if (s->settled)
		r = network_services_change(s->o.net, t.rules, t.rules_n, t.gone, t.gone_n, &e);
	else
		r = network_services_set(s->o.net, t.rules, t.rules_n, &e);
	if (r < 0)
		log_error("services: %s", e.text);
	forget_gone(s, &t);
	arena_done(&t.arena);
	free(t.rules);
	free(t.gone);
}

static bool know_balanced(void *ctx, const struct object *o)
{
	struct node_services *s = ctx;
	char key[OBJECT_KEY_MAX];

	balancer_known(s->balancer, object_key(o, key), object_tree(o));
	return true;
}

static void synced(void *ctx)
{
	struct node_services *s = ctx;

	if (s->balancer)
		informer_each(s->services, NULL, know_balanced, s);
	flush(s);
	s->settled = true;
	if (s->dns)
		network_zone_settled(s->o.net);
}

/* ---- birth and death ---- */

static int open_zone(struct node_services *s, struct err *e)
{
	const struct network_zone_options o = {.domain = s->domain,
					       .addresses = (const char *const *)s->dns};

	return s->dns && *s->dns ? network_zone_open(s->o.net, &o, e) : 0;
}

/* "127.0.0.1:6443"; an address that stands for all of them is the loopback's. */
static int read_api(struct node_services *s, const char *text, struct err *e)
{
	static const uint8_t any[16];
	const char *colon = text ? strrchr(text, ':') : NULL;
	uint32_t port = 0;
	int r;

	if (!text)
		return 0;
	if (!colon)
		return err_set(e, ERR_INVALID, "invalid address '%s' of the API", text);
	r = ip_parse((struct str){text, (size_t)(colon - text)}, "address of the API", &s->api.ip,
		     e);
	if (r == 0)
		r = parse_u32(str_of(colon + 1), "port of the API", &port, e);
	if (r == 0 && memcmp(s->api.ip.b, any, sizeof(any)) == 0)
		r = ip_parse(str_of(s->api.ip.n == 4 ? "127.0.0.1" : "::1"), "loopback", &s->api.ip,
			     e);
	s->api.port = (uint16_t)port;
	s->api.local = true;
	return r;
}

int node_services_new(const struct node_services_options *o, struct node_services **ret,
		      struct err *e)
{
	struct node_services *s = mem_new(struct node_services);
	int r = 0;

	assert(o->loop && o->client && o->net && o->node && o->domain);
	s->o = *o;
	s->node = mem_dup_text(o->node);
	s->domain = mem_dup_text(o->domain);
	s->dns = o->dns && *o->dns ? mem_dup_texts((char *const *)o->dns) : NULL;
	if (o->pool) {
		s->balancer = balancer_new(o->client, o->pool, e);
		r = s->balancer ? 0 : -ERR_INVALID;
	}
	if (r == 0)
		r = read_api(s, o->api, e);
	if (r == 0)
		r = open_zone(s, e);
	if (r < 0) {
		(void)node_services_free(s);
		return r;
	}
	s->informers = informers_new(o->loop, o->client);
	s->services = informer_of(s->informers, kind_of_resource("", "v1", "services"));
	s->slices = informer_of(s->informers,
				kind_of_resource("discovery.k8s.io", "v1", "endpointslices"));
	informer_on(s->services, service_changed, s);
	informer_on(s->slices, slice_changed, s);
	informers_on_synced(s->informers, synced, s);
	*ret = s;
	return 0;
}

struct node_services *node_services_free(struct node_services *s)
{
	if (!s)
		return NULL;
	loop_defer_cancel(s->o.loop, flush, s);
	if (s->informers)
		s->informers = informers_free(s->informers);
	map_each (&s->known, it)
		known_free(it->value);
	map_done(&s->known);
	s->balancer = balancer_free(s->balancer);
	free(s->dirty);
	free(s->node);
	free(s->domain);
	s->dns = mem_free_texts(s->dns);
	free(s);
	return NULL;
}
