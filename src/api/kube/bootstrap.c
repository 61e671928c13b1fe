/*
 * What every cluster has from its first moment: namespaces, roles, bindings, priorities, and the
 * service `kubernetes`. Rows are made where they are missing; what somebody changed is left alone.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/kube/kube_priv.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

#define RBAC  "rbac.authorization.k8s.io"
#define READ  "[\"get\",\"list\",\"watch\"]"
#define WRITE "[\"create\",\"delete\",\"deletecollection\",\"patch\",\"update\"]"
#define RULE(groups, resources, verbs) \
	"{\"apiGroups\":" groups ",\"resources\":" resources ",\"verbs\":" verbs "}"

#define CORE_READ                                                                                \
	"[\"configmaps\",\"endpoints\",\"persistentvolumeclaims\",\"persistentvolumeclaims/"     \
	"status\",\"pods\",\"pods/log\",\"pods/status\",\"replicationcontrollers\","             \
	"\"replicationcontrollers/scale\",\"serviceaccounts\",\"services\",\"services/"          \
	"status\",\"bindings\",\"events\",\"limitranges\",\"namespaces\",\"namespaces/status\"," \
	"\"resourcequotas\",\"resourcequotas/status\"]"
#define WORK_GROUPS                                                                         \
	"[\"apps\",\"batch\",\"autoscaling\",\"policy\",\"networking.k8s.io\",\"discovery." \
	"k8s.io\"]"
#define CORE_WRITE                                                                             \
	"[\"configmaps\",\"endpoints\",\"events\",\"persistentvolumeclaims\",\"pods\",\"pods/" \
	"attach\",\"pods/exec\",\"pods/portforward\",\"pods/proxy\",\"pods/eviction\","        \
	"\"replicationcontrollers\",\"replicationcontrollers/scale\",\"secrets\","             \
	"\"serviceaccounts\",\"services\",\"services/proxy\"]"

#define VIEW RULE("[\"\"]", CORE_READ, READ) "," RULE(WORK_GROUPS, "[\"*\"]", READ)
#define EDIT                                                                                    \
	VIEW "," RULE("[\"\"]", CORE_WRITE, WRITE) "," RULE(                                    \
		"[\"\"]",                                                                       \
		"[\"secrets\",\"pods/attach\",\"pods/exec\",\"pods/portforward\","              \
		"\"pods/proxy\",\"services/proxy\"]",                                           \
		READ) "," RULE(WORK_GROUPS, "[\"*\"]",                                          \
			       WRITE) "," RULE("[\"\"]", "[\"serviceaccounts\"]",               \
					       "[\"impersonate\"]") "," RULE("[\"coordination." \
									     "k8s.io\"]",       \
									     "[\"leases\"]",    \
									     "[\"*\"]")
#define ADMIN                                                                                     \
	EDIT "," RULE("[\"" RBAC "\"]", "[\"roles\",\"rolebindings\"]", READ) "," RULE(           \
		"[\"" RBAC "\"]", "[\"roles\",\"rolebindings\"]",                                 \
		WRITE) "," RULE("[\"authorization.k8s.io\"]", "[\"localsubjectaccessreviews\"]",  \
				"[\"create\"]") "," RULE("[\"\"]", "[\"serviceaccounts/token\"]", \
							 "[\"create\"]")
#define PAGES(list) "{\"nonResourceURLs\":[" list "],\"verbs\":[\"get\"]}"

/* Bindings of the cluster's own roles: who has them. */
#define BIND(name, role, kind)                                                               \
	"{\"metadata\":{\"name\":\"" name "\"},\"roleRef\":{\"apiGroup\":\"" RBAC            \
	"\",\"kind\":\"ClusterRole\",\"name\":\"" role "\"},\"subjects\":[{\"kind\":\"" kind \
	"\",\"apiGroup\":\"" RBAC "\",\"name\":\""
