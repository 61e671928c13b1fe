/*
 * Kernels for tests, made byte by byte: an ELF file with one or two segments and a PVH note, and a
 * bzImage that holds it as LZ4 literals.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ground/base/str.h"

#define FIXTURE_LOAD_AT	  0x200000u
#define FIXTURE_ENTRY	  0x200010u
#define FIXTURE_PVH_ENTRY 0x200020u
#define FIXTURE_CODE	  64u	  /* bytes in the file */
#define FIXTURE_MEMORY	  0x5000u /* and in memory */

static inline void fixture_put(struct strbuf *b, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		strbuf_add_char(b, (char)(v >> (8 * i)));
}

static inline void fixture_program(struct strbuf *b, uint32_t type, uint64_t offset,
				   uint64_t address, uint64_t file_n, uint64_t memory_n)
{
	fixture_put(b, type, 4);
	fixture_put(b, 7, 4);
	fixture_put(b, offset, 8);
	fixture_put(b, address, 8);
	fixture_put(b, address, 8);
	fixture_put(b, file_n, 8);
	fixture_put(b, memory_n, 8);
	fixture_put(b, 4096, 8);
}

/* Header 64, two program headers of 56, note of 20 at 176, code at 196. */
static inline void fixture_elf(struct strbuf *b, bool pvh)
{
	strbuf_add(b, "\177ELF\2\1\1\0\0\0\0\0\0\0\0\0", 16);
	fixture_put(b, 2, 2);
	fixture_put(b, 62, 2);
	fixture_put(b, 1, 4);
	fixture_put(b, FIXTURE_ENTRY, 8);
	fixture_put(b, 64, 8);
	fixture_put(b, 0, 8);
	fixture_put(b, 0, 4);
	fixture_put(b, 64, 2);
	fixture_put(b, 56, 2);
	fixture_put(b, 2, 2);
	fixture_put(b, 0, 6);
	fixture_program(b, 1, 196, FIXTURE_LOAD_AT, FIXTURE_CODE, FIXTURE_MEMORY);
	fixture_program(b, pvh ? 4 : 0, 176, 0, 20, 20);
	fixture_put(b, 4, 4);
	fixture_put(b, 4, 4);
	fixture_put(b, 18, 4);
	strbuf_add(b, "Xen", 4);
	fixture_put(b, FIXTURE_PVH_ENTRY, 4);
	for (unsigned i = 0; i < FIXTURE_CODE; i++)
		strbuf_add_char(b, (char)(0xc0 + i));
}

/* One LZ4 block of literals alone: a token with 15 and more of them, then the rest of the count. */
static inline void fixture_lz4(struct strbuf *b, struct str in)
{
	struct strbuf block = {0};
	size_t left = in.n - 15;

	strbuf_add_char(&block, (char)0xf0);
	for (; left >= 255; left -= 255)
		strbuf_add_char(&block, (char)0xff);
	strbuf_add_char(&block, (char)left);
	strbuf_add(&block, in.p, in.n);
	fixture_put(b, 0x184c2102, 4);
	fixture_put(b, block.n, 4);
	strbuf_add(b, block.p, block.n);
	strbuf_done(&block);
}

static inline void fixture_bzimage(struct strbuf *b, bool pvh)
{
	struct strbuf elf = {0}, payload = {0};

	fixture_elf(&elf, pvh);
	fixture_lz4(&payload, strbuf_str(&elf));
	fixture_put(&payload, elf.n, 4);
	for (unsigned i = 0; i < 2 * 512; i++)
		strbuf_add_char(b, 0);
	b->p[0x1f1] = 1;
	memcpy(b->p + 0x1fe, "\x55\xaa", 2);
	memcpy(b->p + 0x202, "HdrS\x0f\x02", 6);
	b->p[0x236] = 1;
	memcpy(b->p + 0x238, "\xff\x07", 2);
	memcpy(b->p + 0x22c, "\xff\xff\xff\x7f", 4);
	for (unsigned i = 0; i < 4; i++)
		b->p[0x24c + i] = (char)(payload.n >> (8 * i));
	strbuf_add(b, payload.p, payload.n);
	strbuf_done(&payload);
	strbuf_done(&elf);
}
