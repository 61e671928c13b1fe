/* Fuzzes the reader of kernel modules: any file has a list of names or is refused. */
#include <assert.h>
#include <stdint.h>

#include "virt/guest/modinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_arena struct arena a = {0};
	char **depends;
	size_t n = 0;

	if (module_depends((struct str){(const char *)data, size}, &a, &depends, NULL) < 0)
		return 0;
	while (depends[n])
		n++;
	assert(n <= MODULE_DEPENDS_MAX);
	return 0;
}
