/*
 * Sysctls: only those that belong to a namespace which the container has for itself; all others
 * would change the host. They are written through a private procfs. runtime-spec config-linux.md
 * "Sysctl".
 */
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "ground/linux/process.h"
#include "virt/container/job.h"

static const struct rule {
	const char *path; /* a trailing slash: everything below */
	enum namespace_kind kind;
} rules[] = {
	{"kernel/msgmax", NAMESPACE_IPC},      {"kernel/msgmnb", NAMESPACE_IPC},
	{"kernel/msgmni", NAMESPACE_IPC},      {"kernel/sem", NAMESPACE_IPC},
	{"kernel/shmall", NAMESPACE_IPC},      {"kernel/shmmax", NAMESPACE_IPC},
	{"kernel/shmmni", NAMESPACE_IPC},      {"kernel/shm_rmid_forced", NAMESPACE_IPC},
	{"kernel/msg_next_id", NAMESPACE_IPC}, {"kernel/sem_next_id", NAMESPACE_IPC},
	{"kernel/shm_next_id", NAMESPACE_IPC}, {"fs/mqueue/", NAMESPACE_IPC},
	{"net/", NAMESPACE_NETWORK},	       {"kernel/domainname", NAMESPACE_UTS},
	{"kernel/hostname", NAMESPACE_UTS},    {"user/", NAMESPACE_USER},
};

/* "net.ipv4.ip_forward" → "net/ipv4/ip_forward"; as sysctl(8), the first separator decides. */
static int to_path(const char *key, char *path, size_t size, struct err *e)
{
	size_t n = strlen(key);
	const char *first = strpbrk(key, "./");
	bool dots = first && *first == '.';

	if (!n || n >= size || *key == '.' || *key == '/')
		return err_set(e, ERR_INVALID, "linux.sysctl: invalid key '%s'", key);
	for (size_t i = 0; i <= n; i++)
		path[i] = !dots ? key[i] : key[i] == '.' ? '/' : key[i] == '/' ? '.' : key[i];
	if (strstr(path, "//") || strstr(path, "/../") || text_ends(path, "/..") ||
	    text_ends(path, "/") || text_starts(path, "../"))
		return err_set(e, ERR_INVALID, "linux.sysctl: invalid key '%s'", key);
	return 0;
}

static const struct rule *find_rule(const char *path)
{
	for (size_t i = 0; i < array_len(rules); i++) {
		const char *rule = rules[i].path;

		if (text_ends(rule, "/") ? text_starts(path, rule) : text_eq(path, rule))
			return &rules[i];
	}
	return NULL;
}

int sysctls_check(const struct spec *s, unsigned int made_or_joined, struct err *e)
{
	char path[256];

	for (const struct json_pair *p = s->os.sysctl; p && p->key; p++) {
		const struct rule *rule;
		int r = to_path(p->key, path, sizeof(path), e);

		if (r < 0)
			return r;
		rule = find_rule(path);
		if (!rule)
			return err_set(e, ERR_FORBIDDEN,
				       "linux.sysctl: '%s' is the host's: no namespace holds it",
				       p->key);
		if (!(made_or_joined & NAMESPACE_BIT(rule->kind)))
			return err_set(e, ERR_FORBIDDEN,
				       "linux.sysctl: '%s' needs a %s namespace of its own", p->key,
				       namespace_info(rule->kind)->name);
	}
	return 0;
}

int sysctls_apply(struct job *j, struct err *e)
{
	auto_close int proc = -1;
	char path[256], full[300];
	int r = 0;

	if (!j->s->os.sysctl || !j->s->os.sysctl->key)
		return 0;
	r = process_private_proc(&proc, e);
	for (const struct json_pair *p = j->s->os.sysctl; r == 0 && p->key; p++) {
		r = to_path(p->key, path, sizeof(path), e);
		if (r < 0)
			break;
		(void)snprintf(full, sizeof(full), "sys/%s", path);
		r = process_write_proc(proc, full, p->value, e);
	}
	return r < 0 ? err_wrap(e, "linux.sysctl") : 0;
}
