/*
 * From a pod's container to what the engine is asked for, in Docker's words. Pure but for the
 * references to config maps and secrets. Rows say which field becomes which.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "engine/images.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/format/quantity.h"
#include "ground/linux/caps.h"

#define CPU_PERIOD_US  100000
#define SHARES_MIN     2
#define OOM_GUARANTEED (-997)
#define PROFILE_MAX    (1 << 20)

/* -- what it runs ------------------------------------------------------------------------------ */

static void set_words(struct json *body, const char *key, const struct json *words, char **env)
{
	struct json *list = json_new_array();

	for (size_t i = 0; i < json_len(words); i++) {
		auto_free char *text = pod_expand(json_text(json_at(words, i)), env);

		json_append(list, json_new_text(text));
	}
	json_set(body, key, list);
}

static void set_command(struct json *body, const struct json *spec, char **env)
{
	if (json_len(json_get(spec, "command"))) {
		set_words(body, "Entrypoint", json_get(spec, "command"), env);
		if (!json_len(json_get(spec, "args")))
			json_set(body, "Cmd", json_new_array());
	}
	if (json_len(json_get(spec, "args")))
		set_words(body, "Cmd", json_get(spec, "args"), env);
	if (json_get_text(spec, "workingDir"))
		json_set_text(body, "WorkingDir", json_get_text(spec, "workingDir"));
}

static void set_streams(struct json *body, const struct json *spec)
{
	json_set_bool(body, "Tty", json_get_bool(spec, "tty", false));
	json_set_bool(body, "OpenStdin", json_get_bool(spec, "stdin", false));
	json_set_bool(body, "StdinOnce", json_get_bool(spec, "stdinOnce", false));
}

/* -- how much ---------------------------------------------------------------------------------- */

static bool amount(const struct json *resources, const char *which, const char *what,
		   struct quantity *ret)
{
	return quantity_read(json_get(json_get(resources, which), what), ret);
}

static void set_resources(struct json *host, const struct json *spec, int oom)
{
	const struct json *r = json_get(spec, "resources");
	struct quantity q;
	int64_t shares = SHARES_MIN;

	if (amount(r, "limits", "memory", &q)) {
		json_set_i64(host, "Memory", quantity_whole(&q));
		json_set_i64(host, "MemorySwap", quantity_whole(&q));
	}
	if (amount(r, "limits", "cpu", &q)) {
		json_set_i64(host, "CpuPeriod", CPU_PERIOD_US);
		json_set_i64(host, "CpuQuota",
			     quantity_milli(&q) * CPU_PERIOD_US / 1000 < 1000
				     ? 1000
				     : quantity_milli(&q) * CPU_PERIOD_US / 1000);
	}
	if (amount(r, "requests", "cpu", &q))
		shares = quantity_milli(&q) * 1024 / 1000;
	json_set_i64(host, "CpuShares", shares < SHARES_MIN ? SHARES_MIN : shares);
	json_set_i64(host, "OomScoreAdj", oom);
}

/* Who lacks the right to shield a process may still not expose it less than itself. */
static int permitted_score(int score)
{
	auto_close int fd = -1;
	char text[16];
	int64_t own = 0;
	ssize_t n;
	struct err e;

	if (score >= 0 || caps_have(CAP_SYS_RESOURCE))
		return score;
	fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text));
	if (n > 0)
		(void)!parse_i64(str_trim((struct str){text, (size_t)n}), "score", &own, &e);
	return own > score ? (int)own : score;
}

static int oom_score(const struct json *pod, const struct json *spec, int64_t capacity)
{
	const char *qos = json_get_text(json_get(pod, "status"), "qosClass");
	struct quantity q;
	int64_t score;

	if (text_eq(qos, "Guaranteed"))
		return permitted_score(OOM_GUARANTEED);
	if (text_eq(qos, "BestEffort") || capacity <= 0)
		return 1000;
	if (!amount(json_get(spec, "resources"), "requests", "memory", &q))
		return 999;
	score = 1000 - 1000 * (quantity_whole(&q) / 4096) / (capacity / 4096);
	return score < 3 ? 3 : score > 999 ? 999 : (int)score;
}

