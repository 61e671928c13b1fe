/*
 * features: what this runtime can do (runtime-spec features.md), from the very tables that do it.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/hull-oci/oci.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/format/json.h"
#include "ground/linux/caps.h"
#include "ground/linux/namespace.h"
#include "ground/linux/seccomp.h"
#include "virt/container/mount_options.h"
#include "virt/container/spec.h"

static struct json *enabled(bool on)
{
	struct json *j = json_new_object();

	json_set_bool(j, "enabled", on);
	return j;
}

static struct json *list_mount_options(void)
{
	struct json *j = json_new_array();

	for (size_t i = 0; mount_options_name(i); i++)
		json_append(j, json_new_text(mount_options_name(i)));
	return j;
}

static struct json *list_namespaces(void)
{
	struct json *j = json_new_array();

	for (int k = 0; k < NAMESPACE_KINDS; k++)
		json_append(j, json_new_text(namespace_info((enum namespace_kind)k)->name));
	return j;
}

static struct json *list_capabilities(void)
{
	struct json *j = json_new_array();

	for (int i = 0; caps_name(i); i++)
		json_append(j, json_new_text(caps_name(i)));
	return j;
}

static struct json *describe_cgroup(void)
{
	static const char *const on[] = {"v1", "v2", "rdma"};
	struct json *j = json_new_object();

	for (size_t i = 0; i < array_len(on); i++)
		json_set_bool(j, on[i], true);
	json_set_bool(j, "systemd", false);
	json_set_bool(j, "systemdUser", false);
	return j;
}

static struct json *describe_seccomp(void)
{
	struct json *j = enabled(true);

	json_set(j, "actions", json_new_texts((char *const *)seccomp_actions));
	json_set(j, "operators", json_new_texts((char *const *)seccomp_operators));
	json_set(j, "archs", json_new_texts((char *const *)seccomp_archs));
	json_set(j, "knownFlags", json_new_texts((char *const *)seccomp_flags));
	json_set(j, "supportedFlags", json_new_texts((char *const *)seccomp_flags));
	return j;
}

static struct json *describe_linux(void)
{
	struct json *j = json_new_object(), *mounts = json_new_object();

	json_set(j, "namespaces", list_namespaces());
	json_set(j, "capabilities", list_capabilities());
	json_set(j, "cgroup", describe_cgroup());
	json_set(j, "seccomp", describe_seccomp());
	json_set(j, "apparmor", enabled(true));
	json_set(j, "selinux", enabled(true));
	json_set(j, "intelRdt", enabled(false));
	json_set(mounts, "idmap", enabled(true));
	json_set(j, "mountExtensions", mounts);
	return j;
}

int verb_features(struct oci *o, int argc, char **argv, struct err *e)
{
	static const char *const hooks[] = {"prestart",
					    "createRuntime",
					    "createContainer",
					    "startContainer",
					    "poststart",
					    "poststop",
					    NULL};
	auto_json struct json *j = json_new_object();
	auto_strbuf struct strbuf b = {0};

	if (argc != 1)
		return err_set(e, ERR_INVALID, "features takes no operands");
	json_set_text(j, "ociVersionMin", "1.0.0");
	json_set_text(j, "ociVersionMax", SPEC_VERSION);
	json_set(j, "hooks", json_new_texts((char *const *)hooks));
	json_set(j, "mountOptions", list_mount_options());
	json_set(j, "linux", describe_linux());
	json_set(j, "annotations", json_new_object());
	json_write_pretty(j, &b);
	(void)printf("%s\n", strbuf_text(&b));
	return 0;
}
