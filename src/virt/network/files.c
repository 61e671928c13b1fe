/*
 * The files through which a container knows names: /etc/resolv.conf and /etc/hosts, as texts.
 */
#include <stdio.h>
#include <string.h>

#include "ground/base/ip.h"
#include "ground/base/mem.h"
#include "virt/network/network_priv.h"

#define RESOLV_BYTES_MAX 65536

/* ---- resolv.conf ---- */

/* Does a line of the host's file go over? Replaced keywords do not, loopback servers cannot. */
static bool keep_line(const struct network_files *f, struct str line)
{
	struct str rest = str_trim(line), word;
	struct ip ip;

	if (rest.n == 0 || rest.p[0] == '#' || rest.p[0] == ';')
		return false;
	for (word = rest, word.n = 0; word.n < rest.n && !strchr(" \t", rest.p[word.n]);)
		word.n++;
	rest = str_trim((struct str){rest.p + word.n, rest.n - word.n});
	if (str_is(word, "search") || str_is(word, "domain"))
		return !f->dns_search;
	if (str_is(word, "options"))
		return !f->dns_options;
	if (!str_is(word, "nameserver"))
		return true;
	if (f->dns || f->embedded_dns)
		return false;
	return f->host_network || ip_parse(rest, "nameserver", &ip, NULL) < 0 ||
	       !ip_is_loopback(&ip);
}

static void put_words(struct strbuf *out, const char *keyword, char *const *words)
{
	size_t n = 0;

	for (; words && words[n]; n++)
		strbuf_printf(out, "%s %s", n ? "" : keyword, words[n]);
	if (n)
		strbuf_add_char(out, '\n');
}

static int check_words(char *const *words, const char *what, struct err *e)
{
	for (; words && *words; words++)
		if (!**words || strpbrk(*words, " \t\r\n"))
			return err_set(e, ERR_INVALID, "invalid %s '%.80s'", what, *words);
	return 0;
}

static int check_resolv(const struct network_files *f, struct err *e)
{
	int r = check_words(f->dns_search, "DNS search domain", e);
	struct ip ip;

	if (r == 0)
		r = check_words(f->dns_options, "DNS option", e);
	for (char *const *s = f->dns; r == 0 && s && *s; s++)
		r = ip_parse(str_of(*s), "DNS server", &ip, e);
	return r;
}

int network_resolv_text(const struct network_files *f, struct str host_text, struct strbuf *out,
			struct err *e)
{
	static char *const dot[] = {".", NULL};
	struct str rest = host_text, line;
	int r;

	if (host_text.n > RESOLV_BYTES_MAX)
		return err_set(e, ERR_INVALID, "the host's resolv.conf is longer than %d bytes",
			       RESOLV_BYTES_MAX);
	r = check_resolv(f, e);
	if (r < 0)
		return r;
	if (f->embedded_dns)
		strbuf_add_text(out, "nameserver 127.0.0.11\n");
	else
		for (char *const *s = f->dns; s && *s; s++)
			strbuf_printf(out, "nameserver %s\n", *s);
	while (str_cut(&rest, '\n', &line))
		if (keep_line(f, line))
			strbuf_printf(out, "%.*s\n", (int)line.n, line.p);
	/* "--dns-search ." asks for none */
	if (f->dns_search && !(f->dns_search[0] && text_eq(f->dns_search[0], dot[0])))
		put_words(out, "search", f->dns_search);
	put_words(out, "options", f->dns_options);
	if (f->embedded_dns && !f->dns_options)
		strbuf_add_text(out, "options ndots:0\n");
	return 0;
}

/* ---- hosts ---- */

static int put_extra(const struct network_files *f, const char *extra, struct strbuf *out,
		     struct err *e)
{
	const char *colon = strchr(extra, ':'), *equal = strchr(extra, '=');
	const char *sep = equal && (!colon || equal < colon) ? equal : colon;
	struct str name, address;
	struct ip ip;
	int r;

	if (!sep || sep == extra)
		return err_set(e, ERR_INVALID, "invalid extra host '%.120s': expected NAME:ADDRESS",
			       extra);
	name = (struct str){extra, (size_t)(sep - extra)};
	address = str_of(sep + 1);
	if (memchr(name.p, '\n', name.n) || memchr(name.p, ' ', name.n))
		return err_set(e, ERR_INVALID, "invalid extra host '%.120s': a space in the name",
			       extra);
	if (str_is(address, "host-gateway"))
		address = str_of(f->host_gateway ? f->host_gateway : "");
	if (address.n > 2 && address.p[0] == '[' && address.p[address.n - 1] == ']')
		address = (struct str){address.p + 1, address.n - 2};
	r = ip_parse(address, "address of an extra host", &ip, e);
	if (r == 0)
		strbuf_printf(out, "%s\t%.*s\n", ip_text(&ip).t, (int)name.n, name.p);
	return r;
}

int network_hosts_text(const struct network_files *f, struct strbuf *out, struct err *e)
{
	strbuf_add_text(out, "127.0.0.1\tlocalhost\n"
			     "::1\tlocalhost ip6-localhost ip6-loopback\n"
			     "fe00::\tip6-localnet\n"
			     "ff00::\tip6-mcastprefix\n"
			     "ff02::1\tip6-allnodes\n"
			     "ff02::2\tip6-allrouters\n");
	for (char *const *x = f->extra_hosts; x && *x; x++) {
		int r = put_extra(f, *x, out, e);

		if (r < 0)
			return r;
	}
	for (const struct json_pair *p = f->link_hosts; p && p->key; p++)
		strbuf_printf(out, "%s\t%s\n", p->key, p->value);
	for (const char *const *ip = f->ips; ip && *ip && f->hostname; ip++) {
		if (f->domainname && *f->domainname)
			strbuf_printf(out, "%s\t%s.%s %s\n", *ip, f->hostname, f->domainname,
				      f->hostname);
		else
			strbuf_printf(out, "%s\t%s\n", *ip, f->hostname);
	}
	return 0;
}
