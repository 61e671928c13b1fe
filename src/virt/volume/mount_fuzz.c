/* Fuzzes the notations of a mount: what is taken must be an absolute, clean target that is not "/".
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "virt/volume/volume_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct arena a = {0};
	struct volume_mount m;
	char *whole = str_dup(text);

	if (volume_parse_bind(text, &a, &m, NULL) == 0)
		assert(m.target[0] == '/' && m.target[1] && !strstr(m.target, "/../"));
	if (volume_parse_tmpfs("/t", whole, &a, &m, NULL) == 0)
		assert(m.tmpfs_size_bytes >= 0);
	arena_done(&a);
	free(whole);
	return 0;
}
