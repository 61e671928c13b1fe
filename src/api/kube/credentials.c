/*
 * Credentials: the cluster's authority, the server's certificate, the key that signs tokens, and
 * the administrator's kubeconfig. Each is made when it is missing and renewed when two thirds of
 * its life are over; keys are readable by their owner only. A service account's token says its
 * namespace, name and uid, and is good while an account of this uid exists.
 */
#include <assert.h>
#include <fcntl.h>
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

/* A certificate that the authority vouches for, renewed when that is due. */
static int issued_pair(struct kube *k, int dir, const char *name, struct pki_request *q,
		       struct pki_pair *ret, struct err *e)
{
	bool missing = false, due = true;
	int bad = load_pair(dir, name, ret, &missing, e);

	if (bad < 0 && !missing)
		return bad;
	if (bad == 0 && pki_renewal_due(ret->cert_pem, now_s(k), &due, e) == 0 && !due)
		return 0;
	pki_pair_done(ret);
	q->from_s = now_s(k) - 60;
	q->until_s = now_s(k) + YEAR_S;
	if (pki_issue(&k->ca, q, ret, e) < 0)
		return -ERR_INTERNAL;
	return save_pair(dir, name, ret, e);
}

static int server_pair(struct kube *k, int dir, struct err *e)
{
	char host[256] = "localhost";
	struct str rest = str_of(k->o.address), address;
	auto_free char *own = NULL;
	char *names[16] = {"localhost",
			   "127.0.0.1",
			   "::1",
			   "kubernetes",
			   "kubernetes.default",
			   "kubernetes.default.svc",
			   "kubernetes.default.svc.cluster.local"};
	struct pki_request q = {.name = "kube-apiserver", .names = names, .server = true};
	size_t n = 7;

	(void)gethostname(host, sizeof(host) - 1);
	names[n++] = host;
	if (k->o.service_ip)
		names[n++] = (char *)(uintptr_t)k->o.service_ip;
	(void)str_cut(&rest, ':', &address);
	own = str_dup(address);
	if (!text_eq(own, "127.0.0.1") && !text_eq(own, "localhost") && !text_eq(own, "0.0.0.0"))
		names[n++] = own;
	assert(n < array_len(names));
	return issued_pair(k, dir, "server", &q, &k->server, e);
}

static void kubeconfig_text(const struct kube *k, const struct pki_pair *admin, struct strbuf *out)
{
	auto_strbuf struct strbuf ca = {0}, cert = {0}, key = {0};

	base64_encode(str_of(k->ca.cert_pem), &ca);
	base64_encode(str_of(admin->cert_pem), &cert);
	base64_encode(str_of(admin->key_pem), &key);
	strbuf_printf(out,
		      "apiVersion: v1\nkind: Config\ncurrent-context: hull\n"
		      "clusters:\n- name: hull\n  cluster:\n    server: https://%s\n"
		      "    certificate-authority-data: %s\n"
		      "contexts:\n- name: hull\n  context:\n    cluster: hull\n    user: admin\n"
		      "users:\n- name: admin\n  user:\n    client-certificate-data: %s\n"
		      "    client-key-data: %s\n",
		      k->o.address, strbuf_text(&ca), strbuf_text(&cert), strbuf_text(&key));
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

int credentials_open(struct kube *k, struct err *e)
{
	auto_close int dir = -1;

	if (mkdir(k->o.folder, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", k->o.folder);
	dir = open(k->o.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "cannot open '%s'", k->o.folder);
	if (own_pair(k, dir, "ca", "kubernetes", &k->ca, e) < 0 ||
	    own_pair(k, dir, "tokens", "service-accounts", &k->signer, e) < 0 ||
	    server_pair(k, dir, e) < 0 || write_kubeconfig(k, dir, e) < 0)
		return err_wrap(e, "certificates of the cluster in '%s'", k->o.folder);
	return 0;
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

int kube_sign_token(void *arg, const struct object *account, const struct json *spec,
		    struct json **ret_status, struct err *e)
{
	struct kube *k = arg;
	int64_t seconds = json_get_i64(spec, "expirationSeconds", TOKEN_USUAL);
	auto_json struct json *claims = NULL;
	auto_strbuf struct strbuf token = {0};
	char until[RFC3339_CHARS + 1];

	assert(k->magic == KUBE_MAGIC);
	if (seconds < TOKEN_LEAST)
		return err_set(e, ERR_INVALID,
			       "spec.expirationSeconds: Invalid value: %lld: may not specify a "
			       "duration less than 10 minutes",
			       (long long)seconds);
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

int token_identity(struct kube *k, struct str token, struct arena *a, struct identity *ret,
		   struct err *e)
{
	struct jwt_expect expect = {.cert_pem = k->signer.cert_pem,
				    .issuer = ISSUER,
				    .audience = ISSUER,
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
	ret->user = arena_printf(a, "system:serviceaccount:%s:%s", namespace, name);
	ret->uid = arena_dup_text(a, uid);
	ret->groups = account_groups(a, namespace);
	return 0;
}

const char *kube_ca_pem(const struct kube *k)
{
	return k->ca.cert_pem;
}
