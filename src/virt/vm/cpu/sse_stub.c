/*
 * The SSE instructions with an immediate, one stub for each value (vec.h): the assembler writes
 * them from sse.def. A stub is a C function (vec d, vec s) -> vec.
 */
#include "virt/vm/cpu/vec.h"

#include <assert.h>

static_assert(offsetof(struct sse_string, of_and_ah) == 16, "the stubs' end knows it");
static_assert(offsetof(struct sse_string, index) == 24, "the stubs' end knows it");
static_assert(offsetof(struct sse_string, mask) == 32, "the stubs' end knows it");

#define STRING_STUB_BYTES 32

#define SSE_OP(...)
#define SSE_IMM(name, prefix, map, opcode, mem, fp, count) \
	__asm__(".pushsection .text, \"ax\", @progbits\n"  \
		".p2align 4\n"                             \
		".globl sse_stub_" #name "\n"              \
		".hidden sse_stub_" #name "\n"             \
		"sse_stub_" #name ":\n"                    \
		".set sse_i, 0\n"                          \
		".rept " #count "\n"                       \
		".p2align 4\n"                             \
		"	endbr64\n"                               \
		"	" #name " $sse_i, %xmm1, %xmm0\n"  \
		"	ret\n"                                   \
		".set sse_i, sse_i + 1\n"                  \
		".endr\n"                                  \
		".popsection\n");
#include "virt/vm/cpu/sse.def"

/* (vec a, vec b, struct sse_string *io): lengths in, flags, index and mask out. */
#define STRING_STUBS(name, bytes)                         \
	__asm__(".pushsection .text, \"ax\", @progbits\n" \
		".p2align 5\n"                            \
		"sse_string_" #name ":\n"                 \
		".set sse_i, 0\n"                         \
		".rept 128\n"                             \
		".p2align 5\n"                            \
		"	endbr64\n"                              \
		"	mov (%rdi), %rax\n"                     \
		"	mov 8(%rdi), %rdx\n"                    \
		"	.byte 0x66, 0x48\n"                     \
		"	" bytes ", sse_i\n"               \
		"	jmp sse_string_end\n"                   \
		".set sse_i, sse_i + 1\n"                 \
		".endr\n"                                 \
		".popsection\n");                         \
	extern const uint8_t sse_string_##name[];

/* On xmm0 and xmm1 (ModRM c1); REX.W (48) makes lengths 64 bits wide, where there are any. */
STRING_STUBS(pcmpestrm, ".byte 0x0f, 0x3a, 0x60, 0xc1")
STRING_STUBS(pcmpestri, ".byte 0x0f, 0x3a, 0x61, 0xc1")
STRING_STUBS(pcmpistrm, ".byte 0x0f, 0x3a, 0x62, 0xc1")
STRING_STUBS(pcmpistri, ".byte 0x0f, 0x3a, 0x63, 0xc1")

__asm__(".pushsection .text, \"ax\", @progbits\n"
	"sse_string_end:\n"
	"	lahf\n"
	"	seto %al\n"
	"	mov %ax, 16(%rdi)\n"
	"	mov %rcx, 24(%rdi)\n"
	"	movdqu %xmm0, 32(%rdi)\n"
	"	ret\n"
	".popsection\n");

void sse_string(enum sse_string_op op, vec a, vec b, unsigned imm, struct sse_string *io)
{
	static const uint8_t *const tables[] = {
		[SSE_ESTRM] = sse_string_pcmpestrm,
		[SSE_ESTRI] = sse_string_pcmpestri,
		[SSE_ISTRM] = sse_string_pcmpistrm,
		[SSE_ISTRI] = sse_string_pcmpistri,
	};
	const uint8_t *at = tables[op] + (size_t)(imm & 127) * STRING_STUB_BYTES;
	void (*run)(vec, vec, struct sse_string *) =
		(void (*)(vec, vec, struct sse_string *))(uintptr_t)at;

	assert(op <= SSE_ISTRI);
	run(a, b, io);
}