#define TO(name)	  name "\"}]}"
#define ROLE(name, rules) "{\"metadata\":{\"name\":\"" name "\"},\"rules\":[" rules "]}"
#define ROLE_FOR(name, into, rules)                                                     \
	"{\"metadata\":{\"name\":\"" name "\",\"labels\":{\"rbac.authorization.k8s.io/" \
	"aggregate-to-" into "\":\"true\"}},\"rules\":[" rules "]}"
#define ROLE_OF(name)                                                                            \
	"{\"metadata\":{\"name\":\"" name "\"},\"aggregationRule\":{\"clusterRoleSelectors\":[{" \
	"\"matchLabels\":{\"rbac.authorization.k8s.io/aggregate-to-" name                        \
	"\":\"true\"}}]},\"rules\":[]}"

static const struct row {
	const char *group, *resource, *namespace, *object;
} rows[] = {
	{"", "namespaces", NULL, "{\"metadata\":{\"name\":\"default\"}}"},
	{"", "namespaces", NULL, "{\"metadata\":{\"name\":\"kube-system\"}}"},
	{"", "namespaces", NULL, "{\"metadata\":{\"name\":\"kube-public\"}}"},
	{"", "namespaces", NULL, "{\"metadata\":{\"name\":\"kube-node-lease\"}}"},
	{RBAC, "clusterroles", NULL,
	 ROLE("cluster-admin", RULE("[\"*\"]", "[\"*\"]",
				    "[\"*\"]") ","
					       "{\"nonResourceURLs\":[\"*\"],\"verbs\":[\"*\"]}")},
	{RBAC, "clusterroles", NULL, ROLE_OF("admin")},
	{RBAC, "clusterroles", NULL, ROLE_OF("edit")},
	{RBAC, "clusterroles", NULL, ROLE_OF("view")},
	{RBAC, "clusterroles", NULL, ROLE_FOR("system:aggregate-to-admin", "admin", ADMIN)},
	{RBAC, "clusterroles", NULL, ROLE_FOR("system:aggregate-to-edit", "edit", EDIT)},
	{RBAC, "clusterroles", NULL, ROLE_FOR("system:aggregate-to-view", "view", VIEW)},
	{RBAC, "clusterroles", NULL,
	 ROLE("system:discovery", PAGES("\"/api\",\"/api/*\",\"/apis\",\"/apis/*\",\"/healthz\",\"/"
					"livez\",\"/openapi\","
					"\"/openapi/*\",\"/readyz\",\"/version\",\"/version/\""))},
	{RBAC, "clusterroles", NULL,
	 ROLE("system:public-info-viewer",
	      PAGES("\"/healthz\",\"/livez\",\"/readyz\",\"/version\",\"/version/\""))},
	{RBAC, "clusterroles", NULL,
	 ROLE("system:basic-user",
	      RULE("[\"authorization.k8s.io\"]",
		   "[\"selfsubjectaccessreviews\",\"selfsubjectrulesreviews\"]",
		   "[\"create\"]") "," RULE("[\"authentication.k8s.io\"]",
					    "[\"selfsubjectreviews\"]", "[\"create\"]"))},
	{RBAC, "clusterrolebindings", NULL,
	 BIND("cluster-admin", "cluster-admin", "Group") TO("system:masters")},
	{RBAC, "clusterrolebindings", NULL,
	 BIND("system:discovery", "system:discovery", "Group") TO("system:authenticated")},
	{RBAC, "clusterrolebindings", NULL,
	 BIND("system:basic-user", "system:basic-user", "Group") TO("system:authenticated")},
	{RBAC, "clusterrolebindings", NULL,
	 BIND("system:public-info-viewer", "system:public-info-viewer", "Group")
		 TO("system:unauthenticated")},
	{"scheduling.k8s.io", "priorityclasses", NULL,
	 "{\"metadata\":{\"name\":\"system-cluster-critical\"},\"value\":2000000000,"
	 "\"description\":\"Used for system critical pods that must run in the cluster, but can be "
	 "moved to another node if necessary.\"}"},
	{"scheduling.k8s.io", "priorityclasses", NULL,
	 "{\"metadata\":{\"name\":\"system-node-critical\"},\"value\":2000001000,"
	 "\"description\":\"Used for system critical pods that must not be moved from their "
	 "current "
	 "node.\"}"},
};

