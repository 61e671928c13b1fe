/*
 * An initramfs as an uncompressed cpio archive of the "newc" kind (Linux
 * Documentation/driver-api/early-userspace/buffer-format.rst), written into a strbuf. The kernel
 * wants every directory before what is in it.
 */
#pragma once

#include <stdint.h>

#include "ground/base/str.h"

void cpio_directory(struct strbuf *out, const char *path);
void cpio_file(struct strbuf *out, const char *path, unsigned mode, struct str bytes);
/* A character device. */
void cpio_device(struct strbuf *out, const char *path, unsigned mode, unsigned major,
		 unsigned minor);
void cpio_end(struct strbuf *out);
