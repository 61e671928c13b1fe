/*
 * The host: opening, the list of networks, and reconciliation, which lays everything that was
 * loaded onto a host in whatever state.
 */
#include <netinet/in.h> /* before linux/in.h, which defers to it */

#include <assert.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "virt/network/network_priv.h"

#define FNV_BASIS 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

/* ---- opening ---- */

/* FNV-1a, 64 bits: stable over releases, since bridges outlive the daemon. */
static uint64_t hash_path(const char *path)
{
	uint64_t h = FNV_BASIS;

	for (; *path; path++)
		h = (h ^ (uint8_t)*path) * FNV_PRIME;
	return h;
}

int network_host_open(const struct network_host_options *o, struct network_host **ret,
		      struct err *e)
{
	auto_free char *real = realpath(o->root, NULL);
	struct network_host *h;
	int r;

	assert(o->world && (!o->net_program || o->loop));
	if (!real)
		return err_sys(e, "cannot resolve the root '%s'", o->root);
	h = mem_new(struct network_host);
	h->root = take(real);
	h->run = mem_dup_text(o->run);
	h->seed = hash_path(h->root);
	(void)snprintf(h->tag, sizeof(h->tag), "%04x",
		       (unsigned int)((h->seed ^ h->seed >> 16 ^ h->seed >> 32) & 0xffff));
	(void)snprintf(h->table, sizeof(h->table), "hull-%s", h->tag);
	h->world = o->world;
	h->loop = o->loop;
	h->names_wanted = o->names_wanted;
	h->ctx = o->ctx;
	h->nft_fd = h->nft_events = -1;
	h->netlink.fd = -1;
	list_init(&h->networks);
	list_init(&h->endpoints);
	r = pool_read(o->pools, &h->pools, &h->pools_n, e);
	if (r == 0)
		r = netlink_open(&h->netlink, e);
	if (r == 0)
		r = nft_socket_open(&h->nft_fd, e);
	if (r == 0 && h->loop)
		r = rules_watch(h, e);
	if (r == 0 && o->net_program)
		r = names_open(h, o->net_program, e);
	if (r < 0) {
		(void)network_host_free(h);
		return err_wrap(e, "cannot open the host's network");
	}
	*ret = h;
	return 0;
}

void network_free(struct network *n)
{
	if (!list_empty(&n->link)) {
		list_remove(&n->link);
		n->host->networks_n--;
	}
	map_done(&n->taken);
	arena_done(&n->arena);
	free(n);
}

struct network_host *network_host_free(struct network_host *h)
{
	if (!h)
		return NULL;
	h->names = names_free(h->names);
	rules_unwatch(h);
	h->services = services_free(h->services);
	h->zone = zone_told_free(h->zone);
	list_each (&h->endpoints, struct network_endpoint, link, ep)
		endpoint_free(ep);
	list_each (&h->networks, struct network, link, n)
		network_free(n);
	h->pods = pods_free(h->pods);
	netlink_close(&h->netlink);
	(void)fd_close(h->nft_fd);
	free(h->pools);
	free(h->root);
	free(h->run);
	free(h);
	return NULL;
}

const char *network_host_tag(const struct network_host *h)
{
	return h->tag;
}

int network_host_clear(struct network_host *h, struct err *e)
{
	auto_nft struct nft *t = nft_new(NFPROTO_INET, h->table);
	int r;

	rules_unwatch(h);
	if (h->names)
		names_stop(h->names);
	h->zone = zone_told_free(h->zone);
	list_each (&h->endpoints, struct network_endpoint, link, ep)
		endpoint_free(ep);
	list_each (&h->networks, struct network, link, n) {
		if (bridge_remove(n, e) < 0 && e)
			log_warn("%s", e->text);
		network_free(n);
	}
	nft_add_table(t, NULL);
	nft_delete_table(t);
	h->laid = false;
	r = pods_clear(h, e);
	if (r == 0)
		r = bridge_sweep(h, e);
	if (r < 0)
		return r;
	return nft_commit(t, h->nft_fd, e);
}

/* ---- reconciliation ---- */

/* Keeps the first failure in *e and goes on. */
static void note(int r, const struct err *now, int *ret, struct err *e)
{
	if (r >= 0)
		return;
	log_error("%s", now->text);
	if (*ret == 0) {
		*ret = r;
		if (e)
			*e = *now;
	}
}

int network_reconcile(struct network_host *h, struct err *e)
{
	struct err now = {0};
	int result = 0;

	list_each (&h->networks, struct network, link, n)
		if (n->driver == DRIVER_BRIDGE)
			note(bridge_lay(n, &now), &now, &result, e);
	if (h->pods)
		note(pods_lay(h, &now), &now, &result, e);
	note(bridge_sweep(h, &now), &now, &result, e);
	note(rules_lay(h, &now), &now, &result, e);
	if (h->names)
		names_sync(h->names);
	return result;
}

/* ---- networks ---- */