/* -- with which rights ------------------------------------------------------------------------- */

static const struct json *security(const struct json *pod_part, const struct json *own,
				   const char *key)
{
	const struct json *v = json_get(own, key);

	return v ? v : json_get(pod_part, key);
}

/* The user part of what the image says; the caller's. "" : it says nothing. */
static char *image_user(const struct pod *p, const struct json *spec)
{
	auto_arena struct arena a = {0};
	struct image_view *v;
	struct str rest, user;
	struct err e;

	if (engine_image_inspect(p->agent->user, json_get_text(spec, "image"), &a, &v, &e) < 0 ||
	    !v->config->user)
		return mem_dup_text("");
	rest = str_of(v->config->user);
	return str_cut(&rest, ':', &user) ? str_dup(user) : mem_dup_text("");
}

static int refuse_root(const char *user, const struct json *spec, struct err *e)
{
	const char *name = json_get_text(spec, "name");
	uint32_t n = 0;

	if (!user[0])
		return err_set(e, ERR_INVALID,
			       "container has runAsNonRoot and image will run as root (container: "
			       "%s); set runAsUser to another user than 0",
			       name);
	if (parse_u32(str_of(user), "user", &n, e) < 0)
		return err_set(e, ERR_INVALID,
			       "container has runAsNonRoot and image has non-numeric user (%s), "
			       "cannot verify user is non-root (container: %s); set runAsUser",
			       user, name);
	return n ? 0
		 : err_set(e, ERR_INVALID,
			   "container's runAsUser breaks non-root policy (container: %s); set it "
			   "to "
			   "another user than 0",
			   name);
}

static int set_user(const struct pod *p, struct json *body, const struct json *spec,
		    const struct json *pod_part, const struct json *own, struct err *e)
{
	const struct json *user = security(pod_part, own, "runAsUser"),
			  *group = security(pod_part, own, "runAsGroup");
	bool no_root = json_flag(security(pod_part, own, "runAsNonRoot"), false);
	auto_free char *name =
		user ? mem_printf("%lld", (long long)json_i64(user, 0)) : image_user(p, spec);
	auto_free char *both = NULL;

	if (no_root && refuse_root(name, spec, e) < 0)
		return -ERR_INVALID;
	if (!user && !group)
		return 0;
	if (group)
		both = mem_printf("%s:%lld", name[0] ? name : "0", (long long)json_i64(group, 0));
	json_set_text(body, "User", both ? both : name);
	return 0;
}

static void add_group(struct json *host, int64_t gid)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%lld", (long long)gid);
	json_append(json_make_array(host, "GroupAdd"), json_new_text(text));
}

static void set_groups(struct json *host, const struct json *pod_part)
{
	const struct json *more = json_get(pod_part, "supplementalGroups");

	if (json_get(pod_part, "fsGroup"))
		add_group(host, json_get_i64(pod_part, "fsGroup", 0));
	for (size_t i = 0; i < json_len(more); i++)
		add_group(host, json_i64(json_at(more, i), 0));
}

/* A relative path that cannot lead out of where it begins. */
static bool stays_below(const char *path)
{
	return path[0] != '/' && !strstr(path, "..");
}

/* A profile of the node's own, from <root>/seccomp. */
static int local_profile(const struct pod *p, const char *name, char **ret, struct err *e)
{
	auto_free char *path = NULL;
	auto_json struct json *profile = NULL;
	auto_strbuf struct strbuf text = {0};
	struct err why;

	if (!name || !stays_below(name))
		return err_set(e, ERR_INVALID,
			       "localhostProfile \"%s\" must be a relative path without \"..\"",
			       name ? name : "");
	path = mem_printf("%s/seccomp/%s", p->agent->o.root, name);
	if (json_read_file(AT_FDCWD, path, PROFILE_MAX, &profile, &why) < 0)
		return err_set(e, ERR_INVALID,
			       "cannot load the seccomp profile \"%s\": %s; put it on the node or "
			       "use type RuntimeDefault",
			       name, why.text);
	json_write(profile, &text);
	*ret = mem_printf("seccomp=%s", strbuf_text(&text));
	return 0;
}

