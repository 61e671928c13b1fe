/*
 * Credentials: the cluster's authority, the server's certificate, the key that signs tokens, and
 * the administrator's kubeconfig. Each is made when it is missing and renewed when two thirds of
 * its life are over; keys are readable by their owner only. A service account's token says its
 * namespace, name and uid, and is good while an account of this uid exists.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"
#include "ground/format/base64.h"
#include "ground/store/folder.h"
#include "ground/wire/jwt.h"

#define YEAR_S	    (INT64_C(365) * 86400)
#define CA_YEARS    10
#define FILE_MAX    65536
#define NAMES_MAX   64
#define ISSUER	    "https://kubernetes.default.svc.cluster.local"
#define TOKEN_LEAST 600
#define TOKEN_MOST  (INT64_C(365) * 86400)
#define TOKEN_USUAL 3600

/* -- files ------------------------------------------------------------------------------------- */

/* A whole small file; NULL with ret_missing when it is not there. */
static char *read_file(int dir, const char *name, bool *ret_missing, struct err *e)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_free char *text = mem_new_bytes(1, FILE_MAX + 1);
	ssize_t n, at = 0;

	*ret_missing = fd < 0 && errno == ENOENT;
	if (fd < 0) {
		(void)err_sys(e, "cannot open '%s'", name);
		return NULL;
	}
	while ((n = read(fd, text + at, (size_t)(FILE_MAX - at))) > 0)
		at += n;
	if (n < 0) {
		(void)err_sys(e, "cannot read '%s'", name);
		return NULL;
	}
	return take(text);
}

static int load_pair(int dir, const char *name, struct pki_pair *ret, bool *ret_missing,
		     struct err *e)
{
	auto_free char *cert = mem_printf("%s.crt", name), *key = mem_printf("%s.key", name);

	ret->cert_pem = read_file(dir, cert, ret_missing, e);
	if (!ret->cert_pem)
		return -ERR_SYSTEM;
	ret->key_pem = read_file(dir, key, ret_missing, e);
	return ret->key_pem ? 0 : -ERR_SYSTEM;
}

static int save_pair(int dir, const char *name, const struct pki_pair *p, struct err *e)
{
	auto_free char *cert = mem_printf("%s.crt", name), *key = mem_printf("%s.key", name);

	if (folder_put(dir, key, str_of(p->key_pem), 0600, e) < 0)
		return -ERR_SYSTEM;
	return folder_put(dir, cert, str_of(p->cert_pem), 0644, e);
}

/* -- making ------------------------------------------------------------------------------------ */

static int64_t now_s(const struct kube *k)
{
	return world_now_ns(k->world) / 1000000000;
}

static int own_pair(struct kube *k, int dir, const char *name, const char *subject,
		    struct pki_pair *ret, struct err *e)
{
	bool missing = false;

	if (load_pair(dir, name, ret, &missing, e) == 0)
		return 0;
	if (!missing)
		return -ERR_SYSTEM;
	pki_pair_done(ret);
	if (pki_make_ca(subject, now_s(k) - 60, now_s(k) + CA_YEARS * YEAR_S, ret, e) < 0)
		return -ERR_INTERNAL;
	return save_pair(dir, name, ret, e);
}

static char *names_text(char *const *names)
{
	auto_strbuf struct strbuf out = {0};

	for (size_t i = 0; names && names[i]; i++)
		strbuf_printf(&out, "%s\n", names[i]);
	return mem_dup_text(strbuf_text(&out));
}

/* Whether it was issued for other names: the address to listen on may have been changed. */
static bool names_differ(int dir, const char *name, char *const *names)
{
	auto_free char *file = mem_printf("%s.names", name), *now = names_text(names);
	auto_free char *then = NULL;
	bool missing = false;
	struct err e;

	if (!names)
		return false;
	then = read_file(dir, file, &missing, &e);
	return !text_eq(then, now);
}

static int save_names(int dir, const char *name, char *const *names, struct err *e)
{
	auto_free char *file = mem_printf("%s.names", name), *now = names_text(names);

	return names ? folder_put(dir, file, str_of(now), 0644, e) : 0;
}

