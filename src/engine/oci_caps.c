/*
 * Capabilities and security options: Docker's default 14, what --cap-add, --cap-drop and
 * --privileged make of them, and the words of --security-opt.
 */
#include "engine/engine_priv.h"

static const struct {
	const char *name;
	bool by_default;
} capabilities[] = {
	{"CAP_AUDIT_CONTROL", false},
	{"CAP_AUDIT_READ", false},
	{"CAP_AUDIT_WRITE", true},
	{"CAP_BLOCK_SUSPEND", false},
	{"CAP_BPF", false},
	{"CAP_CHECKPOINT_RESTORE", false},
	{"CAP_CHOWN", true},
	{"CAP_DAC_OVERRIDE", true},
	{"CAP_DAC_READ_SEARCH", false},
	{"CAP_FOWNER", true},
	{"CAP_FSETID", true},
	{"CAP_IPC_LOCK", false},
	{"CAP_IPC_OWNER", false},
	{"CAP_KILL", true},
	{"CAP_LEASE", false},
	{"CAP_LINUX_IMMUTABLE", false},
	{"CAP_MAC_ADMIN", false},
	{"CAP_MAC_OVERRIDE", false},
	{"CAP_MKNOD", true},
	{"CAP_NET_ADMIN", false},
	{"CAP_NET_BIND_SERVICE", true},
	{"CAP_NET_BROADCAST", false},
	{"CAP_NET_RAW", true},
	{"CAP_PERFMON", false},
	{"CAP_SETFCAP", true},
	{"CAP_SETGID", true},
	{"CAP_SETPCAP", true},
	{"CAP_SETUID", true},
	{"CAP_SYSLOG", false},
	{"CAP_SYS_ADMIN", false},
	{"CAP_SYS_BOOT", false},
	{"CAP_SYS_CHROOT", true},
	{"CAP_SYS_MODULE", false},
	{"CAP_SYS_NICE", false},
	{"CAP_SYS_PACCT", false},
	{"CAP_SYS_PTRACE", false},
	{"CAP_SYS_RAWIO", false},
	{"CAP_SYS_RESOURCE", false},
	{"CAP_SYS_TIME", false},
	{"CAP_SYS_TTY_CONFIG", false},
	{"CAP_WAKE_ALARM", false},
};

/* "net_admin", "CAP_NET_ADMIN": its number in the table, -1 for ALL. */
static int capability_of(const char *text, int *ret, struct err *e)
{
	const char *name = !strncasecmp(text, "CAP_", 4) ? text + 4 : text;

	if (!strcasecmp(name, "ALL")) {
		*ret = -1;
		return 0;
	}
	for (size_t i = 0; i < array_len(capabilities); i++)
		if (!strcasecmp(name, capabilities[i].name + 4)) {
			*ret = (int)i;
			return 0;
		}
	return err_set(e, ERR_INVALID, "unknown capability '%s'", text);
}

static int apply(char *const *list, bool add, bool *have, struct err *e)
{
	int which;

	for (char *const *c = list; c && *c; c++) {
		if (capability_of(*c, &which, e) < 0)
			return -ERR_INVALID;
		if (which < 0)
			for (size_t i = 0; i < array_len(capabilities); i++)
				have[i] = add;
	}
	for (char *const *c = list; c && *c; c++)
		if (capability_of(*c, &which, e) >= 0 && which >= 0)
			have[which] = add;
	return 0;
}

static bool has_all(char *const *list)
{
	for (; list && *list; list++)
		if (!strcasecmp(*list, "ALL") || !strcasecmp(*list, "CAP_ALL"))
			return true;
	return false;
}

int oci_capabilities(const struct host_config *h, struct arena *a, char ***ret, struct err *e)
{
	bool have[array_len(capabilities)];
	size_t n = 0;
	int bad;

	for (size_t i = 0; i < array_len(capabilities); i++)
		have[i] = capabilities[i].by_default || h->privileged;
	/* "--cap-drop ALL --cap-add X" means X alone; "--cap-add ALL --cap-drop X" all but X. */
	if (has_all(h->cap_drop)) {
		bad = apply(h->cap_drop, false, have, e);
		if (bad >= 0)
			bad = apply(h->cap_add, true, have, e);
	} else {
		bad = apply(h->cap_add, true, have, e);
		if (bad >= 0)
			bad = apply(h->cap_drop, false, have, e);
	}
	if (bad < 0)
		return bad;
	*ret = arena_new_array(a, char *, array_len(capabilities) + 1);
	for (size_t i = 0; i < array_len(capabilities); i++)
		if (have[i])
			(*ret)[n++] = (char *)capabilities[i].name;
	return 0;
}

/* "seccomp=unconfined" and "seccomp:unconfined" are the same option. */
bool oci_security_option(const struct host_config *h, const char *key, const char **ret_value)
{
	size_t n = strlen(key);
	bool found = false;

	*ret_value = NULL;
	for (char **o = h->security_opt; o && *o; o++) {
		if (strncmp(*o, key, n) != 0 || ((*o)[n] && (*o)[n] != '=' && (*o)[n] != ':'))
			continue;
		found = true;
		*ret_value = (*o)[n] ? *o + n + 1 : NULL;
	}
	return found;
}

int oci_security_check(const struct host_config *h, struct err *e)
{
	static const char *const known[] = {"seccomp", "no-new-privileges", "apparmor",
					    "label",   "systempaths",	    "writable-cgroups"};
	const char *profile;

	for (char **o = h->security_opt; o && *o; o++) {
		size_t n = strcspn(*o, "=:");
		bool found = false;

		for (size_t i = 0; i < array_len(known); i++)
			found = found || (strlen(known[i]) == n && !strncmp(*o, known[i], n));
		if (!found)
			return err_set(e, ERR_INVALID, "invalid --security-opt: '%s'", *o);
	}
	if (oci_security_option(h, "seccomp", &profile) && profile && *profile == '{') {
		auto_json struct json *j = NULL;

		return json_parse(str_of(profile), "seccomp profile", &j, e);
	}
	return 0;
}