static int set_seccomp(const struct pod *p, struct json *host, const struct json *pod_part,
		       const struct json *own, struct err *e)
{
	const struct json *profile = security(pod_part, own, "seccompProfile");
	const char *type = json_get_text(profile, "type");
	auto_free char *option = NULL;

	/* without a word Kubernetes runs unconfined; ours is the engine's own filter */
	if (text_eq(type, "Unconfined"))
		option = mem_dup_text("seccomp=unconfined");
	else if (text_eq(type, "Localhost") &&
		 local_profile(p, json_get_text(profile, "localhostProfile"), &option, e) < 0)
		return -(int)e->kind;
	if (option)
		json_append(json_make_array(host, "SecurityOpt"), json_new_text(option));
	return 0;
}

static int set_rights(const struct pod *p, struct json *body, struct json *host,
		      const struct json *pod_spec, const struct json *spec, struct err *e)
{
	const struct json *pod_part = json_get(pod_spec, "securityContext"),
			  *own = json_get(spec, "securityContext"),
			  *caps = json_get(own, "capabilities"),
			  *sysctls = json_get(pod_part, "sysctls");

	set_groups(host, pod_part);
	json_set_bool(host, "Privileged", json_get_bool(own, "privileged", false));
	json_set_bool(host, "ReadonlyRootfs", json_get_bool(own, "readOnlyRootFilesystem", false));
	if (json_get(own, "allowPrivilegeEscalation") &&
	    !json_get_bool(own, "allowPrivilegeEscalation", true))
		json_append(json_make_array(host, "SecurityOpt"),
			    json_new_text("no-new-privileges"));
	if (set_seccomp(p, host, pod_part, own, e) < 0)
		return -(int)e->kind;
	if (json_get(caps, "add"))
		json_set(host, "CapAdd", json_copy(json_get(caps, "add")));
	if (json_get(caps, "drop"))
		json_set(host, "CapDrop", json_copy(json_get(caps, "drop")));
	for (size_t i = 0; i < json_len(sysctls); i++)
		json_set_text(json_make_object(host, "Sysctls"),
			      json_get_text(json_at(sysctls, i), "name"),
			      json_get_text(json_at(sysctls, i), "value"));
	return set_user(p, body, spec, pod_part, own, e);
}

/* -- where it stands --------------------------------------------------------------------------- */

static void add_bind(struct json *host, const char *source, const char *target, bool read_only)
{
	struct json *m = json_new_object();

	json_set_text(m, "Type", "bind");
	json_set_text(m, "Source", source);
	json_set_text(m, "Target", target);
	json_set_bool(m, "ReadOnly", read_only);
	json_append(json_make_array(host, "Mounts"), m);
}

/* Where the container may leave its last words. */
static int set_words_file(const struct pod_container *c, struct json *host, const char *target,
			  struct err *e)
{
	auto_free char *folder = mem_printf("%s/last-words", c->pod->dir);
	auto_free char *path = container_words_path(c);
	auto_close int fd = -1;

	if (!target || !target[0])
		return 0;
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "cannot make '%s'", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0)
		return err_sys(e, "cannot make '%s'", path);
	add_bind(host, path, target, false);
	return 0;
}