/* A certificate that the authority vouches for, renewed when that is due. 1: it is a new one. */
static int issued_pair(struct kube *k, int dir, const char *name, struct pki_request *q,
		       struct pki_pair *ret, struct err *e)
{
	auto_pki_pair struct pki_pair pair = {0};
	bool missing = false, due = true;
	int bad = load_pair(dir, name, &pair, &missing, e), made = 0;

	if (bad < 0 && !missing)
		return bad;
	if (bad < 0 || pki_renewal_due(pair.cert_pem, now_s(k), &due, e) < 0 || due ||
	    names_differ(dir, name, q->names)) {
		pki_pair_done(&pair);
		q->from_s = now_s(k) - 60;
		q->until_s = now_s(k) + YEAR_S;
		if (pki_issue(&k->ca, q, &pair, e) < 0)
			return -ERR_INTERNAL;
		if (save_pair(dir, name, &pair, e) < 0 || save_names(dir, name, q->names, e) < 0)
			return -ERR_SYSTEM;
		made = 1;
	}
	pki_pair_done(ret);
	*ret = pair;
	pair = (struct pki_pair){0};
	return made;
}

/* The host of "ADDRESS:PORT". */
static char *host_of(const char *address)
{
	struct str rest = str_of(address), host;

	(void)str_cut(&rest, ':', &host);
	return str_dup(host);
}

static bool is_everywhere(const char *address)
{
	return text_starts(address, "0.0.0.0:");
}

/* Adds the machine's own addresses: who listens on all of them is called by any. */
static size_t add_own_addresses(char **names, size_t n, size_t room)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return n;
	for (const struct ifaddrs *a = all; a && n + 1 < room; a = a->ifa_next) {
		char text[INET_ADDRSTRLEN];
		const struct sockaddr_in *in = (const void *)a->ifa_addr;

		if (!in || in->sin_family != AF_INET ||
		    (a->ifa_flags & (IFF_LOOPBACK | IFF_UP)) != IFF_UP)
			continue;
		if (inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)))
			names[n++] = mem_dup_text(text);
	}
	freeifaddrs(all);
	return n;
}

static int server_pair(struct kube *k, int dir, struct err *e)
{
	static const char *const always[] = {"localhost",
					     "127.0.0.1",
					     "::1",
					     "kubernetes",
					     "kubernetes.default",
					     "kubernetes.default.svc",
					     "kubernetes.default.svc.cluster.local"};
	char host[256] = "localhost", *names[NAMES_MAX] = {NULL};
	struct pki_request q = {.name = "kube-apiserver", .names = names, .server = true};
	auto_free char *own = host_of(k->o.address);
	size_t n = 0;
	int made;

	(void)gethostname(host, sizeof(host) - 1);
	for (; n < array_len(always); n++)
		names[n] = mem_dup_text(always[n]);
	names[n++] = mem_dup_text(host);
	if (k->o.service_ip)
		names[n++] = mem_dup_text(k->o.service_ip);
	if (is_everywhere(k->o.address))
		n = add_own_addresses(names, n, array_len(names));
	else if (!text_eq(own, "127.0.0.1") && !text_eq(own, "localhost"))
		names[n++] = mem_dup_text(own);
	assert(n < array_len(names));
	made = issued_pair(k, dir, "server", &q, &k->server, e);
	while (n > 0)
		free(names[--n]);
	return made;
}

static void kubeconfig_text(const struct kube *k, const struct pki_pair *admin, struct strbuf *out)
{
	auto_strbuf struct strbuf ca = {0}, cert = {0}, key = {0};
	bool everywhere = is_everywhere(k->o.address);

	base64_encode(str_of(k->ca.cert_pem), &ca);
	base64_encode(str_of(admin->cert_pem), &cert);
	base64_encode(str_of(admin->key_pem), &key);
	strbuf_printf(out,
		      "apiVersion: v1\nkind: Config\ncurrent-context: hull\n"
		      "clusters:\n- name: hull\n  cluster:\n    server: https://%s%s\n"
		      "    certificate-authority-data: %s\n"
		      "contexts:\n- name: hull\n  context:\n    cluster: hull\n    user: admin\n"
		      "users:\n- name: admin\n  user:\n    client-certificate-data: %s\n"
		      "    client-key-data: %s\n",
		      everywhere ? "127.0.0.1:" : "",
		      k->o.address + (everywhere ? strlen("0.0.0.0:") : 0), strbuf_text(&ca),
		      strbuf_text(&cert), strbuf_text(&key));
}

