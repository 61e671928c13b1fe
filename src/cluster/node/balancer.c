/*
 * Addresses of load balancers: services of type LoadBalancer get one of the pool, written into
 * their status; who is no such service any more loses it. What was given before a restart is read
 * from the services themselves, so that nothing is kept here.
 *
 * A class (spec.loadBalancerClass) asks for somebody else's balancer: such a service is left alone.
 */
#include <stdio.h>
#include <string.h>

#include "cluster/node/services_priv.h"
#include "ground/base/log.h"
#include "ground/base/map.h"
#include "ground/base/mem.h"

#define SEARCH_MAX 65536 /* addresses looked at for a free one */

struct balancer {
	const struct client *client;
	struct ip_net pool;
	struct ip next;
	struct map holders; /* address -> the key of the service that has it */
	struct map has;	    /* key -> address */
};

struct balancer *balancer_new(const struct client *client, const char *pool, struct err *e)
{
	struct balancer *b = mem_new(struct balancer);

	b->client = client;
	if (ip_net_parse(str_of(pool), "pool of load balancers' addresses", &b->pool, e) < 0) {
		free(b);
		return NULL;
	}
	b->pool.ip = ip_net_base(&b->pool);
	b->next = b->pool.ip;
	return b;
}

struct balancer *balancer_free(struct balancer *b)
{
	if (!b)
		return NULL;
	map_each (&b->holders, it)
		free(it->value);
	map_each (&b->has, it)
		free(it->value);
	map_done(&b->holders);
	map_done(&b->has);
	free(b);
	return NULL;
}

/* ---- who has what ---- */

static void release(struct balancer *b, const char *key)
{
	char *had = map_remove(&b->has, key);

	if (had)
		free(map_remove(&b->holders, had));
	free(had);
}

static void hold(struct balancer *b, const char *key, const char *address)
{
	release(b, key);
	free(map_put(&b->holders, address, mem_dup_text(key)));
	(void)map_put(&b->has, key, mem_dup_text(address));
}

/* The address of the pool that its status says, or NULL. */
static const char *told(const struct balancer *b, const struct json *service)
{
	const struct json *list =
		json_get(json_get(json_get(service, "status"), "loadBalancer"), "ingress");

	for (size_t i = 0; i < json_len(list); i++) {
		const char *text = json_get_text(json_at(list, i), "ip");
		struct ip ip;

		if (text && ip_parse(str_of(text), "address", &ip, NULL) == 0 &&
		    ip_in(&ip, &b->pool))
			return text;
	}
	return NULL;
}

static bool is_ours(const struct json *service)
{
	const struct json *spec = json_get(service, "spec");
	const char *class = json_get_text(spec, "loadBalancerClass");

	return text_eq(json_get_text(spec, "type"), "LoadBalancer") && (!class || !*class);
}

void balancer_known(struct balancer *b, const char *key, const struct json *service)
{
	const char *address = is_ours(service) ? told(b, service) : NULL;

	if (address && !map_get(&b->holders, address))
		hold(b, key, address);
}

/* ---- choosing ---- */

/* The first and the last address of a net of four or more are no host's. */
static bool usable(const struct balancer *b, const struct ip *ip)
{
	struct ip last = ip_net_last(&b->pool);
	bool edge = ip_eq(ip, &b->pool.ip) || ip_eq(ip, &last);

	return !(edge && b->pool.bits < ip->n * 8 - 1) && !map_get(&b->holders, ip_text(ip).t);
}

static bool choose_wanted(struct balancer *b, const char *wanted, struct ip *ret)
{
	return ip_parse(str_of(wanted), "address", ret, NULL) == 0 && ip_in(ret, &b->pool) &&
	       usable(b, ret);
}

/* Going round, so that an address just given back rests. */
static bool choose(struct balancer *b, struct ip *ret)
{
	struct ip first = b->next;

	for (int i = 0; i < SEARCH_MAX; i++) {
		struct ip ip = b->next;

		b->next = ip_plus(ip, 1);
		if (!ip_in(&b->next, &b->pool))
			b->next = b->pool.ip;
		if (usable(b, &ip)) {
			*ret = ip;
			return true;
		}
		if (ip_eq(&b->next, &first))
			break;
	}
	return false;
}

/* ---- writing ---- */

static void written(void *ctx, const struct outcome *o)
{
	(void)ctx;
	if (o->error)
		log_warn("the status of a load balancer was not written: %s", o->error->text);
}

/* Sets or (NULL) empties status.loadBalancer. The next change of the service is looked at again. */
static void write_status(struct balancer *b, const struct object *service, const char *address)
{
	struct json *patch = json_new_object(), *status = json_new_object();
	struct json *balancer = json_new_object(), *list = NULL, *one;

	if (address) {
		list = json_new_array();
		one = json_new_object();
		json_set_text(one, "ip", address);
		json_set_text(one, "ipMode", "VIP");
		json_append(list, one);
	}
	json_set(balancer, "ingress", list);
	json_set(status, "loadBalancer", balancer);
	json_set(patch, "status", status);
	client_patch(b->client,
		     &(struct client_target){.kind = service->kind,
					     .namespace = service->namespace,
					     .name = service->name,
					     .sub = "status"},
		     PATCH_MERGE, patch, NULL, written, NULL);
}

/* No load balancer of ours any more: the address is free, and gone from the status. */
static void take_back(struct balancer *b, const char *key, const struct object *service)
{
	release(b, key);
	if (service && !service->deleting && told(b, object_tree(service)))
		write_status(b, service, NULL);
}

static void give(struct balancer *b, const char *key, const struct object *service)
{
	const char *wanted =
		json_get_text(json_get(object_tree(service), "spec"), "loadBalancerIP");
	bool asks = wanted && *wanted;
	struct ip ip;

	if (asks ? !choose_wanted(b, wanted, &ip) : !choose(b, &ip)) {
		log_warn("service '%s' gets no address: %s of pool '%s'", key,
			 asks ? "the one it asks for is not a free one" : "none is left",
			 ip_net_text(&b->pool).t);
		return;
	}
	hold(b, key, ip_text(&ip).t);
	write_status(b, service, ip_text(&ip).t);
}

void balancer_look(struct balancer *b, const char *key, const struct object *service)
{
	const char *has = map_get(&b->has, key);

	if (!service || service->deleting || !is_ours(object_tree(service)))
		take_back(b, key, service);
	else if (!has)
		give(b, key, service);
	else if (!text_eq(has, told(b, object_tree(service))))
		write_status(b, service, has);
}