struct boot {
	struct kube *kube;
	size_t left;
	void (*done)(void *ctx);
	void *ctx;
};

static void made(void *ctx, const struct outcome *o)
{
	struct boot *b = ctx;

	(void)o; /* it is there already, mostly */
	assert(b->left > 0);
	if (--b->left > 0)
		return;
	b->kube->ready = true;
	if (b->done)
		b->done(b->ctx);
	free(b);
}

static void make(struct boot *b, const char *group, const char *resource, const char *namespace,
		 const char *text)
{
	const struct kind *k = kind_of_resource(group, "v1", resource);
	struct json *tree = NULL;
	struct err e;

	assert(k);
	if (json_parse(str_of(text), "bootstrap", &tree, &e) < 0)
		assert(!"a row of the table is no JSON");
	b->left++;
	client_create(&b->kube->client, &(struct client_target){k, namespace}, tree, NULL, made, b);
}

/* The API as a service, whose endpoint is not a pod. */
static void make_service(struct boot *b)
{
	struct str rest = str_of(b->kube->o.address), host;
	auto_free char *address = NULL, *service = NULL, *endpoints = NULL, *slice = NULL;
	int port = 6443;
	uint32_t number;
	struct err e;

	(void)str_cut(&rest, ':', &host);
	if (rest.n && parse_u32(rest, "port", &number, &e) == 0)
		port = (int)number;
	address = str_dup(host);
	if (!b->kube->o.service_ip)
		return;
	service =
		mem_printf("{\"metadata\":{\"name\":\"kubernetes\",\"labels\":{\"component\":"
			   "\"apiserver\",\"provider\":\"kubernetes\"}},\"spec\":{\"clusterIP\":"
			   "\"%s\",\"ports\":[{\"name\":\"https\",\"port\":443,\"targetPort\":%d}]"
			   "}}",
			   b->kube->o.service_ip, port);
	make(b, "", "services", "default", service);
	if (text_starts(address, "127.") || text_eq(address, "localhost") ||
	    text_eq(address, "0.0.0.0"))
		return; /* neither a loopback address nor all of them is anybody's endpoint */
	endpoints =
		mem_printf("{\"metadata\":{\"name\":\"kubernetes\"},\"subsets\":[{\"addresses\":"
			   "[{\"ip\":\"%s\"}],\"ports\":[{\"name\":\"https\",\"port\":%d}]}]}",
			   address, port);
	make(b, "", "endpoints", "default", endpoints);
	slice = mem_printf("{\"metadata\":{\"name\":\"kubernetes\",\"labels\":{\"kubernetes.io/"
			   "service-name\":\"kubernetes\"}},\"addressType\":\"IPv4\",\"endpoints\":"
			   "[{\"addresses\":[\"%s\"],\"conditions\":{\"ready\":true}}],\"ports\":"
			   "[{\"name\":\"https\",\"port\":%d}]}",
			   address, port);
	make(b, "discovery.k8s.io", "endpointslices", "default", slice);
}

void kube_bootstrap(struct kube *k, void (*done)(void *ctx), void *ctx)
{
	struct boot *b = mem_new(struct boot);

	assert(k->magic == KUBE_MAGIC);
	b->kube = k;
	b->done = done;
	b->ctx = ctx;
	for (size_t i = 0; i < array_len(rows); i++)
		make(b, rows[i].group, rows[i].resource, rows[i].namespace, rows[i].object);
	make_service(b);
}
