/*
 * Run's options become the JSON of POST /containers/create: see request.h. Most options are copied
 * by the two tables below; the ones that have a grammar of their own (ports, volumes, limits) have
 * a function each.
 */
#include "cli/request.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/parse.h"

#define SECCOMP_BYTES_MAX (1u << 20)
#define LINE_BYTES_MAX	  65536

enum where { CONFIG, HOST };

/* Options that are one JSON member as they stand. */
static const struct plain {
	enum where where;
	enum option_type type;
	const char *key;
	size_t offset;
} plain[] = {
	{CONFIG, OPTION_TEXT, "Hostname", offsetof(struct run_options, hostname)},
	{CONFIG, OPTION_TEXT, "WorkingDir", offsetof(struct run_options, workdir)},
	{CONFIG, OPTION_TEXT, "User", offsetof(struct run_options, user)},
	{CONFIG, OPTION_TEXT, "StopSignal", offsetof(struct run_options, stop_signal)},
	{CONFIG, OPTION_FLAG, "Tty", offsetof(struct run_options, tty)},
	{CONFIG, OPTION_FLAG, "OpenStdin", offsetof(struct run_options, interactive)},
	{CONFIG, OPTION_I64, "StopTimeout", offsetof(struct run_options, stop_timeout)},
	{HOST, OPTION_TEXT, "NetworkMode", offsetof(struct run_options, network)},
	{HOST, OPTION_TEXT, "PidMode", offsetof(struct run_options, pid)},
	{HOST, OPTION_TEXT, "IpcMode", offsetof(struct run_options, ipc)},
	{HOST, OPTION_TEXT, "Runtime", offsetof(struct run_options, runtime)},
	{HOST, OPTION_TEXT, "CpusetCpus", offsetof(struct run_options, cpuset)},
	{HOST, OPTION_TEXTS, "Binds", offsetof(struct run_options, volume)},
	{HOST, OPTION_TEXTS, "CapAdd", offsetof(struct run_options, cap_add)},
	{HOST, OPTION_TEXTS, "CapDrop", offsetof(struct run_options, cap_drop)},
	{HOST, OPTION_TEXTS, "ExtraHosts", offsetof(struct run_options, add_host)},
	{HOST, OPTION_TEXTS, "Dns", offsetof(struct run_options, dns)},
	{HOST, OPTION_TEXTS, "GroupAdd", offsetof(struct run_options, group_add)},
	{HOST, OPTION_FLAG, "AutoRemove", offsetof(struct run_options, remove)},
	{HOST, OPTION_FLAG, "Privileged", offsetof(struct run_options, privileged)},
	{HOST, OPTION_FLAG, "ReadonlyRootfs", offsetof(struct run_options, read_only)},
	{HOST, OPTION_FLAG, "PublishAllPorts", offsetof(struct run_options, publish_all)},
	{HOST, OPTION_FLAG, "Init", offsetof(struct run_options, init)},
	{HOST, OPTION_I64, "Memory", offsetof(struct run_options, memory)},
	{HOST, OPTION_I64, "MemorySwap", offsetof(struct run_options, memory_swap)},
	{HOST, OPTION_I64, "MemoryReservation", offsetof(struct run_options, memory_reservation)},
	{HOST, OPTION_I64, "PidsLimit", offsetof(struct run_options, pids_limit)},
	{HOST, OPTION_I64, "CpuShares", offsetof(struct run_options, cpu_shares)},
	{HOST, OPTION_I64, "ShmSize", offsetof(struct run_options, shm_size)},
};

/* Options given as K=V that become an object of texts. */
static const struct pairs {
	enum where where;
	const char *key;
	char separator;
	size_t offset;
} pairs[] = {
	{CONFIG, "Labels", '=', offsetof(struct run_options, label)},
	{HOST, "Tmpfs", ':', offsetof(struct run_options, tmpfs)},
	{HOST, "Sysctls", '=', offsetof(struct run_options, sysctl)},
};

static void add_plain(const struct run_options *o, struct json *config, struct json *host)
{
	for (size_t i = 0; i < array_len(plain); i++) {
		const char *at = (const char *)o + plain[i].offset;
		struct json *to = plain[i].where == CONFIG ? config : host;

		if (plain[i].type == OPTION_TEXT && *(const char *const *)(const void *)at)
			json_set_text(to, plain[i].key, *(const char *const *)(const void *)at);
		else if (plain[i].type == OPTION_FLAG && *(const bool *)(const void *)at)
			json_set_bool(to, plain[i].key, true);
		else if (plain[i].type == OPTION_I64 && *(const int64_t *)(const void *)at)
			json_set_i64(to, plain[i].key, *(const int64_t *)(const void *)at);
		else if (plain[i].type == OPTION_TEXTS && *(char **const *)(const void *)at)
			json_set(to, plain[i].key,
				 json_new_texts(*(char **const *)(const void *)at));
	}
}

