/* Instruction lengths by Zydis (x86.h); without the library there is no oracle. */
#include "ground/format/x86.h"

#include <assert.h>

#if __has_include(<Zydis/Zydis.h>)
#include <Zydis/Zydis.h>

int x86_oracle(void)
{
	return 1;
}

unsigned x86_length(const uint8_t *code, size_t n, unsigned bits)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction i;
	ZyanStatus s;

	assert(bits == 16 || bits == 32 || bits == 64);
	if (bits == 64)
		s = ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (bits == 32)
		s = ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		s = ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	if (ZYAN_FAILED(s))
		return 0;
	s = ZydisDecoderDecodeInstruction(&decoder, ZYAN_NULL, code, n, &i);
	return ZYAN_SUCCESS(s) ? i.length : 0;
}
#else
int x86_oracle(void)
{
	return 0;
}

unsigned x86_length(const uint8_t *code, size_t n, unsigned bits)
{
	(void)code, (void)n, (void)bits;
	return 0;
}
#endif