static int write_kubeconfig(struct kube *k, int dir, struct err *e)
{
	char *groups[] = {"system:masters", NULL};
	struct pki_request q = {.name = "kubernetes-admin", .groups = groups, .client = true};
	auto_pki_pair struct pki_pair admin = {0};
	auto_strbuf struct strbuf text = {0};

	if (issued_pair(k, dir, "admin", &q, &admin, e) < 0)
		return -ERR_INTERNAL;
	kubeconfig_text(k, &admin, &text);
	return folder_put(dir, "kubeconfig", strbuf_str(&text), 0600, e);
}

int credentials_renew(struct kube *k, struct err *e)
{
	auto_close int dir = open(k->o.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int made;

	if (dir < 0)
		return err_sys(e, "cannot open '%s'", k->o.folder);
	made = server_pair(k, dir, e);
	if (made < 0 || write_kubeconfig(k, dir, e) < 0)
		return err_wrap(e, "certificates of the cluster in '%s'", k->o.folder);
	return made;
}

int credentials_open(struct kube *k, struct err *e)
{
	auto_close int dir = -1;

	if (mkdir(k->o.folder, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", k->o.folder);
	dir = open(k->o.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "cannot open '%s'", k->o.folder);
	if (own_pair(k, dir, "ca", "kubernetes", &k->ca, e) < 0 ||
	    own_pair(k, dir, "tokens", "service-accounts", &k->signer, e) < 0)
		return err_wrap(e, "certificates of the cluster in '%s'", k->o.folder);
	return credentials_renew(k, e) < 0 ? -ERR_SYSTEM : 0;
}

/* -- tokens ------------------------------------------------------------------------------------ */

static struct json *named(const char *name, const char *uid)
{
	struct json *j = json_new_object();

	json_set_text(j, "name", name);
	json_set_text(j, "uid", uid);
	return j;
}

static struct json *claims_of(const struct kube *k, const struct object *account,
			      const struct json *spec, int64_t seconds)
{
	struct json *claims = json_new_object(), *kubernetes = json_new_object(), *audience;
	const struct json *asked = json_get(spec, "audiences"), *bound;
	auto_free char *subject =
		mem_printf("system:serviceaccount:%s:%s", account->namespace, account->name);

	if (json_len(asked)) {
		audience = json_copy(asked);
	} else {
		audience = json_new_array();
		json_append(audience, json_new_text(ISSUER));
	}
	json_set(claims, "aud", audience);
	json_set_i64(claims, "exp", now_s(k) + seconds);
	json_set_i64(claims, "iat", now_s(k));
	json_set_i64(claims, "nbf", now_s(k));
	json_set_text(claims, "iss", ISSUER);
	json_set_text(claims, "sub", subject);
	json_set_text(kubernetes, "namespace", account->namespace);
	json_set(kubernetes, "serviceaccount", named(account->name, account->uid));
	bound = json_get(spec, "boundObjectRef");
	if (text_eq(json_get_text(bound, "kind"), "Pod"))
		json_set(kubernetes, "pod",
			 named(json_get_text(bound, "name"), json_get_text(bound, "uid")));
	json_set(claims, "kubernetes.io", kubernetes);
	return claims;
}

/* Before the view of pods is filled nobody's pod is known to be gone. */
static bool pod_lives(const struct kube *k, const char *namespace, const struct json *pod)
{
	const char *name = json_get_text(pod, "name"), *uid = json_get_text(pod, "uid");
	const struct object *o;

	if (!name || !k->pods || !informers_synced(k->informers))
		return true;
	o = informer_get(k->pods, namespace, name);
	return o && (!uid || !uid[0] || text_eq(o->uid, uid));
}

int kube_sign_token(void *arg, const struct object *account, const struct json *spec,
		    struct json **ret_status, struct err *e)
{
	struct kube *k = arg;
	int64_t seconds = json_get_i64(spec, "expirationSeconds", TOKEN_USUAL);
	const struct json *bound = json_get(spec, "boundObjectRef");
	auto_json struct json *claims = NULL;
	auto_strbuf struct strbuf token = {0};
	char until[RFC3339_CHARS + 1];

	assert(k->magic == KUBE_MAGIC);
	if (seconds < TOKEN_LEAST)
		return err_set(e, ERR_INVALID,
			       "TokenRequest.authentication.k8s.io \"\" is invalid: "
			       "spec.expirationSeconds: Invalid value: %lld: may not specify a "
			       "duration less than 10 minutes",
			       (long long)seconds);
	if (text_eq(json_get_text(bound, "kind"), "Pod") &&
	    !pod_lives(k, account->namespace, bound))
		return err_set(e, ERR_NOT_FOUND, "pods \"%s\" not found",
			       json_get_text(bound, "name") ? json_get_text(bound, "name") : "");
	if (seconds > TOKEN_MOST)
		seconds = TOKEN_MOST;
	claims = claims_of(k, account, spec, seconds);
	if (jwt_sign(k->signer.key_pem, claims, &token, e) < 0)
		return -ERR_INTERNAL;
	*ret_status = json_new_object();
	json_set_text(*ret_status, "token", strbuf_text(&token));
	json_set_text(*ret_status, "expirationTimestamp",
		      rfc3339_text((now_s(k) + seconds) * 1000000000, until));
	return 0;
}

const char *const *account_groups(struct arena *a, const char *namespace)
{
	const char **list = arena_new_array(a, const char *, 4);

	list[0] = "system:serviceaccounts";
	list[1] = arena_printf(a, "system:serviceaccounts:%s", namespace);
	list[2] = "system:authenticated";
	return list;
}

int token_identity(struct kube *k, struct str token, const char *audience, struct arena *a,
		   struct identity *ret, struct err *e)
{
	struct jwt_expect expect = {.cert_pem = k->signer.cert_pem,
				    .issuer = ISSUER,
				    .audience = audience ? audience : ISSUER,
				    .now_s = now_s(k)};
	auto_json struct json *claims = NULL;
	const struct json *kubernetes;
	const char *namespace, *name, *uid;

	if (jwt_verify(token, &expect, &claims, e) < 0)
		return -ERR_FORBIDDEN;
	kubernetes = json_get(claims, "kubernetes.io");
	namespace = json_get_text(kubernetes, "namespace");
	name = json_get_text(json_get(kubernetes, "serviceaccount"), "name");
	uid = json_get_text(json_get(kubernetes, "serviceaccount"), "uid");
	if (!namespace || !name || !uid)
		return err_set(e, ERR_FORBIDDEN, "the token names no service account");
	if (!accounts_has(k, namespace, name, uid))
		return err_set(e, ERR_FORBIDDEN,
			       "the service account %s/%s that the token was made for is gone",
			       namespace, name);
	if (!pod_lives(k, namespace, json_get(kubernetes, "pod")))
		return err_set(e, ERR_FORBIDDEN, "the pod that the token was made for is gone");
	ret->user = arena_printf(a, "system:serviceaccount:%s:%s", namespace, name);
	ret->uid = arena_dup_text(a, uid);
	ret->groups = account_groups(a, namespace);
	return 0;
}

void kube_use_informers(struct kube *k, struct informers *informers)
{
	assert(k->magic == KUBE_MAGIC);
	k->informers = informers;
	k->pods = informers ? informer_of(informers, kind_of_resource("", "v1", "pods")) : NULL;
}

const char *kube_ca_pem(const struct kube *k)
{
	return k->ca.cert_pem;
}