static int set_mount(const struct pod_container *c, size_t index, struct json *host,
		     const struct json *pod, const struct json *m, char **env, struct err *e)
{
	const char *name = json_get_text(m, "name"), *pattern = json_get_text(m, "subPathExpr");
	auto_free char *sub =
		pattern ? pod_expand(pattern, env) : mem_dup_text(json_get_text(m, "subPath"));
	auto_free char *base = pod_volume_path(c->pod, pod, name), *part = NULL;

	if (!base)
		return err_set(e, ERR_INVALID,
			       "volume mount \"%s\" names a volume that the pod does not have",
			       name ? name : "");
	if (sub && !stays_below(sub))
		return err_set(e, ERR_INVALID,
			       "subPath \"%s\" must be a relative path without \"..\"", sub);
	if (sub && sub[0] &&
	    pod_mount_part(c, index, base, sub, pod_volume_is_writable(pod, name), &part, e) < 0)
		return -(int)e->kind;
	add_bind(host, part ? part : base, json_get_text(m, "mountPath"),
		 json_get_bool(m, "readOnly", false));
	return 0;
}

static int set_mounts(struct pod *p, const struct pod_container *c, struct json *host,
		      const struct json *pod, const struct json *spec, char **env, struct err *e)
{
	static const char *const files[] = {"hosts", "resolv.conf", "hostname"};
	const struct json *list = json_get(spec, "volumeMounts");

	for (size_t i = 0; i < json_len(list); i++)
		if (set_mount(c, i, host, pod, json_at(list, i), env, e) < 0)
			return -(int)e->kind;
	for (size_t i = 0; i < array_len(files); i++) {
		auto_free char *source = mem_printf("%s/%s", p->dir, files[i]);
		auto_free char *target = mem_printf("/etc/%s", files[i]);

		add_bind(host, source, target, false);
	}
	return set_words_file(c, host, json_get_text(spec, "terminationMessagePath"), e);
}

static void set_namespaces(const struct pod *p, struct json *host, const struct json *pod_spec)
{
	auto_free char *mode = mem_printf("sandbox:%s", p->sandbox);
	bool host_network = json_get_bool(pod_spec, "hostNetwork", false);

	json_set_text(host, "NetworkMode", host_network ? "host" : mode);
	json_set_text(host, "IpcMode", json_get_bool(pod_spec, "hostIPC", false) ? "host" : mode);
	json_set_text(host, "UTSMode", mode);
	if (json_get_bool(pod_spec, "hostPID", false))
		json_set_text(host, "PidMode", "host");
	else if (json_get_bool(pod_spec, "shareProcessNamespace", false))
		json_set_text(host, "PidMode", mode);
}

/* A container for looking into another one sees its processes. */
static void set_target(struct pod *p, struct json *host, const struct json *spec)
{
	const char *name = json_get_text(spec, "targetContainerName");
	const struct pod_container *c = name ? pod_container_find(p, name) : NULL;
	auto_free char *mode = NULL;

	if (!c || !c->id[0])
		return;
	mode = mem_printf("container:%s", c->id);
	json_set_text(host, "PidMode", mode);
}

int container_spec(struct pod *p, const struct pod_container *c, const struct json *spec,
		   const struct json *pod, struct json **ret, struct err *e)
{
	const struct json *pod_spec = json_get(pod, "spec");
	auto_arena struct arena a = {0};
	auto_json struct json *body = json_new_object();
	struct json *host = json_make_object(body, "HostConfig");
	struct system_info *info;
	char **env = NULL;
	int bad = pod_env(p, pod, spec, &env, e);

	assert(c && spec);
	if (bad >= 0)
		bad = set_mounts(p, c, host, pod, spec, env, e);
	if (bad >= 0)
		bad = set_rights(p, body, host, pod_spec, spec, e);
	if (bad < 0) {
		(void)mem_free_texts(env);
		return bad;
	}
	engine_info(p->agent->user, &a, &info);
	json_set_text(body, "Image", json_get_text(spec, "image"));
	json_set(body, "Env", json_new_texts(env));
	set_command(body, spec, env);
	set_streams(body, spec);
	set_resources(host, spec, oom_score(pod, spec, info->memory_bytes));
	set_namespaces(p, host, pod_spec);
	set_target(p, host, spec);
	(void)mem_free_texts(env);
	*ret = take(body);
	return 0;
}
