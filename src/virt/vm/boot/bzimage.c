/*
 * The setup header and the payload of a bzImage. Offsets are those of boot.rst, from the file's
 * start. The payload's last four bytes are its unpacked size, for gzip as part of the format.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/cursor.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/decompress.h"
#include "virt/vm/boot/bzimage.h"

enum {
	SETUP_SECTORS = 0x1f1,
	BOOT_FLAG = 0x1fe,
	MAGIC = 0x202, /* "HdrS" */
	VERSION = 0x206,
	LOAD_FLAGS = 0x211,
	INITRD_LAST = 0x22c,
	X_LOAD_FLAGS = 0x236,
	COMMAND_LINE_SIZE = 0x238,
	PAYLOAD_OFFSET = 0x248,
	PAYLOAD_LENGTH = 0x24c,
	HEADER_END = 0x250, /* as much as is looked at */
};

#define SECTOR_BYTES	   512u
#define SETUP_SECTORS_ZERO 4 /* what 0 means */
#define VERSION_PAYLOAD	   0x0208
#define VERSION_64	   0x020c
#define X_KERNEL_64	   1u
#define BOOT_FLAG_VALUE	   0xaa55
#define SIZE_BYTES	   4u /* behind the payload */

/* What a kernel may be packed with and we cannot unpack; told by its first bytes. */
static const struct {
	const char *name;
	uint8_t magic[3];
} refused[] = {
	{"bzip2", {'B', 'Z', 'h'}},
	{"LZMA", {0x5d, 0, 0}},
	{"LZO", {0x89, 'L', 'Z'}},
};

static uint32_t at(const uint8_t *head, unsigned offset, unsigned bytes)
{
	uint32_t v = 0;

	assert(offset + bytes <= HEADER_END);
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint32_t)head[offset + i] << (8 * i);
	return v;
}

bool bzimage_is(const struct boot_image *i)
{
	uint8_t head[HEADER_END];

	return boot_image_read(i, 0, head, sizeof(head), NULL) == 0 &&
	       at(head, BOOT_FLAG, 2) == BOOT_FLAG_VALUE && memcmp(head + MAGIC, "HdrS", 4) == 0;
}

static int parse(const struct boot_image *i, struct bzimage *z, struct err *e)
{
	uint8_t head[HEADER_END];
	uint64_t setup;
	int r = boot_image_read(i, 0, head, sizeof(head), e);

	if (r < 0)
		return r;
	z->version = (uint16_t)at(head, VERSION, 2);
	if (z->version < VERSION_PAYLOAD)
		return err_set(e, ERR_UNSUPPORTED,
			       "'%s' is a kernel of boot protocol %u.%u, older than 2.8: take its "
			       "unpacked vmlinux",
			       i->name, z->version >> 8, z->version & 0xff);
	if (z->version >= VERSION_64 && !(at(head, X_LOAD_FLAGS, 2) & X_KERNEL_64))
		return err_set(e, ERR_UNSUPPORTED,
			       "'%s' is a 32-bit kernel; a kernel for x86-64 is needed", i->name);
	setup = at(head, SETUP_SECTORS, 1);
	setup = ((setup ? setup : SETUP_SECTORS_ZERO) + 1) * SECTOR_BYTES;
	z->payload_at = setup + at(head, PAYLOAD_OFFSET, 4);
	z->payload_bytes = at(head, PAYLOAD_LENGTH, 4);
	z->command_line_max = at(head, COMMAND_LINE_SIZE, 4);
	z->initrd_last = at(head, INITRD_LAST, 4);
	if (z->payload_bytes <= SIZE_BYTES)
		return err_set(e, ERR_INVALID, "'%s' has no kernel inside: it is damaged", i->name);
	return boot_image_read(i, BZIMAGE_HEADER_AT, z->header,
			       i->bytes - BZIMAGE_HEADER_AT < BZIMAGE_HEADER_MAX
				       ? i->bytes - BZIMAGE_HEADER_AT
				       : BZIMAGE_HEADER_MAX,
			       e);
}

static int refuse(const struct boot_image *i, struct str in, struct err *e)
{
	for (size_t k = 0; k < array_len(refused); k++)
		if (in.n >= 3 && memcmp(in.p, refused[k].magic, 3) == 0)
			return err_set(e, ERR_UNSUPPORTED,
				       "'%s' is packed with %s; LZ4, gzip, zstd and xz can be "
				       "unpacked, or take its vmlinux",
				       i->name, refused[k].name);
	return err_set(e, ERR_INVALID,
		       "'%s' has no kernel inside that can be unpacked: it is damaged", i->name);
}

static int unpack(const struct boot_image *i, struct bzimage *z, const uint8_t *payload,
		  struct err *e)
{
	struct str in = {(const char *)payload, z->payload_bytes};
	struct cursor size = cursor_of(payload + z->payload_bytes - SIZE_BYTES, SIZE_BYTES);
	enum decompress_kind kind = decompress_guess(in);
	uint64_t bytes = cursor_le32(&size);
	int r;

	if (kind == DECOMPRESS_KINDS)
		return refuse(i, in, e);
	if (kind != DECOMPRESS_GZIP)
		in.n -= SIZE_BYTES;
	if (bytes == 0 || bytes > IMAGE_KERNEL_BYTES_MAX)
		return err_set(e, ERR_INVALID,
			       "'%s' says that it unpacks to %llu bytes: it is damaged", i->name,
			       (unsigned long long)bytes);
	z->kernel = mem_try(bytes, e);
	if (!z->kernel)
		return err_wrap(e, "unpacking '%s'", i->name);
	r = decompress(in, z->kernel, bytes, &z->kernel_bytes, e);
	return r < 0 ? err_wrap(e, "cannot unpack '%s'", i->name) : 0;
}

int bzimage_unpack(const struct boot_image *i, struct bzimage *ret, struct err *e)
{
	struct bzimage z = {0};
	auto_free uint8_t *payload = NULL;
	int r = parse(i, &z, e);

	assert(bzimage_is(i) || r < 0);
	if (r < 0)
		return r;
	if (z.payload_at > i->bytes || z.payload_bytes > i->bytes - z.payload_at)
		return err_set(e, ERR_INVALID,
			       "'%s' is cut off: its kernel would end at byte %llu of %llu",
			       i->name, (unsigned long long)(z.payload_at + z.payload_bytes),
			       (unsigned long long)i->bytes);
	payload = mem_try(z.payload_bytes, e);
	r = payload ? boot_image_read(i, z.payload_at, payload, z.payload_bytes, e)
		    : -ERR_EXHAUSTED;
	if (r == 0)
		r = unpack(i, &z, payload, e);
	if (r < 0) {
		bzimage_done(&z);
		return r;
	}
	*ret = z;
	return 0;
}

void bzimage_done(struct bzimage *z)
{
	free(z->kernel);
	z->kernel = NULL;
}
