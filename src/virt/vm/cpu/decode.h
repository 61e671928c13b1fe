/*
 * The decoder: instruction bytes into ops. It is the same for every mode; what differs comes out
 * of the mode word. Nothing here depends on registers or memory, so that a decoded trace is true
 * for as long as its bytes and the mode are.
 *
 * Bytes come through a window of at most 15 that may be cut short at the end of the page:
 * DECODE_SHORT then says that the instruction goes on behind it.
 *
 * References: Intel SDM volume 2, chapter 2 (format) and appendix A (opcode maps).
 */
#pragma once

#include "virt/vm/cpu/op.h"

#define DECODE_LENGTH_MAX 15

enum decode_map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_COUNT };

enum decode_result {
	DECODE_OK,
	DECODE_ENDS,  /* ... and it is the last of its trace */
	DECODE_SHORT, /* more bytes are needed than the window has */
	DECODE_LONG,  /* more than 15 bytes: #GP */
};

struct decoder {
	const uint8_t *bytes;
	unsigned n, at;	 /* bytes in the window; next to read */
	bool shrt;	 /* a read went past the window */
	uint32_t mode;	 /* enum cpu_mode */
	uint16_t offset; /* of the first byte, in its page */

	/* Prefixes. */
	bool lock, opsize, adsize, rep, repne; /* F0, 66, 67, F3, F2 */
	uint8_t segment;		       /* 0, or 1 + enum vcpu_segment_name */
	uint8_t rex;			       /* 0, or 0x40 … 0x4f */
	/* Opcode. */
	uint8_t map, opcode;
	/* ModRM, once decode_modrm() read it. */
	uint8_t mod, reg, rm; /* extended by REX; digit: reg & 7 */
	bool has_modrm, memory;
	unsigned log2;	       /* of the operand size: 1, 2 or 3 */
	unsigned address;      /* of the address size: 1, 2 or 3 */
	uint8_t reads, writes; /* OPF_*, filled with the handler */
	bool may_fault;
	bool linked; /* a direct branch: its link was put into o[1] (op.h) */
};

/* Mandatory prefix of the vector maps: 0, 0x66, 0xf3 or 0xf2 (the last of F3 and F2 wins). */
static inline uint8_t decode_mandatory(const struct decoder *d)
{
	return d->rep ? 0xf3 : d->repne ? 0xf2 : d->opsize ? 0x66 : 0;
}

static inline bool decode_is64(const struct decoder *d)
{
	return (d->mode & MODE_CODE64) != 0;
}

uint8_t decode_u8(struct decoder *d);
/* A sign-extended immediate of 1, 2, 4 or 8 bytes. */
uint64_t decode_imm(struct decoder *d, unsigned bytes);
/* Reads ModRM, SIB and displacement; the memory operand goes into `o`, `bytes` wide at most. */
void decode_modrm(struct decoder *d, struct op *o);
/* RIP-relative operands count from the end of the instruction: call once all bytes are read. */
void decode_finish(struct decoder *d, struct op *o);
/* The operand is to be written: segment checks differ. */
static inline void decode_writes_memory(struct op *o)
{
	if (o->ea & EA_CHECK)
		o->ea |= EA_WRITE;
}

/* One instruction. On OK and ENDS `o` is filled (an invalid one is op_ud), also o[1] where
 * d->linked; the flags that it reads and writes are in d. */
enum decode_result decode_op(struct decoder *d, struct op *o);

#define DECODE_INSTRUCTIONS_MAX 32
#define DECODE_OPS_MAX		(2 * DECODE_INSTRUCTIONS_MAX + 2)

/* A trace before it has a place: op_enter first, a link last (or an op that leaves). */
struct decoded {
	unsigned ops, instructions, bytes;
	struct op op[DECODE_OPS_MAX];
};

/*
 * Decodes a trace out of `n` bytes that begin at `offset` of their page: up to `most`
 * instructions, to the end of the window, to a jump. Chooses handlers by the flags that are
 * needed, fuses compare and branch. False: the first instruction goes on behind the window. An
 * instruction of more than 15 bytes is one that raises #GP.
 */
bool decode_trace(const uint8_t *bytes, unsigned n, unsigned offset, uint32_t mode, unsigned most,
		  struct decoded *ret) must_use;

/* Copies the ops to where they will run, and closes the links to themselves. */
void decode_place(const struct decoded *d, struct op *at);

/*
 * The vector and x87 side of the maps: called for opcodes that are not integer ones (ModRM is not
 * read yet, the prefixes are). Fills the op as a handler wants it, reads ModRM and immediates with
 * the verbs above, and returns false for what it does not know (#UD). x87: MAP_ONE D8–DF and 9B.
 */
bool vector_decode(struct decoder *d, struct op *o) must_use;
