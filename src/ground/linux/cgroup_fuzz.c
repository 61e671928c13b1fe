/* Fuzz: mountinfo, /proc/self/cgroup, the saved text, cgroup paths, from arbitrary bytes. */
#include <assert.h>
#include <stdint.h>

#include "ground/base/mem.h"
#include "ground/linux/cgroup_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct cgroup_host h = {0};
	auto_cgroup struct cgroup *cg = NULL;
	auto_free char *copy = str_dup(text);
	auto_free char *clean = cgroup_path_clean(copy, NULL);
	auto_free char *resolved = NULL;
	struct cgroup_want want = {.path = copy, .id = "x", .systemd = size & 1};
	bool relative = false;

	cgroup_host_parse_mounts(&h, text);
	cgroup_host_settle(&h);
	cgroup_host_parse_own(&h, text);
	cgroup_host_done(&h);
	assert(!clean || (clean[0] == '/' && !strstr(clean, "/../") && !strstr(clean, "//")));
	if (cgroup_path_resolve(&want, &resolved, &relative, NULL) == 0)
		assert(resolved[0] == '/' && resolved[1]);
	if (cgroup_load(text, &cg, NULL) == 0) {
		auto_strbuf struct strbuf again = {0};
		struct cgroup_mount_plan plan = {0};

		cgroup_save(cg, &again);
		cgroup_mount_plan(cg, &plan);
		cgroup_mount_plan_done(&plan);
	}
	return 0;
}