static struct json *object_of(char *const *list, char separator)
{
	struct json *object = json_new_object();

	for (size_t i = 0; list && list[i]; i++) {
		struct str rest = str_of(list[i]), key = {0};
		auto_free char *name = NULL;

		(void)str_cut(&rest, separator, &key);
		name = str_dup(key);
		json_set_text(object, name, rest.p ? rest.p : "");
	}
	return object;
}

static int add_env_file(const char *path, char ***env, struct err *e)
{
	auto_fclose FILE *f = fopen(path, "re");
	char line[LINE_BYTES_MAX];

	if (!f)
		return err_sys(e, "cannot open the file of --env-file '%s'", path);
	while (fgets(line, sizeof(line), f)) {
		auto_free char *text = str_dup(str_trim(str_of(line)));

		if (*text && *text != '#')
			mem_append_text(env, text);
	}
	return 0;
}

/* A variable without '=' is copied from our own environment, or dropped where we have none. */
static void append_variable(struct json *list, const char *text)
{
	const char *value = strchr(text, '=') ? NULL : getenv(text);
	auto_free char *pair = value ? mem_printf("%s=%s", text, value) : NULL;

	if (pair || strchr(text, '='))
		json_append(list, json_new_text(pair ? pair : text));
}

static int add_env(const struct run_options *o, struct json *config, struct err *e)
{
	auto_json struct json *list = json_new_array();
	char **all = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && o->env_file && o->env_file[i]; i++)
		r = add_env_file(o->env_file[i], &all, e);
	for (size_t i = 0; o->env && o->env[i]; i++)
		mem_append_text(&all, o->env[i]);
	for (size_t i = 0; r == 0 && all && all[i]; i++)
		append_variable(list, all[i]);
	(void)mem_free_texts(all);
	if (r == 0 && json_len(list))
		json_set(config, "Env", json_ref(list));
	return r;
}

struct port_range {
	uint32_t first, last;
};

static int parse_range(struct str text, struct port_range *ret, struct err *e)
{
	struct str rest = text, first = {0};
	int r;

	(void)str_cut(&rest, '-', &first);
	r = parse_u32(first, "port", &ret->first, e);
	ret->last = ret->first;
	if (r == 0 && rest.p)
		r = parse_u32(rest, "port", &ret->last, e);
	if (r < 0)
		return r;
	if (ret->last > 65535 || ret->first > ret->last)
		return err_set(e, ERR_INVALID, "invalid port '%.*s': ports go from 0 to 65535",
			       (int)text.n, text.p);
	return 0;
}

static void bind_port(struct json *bindings, struct json *exposed, uint32_t port, struct str proto,
		      struct str ip, const char *host_port)
{
	auto_free char *key = mem_printf("%u/%.*s", port, (int)proto.n, proto.p);
	struct json *list = json_get(bindings, key), *b = json_new_object();

	if (!list) {
		list = json_new_array();
		json_set(bindings, key, list);
	}
	json_set(b, "HostIp", json_new_str(ip));
	json_set_text(b, "HostPort", host_port);
	json_append(list, b);
	json_set(exposed, key, json_new_object());
}

/* The parts of [[IP:]HOST:]CONTAINER[/PROTO]; an address that holds colons stands in []. */
struct publish {
	struct str ip, host, container, proto;
};

static int split_publish(const char *text, struct publish *ret, struct err *e)
{
	struct str rest = str_of(text), parts[3];
	const char *slash = strrchr(text, '/');
	size_t n = 0;

	*ret = (struct publish){.proto = STR("tcp")};
	if (slash) {
		ret->proto = str_of(slash + 1);
		rest.n = (size_t)(slash - text);
	}
	if (rest.n && rest.p[0] == '[') {
		const char *end = memchr(rest.p, ']', rest.n);

		if (!end || end + 1 >= rest.p + rest.n || end[1] != ':')
			return err_set(e, ERR_INVALID, "invalid port '%s': say [IP]:HOST:CONTAINER",
				       text);
		ret->ip = (struct str){rest.p + 1, (size_t)(end - rest.p) - 1};
		rest.n -= (size_t)(end + 2 - rest.p);
		rest.p = end + 2;
	}
	while (n < 3 && str_cut(&rest, ':', &parts[n]))
		n++;
	if (n == 0 || rest.p || (n == 3 && ret->ip.p))
		return err_set(e, ERR_INVALID, "invalid port '%s': say [[IP:]HOST:]CONTAINER",
			       text);
	if (n == 3)
		ret->ip = parts[0];
	if (n >= 2)
		ret->host = parts[n - 2];
	ret->container = parts[n - 1];
	return 0;
}

