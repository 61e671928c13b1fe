/*
 * Any text as a reference: what is accepted must read the same again from its normal form.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "virt/image/image_priv.h"
#include "virt/image/registry.h"

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n);

int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n)
{
	auto_free char *text = str_dup((struct str){(const char *)p, n});
	auto_free char *full = NULL, *again = NULL;
	auto_arena struct arena a = {0};
	struct registry_challenge c;
	struct image_auth auth;

	(void)registry_challenge(text, &a, &c);
	image_auth_decode(text, &a, &auth);
	(void)registry_error_text((struct str){(const char *)p, n}, &a);
	if (image_reference_normal(text, &full, NULL, NULL) < 0)
		return 0;
	assert(image_reference_normal(full, &again, NULL, NULL) == 0);
	assert(strcmp(full, again) == 0);
	return 0;
}
