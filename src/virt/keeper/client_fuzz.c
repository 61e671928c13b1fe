/*
 * Fuzzes what clients send: detach keys in input that comes in two reads. Without the keys every
 * byte must come through in order, but for what may still be their beginning.
 */
#include <assert.h>
#include <stdint.h>

#include "virt/keeper/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_strbuf struct strbuf out = {0};
	struct client c = {0};
	const char *input;
	size_t cut;

	if (size < 2 || data[0] % CLIENT_KEYS_MAX + 2u > size)
		return 0;
	c.keys_n = data[0] % CLIENT_KEYS_MAX + 1u;
	if (1 + c.keys_n > size)
		return 0;
	memcpy(c.keys, data + 1, c.keys_n);
	input = (const char *)data + 1 + c.keys_n;
	size -= 1 + c.keys_n;
	cut = size ? data[0] % size : 0;
	if (!client_scan_keys(&c, input, cut, &out) ||
	    !client_scan_keys(&c, input + cut, size - cut, &out)) {
		assert(out.n + c.keys_n <= size);
		return 0;
	}
	assert(out.n + c.keys_seen == size);
	assert(out.n == 0 || memcmp(out.p, input, out.n) == 0);
	return 0;
}