static int add_publish(const char *text, struct json *bindings, struct json *exposed, struct err *e)
{
	struct publish p;
	struct port_range to, from = {0};
	int r = split_publish(text, &p, e);

	if (r < 0)
		return r;
	if (parse_range(p.container, &to, e) < 0 || (p.host.n && parse_range(p.host, &from, e) < 0))
		return err_wrap(e, "option --publish '%s'", text);
	if (p.host.n && from.last - from.first != to.last - to.first)
		return err_set(e, ERR_INVALID,
			       "option --publish '%s': the two ranges have different lengths",
			       text);
	for (uint32_t i = 0; i <= to.last - to.first; i++) {
		auto_free char *host_port = mem_printf("%u", from.first + i);

		bind_port(bindings, exposed, to.first + i, p.proto, p.ip,
			  p.host.n ? host_port : "");
	}
	return 0;
}

static int add_ports(const struct run_options *o, struct json *config, struct json *host,
		     struct err *e)
{
	struct json *exposed = json_new_object(), *bindings = json_new_object();

	json_set(config, "ExposedPorts", exposed);
	json_set(host, "PortBindings", bindings);
	for (size_t i = 0; o->expose && o->expose[i]; i++) {
		auto_free char *key = strchr(o->expose[i], '/')
					      ? mem_dup_text(o->expose[i])
					      : mem_printf("%s/tcp", o->expose[i]);

		json_set(exposed, key, json_new_object());
	}
	for (size_t i = 0; o->publish && o->publish[i]; i++) {
		int r = add_publish(o->publish[i], bindings, exposed, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* NAME=SOFT[:HARD], -1 for unlimited. */
static int add_ulimits(const struct run_options *o, struct json *host, struct err *e)
{
	struct json *list = json_new_array();

	json_set(host, "Ulimits", list);
	for (size_t i = 0; o->ulimit && o->ulimit[i]; i++) {
		struct str rest = str_of(o->ulimit[i]), name = {0}, soft = {0};
		struct json *limit = json_new_object();
		int64_t s = 0, h = 0;
		int r;

		json_append(list, limit);
		(void)str_cut(&rest, '=', &name);
		if (!rest.p)
			return err_set(e, ERR_INVALID, "option --ulimit '%s': say NAME=SOFT[:HARD]",
				       o->ulimit[i]);
		(void)str_cut(&rest, ':', &soft);
		r = parse_i64(soft, "soft limit", &s, e);
		h = s;
		if (r == 0 && rest.p)
			r = parse_i64(rest, "hard limit", &h, e);
		if (r < 0)
			return err_wrap(e, "option --ulimit '%s'", o->ulimit[i]);
		json_set(limit, "Name", json_new_str(name));
		json_set_i64(limit, "Soft", s);
		json_set_i64(limit, "Hard", h);
	}
	return 0;
}

static int add_restart(const struct run_options *o, struct json *host, struct err *e)
{
	struct str rest = str_of(o->restart), name = {0};
	struct json *policy;
	uint32_t count = 0;

	if (!o->restart)
		return 0;
	(void)str_cut(&rest, ':', &name);
	if (rest.p && parse_u32(rest, "number of restarts", &count, e) < 0)
		return err_wrap(e, "option --restart '%s'", o->restart);
	policy = json_new_object();
	json_set(policy, "Name", json_new_str(name));
	json_set_i64(policy, "MaximumRetryCount", count);
	json_set(host, "RestartPolicy", policy);
	return 0;
}

/* "1.5" CPUs are 1,500,000,000 billionths; parsed by whole numbers so that nothing is rounded. */
static int add_cpus(const struct run_options *o, struct json *host, struct err *e)
{
	struct str rest = str_of(o->cpus), whole = {0};
	uint64_t n = 0, part = 0, scale = 1000000000;

	if (!o->cpus)
		return 0;
	(void)str_cut(&rest, '.', &whole);
	if ((whole.n && parse_u64(whole, "number of CPUs", &n, e) < 0) ||
	    (rest.n && parse_u64(rest, "number of CPUs", &part, e) < 0) || rest.n > 9 || n > 100000)
		return err_set(e, ERR_INVALID, "option --cpus '%s': say a number, as in 1.5",
			       o->cpus);
	for (size_t i = 0; i < rest.n; i++)
		scale /= 10;
	json_set_i64(host, "NanoCpus", (int64_t)(n * 1000000000 + part * scale));
	return 0;
}

/* HOST[:CONTAINER[:rwm]] */
static void add_devices(const struct run_options *o, struct json *host)
{
	struct json *list = json_new_array();

	json_set(host, "Devices", list);
	for (size_t i = 0; o->device && o->device[i]; i++) {
		struct str rest = str_of(o->device[i]), from = {0}, to = {0};
		struct json *d = json_new_object();

		(void)str_cut(&rest, ':', &from);
		if (!str_cut(&rest, ':', &to))
			to = from;
		json_set(d, "PathOnHost", json_new_str(from));
		json_set(d, "PathInContainer", json_new_str(to));
		json_set(d, "CgroupPermissions",
			 rest.p ? json_new_str(rest) : json_new_text("rwm"));
		json_append(list, d);
	}
}

static void add_health(const struct run_options *o, struct json *config)
{
	struct json *h, *test;

	if (!o->health_cmd && !o->no_healthcheck)
		return;
	h = json_new_object();
	test = json_new_array();
	json_append(test, json_new_text(o->no_healthcheck ? "NONE" : "CMD-SHELL"));
	if (o->health_cmd)
		json_append(test, json_new_text(o->health_cmd));
	json_set(h, "Test", test);
	json_set_i64(h, "Interval", o->health_interval);
	json_set_i64(h, "Timeout", o->health_timeout);
	json_set_i64(h, "Retries", o->health_retries);
	json_set(config, "Healthcheck", h);
}

static struct json *networking(const struct run_options *o)
{
	struct json *top = json_new_object(), *all = json_new_object(), *one = json_new_object();

	json_set(top, "EndpointsConfig", all);
	json_set(all, o->network ? o->network : "default", one);
	if (o->network_alias)
		json_set(one, "Aliases", json_new_texts(o->network_alias));
	if (o->ip) {
		struct json *ipam = json_new_object();

		json_set_text(ipam, strchr(o->ip, ':') ? "IPv6Address" : "IPv4Address", o->ip);
		json_set(one, "IPAMConfig", ipam);
	}
	return top;
}

static void add_log(const struct run_options *o, struct json *host)
{
	struct json *log;

	if (!o->log_driver && !o->log_opt)
		return;
	log = json_new_object();
	json_set_text(log, "Type", o->log_driver ? o->log_driver : "");
	json_set(log, "Config", object_of(o->log_opt, '='));
	json_set(host, "LogConfig", log);
}

/* The daemon wants the profile itself: a file that seccomp= names is read here. */
static int add_security(const struct run_options *o, struct json *host, struct err *e)
{
	struct json *list = o->security_opt ? json_new_array() : NULL;

	if (list)
		json_set(host, "SecurityOpt", list);
	for (size_t i = 0; list && o->security_opt[i]; i++) {
		const char *option = o->security_opt[i], *path = option + strlen("seccomp=");
		auto_json struct json *profile = NULL;
		auto_strbuf struct strbuf text = {0};

		if (!text_starts(option, "seccomp=") || text_eq(path, "unconfined") ||
		    text_eq(path, "builtin")) {
			json_append(list, json_new_text(option));
			continue;
		}
		if (json_read_file(AT_FDCWD, path, SECCOMP_BYTES_MAX, &profile, e) < 0)
			return err_wrap(e, "--security-opt");
		strbuf_add_text(&text, "seccomp=");
		json_write(profile, &text);
		json_append(list, json_new_text(strbuf_text(&text)));
	}
	return 0;
}

int request_make(const struct run_options *o, const char *image, char *const *command,
		 struct json **ret, struct err *e)
{
	auto_json struct json *config = json_new_object();
	struct json *host = json_new_object();

	json_set(config, "HostConfig", host);
	json_set_text(config, "Image", image);
	if (command && *command)
		json_set(config, "Cmd", json_new_texts(command));
	if (o->entrypoint) {
		char *const entry[] = {(char *)(uintptr_t)o->entrypoint, NULL};

		json_set(config, "Entrypoint", json_new_texts(entry));
	}
	json_set_bool(config, "AttachStdin", o->interactive && !o->detach);
	json_set_bool(config, "AttachStdout", !o->detach);
	json_set_bool(config, "AttachStderr", !o->detach);
	json_set_bool(config, "StdinOnce", o->interactive && !o->detach);
	add_plain(o, config, host);
	for (size_t i = 0; i < array_len(pairs); i++) {
		char **list = *(char **const *)(const void *)((const char *)o + pairs[i].offset);

		if (list)
			json_set(pairs[i].where == CONFIG ? config : host, pairs[i].key,
				 object_of(list, pairs[i].separator));
	}
	add_devices(o, host);
	add_health(o, config);
	add_log(o, host);
	json_set(config, "NetworkingConfig", networking(o));
	if (add_env(o, config, e) < 0 || add_ports(o, config, host, e) < 0 ||
	    add_security(o, host, e) < 0 || add_ulimits(o, host, e) < 0 ||
	    add_restart(o, host, e) < 0 || add_cpus(o, host, e) < 0)
		return -(int)e->kind;
	*ret = take(config);
	return 0;
}
