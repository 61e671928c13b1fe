/*
 * Fuzz: any bytes as config.json are decoded or refused with a message; what is decoded keeps the
 * rules that its users rely on, and its mount options and sysctls are read without harm.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/container/job.h"
#include "virt/container/mount_options.h"
#include "virt/container/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void use(const struct spec *s, struct arena *a)
{
	struct mount_options o;
	struct launch l = {0};
	struct err e = {0};

	for (size_t i = 0; i < s->mounts_n; i++) {
		assert(s->mounts[i].destination && *s->mounts[i].destination);
		if (mount_options_parse(&s->mounts[i], a, &o, &e) == 0)
			assert(o.data_n <= MOUNT_DATA_MAX);
	}
	for (size_t i = 0; i < s->os.namespaces_n; i++)
		assert(namespace_find(s->os.namespaces[i].type) >= 0);
	if (s->process) {
		assert(s->process->args[0] && s->process->cwd[0] == '/');
		if (launch_init(&l, s->process, a, &e) < 0)
			assert(e.text[0]);
	}
	if (sysctls_check(s, ~0U, &e) < 0)
		assert(e.text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	auto_arena struct arena a = {0};
	auto_json struct json *j = NULL;
	struct spec *s = NULL;
	struct err e = {0};

	if (json_parse((struct str){(const char *)bytes, n}, "fuzz", &j, &e) < 0 ||
	    spec_decode(j, "fuzz", &a, &s, &e) < 0) {
		assert(e.kind != ERR_NONE && e.text[0]);
		return 0;
	}
	use(s, &a);
	return 0;
}
