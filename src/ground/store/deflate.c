/*
 * Raw deflate by zlib: images are written with a window of 4 KiB, any is read.
 */
#include <assert.h>
#include <stdint.h>

#include <zlib.h>

#include "ground/store/deflate.h"

int deflate_unpack(const void *from, size_t from_n, void *to, size_t n, struct err *e)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)from,
		      .avail_in = (uInt)from_n,
		      .next_out = to,
		      .avail_out = (uInt)n};
	int r;

	assert(from_n <= UINT32_MAX && n <= UINT32_MAX);
	if (inflateInit2(&z, -15) != Z_OK)
		return err_set(e, ERR_EXHAUSTED, "no memory to unpack deflate data");
	r = inflate(&z, Z_FINISH);
	(void)inflateEnd(&z);
	/* Room full before the end mark is as good: the piece's size is known. */
	if ((r != Z_STREAM_END && r != Z_BUF_ERROR) || z.avail_out)
		return err_set(e, ERR_INVALID, "damaged deflate data");
	return 0;
}
