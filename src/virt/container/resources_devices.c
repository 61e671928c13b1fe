/*
 * linux.resources.devices: the configuration's rules, then those that every container needs. What
 * no rule allows is denied, also where the configuration has no rules.
 */
#include "virt/container/resources_priv.h"

#include <assert.h>
#include <inttypes.h>
#include <unistd.h>

#include "ground/base/mem.h"

/* runtime-spec config-linux.md "Default Devices", and mknod of anything: a node alone opens
 * nothing. */
static const struct cgroup_device always[] = {
	{true, 'c', -1, -1, false, false, true}, {true, 'b', -1, -1, false, false, true},
	{true, 'c', 1, 3, true, true, true},	 {true, 'c', 1, 5, true, true, true},
	{true, 'c', 1, 7, true, true, true},	 {true, 'c', 1, 8, true, true, true},
	{true, 'c', 1, 9, true, true, true},	 {true, 'c', 5, 0, true, true, true},
	{true, 'c', 5, 1, true, true, true},	 {true, 'c', 5, 2, true, true, true},
	{true, 'c', 136, -1, true, true, true},
};

static int decode_rule(const struct spec_device_rule *in, struct cgroup_device *ret, struct err *e)
{
	const char *type = in->type && *in->type ? in->type : "a";
	const char *access = in->access && *in->access ? in->access : "rwm";

	if (!strchr("abcu", type[0]) || type[1])
		return err_set(e, ERR_INVALID, "linux.resources.devices: unknown type '%.20s'",
			       type);
	if (strspn(access, "rwm") != strlen(access))
		return err_set(e, ERR_INVALID, "linux.resources.devices: unknown access '%.20s'",
			       access);
	*ret = (struct cgroup_device){
		.allow = in->allow,
		.type = type[0] == 'u' ? 'c' : type[0],
		.major = in->major ? *in->major : -1,
		.minor = in->minor ? *in->minor : -1,
		.read = strchr(access, 'r'),
		.write = strchr(access, 'w'),
		.mknod = strchr(access, 'm'),
	};
	if (ret->major < -1 || ret->minor < -1 || ret->major > INT32_MAX || ret->minor > INT32_MAX)
		return err_set(e, ERR_INVALID,
			       "linux.resources.devices: no device %" PRId64 ":%" PRId64,
			       ret->major, ret->minor);
	return 0;
}

/* "0 0 4294967295": ids are not mapped, so this is the host's own user namespace. */
static bool in_user_namespace(void)
{
	FILE *f = fopen("/proc/self/uid_map", "re");
	uint32_t inside = 1, outside = 1, count = 0;
	int n = 0;

	if (!f)
		return false;
	n = fscanf(f, "%" SCNu32 " %" SCNu32 " %" SCNu32, &inside, &outside, &count);
	(void)fclose(f);
	return n == 3 && (inside || outside || count != UINT32_MAX);
}

static bool allows_all(const struct cgroup_device *rules, size_t n)
{
	return n > 0 && rules[n - 1].type == 'a' && rules[n - 1].allow && rules[n - 1].read &&
	       rules[n - 1].write && rules[n - 1].mknod;
}

int resources_put_devices(struct cgroup *cg, const struct spec_resources *r, struct err *e)
{
	size_t given = r ? r->devices_n : 0, n = 0;
	auto_free struct cgroup_device *rules = NULL;
	bool asked = given > 0;
	struct err why = {0};
	int bad = 0;

	if (given + array_len(always) > CGROUP_DEVICES_MAX)
		return err_set(e, ERR_INVALID, "linux.resources.devices: %zu rules are too many",
			       given);
	rules = mem_new_array(struct cgroup_device, given + array_len(always));
	for (; n < given; n++) {
		bad = decode_rule(&r->devices[n], &rules[n], e);
		if (bad < 0)
			return bad;
	}
	assert(n == given);
	if (!allows_all(rules, n)) {
		memcpy(rules + n, always, sizeof always);
		n += array_len(always);
	}
	if (!cgroup_has(cg, CGROUP_DEVICES) && !asked)
		return 0;
	bad = cgroup_devices(cg, rules, n, &why);
	/*
	 * Without privilege, or in a user namespace, no device node can be made or opened that its
	 * owner could not open outside, and the kernel lets nobody attach rules there: they are not
	 * missed.
	 */
	if (bad == 0 || !asked || geteuid() != 0 || in_user_namespace())
		return 0;
	if (e)
		*e = why;
	return err_wrap(e, "linux.resources.devices");
}
