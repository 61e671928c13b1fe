/*
 * For tests only: a container that is none. Its configuration is a shell script, its processes are
 * the host's, it has no cgroup. Included once by a test program, where it takes virt/container's
 * place.
 */
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include "ground/format/json.h"
#include "ground/linux/process.h"
#include "virt/container/container.h"
#include "virt/container/resources.h"
#include "virt/container/spec.h"

static int fake_run(const char *script, char *const *args, const int stdio[3],
		    struct container *ret, struct err *e)
{
	char *shell[] = {"/bin/sh", (char *)(uintptr_t)script, NULL};
	pid_t pid = fork();

	if (pid < 0)
		return err_sys(e, "cannot fork");
	if (pid == 0) {
		for (int i = 0; i < 3; i++)
			(void)dup2(stdio[i], i);
		(void)execv(args ? args[0] : shell[0], args ? args : shell);
		_exit(127);
	}
	*ret = (struct container)CONTAINER_INIT;
	ret->pid = pid;
	if (process_start_time(pid, &ret->start_time, NULL, e) < 0)
		return -ERR_SYSTEM;
	return process_open(pid, ret->start_time, &ret->pidfd, e);
}

int container_create(const struct container_order *o, struct container *ret, struct err *e)
{
	if (access(o->config, R_OK) < 0)
		return err_sys(e, "cannot read '%s'", o->config);
	return fake_run(o->config, NULL, o->stdio, ret, e);
}

int container_exec(const struct container_exec_order *o, struct container *ret, struct err *e)
{
	if (access(o->args[0], X_OK) < 0)
		return err_sys(e, "cannot run '%s'", o->args[0]);
	return fake_run(NULL, o->args, o->stdio, ret, e);
}

int container_exit_code(const struct err *e)
{
	return e->kind == ERR_NOT_FOUND ? 127 : 126;
}

const struct json_shape spec_resources_shape;
int resources_update(struct cgroup *cg, const struct spec_resources *r, struct err *e)
{
	(void)cg;
	(void)r;
	return err_set(e, ERR_UNSUPPORTED, "not here");
}
