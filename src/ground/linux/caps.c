/*
 * Capabilities: see caps.h. Raw system calls: a container's first process has no room for libcap.
 */
#include "ground/linux/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/str.h"

static const char *const names[] = {
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST",
	"CAP_NET_ADMIN",
	"CAP_NET_RAW",
	"CAP_IPC_LOCK",
	"CAP_IPC_OWNER",
	"CAP_SYS_MODULE",
	"CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE",
	"CAP_SYS_PACCT",
	"CAP_SYS_ADMIN",
	"CAP_SYS_BOOT",
	"CAP_SYS_NICE",
	"CAP_SYS_RESOURCE",
	"CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD",
	"CAP_LEASE",
	"CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL",
	"CAP_SETFCAP",
	"CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN",
	"CAP_SYSLOG",
	"CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ",
	"CAP_PERFMON",
	"CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
};

int caps_find(const char *name)
{
	for (size_t i = 0; i < array_len(names); i++)
		if (!strcasecmp(name, names[i]) || !strcasecmp(name, names[i] + strlen("CAP_")))
			return (int)i;
	return -1;
}

const char *caps_name(int cap)
{
	return cap >= 0 && (size_t)cap < array_len(names) ? names[cap] : NULL;
}

int caps_mask(char *const *list, uint64_t *ret, struct err *e)
{
	uint64_t mask = 0;

	for (; list && *list; list++) {
		int cap = caps_find(*list);

		if (cap < 0)
			return err_set(e, ERR_INVALID, "unknown capability '%s'", *list);
		mask |= 1ULL << cap;
	}
	*ret = mask;
	return 0;
}

static int capget(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return (int)syscall(SYS_capget, &header, data);
}

/* The last one the kernel knows: the bounding set can be asked bit by bit. */
static int caps_last(void)
{
	int last = (int)array_len(names) - 1;

	while (last > 0 && prctl(PR_CAPBSET_READ, last, 0, 0, 0) < 0)
		last--;
	return last;
}

uint64_t caps_all(void)
{
	return (2ULL << caps_last()) - 1;
}

bool caps_have(int cap)
{
	struct __user_cap_data_struct data[2] = {{0}, {0}};

	return capget(data) == 0 && (data[cap / 32].effective >> (cap % 32) & 1);
}

int caps_bound(uint64_t bounding, struct err *e)
{
	int last = caps_last();

	for (int cap = 0; cap <= last; cap++) {
		if (bounding >> cap & 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
		    prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			return err_sys(e, "cannot drop %s from the bounding set", caps_name(cap));
	}
	return 0;
}

int caps_keep(struct err *e)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(e, "cannot keep capabilities over the change of user");
	return 0;
}

int caps_apply(const struct caps *c, struct err *e)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}, {0}};
	uint64_t have, permitted, ambient;

	if (capget(data) < 0)
		return err_sys(e, "cannot read this process's capabilities");
	have = data[0].permitted | (uint64_t)data[1].permitted << 32;
	permitted = c->permitted & have;
	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(permitted >> 32 * i);
		data[i].effective = (uint32_t)((c->effective & permitted) >> 32 * i);
		data[i].inheritable = (uint32_t)((c->inheritable & have) >> 32 * i);
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return err_sys(e, "cannot set the capabilities");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return c->ambient ? err_sys(e, "cannot clear the ambient capabilities") : 0;
	ambient = c->ambient & permitted & c->inheritable;
	for (int cap = 0; ambient >> cap; cap++)
		if ((ambient >> cap & 1) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return err_sys(e, "cannot raise the ambient %s", caps_name(cap));
	return 0;
}
