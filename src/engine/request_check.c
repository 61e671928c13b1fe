/*
 * Is a request sensible? Everything that can be judged without the image and the host is judged
 * here, before anything is made, so that a mistake costs nothing and names the option.
 */
#include <signal.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"

static int check_restart(const struct host_config *h, struct err *e)
{
	static const char *const known[] = {"",		  "no", "always", "unless-stopped",
					    "on-failure", NULL};
	const struct restart_policy *r = &h->restart;

	if (r->name && !text_in(r->name, (char *const *)known))
		return err_set(
			e, ERR_INVALID,
			"invalid restart policy '%s': no, always, unless-stopped or on-failure is "
			"expected",
			r->name);
	if (r->maximum_retry_count && !text_eq(r->name, "on-failure"))
		return err_set(
			e, ERR_INVALID,
			"invalid restart policy: a maximum retry count goes with on-failure only");
	if (r->maximum_retry_count < 0)
		return err_set(e, ERR_INVALID,
			       "invalid restart policy: the retry count is negative");
	if (h->auto_remove && r->name && *r->name && !text_eq(r->name, "no"))
		return err_set(e, ERR_INVALID,
			       "can't create 'AutoRemove' container with restart policy '%s'",
			       r->name);
	return 0;
}

static int check_hostname(const char *name, struct err *e)
{
	size_t n = name ? strlen(name) : 0;

	if (n > 63 || (n && (name[0] == '-' || name[n - 1] == '-' || strpbrk(name, " /\t\n\"'\\"))))
		return err_set(e, ERR_INVALID, "invalid hostname '%s'", name);
	return 0;
}

static int check_env(char *const *env, struct err *e)
{
	for (; env && *env; env++)
		if (**env == '=' || **env == '\0')
			return err_set(e, ERR_INVALID, "invalid environment variable: '%s'", *env);
	return 0;
}

static int check_modes(const struct host_config *h, const struct container_config *c, struct err *e)
{
	bool host_net = text_eq(h->network_mode, "host");
	bool joined = h->network_mode && text_starts(h->network_mode, "container:");
	bool links = h->links && h->links[0];
	bool publishes =
		json_len(h->port_bindings) || (json_len(c->exposed_ports) && h->publish_all_ports);
	const struct {
		bool wrong;
		enum err_kind kind;
		const char *says;
	} rows[] = {
		{joined && links, ERR_INVALID,
		 "conflicting options: links and the network of another container"},
		{joined && publishes, ERR_INVALID,
		 "conflicting options: port publishing and the container type network mode"},
		{host_net && links, ERR_INVALID, "conflicting options: host networking and links"},
		{text_eq(h->uts_mode, "host") && c->hostname && *c->hostname, ERR_INVALID,
		 "conflicting options: hostname and the UTS mode"},
		{h->userns_mode && *h->userns_mode && !text_eq(h->userns_mode, "host"),
		 ERR_UNSUPPORTED, "user namespace modes other than 'host' are not supported"},
	};

	for (size_t i = 0; i < array_len(rows); i++)
		if (rows[i].wrong)
			return err_set(e, rows[i].kind, "%s", rows[i].says);
	return 0;
}

static int check_log(const struct log_config *l, struct err *e)
{
	static const char *const known[] = {"", "json-file", "local", "none", NULL};

	if (l->type && !text_in(l->type, (char *const *)known))
		return err_set(e, ERR_INVALID,
			       "unknown log driver '%s': json-file, local or none is expected",
			       l->type);
	for (const struct json_pair *p = l->options; p && p->key; p++) {
		int64_t number;

		if (text_eq(p->key, "max-size") &&
		    parse_size(str_of(p->value), "max-size", &number, e) < 0)
			return -ERR_INVALID;
		if (text_eq(p->key, "max-file") &&
		    parse_i64(str_of(p->value), "max-file", &number, e) < 0)
			return -ERR_INVALID;
	}
	return 0;
}

static const struct {
	const char *name;
	int number;
} signals[] = {
#define S(name)                  \
	{                        \
#name, SIG##name \
	}
	S(HUP),	 S(INT),    S(QUIT), S(ILL),   S(TRAP), S(ABRT), S(BUS),  S(FPE),
	S(KILL), S(USR1),   S(SEGV), S(USR2),  S(PIPE), S(ALRM), S(TERM), S(STKFLT),
	S(CHLD), S(CONT),   S(STOP), S(TSTP),  S(TTIN), S(TTOU), S(URG),  S(XCPU),
	S(XFSZ), S(VTALRM), S(PROF), S(WINCH), S(IO),	S(POLL), S(PWR),  S(SYS),
#undef S
};

/* "RTMIN", "RTMIN+3", "RTMAX-1": 34 and 64 are what the C libraries leave to programs. */
static bool realtime_of(const char *name, int *ret)
{
	bool low = !strncasecmp(name, "RTMIN", 5);
	struct err ignored = {0};
	uint32_t away = 0;

	if (!low && strncasecmp(name, "RTMAX", 5) != 0)
		return false;
	if (name[5] && name[5] != (low ? '+' : '-'))
		return false;
	if (name[5] && (parse_u32(str_of(name + 6), "signal", &away, &ignored) < 0 || away > 30))
		return false;
	*ret = low ? 34 + (int)away : 64 - (int)away;
	return true;
}

int signal_of(const char *text, int *ret, struct err *e)
{
	const char *name = text_starts(text, "SIG") ? text + 3 : text;
	struct err ignored = {0};
	uint32_t number;

	if (parse_u32(str_of(text), "signal", &number, &ignored) >= 0) {
		if (number == 0 || number > 64)
			return err_set(e, ERR_INVALID, "invalid signal: %s", text);
		*ret = (int)number;
		return 0;
	}
	for (size_t i = 0; i < array_len(signals); i++)
		if (!strcasecmp(name, signals[i].name)) {
			*ret = signals[i].number;
			return 0;
		}
	if (realtime_of(name, ret))
		return 0;
	return err_set(e, ERR_INVALID, "invalid signal: %s", text);
}

static int check_config(const struct container_config *c, struct err *e)
{
	int number;

	if (check_hostname(c->hostname, e) < 0 || check_env(c->env, e) < 0)
		return -ERR_INVALID;
	if (c->stop_signal && *c->stop_signal && signal_of(c->stop_signal, &number, e) < 0)
		return -ERR_INVALID;
	if (c->working_dir && *c->working_dir && *c->working_dir != '/')
		return err_set(
			e, ERR_INVALID,
			"the working directory '%s' is invalid, it needs to be an absolute path",
			c->working_dir);
	return 0;
}

int request_check(const struct container_request *r, struct err *e)
{
	auto_arena struct arena a = {0};
	struct network_port *ports;
	size_t ports_n;
	char **caps;
	int bad = 0;

	if (r->name)
		bad = name_check(*r->name == '/' ? r->name + 1 : r->name, e);
	if (bad >= 0)
		bad = check_config(&r->config, e);
	if (bad >= 0)
		bad = check_restart(&r->host, e);
	if (bad >= 0)
		bad = check_modes(&r->host, &r->config, e);
	if (bad >= 0)
		bad = check_log(&r->host.log, e);
	if (bad >= 0)
		bad = ports_of(r, &a, &ports, &ports_n, e);
	if (bad >= 0)
		bad = oci_capabilities(&r->host, &a, &caps, e);
	if (bad >= 0)
		bad = oci_resources_check(&r->host, e);
	if (bad >= 0)
		bad = oci_security_check(&r->host, e);
	return bad;
}