struct network *network_new(struct network_host *h)
{
	struct network *n = mem_new(struct network);

	n->host = h;
	list_init(&n->link);
	return n;
}

static void enter(struct network *n)
{
	list_append(&n->host->networks, &n->link);
	n->host->networks_n++;
}

static int check_unique(struct network *n, struct err *e)
{
	list_each (&n->host->networks, struct network, link, other) {
		if (strcmp(other->spec.name, n->spec.name) == 0 ||
		    strcmp(other->spec.id, n->spec.id) == 0)
			return err_set(e, ERR_EXISTS, "network with name %s already exists",
				       n->spec.name);
		if (n->driver == DRIVER_BRIDGE && other->driver == DRIVER_BRIDGE &&
		    strcmp(other->bridge, n->bridge) == 0)
			return err_set(e, ERR_CONFLICT, "bridge '%s' is network '%s' already",
				       n->bridge, other->spec.name);
		if (n->driver != DRIVER_BRIDGE && other->driver == n->driver)
			return err_set(e, ERR_FORBIDDEN,
				       "only one instance of \"%s\" network is allowed",
				       n->spec.driver);
	}
	if (n->host->networks_n >= NETWORK_NETWORKS_MAX)
		return err_set(e, ERR_EXHAUSTED, "there are %d networks already: remove one first",
			       NETWORK_NETWORKS_MAX);
	return 0;
}

static int lay(struct network *n, struct err *e)
{
	struct err undo = {0};
	int r = bridge_lay(n, e);

	if (r == 0) {
		enter(n);
		r = rules_network(n, true, e);
	}
	if (r < 0 && n->index && bridge_remove(n, &undo) < 0)
		log_warn("%s", undo.text);
	return r;
}

int network_create(struct network_host *h, const struct network_spec *spec, struct network **ret,
		   struct err *e)
{
	struct network *n = network_new(h);
	int r;

	r = spec_take(n, spec, e);
	if (r == 0)
		r = check_unique(n, e);
	if (r == 0 && n->driver == DRIVER_BRIDGE) {
		r = pool_choose(n, e);
		if (r == 0)
			r = lay(n, e);
	} else if (r == 0) {
		enter(n);
	}
	if (r < 0) {
		network_free(n);
		return r;
	}
	n->loaded = true; /* from now on its bridge may be there */
	*ret = n;
	return 0;
}

int network_load(struct network_host *h, const struct json *record, struct network **ret,
		 struct err *e)
{
	struct network *n = network_new(h);
	int r;

	n->loaded = true;
	r = spec_take_record(n, record, e);
	if (r == 0)
		r = check_unique(n, e);
	if (r == 0 && n->driver == DRIVER_BRIDGE)
		r = pool_choose(n, e);
	if (r < 0) {
		network_free(n);
		return r;
	}
	enter(n);
	*ret = n;
	return 0;
}

struct json *network_encode(const struct network *n)
{
	return spec_encode(&n->spec);
}

int network_remove(struct network_host *h, struct network *n, struct err *e)
{
	int r = 0;

	assert(n->host == h);
	if (n->spec.default_bridge || n->driver != DRIVER_BRIDGE)
		return err_set(e, ERR_FORBIDDEN,
			       "%s is a pre-defined network and cannot be removed", n->spec.name);
	list_each (&h->endpoints, struct network_endpoint, link, ep)
		if (ep->network == n)
			return err_set(e, ERR_CONFLICT,
				       "network %s has active endpoints: container '%s' is on it",
				       n->spec.name, ep->name);
	r = rules_network(n, false, e);
	if (r == 0)
		r = bridge_remove(n, e);
	if (r < 0)
		return r;
	network_free(n);
	return 0;
}

const struct network_spec *network_spec(const struct network *n)
{
	return &n->spec;
}

int network_find(struct network_host *h, const char *id_or_name, struct network **ret,
		 struct err *e)
{
	size_t len = strlen(id_or_name);
	struct network *by_name = NULL, *by_prefix = NULL;
	int prefixes = 0;

	list_each (&h->networks, struct network, link, n) {
		if (strcmp(n->spec.id, id_or_name) == 0) {
			*ret = n;
			return 0;
		}
		if (strcmp(n->spec.name, id_or_name) == 0)
			by_name = n;
		if (len && len < 64 && strncmp(n->spec.id, id_or_name, len) == 0) {
			by_prefix = n;
			prefixes++;
		}
	}
	if (!by_name && prefixes > 1)
		return err_set(e, ERR_INVALID, "network id prefix '%s' is ambiguous: %d begin so",
			       id_or_name, prefixes);
	if (!by_name && !by_prefix)
		return err_set(e, ERR_NOT_FOUND, "network %s not found", id_or_name);
	*ret = by_name ? by_name : by_prefix;
	return 0;
}

struct network *network_next(struct network_host *h, const struct network *n)
{
	struct list *at = n ? n->link.next : h->networks.next;

	return at == &h->networks ? NULL : container_of(at, struct network, link);
}
