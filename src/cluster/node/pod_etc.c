/*
 * The files of /etc that a pod's containers share: resolv.conf by its DNS policy and config, hosts
 * with its own name and its aliases, hostname. They are written once, when the pod has its address;
 * a container may change them for all of its pod.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

#define OPTIONS_NDOTS "ndots:5" /* names of services have up to four dots less one */

/* Whether names are asked of the cluster: the host's own network has the host's names. */
static bool asks_cluster(const struct pod *p, const struct json *spec)
{
	const char *policy = json_get_text(spec, "dnsPolicy");
	bool host = json_get_bool(spec, "hostNetwork", false);

	if (!p->agent->o.dns_ip || text_eq(policy, "Default") || text_eq(policy, "None"))
		return false;
	return !host || text_eq(policy, "ClusterFirstWithHostNet");
}

static void add_words(struct strbuf *line, const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++)
		strbuf_printf(line, " %s", json_text(json_at(list, i)));
}

/* An option of the pod's own replaces ours of the same name. */
static void add_options(struct strbuf *line, const struct json *list, bool cluster)
{
	bool own = false;

	for (size_t i = 0; i < json_len(list); i++) {
		const char *name = json_get_text(json_at(list, i), "name"),
			   *value = json_get_text(json_at(list, i), "value");

		own = own || text_eq(name, "ndots");
		strbuf_printf(line, " %s%s%s", name ? name : "", value ? ":" : "",
			      value ? value : "");
	}
	if (!own && cluster)
		strbuf_add_text(line, " " OPTIONS_NDOTS);
}

static void host_resolv(struct strbuf *out)
{
	auto_close int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
	char text[4096];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

	if (n > 0)
		strbuf_add(out, text, (size_t)n);
}

/* Of each keyword one line, since the last one counts. */
static void write_resolv(const struct pod *p, const struct json *spec, struct strbuf *out)
{
	const struct json *config = json_get(spec, "dnsConfig"),
			  *servers = json_get(config, "nameservers");
	bool cluster = asks_cluster(p, spec),
	     none = text_eq(json_get_text(spec, "dnsPolicy"), "None");
	auto_strbuf struct strbuf search = {0}, options = {0};

	if (cluster) {
		strbuf_printf(&search, " %s.svc.cluster.local svc.cluster.local cluster.local",
			      p->namespace);
		strbuf_printf(out, "nameserver %s\n", p->agent->o.dns_ip);
	} else if (!none) {
		host_resolv(out);
	}
	for (size_t i = 0; i < json_len(servers); i++)
		strbuf_printf(out, "nameserver %s\n", json_text(json_at(servers, i)));
	add_words(&search, json_get(config, "searches"));
	if (search.n)
		strbuf_printf(out, "search%s\n", strbuf_text(&search));
	add_options(&options, json_get(config, "options"), cluster);
	if (options.n)
		strbuf_printf(out, "options%s\n", strbuf_text(&options));
}

static void write_hosts(const struct pod *p, const struct json *spec, const char *ip,
			struct strbuf *out)
{
	const struct json *list = json_get(spec, "hostAliases");
	const char *hostname = json_get_text(spec, "hostname"),
		   *sub = json_get_text(spec, "subdomain");

	strbuf_add_text(out, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	if (ip[0] && sub && sub[0])
		strbuf_printf(out, "%s\t%s.%s.%s.svc.cluster.local\t%s\n", ip,
			      hostname ? hostname : p->name, sub, p->namespace,
			      hostname ? hostname : p->name);
	else if (ip[0])
		strbuf_printf(out, "%s\t%s\n", ip, hostname && hostname[0] ? hostname : p->name);
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *names = json_get(json_at(list, i), "hostnames");

		strbuf_add_text(out, json_get_text(json_at(list, i), "ip"));
		for (size_t n = 0; n < json_len(names); n++)
			strbuf_printf(out, "\t%s", json_text(json_at(names, n)));
		strbuf_add_char(out, '\n');
	}
}

static int put_file(const struct pod *p, const char *name, struct str text, struct err *e)
{
	auto_free char *path = mem_printf("%s/%s", p->dir, name);
	auto_close int fd = -1;

	if (access(path, F_OK) == 0)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text.p, text.n) != (ssize_t)text.n)
		return err_sys(e, "cannot write '%s'", path);
	return 0;
}

int pod_files(struct pod *p, const struct json *pod, const char *ip, struct err *e)
{
	const struct json *spec = json_get(pod, "spec");
	const char *hostname = json_get_text(spec, "hostname");
	auto_strbuf struct strbuf resolv = {0}, hosts = {0}, name = {0};

	write_resolv(p, spec, &resolv);
	write_hosts(p, spec, ip, &hosts);
	strbuf_printf(&name, "%s\n", hostname && hostname[0] ? hostname : p->name);
	if (put_file(p, "resolv.conf", strbuf_str(&resolv), e) < 0 ||
	    put_file(p, "hosts", strbuf_str(&hosts), e) < 0)
		return -ERR_SYSTEM;
	return put_file(p, "hostname", strbuf_str(&name), e);
}
