/*
 * The three files of /etc that a container gets from us: hosts, hostname, resolv.conf. They lie in
 * its directory and are bound over the image's; a container may edit them, a new start writes them
 * anew.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "engine/engine_priv.h"

#define HOST_RESOLV_MAX (64 << 10)

static int write_file(struct workload *w, const char *name, struct str text, struct err *e)
{
	auto_free char *path = mem_printf("%s/%s", w->dir, name);
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0 || write(fd, text.p, text.n) != (ssize_t)text.n)
		return err_sys(e, "cannot write '%s'", path);
	return 0;
}

static void read_host_resolv(struct strbuf *out)
{
	auto_close int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
	char buf[4096];
	ssize_t n;

	while (fd >= 0 && out->n < HOST_RESOLV_MAX && (n = read(fd, buf, sizeof(buf))) > 0)
		strbuf_add(out, buf, (size_t)n);
}

/* On the default bridge links are lines of the hosts file: "address  alias name id". */
static struct json_pair *link_hosts(struct workload *w, struct arena *a)
{
	char **links = w->request.host.links;
	size_t n = 0;
	struct json_pair *pairs = arena_new_array(a, struct json_pair, mem_count_texts(links) + 1);

	for (; links && *links; links++) {
		struct str rest = str_of(*links), name;
		struct workload *other;
		struct err ignored = {0};
		char *ref;

		(void)str_cut(&rest, ':', &name);
		ref = arena_dup(a, name);
		if (workload_find(&w->engine->users[w->owner], ref, &other, &ignored) < 0 ||
		    !other->plugs_n)
			continue;
		pairs[n].key =
			arena_dup_text(a, network_endpoint_info(other->plugs[0].endpoint)->ipv4);
		pairs[n++].value = arena_printf(a, "%.*s %s %.12s", (int)(rest.n ? rest.n : name.n),
						rest.n ? rest.p : name.p, other->name, other->id);
	}
	return n ? pairs : NULL;
}

static const char *host_gateway(struct workload *w)
{
	struct network *n;
	struct err ignored = {0};

	for (size_t i = 0; i < w->plugs_n; i++) {
		const struct network_endpoint_info *info =
			network_endpoint_info(w->plugs[i].endpoint);

		if (info->gateway4[0])
			return info->gateway4;
	}
	if (network_find(w->engine->net, "bridge", &n, &ignored) >= 0 && network_spec(n)->subnets_n)
		return network_spec(n)->subnets[0].gateway;
	return NULL;
}

static char *const *unless_empty(char *const *list)
{
	return list && list[0] ? list : NULL;
}

/* Addresses it has now, and whether a network of it has names. */
static const char *const *own_addresses(struct workload *w, struct network_files *f,
					struct arena *a)
{
	const char **ips = arena_new_array(a, const char *, 2 * w->plugs_n + 1);
	size_t n = 0;

	for (size_t i = 0; i < w->plugs_n; i++) {
		const struct network_endpoint_info *info =
			network_endpoint_info(w->plugs[i].endpoint);

		if (info->ipv4[0])
			ips[n++] = info->ipv4;
		if (info->ipv6[0])
			ips[n++] = info->ipv6;
		f->embedded_dns = f->embedded_dns ||
				  network_has_names(network_endpoint_network(w->plugs[i].endpoint));
	}
	return n ? ips : NULL;
}

int plug_write_files(struct workload *w, struct err *e)
{
	const struct host_config *h = &w->request.host;
	const struct container_config *c = &w->request.config;
	auto_arena struct arena a = {0};
	auto_strbuf struct strbuf hosts = {0}, resolv = {0}, host_resolv = {0}, name = {0};
	struct network_files f = {
		.host_network = text_eq(h->network_mode, "host"),
		.dns = unless_empty(h->dns),
		.dns_search = unless_empty(h->dns_search),
		.dns_options = unless_empty(h->dns_options),
		.hostname = c->hostname,
		.domainname = c->domainname && *c->domainname ? c->domainname : NULL,
		.extra_hosts = h->extra_hosts,
		.host_gateway = host_gateway(w),
		.link_hosts = link_hosts(w, &a),
	};

	if (!f.dns)
		f.dns = unless_empty(w->engine->dns);
	f.ips = own_addresses(w, &f, &a);
	read_host_resolv(&host_resolv);
	if (network_resolv_text(&f, strbuf_str(&host_resolv), &resolv, e) < 0 ||
	    network_hosts_text(&f, &hosts, e) < 0)
		return -ERR_INVALID;
	strbuf_printf(&name, "%s\n", c->hostname);
	if (write_file(w, "hosts", strbuf_str(&hosts), e) < 0 ||
	    write_file(w, "resolv.conf", strbuf_str(&resolv), e) < 0 ||
	    write_file(w, "hostname", strbuf_str(&name), e) < 0)
		return -ERR_SYSTEM;
	return 0;
}
