/* Fuzzes the control socket's calls: method and path up to the first newline, then a body. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/vm/vm_api.h"
#include "ground/base/str.h"

static int refuse_start(void *ctx, const struct json *config, struct err *e)
{
	(void)ctx;
	(void)config;
	return err_set(e, ERR_UNSUPPORTED, "not here");
}

static int refuse(void *ctx, struct err *e)
{
	(void)ctx;
	return err_set(e, ERR_UNSUPPORTED, "not here");
}

static enum vm_api_state not_started(void *ctx)
{
	(void)ctx;
	return VM_API_NOT_STARTED;
}

static struct json *no_stats(void *ctx)
{
	(void)ctx;
	return json_new_object();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vm_api_ops ops = {refuse_start, refuse,	 refuse,
					      refuse,	    not_started, no_stats};
	struct str rest = {(const char *)data, size}, method = {0}, path = {0};
	struct json *answer = NULL;
	struct vm_api *a;
	char *m, *p;
	int status;

	(void)str_cut(&rest, '\n', &method);
	(void)str_cut(&method, ' ', &path);
	m = str_dup(path);
	p = str_dup(method.p ? method : STR("/"));
	if (vm_api_new(NULL, -1, "m", &ops, NULL, &a, NULL) == 0) {
		status = vm_api_call(a, m, p, rest.p ? rest : STR(""), &answer);
		assert(status == 200 || status == 204 || status == 400);
		(void)json_free(answer);
		(void)vm_api_free(a);
	}
	free(m);
	free(p);
	return 0;
}
