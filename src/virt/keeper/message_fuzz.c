/*
 * Fuzzes the keeper's protocol: any packet is refused or decoded, and what was decoded packs again
 * into something that decodes.
 */
#include <assert.h>
#include <stdint.h>

#include "virt/keeper/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(16) char in[4096];
	auto_strbuf struct strbuf again = {0};
	auto_arena struct arena a = {0};
	const struct message_shape *shape;
	struct message m;

	if (message_read((struct str){(const char *)data, size}, &m, NULL) < 0)
		return 0;
	shape = message_shape_of(m.type);
	if (!shape)
		return 0;
	assert(shape->size <= sizeof(in));
	if (message_decode(m.body, shape, &a, in, NULL) < 0)
		return 0;
	message_write(&again, m.type, m.serial, in);
	assert(message_read(strbuf_str(&again), &m, NULL) == 0);
	assert(message_decode(m.body, shape, &a, in, NULL) == 0);
	return 0;
}
