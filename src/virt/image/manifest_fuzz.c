/*
 * Any bytes as a manifest, an index and a config. What passes keeps its promises: valid digests,
 * bounded lists.
 */
#include <assert.h>

#include "virt/image/image_priv.h"

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n);

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n)
{
	struct str bytes = {(const char *)p, n};
	auto_arena struct arena a = {0};
	const struct manifest_part *part;
	struct manifest_platform want;
	struct image *image = NULL;
	struct manifest m;

	if (manifest_parse(bytes, "manifest", NULL, &a, &m, NULL) == 0) {
		for (size_t i = 0; i < m.parts_n; i++)
			assert(digest_valid(str_of(m.parts[i].digest)) &&
			       m.parts[i].size_bytes >= 0);
		assert(m.index || digest_valid(str_of(m.config.digest)));
		if (m.index && manifest_platform_parse("linux/amd64", &a, &want, NULL) == 0)
			(void)!manifest_choose(&m, &want, "x", &part, NULL);
	}
	if (manifest_config(bytes, "config", &image, NULL) == 0) {
		assert(image->layers_n <= IMAGE_LAYERS_MAX);
		(void)image_unref(image);
	}
	return 0;
}
