/*
 * linux.seccomp as what ground compiles: the same fields under the names of that room, pointers
 * shared with the decoded configuration. And what a seccomp agent is told about the process it
 * watches.
 */
#include "virt/container/resources_priv.h"

#include "ground/base/mem.h"
#include "ground/format/json.h"
#include "ground/linux/seccomp.h"

int resources_seccomp(const struct spec_seccomp *s, struct arena *a, struct seccomp_config *ret,
		      struct err *e)
{
	struct seccomp_syscall *calls = NULL;

	if (s->rules_n > SECCOMP_SYSCALLS_MAX)
		return err_set(e, ERR_INVALID, "linux.seccomp.syscalls: %zu rules are too many",
			       s->rules_n);
	calls = arena_new_array(a, struct seccomp_syscall, s->rules_n + 1);
	for (size_t i = 0; i < s->rules_n; i++) {
		const struct spec_seccomp_rule *rule = &s->rules[i];
		struct seccomp_arg *args = arena_new_array(a, struct seccomp_arg, rule->args_n + 1);

		for (size_t k = 0; k < rule->args_n; k++)
			args[k] = (struct seccomp_arg){rule->args[k].index, rule->args[k].value,
						       rule->args[k].value_two, rule->args[k].op};
		calls[i] = (struct seccomp_syscall){rule->names, rule->action, rule->errno_ret,
						    args, rule->args_n};
	}
	*ret = (struct seccomp_config){
		.default_action = s->default_action,
		.default_errno_ret = s->default_errno_ret,
		.architectures = s->architectures,
		.flags = s->flags,
		.syscalls = calls,
		.syscalls_n = s->rules_n,
	};
	return 0;
}

struct json *resources_seccomp_state(int pid, const char *metadata, struct json *state)
{
	struct json *whole = json_new_object(), *fds = json_new_array();

	json_append(fds, json_new_text("seccompFd"));
	json_set_text(whole, "ociVersion", SPEC_VERSION);
	json_set(whole, "fds", fds);
	json_set_i64(whole, "pid", pid);
	if (metadata)
		json_set_text(whole, "metadata", metadata);
	json_set(whole, "state", state);
	return whole;
}
