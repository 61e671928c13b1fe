/*
 * Fuzzes the agent's protocol: any bytes are frames or refused, and a start that was decoded packs
 * again into one that decodes.
 */
#include <assert.h>
#include <stdint.h>

#include "virt/guest/protocol.h"

static void one_frame(const struct guest_frame *f)
{
	auto_arena struct arena a = {0};
	auto_strbuf struct strbuf again = {0};
	struct guest_start start;
	struct guest_frame g;
	const char *text;
	uint32_t x, y;
	size_t n;

	(void)!guest_read_u32(f, &x, NULL);
	(void)!guest_read_pair(f, &x, &y, NULL);
	(void)!guest_read_failed(f, &a, &x, &text, NULL);
	if (guest_read_start(f, &a, &start, NULL) < 0 ||
	    guest_write_start(&again, &start, NULL) < 0)
		return;
	assert(guest_next(&again, &g, &n, NULL) == 1);
	assert(guest_read_start(&g, &a, &start, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_strbuf struct strbuf in = {0};
	struct guest_frame f;
	size_t n;

	strbuf_add(&in, data, size);
	while (guest_next(&in, &f, &n, NULL) > 0) {
		one_frame(&f);
		strbuf_drop_front(&in, n);
	}
	return 0;
}
